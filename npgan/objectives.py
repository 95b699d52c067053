"""The objectives of the game, one row each: V(D, G) = E_x[ T(a(x)) ] - E_z[ F(a(G(z))) ], a = D's last, linear output.

D ascends V. G descends it, which leaves -E_z[ F(a(G(z))) ] ("minimax", the paper's equation 1: saturating), or ascends
E_z[ T(a(G(z))) ] ("non-saturating", the paper's log D trick, section 3; the f-GAN paper's alternative step).

An f-divergence D_f(P||Q) = E_q[ f(p/q) ], f convex, is the largest E_p[ T ] - E_q[ f*(T) ] over all functions T, f*(t) the supremum of
u t - f(u) over u > 0. It is reached at T = f'(p/q), so T(a) says which ratio u = p/q the discriminator sees, dF = u dT, and
D(a) = u / (1 + u) is its probability that the example is real. At p = q, V is f(1), and T is f'(1), the row's `threshold`. T(a) increases
with a and its values are where f* is finite (Nowozin, Cseke, Tomioka 2016: table 2, and more rows in the supplement). F = f*(T(a)).

All functions keep the dtype of a. T, F, dT, dF and D of gan, jensen-shannon, total-variation, wasserstein and lecture-wasserstein are
finite for every finite a. The others have exponentials of a, infinite beyond |a| = 88 in float32 and 709 in float64 (F of kl, jeffrey and
hellinger for a > 0, T of reverse-kl, neyman and hellinger for a < 0), or powers of it (pearson, alpha). There V is infinite, and npgan.run
stops with a FloatingPointError that names the iteration: a smaller learning rate, or optim.Clip, keeps a away.
"""

import math
from typing import Callable, NamedTuple, Optional

from npgan import backend as xp

GENERATOR_LOSSES = ("non-saturating", "minimax")


class Objective(NamedTuple):
    """T, F and their derivatives dT, dF, all functions of a; D(a), in [0, 1], is what the discriminator is taken to say.

    f(u), u > 0, and f_star(t), where it is finite, are the divergence's own; T(a) > threshold, as D(a) > 1/2, is the verdict "real".
    These three are None for an objective that is no f-divergence.
    """

    name: str
    T: Callable
    dT: Callable
    F: Callable
    dF: Callable
    D: Callable
    f: Optional[Callable] = None
    f_star: Optional[Callable] = None
    threshold: Optional[float] = None

    @property
    def least(self):
        """f(1), what V comes to at p_g = p_data with D at its optimum: -log 4 for gan. A distance has 0."""
        return float(self.f(xp.asarray(1.))) if self.f else 0.

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


def same(a):
    """T(a) = a"""
    return a


def one(a):
    """dT/da of T(a) = a"""
    return xp.ones_like(a)


def log_sigmoid(a):
    """log sigmoid(a) = min(a, 0) - log(1 + e^-|a|)"""
    return xp.minimum(a, 0) - xp.log1p(xp.exp(-xp.abs(a)))


def bell(a):
    """sigmoid'(a) = sigmoid(a) sigmoid(-a)"""
    return xp.sigmoid(a) * xp.sigmoid(-a)


def log_lambert(s):
    """v = log W(e^s), the root of v + e^v = s, where W is Lambert's: W e^W = e^s.

    Newton's method from above, where it cannot overshoot: the first error is below .6 and e' < e^2 / 2, so five steps reach 1e-20.
    """
    v = xp.minimum(s, xp.log(xp.maximum(s, 1)))
    for _ in range(5):
        w = xp.exp(v)
        v = v - (v + w - s) / (1 + w)
    return v


def pearson_star(t):
    """f*(t) = t^2/4 + t, and f*(-2) = -1 for t < -2"""
    t = xp.maximum(t, -2)
    return t * (1 + t / 4)


def jeffrey_star(t):
    """f*(t) = w + 1/w + t - 2 = 1/w - log w - 1, w = W(e^(1 - t)), for which w + log w = 1 - t"""
    v = log_lambert(1 - t)
    return xp.expm1(-v) - v


def probability(u):
    """D = u / (1 + u), of a ratio u = p/q: p / (p + q)"""
    return u / (1 + u)


# --- The table: a lambda looks xp.sigmoid up at each call, so that a row follows a switch of the backend ------------------------

