"""Watch a GAN in the plane: what D says everywhere, where its slope sends the samples, and how G folds the noise into data.

Writes toy2d.png (the end) and the training as a film, toy2d.gif and toy2d.html (one page with a slider).
"""

import json
import os
import time
from typing import NamedTuple

import numpy as np

from npgan import backend as xp
from npgan import metrics
from npgan.data import toy
from npgan.divergences import OBJECTIVES
from npgan.gan import Players, generator_gradient, train
from npgan.layers import LeakyReLU, Linear, ReLU, he
from npgan.net import Net
from npgan.optim import Adam, LinearDecay
from npgan.penalty import R1
from npgan.priors import Uniform
from npgan.runs import checkpoint, options, plots

M, WIDTH = 128, 128                     # examples in a minibatch, units in a hidden layer: three of them in each player
LR_G, LR_D = .002, .004                 # of Adam, constant in the first half, then falling linearly to 0
SHOWN, ARROWS, CELLS, LINES = 1000, 100, 100, 25        # samples, vectors, cells of the heat map and lines of the z-grid along an axis


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", choices=toy.IN_THE_PLANE, default="moons", help="p_data (default moons)")
    options.add(p, "--iterations", default=6000)
    options.add(p, "--gamma", default=.01)
    options.add(p, "--frames", default=50)
    options.add(p, "--out", default="runs/toy2d")
    options.add(p, "--objective", "--generator-loss", "--live", "--seed", "--quiet")
    return p


class Moment(NamedTuple):
    """The networks at one moment, on the host, in the data's units: all that a frame shows."""

    iteration: int
    D: np.ndarray           # (CELLS, CELLS): D(x) over the square
    samples: np.ndarray     # (SHOWN, 2): G at the same z in every frame
    arrows: np.ndarray      # (ARROWS, 2): -grad of G's loss at the first of them
    folded: np.ndarray      # (LINES, LINES, 2): G on the z-grid


class Plane:
    """The grids of x and z on which a moment is seen."""

    def __init__(self, data, scale, prior, seed):
        self.scale, self.extent = scale, data.extent
        at = np.linspace(*data.extent, CELLS + 1)
        at = (at[1:] + at[:-1]) / 2
        self.square = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
        self.z = np.random.default_rng((seed, 2)).uniform(-prior.r, prior.r, (SHOWN, 2))
        line = np.linspace(-prior.r, prior.r, LINES)
        self.z_grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)

    def look(self, p, iteration):
        def host(net, x, f=lambda y: y):
            return xp.asnumpy(f(net(xp.asarray(x, "float32")))).astype(float)

        generator_gradient(p, xp.asarray(self.z[:p.m], "float32"))          # leaves dJ/dG(z) on the tape: the vectors to draw
        D = host(p.D, self.square / self.scale, p.objective.prob).reshape(CELLS, CELLS)
        arrows = -p.m * xp.asnumpy(p.dGz)[:ARROWS].astype(float) / self.scale
        folded = host(p.G, self.z_grid).reshape(LINES, LINES, 2)
        return Moment(iteration, D, host(p.G, self.z) * self.scale, arrows, folded * self.scale)


