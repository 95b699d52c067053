"""Measure the time of an import, memory, and how the time of an iteration grows.

Name the parts to run. The default is all of them.

import   the time that `import npgan` takes after `import numpy`
paper    peak resident memory of examples/mnist.py --preset paper, for a few iterations and
         for all that follows at the end of a run
memmap   peak resident memory of a training on a file of 8 GB; minibatches are gathered from a
         numpy.memmap of bytes
growth   time of an iteration against m and against the width of the networks, beside the floor
         of step.py, as a plot; needs the extra `bench`

The first three measure the CPU and its memory.
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
IMPORTS, PIXELS, GIGABYTES, ITERATIONS = 7, 784, 8, [100, 300, 1000]
SIZES = {"m": [50, 100, 200, 400, 800, 1600], "width": [300, 600, 1200, 2400, 4800]}
LABELS = {"m": "m, at width 1,200", "width": "width of the hidden layers, at m = 100"}


# --- The parts. Each returns (values for the JSON object, lines to print) ---------------------


def import_time(args):
    """Milliseconds of `import npgan` after NumPy, each time in a new process.

    Python compiles npgan to bytecode in the first process, which does not count.
    """
    code = ("import time, numpy; start = time.perf_counter(); import npgan; "
            "print(1000 * (time.perf_counter() - start))")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as compiled:
        command = [sys.executable, "-X", f"pycache_prefix={compiled}", "-c", code]
        _, *times = [float(subprocess.check_output(command, env=environment)) for _ in range(1 + IMPORTS)]
    median = statistics.median(times)
    return {"import_ms": median}, [
        f"import npgan adds {median:.1f} ms ({min(times):.1f} to {max(times):.1f}) to import numpy"]


def paper(args):
    """Peak MiB of a process that runs mnist.py --preset paper, but only 20 iterations."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, os.path.join(HERE, "..", "examples", "mnist.py"), "--preset", "paper",
                   "--data", args.data, "--iterations", "20", "--quiet", "--out", out]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise ValueError(f"{' '.join(command[1:])}: failed")
    peak = mebibytes(usage)
    return {"paper_peak_MiB": peak}, [f"--preset paper on {args.data}: {peak:.0f} MiB resident at the peak"]


def memmap(args):
    """Peak MiB of a process that trains on a file of 8 GB, up to each of ITERATIONS."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "images")
        with open(path, "wb") as f:
            f.truncate(GIGABYTES * 10 ** 9 // PIXELS * PIXELS)      # a sparse file: zeros that take no space
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            peaks = pool.submit(train_on, path, ITERATIONS).result()
    lines = ", ".join(f"{i}: {peak:.1f} MiB" for i, peak in peaks.items())
    return {"memmap_MiB": peaks}, [
        f"training on a file of {GIGABYTES} GB, resident at the peak until iteration {lines}"]


def train_on(path, iterations):
    """{iteration: peak MiB until this iteration} of a training on the images in the file."""
    def examples():
        rng = np.random.default_rng(0)
        while True:
            # Each minibatch maps the file anew, because a mapping keeps all pages that it read.
            # The rows are scattered over the file, so read-ahead would read much in vain.
            images = np.memmap(path, "uint8", "r")
            images.base.madvise(mmap.MADV_RANDOM)
            images = images.reshape(-1, PIXELS)
            yield xp.asarray(images[rng.integers(0, len(images), players.m)] / np.float32(255))

    players, _, _ = step.ours(step.paper(100), 100)
    sgd_d, sgd_g = Momentum(players.D, .1), Momentum(players.G, .1)
    peaks = {}
    for record in train(players, examples(), Uniform(), sgd_d, sgd_g, xp.default_rng(0), iterations[-1]):
        if record.iteration + 1 in iterations:
            peaks[record.iteration + 1] = mebibytes(resource.getrusage(resource.RUSAGE_SELF))
    return peaks


def mebibytes(usage):
    """The peak of a process in MiB. Linux counts in KiB, macOS in bytes."""
    return usage.ru_maxrss / (2 ** 20 if sys.platform == "darwin" else 2 ** 10)


def growth(args):
    """Times of an iteration of step.paper's networks, and of its products, at all SIZES."""
    if not os.path.isdir(os.path.dirname(os.path.abspath(args.plot))):
        raise FileNotFoundError(f"--plot {args.plot}: there is no such folder")
    result, lines = {what: {} for what in SIZES}, []
    with race.pinned(args.threads) as threads:
        for what, sizes in SIZES.items():
            for size in sizes:
                m, width = (size, 1200) if what == "m" else (100, size)
                players, _, ours = step.ours(step.paper(width), m)
                row = race.summary(race.race({"ours": ours, "floor": step.floor(players)}, args.rounds))
                row["ratio_floor"] = row["ours_ms"] / row["floor_ms"]
                result[what][size] = row
                lines.append(f"{what:>5} {size:5}: ours {row['ours_ms']:9.2f} ms   "
                             f"floor {row['floor_ms']:9.2f} ms   ours / floor {row['ratio_floor']:.2f}")
    draw(args.plot, result)
    return {"growth": result, "threads": threads}, [*lines, args.plot]


def draw(path, result):
    """Draw the times against m and against the width. Each point has the ratio to the floor."""
    from matplotlib.figure import Figure
    fig = Figure((10, 4.2), layout="constrained")
    for ax, (what, rows) in zip(fig.subplots(1, 2), result.items()):
        ours, floor = ([row[f"{name}_ms"] for row in rows.values()] for name in ("ours", "floor"))
        ax.plot(rows.keys(), ours, "o-", color="tab:blue", label="an iteration")
        ax.plot(rows.keys(), floor, "s--", color="tab:gray", label="its matrix products alone")
        for size, row in rows.items():
            ax.annotate(f"{row['ratio_floor']:.2f}", (size, row["ours_ms"]), (-4, 6),
                        textcoords="offset points", ha="right", fontsize=8)
        ax.set(xscale="log", yscale="log", xlabel=LABELS[what],
               ylabel="ms (median); the numbers: ratio of the two")
        ax.set_xticks(list(rows), [f"{size:,}" for size in rows], minor=False)
        ticks = [n * 10 ** e for e in range(-2, 5) for n in (1, 2, 5)]
        ticks = [t for t in ticks if min(floor) / 2 < t < 2 * max(ours)]
        ax.set_yticks(ticks, [f"{t:,g}" for t in ticks])
        ax.minorticks_off()
        ax.margins(.1, .15)
        ax.grid(alpha=.3)
        ax.legend()
    plots.save(path, fig)


# --- The program ------------------------------------------------------------------------------


PARTS = {"import": import_time, "paper": paper, "memmap": memmap, "growth": growth}


def parser():
    p = race.parser(__doc__, 5)
    p.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], metavar="PART",
                   help="import, paper, memmap, growth")
    p.add_argument("--data", default="glyphs", metavar="WHAT",
                   help="data for the part paper: a value of --data of examples/mnist.py (default glyphs)")
    p.add_argument("--plot", default=os.path.join(HERE, "growth.png"), metavar="PNG",
                   help="where growth is drawn (default growth.png beside this file)")
    return p


def main(args):
    result, lines = {"threads": "as the environment has them"}, []
    for part in args.parts or PARTS:
        values, part_lines = PARTS[part](args)
        result |= values
        lines += part_lines
    race.show(args, result | {"machine": race.machine()}, lines)
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
