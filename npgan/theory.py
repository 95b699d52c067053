"""The theorems of the 2014 paper as functions: call them, plot them, check them.

G and D may be any functions here, as in section 4 of the paper. Nothing on this page is
trained: a distribution is an array, and so is D.

p_data, p_g   arrays of one shape: densities on a grid of any dimension, or the probabilities
              of discrete outcomes
dx            the volume of a grid cell, or an array of quadrature weights of the same shape;
              1, the default, for discrete outcomes

All values are in nats. Numbers are computed in float64 and returned as Python floats. Arrays
stay on the device and keep the floating-point type of the arguments.

ValueError is raised for arrays of different shapes, for negative or non-finite densities, and
for a dx that is not positive and finite. A density must integrate to one: within 1e-6 in
float64, within 1e-4 in a narrower type.

Goodfellow et al. 2014, "Generative adversarial nets", section 4. Arjovsky and Bottou 2017,
"Towards principled methods for training generative adversarial networks", sections 2 and 3.

Study page: docs/study/theorems.html
"""

import math

import numpy as np

from npgan import backend as xp

# --- Goodfellow et al. 2014: the optimal D, the criterion C(G), and its only minimum ----------


def optimal_discriminator(p_data, p_g):
    """D* = p_data / (p_data + p_g), the D that maximises V (Proposition 1, equation 2).

    At each x, a log y + b log(1 - y) is largest at y = a / (a + b). Where both densities are 0
    every D is equally good, and D* is 1/2. Rounding cannot make V infinite: D* stays above 0
    where p_data > 0, and below 1 where p_g > 0. The densities need not integrate to one.
    """
    p_data, p_g = _nonnegative(p_data=p_data, p_g=p_g)
    total = p_data + p_g
    D = xp.where(total > 0, p_data, 1) / xp.where(total > 0, total, 2)
    above_0, below_1 = float(np.finfo(D.dtype).tiny), 1 - float(np.finfo(D.dtype).epsneg)
    D = xp.where(p_data > 0, xp.maximum(D, above_0), D)
    return xp.where(p_g > 0, xp.minimum(D, below_1), D)


def value(D, p_data, p_g, dx=1):
    """V(D, G) = E_x~p_data[ log D(x) ] + E_x~p_g[ log(1 - D(x)) ], equation 1.

    D has the densities' shape, and 0 log 0 is 0. V is -inf if D is 0 at a point with
    p_data > 0, or 1 at a point with p_g > 0.
    """
    dx, p_data, p_g = _distributions(dx, p_data=p_data, p_g=p_g)
    D = _finite_like("D", D, p_data)
    if not xp.all((D >= 0) & (D <= 1)):
        raise ValueError(f"D: expected probabilities, in [0, 1], got {float(D.min())} to {float(D.max())}")
    return _unchecked_value(D.astype("float64"), p_data, p_g, dx)


def criterion(p_data, p_g, dx=1):
    """C(G) = max_D V(D, G) = V(D*, G), equation 4.

    Theorem 1: C(G) = -log 4 + 2 JSD(p_data || p_g), equation 6. The minimum, -log 4, is reached
    only at p_g = p_data. The largest value, 0, is reached where the supports do not overlap.
    Near the minimum, 2 jsd(p_data, p_g) gives more digits of C + log 4 than this function does.
    """
    dx, p_data, p_g = _distributions(dx, p_data=p_data, p_g=p_g)
    return _unchecked_value(optimal_discriminator(p_data, p_g), p_data, p_g, dx)


def kl(p, q, dx=1):
    """KL(p || q) = sum of p log(p / q) dx; inf if q is 0 where p is not.

    The terms are p log(p / q) + q - p. Their sum is the same, because p and q integrate to one.
    None of these terms is negative, so that no digits cancel.
    """
    dx, p, q = _distributions(dx, p=p, q=q)
    return _integral(_kl_term(p, q, q - p), dx)


def jsd(p, q, dx=1):
    """JSD(p || q) = KL(p || (p + q)/2) / 2 + KL(q || (p + q)/2) / 2.

    It is 0 only at p = q, and log 2 where the supports do not overlap.
    """
    dx, p, q = _distributions(dx, p=p, q=q)
    # The densities are doubled, because (p + q)/2 could underflow. So the sum is 4 JSD.
    return _integral(_kl_term(2 * p, p + q, q - p) + _kl_term(2 * q, p + q, p - q), dx) / 4


