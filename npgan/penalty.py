"""Gradient penalties. D ascends V - P, where P asks that D is nowhere too steep:

    P = 1/m sum_i h(|grad_x a(x_i)|),      a: the logit of D

Give a penalty to `gan.Players`, which prepares it and calls it in D's step. By hand the calls
are

    penalty.prepare(D, m)          once: make the penalty's buffers, for m rows of D's input
    penalty.draw(rng)              before each step: draw what is random
    penalty(real, fake)            D.grad -= grad_theta_d P, from D's tapes of the real and the
                                   generated examples; leaves P in penalty.P

grad_x a is the backward pass of D from 1. Its own gradient comes from Net.double_backward with
u_i = dP/d(grad_x a(x_i)). That takes two passes more, or one if D is piecewise linear.
P is D's alone: no gradient goes through the points x_i to G, and G descends its loss without P.
"""

import math

from npgan import backend as xp


class Penalty:
    """P = 1/m sum_i h(|g_i|),   g_i = grad_x a(x_i)

    A subclass gives the points x_i, h(n), and slope_over_n(n) = h'(n) / n.
    """

    def __init__(self, weight):
        if not 0 < weight < math.inf:
            raise ValueError(f"{type(self).__name__}({weight}): the weight must be positive and finite")
        self.weight, self.D, self.P = float(weight), None, None

    def prepare(self, D, m):
        """Make the buffers. Raises ValueError if other players use this penalty already."""
        if self.D is not None:
            raise ValueError(f"{self}: belongs to other players already; make a new one")
        self.D, self.tape_u, self.work = D, D.tape(m), xp.empty_like(D.theta)

    def draw(self, rng):
        """Draw what is random in the penalty. By default nothing is."""

    def __call__(self, real, fake):
        tape = self.points(real, fake)
        tape.dx[-1][...] = 1
        self.D.backward(tape, parameters=False)
        g = tape.dx[0]
        n = xp.sqrt((g * g).sum(axis=tuple(range(1, g.ndim)), keepdims=True))
        self.P = self.h(n).mean()
        # u = -dP/dg = -h'(n)/n g / m. The sign is minus because D descends P while D.grad is
        # ascended.
        xp.multiply(g, self.slope_over_n(n) / -len(g), out=self.tape_u.x[0])
        self.D.double_backward(tape, self.tape_u, self.work)

    def __repr__(self):
        return f"{type(self).__name__}({self.weight:g})"


class GradientPenalty(Penalty):
    """P = lam E (|grad_x a(x^)| - 1)^2,   x^ = e x + (1 - e) G(z),   e ~ U(0, 1) per example

    The optimal Wasserstein critic has slope 1 almost everywhere on the lines between real and
    generated examples (Gulrajani et al. 2017, equation 3). They use lam = 10 for images and 0.1
    in the plane. D sees x^ on a separate tape, with separate dropout masks.
    """

    def __init__(self, lam=10.):
        super().__init__(lam)

    def prepare(self, D, m):
        super().prepare(D, m)
        self.tape = D.tape(m)
        self.e = xp.empty((m, *(1 for _ in D.shapes[0])), D.dtype)

    def draw(self, rng):
        rng.random(self.e.shape, self.e.dtype, self.e)
        self.D.draw(self.tape, rng)

    def points(self, real, fake):
        """The tape of D at x^."""
        x, Gz, x_hat = real.x[0], fake.x[0], self.tape.x[0]
        xp.subtract(x, Gz, out=x_hat)
        x_hat *= self.e
        x_hat += Gz
        self.D.forward(self.tape)
        return self.tape

    def h(self, n):
        return self.weight * (n - 1) ** 2

    def slope_over_n(self, n):
        return 2 * self.weight * (n - 1) / xp.where(n > 0, n, 1)         # at g = 0, grad |g| counts as 0


class R1(Penalty):
    """P = gamma / 2 E |grad_x a(x)|^2 at the real examples (Mescheder, Geiger, Nowozin 2018,
    equation 9)

    D is flat on the data in equilibrium, and near it the game converges. R1 uses D's pass over
    the real examples with its dropout masks, and overwrites the gradients on that tape.
    """

    def __init__(self, gamma=10.):
        super().__init__(gamma)

    def points(self, real, fake):
        """The tape of D at the real examples."""
        return real

    def h(self, n):
        return self.weight / 2 * n * n

    def slope_over_n(self, n):
        return self.weight