def main(args):
    out, seed, iterations = options.folder(args.out), args.seed, args.iterations
    data, prior = toy.IN_THE_PLANE[args.data](), Uniform(1.)
    x = data.sample(100_000, (seed, 1))
    scale = float(x.std())                                                  # the players see x / scale
    G = Net([Linear(2, WIDTH, he), ReLU(), Linear(WIDTH, WIDTH, he), ReLU(), Linear(WIDTH, WIDTH, he), ReLU(), Linear(WIDTH, 2, he)],
            seed=2 * seed)
    D = Net([Linear(2, WIDTH, he), LeakyReLU(), Linear(WIDTH, WIDTH, he), LeakyReLU(), Linear(WIDTH, WIDTH, he), LeakyReLU(),
             Linear(WIDTH, 1, he)], seed=2 * seed + 1)
    p = Players(G, D, M, OBJECTIVES[args.objective], args.generator_loss, penalty=R1(args.gamma) if args.gamma else None)
    sgd_g, sgd_d = (Adam(net, LinearDecay(lr, iterations), .5, .99) for net, lr in ((G, LR_G), (D, LR_D)))
    plane, examples = Plane(data, scale, prior, seed), toy.endless(xp.asarray(x / np.float32(scale)), M, seed)

    every = max(iterations // args.frames, 1)
    moments, shown, begun = [plane.look(p, 0)], plots.window("A GAN in the plane") if args.live else None, time.perf_counter()
    print(f"{args.data}, {xp.name()}: {iterations} iterations of Algorithm 1, m = {M}")
    from tqdm import tqdm
    with tqdm(total=iterations, unit="it", disable=args.quiet, dynamic_ncols=True) as bar:
        for record in train(p, examples, prior, sgd_d, sgd_g, xp.default_rng(seed), iterations):
            i = record.iteration + 1
            if i == iterations or i % every == 0 or i >= 32 and i & (i - 1) == 0:          # the powers of two: most happens at the start
                moments.append(plane.look(p, i))
                if not np.isfinite(moments[-1].samples).all():
                    raise FloatingPointError(f"iteration {i}: the samples are not finite; lower --gamma or take another --seed")
                bar.update(i - bar.n)
                if shown:
                    plots.show(shown, lambda fig: frame(fig, plane, data, x, moments[-1]))
    seconds = time.perf_counter() - begun

    from matplotlib.figure import Figure
    fig = Figure(plots.FRAME)
    frame(fig, plane, data, x, moments[-1])
    plots.save(os.path.join(out, "toy2d.png"), fig)
    print("The film ...")
    plots.movie(os.path.join(out, "toy2d"), lambda fig, moment: frame(fig, plane, data, x, moment), moments)

    fresh = xp.asnumpy(G(xp.asarray(np.random.default_rng((seed, 3)).uniform(-prior.r, prior.r, (10_000, 2)), "float32"))) * scale
    result = {**{key: getattr(args, key) for key in ("data", "seed", "objective", "generator_loss", "gamma", "iterations")}, "backend": xp.name(),
              "seconds": seconds, "jsd_50x50": metrics.jsd(fresh, x[:10_000], *data.extent)}
    if data.modes is not None:
        result |= metrics.coverage(fresh[:2500], data.modes, data.sd)._asdict()
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result, indent=1))
    covered = "" if data.modes is None else "; {modes} of {0} modes, {1:.1f} % high quality".format(
        len(data.modes), 100 * result["high_quality"], **result)
    print(f"{iterations} iterations in {seconds:.0f} s: JSD(p_data || p_g) on a grid of 50 x 50: {result['jsd_50x50']:.3f} nats{covered}\n"
          f"{out}: toy2d.png toy2d.gif toy2d.html result.json")
    return 0


def frame(fig, plane, data, x, moment):
    """Left, the game in x space; right, G: the square of z, and what it has become."""
    from matplotlib import colormaps
    fig.clf()
    left, bar, right = (fig.add_axes((x, .1, width, .82)) for x, width in ((.06, .41), (.475, .012), (.585, .41)))
    low, high = plane.extent
    map_ = left.imshow(moment.D, extent=(low, high, low, high), origin="lower", cmap="PuOr", vmin=0, vmax=1)
    fig.colorbar(map_, cax=bar)
    bar.set_title("D(x)", fontsize=10)
    left.plot(*x[:SHOWN].T, ".", color="k", ms=2, label="data")
    left.plot(*moment.samples.T, ".", color="tab:green", ms=3, label="generated")
    arrows = moment.arrows * .05 * (high - low) ** 2                        # a slope of 1 over the width: a twentieth of the width
    arrows *= np.minimum(1, .1 * (high - low) / np.maximum(np.linalg.norm(arrows, axis=1, keepdims=True), 1e-12))
    left.quiver(*moment.samples[:ARROWS].T, *arrows.T, angles="xy", scale_units="xy", scale=1, width=.004, color="crimson", zorder=3)
    left.plot([], [], color="crimson", label="-grad of G's loss")
    left.set_title(f"{data.name}, iteration {moment.iteration}", fontsize=11)
    right.plot(*x[:SHOWN].T, ".", color=".75", ms=2, zorder=0)
    for lines, colours in ((moment.folded, "viridis"), (moment.folded.swapaxes(0, 1), "plasma")):
        for i, line in enumerate(lines):
            right.plot(*line.T, lw=.7, color=colormaps[colours](i / (LINES - 1)))
    right.set_title("G on the square of z: its rows and columns", fontsize=11)
    for axis in (left, right):
        axis.set(xlim=plane.extent, ylim=plane.extent, aspect="equal", xlabel="x_1", ylabel="x_2")
    left.legend(loc="upper left", fontsize=8, markerscale=3)


if __name__ == "__main__":
    options.run_program(parser(), main)
