"""The objectives of the game, one row each: V(D, G) = E_x[ T(a(x)) ] - E_z[ F(a(G(z))) ], a = D's last, linear output.

D ascends V. G descends it, which leaves -E_z[ F(a(G(z))) ] ("minimax", the paper's equation 1: saturating), or ascends
E_z[ T(a(G(z))) ] ("non-saturating", the paper's log D trick, section 3). Every function is finite for every finite a.
"""

from typing import Callable, NamedTuple

from npgan import backend as xp

GENERATOR_LOSSES = ("non-saturating", "minimax")


class Objective(NamedTuple):
    """T, F and their derivatives dT, dF, all functions of a; D(a) is what the discriminator is taken to say."""

    name: str
    T: Callable
    dT: Callable
    F: Callable
    dF: Callable
    D: Callable

    def J(self, a, loss):
        """What G descends, per example: -F(a) ("minimax") or -T(a) ("non-saturating"). ValueError for another name."""
        return -self._side(loss, self.T, self.F)(a)

    def dJ(self, a, loss):
        """dJ/da."""
        return -self._side(loss, self.dT, self.dF)(a)

    def _side(self, loss, T, F):
        if loss not in GENERATOR_LOSSES:
            raise ValueError(f'generator loss "{loss}" is unknown: take one of {", ".join(GENERATOR_LOSSES)}')
        return F if loss == "minimax" else T


def log_sigmoid(a):
    """log sigmoid(a) = min(a, 0) - log(1 + e^-|a|)"""
    return xp.minimum(a, 0) - xp.log1p(xp.exp(-xp.abs(a)))


# A lambda looks xp.sigmoid up at each call, so that a row follows a switch of the backend.
# Goodfellow et al. 2014, equation 1, D = sigmoid(a):   T = log D   F = -log(1 - D)   dT/da = 1 - D   dF/da = D
GAN = Objective("gan",
                T=log_sigmoid, dT=lambda a: xp.sigmoid(-a),
                F=lambda a: -log_sigmoid(-a), dF=lambda a: xp.sigmoid(a),
                D=lambda a: xp.sigmoid(a))

OBJECTIVES = {row.name: row for row in (GAN,)}