def descend(p_data, p_g, steps, rate=1., dx=1):
    """Yield p_g after each step of Proposition 2: p_g descends C(G), with D at its optimum.

    Why p_g converges to p_data: C(p_g) = sup_D V(D, p_g), and V is linear in p_g for each D.
    So C is convex, and its minimum is at p_data (Theorem 1). Its (sub)gradient is the gradient
    of V for the D that attains the supremum:

        dC/dp_g = log(1 - D*), with D* held fixed

    A step multiplies and then normalises, so that p_g remains a density:

        p_g <- p_g exp(-rate log(1 - D*)) / sum = p_g^(1 - rate) (p_data + p_g)^rate / sum

    The two forms are equal because 1 - D* = p_g / (p_data + p_g). With rate = 1 the step is
    p_g <- (p_data + p_g) / 2. If p_g = softmax(logits), it is a natural gradient step of the
    logits.

    C never rises if 0 < rate <= 1. The new p_g is the density p that minimises
    L(p) + KL(p || p_g) / rate, where L is the linear approximation of C at p_g. The curvature
    of this KL is 1 / p, and the curvature of C is D* / p, which is not larger. So the minimised
    sum is nowhere below C, and it equals C at the old p_g.

    Near the end a step multiplies p_g - p_data by 1 - rate/2 where p_data > 0, and the share of
    these points in C + log 4 by the square. Where p_data is 0, it multiplies p_g and its share
    by 2^-rate.

    p_g must be positive where p_data is: otherwise dC/dp_g is infinite there. The arguments are
    checked when the first step is asked for.
    """
    _distributions(dx, p_data=p_data, p_g=p_g)
    p_data, p_g = _nonnegative(p_data=p_data, p_g=p_g)
    if not 0 < rate <= 1:
        raise ValueError(f"rate: expected 0 < rate <= 1, for which C cannot rise, got {rate}")
    if xp.any((p_g == 0) & (p_data > 0)):
        raise ValueError("p_g: is 0 where p_data is not: start from a p_g that is positive where p_data is")
    rate = float(rate)
    dx = xp.asarray(dx, p_g.dtype)
    for _ in range(steps):
        p_g = p_g ** (1 - rate) * (p_data + p_g) ** rate
        p_g = p_g / (p_g * dx).sum()
        yield p_g


# --- Arjovsky and Bottou 2017: the gradients of G's two losses at the optimal D ---------------


def minimax_gradient(p_data, p_g, dp_g, dx=1):
    """d/dtheta E_x~p_g[ log(1 - D*(x)) ] = dC/dtheta = 2 d/dtheta JSD(p_data || p_g).

    D* is held fixed. dp_g = d p_g / d theta has the shape of p_g, integrates to 0, and must be
    0 where p_g is 0. The gradient vanishes as the two densities move apart (section 2.2.1).
    """
    return _gradient_of_expected_log("p_g", p_data, p_g, dp_g, dx)


def nonsaturating_gradient(p_data, p_g, dp_g, dx=1):
    """d/dtheta E_x~p_g[ -log D*(x) ] = d/dtheta [ KL(p_g || p_data) - 2 JSD(p_data || p_g) ].

    D* is held fixed (Theorem 2.5). The KL moves p_g towards p_data. The JSD has the wrong sign
    and moves p_g away. dp_g is as in minimax_gradient, but must be 0 where p_data is 0 instead.
    """
    return -_gradient_of_expected_log("p_data", p_data, p_g, dp_g, dx)


def _gradient_of_expected_log(numerator, p_data, p_g, dp_g, dx):
    """The integral of dp_g log(p / (p_data + p_g)); `numerator` is the name of p.

    Two logarithms are subtracted, because the quotient itself can underflow.
    """
    dx, p_data, p_g = _distributions(dx, p_data=p_data, p_g=p_g)
    dp_g = _finite_like("dp_g", dp_g, p_g)
    _require_integral("dp_g", dp_g, 0, dx)
    p, dp_g = {"p_data": p_data, "p_g": p_g}[numerator], dp_g.astype("float64")
    if xp.any((p == 0) & (dp_g != 0)):
        raise ValueError(f"dp_g: is not 0 everywhere that {numerator} is: the gradient is infinite")
    return _integral(_x_log_y(dp_g, p) - _x_log_y(dp_g, p_data + p_g), dx)


def vanishing_bound(M, eps):
    """M eps / (1 - eps), which bounds the minimax gradient of G for a D near D* (Theorem 2.4).

    D* is perfect: it is 1 on all real examples and 0 on all generated examples.
    eps bounds sup_x |D - D*| + |grad_x (D - D*)|, and M^2 bounds E |J_theta G(z)|^2.
    """
    if not (0 <= M < math.inf and 0 <= eps < 1):
        raise ValueError(f"M, eps: expected a finite M >= 0 and 0 <= eps < 1, got {M} and {eps}")
    return float(M * eps / (1 - eps))


