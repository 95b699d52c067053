"""Gradient penalties. D ascends V - P, where P depends on how steep D is at points x_i:

    P = 1/m sum_i h(|grad_x a(x_i)|),      a: the logit of D

Give a penalty to `gan.Players`, which prepares it and calls it in D's step. By hand:

    penalty.prepare(D, m)             once: make the penalty's buffers, for m rows of D's input
    penalty.draw(rng)                 before each step: draw what is random
    penalty(tape_real, tape_fake)     D.grad -= grad_theta_d P, from D's tapes of the real and
                                      the generated examples; leaves P in penalty.P

D's backward pass, from da/da = 1, gives grad_x a. The gradient of P comes from
Net.double_backward with u_i = -dP/d(grad_x a(x_i)); the sign is minus because D ascends V - P.
That takes two passes more, or one if D is piecewise linear. Only D has the penalty: the points
x_i are constants for G.

Study page: docs/study/divergences.html
"""

import math

from npgan import backend as xp


class Penalty:
    """P = 1/m sum_i h(|g_i|),   g_i = grad_x a(x_i)

    A subclass gives the points x_i, h(norm), and slope_over_norm(norm) = h'(norm) / norm.
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

    def __call__(self, tape_real, tape_fake):
        tape = self.points(tape_real, tape_fake)
        tape.dx[-1][...] = 1
        self.D.backward(tape, parameters=False)
        g = tape.dx[0]
        norm = xp.sqrt((g * g).sum(axis=tuple(range(1, g.ndim)), keepdims=True))        # |g_i|, (m, 1, ...)
        self.P = self.h(norm).mean()
        # u = -dP/dg = -h'(norm)/norm g / m. The minus: D descends P, and D.grad is ascended.
        xp.multiply(g, self.slope_over_norm(norm) / -len(g), out=self.tape_u.x[0])
        self.D.double_backward(tape, self.tape_u, self.work)

    def __repr__(self):
        return f"{type(self).__name__}({self.weight:g})"


class GradientPenalty(Penalty):
    """P = lam E (|grad_x a(x^)| - 1)^2,   x^ = e x + (1 - e) G(z),   e ~ U(0, 1) in each row

    The optimal Wasserstein critic has slope 1 on the lines between points that the optimal
    transport plan couples (Gulrajani et al. 2017, Proposition 1). The penalty (equation 3)
    takes lines between independent pairs of real and generated examples. They use lam = 10 for
    images and 0.1 in the plane. D sees x^ on a separate tape, with separate dropout masks.
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

    def points(self, tape_real, tape_fake):
        """The tape of D at x^."""
        x, Gz, x_hat = tape_real.x[0], tape_fake.x[0], self.tape.x[0]
        xp.subtract(x, Gz, out=x_hat)
        x_hat *= self.e
        x_hat += Gz
        self.D.forward(self.tape)
        return self.tape

    def h(self, norm):
        return self.weight * (norm - 1) ** 2

    def slope_over_norm(self, norm):
        return 2 * self.weight * (norm - 1) / xp.where(norm > 0, norm, 1)       # grad |g| = 0 at g = 0


class R1(Penalty):
    """P = gamma / 2 E |grad_x a(x)|^2 at the real examples (Mescheder et al. 2018, equation 9)

    At the equilibrium D is flat on the data. With this penalty, training that starts near the
    equilibrium converges to it, under their assumptions. R1 reuses D's pass over the real
    examples, with the same dropout masks, and overwrites the gradients on that tape.
    """

    def __init__(self, gamma=10.):
        super().__init__(gamma)

    def points(self, tape_real, tape_fake):
        """The tape of D at the real examples."""
        return tape_real

    def h(self, norm):
        return self.weight / 2 * norm * norm

    def slope_over_norm(self, norm):
        return self.weight
