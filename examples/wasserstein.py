"""How near is a Wasserstein critic's V to the distance it stands for? On a line W_1 is known exactly, and the two can be compared.

V is at most K W_1 for a critic no steeper than K. The gradient penalty holds K near 1; clipping every weight to [-c, c] holds it at some K
that nobody chose. First critics alone, on a fixed pair of Gaussians; then whole trainings, in which V should follow W_1 down.

Writes wasserstein.png and result.json.
"""

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
from npgan.optim import Adam, Clip, LinearDecay, WarmUp, value_at
from npgan.penalty import GradientPenalty
from npgan.priors import Normal, Uniform
from npgan.runs import checkpoint, fit, options, plots

MEAN, SD = .5, 2.                       # the pair: p_data = N(0, 1), p_g = N(MEAN, SD^2)
M, WIDTH = 128, 64                      # examples in a minibatch, units in each of D's two hidden layers
LR_D, LR_G, B2 = .002, .0003, .99       # of Adam with b1 = 0: constant in the first half, then falling linearly to 0
LR_CLIPPED, B2_CLIPPED = .005, .99      # of RMSProp for a clipped D, in units of c: the published 5e-5 at c = .01
K = 5                                   # steps of a penalised D to one of G; a clipped one has the published warm-up too
LAM_TOY = .1                            # the published weight for toy data
SEEN, SAMPLES = 100, 10_000             # moments looked at, examples judged at each


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", choices=toy.ON_A_LINE, default="mixture",
                   help="p_data of the trainings (default mixture)")
    p.add_argument("--lam", type=options.positive, nargs="+", default=[10., 100.], metavar="LAMBDA",
                   help="weights of the gradient penalty; a training takes the first (default 10 100)")
    p.add_argument("--clip", type=options.positive, nargs="+", default=[.1, .03, .01], metavar="C",
                   help="limits of clipped weights; a training takes the first (default .1 .03 .01)")
    options.add(p, "--iterations", default=1000,
                help="steps of each critic alone, and of G in each training (default 1000)")
    options.add(p, "--out", default="runs/wasserstein")
    options.add(p, "--seed", "--quiet")
    return p


# --- The pair of Gaussians, by quadrature -----------------------------------------------------------------------------------

X = np.linspace(-10, 11, 1051)


def normal(mean, sd):
    """The density of N(mean, sd^2) at X."""
    return toy.gaussian(mean, sd).density(X[:, None])


P, Q = normal(0, 1), normal(MEAN, SD)


def integral(y):
    return float(y.sum() * (X[1] - X[0]))


def exact():
    """W_1(N(0, 1), N(m, s^2)) = E|m + (s - 1) z|, z ~ N(0, 1): on a line the best plan keeps the order, so z goes to m + s z."""
    d = abs(SD - 1)
    return d * math.sqrt(2 / math.pi) * math.exp(-MEAN ** 2 / (2 * d * d)) + MEAN * math.erf(MEAN / (d * math.sqrt(2)))


def penalised(lam):
    """V of the D, of all functions, that makes V - lam E(|D'(x^)| - 1)^2 largest:  W_1 + 1 / (2 lam) integral of h^2 / r

    h = F_g - F_data, of the distribution functions, and r is the density of x^. For V is the integral of D' h, W_1 that of |h|, and at each
    x the largest D' h - lam r (|D'| - 1)^2 has |D'| = 1 + |h| / (2 lam r): a slope above 1, most so where x^ is rare. The same for a
    one-sided penalty.
    """
    h = np.cumsum(Q - P) * (X[1] - X[0])
    e = (np.arange(400) + .5) / 400
    r = sum(normal((1 - t) * MEAN, math.hypot(t, (1 - t) * SD)) for t in e) / len(e)
    return exact() + integral(h * h / r) / (2 * lam)


# --- Critics ----------------------------------------------------------------------------------------------------------------


class OneSided(GradientPenalty):
    """P = lam E max(|grad_x D(x^)| - 1, 0)^2: D may be flat   (Petzka, Fischer, Lukovnikov 2018)

    On a line the two-sided penalty is a trap. D' = 1 and D' = -1 are both free, and between them is D' = 0, which costs lam: where D began
    with the wrong sign, V pulls it over only if |h| > 2 lam r (see `penalised`). Here nothing is in the way, V - P is concave in D', and
    its maximum is the same.
    """

    def h(self, n):
        return self.weight * xp.maximum(n - 1, 0) ** 2

    def pull(self, n):
        return 2 * self.weight * xp.maximum(n - 1, 0) / xp.where(n > 0, n, 1)


