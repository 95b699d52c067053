"""Compare a Wasserstein critic's V with the exact distance W_1, which is known on a line.

A critic is a D whose V estimates W_1. If its slope is nowhere above K, V is at most K W_1. The
gradient penalty holds K near 1. Clipping all weights to [-c, c] limits K too, but c does not
tell the value of K. First each critic trains alone, on a fixed pair of Gaussians. Then whole
trainings show whether V follows W_1 while G improves.

The run writes wasserstein.png and result.json. Source: Arjovsky, Chintala, Bottou 2017.
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import json
import math
import os
import time
from typing import NamedTuple

import numpy as np

from npgan import backend as xp
from npgan import metrics
from npgan.data import toy
from npgan.divergences import WASSERSTEIN
from npgan.gan import Players, discriminator_gradient, sample_noise, train
from npgan.layers import LeakyReLU, Linear, Tanh, constant, he, uniform
from npgan.net import Net
from npgan.optim import Adam, Clip, LinearDecay, WarmUp, steps
from npgan.penalty import GradientPenalty
from npgan.priors import Normal, Uniform
from npgan.runs import checkpoint, fit, options, plots

MEAN, SD = .5, 2.               # the pair: p_data = N(0, 1), p_g = N(MEAN, SD^2)
M, WIDTH = 128, 64              # examples in a minibatch, units in a hidden layer
LR_D, LR_G, B2 = .002, .0003, .99       # rates of Adam with b1 = 0 (RMSProp), each with a LinearDecay
LR_CLIPPED = .005               # the rate of a clipped D is LR_CLIPPED c: the published 5e-5 at c = .01
K = 5                           # D's steps for one of G; a clipped D has the published warm-up too
LAM_TOY = .1                    # the published weight of the gradient penalty for toy data
LOOKS, SAMPLES = 100, 10_000    # Moments in a training; samples of G, and data, that judge each Moment
FILES = "wasserstein.png", "result.json"        # what a run writes


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", choices=toy.ON_A_LINE, default="mixture",
                   help="p_data of the trainings (default mixture)")
    p.add_argument("--lam", type=options.positive, nargs="+", default=[10., 100.], metavar="LAMBDA",
                   help="weights of the gradient penalty; the training of a one-sided critic takes the first "
                        "(default 10 100)")
    p.add_argument("--clip", type=options.positive, nargs="+", default=[.1, .03, .01], metavar="C",
                   help="limits of clipped weights; the training of a clipped critic takes the first "
                        "(default .1 .03 .01)")
    options.add(p, "--iterations", default=1000,
                help="steps of each critic alone, and of G in each training (default 1000)")
    options.add(p, "--out", default="runs/wasserstein")
    options.add(p, "--seed", "--quiet")
    return p


# --- The pair of Gaussians, by quadrature -----------------------------------------------------

X = np.linspace(-10, 11, 1051)


def normal(mean, sd):
    """The density of N(mean, sd^2) at X."""
    return toy.gaussian(mean, sd).density(X[:, None])


P, Q = normal(0, 1), normal(MEAN, SD)


def integral(y):
    return float(y.sum() * (X[1] - X[0]))


def exact():
    """W_1(N(0, 1), N(m, s^2)) = E|m + (s - 1) z|, z ~ N(0, 1)

    On a line the optimal transport plan keeps the order. So it moves each z to m + s z.
    """
    d = abs(SD - 1)
    return (d * math.sqrt(2 / math.pi) * math.exp(-MEAN ** 2 / (2 * d * d))
            + MEAN * math.erf(MEAN / (d * math.sqrt(2))))


def penalised(lam):
    """V of the best function D under the penalty, which maximises V - lam E(|D'(x^)| - 1)^2:

        V = W_1 + 1 / (2 lam) integral of h^2 / r

    h = F_g - F_data is the difference of the distribution functions, r is the density of x^.

    Proof: V is the integral of D' h, and W_1 is the integral of |h|. At each x,
    D' h - lam r (|D'| - 1)^2 is largest if D' has the sign of h and the length
    1 + |h| / (2 lam r). This slope is above 1, and steepest where x^ is rare. So the one-sided
    penalty has the same best D.
    """
    h = np.cumsum(Q - P) * (X[1] - X[0])
    e = (np.arange(400) + .5) / 400
    r = sum(normal((1 - t) * MEAN, math.hypot(t, (1 - t) * SD)) for t in e) / len(e)
    return exact() + integral(h * h / r) / (2 * lam)


# --- Critics ----------------------------------------------------------------------------------


class OneSided(GradientPenalty):
    """P = lam E max(|grad_x D(x^)| - 1, 0)^2: D may be flat (Petzka, Fischer, Lukovnikov 2018)

    On a line the two-sided penalty is a trap. D' = 1 and D' = -1 cost nothing, but D' = 0
    between them costs lam. If D' begins with the wrong sign, ascent of V - P carries it through
    0 only where |h| > 2 lam r (h and r as in `penalised`). With the one-sided penalty V - P is
    concave in D', so there is no trap. Its maximum is at the same D.
    """

    def h(self, n):
        return self.weight * xp.maximum(n - 1, 0) ** 2

    def slope_over_norm(self, n):
        return 2 * self.weight * xp.maximum(n - 1, 0) / xp.where(n > 0, n, 1)


class Critic(NamedTuple):
    """A way to limit the slope of D.

    how: "two-sided" (the published penalty), "raised" (two-sided, but lam rises from LAM_TOY to
    `value` in the first half of the training), "one-sided" or "clip"
    """

    how: str
    value: float            # lam, or c

    def players(self, G, seed, updates):
        """Players with G and a new D, and D's optimizer."""
        if self.how == "clip":
            c = self.value
            D = discriminator(uniform(c), uniform(c), seed)
            sgd_d = Adam(D, LinearDecay(LR_CLIPPED * c, updates), b1=0., b2=B2, project=Clip(c))
            return Players(G, D, M, WASSERSTEIN), sgd_d
        D = discriminator(he, uniform(3), seed)
        penalty = OneSided(self.value) if self.how == "one-sided" else GradientPenalty(self.value)
        sgd_d = Adam(D, LinearDecay(LR_D, updates), b1=0., b2=B2)
        return Players(G, D, M, WASSERSTEIN, penalty=penalty), sgd_d

    def __str__(self):
        return f"{self.how}, {'c' if self.how == 'clip' else 'lam'} = {self.value:g}"


