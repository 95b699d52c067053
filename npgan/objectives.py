"""Equation 1 of Goodfellow et al. 2014, the game that D and G play:

    min_G max_D V(D, G),    V = E_x[ log D(x) ] + E_z[ log(1 - D(G(z))) ]

D ends in one linear output, the logit a, and D(x) = sigmoid(a(x)). Every objective of this
package has the same form in terms of a:

    V = E_x[ T(a(x)) ] - E_z[ F(a(G(z))) ]

For equation 1, T(a) = log sigmoid(a) and F(a) = -log(1 - sigmoid(a)). D ascends V. G has a
choice of two losses J, which it descends:

    minimax          J = -F(a)     equation 1 itself: G descends log(1 - D(G(z)))
    non-saturating   J = -T(a)     section 3 of the paper: G ascends log D(G(z))

The minimax loss saturates: its slope is -D(G(z)), almost 0 while D tells generated examples
easily. Later objectives (f-divergences, Wasserstein) are rows of the same form in
divergences.py.
"""

import math
from typing import Callable, NamedTuple, Optional

from npgan import backend as xp
from npgan import kernels

GENERATOR_LOSSES = ("non-saturating", "minimax")


class Objective(NamedTuple):
    """T, F and their derivatives dT, dF, as functions of the logit a; prob(a) is D's
    probability "real".

    All functions work elementwise and keep the dtype of a. The last three fields describe an
    f-divergence (divergences.py) and are None for other objectives: f(u) for u > 0, its
    conjugate f_star(t) where that is finite, and the threshold: D says "real" if T(a) >
    threshold.
    """

    name: str
    T: Callable
    dT: Callable
    F: Callable
    dF: Callable
    prob: Callable
    f: Optional[Callable] = None
    f_star: Optional[Callable] = None
    threshold: Optional[float] = None

    @property
    def optimal_value(self):
        """V at p_g = p_data with the optimal D: f(1), which is -log 4 for equation 1; 0 for a
        distance.
        """
        return float(self.f(xp.asarray(1.))) if self.f else 0.

    def J(self, a, loss):
        """The loss of G for each example: -F(a) if loss is "minimax", -T(a) if
        "non-saturating".
        """
        return -self._for_loss(loss, self.T, self.F)(a)

    def dJ(self, a, loss):
        """dJ/da"""
        return -self._for_loss(loss, self.dT, self.dF)(a)

    def _for_loss(self, loss, T, F):
        if loss not in GENERATOR_LOSSES:
            raise ValueError(f'generator loss "{loss}" is unknown: take one of {", ".join(GENERATOR_LOSSES)}')
        return F if loss == "minimax" else T


def log_sigmoid(a):
    """log sigmoid(a) = min(a, 0) - log(1 + e^-|a|), finite for every finite a"""
    return xp.minimum(a, 0) - xp.log1p(xp.exp(-xp.abs(a)))


# Equation 1, with D = sigmoid(a):   T = log D   F = -log(1 - D)   dT/da = 1 - D   dF/da = D
# As an f-divergence, with u = p_data / p_g:
# f = u log u - (u + 1) log(u + 1)   f' = log(u / (1 + u))   u = e^a
GAN = Objective("gan",
                T=log_sigmoid, dT=lambda a: kernels.sigmoid(-a),
                F=lambda a: -log_sigmoid(-a), dF=lambda a: kernels.sigmoid(a),
                prob=lambda a: kernels.sigmoid(a),
                f=lambda u: u * xp.log(u) - (u + 1) * xp.log1p(u),
                f_star=lambda t: -xp.log(-xp.expm1(t)), threshold=-math.log(2))
