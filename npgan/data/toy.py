"""Toy distributions on a line and in the plane: what they draw, their density and their modes are known, so a GAN can be measured exactly.

Each is p(x) = sum_j w_j N(x; c_j, sd^2 I), by its centres: the modes of a mixture, or points c(t) along a curve, close together.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from npgan.data import minibatches


class Toy(NamedTuple):
    """A mixture of equal Gaussians N(c_j, sd^2 I); `modes` are the c_j where these are apart, None for a curve. Host arrays.

    centres (k, d)   sd in the units of x   weights (k,), sum 1   extent: the range (low, high), of every axis, that a picture shows
    """

    name: str
    centres: np.ndarray
    sd: float
    weights: np.ndarray
    modes: np.ndarray
    extent: tuple

    def sample(self, n, seed=0):
        """n independent draws, (n, d), float32, a function of (n, seed)."""
        rng = np.random.default_rng(seed)
        x = self.centres[rng.choice(len(self.centres), n, p=self.weights)]
        return (x + self.sd * rng.standard_normal(x.shape)).astype("float32")

    def density(self, x):
        """p(x), (n,), for the rows of x (n, d): in units of 1 / length^d."""
        x, d = np.asarray(x, float), self.centres.shape[1]
        p = np.zeros(len(x))
        for c, w in zip(self.centres, self.weights):
            p += w * np.exp(-((x - c) ** 2).sum(axis=1) / (2 * self.sd ** 2))
        return p / (math.sqrt(2 * math.pi) * self.sd) ** d


def mixture(name, centres, sd, weights=None, extent=None):
    """A Toy whose centres are its modes."""
    centres = np.asarray(centres, float).reshape(len(centres), -1)
    weights = np.full(len(centres), 1 / len(centres)) if weights is None else np.asarray(weights, float)
    return Toy(name, centres, sd, weights, centres, extent or _extent(centres, sd))


def curve(name, c, sd, pieces=((0, 1),), n=2000):
    """A Toy along c(t), t uniform on each piece: n points so close together that the sum is the integral over t."""
    t = np.concatenate([low + (np.arange(n // len(pieces)) + .5) / (n // len(pieces)) * (high - low) for low, high in pieces])
    centres = np.stack(c(t), axis=1)
    return Toy(name, centres, sd, np.full(len(t), 1 / len(t)), None, _extent(centres, sd))


def _extent(centres, sd):
    low, high = centres.min() - 4 * sd, centres.max() + 4 * sd
    margin = .1 * (high - low)
    return float(low - margin), float(high + margin)


# --- On a line --------------------------------------------------------------------------------------------------------------


def gaussian(mean=0., sd=1.):
    """N(mean, sd^2)"""
    return mixture("gaussian", [mean], sd)


def two_gaussians(distance=4., sd=.5):
    """1/2 N(-distance/2, sd^2) + 1/2 N(distance/2, sd^2)"""
    return mixture("mixture", [-distance / 2, distance / 2], sd)


def uniform(low=-1.5, high=1.5, sd=.05):
    """U(low, high), its edges rounded over a length of about sd."""
    return curve("uniform", lambda t: (t,), sd, ((low, high),))


# --- In the plane -----------------------------------------------------------------------------------------------------------


def line(sd=.05):
    """Along the segment from (-1, -1) to (1, 1)."""
    return curve("line", lambda t: (t, t), sd, ((-1, 1),))


def ring(modes=8, radius=1., sd=.01):
    """Mode i at angle 2 pi i / modes."""
    angle = 2 * math.pi * np.arange(modes) / modes
    return mixture("ring", radius * np.stack([np.cos(angle), np.sin(angle)], axis=1), sd)


def grid(side=5, spacing=2., sd=.05):
    """side x side modes around 0."""
    at = spacing * (np.arange(side) - (side - 1) / 2)
    return mixture("grid", list(itertools.product(at, at)), sd)


def moons(sd=.05):
    """Two half circles, interlocked."""
    return curve("moons", lambda t: (np.where(t < 1, np.cos(math.pi * t) - .5, np.cos(math.pi * t) + .5),
                                     np.where(t < 1, np.sin(math.pi * t) - .25, np.sin(math.pi * t) + .25)), sd, ((0, 1), (1, 2)))


def spiral(sd=.03, turns=1.5):
    """Two arms, r = t along each, `turns` times around."""
    def c(t):
        angle = 2 * math.pi * turns * np.abs(t)
        return t * np.cos(angle), t * np.sin(angle)
    return curve("spiral", c, sd, ((-1, -.1), (.1, 1)))


def swiss_roll(sd=.03):
    """The roll of manifold learning in section: r = angle / 4.5 pi, from 1.5 pi to 4.5 pi."""
    return curve("swiss-roll", lambda t: (t * np.cos(4.5 * math.pi * t), t * np.sin(4.5 * math.pi * t)), sd, ((1 / 3, 1),))


ON_A_LINE = {"gaussian": gaussian, "mixture": two_gaussians, "uniform": uniform}
IN_THE_PLANE = {"line": line, "ring": ring, "grid": grid, "moons": moons, "spiral": spiral, "swiss-roll": swiss_roll}


def endless(x, m, seed):
    """Minibatches (m, ...) of the device array x, epoch after epoch without end. ValueError if x has fewer than m examples."""
    if len(x) < m:
        raise ValueError(f"m = {m}: {len(x)} examples do not make one minibatch")
    for epoch in itertools.count(1):
        yield from minibatches(x, m, seed, epoch)
