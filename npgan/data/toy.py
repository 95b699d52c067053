"""Toy distributions on a line and in the plane, to measure a GAN exactly.

Each distribution is a sum of Gaussians, p(x) = sum_j w_j N(x; c_j, sd^2 I). The centres c_j are
the modes of a mixture, or many points close together on a curve c(t). So the density and the
modes are known, and samples are easy to draw. npgan/metrics.py compares generated samples with
these distributions.

`endless` yields minibatches of an array without end, as the training functions of npgan/gan.py
need them. Read no other module before this one.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from npgan.data import minibatches


class Toy(NamedTuple):
    """The distribution with the density p(x) = sum_j weights_j N(x; centres_j, sd^2 I).

    centres (k, d) and sd are in the units of x; the weights (k,) add up to 1. `modes` are the
    centres of a mixture, or None for a curve. Pictures show extent = (low, high).
    """

    name: str
    centres: np.ndarray
    sd: float
    weights: np.ndarray
    modes: np.ndarray
    extent: tuple

    def sample(self, n, seed=0):
        """n independent samples, float32 (n, d). The same (n, seed) gives the same samples."""
        rng = np.random.default_rng(seed)
        x = self.centres[rng.choice(len(self.centres), n, p=self.weights)]
        return (x + self.sd * rng.standard_normal(x.shape)).astype("float32")

    def density(self, x):
        """The density p(x) (n,) at the rows of x (n, d), in units of 1 / (unit of x)^d."""
        x, d = np.asarray(x, float), self.centres.shape[1]
        p = np.zeros(len(x))
        for c, w in zip(self.centres, self.weights):
            p += w * np.exp(-((x - c) ** 2).sum(axis=1) / (2 * self.sd ** 2))
        return p / (math.sqrt(2 * math.pi) * self.sd) ** d


def mixture(name, centres, sd):
    """A Toy whose centres are its modes. All weights are equal."""
    centres = np.asarray(centres, float).reshape(len(centres), -1)
    return Toy(name, centres, sd, np.full(len(centres), 1 / len(centres)), centres, _extent(centres, sd))


def curve(name, c, sd, pieces=((0, 1),), n=2000):
    """A Toy along the curve c(t), with t uniform on each of the intervals `pieces`.

    The n centres, divided equally among the pieces, are so close together that the sum over
    them is nearly the integral over t.
    """
    each = n // len(pieces)
    t = np.concatenate([low + (np.arange(each) + .5) / each * (high - low) for low, high in pieces])
    centres = np.stack(c(t), axis=1)
    return Toy(name, centres, sd, np.full(len(t), 1 / len(t)), None, _extent(centres, sd))


def _extent(centres, sd):
    low, high = centres.min() - 4 * sd, centres.max() + 4 * sd
    margin = .1 * (high - low)
    return float(low - margin), float(high + margin)


# --- On a line --------------------------------------------------------------------------------


def gaussian(mean=0., sd=1.):
    """N(mean, sd^2)."""
    return mixture("gaussian", [mean], sd)


def two_gaussians(distance=4., sd=.5):
    """1/2 N(-distance/2, sd^2) + 1/2 N(distance/2, sd^2)."""
    return mixture("mixture", [-distance / 2, distance / 2], sd)


def uniform(low=-1.5, high=1.5, sd=.05):
    """U(low, high) + N(0, sd^2), a box whose edges are smooth over a length of about sd."""
    return curve("uniform", lambda t: (t,), sd, ((low, high),))


# --- In the plane -----------------------------------------------------------------------------


def line(sd=.05):
    """The segment from (-1, -1) to (1, 1)."""
    return curve("line", lambda t: (t, t), sd, ((-1, 1),))


def ring(modes=8, radius=1., sd=.01):
    """Modes on a circle of this radius, with mode i at the angle 2 pi i / modes."""
    angle = 2 * math.pi * np.arange(modes) / modes
    return mixture("ring", radius * np.stack([np.cos(angle), np.sin(angle)], axis=1), sd)


def grid(side=5, spacing=2., sd=.05):
    """side x side modes on a square grid around 0, `spacing` apart."""
    axis = spacing * (np.arange(side) - (side - 1) / 2)
    return mixture("grid", list(itertools.product(axis, axis)), sd)


def moons(sd=.05):
    """Two interlocked half circles: the upper one for t < 1, the lower one for t > 1."""
    def c(t):
        return (np.cos(math.pi * t) + np.where(t < 1, -.5, .5),
                np.sin(math.pi * t) + np.where(t < 1, -.25, .25))
    return curve("moons", c, sd, ((0, 1), (1, 2)))


def spiral(sd=.03, turns=1.5):
    """Two opposite arms, .1 <= |t| <= 1, with the radius |t| at the angle 2 pi `turns` |t|."""
    def c(t):
        angle = 2 * math.pi * turns * np.abs(t)
        return t * np.cos(angle), t * np.sin(angle)
    return curve("spiral", c, sd, ((-1, -.1), (.1, 1)))


def swiss_roll(sd=.03):
    """The cross-section of the Swiss roll of manifold learning: radius t at angle 4.5 pi t."""
    def c(t):
        return t * np.cos(4.5 * math.pi * t), t * np.sin(4.5 * math.pi * t)
    return curve("swiss-roll", c, sd, ((1 / 3, 1),))


ON_A_LINE = {"gaussian": gaussian, "mixture": two_gaussians, "uniform": uniform}
IN_THE_PLANE = {"line": line, "ring": ring, "grid": grid, "moons": moons, "spiral": spiral,
                "swiss-roll": swiss_roll}


def endless(x, m, seed):
    """Yield minibatches (m, ...) of the device array x, one epoch after the other, without end.

    Raises ValueError if x has fewer than m examples.
    """
    if len(x) < m:
        raise ValueError(f"m = {m}: {len(x)} examples do not make one minibatch")
    for epoch in itertools.count(1):
        yield from minibatches(x, m, seed, epoch)
