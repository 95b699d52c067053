"""Objectives besides equation 1: f-divergences, the general f objective, Wasserstein.

Read objectives.py first: every row here has its form V = E_x[ T(a(x)) ] - E_z[ F(a(G(z))) ].

An f-divergence is D_f(P||Q) = E_q[ f(p/q) ], with f convex. It is the largest value of

    E_p[ T ] - E_q[ f*(T) ],    f*(t) = sup over u > 0 of  u t - f(u)

over all functions T (Nowozin, Cseke, Tomioka 2016; most rows come from their table 2 and
supplement). The maximum is at T = f'(p/q). So each value T(a) belongs to a ratio u = p/q, and a
row follows from it:

    F = f*(T)      dF = u dT      prob = u / (1 + u), the probability that D gives to "real"

Total variation and lecture-wasserstein have no such u. Every T increases with a and takes only
values at which f* is finite. At p = q, with the optimal D, V is f(1) and T is f'(1), the row's
threshold.

Large logits: T, F, dT, dF and prob of gan, jensen-shannon, total-variation, wasserstein and
lecture-wasserstein are finite for every finite a. The others contain an exponential or a power
of a:

    kl, jeffrey, hellinger          F overflows for a above 88 in float32, 709 in float64
    reverse-kl, neyman, hellinger   T overflows for a below -88, -709
    pearson, alpha                  F grows as a power of a

If one overflows, V is infinite. A smaller learning rate or optim.Clip can keep a small.

Study page: docs/study/divergences.html
"""

import math

from npgan import backend as xp
from npgan import kernels
from npgan.objectives import GAN, Objective, log_sigmoid


def identity(a):
    """T(a) = a"""
    return a


def identity_slope(a):
    """dT/da = 1"""
    return xp.ones_like(a)


def sigmoid(a):
    """1 / (1 + e^-a)"""
    return kernels.sigmoid(a)


def sigmoid_slope(a):
    """sigmoid'(a) = sigmoid(a) sigmoid(-a)"""
    return sigmoid(a) * sigmoid(-a)


def prob_of_ratio(u):
    """p / (p + q) = u / (1 + u), for a ratio u = p/q"""
    return u / (1 + u)


def log_lambert(s):
    """v = log W(e^s), the root of v + e^v = s. W is Lambert's function: W e^W = e^s.

    Newton's method starts above the root, where it cannot overshoot. The first error d is below
    .6, and each step makes it less than d^2 / 2. So five steps reach 4e-17.
    """
    v = xp.minimum(s, xp.log(xp.maximum(s, 1)))
    for _ in range(5):
        w = xp.exp(v)
        v = v - (v + w - s) / (1 + w)
    return v


# --- f-divergences ----------------------------------------------------------------------------


# Kullback-Leibler, KL(P||Q):   f = u log u   f' = 1 + log u   u = e^(a - 1)
KL = Objective("kl",
               T=identity, dT=identity_slope,
               F=lambda a: xp.exp(a - 1), dF=lambda a: xp.exp(a - 1),
               prob=lambda a: sigmoid(a - 1),
               f=lambda u: u * xp.log(u), f_star=lambda t: xp.exp(t - 1), threshold=1.)

# Reverse Kullback-Leibler, KL(Q||P):   f = -log u   f' = -1 / u   u = e^a
REVERSE_KL = Objective("reverse-kl",
                       T=lambda a: -xp.exp(-a), dT=lambda a: xp.exp(-a),
                       F=lambda a: a - 1, dF=identity_slope,
                       prob=sigmoid,
                       f=lambda u: -xp.log(u), f_star=lambda t: -1 - xp.log(-t), threshold=-1.)


def pearson_star(t):
    """f*(t) = t^2/4 + t, and f*(-2) = -1 for t < -2"""
    t = xp.maximum(t, -2)
    return t * (1 + t / 4)