def discriminator(W, b, seed):
    """A new D. W, b: initialisers of all weights, and of the first biases.

    The first biases decide where D has its kinks at the start.
    """
    return Net([Linear(1, WIDTH, W, b), LeakyReLU(), Linear(WIDTH, WIDTH, W), LeakyReLU(),
                Linear(WIDTH, 1, W)], seed=seed)


class Moment(NamedTuple):
    """A critic after some iterations: V, its largest slope K, and the exact distance W_1."""

    iteration: int
    V: float
    K: float
    W: float


def values(net, x):
    """net(x) for an array of numbers x, on the host."""
    return xp.asnumpy(net(xp.asarray(np.reshape(x, (-1, 1)), "float32")))[:, 0].astype(float)


def largest_slope(a, x):
    """The largest |D'|, from a = D(x) at x with equal spacing."""
    return float(np.abs(np.diff(a)).max() / (x[1] - x[0]))


def is_looked_at(i, iterations):
    return i % max(iterations // LOOKS, 1) == 0 or i == iterations


def alone(critic, seed, iterations):
    """Train a critic on the pair, with the steps of D in Algorithm 1, and yield its Moments.

    V is computed by quadrature.
    """
    G, prior = Net([Linear(1, 1, constant(SD), constant(MEAN))]), Normal()
    players, sgd_d = critic.players(G, seed, iterations)
    rng, x = xp.default_rng(seed), xp.empty((M, 1), "float32")
    for i in range(iterations + 1):
        if is_looked_at(i, iterations):
            a = values(players.D, X)
            yield Moment(i, integral((P - Q) * a), largest_slope(a, X), exact())
        if critic.how == "raised":
            players.penalty.weight = critic.value * (LAM_TOY / critic.value) ** max(1 - 2 * i / iterations, 0)
        z = sample_noise(players, prior, rng)
        players.draw_masks_d(rng)
        prior(rng, x)                                       # p_data is N(0, 1), as the prior is
        discriminator_gradient(players, x, z)
        sgd_d.ascend()


def training(critic, data, seed, iterations):
    """Run Algorithm 1 and yield its Moments.

    V and W_1 come from the same arrays: SAMPLES samples of G, and as many data on which neither
    player is trained.
    """
    prior, k = Uniform(1.), WarmUp(K) if critic.how == "clip" else K
    G = Net([Linear(1, WIDTH, uniform(2), uniform(2)), Tanh(), Linear(WIDTH, WIDTH), Tanh(),
             Linear(WIDTH, 1)], seed=2 * seed)
    players, sgd_d = critic.players(G, 2 * seed + 1, sum(steps(k, i) for i in range(iterations)))
    sgd_g = Adam(G, LinearDecay(LR_G, iterations), b1=0., b2=B2)
    examples = toy.endless(xp.asarray(data.sample(100_000, (seed, 1))), M, seed)
    x, z = data.sample(SAMPLES, (seed, 2)), np.linspace(-prior.r, prior.r, SAMPLES)
    line = np.linspace(*data.extent, 501)

    def look(i):
        Gz = values(G, z)
        V = float(values(players.D, x).mean() - values(players.D, Gz).mean())
        return Moment(i, V, largest_slope(values(players.D, line), line), metrics.wasserstein(x, Gz[:, None]))

    yield look(0)
    for record in train(players, examples, prior, sgd_d, sgd_g, xp.default_rng(seed), iterations, k):
        if is_looked_at(record.iteration + 1, iterations):
            yield look(record.iteration + 1)


# --- The run ----------------------------------------------------------------------------------


def main(args):
    out, seed, iterations = options.folder(args.out, old=FILES), args.seed, args.iterations
    data, lams, clips = toy.ON_A_LINE[args.data](), dict.fromkeys(args.lam), dict.fromkeys(args.clip)
    critics = [Critic(how, lam) for lam in lams for how in ("two-sided", "raised", "one-sided")]
    critics += [Critic("clip", c) for c in clips]
    chosen = Critic("two-sided", LAM_TOY), Critic("one-sided", args.lam[0]), Critic("clip", args.clip[0])
    print(f"{len(critics)} critics alone, then {len(chosen)} trainings on p_data = {args.data}, {xp.name()}: "
          f"{iterations} iterations each, m = {M}")
    begun = time.perf_counter()
    with fit.progress_bar(0, (len(critics) + len(chosen)) * iterations, args.quiet) as bar:
        pair = {critic: watched(alone(critic, seed, iterations), critic, bar) for critic in critics}
        trainings = {critic: watched(training(critic, data, seed, iterations), critic, bar)
                     for critic in chosen}
    seconds = time.perf_counter() - begun

    picture(os.path.join(out, "wasserstein.png"), pair, trainings, args.data)
    pair_rows = {str(critic): judged_pair(critic, moments[-1]) for critic, moments in pair.items()}
    rows = {str(critic): judged_training(moments) for critic, moments in trainings.items()}
    curves = {"pair": dict(zip(pair_rows, pair.values())), "trainings": dict(zip(rows, trainings.values()))}
    result = {"data": args.data, "seed": seed, "backend": xp.name(), "iterations": iterations,
              "seconds": seconds, "W": exact(), "pair": pair_rows, "trainings": rows, "curves": curves}
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result))
    print(f"\n{table(pair_rows, rows)}\n\n{seconds:.0f} s; {out}: wasserstein.png result.json")
    return 0


