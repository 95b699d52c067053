"""How many modes does a generator find? The ring of 8 and the grid of 25 Gaussians, by the published protocol, over many seeds.

Writes modes.md (the table, beside the published rows), modes.png (2,500 samples of the first seed) and one JSON file per data set,
after each seed: --resume goes on from there.
"""

import json
import os
import time

import numpy as np

from npgan import backend as xp
from npgan import metrics
from npgan.data import toy
from npgan.divergences import OBJECTIVES
from npgan.gan import Players, train
from npgan.layers import LeakyReLU, Linear, Noise, ReLU, he
from npgan.net import Net
from npgan.optim import Adam, LinearDecay
from npgan.penalty import R1
from npgan.priors import Normal
from npgan.runs import checkpoint, fit, options, parallel, plots

WIDTH, HIDDEN, NOISE, M, SAMPLES = 128, 3, 2, 128, 2500     # both players' hidden units and layers, z's size, minibatch, samples judged
LR_G, LR_D = .002, .004                                     # of Adam, constant in the first half, then falling linearly to 0

# scale: the players see x / scale; R1's gamma is in its units
SETTINGS = {"ring": dict(iterations=10_000, scale=1., gamma=.02), "grid": dict(iterations=24_000, scale=2., gamma=.01)}

PUBLISHED = {       # modes, % high quality, of the ring; the same and reverse KL of the grid: mean (+- standard error)
    "GAN (VEEGAN paper)": ("1", "99.3", "3.3", ".5", ""),
    "Unrolled GAN": ("7.6", "35.6", "23.6", "16", ""),
    "VEEGAN": ("8", "52.9", "24.6", "40", ""),
    "GAN (PacGAN paper)": ("6.3 ± .5", "98.2", "17.3 ± .8", "94.8", ".70"),
    "PacGAN2": ("7.9 ± .1", "95.6", "23.8 ± .7", "91.3", ".13"),
    "PacGAN4": ("7.8 ± .1", "95.9", "24.8 ± .2", "93.6", ".04"),
}


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", choices=SETTINGS, help="only one of the two data sets")
    p.add_argument("--pack", type=options.integer(1), default=1, metavar="P",
                   help="D judges P samples side by side (default 1)")
    p.add_argument("--noise", type=options.non_negative, default=0., metavar="SIGMA",
                   help="instance noise on D's inputs; it falls to 0 over the first half (default 0)")
    options.add(p, "--iterations", help="iterations of Algorithm 1 (default: ring 10000, grid 24000)")
    options.add(p, "--gamma", help="weight of the R1 penalty on D; 0: none (default: ring .02, grid .01)")
    options.add(p, "--seeds", default=10)
    options.add(p, "--out", default="runs/modes")
    options.add(p, "--objective", "--generator-loss", "--workers", "--resume", "--quiet")
    return p


def play(job):
    """One seed's whole training: its coverage, its time and its samples. FloatingPointError where a value is not finite."""
    data, seed, iterations, scale, gamma, pack, sigma, objective, loss = job
    toys, begun = getattr(toy, data)(), time.perf_counter()
    noise, layers = Noise(sigma), {}
    for player, n, unit in (("G", NOISE, ReLU), ("D", 2 * pack, LeakyReLU)):
        layers[player] = []
        for _ in range(HIDDEN):
            layers[player] += [Linear(n, WIDTH, he), unit()]
            n = WIDTH
    G = Net([*layers["G"], Linear(WIDTH, 2, he)], seed=2 * seed)
    D = Net([*[noise] * (sigma > 0), *layers["D"], Linear(WIDTH, 1, he)], seed=2 * seed + 1)
    p = Players(G, D, M, OBJECTIVES[objective], loss, pack, R1(gamma) if gamma else None)
    sgd_g, sgd_d = (Adam(net, LinearDecay(lr, iterations), .5, .99) for net, lr in ((G, LR_G), (D, LR_D)))
    examples = toy.endless(xp.asarray(toys.sample(100_000, (seed, 1)) / np.float32(scale)), M, seed)
    for record in fit.silently(train(p, examples, Normal(), sgd_d, sgd_g, xp.default_rng(seed), iterations)):
        noise.sigma = sigma * max(0, 1 - 2 * (record.iteration + 1) / iterations)
        if (record.iteration + 1) % 1000 == 0 or record.iteration + 1 == iterations:            # reading waits for the device
            fit.read([record], 0, f"{data}, seed {seed}")
    z = np.random.default_rng((seed, 2)).standard_normal((SAMPLES, NOISE)).astype("float32")
    samples = xp.asnumpy(G(xp.asarray(z))) * np.float32(scale)
    result = metrics.coverage(samples, toys.modes, toys.sd)._asdict()
    return {"data": data, "seed": seed, **result, "seconds": time.perf_counter() - begun}, samples