# Goodfellow et al. 2014, equation 1, D = sigmoid(a):   T = log D   F = -log(1 - D)   dT/da = 1 - D   dF/da = D
# As an f-divergence it is jensen-shannon - log 4:   f = u log u - (u + 1) log(u + 1)   f' = log(u / (1 + u))   u = e^a
GAN = Objective("gan",
                T=log_sigmoid, dT=lambda a: xp.sigmoid(-a),
                F=lambda a: -log_sigmoid(-a), dF=lambda a: xp.sigmoid(a),
                D=lambda a: xp.sigmoid(a),
                f=lambda u: u * xp.log(u) - (u + 1) * xp.log1p(u), f_star=lambda t: -xp.log(-xp.expm1(t)), threshold=-math.log(2))

# Kullback-Leibler, KL(P||Q):   f = u log u   f' = 1 + log u   u = e^(a - 1)
KL = Objective("kl",
               T=same, dT=one,
               F=lambda a: xp.exp(a - 1), dF=lambda a: xp.exp(a - 1),
               D=lambda a: xp.sigmoid(a - 1),
               f=lambda u: u * xp.log(u), f_star=lambda t: xp.exp(t - 1), threshold=1.)

# Reverse Kullback-Leibler, KL(Q||P):   f = -log u   f' = -1 / u   u = e^a
REVERSE_KL = Objective("reverse-kl",
                       T=lambda a: -xp.exp(-a), dT=lambda a: xp.exp(-a),
                       F=lambda a: a - 1, dF=one,
                       D=lambda a: xp.sigmoid(a),
                       f=lambda u: -xp.log(u), f_star=lambda t: -1 - xp.log(-t), threshold=-1.)

# Pearson chi^2, E_q[ (p/q - 1)^2 ]:   f = (u - 1)^2   f' = 2 (u - 1)   u = max(1 + a/2, 0)
# A ratio is not negative: for t < -2 the supremum f* is at u = 0, and is -1. The published f* = t^2/4 + t is the supremum over negative u
# too. V then has the same maximum, but is smaller elsewhere, and dF < 0 for a < -2 sends a minimax G on to ever smaller a, off the data.
PEARSON = Objective("pearson",
                    T=same, dT=one,
                    F=pearson_star, dF=lambda a: xp.maximum(1 + a / 2, 0),
                    D=lambda a: probability(xp.maximum(1 + a / 2, 0)),
                    f=lambda u: (u - 1) ** 2, f_star=pearson_star, threshold=0.)

# Neyman chi^2, E_p[ (q/p - 1)^2 ]:   f = (1 - u)^2 / u   f' = 1 - 1/u^2   u = e^(a/2)
NEYMAN = Objective("neyman",
                   T=lambda a: -xp.expm1(-a), dT=lambda a: xp.exp(-a),
                   F=lambda a: -2 * xp.expm1(-a / 2), dF=lambda a: xp.exp(-a / 2),
                   D=lambda a: xp.sigmoid(a / 2),
                   f=lambda u: (1 - u) ** 2 / u, f_star=lambda t: 2 - 2 * xp.sqrt(1 - t), threshold=0.)

# Squared Hellinger, the integral of (sqrt p - sqrt q)^2:   f = (sqrt u - 1)^2   f' = 1 - 1 / sqrt u   u = e^(2a)
HELLINGER = Objective("hellinger",
                      T=lambda a: -xp.expm1(-a), dT=lambda a: xp.exp(-a),
                      F=lambda a: xp.expm1(a), dF=lambda a: xp.exp(a),
                      D=lambda a: xp.sigmoid(2 * a),
                      f=lambda u: (xp.sqrt(u) - 1) ** 2, f_star=lambda t: t / (1 - t), threshold=0.)

# Jeffrey, KL(P||Q) + KL(Q||P):   f = (u - 1) log u   f' = log u + 1 - 1/u   u = 1/w, w = W(e^(1 - a))
JEFFREY = Objective("jeffrey",
                    T=same, dT=one,
                    F=jeffrey_star, dF=lambda a: xp.exp(-log_lambert(1 - a)),
                    D=lambda a: xp.sigmoid(-log_lambert(1 - a)),
                    f=lambda u: (u - 1) * xp.log(u), f_star=jeffrey_star, threshold=0.)