# Pearson chi^2, E_q[ (p/q - 1)^2 ]:   f = (u - 1)^2   f' = 2 (u - 1)   u = max(1 + a/2, 0)
# A ratio u is never negative. So for t < -2 the supremum f* is at u = 0 and equals -1. The
# published f* = t^2/4 + t allows negative u. With it V has the same maximum, but F is larger
# for a < -2, and dF < 0 there makes a minimax G push a ever lower, away from the data.
PEARSON = Objective("pearson",
                    T=identity, dT=identity_slope,
                    F=pearson_star, dF=lambda a: xp.maximum(1 + a / 2, 0),
                    prob=lambda a: prob_of_ratio(xp.maximum(1 + a / 2, 0)),
                    f=lambda u: (u - 1) ** 2, f_star=pearson_star, threshold=0.)

# Neyman chi^2, E_p[ (q/p - 1)^2 ]:   f = (1 - u)^2 / u   f' = 1 - 1/u^2   u = e^(a/2)
NEYMAN = Objective("neyman",
                   T=lambda a: -xp.expm1(-a), dT=lambda a: xp.exp(-a),
                   F=lambda a: -2 * xp.expm1(-a / 2), dF=lambda a: xp.exp(-a / 2),
                   prob=lambda a: sigmoid(a / 2),
                   f=lambda u: (1 - u) ** 2 / u, f_star=lambda t: 2 - 2 * xp.sqrt(1 - t), threshold=0.)

# Squared Hellinger, the integral of (sqrt p - sqrt q)^2:
# f = (sqrt u - 1)^2   f' = 1 - 1 / sqrt u   u = e^(2a)
HELLINGER = Objective("hellinger",
                      T=lambda a: -xp.expm1(-a), dT=lambda a: xp.exp(-a),
                      F=lambda a: xp.expm1(a), dF=lambda a: xp.exp(a),
                      prob=lambda a: sigmoid(2 * a),
                      f=lambda u: (xp.sqrt(u) - 1) ** 2, f_star=lambda t: t / (1 - t), threshold=0.)


def jeffrey_star(t):
    """f*(t) = w + 1/w + t - 2 = 1/w - log w - 1

    Here w = W(e^(1 - t)), so w + log w = 1 - t.
    """
    v = log_lambert(1 - t)
    return xp.expm1(-v) - v


# Jeffrey, KL(P||Q) + KL(Q||P):
# f = (u - 1) log u   f' = log u + 1 - 1/u   u = 1/w, w = W(e^(1 - a))
JEFFREY = Objective("jeffrey",
                    T=identity, dT=identity_slope,
                    F=jeffrey_star, dF=lambda a: xp.exp(-log_lambert(1 - a)),
                    prob=lambda a: sigmoid(-log_lambert(1 - a)),
                    f=lambda u: (u - 1) * xp.log(u), f_star=jeffrey_star, threshold=0.)

# Jensen-Shannon, KL(P||M) + KL(Q||M) with M = (P + Q) / 2: twice the usual JSD, and gan + log 4
# f = u log u - (u + 1) log((1 + u) / 2)   f' = log(2u / (1 + u))   u = e^a
JENSEN_SHANNON = Objective("jensen-shannon",
                           T=lambda a: log_sigmoid(a) + math.log(2), dT=lambda a: sigmoid(-a),
                           F=lambda a: -log_sigmoid(-a) - math.log(2), dF=sigmoid,
                           prob=sigmoid,
                           f=lambda u: u * xp.log(u) - (u + 1) * xp.log((u + 1) / 2),
                           f_star=lambda t: -xp.log(2 - xp.exp(t)), threshold=0.)