class Critic(NamedTuple):
    """How D is kept from being steep: "two-sided" (published), "raised" (the same, lam from LAM_TOY up), "one-sided"; "clip"."""

    how: str
    value: float            # lam, or c

    def players(self, G, seed, updates):
        """Players around a new D, and D's optimizer."""
        lam = c = self.value
        if self.how == "clip":
            D = network(uniform(c), uniform(c), seed)
            return Players(G, D, M, WASSERSTEIN), Adam(D, LinearDecay(LR_CLIPPED * c, updates), 0., B2_CLIPPED, project=Clip(c))
        D = network(he, uniform(3), seed)
        penalty = OneSided(lam) if self.how == "one-sided" else GradientPenalty(lam)
        return Players(G, D, M, WASSERSTEIN, penalty=penalty), Adam(D, LinearDecay(LR_D, updates), 0., B2)

    def __str__(self):
        return f"{self.how}, {'c' if self.how == 'clip' else 'lam'} = {self.value:g}"


def network(W, b, seed):
    """D. b in the first layer: there the kinks of D' begin."""
    return Net([Linear(1, WIDTH, W, b), LeakyReLU(), Linear(WIDTH, WIDTH, W), LeakyReLU(), Linear(WIDTH, 1, W)], seed=seed)


class Moment(NamedTuple):
    """What is seen of a critic after so many iterations: V, its steepest slope K, and the exact distance."""

    iteration: int
    V: float
    K: float
    W: float


def values(net, x):
    """net(x) on the host, for the numbers x."""
    return xp.asnumpy(net(xp.asarray(np.reshape(x, (-1, 1)), "float32")))[:, 0].astype(float)


def steepest(a, x):
    """The largest |D'|, from a = D(x) at equally spaced x."""
    return float(np.abs(np.diff(a)).max() / (x[1] - x[0]))