# Jensen-Shannon, KL(P||M) + KL(Q||M), M = (P + Q) / 2: twice the usual JSD
# f = u log u - (u + 1) log((1 + u) / 2)   f' = log(2u / (1 + u))   u = e^a
JENSEN_SHANNON = Objective("jensen-shannon",
                           T=lambda a: log_sigmoid(a) + math.log(2), dT=lambda a: xp.sigmoid(-a),
                           F=lambda a: -log_sigmoid(-a) - math.log(2), dF=lambda a: xp.sigmoid(a),
                           D=lambda a: xp.sigmoid(a),
                           f=lambda u: u * xp.log(u) - (u + 1) * xp.log((u + 1) / 2), f_star=lambda t: -xp.log(2 - xp.exp(t)),
                           threshold=0.)

# Total variation, half the integral of |p - q|:   f = |u - 1| / 2   f' = sign(u - 1) / 2, the limits of tanh(a) / 2
# Its best T says which of p and q is larger, and no ratio: D = (1 + tanh a) / 2 is where T stands between its limits.
TOTAL_VARIATION = Objective("total-variation",
                            T=lambda a: xp.tanh(a) / 2, dT=lambda a: 2 * bell(2 * a),
                            F=lambda a: xp.tanh(a) / 2, dF=lambda a: 2 * bell(2 * a),
                            D=lambda a: xp.sigmoid(2 * a),
                            f=lambda u: xp.abs(u - 1) / 2, f_star=same, threshold=0.)

# Arjovsky, Chintala, Bottou 2017, equation 2: sup E_p[ a ] - E_q[ a ] over 1-Lipschitz a is the earth mover's distance. A critic is defined
# up to a constant and says no probability: D = sigmoid(a) only shows its values on the same scale. V itself is the estimate to watch.
WASSERSTEIN = Objective("wasserstein", T=same, dT=one, F=same, dF=one, D=lambda a: xp.sigmoid(a))


def alpha(alpha, name=None):
    """The alpha-divergence, alpha > 1; alpha -> 1 is kl and alpha = 2 half of pearson. ValueError for another alpha.

    f = (u^alpha - 1 - alpha (u - 1)) / (alpha (alpha - 1))   f' = (u^(alpha - 1) - 1) / (alpha - 1)
    u = max(1 + (alpha - 1) a, 0)^(1 / (alpha - 1))   f* = (u^alpha - 1) / alpha, over u >= 0 as pearson's
    """
    if not 1 < alpha < math.inf:
        raise ValueError(f"alpha({alpha}): the row is written for alpha > 1; kl is the limit at 1")

    def u(t):
        return xp.maximum(1 + (alpha - 1) * t, 0) ** (1 / (alpha - 1))

    def f_star(t):
        return (xp.maximum(1 + (alpha - 1) * t, 0) ** (alpha / (alpha - 1)) - 1) / alpha

    return Objective(name or f"alpha {alpha:g}", T=same, dT=one, F=f_star, dF=u, D=lambda a: probability(u(a)),
                     f=lambda u: (u ** alpha - 1 - alpha * (u - 1)) / (alpha * (alpha - 1)), f_star=f_star, threshold=0.)


def general(name, f, df):
    """The lecture's equation 1, E f(D(x)) + E f(1 - D(G(z))), f increasing on [0, 1], df its derivative: T = f(D), F = -f(1 - D).

    D = sigmoid(a), and T(a) > f(1/2) is the verdict "real". f = log is gan, which is finite where D rounds to 0: there this row needs a
    finite f. Functions f and df of arrays are to look their operations up in npgan.backend at each call.
    """
    return Objective(name, T=lambda a: f(xp.sigmoid(a)), dT=lambda a: df(xp.sigmoid(a)) * bell(a),
                     F=lambda a: -f(xp.sigmoid(-a)), dF=lambda a: df(xp.sigmoid(-a)) * bell(a), D=lambda a: xp.sigmoid(a))


# The lecture's own form of "Wasserstein", f(D) = D. Nothing bounds D's slope here, so that the largest V is 1 + total variation.
# As an f-divergence:   f = max(u, 1)   f* = t - 1   f' jumps at 1 from 0 to 1, and D > 1/2 is T > 1/2
LECTURE_WASSERSTEIN = general("lecture-wasserstein", same, one)._replace(f=lambda u: xp.maximum(u, 1), f_star=lambda t: t - 1, threshold=.5)

OBJECTIVES = {row.name: row for row in (
    GAN, KL, REVERSE_KL, PEARSON, NEYMAN, HELLINGER, JEFFREY, JENSEN_SHANNON, TOTAL_VARIATION, alpha(1.5, "alpha"), WASSERSTEIN,
    LECTURE_WASSERSTEIN)}
