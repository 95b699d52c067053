"""The theorems as functions that can be called, plotted and checked: what the game does where G and D may be any functions.

p_data and p_g are arrays of one shape: densities on a grid of any dimension, or the probabilities of discrete outcomes. `dx` is the
volume of a cell, or the quadrature weights in an array of that shape; 1, the default, means discrete. All values are in nats.
A function that gives a number gives a Python float, worked out in float64; one that gives an array leaves it on the device, in the
type of its arguments.

ValueError, everywhere: arrays of different shapes, values that are negative or not finite, a density that does not integrate to
one (within 1e-6; 1e-4 where it is not float64), a dx that is neither a positive number nor positive weights of the arrays' shape.

Goodfellow et al. 2014, section 4; Arjovsky and Bottou 2017, "Towards principled methods for training generative adversarial networks".
"""

import math

import numpy as np

from npgan import backend as xp

# --- Goodfellow et al. 2014: the optimal D, the criterion C(G), and its one minimum ----------------------------------------

def optimal_discriminator(p_data, p_g):
    """D* = p_data / (p_data + p_g), the maximum of V over all D (Proposition 1): at each x, a log y + b log(1 - y) peaks at a / (a + b).

    Where both densities are 0 no D is better than another: 1/2 there. D* < 1 where p_g > 0, and D* > 0 where p_data > 0, also after
    rounding, so that V is finite. The densities need not integrate to one.
    """
    p_data, p_g = _densities(p_data=p_data, p_g=p_g)
    both = p_data + p_g
    D = xp.where(both > 0, p_data, 1) / xp.where(both > 0, both, 2)
    above_0, below_1 = float(np.finfo(D.dtype).tiny), 1 - float(np.finfo(D.dtype).epsneg)
    D = xp.where(p_data > 0, xp.maximum(D, above_0), D)
    return xp.where(p_g > 0, xp.minimum(D, below_1), D)


def value(D, p_data, p_g, dx=1):
    """V(D, G) = E_x~p_data[ log D(x) ] + E_x~p_g[ log(1 - D(x)) ], equation (1), with 0 log 0 = 0.

    -inf if D is 0 where there is data, or 1 where examples are generated. ValueError also for a D outside [0, 1].
    """
    dx, p_data, p_g = _normalised(dx, p_data=p_data, p_g=p_g)
    D = _like("D", D, p_data)
    if not xp.all((D >= 0) & (D <= 1)):
        raise ValueError(f"D: expected probabilities, in [0, 1], got values from {float(D.min())} to {float(D.max())}")
    return _V(D.astype("float64"), p_data, p_g, dx)


def criterion(p_data, p_g, dx=1):
    """C(G) = max_D V(D, G) = V(D*, G), equation (4).

    Theorem 1: C(G) = -log 4 + 2 JSD(p_data || p_g), so its minimum is -log 4, at p_g = p_data and nowhere else. Its upper limit is 0, for
    supports that do not meet. Near the minimum, C + log 4 has lost the digits that 2 jsd(p_data, p_g) still has.
    """
    dx, p_data, p_g = _normalised(dx, p_data=p_data, p_g=p_g)
    return _V(optimal_discriminator(p_data, p_g), p_data, p_g, dx)


def kl(p, q, dx=1):
    """KL(p || q) = sum of p log(p / q) dx; inf if q is 0 where p is not.

    p log(p / q) + q - p is summed: the same where both integrate to one, and no term of it is negative, so that nothing cancels.
    """
    dx, p, q = _normalised(dx, p=p, q=q)
    return _integral(_kl_term(p, q, q - p), dx)


def jsd(p, q, dx=1):
    """JSD(p || q) = KL(p || (p + q)/2) / 2 + KL(q || (p + q)/2) / 2: 0 if p = q and only then, log 2 where the supports do not meet."""
    dx, p, q = _normalised(dx, p=p, q=q)
    return _integral(_kl_term(2 * p, p + q, q - p) + _kl_term(2 * q, p + q, p - q), dx) / 4      # twice the densities: halves underflow


