"""Equation 1 of Goodfellow et al. 2014, the game that D and G play:

    min_G max_D V(D, G),    V = E_x[ log D(x) ] + E_z[ log(1 - D(G(z))) ]

D ends in one linear output, the logit a, and D(x) = sigmoid(a(x)). Every objective of this
package has the same form in terms of a:

    V = E_x[ T(a(x)) ] - E_z[ F(a(G(z))) ]

T and F are the letters of f-GAN (Nowozin, Cseke, Tomioka 2016), whose f*(T) is F here.
For equation 1, T(a) = log sigmoid(a) and F(a) = -log(1 - sigmoid(a)). D ascends V. G has a
choice of two losses J, which it descends:

    minimax          J = -F(a)     equation 1 itself: G descends log(1 - D(G(z)))
    non-saturating   J = -T(a)     section 3 of the paper: G ascends log D(G(z))

The minimax loss saturates: its slope in a is -D(G(z)), almost 0 while D recognises generated
examples. The slope of the non-saturating loss, -(1 - D(G(z))), is almost -1 then. The other
objectives (f-divergences, Wasserstein) have the same form and are in divergences.py.

Study page: docs/study/objectives.html
"""

import math
from typing import Callable, NamedTuple, Optional

from npgan import backend as xp
from npgan import kernels

GENERATOR_LOSSES = ("non-saturating", "minimax")


class Objective(NamedTuple):
    """T, F, their derivatives, and D's probability, as elementwise functions of the logit a.

    All of them keep the dtype of a.
    """

    name: str
    T: Callable
    dT: Callable
    F: Callable
    dF: Callable
    prob: Callable                          # prob(a): the probability that D gives to "real"
    f: Optional[Callable] = None            # f(u), u > 0, of an f-divergence (divergences.py)
    f_star: Optional[Callable] = None       # its conjugate f*(t), where it is finite
    threshold: Optional[float] = None       # f'(1): D decides "real" if T(a) > threshold

    @property
    def optimal_value(self):
        """V at p_g = p_data with the optimal D: f(1), -log 4 for equation 1. Without an f:
        0.
        """
        return float(self.f(xp.asarray(1.))) if self.f else 0.

    def J(self, a, loss):
        """G's loss for each example: -F(a) for "minimax", -T(a) for "non-saturating"."""
        return -self._choose(loss, self.T, self.F)(a)

    def dJ(self, a, loss):
        """dJ/da"""
        return -self._choose(loss, self.dT, self.dF)(a)

    def _choose(self, loss, T, F):
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