def noisy_gradient(rng, shape):
    """Samples of -d/dx log D = -r / e, for a D that is noise around D* = 0 (Theorem 2.6).

    e ~ N(0, 1) is the noise in D, and r ~ N(0, 1) is the noise in dD/dx, independent of e.
    -r / e is a Cauchy variable: it has no mean and no variance. The mean of m samples scatters
    as widely as a single sample.
    """
    r, e = rng.standard_normal((2, *shape))
    return -r / e


def wasserstein_bound(V, C, jsd):
    """W(P_data, P_g) <= 2 V^(1/2) + 2 C JSD^(1/2), Theorem 3.3.

    The JSD (nats) is that of both distributions with the same noise added. The noise has mean 0
    and variance V = E |noise|^2. C is the diameter of a ball that contains both noisy supports.
    So noise on D's inputs gives G a smooth criterion, and this criterion still bounds W.
    """
    if not all(0 <= x < math.inf for x in (V, C, jsd)):
        raise ValueError(f"V, C, jsd: expected finite values >= 0, got {V}, {C} and {jsd}")
    return 2 * math.sqrt(V) + 2 * C * math.sqrt(jsd)


# --- Sums -------------------------------------------------------------------------------------


def _integral(f, dx):
    return float((f * dx).sum(dtype="float64"))


def _unchecked_value(D, p_data, p_g, dx):
    return _integral(_x_log_y(p_data, D) + _x_log_y(p_g, 1 - D), dx)


def _x_log_y(x, y):
    """x log y, where 0 log 0 = 0, and x log 0 = -inf for x > 0."""
    log = xp.log(xp.where(y > 0, y, 1))
    return xp.where((x > 0) & (y == 0), -math.inf, x * log)


def _kl_term(p, q, difference):
    """p log(p / q) + q - p, which is >= 0; `difference` is q - p without q's rounding error.

    If |q - p| < p / 20, the logarithm and q - p would cancel. A series takes their place there.
    Let s = (q - p) / (p + q). Then log(p / q) = -2 artanh(s) = -2 (s + s^3/3 + s^5/5 + ...).
    The first of these terms, 2 p s, is subtracted from q - p = (p + q) s and leaves (q - p) s:

        p log(p / q) + q - p = (q - p) s - 2 p s^3 (1/3 + s^2/5 + s^4/7 + s^6/9 + ...)

    |s| is below .026, so the terms after s^6/9 are about as small as the rounding error.
    """
    near = xp.abs(difference) < .05 * p
    s = xp.where(near, difference, 0) / xp.where(near, p + q, 1)
    s2 = s * s
    series = difference * s - 2 * p * s * s2 * (1 / 3 + s2 * (1 / 5 + s2 * (1 / 7 + s2 / 9)))
    return xp.where(near, series, _x_log_y(p, p) - _x_log_y(p, q) + difference)


# --- Checks -----------------------------------------------------------------------------------


def _nonnegative(**named):
    """The named arrays on the device in floating point: of one shape, finite and >= 0."""
    arrays = []
    for name, a in named.items():
        a = xp.asarray(a)
        a = a if a.dtype.kind == "f" else a.astype("float64")
        arrays.append(a)
        shape = arrays[0].shape
        if a.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, that of {next(iter(named))}, got {a.shape}")
        if not xp.all((a >= 0) & (a < math.inf)):
            raise ValueError(f"{name}: expected finite values >= 0, got {float(a.min())} to {float(a.max())}")
    return arrays


def _distributions(dx, **named):
    """dx and the named densities in float64. Each density integrates to one."""
    densities = _nonnegative(**named)
    dx, shape = xp.asarray(dx, "float64"), densities[0].shape
    if dx.shape not in ((), shape):
        raise ValueError(f"dx: expected a number or weights of shape {shape}, got shape {dx.shape}")
    if not xp.all((dx > 0) & (dx < math.inf)):
        raise ValueError(f"dx: expected positive, finite cells, got {float(dx.min())} to {float(dx.max())}")
    for name, p in zip(named, densities):
        _require_integral(name, p, 1, dx)
    return dx, *(p.astype("float64") for p in densities)


def _finite_like(name, a, density):
    """The array a on the device: finite, and of the density's shape."""
    a = xp.asarray(a)
    if a.shape != density.shape:
        raise ValueError(f"{name}: expected shape {density.shape}, that of the densities, got {a.shape}")
    if not xp.all(xp.isfinite(a)):
        raise ValueError(f"{name}: holds values that are not finite")
    return a


def _require_integral(name, a, expected, dx):
    total, size = _integral(a, dx), _integral(xp.abs(a), dx)
    tolerance = (1e-6 if a.dtype.itemsize >= 8 else 1e-4) * max(1, size)
    if not abs(total - expected) <= tolerance < math.inf:
        raise ValueError(f"{name}: expected to integrate to {expected}, got {total:.9g}: "
                         "is dx the volume of a cell, is the grid wide enough?")