def descend(p_data, p_g, steps, rate=1., dx=1):
    """Proposition 2: p_g descends C(G) with D at its optimum at every step, and converges to p_data. Yields p_g after each of the steps.

    The heart of the proof: C(p_g) = sup_D V(D, p_g), and each V(D, .) is linear in p_g. So C is convex, and the gradient of the V whose D
    attains the supremum is a (sub)gradient of C: dC/dp_g = log(1 - D*), with D* held fixed.

    The step is exponentiated, so that p_g stays a density: p_g <- p_g exp(-rate log(1 - D*)) / sum, for p_g = softmax(logits) the natural
    gradient of the logits. As 1 - D* = p_g / (p_data + p_g), that is p_g^(1 - rate) (p_data + p_g)^rate / sum, and p_g <- (p_data + p_g)/2
    if rate = 1. C never rises for 0 < rate <= 1, because its curvature, D*/p_g, is nowhere above 1/p_g, that of the entropy by which
    the step is measured. Near the end p_g - p_data shrinks by 1 - rate/2 a step and C + log 4 by the square of that; what p_g still has
    where p_data is 0 shrinks by 2^-rate, and its share of C + log 4 with it.

    ValueError also for a rate outside (0, 1], and a p_g that is 0 where p_data is not: this step would leave it 0.
    """
    _normalised(dx, p_data=p_data, p_g=p_g)
    p_data, p_g = _densities(p_data=p_data, p_g=p_g)
    if not 0 < rate <= 1:
        raise ValueError(f"rate: expected 0 < rate <= 1, for which C cannot rise, got {rate}")
    if xp.any((p_g == 0) & (p_data > 0)):
        raise ValueError("p_g: is 0 where p_data is not, and would stay so: start from a p_g that is positive wherever p_data is")
    rate = float(rate)
    dx = xp.asarray(dx, p_g.dtype)
    for _ in range(steps):
        p_g = p_g ** (1 - rate) * (p_data + p_g) ** rate
        p_g = p_g / (p_g * dx).sum()
        yield p_g


# --- Arjovsky and Bottou 2017: the two gradients of G against an optimal D ---------------------------------------------------

def minimax_gradient(p_data, p_g, dp_g, dx=1):
    """d/dtheta E_x~p_g[ log(1 - D*(x)) ] with D* held fixed = dC/dtheta = 2 d/dtheta JSD(p_data || p_g).

    dp_g = d p_g / d theta, an array of the same shape that integrates to 0. The gradient vanishes as the densities part (section 2.2).
    ValueError also for a dp_g that does not integrate to 0, or is not 0 where p_g is.
    """
    return _gradient("p_g", p_data, p_g, dp_g, dx)


def nonsaturating_gradient(p_data, p_g, dp_g, dx=1):
    """d/dtheta E_x~p_g[ -log D*(x) ] with D* held fixed = d/dtheta [ KL(p_g || p_data) - 2 JSD(p_data || p_g) ] (Theorem 2.5).

    The JSD has the wrong sign: it pushes the densities apart, and the KL together. Arguments and errors as in minimax_gradient, but p_data
    is what may not be 0 where dp_g is not.
    """
    return -_gradient("p_data", p_data, p_g, dp_g, dx)


def _gradient(name, p_data, p_g, dp_g, dx):
    """The integral of dp_g log(p / (p_data + p_g)), p the density of that name: its logarithm, D* or 1 - D* itself could underflow."""
    dx, p_data, p_g = _normalised(dx, p_data=p_data, p_g=p_g)
    dp_g = _like("dp_g", dp_g, p_g)
    _integrates("dp_g", dp_g, dx, 0)
    p, dp_g = {"p_data": p_data, "p_g": p_g}[name], dp_g.astype("float64")
    if xp.any((p == 0) & (dp_g != 0)):
        raise ValueError(f"dp_g: is not 0 everywhere that {name} is, and the logarithm that it multiplies is infinite there")
    return _integral(_x_log_y(dp_g, p) - _x_log_y(dp_g, p_data + p_g), dx)


def vanishing_bound(M, eps):
    """M eps / (1 - eps): the minimax gradient of G is below this once D is within eps of a D* that tells p_data and p_g apart for certain.

    eps bounds sup_x |D - D*| + |grad_x (D - D*)|, and M^2 bounds E |J_theta G(z)|^2 (Theorem 2.4). ValueError unless M >= 0, 0 <= eps < 1.
    """
    if not (0 <= M < math.inf and 0 <= eps < 1):
        raise ValueError(f"M, eps: expected a finite M >= 0 and 0 <= eps < 1, got {M} and {eps}")
    return float(M * eps / (1 - eps))