def main(args):
    if M % args.pack:
        raise ValueError(f"--pack {args.pack}: m = {M} examples do not make packs of that size; take a divisor")
    out = options.folder(args.out)
    names = [args.data] if args.data else list(SETTINGS)
    settings = {name: SETTINGS[name] | {key: getattr(args, key) for key in ("iterations", "gamma") if getattr(args, key) is not None}
                | {key: getattr(args, key) for key in ("pack", "noise", "objective", "generator_loss")} for name in names}
    rows = {name: earlier(out, name, settings[name]) if args.resume else [] for name in names}
    jobs = [(name, seed, *settings[name].values()) for seed in range(args.seeds) for name in names
            if seed not in [row["seed"] for row in rows[name]]]
    workers = parallel.workers(args.workers, jobs)
    print(f"{' and '.join(names)}: {len(jobs)} runs on {xp.name()}, {workers} at once")
    from tqdm import tqdm
    try:
        with tqdm(total=len(jobs), unit="run", disable=args.quiet, dynamic_ncols=True) as bar:
            for _, (row, samples) in parallel.each(play, jobs, workers):
                name = row["data"]
                rows[name] = sorted([*rows[name], row], key=lambda row: row["seed"])
                if row["seed"] == 0:
                    with checkpoint.replacing(os.path.join(out, f"{name}.npy")) as temporary:
                        np.save(temporary, samples)
                checkpoint.write(os.path.join(out, f"{name}.json"), json.dumps({"settings": settings[name], "rows": rows[name]}, indent=1))
                bar.update()
                tqdm.write(f"{name}, seed {row['seed']}: {row['modes']} modes, {100 * row['high_quality']:.1f} % high quality, "
                           f"reverse KL {row['reverse_kl']:.3f}, {row['seconds']:.0f} s")
    except KeyboardInterrupt:
        print(f"Interrupted. What is done is kept: the same command with --resume goes on from {out}")
        return 130
    finish(out, {name: rows[name] for name in names if rows[name]}, settings)
    return 0


def earlier(out, name, settings):
    """The rows that the folder holds. ValueError if they were made with other settings, or are not this example's."""
    path = os.path.join(out, f"{name}.json")
    if not os.path.exists(path):
        return []
    try:
        with open(path) as f:
            kept = json.load(f)
        rows, made = kept["rows"], kept["settings"]
    except (ValueError, KeyError, TypeError) as e:
        raise ValueError(f"--resume: {path} is not a result of this example, or a damaged one ({e}); move it away") from e
    if made != settings:
        raise ValueError(f"--resume: {path} was made with {made}, not with {settings}: give the same options, or another --out")
    return rows


def finish(out, rows, settings):
    """The table and the picture."""
    def mean(values, digits, percent=1):
        values = percent * np.array(values, float)
        se = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return f"{values.mean():.{digits}f} ± {se:.{digits}f}" if len(values) > 1 else f"{values.mean():.{digits}f}"

    def cells(name):
        if name not in rows:
            return ("", "") if name == "ring" else ("", "", "")
        column = {key: [row[key] for row in rows[name]] for key in ("modes", "high_quality", "reverse_kl")}
        kl = (mean(column["reverse_kl"], 3),) if name == "grid" else ()
        return mean(column["modes"], 2), mean(column["high_quality"], 1, 100), *kl

    n = max(map(len, rows.values()))
    table = [("", "ring: modes", "% high quality", "grid: modes", "% high quality", "reverse KL"), ("---",) * 6,
             *((name, *values) for name, values in PUBLISHED.items()),
             (f"npgan, {n} seed{'s' * (n > 1)}", *cells("ring"), *cells("grid"))]
    text = "\n".join(f"| {' | '.join(row)} |" for row in table)
    checkpoint.write(os.path.join(out, "modes.md"), text + "\n")
    print(text)
    for name in rows:
        seconds = [row["seconds"] for row in rows[name]]
        print(f"{name}: {settings[name]}; {np.median(seconds):.0f} s a run (median)")

    from matplotlib.figure import Figure
    pictures = [name for name in rows if os.path.exists(os.path.join(out, f"{name}.npy"))]
    if pictures:
        fig = Figure((5.2 * len(pictures), 5.4), layout="constrained")
        for axis, name in zip(np.ravel(fig.subplots(1, len(pictures))), pictures):              # of seed 0
            data, samples = getattr(toy, name)(), np.load(os.path.join(out, f"{name}.npy"))
            real = data.sample(SAMPLES, 0)
            axis.plot(*real.T, ".", color="tab:orange", ms=2, alpha=.6, label="data")
            axis.plot(*samples.T, ".", color="tab:blue", ms=1.5, alpha=.6, label="generated")
            first = rows[name][0]
            axis.set_title(f"{name}: {first['modes']} modes, {100 * first['high_quality']:.1f} % high quality", fontsize=10)
            axis.set(xlim=data.extent, ylim=data.extent, aspect="equal", xlabel="x_1", ylabel="x_2")
            axis.legend(loc="upper right", fontsize=8, markerscale=5)
        plots.save(os.path.join(out, "modes.png"), fig)
    print(f"{out}: modes.md{' modes.png' * bool(pictures)} {' '.join(f'{name}.json' for name in rows)}")


if __name__ == "__main__":
    options.run_program(parser(), main)
