"""The theorems of Goodfellow et al. 2014 and of Arjovsky and Bottou 2017, computed and drawn.

The run writes

    proposition2.png   p_g descends C(G) to p_data; D is at its optimum at every step
    theorems.png       the optimal D, the criterion C(G), and the gradients of the generator's
                       two losses as p_data and p_g move apart

Read npgan/theory.py first. Here G and D may be any functions, not only networks. So nothing is
trained, and the program takes a few seconds.
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import math
import os

import numpy as np

from npgan import backend as xp
from npgan import theory
from npgan.data import toy
from npgan.runs import options, plots

OUTCOMES, STEPS, RATE = 20, 120, .15    # for Proposition 2: outcomes, steps of p_g, the rate of a step
DX = .01                                # the spacing of the grid of x for Theorem 1


def parser():
    p = options.parser(__doc__)
    options.add(p, "--out", default="runs/theory")
    options.add(p, "--seed", help="seed of p_data and of the first p_g (default 0)")
    return p


def main(args):
    out = options.folder(args.out)
    proposition2(os.path.join(out, "proposition2.png"), args.seed)
    theorems(os.path.join(out, "theorems.png"))
    print(f"{out}: proposition2.png theorems.png")
    return 0


def proposition2(path, seed):
    """Let a discrete p_g descend C(G). Draw p_g after some steps, and C(G) + log 4 at each."""
    rng = np.random.default_rng(seed)
    p_data, p_g = (rng.dirichlet(np.full(OUTCOMES, a)) for a in (1.5, 8))
    p_g = p_g * np.exp(-.35 * np.arange(OUTCOMES))                  # most of p_g is on the left
    p_data, p_g = xp.asarray(p_data), xp.asarray(p_g / p_g.sum())
    p_gs = [p_g, *theory.descend(p_data, p_g, STEPS, RATE)]
    excess = np.array([2 * theory.jsd(p_data, p) for p in p_gs])    # C(G) + log 4, without cancellation
    steps = np.arange(STEPS + 1)
    half = STEPS // 2
    slope, _ = np.polyfit(steps[half:], np.log(excess[half:]), 1)
    measured, predicted = math.exp(slope), (1 - RATE / 2) ** 2
    first, last = (theory.criterion(p_data, p) for p in (p_gs[0], p_gs[-1]))
    print(f"Proposition 2, {OUTCOMES} outcomes, rate {RATE}: C(G) goes from {first:.6f} to {last:.6f} "
          f"in {STEPS} steps (-log 4 = {-math.log(4):.6f})\n  each of the last {half} steps multiplies "
          f"C(G) + log 4 by {measured:.4f}; predicted: (1 - rate/2)^2 = {predicted:.4f}")

    from matplotlib.figure import Figure
    fig = Figure((11, 4.2), layout="constrained")
    left, right = fig.subplots(1, 2)
    left.bar(range(OUTCOMES), xp.asnumpy(p_data), color=".8", label="p_data")
    right.semilogy(steps, excess, ".", color="C0", markersize=4, label="C(G) + log 4 = 2 JSD(p_data || p_g)")
    fit = excess[-1] * measured ** (steps - STEPS)
    right.semilogy(steps, fit, "k--", lw=1, label=f"fit to the last {half} steps: × {measured:.4f} a step\n"
                                                  f"predicted: (1 - rate/2)² = {predicted:.4f}")
    for step, colour in {0: "C3", 5: "C1", 15: "C2", 60: "C0"}.items():
        label = f"p_g after {step} steps" if step else "p_g at the start"
        left.plot(xp.asnumpy(p_gs[step]), ".-", color=colour, label=label)
        right.plot(step, excess[step], "o", color=colour)
    left.set(xlabel="outcome", ylabel="probability", title="p_g goes to p_data", xticks=range(0, OUTCOMES, 2))
    left.legend(fontsize=9)
    right.set(xlabel="step", ylabel="nats", title="the criterion falls to its minimum")
    right.legend(fontsize=9)
    right.grid(alpha=.3)
    fig.suptitle(f"Proposition 2: p_g descends C(G), D is at its optimum at every step (rate {RATE})")
    plots.save(path, fig)


def theorems(path):
    """Draw Proposition 1, Theorem 1 and the generator's two gradients. Print a table."""
    from matplotlib.figure import Figure
    fig = Figure((13, 4), layout="constrained")
    peak, minimum, gradients = fig.subplots(1, 3)

    y = 1 / (1 + np.exp(-np.linspace(-15, 15, 500)))
    for a, b in ((1, 1), (2, 1), (1, 4)):
        best = float(theory.optimal_discriminator([a], [b])[0])
        line, = peak.plot(y, a * np.log(y) + b * np.log(1 - y), label=f"a = {a}, b = {b}: peak at {best:.3g}")
        peak.plot(best, a * math.log(best) + b * math.log(1 - best), "o", color=line.get_color())
    peak.set(xlabel="y = D(x)", ylabel="a log y + b log(1 - y)", ylim=(-12, 0), xlim=(0, 1),
             title="Proposition 1: D* = a / (a + b),\na = p_data(x), b = p_g(x)")
    peak.legend(fontsize=9, loc="lower center")

    thetas = np.linspace(0, 10, 81)
    C, minimax, nonsaturating = np.array([criterion_and_gradients(theta) for theta in thetas]).T
    minimum.plot(thetas, C, label="C(G)")
    minimum.axhline(0, color="k", ls="--", lw=1, label="0: the supports are disjoint")
    minimum.axhline(-math.log(4), color="k", ls=":", label="-log 4: p_g = p_data")
    minimum.set(xlabel="θ, the distance of the means", ylabel="nats",
                title="Theorem 1: C(G) = -log 4 + 2 JSD,\np_data = N(0, 1), p_g = N(θ, 1)")
    minimum.legend(fontsize=9, loc="center right")
    gradients.semilogy(thetas[1:], nonsaturating[1:], label="-log D: d/dθ [KL - 2 JSD]")
    gradients.semilogy(thetas[1:], minimax[1:], label="log(1 - D): d/dθ 2 JSD")
    gradients.set(xlabel="θ, the distance of the means", ylabel="gradient, nats per unit of θ",
                  title="D = D* held fixed: the minimax gradient\nvanishes, that of -log D grows")
    gradients.legend(fontsize=9, loc="lower left")
    for axis in minimum, gradients, peak:
        axis.grid(alpha=.3)
    plots.save(path, fig)

    print("p_data = N(0, 1), p_g = N(theta, 1), D = D* held fixed\n"
          "  theta       C(G)   d/dtheta of E[-log D]   of E[log(1 - D)]")
    for theta in (.5, 1, 2, 4, 6, 8, 10):
        C, minimax, nonsaturating = criterion_and_gradients(theta)
        print(f"{theta:7g}  {C:9.6f}   {nonsaturating:21.5f}   {minimax:16.5g}")


def criterion_and_gradients(theta):
    """C(G) and d/dtheta of both losses for p_data = N(0, 1), p_g = N(theta, 1), D = D* fixed.

    Returns C(G), then the derivative of E[log(1 - D)], then that of E[-log D].
    """
    x = np.arange(-12, 22, DX)
    p_data, p_g = (toy.gaussian(mean).density(x[:, None]) for mean in (0, theta))
    p_data, p_g, dp_g = (xp.asarray(a) for a in (p_data, p_g, (x - theta) * p_g))
    return (theory.criterion(p_data, p_g, DX), theory.minimax_gradient(p_data, p_g, dp_g, DX),
            theory.nonsaturating_gradient(p_data, p_g, dp_g, DX))


if __name__ == "__main__":
    options.run_program(parser(), main, threads=1)