def watched(moments, critic, bar):
    """The list of all Moments. Raises FloatingPointError if one is not finite."""
    bar.set_description(str(critic))
    begun, seen = bar.n, []
    for moment in fit.silently(moments):
        if not np.isfinite(moment).all():
            raise FloatingPointError(f"{critic}, iteration {moment.iteration}: V is not finite; "
                                     "take another --seed, --lam or --clip")
        seen.append(moment)
        bar.update(begun + moment.iteration - bar.n)
    return seen


def judged_pair(critic, last):
    """The last Moment of a critic in numbers, beside the expected V / W_1.

    "expected" is that of the best D under the penalty. For a clipped D it is None.
    """
    return {"V": last.V, "K": last.K, "V/W": last.V / last.W, "V/KW": last.V / (last.K * last.W),
            "expected": None if critic.how == "clip" else penalised(critic.value) / last.W}


def judged_training(moments):
    """W_1 at the start and the end; medians and a correlation over all later Moments."""
    _, V, K, W = np.array(moments[1:]).T
    return {"W_first": moments[0].W, "W_last": moments[-1].W, "V/W": float(np.median(V / W)),
            "K": float(np.median(K)), "V/KW": float(np.median(V / (K * W))),
            "correlation": float(np.corrcoef(V, W)[0, 1]) if len(V) > 1 else None}


