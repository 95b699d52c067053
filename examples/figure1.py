"""Figure 1 of Goodfellow et al. 2014, drawn from two live networks: a generator and a discriminator on a line.

Writes figure1.png (the paper's four panels), convergence.png (how near D and G come to the theorems), and the whole training as a film,
figure1.gif and figure1.html (one page with a slider).
"""

import json
import math
import os
import time
from typing import NamedTuple

import numpy as np

from npgan import backend as xp
from npgan import theory
from npgan.data import toy
from npgan.divergences import OBJECTIVES
from npgan.gan import Players, discriminator_gradient, generator_gradient, sample_noise, train
from npgan.layers import Linear, Tanh, constant, uniform
from npgan.net import Net
from npgan.optim import Adam, LinearDecay
from npgan.penalty import R1
from npgan.priors import Uniform
from npgan.runs import checkpoint, options, plots

M, K, WIDTH = 512, 5, 32                # examples in a minibatch, steps of D to one of G, units in a hidden layer
LR_D, LR_G = .005, .002                 # of Adam, constant in the first half, then falling linearly to 0
GAMMA = .2                              # of the R1 penalty, without which D and G circle around the solution
AWAY, POOR, ALONE, FOLLOW = 1., 3, 400, 1    # G's move, then the steps of D before panel (a), of D before (b), of G before (c)
CELLS, QUANTILES = 400, 4000            # of the grid of x, of the grid of z


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", choices=toy.ON_A_LINE, default="gaussian", help="p_data (default gaussian)")
    options.add(p, "--iterations", default=2000)
    options.add(p, "--frames", default=30)
    options.add(p, "--out", default="runs/figure1")
    options.add(p, "--objective", "--generator-loss", "--live", "--seed", "--quiet")
    return p


class Moment(NamedTuple):
    """The networks at one moment, on the host, with all that a frame shows."""

    caption: str
    iteration: int
    D: np.ndarray           # D(x) at the cells of x
    p_g: np.ndarray         # density of G(z) there
    D_star: np.ndarray      # p_data / (p_data + p_g)
    Gz: np.ndarray          # G at equally spaced z
    V: float                # V(D, G) - f(1), by quadrature: its excess over the value at p_g = p_data, for gan -log 4
    sup: float              # sup |D - D*| over the region that holds 99 % of p_data
    sup_half: float         # sup |D - 1/2| over it


class Line:
    """The grids of x and z, and what can be known exactly of two networks on them."""

    def __init__(self, data, prior):
        self.data = data
        edges = np.linspace(*data.extent, CELLS + 1)
        self.edges, self.dx, self.x = edges, edges[1] - edges[0], (edges[1:] + edges[:-1]) / 2
        self.p_data = data.density(self.x[:, None])
        self.z = ((np.arange(QUANTILES) + .5) / QUANTILES * 2 - 1) * prior.r           # all equally likely
        likely = np.argsort(-self.p_data)
        self.mass = np.sort(likely[:1 + np.searchsorted(np.cumsum(self.p_data[likely]) * self.dx, .99)])

    def look(self, p, caption, iteration):
        def host(net, x, f=lambda y: y):
            return xp.asnumpy(f(net(xp.asarray(x[:, None], "float32")).astype("float64")))[:, 0]

        o, Gz = p.objective, host(p.G, self.z)
        p_g = self.density_of_Gz(Gz)
        D_x, D_star = host(p.D, self.x, o.prob), xp.asnumpy(theory.optimal_discriminator(self.p_data, p_g))
        V = (self.p_data * self.dx * host(p.D, self.x, o.T)).sum() - host(p.D, Gz, o.F).mean()
        return Moment(caption, iteration, D_x, p_g, D_star, Gz, V - o.optimal_value,
                      np.abs(D_x - D_star)[self.mass].max(), np.abs(D_x - .5)[self.mass].max())

    def density_of_Gz(self, Gz):
        """The density of G(z) in each cell, exact for a G that is linear between neighbours of the grid of z, monotone or not."""
        low, high = np.minimum(Gz[1:], Gz[:-1]), np.maximum(Gz[1:], Gz[:-1])
        below = np.clip((self.edges[:, None] - low) / np.maximum(high - low, 1e-12), 0, 1).mean(axis=1)        # P(G(z) < edge)
        return np.diff(below) / self.dx


