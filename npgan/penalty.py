"""Gradient penalties: D ascends V - P, P = 1/m sum_i h(|grad_x D(x_i)|), which asks of D (its linear output a) to be nowhere too steep.

A penalty is given to `gan.Players`, which prepares it and calls it in D's step; by hand it is

    penalty.prepare(D, m)          once: its own buffers, for m rows of D's input
    penalty.draw(rng)              before each step: what is random in it
    penalty(real, fake)            D.grad -= grad_theta_d P, from D's tapes of the real and the generated examples; leaves P in penalty.P

grad_x D is D's backward pass from 1. With u_i = dP/d(grad_x D(x_i)), grad_theta_d P is what `Net.second` makes of u: two passes more, or
one where D is piecewise linear. No gradient is taken through the points x_i to G: P is D's alone, and G descends the objective without it.
"""

import math

from npgan import backend as xp


class Penalty:
    """P = 1/m sum_i h(|g_i|), g_i = grad_x D(x_i). A subclass gives h(n), its slope over n, h'(n) / n, and the points x_i."""

    def __init__(self, weight):
        if not 0 < weight < math.inf:
            raise ValueError(f"{type(self).__name__}({weight}): the penalty's weight must be a positive number")
        self.weight, self.D, self.P = float(weight), None, None

    def prepare(self, D, m):
        """ValueError if other players use the penalty already."""
        if self.D is not None:
            raise ValueError(f"{self}: belongs to other players already; make a new one")
        self.D, self.second, self.work = D, D.tape(m), xp.empty_like(D.theta)

    def draw(self, rng):
        """Nothing, unless a subclass says otherwise."""

    def __call__(self, real, fake):
        t = self.points(real, fake)
        t.dx[-1][...] = 1
        self.D.backward(t, parameters=False)
        g = t.dx[0]
        n = xp.sqrt((g * g).sum(axis=tuple(range(1, g.ndim)), keepdims=True))
        self.P = self.h(n).mean()
        xp.multiply(g, self.pull(n) / -len(g), out=self.second.x[0])         # u = -dP/dg: P is to be descended, D.grad is ascended
        self.D.second(t, self.second, self.work)

    def __repr__(self):
        return f"{type(self).__name__}({self.weight:g})"


class GradientPenalty(Penalty):
    """P = lam E (|grad_x D(x^)| - 1)^2,  x^ = e x + (1 - e) G(z),  e ~ U(0, 1) for each example   (Gulrajani et al. 2017, equation 3)

    The optimal Wasserstein critic has slope 1 almost everywhere on the lines between the two distributions. Published lam: 10 for images,
    0.1 for toy data in the plane. x^ goes through D on a tape of its own, with dropout masks of its own.
    """

    def __init__(self, lam=10.):
        super().__init__(lam)

    def prepare(self, D, m):
        super().prepare(D, m)
        self.t = D.tape(m)
        self.e = xp.empty((m, *(1 for _ in D.shapes[0])), D.dtype)

    def draw(self, rng):
        rng.random(self.e.shape, self.e.dtype, self.e)
        self.D.draw(self.t, rng)

    def points(self, real, fake):
        x, Gz, x_hat = real.x[0], fake.x[0], self.t.x[0]
        xp.subtract(x, Gz, out=x_hat)
        x_hat *= self.e
        x_hat += Gz
        self.D.forward(self.t)
        return self.t

    def h(self, n):
        return self.weight * (n - 1) ** 2

    def pull(self, n):
        return 2 * self.weight * (n - 1) / xp.where(n > 0, n, 1)             # |g| has no gradient at g = 0: taken as 0


class R1(Penalty):
    """P = gamma / 2 E |grad_x D(x)|^2 at the real examples   (Mescheder, Geiger, Nowozin 2018, equation 9)

    Zero-centred: in equilibrium D is flat on the data, and near it the game converges. The examples' own pass serves, with its dropout
    masks; its tape's gradients are overwritten.
    """

    def __init__(self, gamma=10.):
        super().__init__(gamma)

    def points(self, real, fake):
        return real

    def h(self, n):
        return self.weight / 2 * n * n

    def pull(self, n):
        return self.weight
