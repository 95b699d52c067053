"""Which Gaussian does each divergence fit to a mixture of two Gaussians?

This is the univariate experiment of the f-GAN paper (Nowozin, Cseke, Tomioka 2016). P is the
mixture, and Q = N(mu, sigma^2) is the distribution of G(z) = mu + sigma z, z ~ N(0, 1). No
Gaussian equals P, so each divergence D_f(P||Q) has its own minimum. In each step D ascends V
and G descends V, both from the same minibatch: the single-step method of the f-GAN paper.

The run writes

    fgan.png       the fitted densities
    tables.md      the learned Gaussians, the minima by quadrature, the f-GAN paper's numbers
    result.json    the same numbers, for each seed
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import json
import os
import time

import numpy as np

from npgan import backend as xp
from npgan.data import toy
from npgan.divergences import OBJECTIVES
from npgan.gan import Players, train_simultaneous
from npgan.layers import Linear, Tanh, constant
from npgan.net import Net
from npgan.optim import Adam, Momentum, Ramp
from npgan.priors import Normal
from npgan.runs import checkpoint, fit, options, parallel, plots

# The mixture: the first weight, both means and variances. They reproduce the published minima.
WEIGHT, MEANS, VARIANCES = .33, (-1., 2.), (.065, 2.0025)
M, WIDTH = 1024, 64             # examples in a minibatch, units in a hidden layer
LR_D, LR_G = .01, .1            # of D's Adam, of G's plain descent; both fall linearly to a hundredth
PAPER = {       # (minimum, learned) of D_f, mu, sigma: quoted from memory; quadrature confirms the minima
    "kl": ((.2831, .2801), (1.0100, 1.0335), (1.8308, 1.8236)),
    "reverse-kl": ((.2480, .2415), (1.5782, 1.5624), (1.6319, 1.6403)),
    "jensen-shannon": ((.1280, .1226), (1.3070, 1.2854), (1.7542, 1.7659)),
    "jeffrey": ((.5705, .5151), (1.3218, 1.2295), (1.7034, 1.8087)),
    "pearson": ((.6457, .6379), (.5737, .6157), (1.9274, 1.9031)),
}
FILES = "fgan.png", "tables.md", "result.json"  # what a run writes


def parser():
    p = options.parser(__doc__)
    p.add_argument("--divergence", nargs="+", choices=[name for name, row in OBJECTIVES.items() if row.f],
                   default=list(PAPER), metavar="NAME",
                   help="some of %(choices)s (default: the five of the f-GAN paper)")
    options.add(p, "--seeds", default=5)
    options.add(p, "--iterations", default=2000, help="iterations of each training (default 2000)")
    options.add(p, "--out", default="runs/fgan")
    options.add(p, "--workers", "--quiet")
    return p


# --- By quadrature ----------------------------------------------------------------------------

X = np.linspace(-15, 17, 4001)


def normal(mu, sigma):
    """The density of N(mu, sigma^2) at X."""
    return toy.gaussian(mu, sigma).density(X[:, None])


P = WEIGHT * normal(MEANS[0], VARIANCES[0] ** .5) + (1 - WEIGHT) * normal(MEANS[1], VARIANCES[1] ** .5)


def integral(y):
    return float(np.sum(y) * (X[1] - X[0]))


def divergence(name, mu, sigma):
    """D_f(P || N(mu, sigma^2)), the integral of q f(p/q), or inf if it is not finite."""
    with np.errstate(all="ignore"):
        q = normal(mu, sigma)
        value = integral(q * xp.asnumpy(OBJECTIVES[name].f(xp.asarray(P / q))))
    return value if np.isfinite(value) else np.inf


def optimum(name, step=.25):
    """(D_f(P || Q*), mu*, sigma*) of the Gaussian Q* with the smallest divergence.

    The search walks on a lattice of (mu, sigma), each time to the best of the eight neighbours.
    If no neighbour is better, the step of the lattice halves.
    """
    best = 1., 1.8                                  # near the mean and the standard deviation of P
    while step > 1e-5:
        mu, sigma = best
        places = [(mu + i * step, sigma + j * step) for i in (0, -1, 1) for j in (0, -1, 1)
                  if sigma + j * step > 0]
        best = min(places, key=lambda place: divergence(name, *place))
        if best == (mu, sigma):
            step /= 2
    return divergence(name, *best), *best


def bound(objective, D, mu, sigma):
    """V(D, G) = E_P[ T(a) ] - E_Q[ F(a) ] by quadrature: for every D at most D_f(P||Q)."""
    a = D(xp.asarray(X[:, None].astype("float32"))).astype("float64")[:, 0]
    T, F = xp.asnumpy(objective.T(a)), xp.asnumpy(objective.F(a))
    return integral(P * T - normal(mu, sigma) * F)


# --- By adversarial training ------------------------------------------------------------------


def mixture(rng):
    """Endless minibatches of P, (M, 1), drawn on the device."""
    u, x = xp.empty((M, 1), "float32"), xp.empty((M, 1), "float32")
    while True:
        rng.random(u.shape, u.dtype, u)
        rng.standard_normal(x.shape, x.dtype, x)
        first, second = (mean + variance ** .5 * x for mean, variance in zip(MEANS, VARIANCES))
        yield xp.where(u < WEIGHT, first, second)


def learn(job):
    """(V, mu, sigma) after a whole training.

    job: (name of the divergence, seed, iterations)
    mu and sigma are means over the last quarter of the iterations. V is the bound that the last
    D gives for this Gaussian. Raises FloatingPointError if a value is not finite.
    """
    name, seed, iterations = job
    G = Net([Linear(1, 1, constant(1), constant(0))])
    D = Net([Linear(1, WIDTH), Tanh(), Linear(WIDTH, WIDTH), Tanh(), Linear(WIDTH, 1)], seed=seed)
    players = Players(G, D, M, OBJECTIVES[name], "minimax")
    adam_d = Adam(D, Ramp(1, LR_D, LR_D / 100, iterations))
    sgd_g = Momentum(G, Ramp(1, LR_G, LR_G / 100, iterations))
    examples, rng = mixture(xp.default_rng(seed, 1)), xp.default_rng(seed, 0)

    last_quarter = range(min(iterations - iterations // 4, iterations - 1), iterations)
    total, unread = xp.zeros_like(G.theta), []
    records = train_simultaneous(players, examples, Normal(), adam_d, sgd_g, rng, iterations)
    for record in fit.silently(records):
        if record.iteration in last_quarter:
            total += G.theta
        unread.append(record)
        if len(unread) == 200 or record.iteration == iterations - 1:        # `read` waits for the device
            fit.read(unread, 0, f"{name}, seed {seed}")
            unread.clear()
    total /= len(last_quarter)
    sigma, mu = map(float, xp.asnumpy(total))
    sigma = abs(sigma)                                      # z is symmetric, so G's weight may be -sigma
    return bound(OBJECTIVES[name], D, mu, sigma), mu, sigma


# --- What a run writes ------------------------------------------------------------------------


def main(args):
    out, names = options.folder(args.out, old=FILES), list(dict.fromkeys(args.divergence))
    jobs = [(name, seed, args.iterations) for name in names for seed in range(args.seeds)]
    workers = parallel.worker_count(args.workers, jobs)
    print(f"{len(jobs)} trainings of {args.iterations} iterations, {xp.name()}, {workers} at a time")
    found, begun = {}, time.perf_counter()
    with fit.progress_bar(0, len(jobs), args.quiet, "training") as bar:
        for job, result in parallel.each(learn, jobs, workers):
            found[job] = result
            bar.update()
    seconds = time.perf_counter() - begun
    learned = {name: np.array([found[job] for job in jobs if job[0] == name]) for name in names}
    optima = {name: optimum(name) for name in names}
    crossed = np.array([[divergence(f, *learned[name][:, 1:].mean(axis=0)) for f in names]
                        for name in names])

    text = tables(optima, learned, crossed, args.seeds, args.iterations)
    others = [name for i, name in enumerate(names) if crossed[:, i].argmin() != i]
    if others:
        comparison = f"By {', '.join(others)}, a Gaussian fitted with another divergence is nearer to P."
    else:
        comparison = "By each divergence, the Gaussian fitted with it is the nearest to P."
    print(f"\n{text}\n{comparison}")
    checkpoint.write(os.path.join(out, "tables.md"), text)
    picture(os.path.join(out, "fgan.png"), optima, learned)
    result = {"backend": xp.name(), "iterations": args.iterations, "seeds": args.seeds, "seconds": seconds,
              "divergences": {
                  name: {"minimum": dict(zip(("D_f", "mu", "sigma"), optima[name])),
                         "learned": dict(zip(("V", "mu", "sigma"), learned[name].T.tolist())),
                         "D_f_by": dict(zip(names, row))} for name, row in zip(names, crossed.tolist())}}
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result, indent=1))
    print(f"{seconds:.0f} s; {out}: fgan.png tables.md result.json")
    return 0


def tables(optima, learned, crossed, seeds, iterations):
    """Two tables in Markdown: minima and learned values; each divergence of each Gaussian.

    crossed: D_f(P || Q), a row for each fitted Q, a column for each f
    """
    lines = [f"Mean and standard deviation over {seeds} trainings of {iterations} iterations. The learned\n"
             "D_f is the bound V. D_f has the unit of f: nats if f contains a logarithm. The numbers of the\n"
             "f-GAN paper are quoted from memory.\n",
             "| divergence | quantity | minimum, by quadrature | learned | paper: minimum | paper: learned |",
             "|---|---|---|---|---|---|"]
    for name in learned:
        for i, quantity in enumerate(("D_f(P, Q)", "mu", "sigma")):
            values = learned[name][:, i]
            paper = "{:.4f} | {:.4f}".format(*PAPER[name][i]) if name in PAPER else "|"
            mean = f"{values.mean():.4f} +- {values.std():.4f}"
            first = "" if i else name
            lines.append(f"| {first} | {quantity} | {optima[name][i]:.4f} | {mean} | {paper} |")
    lines += ["\nEach row is a Gaussian, named by the divergence with which it was fitted. Each column is a\n"
              "divergence D_f(P, Q), by quadrature. The smallest value of each column is bold.\n",
              f"| fitted with | {' | '.join(learned)} |", "|---" * (len(learned) + 1) + "|"]
    for name, row in zip(learned, crossed):
        cells = [f"**{value:.5f}**" if value == smallest else f"{value:.5f}"
                 for value, smallest in zip(row, crossed.min(axis=0))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def picture(path, optima, learned):
    """Draw P and the fitted Gaussians; beside them mu and sigma, learned and at the minimum."""
    from matplotlib.figure import Figure
    fig = Figure((12, 4.6), layout="constrained")
    left, right = fig.subplots(1, 2, width_ratios=(3, 2))
    left.fill_between(X, P, color=".85", label="P, the mixture")
    for i, name in enumerate(sorted(learned, key=lambda name: optima[name][1])):
        _, mu, sigma = learned[name].mean(axis=0)
        left.plot(X, normal(mu, sigma), color=f"C{i}", label=f"{name}: N({mu:.2f}, {sigma:.2f}²)")
        right.plot(*learned[name][:, 1:].T, "o", color=f"C{i}", markersize=4, alpha=.6)
        right.plot(*optima[name][1:], "x", color=f"C{i}", markersize=10, markeredgewidth=2, label=name)
    left.set(xlim=(-5, 7.5), xlabel="x", ylabel="density",
             title="From covering all of P to seeking its wide mode")
    right.set(xlabel="mu", ylabel="sigma", title="learned (dots), minimum of D_f(P||Q) (crosses)")
    for axis in (left, right):
        axis.legend(fontsize=9)
        axis.grid(alpha=.3)
    plots.save(path, fig)


if __name__ == "__main__":
    options.run_program(parser(), main, threads=1)