def training(line, p, examples, prior, sgd_d, sgd_g, rng, iterations, frames):
    """Yields the moments of the film. A fifth of Algorithm 1 makes the paper's "adversarial pair near convergence": then G is moved AWAY
    from the data, the two loops are taken apart for the panels (a) D, (b) D alone, (c) G alone, and the algorithm goes on to (d)."""
    first = iterations // 5

    def look(caption="", iteration=first):
        return line.look(p, caption, iteration)

    def whole(begin, n):
        for record in train(p, examples, prior, sgd_d, sgd_g, rng, n, K):
            i = begin + record.iteration + 1
            if i % max(iterations // frames, 1) == 0 or i & (i - 1) == 0:           # the powers of two: most happens at the start
                yield look(iteration=i)

    def D_alone(n):
        for _ in range(n):
            z = sample_noise(p, prior, rng)
            p.draw_masks_d(rng)
            discriminator_gradient(p, next(examples), z)
            sgd_d.ascend()

    yield look("the beginning", 0)
    yield from whole(0, first)
    p.G.layers[-1].b += AWAY
    yield look("G is moved away")
    D_alone(POOR)
    yield look("(a) D has begun to tell them apart")
    for _ in range(8):
        D_alone(ALONE // 8)
        yield look()
    yield look("(b) D alone: towards D*")
    for _ in range(FOLLOW):
        z = sample_noise(p, prior, rng)
        p.draw_masks_g(rng)
        generator_gradient(p, z)
        sgd_g.descend()
        yield look()
    yield look("(c) G alone: where D's slope leads it")
    yield from whole(first, iterations - first)
    yield look("(d) Algorithm 1 to its end", iterations)


def main(args):
    out = options.folder(args.out)
    seed, iterations, data, prior = args.seed, args.iterations, toy.ON_A_LINE[args.data](), Uniform(1.)
    # The first layers' ranges spread the kinks of tanh over the range of z, and of x.
    G = Net([Linear(1, WIDTH, uniform(2), uniform(2)), Tanh(), Linear(WIDTH, WIDTH), Tanh(), Linear(WIDTH, 1, uniform(.3), constant(1.))],
            seed=2 * seed)
    D = Net([Linear(1, WIDTH, uniform(1), uniform(3)), Tanh(), Linear(WIDTH, WIDTH), Tanh(), Linear(WIDTH, 1)], seed=2 * seed + 1)
    p = Players(G, D, M, OBJECTIVES[args.objective], args.generator_loss, penalty=R1(GAMMA))

    sgd_d = Adam(D, LinearDecay(LR_D, POOR + ALONE + K * iterations), 0., .99)
    sgd_g = Adam(G, LinearDecay(LR_G, FOLLOW + iterations), 0., .99)
    line = Line(data, prior)
    examples = toy.endless(xp.asarray(data.sample(100_000, (seed, 1))), M, seed)
    moments, shown, begun = [], plots.window("Figure 1") if args.live else None, time.perf_counter()
    print(f"Figure 1 on p_data = {args.data}, {xp.name()}: {iterations} iterations of Algorithm 1, k = {K}, m = {M}")
    from tqdm import tqdm
    with tqdm(total=iterations, unit="it", disable=args.quiet, dynamic_ncols=True) as bar:
        for moment in training(line, p, examples, prior, sgd_d, sgd_g, xp.default_rng(seed), iterations, args.frames):
            moments.append(moment)
            bar.set_postfix_str(f"V - f(1) {moment.V:+.4f}, sup |D - 1/2| {moment.sup_half:.3f}", refresh=False)
            bar.update(moment.iteration - bar.n)
            if not np.isfinite(moment.V):
                raise FloatingPointError(f"iteration {moment.iteration}: V is not finite; take another --seed")
            if shown:
                plots.show(shown, lambda fig: frame(fig, line, moments, args.data, iterations, p.objective.optimal_value))
    seconds = time.perf_counter() - begun

    from matplotlib.figure import Figure
    chosen = [m for m in moments if m.caption[:1] == "("]
    fig = Figure((13, 3.9), layout="constrained")
    for axis, moment in zip(fig.subplots(1, 4), chosen):
        panel(axis, line, moment)
        axis.set_title(moment.caption, fontsize=10)
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    plots.save(os.path.join(out, "figure1.png"), fig)
    fig = Figure((9, 3.4), layout="constrained")
    convergence(fig.subplots(1, 2), moments, iterations, p.objective.optimal_value)
    plots.save(os.path.join(out, "convergence.png"), fig)
    print("The film ...")
    plots.movie(os.path.join(out, "figure1"), lambda fig, i: frame(fig, line, moments[:i], args.data, iterations, p.objective.optimal_value),
                range(1, len(moments) + 1))

    last = moments[-1]
    best = p.objective.optimal_value
    result = {**{key: getattr(args, key) for key in ("data", "seed", "objective", "generator_loss", "iterations")}, "backend": xp.name(),
              "seconds": seconds, "V": last.V + best, "V_minus_f_1": last.V, "sup_D_minus_D_star": last.sup,
              "sup_D_minus_half": last.sup_half, "jsd": theory.jsd(line.p_data / line.p_data.sum(), last.p_g / last.p_g.sum())}
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result, indent=1))
    print(f"{iterations} iterations in {seconds:.0f} s: V - ({best:.4f}) = {last.V:+.4f}; where 99 % of p_data are, sup |D - 1/2| = "
          f"{last.sup_half:.3f}, sup |D - D*| = {last.sup:.3f}; JSD(p_data || p_g) = {result['jsd']:.4f} nats\n"
          f"{out}: figure1.png convergence.png figure1.gif figure1.html result.json")
    return 0