def noisy_gradient(rng, shape):
    """-d/dx log D for a D that is noise around D* = 0: -r / e with r ~ N(0, 1) in dD/dx and e ~ N(0, 1) in D, independent (Theorem 2.6).

    Such a ratio is a Cauchy variable: it has no mean and no variance, and the mean of m of them scatters as widely as one.
    """
    r, e = rng.standard_normal((2, *shape))
    return -r / e


def wasserstein_bound(V, C, jsd):
    """W(P_data, P_g) <= 2 V^(1/2) + 2 C JSD^(1/2), the JSD (nats) of both distributions with the same noise added (section 3).

    V is the noise's variance, E |noise|^2, and C the diameter of a ball that holds both noised supports: noise in D's inputs leaves G a
    criterion that is smooth, and still bounds W. ValueError for a value that is negative or not finite.
    """
    if not all(0 <= x < math.inf for x in (V, C, jsd)):
        raise ValueError(f"V, C, jsd: expected finite values >= 0, got {V}, {C} and {jsd}")
    return 2 * math.sqrt(V) + 2 * C * math.sqrt(jsd)


# --- sums, and what is refused ------------------------------------------------------------------------------------------------

def _integral(f, dx):
    return float((f * dx).sum(dtype="float64"))


def _V(D, p_data, p_g, dx):
    return _integral(_x_log_y(p_data, D) + _x_log_y(p_g, 1 - D), dx)


def _x_log_y(x, y):
    """x log y, with 0 log 0 = 0 and -inf where only y is 0."""
    log = xp.log(xp.where(y > 0, y, 1))
    return xp.where((x > 0) & (y == 0), -math.inf, x * log)


def _kl_term(p, q, d):
    """p log(p / q) + q - p >= 0, where d is q - p without its rounding error.

    Where p and q agree within a twentieth the logarithm would cancel against d. With s = d / (p + q), log(q / p) = 2 artanh(s), so the
    term is p (2 s / (1 - s) - 2 (s + s^3/3 + s^5/5 + ...)) = d s - 2 p s^3 (1/3 + s^2/5 + ...): to s^9, beyond which is only rounding.
    """
    near = xp.abs(d) < .05 * p
    s = xp.where(near, d, 0) / xp.where(near, p + q, 1)
    s2 = s * s
    series = d * s - 2 * p * s * s2 * (1 / 3 + s2 * (1 / 5 + s2 * (1 / 7 + s2 / 9)))
    return xp.where(near, series, _x_log_y(p, p) - _x_log_y(p, q) + d)


def _densities(**arrays):
    """The named arrays on the device, in floating point, once they have one shape and no value that is negative or not finite."""
    first, shape = next(iter(arrays)), None
    for name, p in arrays.items():
        p = arrays[name] = xp.asarray(p)
        if p.dtype.kind != "f":
            p = arrays[name] = p.astype("float64")
        shape = p.shape if shape is None else shape
        if p.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, that of {first}, got {p.shape}: both need the same grid")
        if not xp.all((p >= 0) & (p < math.inf)):
            raise ValueError(f"{name}: expected finite values >= 0, got values from {float(p.min())} to {float(p.max())}")
    return arrays.values()


def _normalised(dx, **arrays):
    """dx and the named densities, in float64, once they integrate to one."""
    densities = _densities(**arrays)
    dx = xp.asarray(dx, "float64")
    for name, p in zip(arrays, densities):
        if dx.shape not in ((), p.shape):
            raise ValueError(f"dx: expected a number or weights of shape {p.shape}, that of {name}, got shape {dx.shape}")
        if not xp.all((dx > 0) & (dx < math.inf)):
            raise ValueError(f"dx: expected positive, finite cells, got {float(dx.min())} to {float(dx.max())}")
        _integrates(name, p, dx, 1)
    return dx, *(p.astype("float64") for p in densities)


def _like(name, a, p):
    """An array that belongs to a density: on the device, finite, of its shape."""
    a = xp.asarray(a)
    if a.shape != p.shape:
        raise ValueError(f"{name}: expected shape {p.shape}, that of the densities, got {a.shape}")
    if not xp.all(xp.isfinite(a)):
        raise ValueError(f"{name}: holds values that are not finite")
    return a


def _integrates(name, a, dx, to):
    total, size = _integral(a, dx), _integral(xp.abs(a), dx)
    tolerance = (1e-6 if a.dtype.itemsize >= 8 else 1e-4) * max(1, size)
    if not abs(total - to) <= tolerance < math.inf:
        raise ValueError(f"{name}: expected to integrate to {to}, got {total:.9g}: is dx the volume of a cell, is the grid wide enough?")
