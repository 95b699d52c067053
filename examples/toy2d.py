"""Watch a GAN in the plane: D(x) at every x, and how G maps the noise onto the data.

The run writes

    toy2d.png                the end of the training
    toy2d.gif, toy2d.html    the training as a film; the page has a slider
    result.json              how near the samples are to the data

An arrow in a picture shows where the gradient of G's loss would move a sample.
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import json
import os
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
from npgan.runs import checkpoint, options, plots, watch

M, WIDTH = 128, 128             # examples in a minibatch, units in a hidden layer
LR_G, LR_D = .002, .004         # the learning rates of Adam; LinearDecay lowers them in the second half
SHOWN, ARROWS = 1000, 100       # samples in a picture, and how many of them have an arrow
CELLS, LINES = 100, 25          # cells of the heat map and lines of the z-grid, along each axis
FILES = "toy2d.png", "toy2d.gif", "toy2d.html", "result.json"         # what a run writes


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
    """What a frame shows of G and D at one moment: host arrays. x has the units of the data."""

    iteration: int
    D: np.ndarray           # (CELLS, CELLS): D(x) over the square
    samples: np.ndarray     # (SHOWN, 2): G(z), at the same z in all frames
    arrows: np.ndarray      # (ARROWS, 2): -grad_x of G's loss at the first samples
    folded: np.ndarray      # (LINES, LINES, 2): G(z) on the z-grid


class Plane:
    """A grid of x, a grid of z and fixed noise samples, at which every Moment shows G and D."""

    def __init__(self, data, scale, prior, seed):
        self.scale, self.extent = scale, data.extent
        edges = np.linspace(*data.extent, CELLS + 1)
        centres = (edges[1:] + edges[:-1]) / 2
        self.square = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        self.z = np.random.default_rng((seed, 2)).uniform(-prior.r, prior.r, (SHOWN, 2))
        line = np.linspace(-prior.r, prior.r, LINES)
        self.z_grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)

    def look(self, players, iteration):
        """Return the Moment now. Raises FloatingPointError if a sample is not finite."""
        def host(net, x, f=lambda y: y):
            return xp.asnumpy(f(net(xp.asarray(x, "float32")))).astype(float)

        D = host(players.D, self.square / self.scale, players.objective.prob).reshape(CELLS, CELLS)
        samples = host(players.G, self.z) * self.scale
        generator_gradient(players, xp.asarray(self.z[:players.m], "float32"))      # writes players.dGz
        arrows = -players.m * xp.asnumpy(players.dGz)[:ARROWS].astype(float) / self.scale
        folded = host(players.G, self.z_grid).reshape(LINES, LINES, 2) * self.scale
        if not np.isfinite(samples).all():
            raise FloatingPointError(f"iteration {iteration}: the samples are not finite; "
                                     "lower --gamma or take another --seed")
        return Moment(iteration, D, samples, arrows, folded)


def main(args):
    out, seed, iterations = options.folder(args.out, old=FILES), args.seed, args.iterations
    data, prior = toy.IN_THE_PLANE[args.data](), Uniform(1.)
    x = data.sample(100_000, (seed, 1))
    scale = float(x.std())                                  # the players see x / scale
    G = Net([Linear(2, WIDTH, he), ReLU(), Linear(WIDTH, WIDTH, he), ReLU(),
             Linear(WIDTH, WIDTH, he), ReLU(), Linear(WIDTH, 2, he)], seed=2 * seed)
    D = Net([Linear(2, WIDTH, he), LeakyReLU(), Linear(WIDTH, WIDTH, he), LeakyReLU(),
             Linear(WIDTH, WIDTH, he), LeakyReLU(), Linear(WIDTH, 1, he)], seed=2 * seed + 1)
    players = Players(G, D, M, OBJECTIVES[args.objective], args.generator_loss,
                      penalty=R1(args.gamma) if args.gamma else None)
    sgd_d = Adam(D, LinearDecay(LR_D, iterations), b1=.5, b2=.99)
    sgd_g = Adam(G, LinearDecay(LR_G, iterations), b1=.5, b2=.99)
    examples = toy.endless(xp.asarray(x / np.float32(scale)), M, seed)
    records = train(players, examples, prior, sgd_d, sgd_g, xp.default_rng(seed), iterations)
    plane = Plane(data, scale, prior, seed)

    def training():
        yield plane.look(players, 0)
        for record in records:
            done = record.iteration + 1
            if done == iterations or watch.is_shown(done, iterations, args.frames, first=32):
                yield plane.look(players, done)

    def draw(fig, moments):
        frame(fig, plane, data, x, moments[-1])

    print(f"{args.data}, {xp.name()}: {iterations} iterations of Algorithm 1, m = {M}")
    from matplotlib.figure import Figure
    moments, seconds = watch.run(training(), draw, "A GAN in the plane", args)
    fig = Figure(plots.FRAME)
    draw(fig, moments)
    plots.save(os.path.join(out, "toy2d.png"), fig)
    watch.film(os.path.join(out, "toy2d"), draw, moments)

    z = np.random.default_rng((seed, 3)).uniform(-prior.r, prior.r, (10_000, 2))
    samples = xp.asnumpy(G(xp.asarray(z, "float32"))) * scale
    result = {"data": args.data, "seed": seed, "objective": args.objective,
              "generator_loss": args.generator_loss, "gamma": args.gamma, "iterations": iterations,
              "backend": xp.name(), "seconds": seconds,
              "jsd_50x50": metrics.jsd(samples, x[:10_000], *data.extent)}
    sentence = f"JSD(p_data || p_g) on a grid of 50 x 50: {result['jsd_50x50']:.3f} nats"
    if data.modes is not None:
        result |= metrics.coverage(samples[:2500], data.modes, data.sd)._asdict()
        sentence += (f"; {result['modes']} of {len(data.modes)} modes, "
                     f"{100 * result['high_quality']:.1f} % high quality")
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result, indent=1))
    print(f"{iterations} iterations in {seconds:.0f} s: {sentence}\n"
          f"{out}: toy2d.png toy2d.gif toy2d.html result.json")
    return 0


def frame(fig, plane, data, x, moment):
    """Draw a frame. Left: D(x), data and samples. Right: the z-grid as G maps it."""
    from matplotlib import colormaps
    fig.clf()
    left, bar, right = (fig.add_axes((x0, .1, width, .82))
                        for x0, width in ((.06, .41), (.475, .012), (.585, .41)))
    low, high = plane.extent
    heat = left.imshow(moment.D, extent=(low, high, low, high), origin="lower", cmap="PuOr", vmin=0, vmax=1)
    fig.colorbar(heat, cax=bar)
    bar.set_title("D(x)", fontsize=10)
    left.plot(*x[:SHOWN].T, ".", color="k", ms=2, label="data")
    left.plot(*moment.samples.T, ".", color="tab:green", ms=3, label="generated")
    # If G's loss falls by 1 over the picture's width, the arrow has a twentieth of this width.
    # No arrow is longer than a tenth of the width.
    arrows = moment.arrows * .05 * (high - low) ** 2
    length = np.linalg.norm(arrows, axis=1, keepdims=True)
    arrows *= np.minimum(1, .1 * (high - low) / np.maximum(length, 1e-12))
    left.quiver(*moment.samples[:ARROWS].T, *arrows.T, angles="xy", scale_units="xy", scale=1, width=.004,
                color="crimson", zorder=3)
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
    options.run_program(parser(), main, threads=1)