def table(pair, trainings):
    def number(value):
        return "" if value is None else f"{value:.3f}"

    lines = [f"The pair N(0, 1), N({MEAN:g}, {SD:g}²): W_1 = {exact():.4f}. K: D's largest slope.\n"
             "expected: V / W_1 of the best D under the penalty.\n"
             f"raised: two-sided, lam rises from {LAM_TOY:g} in the first half.",
             f"{'':24}        V    V/W_1  expected        K  V/(K W_1)"]
    for critic, row in pair.items():
        lines.append(f"{critic:24} {row['V']:8.4f} {row['V/W']:8.4f} {number(row['expected']):>9} "
                     f"{row['K']:8.4f}  {row['V/KW']:9.3f}")
    lines += ["\nWhole trainings: W_1 at the start (first) and the end (last), medians over the training,\n"
              "and the correlation of V and W_1",
              f"{'':24}    first     last    V/W_1        K  V/(K W_1)  correlation"]
    for critic, row in trainings.items():
        lines.append(f"{critic:24} {row['W_first']:8.4f} {row['W_last']:8.4f} {row['V/W']:8.4f} "
                     f"{row['K']:8.4f}  {row['V/KW']:9.3f}  {number(row['correlation']):>11}")
    return "\n".join(lines)


def picture(path, pair, trainings, data):
    from matplotlib.figure import Figure
    fig = Figure((13, 7), layout="constrained")
    left, right = fig.subplots(1, 2)
    for n, (critic, moments) in enumerate(pair.items()):
        t, V, K, W = np.array(moments).T
        left.plot(t, V, color=f"C{n}", lw=1.2, label=f"{critic}: {V[-1] / W[-1]:.3f} W_1")
        if critic.how == "clip":
            left.plot(t, V / K, ":", color=f"C{n}", lw=1.5, label=f"V / K: {V[-1] / K[-1] / W[-1]:.3f} W_1")
    left.axhline(exact(), color="k", lw=1, label="W_1")
    left.set(xlabel="steps of D", ylabel="V", ylim=(-exact(), 2 * exact()),
             title="Critics alone: V on a pair of Gaussians")
    for n, (critic, moments) in enumerate(trainings.items()):
        t, V, K, W = np.array(moments).T
        right.plot(t, W, color=f"C{n}", lw=1.4, label=f"{critic}: W_1")
        right.plot(t, np.where(V > 0, V, np.nan), "--", color=f"C{n}", lw=1, label="V, where it is positive")
    right.set(xlabel="iteration of Algorithm 1", ylabel="V, W_1", yscale="log",
              title=f"Whole trainings: {data}")
    right.set_ylim(bottom=.01)
    for axis in (left, right):
        axis.legend(fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(.5, -.1))
        axis.grid(alpha=.3)
    plots.save(path, fig)


if __name__ == "__main__":
    options.run_program(parser(), main, threads=1)
