"""Figure 1 of Goodfellow et al. 2014, drawn from a live generator and discriminator on a line.

The run writes

    figure1.png                  the paper's four panels
    convergence.png              V and D beside the values that the theorems give
    figure1.gif, figure1.html    the training as a film; the page has a slider
    result.json                  V, D and p_g at the end
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import json
import math
import os
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
from npgan.runs import checkpoint, options, plots, watch

M, K, WIDTH = 512, 5, 32        # examples in a minibatch, D's steps for one of G, units in a hidden layer
LR_D, LR_G = .005, .002         # the learning rates of Adam; LinearDecay lowers them in the second half
GAMMA = .2                      # the weight of R1. Without R1, D and G circle around the solution
AWAY = 1.                       # before panel (a), all G(z) are moved by this distance
POOR, ALONE, FOLLOW = 3, 400, 1     # D's steps before panel (a) and before (b), G's steps before (c)
CELLS, QUANTILES = 400, 4000    # points of the grid of x, and of the grid of z
FILES = "figure1.*", "convergence.png", "result.json"             # what a run writes


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", choices=toy.ON_A_LINE, default="gaussian", help="p_data (default gaussian)")
    options.add(p, "--iterations", default=2000)
    options.add(p, "--frames", default=30)
    options.add(p, "--out", default="runs/figure1")
    options.add(p, "--objective", "--generator-loss", "--live", "--seed", "--quiet")
    return p


class Moment(NamedTuple):
    """What a frame shows of G and D at one moment: host arrays and numbers."""

    caption: str
    iteration: int
    D: np.ndarray           # D(x) on the grid of x
    p_g: np.ndarray         # the density of G(z) on this grid
    D_star: np.ndarray      # p_data / (p_data + p_g)
    Gz: np.ndarray          # G(z) on the grid of z
    V: float                # V(D, G) - f(1) by quadrature; f(1) is V at the optimum, with gan -log 4
    sup: float              # sup |D - D*| over the region that holds 99 % of p_data
    sup_half: float         # sup |D - 1/2| over the same region


class Line:
    """The grids of x and z, and what can be computed there from G and D."""

    def __init__(self, data, prior):
        self.data = data
        self.edges = np.linspace(*data.extent, CELLS + 1)
        self.dx, self.x = self.edges[1] - self.edges[0], (self.edges[1:] + self.edges[:-1]) / 2
        self.p_data = data.density(self.x[:, None])
        self.z = ((np.arange(QUANTILES) + .5) / QUANTILES * 2 - 1) * prior.r        # all z are equally likely
        likely = np.argsort(-self.p_data)
        mass = np.cumsum(self.p_data[likely]) * self.dx
        self.region = np.sort(likely[:1 + np.searchsorted(mass, .99)])

    def look(self, players, caption, iteration):
        """Return the Moment now. Raises FloatingPointError if V is not finite."""
        def host(net, x, f=lambda y: y):
            return xp.asnumpy(f(net(xp.asarray(x[:, None], "float32")).astype("float64")))[:, 0]

        G, D, objective = players.G, players.D, players.objective
        Gz = host(G, self.z)
        p_g = self.density_of_Gz(Gz)
        D_x = host(D, self.x, objective.prob)
        D_star = xp.asnumpy(theory.optimal_discriminator(self.p_data, p_g))
        V = (self.p_data * self.dx * host(D, self.x, objective.T)).sum() - host(D, Gz, objective.F).mean()
        if not np.isfinite(V):
            raise FloatingPointError(f"iteration {iteration}: V is not finite; take another --seed")
        return Moment(caption, iteration, D_x, p_g, D_star, Gz, V - objective.optimal_value,
                      np.abs(D_x - D_star)[self.region].max(), np.abs(D_x - .5)[self.region].max())

    def density_of_Gz(self, Gz):
        """The density of G(z) in each cell of the grid of x.

        It is exact if G is linear between neighbouring z. G need not be monotone.
        """
        low, high = np.minimum(Gz[1:], Gz[:-1]), np.maximum(Gz[1:], Gz[:-1])
        share = np.clip((self.edges[:, None] - low) / np.maximum(high - low, 1e-12), 0, 1)
        return np.diff(share.mean(axis=1)) / self.dx        # the mean is P(G(z) < edge)


def training(line, players, examples, prior, sgd_d, sgd_g, rng, args):
    """Yield the moments of the film.

    A fifth of the iterations of Algorithm 1 brings G and D near to convergence. Then G is moved
    away from the data. D alone is trained for the panels (a) and (b), then G alone for panel
    (c). The other iterations of Algorithm 1 lead to panel (d).
    """
    first = args.iterations // 5

    def look(caption="", iteration=first):
        return line.look(players, caption, iteration)

    def algorithm1(begin, end):
        for record in train(players, examples, prior, sgd_d, sgd_g, rng, end - begin, K):
            i = begin + record.iteration + 1
            if watch.is_shown(i, args.iterations, args.frames):
                yield look(iteration=i)

    def D_alone(steps):
        for _ in range(steps):
            z = sample_noise(players, prior, rng)
            players.draw_masks_d(rng)
            discriminator_gradient(players, next(examples), z)
            sgd_d.ascend()

    yield look("the beginning", 0)
    yield from algorithm1(0, first)
    players.G.layers[-1].b += AWAY
    yield look("G is moved away")
    D_alone(POOR)
    yield look("(a) D has begun to tell them apart")
    for _ in range(8):
        D_alone(ALONE // 8)
        yield look()
    yield look("(b) D alone: towards D*")
    for _ in range(FOLLOW):
        z = sample_noise(players, prior, rng)
        players.draw_masks_g(rng)
        generator_gradient(players, z)
        sgd_g.descend()
        yield look()
    yield look("(c) G alone: where D's slope leads it")
    yield from algorithm1(first, args.iterations)
    yield look("(d) Algorithm 1 to its end", args.iterations)


def main(args):
    out, seed, iterations = options.folder(args.out, old=FILES), args.seed, args.iterations
    data, prior = toy.ON_A_LINE[args.data](), Uniform(1.)
    # The first layers' ranges spread the bends of the tanh units over all z (G) and all x (D).
    G = Net([Linear(1, WIDTH, uniform(2), uniform(2)), Tanh(), Linear(WIDTH, WIDTH), Tanh(),
             Linear(WIDTH, 1, uniform(.3), constant(1.))], seed=2 * seed)
    D = Net([Linear(1, WIDTH, uniform(1), uniform(3)), Tanh(), Linear(WIDTH, WIDTH), Tanh(),
             Linear(WIDTH, 1)], seed=2 * seed + 1)
    players = Players(G, D, M, OBJECTIVES[args.objective], args.generator_loss, penalty=R1(GAMMA))
    sgd_d = Adam(D, LinearDecay(LR_D, POOR + ALONE + K * iterations), b1=0., b2=.99)
    sgd_g = Adam(G, LinearDecay(LR_G, FOLLOW + iterations), b1=0., b2=.99)
    examples = toy.endless(xp.asarray(data.sample(100_000, (seed, 1))), M, seed)
    line, optimal_value = Line(data, prior), players.objective.optimal_value

    def draw(fig, moments):
        frame(fig, line, moments, args.data, iterations, optimal_value)

    print(f"Figure 1 on p_data = {args.data}, {xp.name()}: {iterations} iterations of Algorithm 1, "
          f"k = {K}, m = {M}")
    moments, seconds = watch.run(
        training(line, players, examples, prior, sgd_d, sgd_g, xp.default_rng(seed), args),
        draw, "Figure 1", args, lambda m: f"V - f(1) {m.V:+.4f}, sup |D - 1/2| {m.sup_half:.3f}")
    pictures(out, line, moments, iterations, optimal_value)
    watch.film(os.path.join(out, "figure1"), draw, moments)

    last = moments[-1]
    jsd = theory.jsd(line.p_data / line.p_data.sum(), last.p_g / last.p_g.sum())
    result = {"data": args.data, "seed": seed, "objective": args.objective,
              "generator_loss": args.generator_loss, "iterations": iterations, "backend": xp.name(),
              "seconds": seconds, "V": last.V + optimal_value, "V_minus_f_1": last.V,
              "sup_D_minus_D_star": last.sup, "sup_D_minus_half": last.sup_half, "jsd": jsd}
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result, indent=1))
    print(f"{iterations} iterations in {seconds:.0f} s: V - ({optimal_value:.4f}) = {last.V:+.4f}; "
          f"JSD(p_data || p_g) = {jsd:.4f} nats\n"
          f"where 99 % of p_data lies: sup |D - 1/2| = {last.sup_half:.3f}, sup |D - D*| = {last.sup:.3f}\n"
          f"{out}: figure1.png convergence.png figure1.gif figure1.html result.json")
    return 0


# --- Pictures ---------------------------------------------------------------------------------


def pictures(out, line, moments, iterations, optimal_value):
    """Write figure1.png and convergence.png."""
    from matplotlib.figure import Figure
    fig = Figure((13, 3.9), layout="constrained")
    of_paper = [m for m in moments if m.caption.startswith("(")]
    for axis, moment in zip(fig.subplots(1, 4), of_paper):
        panel(axis, line, moment)
        axis.set_title(moment.caption, fontsize=10)
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    plots.save(os.path.join(out, "figure1.png"), fig)
    fig = Figure((9, 3.4), layout="constrained")
    curves(fig.subplots(1, 2), moments, iterations, optimal_value)
    plots.save(os.path.join(out, "convergence.png"), fig)


def panel(axis, line, moment):
    """Draw a panel of Figure 1: p_data, p_g, D and D*; below them, how G maps z to x."""
    top = 1.1 * max(1, line.p_data.max())
    axis.plot(line.x, line.p_data, "k:", lw=1.8, label="p_data")
    axis.plot(line.x, moment.p_g, color="tab:green", lw=1.8, label="p_g")
    axis.plot(line.x, moment.D_star, color="tab:blue", lw=.7, label="D* = p_data / (p_data + p_g)")
    axis.plot(line.x, moment.D, "--", color="tab:blue", lw=1.8, label="D")

    low, high = line.data.extent
    x_level, z_level = -.12 * top, -.45 * top
    z = line.z / np.abs(line.z).max() * .3 * (high - low) + (low + high) / 2
    for name, level, ends in (("x", x_level, (low, high)), ("z", z_level, (z[0], z[-1]))):
        axis.plot(ends, [level, level], "k", lw=.8)
        axis.text(low, level, name, ha="right", va="center", fontsize=11, fontstyle="italic")
    i = np.linspace(0, QUANTILES - 1, 21).round().astype(int)
    i = i[(low < moment.Gz[i]) & (moment.Gz[i] < high)]
    axis.quiver(z[i], np.full(len(i), z_level), moment.Gz[i] - z[i], np.full(len(i), x_level - z_level),
                angles="xy", scale_units="xy", scale=1, width=.003, headwidth=6, color=".3")
    axis.set(xlim=(low - .04 * (high - low), high), ylim=(-.5 * top, top), xticks=[], yticks=[0, .5, 1])
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def curves(axes, moments, iterations, optimal_value):
    """Left: V and its value at the optimum. Right: how far D is from D* and from 1/2."""
    t = [m.iteration for m in moments]
    axes[0].plot(t, [m.V + optimal_value for m in moments], lw=1, label="V(D, G)")
    label = "-log 4" if optimal_value == -math.log(4) else f"f(1) = {optimal_value:g}"
    axes[0].axhline(optimal_value, color="k", ls=":", label=label)
    axes[0].set_ylabel("nats")
    axes[1].plot(t, [m.sup for m in moments], lw=1, label="sup |D - D*|")
    axes[1].plot(t, [m.sup_half for m in moments], lw=1, label="sup |D - 1/2|")
    axes[1].axhline(.05, color="k", ls=":", lw=.8, label=".05")
    axes[1].set_ylim(0, 1)
    for axis in axes:
        axis.set_xscale("symlog", linthresh=1)
        axis.set(xlim=(0, iterations), xlabel="iteration of Algorithm 1")
        axis.legend(fontsize=8)
        axis.grid(alpha=.3)


def frame(fig, line, moments, name, iterations, optimal_value):
    """Draw a frame of the film: the panel of the last moment, and the curves so far."""
    fig.clf()
    grid = fig.add_gridspec(2, 2, width_ratios=(3, 2), left=.05, right=.98, top=.92, bottom=.1, hspace=.35)
    axis, last = fig.add_subplot(grid[:, 0]), moments[-1]
    panel(axis, line, last)
    axis.set_ylim(top=1.3 * axis.get_ylim()[1])             # room for the legend
    axis.legend(loc="upper left", fontsize=9, ncols=2)
    when = f"iteration {last.iteration} of Algorithm 1" if last.iteration else "before Algorithm 1"
    axis.set_title(f"{name}, {when}", fontsize=11)
    if last.caption:
        axis.text(.98, .84, last.caption, transform=axis.transAxes, ha="right", va="top", fontsize=11)
    curves([fig.add_subplot(grid[0, 1]), fig.add_subplot(grid[1, 1])], moments, iterations, optimal_value)


if __name__ == "__main__":
    options.run_program(parser(), main, threads=1)
