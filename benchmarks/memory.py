"""Memory and growth, in four parts (all of them, or those named):

import   how much `import npgan` adds to the time of `import numpy`
paper    peak resident memory of examples/mnist.py --preset paper, a few iterations and all that belongs to the end of a run
memmap   training on a file of 8 GB: minibatches gathered from a numpy.memmap of bytes, resident memory as the iterations go
growth   time of an iteration against m and against the width, beside the floor of step.py: a plot

The first three are about the CPU. Needs the extra `bench` for growth only.
"""

import mmap
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import race
import step

from npgan import backend as xp
from npgan.gan import train
from npgan.optim import Momentum
from npgan.priors import Uniform
from npgan.runs import options, plots

HERE = os.path.dirname(os.path.abspath(__file__))
PIXELS, GIGABYTES, ITERATIONS = 784, 8, [100, 300, 1000]
SIZES = {"m": [50, 100, 200, 400, 800, 1600], "width": [300, 600, 1200, 2400, 4800]}


def imports(args):
    """Milliseconds of `import npgan` once NumPy is there, each time in a new process; byte-compiled, as an installed package is."""
    code = "import time, numpy; t = time.perf_counter(); import npgan; print(1000 * (time.perf_counter() - t))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as compiled:
        command = [sys.executable, "-X", f"pycache_prefix={compiled}", "-c", code]
        times = [float(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout) for _ in range(8)][1:]
    return {"import_ms": statistics.median(times)}, [
        f"import npgan adds {statistics.median(times):.1f} ms ({min(times):.1f} to {max(times):.1f}) to import numpy's"]


def paper(args):
    """MiB at the peak of a process that trains and finishes as the paper's run does."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, os.path.join(HERE, "..", "examples", "mnist.py"), "--preset", "paper", "--data", args.data,
                   "--iterations", "20", "--quiet", "--out", out]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise ValueError(f"{' '.join(command[1:])}: failed")
    peak = mebibytes(usage)
    return {"paper_peak_MiB": peak}, [f"the paper's run on {args.data}: {peak:.0f} MiB resident at the peak"]


def memmap(args):
    """MiB at the peak of a process that trains on a file of 8 GB, after some and after more iterations."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "images")
        with open(path, "wb") as f:
            f.truncate(GIGABYTES * 10 ** 9 // PIXELS * PIXELS)              # sparse: zeros that take no room
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            peaks = pool.submit(train_on, path, ITERATIONS).result()
    return {"memmap_MiB": peaks}, [f"training on a file of {GIGABYTES} GB, resident at the peak until iteration "
                                   + ", ".join(f"{i}: {mib:.1f} MiB" for i, mib in peaks.items())]


def train_on(path, iterations):
    def examples():
        rng = np.random.default_rng(0)
        while True:                                 # mapped anew for each minibatch: the pages of the last one are let go
            images = np.memmap(path, "uint8", "r")
            images.base.madvise(mmap.MADV_RANDOM)   # its rows lie anywhere: read ahead, a minibatch takes many times as long
            images = images.reshape(-1, PIXELS)
            yield xp.asarray(images[rng.integers(0, len(images), p.m)] / np.float32(255))

    p, _, _ = step.ours(step.paper(100), 100)
    steps = train(p, examples(), Uniform(), Momentum(p.D, .1), Momentum(p.G, .1), xp.default_rng(0), iterations[-1])
    return {i: mebibytes(resource.getrusage(resource.RUSAGE_SELF)) for i in (record.iteration + 1 for record in steps) if i in iterations}


def mebibytes(usage):
    return usage.ru_maxrss / (2 ** 20 if sys.platform == "darwin" else 2 ** 10)


def growth(args):
    """An iteration of the paper's networks and its matrix products alone, at each m, and at each width."""
    result = {}
    if not os.path.isdir(os.path.dirname(os.path.abspath(args.plot))):
        raise FileNotFoundError(f"--plot {args.plot}: there is no such folder")
    with race.pinned(args.threads) as threads:
        for what, sizes in SIZES.items():
            for size in sizes:
                p, _, ours = step.ours(step.paper(1200 if what == "m" else size), size if what == "m" else 100)
                row = race.summary(race.race({"ours": ours, "floor": step.floor(p)}, args.rounds))
                result.setdefault(what, {})[size] = row | {"ratio_floor": row["ours_ms"] / row["floor_ms"]}
    draw(args.plot, result)
    return {"growth": result, "threads": threads}, [
        f"{what:>5} {size:5}: ours {row['ours_ms']:9.2f} ms   floor {row['floor_ms']:9.2f} ms   ours / floor {row['ratio_floor']:.2f}"
        for what, rows in result.items() for size, row in rows.items()] + [args.plot]


def draw(path, result):
    from matplotlib.figure import Figure
    fig = Figure((10, 4.2), layout="constrained")
    for ax, (what, rows), label in zip(fig.subplots(1, 2), result.items(), ("m, at width 1,200", "width of the hidden layers, at m = 100")):
        for name, style, color in ("ours", "o-", "tab:blue"), ("floor", "s--", "tab:gray"):
            ax.plot(rows.keys(), [row[f"{name}_ms"] for row in rows.values()], style, color=color,
                    label={"ours": "an iteration", "floor": "its matrix products alone"}[name])
        for size, row in rows.items():
            ax.annotate(f"{row['ratio_floor']:.2f}", (size, row["ours_ms"]), (-4, 6), textcoords="offset points", ha="right", fontsize=8)
        ax.set(xscale="log", yscale="log", xlabel=label, ylabel="ms (median); the numbers: ratio of the two")
        ax.set_xticks(list(rows), [f"{size:,}" for size in rows], minor=False)
        low, high = (f(row[name] for row in rows.values()) for f, name in ((min, "floor_ms"), (max, "ours_ms")))
        ticks = [t for e in range(-2, 5) for t in (10 ** e, 2 * 10 ** e, 5 * 10 ** e) if low / 2 < t < 2 * high]
        ax.set_yticks(ticks, [f"{t:,g}" for t in ticks])
        ax.minorticks_off()
        ax.margins(.1, .15)
        ax.grid(alpha=.3)
        ax.legend()
    plots.save(path, fig)


PARTS = {"import": imports, "paper": paper, "memmap": memmap, "growth": growth}


def parser():
    p = race.parser(__doc__, 5)
    p.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], metavar="PART", help="import, paper, memmap, growth")
    p.add_argument("--data", default="glyphs", metavar="WHAT", help="of the paper's run, as examples/mnist.py has it (default glyphs)")
    p.add_argument("--plot", default=os.path.join(HERE, "growth.png"), metavar="PNG", help="default growth.png beside this file")
    return p


def main(args):
    result, lines = {"threads": "as the environment has them"}, []
    for part in args.parts or PARTS:
        values, sentences = PARTS[part](args)
        result |= values
        lines += sentences
    race.show(args, result | {"machine": race.machine()}, lines)
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
