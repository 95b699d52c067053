"""Count the modes that a generator finds, on the ring of 8 and the grid of 25 Gaussians.

G learns each of these two data sets with several seeds. The published protocol (metrics.py)
judges the samples. The run writes

    modes.md                the table: the published rows, and below them ours
    modes.png               2,500 samples of seed 0 over the data
    ring.json, grid.json    the results of the seeds so far; --resume goes on from there
    ring.npy, grid.npy      the samples of seed 0
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import json
import os
import time
import zlib
from functools import partial

import numpy as np

from npgan import backend as xp
from npgan import metrics
from npgan.data import escape, toy
from npgan.divergences import OBJECTIVES
from npgan.gan import Players, train
from npgan.layers import LeakyReLU, Linear, Noise, ReLU, he
from npgan.net import Net
from npgan.optim import Adam, LinearDecay
from npgan.penalty import R1
from npgan.priors import Normal
from npgan.runs import checkpoint, fit, options, parallel, plots

M, WIDTH = 128, 128             # examples in a minibatch, units in a hidden layer
SAMPLES = 2500                  # judged at the end of a training
LR_G, LR_D = .002, .004         # the learning rates of Adam; LinearDecay lowers them in the second half

# The players see x / scale. gamma, the weight of the R1 penalty, is for these smaller x.
SETTINGS = {"ring": dict(iterations=10_000, scale=1., gamma=.02),
            "grid": dict(iterations=24_000, scale=2., gamma=.01)}

PUBLISHED = {       # ring: modes, % high quality; grid: modes, % high quality, reverse KL. ±: standard error
    "GAN (VEEGAN paper)": ("1", "99.3", "3.3", ".5", ""),
    "Unrolled GAN": ("7.6", "35.6", "23.6", "16", ""),
    "VEEGAN": ("8", "52.9", "24.6", "40", ""),
    "GAN (PacGAN paper)": ("6.3 ± .5", "98.2", "17.3 ± .8", "94.8", ".70"),
    "PacGAN2": ("7.9 ± .1", "95.6", "23.8 ± .7", "91.3", ".13"),
    "PacGAN4": ("7.8 ± .1", "95.9", "24.8 ± .2", "93.6", ".04"),
}
FILES = "ring.*", "grid.*", "modes.*"           # what a run writes


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", choices=SETTINGS, help="learn only this data set (default both)")
    p.add_argument("--pack", type=options.integer(1), default=1, metavar="P",
                   help="D judges P samples side by side (default 1)")
    p.add_argument("--noise", type=options.non_negative, default=0., metavar="SIGMA",
                   help="standard deviation of the noise on D's inputs; it falls linearly to 0 in the first "
                        "half of a training (default 0)")
    options.add(p, "--iterations", help="iterations of Algorithm 1 (default: ring 10000, grid 24000)")
    options.add(p, "--gamma", help="weight of the R1 penalty on D; 0: none (default: ring .02, grid .01)")
    options.add(p, "--seeds", default=10)
    options.add(p, "--out", default="runs/modes")
    options.add(p, "--objective", "--generator-loss", "--workers", "--resume", "--quiet")
    return p


def learn(settings, job):
    """Train one pair of players. Returns a row of the result, and samples (SAMPLES, 2).

    settings: {name of a data set: its settings}     job: (name of the data set, seed)
    Raises FloatingPointError if a value is not finite.
    """
    name, seed = job
    settings, data, begun = settings[name], getattr(toy, name)(), time.perf_counter()
    iterations, scale, pack = settings["iterations"], settings["scale"], settings["pack"]
    noise = Noise(settings["noise"])
    G = Net([Linear(2, WIDTH, he), ReLU(), Linear(WIDTH, WIDTH, he), ReLU(),
             Linear(WIDTH, WIDTH, he), ReLU(), Linear(WIDTH, 2, he)], seed=2 * seed)
    D = Net([*([noise] if noise.sigma else []),
             Linear(2 * pack, WIDTH, he), LeakyReLU(), Linear(WIDTH, WIDTH, he), LeakyReLU(),
             Linear(WIDTH, WIDTH, he), LeakyReLU(), Linear(WIDTH, 1, he)], seed=2 * seed + 1)
    players = Players(G, D, M, OBJECTIVES[settings["objective"]], settings["generator_loss"], pack,
                      R1(settings["gamma"]) if settings["gamma"] else None)
    sgd_d = Adam(D, LinearDecay(LR_D, iterations), b1=.5, b2=.99)
    sgd_g = Adam(G, LinearDecay(LR_G, iterations), b1=.5, b2=.99)
    examples = toy.endless(xp.asarray(data.sample(100_000, (seed, 1)) / np.float32(scale)), M, seed)

    records = train(players, examples, Normal(), sgd_d, sgd_g, xp.default_rng(seed), iterations)
    for record in fit.silently(records):
        done = record.iteration + 1
        noise.sigma = settings["noise"] * max(0, 1 - 2 * done / iterations)
        if done % 1000 == 0 or done == iterations:          # `read` waits for the device
            fit.read([record], 0, f"{name}, seed {seed}")
    z = np.random.default_rng((seed, 2)).standard_normal((SAMPLES, 2)).astype("float32")
    samples = xp.asnumpy(G(xp.asarray(z))) * np.float32(scale)
    coverage = metrics.coverage(samples, data.modes, data.sd)._asdict()
    return {"data": name, "seed": seed, **coverage, "crc32": zlib.crc32(samples),
            "seconds": time.perf_counter() - begun}, samples


def main(args):
    if M % args.pack:
        raise ValueError(f"--pack {args.pack}: m = {M} is not a multiple of it; take a divisor of {M}")
    out = options.folder(args.out, old=() if args.resume else FILES)
    names = [args.data] if args.data else list(SETTINGS)
    settings = {name: settings_of(name, args) for name in names}
    rows = {name: kept_rows(out, name, settings[name]) if args.resume else [] for name in names}
    kept = [(name, row["seed"]) for name in names for row in rows[name]]
    jobs = [(name, seed) for seed in range(args.seeds) for name in names if (name, seed) not in kept]
    workers = parallel.worker_count(args.workers, jobs)
    print(f"{' and '.join(names)}: {len(jobs)} trainings on {xp.name()}, {workers} at once")
    try:
        with fit.progress_bar(0, len(jobs), args.quiet, "training") as bar:
            for (name, seed), (row, samples) in parallel.each(partial(learn, settings), jobs, workers):
                rows[name] = sorted([*rows[name], row], key=lambda row: row["seed"])
                save(out, name, settings[name], rows[name], samples if seed == 0 else None)
                bar.update()
                bar.write(f"{name}, seed {seed}: {summary(row)}, reverse KL {row['reverse_kl']:.3f}, "
                          f"{row['seconds']:.0f} s")
    except KeyboardInterrupt:
        print("Interrupted. The complete seeds are saved: the same command with --resume goes on "
              f"from {out}")
        return 130
    finish(out, {name: rows[name] for name in names if rows[name]}, settings)
    return 0


def settings_of(name, args):
    """The settings of a data set: its defaults, changed by the command line."""
    changed = {key: getattr(args, key) for key in ("iterations", "gamma") if getattr(args, key) is not None}
    return {**SETTINGS[name], **changed, "pack": args.pack, "noise": args.noise,
            "objective": args.objective, "generator_loss": args.generator_loss}


def kept_rows(out, name, settings):
    """The rows in the folder. Raises ValueError if they were made with other settings."""
    path = os.path.join(out, f"{name}.json")
    if not os.path.exists(path):
        return []
    with checkpoint.reading(path, "a result of this example", "; move it away"):
        kept = checkpoint.read_json(path)
        checkpoint.check(kept, {"settings": lambda x: type(x) is dict, "rows": checkpoint.list_of(is_row)})
        rows, made_with = kept["rows"], kept["settings"]
        seeds = [row["seed"] for row in rows]
        if seeds != sorted(set(seeds)):
            raise ValueError(f"its seeds are {seeds}")
    if made_with != settings:
        raise ValueError(f"--resume: {path} was made with {escape(made_with)}, not with {settings}: "
                         "give the same options, or another --out")
    if seeds and seeds[0] == 0:
        kept_samples(out, name, rows[0])
    return rows


ROW = {"seed": checkpoint.natural, "modes": checkpoint.count, "high_quality": checkpoint.number,
       "reverse_kl": lambda x: checkpoint.number(x) or x != x,      # nan if no sample is of high quality
       "crc32": checkpoint.natural, "seconds": checkpoint.number}


def is_row(x):
    checkpoint.check(x, ROW)
    return True


def kept_samples(out, name, row):
    """The samples of seed 0 in the folder, or None if there are none. Raises ValueError if they
    are not the samples that the row judges.
    """
    path = os.path.join(out, f"{name}.npy")
    if not os.path.exists(path):
        return None
    with checkpoint.reading(path, f"the samples of {name}.json", "; move it away"):
        samples = np.load(path)
        if samples.shape != (SAMPLES, 2) or zlib.crc32(samples) != row["crc32"]:
            raise ValueError("they are others")
        return samples


def save(out, name, settings, rows, samples):
    if samples is not None:
        with checkpoint.replacing(os.path.join(out, f"{name}.npy")) as temporary:
            np.save(temporary, samples)
    text = json.dumps({"settings": settings, "rows": rows}, indent=1)
    checkpoint.write(os.path.join(out, f"{name}.json"), text)


# --- The table and the picture ----------------------------------------------------------------


def finish(out, rows, settings):
    text = table(rows)
    checkpoint.write(os.path.join(out, "modes.md"), text + "\n")
    print(text)
    for name in rows:
        seconds = np.median([row["seconds"] for row in rows[name]])
        print(f"{name}: {settings[name]}; {seconds:.0f} s a training (median)")
    files = ["modes.md", *(f"{name}.json" for name in rows)]
    if picture(out, rows):
        files.append("modes.png")
    print(f"{out}: {' '.join(files)}")


def summary(row):
    return f"{row['modes']} modes, {100 * row['high_quality']:.1f} % high quality"


def table(rows):
    """The table in Markdown: the published results, and below them ours."""
    def ours(name, key, digits, factor=1):
        """A cell of our row: mean ± standard error over the seeds."""
        values = [factor * row[key] for row in rows.get(name, [])]
        if not values:
            return ""
        text = f"{np.mean(values):.{digits}f}"
        if len(values) > 1:
            text += f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"
        return text

    n = max(map(len, rows.values()))
    lines = [("", "ring: modes", "% high quality", "grid: modes", "% high quality", "reverse KL"),
             ("---",) * 6,
             *((name, *values) for name, values in PUBLISHED.items()),
             ("npgan, 1 seed" if n == 1 else f"npgan, {n} seeds",
              ours("ring", "modes", 2), ours("ring", "high_quality", 1, 100),
              ours("grid", "modes", 2), ours("grid", "high_quality", 1, 100), ours("grid", "reverse_kl", 3))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(out, rows):
    """Draw modes.png, the samples of seed 0 over the data. Returns False without samples."""
    from matplotlib.figure import Figure
    found = {name: kept_samples(out, name, rows[name][0]) for name in rows}
    found = {name: samples for name, samples in found.items() if samples is not None}
    if not found:
        return False
    fig = Figure((5.2 * len(found), 5.4), layout="constrained")
    for axis, (name, samples) in zip(np.ravel(fig.subplots(1, len(found))), found.items()):
        data = getattr(toy, name)()
        axis.plot(*data.sample(SAMPLES, 0).T, ".", color="tab:orange", ms=2, alpha=.6, label="data")
        axis.plot(*samples.T, ".", color="tab:blue", ms=1.5, alpha=.6, label="generated")
        axis.set_title(f"{name}: {summary(rows[name][0])}", fontsize=10)
        axis.set(xlim=data.extent, ylim=data.extent, aspect="equal", xlabel="x_1", ylabel="x_2")
        axis.legend(loc="upper right", fontsize=8, markerscale=5)
    plots.save(os.path.join(out, "modes.png"), fig)
    return True


if __name__ == "__main__":
    options.run_program(parser(), main, threads=1)
