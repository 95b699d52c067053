"""Noise priors p_z(z): each fills a buffer z (m, n) from a random generator (backend.py).

Study page: docs/study/backend.html
"""

import math

from npgan import backend as xp


class Uniform:
    """z_i ~ U(-r, r). The paper's prior for MNIST has r = sqrt 3, so each z_i has variance
    1.
    """

    def __init__(self, r=math.sqrt(3)):
        self.r = r

    def __call__(self, rng, z):
        rng.random(z.shape, z.dtype, z)
        z -= .5
        z *= 2 * self.r


class Normal:
    """z ~ N(0, I)"""

    def __call__(self, rng, z):
        rng.standard_normal(z.shape, z.dtype, z)


class Spherical:
    """z is uniform on the sphere |z| = sqrt n, the typical length of a sample of N(0, I)."""

    def __call__(self, rng, z):
        rng.standard_normal(z.shape, z.dtype, z)
        z *= math.sqrt(z.shape[1]) / xp.linalg.norm(z, axis=1, keepdims=True)
