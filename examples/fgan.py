"""The univariate experiment of the f-GAN paper (Nowozin, Cseke, Tomioka 2016): which Gaussian does each divergence fit to a mixture of two?

P is the mixture, Q = N(mu, sigma^2) the law of G(z) = mu + sigma z, z ~ N(0, 1). Since no Gaussian is P, each divergence D_f(P||Q) has a
minimum of its own. D, two hidden layers of 64 tanh, ascends V and G descends it, both at once: the paper's single-step method.

Writes fgan.png (the fitted densities), tables.md (what is learned beside the minimum by quadrature and beside the paper) and result.json.
"""

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
from npgan.runs import checkpoint, options, parallel, plots
from npgan.runs.fit import silently

WEIGHT, MEANS, VARIANCES = .33, (-1., 2.), (.065, 2.0025)       # of the mixture's first part; of both: all 15 published optima follow
M, WIDTH = 1024, 64                                             # examples in a minibatch, units in a hidden layer
LR_D, LR_G = .01, .1                                            # of Adam, of plain gradient descent: both fall linearly to a hundredth
PAPER = {   # (at the minimum, learned) of D_f, mu, sigma: quoted from memory of the paper; quadrature confirms the minima
    "kl": ((.2831, .2801), (1.0100, 1.0335), (1.8308, 1.8236)),
    "reverse-kl": ((.2480, .2415), (1.5782, 1.5624), (1.6319, 1.6403)),
    "jensen-shannon": ((.1280, .1226), (1.3070, 1.2854), (1.7542, 1.7659)),
    "jeffrey": ((.5705, .5151), (1.3218, 1.2295), (1.7034, 1.8087)),
    "pearson": ((.6457, .6379), (.5737, .6157), (1.9274, 1.9031)),
}


def parser():
    p = options.parser(__doc__)
    p.add_argument("--divergence", nargs="+", choices=[name for name, row in OBJECTIVES.items() if row.f],
                   default=list(PAPER), metavar="NAME", help="of %(choices)s (default: the five of the paper)")
    options.add(p, "--seeds", default=5)
    options.add(p, "--iterations", default=2000, help="iterations of each training (default 2000)")
    options.add(p, "--out", default="runs/fgan")
    options.add(p, "--workers", "--quiet")
    return p


# --- By quadrature ---------------------------------------------------------------------------------------------------------

X = np.linspace(-15, 17, 4001)


def normal(mu, sigma):
    """The density of N(mu, sigma^2) at X."""
    return toy.gaussian(mu, sigma).density(X[:, None])


P = WEIGHT * normal(MEANS[0], VARIANCES[0] ** .5) + (1 - WEIGHT) * normal(MEANS[1], VARIANCES[1] ** .5)


def integral(y):
    return float(np.sum(y) * (X[1] - X[0]))


def divergence(name, mu, sigma):
    """D_f(P || N(mu, sigma^2)), the integral of q f(p/q); infinite where it is not a number."""
    with np.errstate(all="ignore"):
        q = normal(mu, sigma)
        value = integral(q * xp.asnumpy(OBJECTIVES[name].f(xp.asarray(P / q))))
    return value if np.isfinite(value) else np.inf


def optimum(name, step=.25):
    """(D_f(P || Q*), mu*, sigma*): to the best of the eight neighbours on a lattice whose step halves wherever none is better."""
    at = 1., 1.8                                                # near the moments of P, which are the solution of kl
    while step > 1e-5:
        mu, sigma = at
        neighbours = [(mu + i * step, sigma + j * step) for i in (0, -1, 1) for j in (0, -1, 1) if sigma + j * step > 0]
        at = min(neighbours, key=lambda place: divergence(name, *place))          # the first of equals: it stays where it is
        step = step / 2 if at == (mu, sigma) else step
    return divergence(name, *at), *at


# --- By adversarial training -----------------------------------------------------------------------------------------------


def mixture(rng):
    """Minibatches of P, (M, 1), drawn on the device without end."""
    first, x = xp.empty((M, 1), "float32"), xp.empty((M, 1), "float32")
    while True:
        rng.random(first.shape, first.dtype, first)
        rng.standard_normal(x.shape, x.dtype, x)
        parts = (mean + variance ** .5 * x for mean, variance in zip(MEANS, VARIANCES))
        yield xp.where(first < WEIGHT, *parts)


def fit(job):
    """(V, mu, sigma) that the players learn; job: (name, seed, iterations). FloatingPointError where V is not finite.

    mu and sigma are means over the last quarter of the iterations; V is the last D's bound at that G.
    """
    name, seed, iterations = job
    objective = OBJECTIVES[name]
    G = Net([Linear(1, 1, constant(1), constant(0))])
    D = Net([Linear(1, WIDTH), Tanh(), Linear(WIDTH, WIDTH), Tanh(), Linear(WIDTH, 1)], seed=seed)
    p = Players(G, D, M, objective, "minimax")
    adam_d, sgd_g = Adam(D, Ramp(1, LR_D, LR_D / 100, iterations)), Momentum(G, Ramp(1, LR_G, LR_G / 100, iterations))
    examples, rng, last = mixture(xp.default_rng(seed, 1)), xp.default_rng(seed, 0), iterations - iterations // 4
    V, theta, averaged = [], xp.zeros_like(G.theta), 0
    for record in silently(train_simultaneous(p, examples, Normal(), adam_d, sgd_g, rng, iterations)):
        V.append(record.V)
        if record.iteration >= last or record.iteration == iterations - 1:
            theta += G.theta
            averaged += 1
        if len(V) == 200 or record.iteration == iterations - 1:             # reading waits for the device
            bad = np.flatnonzero(~np.isfinite(xp.asnumpy(xp.stack(V))))
            if len(bad):
                raise FloatingPointError(f"{name}, seed {seed}, iteration {record.iteration + 2 - len(V) + bad[0]}: V is not finite")
            V.clear()
    theta /= averaged
    sigma, mu = map(float, xp.asnumpy(theta))
    sigma = abs(sigma)                                                      # G's weight may be negative: z has no sign
    return bound(objective, D, mu, sigma), mu, sigma