# Total variation, half the integral of |p - q|:   f = |u - 1| / 2   f' = sign(u - 1) / 2
# The limits of T = tanh(a) / 2 are the two values of f'. The best T says only which of p and q
# is larger; it gives no ratio. prob = (1 + tanh a) / 2 is T, rescaled to [0, 1].
TOTAL_VARIATION = Objective("total-variation",
                            T=lambda a: xp.tanh(a) / 2, dT=lambda a: 2 * sigmoid_slope(2 * a),
                            F=lambda a: xp.tanh(a) / 2, dF=lambda a: 2 * sigmoid_slope(2 * a),
                            prob=lambda a: sigmoid(2 * a),
                            f=lambda u: xp.abs(u - 1) / 2, f_star=identity, threshold=0.)


def alpha(alpha, name=None):
    """The alpha-divergence for alpha > 1: KL in the limit alpha -> 1, half of pearson at 2.

    f = (u^alpha - 1 - alpha (u - 1)) / (alpha (alpha - 1))
    f' = (u^(alpha - 1) - 1) / (alpha - 1)   f* = (u^alpha - 1) / alpha
    u = max(1 + (alpha - 1) a, 0)^(1 / (alpha - 1))
    """
    if not 1 < alpha < math.inf:
        raise ValueError(f"alpha({alpha}): the row is written for alpha > 1; kl is the limit at 1")

    def u(t):
        return xp.maximum(1 + (alpha - 1) * t, 0) ** (1 / (alpha - 1))

    def f_star(t):
        return (xp.maximum(1 + (alpha - 1) * t, 0) ** (alpha / (alpha - 1)) - 1) / alpha

    return Objective(name or f"alpha {alpha:g}", T=identity, dT=identity_slope, F=f_star, dF=u,
                     prob=lambda a: prob_of_ratio(u(a)),
                     f=lambda u: (u ** alpha - 1 - alpha * (u - 1)) / (alpha * (alpha - 1)),
                     f_star=f_star, threshold=0.)


# --- Wasserstein, and the general f objective -------------------------------------------------


# Arjovsky, Chintala, Bottou 2017, equation 2: the earth mover's distance is the supremum of
# E_p[ a ] - E_q[ a ] over all 1-Lipschitz functions a. A critic a is defined up to a constant
# and gives no probability; prob = sigmoid(a) only maps its values to [0, 1]. V is the
# estimate to watch.
WASSERSTEIN = Objective("wasserstein", T=identity, dT=identity_slope, F=identity, dF=identity_slope,
                        prob=sigmoid)


def general(name, f, df):
    """The general f objective, V = E_x[ f(D(x)) ] + E_z[ f(1 - D(G(z))) ], D = sigmoid(a)

    f: increasing on [0, 1], finite at 0     df: its derivative     T = f(D)     F = -f(1 - D)
    f = log gives gan, but f must be finite where D rounds to 0, so GAN is a row of its own.
    Source: lecture notes on generative adversarial networks (S. Wu, lecture 22), equation 1.
    """
    return Objective(name, T=lambda a: f(sigmoid(a)), dT=lambda a: df(sigmoid(a)) * sigmoid_slope(a),
                     F=lambda a: -f(sigmoid(-a)), dF=lambda a: df(sigmoid(-a)) * sigmoid_slope(a),
                     prob=sigmoid)


# f(D) = D, which the lecture notes call Wasserstein. Nothing bounds the slope of D here, so the
# largest V is 1 + total variation. As an f-divergence:
# f = max(u, 1)   f* = t - 1   f' jumps from 0 to 1 at u = 1, and D > 1/2 is T > 1/2
LECTURE_WASSERSTEIN = general("lecture-wasserstein", identity, identity_slope)._replace(
    f=lambda u: xp.maximum(u, 1), f_star=lambda t: t - 1, threshold=.5)

OBJECTIVES = {row.name: row for row in (
    GAN, KL, REVERSE_KL, PEARSON, NEYMAN, HELLINGER, JEFFREY, JENSEN_SHANNON, TOTAL_VARIATION,
    alpha(1.5, "alpha"), WASSERSTEIN, LECTURE_WASSERSTEIN)}