def panel(axis, line, moment):
    """One panel of the paper's figure: the densities and D above, and below them how G maps the line of z to the line of x."""
    top = 1.1 * max(1, line.p_data.max())
    axis.plot(line.x, line.p_data, "k:", lw=1.8, label="p_data")
    axis.plot(line.x, moment.p_g, color="tab:green", lw=1.8, label="p_g")
    axis.plot(line.x, moment.D_star, color="tab:blue", lw=.7, label="D* = p_data / (p_data + p_g)")
    axis.plot(line.x, moment.D, "--", color="tab:blue", lw=1.8, label="D")
    x_level, z_level = -.12 * top, -.45 * top
    low, high = line.data.extent
    width = .6 * (high - low) / 2
    z = line.z / np.abs(line.z).max() * width + (low + high) / 2
    for level, name in ((x_level, "x"), (z_level, "z")):
        axis.plot([low, high] if name == "x" else [z[0], z[-1]], [level, level], "k", lw=.8)
        axis.text(low, level, name, ha="right", va="center", fontsize=11, fontstyle="italic")
    i = np.linspace(0, QUANTILES - 1, 21).round().astype(int)
    i = i[(low < moment.Gz[i]) & (moment.Gz[i] < high)]
    axis.quiver(z[i], np.full(len(i), z_level), moment.Gz[i] - z[i], np.full(len(i), x_level - z_level),
                angles="xy", scale_units="xy", scale=1, width=.003, headwidth=6, color=".3")
    axis.set_xlim(low - .04 * (high - low), high)
    axis.set_ylim(-.5 * top, top)
    axis.set_yticks([0, .5, 1])
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def convergence(axes, moments, iterations, least):
    """V against -log 4 (f(1) of another divergence), D against the theorem's optimum for the G of the moment and against 1/2, its end."""
    t = [m.iteration for m in moments]
    axes[0].plot(t, [m.V + least for m in moments], lw=1, label="V(D, G)")
    axes[0].axhline(least, color="k", ls=":", label="-log 4" if least == -math.log(4) else f"f(1) = {least:g}")
    axes[0].set_ylabel("nats")
    axes[1].plot(t, [m.sup for m in moments], lw=1, label="sup |D - D*|")
    axes[1].plot(t, [m.sup_half for m in moments], lw=1, label="sup |D - 1/2|")
    axes[1].axhline(.05, color="k", ls=":", lw=.8, label=".05")
    axes[1].set_ylim(0, 1)
    for axis in axes:
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xlim(0, iterations)
        axis.set_xlabel("iteration of Algorithm 1")
        axis.legend(fontsize=8)
        axis.grid(alpha=.3)


def frame(fig, line, moments, name, iterations, least):
    """One frame of the film: the panel of the last moment, and the curves so far."""
    fig.clf()
    grid = fig.add_gridspec(2, 2, width_ratios=(3, 2), left=.05, right=.98, top=.92, bottom=.1, hspace=.35)
    axis, last = fig.add_subplot(grid[:, 0]), moments[-1]
    panel(axis, line, last)
    axis.set_ylim(top=1.3 * axis.get_ylim()[1])                     # room for the legend
    axis.legend(loc="upper left", fontsize=9, ncols=2)
    axis.set_title(f"{name}, " + (f"iteration {last.iteration} of Algorithm 1" if last.iteration else "before Algorithm 1"), fontsize=11)
    if last.caption:
        axis.text(.98, .84, last.caption, transform=axis.transAxes, ha="right", va="top", fontsize=11)
    convergence([fig.add_subplot(grid[0, 1]), fig.add_subplot(grid[1, 1])], moments, iterations, least)


if __name__ == "__main__":
    options.run_program(parser(), main)