def bound(objective, D, mu, sigma):
    """V(D, G) = E_p[ T(a) ] - E_q[ F(a) ] by quadrature, which leaves none of a sample's noise: at most D_f(P||Q), whatever D."""
    a = D(xp.asarray(X[:, None].astype("float32"))).astype("float64")[:, 0]
    T, F = xp.asnumpy(objective.T(a)), xp.asnumpy(objective.F(a))
    return integral(P * T - normal(mu, sigma) * F)


# --- What a run writes -----------------------------------------------------------------------------------------------------


def cross(learned):
    """D_f(P || Q) by quadrature: a row for each Q, at the mean mu and sigma of its trainings, a column for each f."""
    return np.array([[divergence(f, *learned[name][:, 1:].mean(axis=0)) for f in learned] for name in learned])


def tables(optima, learned, table, seeds, iterations):
    """In Markdown: the minima beside what was learned, and every divergence at every fitted Gaussian."""
    lines = [f"Mean and standard deviation over {seeds} trainings of {iterations} iterations. D_f is in the units of f, nats where it is a "
             "logarithm; what is\nlearned of it is the bound V. The paper's numbers are quoted from memory of it.\n",
             "| divergence | | minimum, by quadrature | learned | paper: minimum | paper: learned |", "|---|---|---|---|---|---|"]
    for name in learned:
        for i, quantity in enumerate(("D_f(P, Q)", "mu", "sigma")):
            values, paper = learned[name][:, i], "{:.4f} | {:.4f}".format(*PAPER[name][i]) if name in PAPER else "|"
            mean = f"{values.mean():.4f} +- {values.std():.4f}"
            lines.append(f"| {'' if i else name} | {quantity} | {optima[name][i]:.4f} | {mean} | {paper} |")
    lines += ["\nEach row is a Gaussian, by the divergence that it was fitted with; each column a divergence D_f(P, Q), by quadrature. The "
              "smallest of\neach column is bold.\n", f"| fitted with | {' | '.join(learned)} |", "|---" * (len(learned) + 1) + "|"]
    for name, row in zip(learned, table):
        cells = (f"**{value:.5f}**" if value == least else f"{value:.5f}" for value, least in zip(row, table.min(axis=0)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def picture(path, optima, learned):
    """Left, P and the fitted Gaussians; right, their parameters: each training a dot, each minimum a cross."""
    from matplotlib.figure import Figure
    fig = Figure((12, 4.6), layout="constrained")
    left, right = fig.subplots(1, 2, width_ratios=(3, 2))
    left.fill_between(X, P, color=".85", label="P, the mixture")
    for i, name in enumerate(sorted(learned, key=lambda name: optima[name][1])):
        _, mu, sigma = learned[name].mean(axis=0)
        left.plot(X, normal(mu, sigma), color=f"C{i}", label=f"{name}: N({mu:.2f}, {sigma:.2f}²)")
        right.plot(*learned[name][:, 1:].T, "o", color=f"C{i}", markersize=4, alpha=.6)
        right.plot(*optima[name][1:], "x", color=f"C{i}", markersize=10, markeredgewidth=2, label=name)
    left.set(xlim=(-5, 7.5), xlabel="x", ylabel="density", title="From covering all of P to seeking its wide mode")
    right.set(xlabel="mu", ylabel="sigma", title="learned (dots), minimum of D_f(P||Q) (crosses)")
    for axis in (left, right):
        axis.legend(fontsize=9)
        axis.grid(alpha=.3)
    plots.save(path, fig)


def main(args):
    out, names, seeds, iterations = options.folder(args.out), list(dict.fromkeys(args.divergence)), args.seeds, args.iterations
    jobs, begun = [(name, seed, iterations) for name in names for seed in range(seeds)], time.perf_counter()
    workers = parallel.workers(args.workers, jobs)
    print(f"{len(jobs)} trainings of {iterations} iterations, {xp.name()}, {workers} at a time")
    from tqdm import tqdm
    bar = tqdm(parallel.each(fit, jobs, workers), total=len(jobs), unit="training", disable=args.quiet, dynamic_ncols=True)
    found = dict(bar)
    results = np.array([found[job] for job in jobs])
    seconds = time.perf_counter() - begun
    learned, optima = dict(zip(names, results.reshape(len(names), seeds, 3))), {name: optimum(name) for name in names}
    table = cross(learned)
    others = [name for i, name in enumerate(names) if table[:, i].argmin() != i]

    text = tables(optima, learned, table, seeds, iterations)
    print(f"\n{text}\n" + (f"By {', '.join(others)}, another of these Gaussians is nearer to P than its own." if others else
                           "By each divergence, its own Gaussian is the nearest to P of them all."))
    checkpoint.write(os.path.join(out, "tables.md"), text)
    picture(os.path.join(out, "fgan.png"), optima, learned)
    result = {"backend": xp.name(), "iterations": iterations, "seeds": seeds, "seconds": seconds, "divergences": {
        name: {"minimum": dict(zip(("D_f", "mu", "sigma"), optima[name])),
               "learned": dict(zip(("V", "mu", "sigma"), learned[name].T.tolist())),
               "D_f_by": dict(zip(names, row))} for name, row in zip(names, table.tolist())}}
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result, indent=1))
    print(f"{seconds:.0f} s; {out}: fgan.png tables.md result.json")
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