def seen(i, iterations):
    return i % max(iterations // SEEN, 1) == 0 or i == iterations


def alone(critic, seed, iterations):
    """Yields the moments of a critic on the pair, trained by D's half of Algorithm 1. V is by quadrature."""
    G, prior, rng, x = Net([Linear(1, 1, constant(SD), constant(MEAN))]), Normal(), xp.default_rng(seed), xp.empty((M, 1), "float32")
    p, sgd = critic.players(G, seed, iterations)
    for i in range(iterations + 1):
        if seen(i, iterations):
            a = values(p.D, X)
            yield Moment(i, integral((P - Q) * a), steepest(a, X), exact())
        if critic.how == "raised":
            p.penalty.weight = critic.value * (LAM_TOY / critic.value) ** max(1 - 2 * i / iterations, 0)
        z = sample_noise(p, prior, rng)
        p.draw_masks_d(rng)
        prior(rng, x)                                           # p_data is N(0, 1) too
        discriminator_gradient(p, x, z)
        sgd.ascend()


def training(critic, data, seed, iterations):
    """Yields the moments of a whole training: V and W_1 of one and the same SAMPLES of G and of the data, none trained on."""
    prior, k = Uniform(1.), WarmUp(K) if critic.how == "clip" else K
    G = Net([Linear(1, WIDTH, uniform(2), uniform(2)), Tanh(), Linear(WIDTH, WIDTH), Tanh(), Linear(WIDTH, 1)], seed=2 * seed)
    p, sgd_d = critic.players(G, 2 * seed + 1, sum(value_at(k, i) for i in range(iterations)))
    sgd_g = Adam(G, LinearDecay(LR_G, iterations), 0., B2)
    examples = toy.endless(xp.asarray(data.sample(100_000, (seed, 1))), M, seed)
    x, z, line = data.sample(SAMPLES, (seed, 2)), np.linspace(-prior.r, prior.r, SAMPLES), np.linspace(*data.extent, 501)

    def look(i):
        Gz = values(G, z)
        V = float(values(p.D, x).mean() - values(p.D, Gz).mean())
        return Moment(i, V, steepest(values(p.D, line), line), metrics.wasserstein(x, Gz[:, None]))

    yield look(0)
    for record in train(p, examples, prior, sgd_d, sgd_g, xp.default_rng(seed), iterations, k):
        if seen(record.iteration + 1, iterations):
            yield look(record.iteration + 1)


# --- What a run writes ------------------------------------------------------------------------------------------------------


def of_pair(critic, moments):
    """The last moment against what is known: "expected" is the V / W_1 of the best D under the penalty, None for a clipped one."""
    last = moments[-1]
    return {"V": last.V, "K": last.K, "V/W": last.V / last.W, "V/KW": last.V / (last.K * last.W),
            "expected": None if critic.how == "clip" else penalised(critic.value) / last.W}


def of_training(moments):
    """The distance at both ends; over all moments but the first, medians, and the correlation of V with W_1."""
    _, V, K, W = np.array(moments[1:]).T
    return {"W_first": moments[0].W, "W_last": moments[-1].W, "V/W": float(np.median(V / W)), "K": float(np.median(K)),
            "V/KW": float(np.median(V / (K * W))), "correlation": float(np.corrcoef(V, W)[0, 1]) if len(V) > 1 else None}


def table(pair, trainings):
    lines = [f"The pair N(0, 1), N({MEAN:g}, {SD:g}²): W_1 = {exact():.4f}. K: D's steepest slope. expected: V / W_1 of the "
             f"best D under the penalty.\nraised: two-sided, lam rising from {LAM_TOY:g} in the first half.",
             f"{'':24}        V    V/W_1  expected        K  V/(K W_1)"]
    for critic, row in pair.items():
        expected = "" if row["expected"] is None else f"{row['expected']:.3f}"
        lines.append(f"{critic:24} {row['V']:8.4f} {row['V/W']:8.4f} {expected:>9} {row['K']:8.4f}  {row['V/KW']:9.3f}")
    lines += ["\nWhole trainings: W_1 at both ends, medians of the others, the correlation of V and W_1 over time",
              f"{'':24}    first     last    V/W_1        K  V/(K W_1)  correlation"]
    for critic, row in trainings.items():
        r = "" if row["correlation"] is None else f"{row['correlation']:.3f}"
        lines.append(f"{critic:24} {row['W_first']:8.4f} {row['W_last']:8.4f} {row['V/W']:8.4f} {row['K']:8.4f}  {row['V/KW']:9.3f}"
                     f"  {r:>11}")
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
    left.set(xlabel="steps of D", ylabel="V", ylim=(-exact(), 2 * exact()), title="Critics alone: V on a pair of Gaussians")
    for n, (critic, moments) in enumerate(trainings.items()):
        t, V, K, W = np.array(moments).T
        right.plot(t, W, color=f"C{n}", lw=1.4, label=f"{critic}: W_1")
        right.plot(t, np.where(V > 0, V, np.nan), "--", color=f"C{n}", lw=1, label="V, where it is positive")
    right.set(xlabel="iteration of Algorithm 1", ylabel="V, W_1", yscale="log", title=f"Whole trainings: {data}")
    right.set_ylim(bottom=.01)
    for axis in (left, right):
        axis.legend(fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(.5, -.1))
        axis.grid(alpha=.3)
    plots.save(path, fig)


def main(args):
    out, seed, iterations = options.folder(args.out), args.seed, args.iterations
    data, lams, clips = toy.ON_A_LINE[args.data](), dict.fromkeys(args.lam), dict.fromkeys(args.clip)
    pair = {Critic(how, lam): [] for lam in lams for how in ("two-sided", "raised", "one-sided")} | {Critic("clip", c): [] for c in clips}
    trainings = {Critic("two-sided", LAM_TOY): [], Critic("one-sided", args.lam[0]): [], Critic("clip", args.clip[0]): []}
    jobs = [(alone(critic, seed, iterations), critic, moments) for critic, moments in pair.items()]
    jobs += [(training(critic, data, seed, iterations), critic, moments) for critic, moments in trainings.items()]
    print(f"{len(pair)} critics alone, then {len(trainings)} trainings on p_data = {args.data}, {xp.name()}: "
          f"{iterations} iterations each, m = {M}")
    begun = time.perf_counter()
    from tqdm import tqdm
    with tqdm(total=len(jobs) * iterations, unit="it", disable=args.quiet, dynamic_ncols=True) as bar:
        for done, (play, critic, moments) in enumerate(jobs):
            bar.set_description(str(critic))
            for moment in fit.silently(play):
                if not np.isfinite(moment).all():
                    raise FloatingPointError(f"{critic}, iteration {moment.iteration}: V is not finite; take another value or --seed")
                moments.append(moment)
                bar.update(done * iterations + moment.iteration - bar.n)
    seconds = time.perf_counter() - begun

    picture(os.path.join(out, "wasserstein.png"), pair, trainings, args.data)
    rows = {str(critic): of_pair(critic, moments) for critic, moments in pair.items()}
    ends = {str(critic): of_training(moments) for critic, moments in trainings.items()}
    result = {"data": args.data, "seed": seed, "backend": xp.name(), "iterations": iterations, "seconds": seconds, "W": exact(),
              "pair": rows, "trainings": ends,
              "curves": {part: {str(critic): moments for critic, moments in played.items()}
                         for part, played in (("pair", pair), ("trainings", trainings))}}
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result))
    print(f"\n{table(rows, ends)}\n\n{seconds:.0f} s; {out}: wasserstein.png result.json")
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
