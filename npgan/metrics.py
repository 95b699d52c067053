"""How good are samples? Estimates that compare generated samples with real data.

parzen            the Parzen-window log-likelihood of the paper's Table 1
anchors           two scores to compare it with: of training images and of k-means centres
nearest, kmeans   nearest neighbours (L2) and k-means centres
coverage          how many modes of a toy distribution the samples reach
wasserstein       the exact W_1 of two sets of numbers
jsd               the Jensen-Shannon divergence of two histograms

Arrays hold one example a row. NumPy arrays are moved to the device. The arrays must be real,
finite, not empty, two-dimensional and of equal width, with values within +-LIMIT. Otherwise the
functions raise ValueError. Distances below 1e-18 count as 0.
Log-likelihoods (nats) are those of a density, so they depend on the scale of the data. SIGMAS
is for pixels in [0, 1].

Goodfellow et al. 2014, section 5. The estimate: Breuleux, Bengio, Vincent 2011. How it fails:
Theis, van den Oord, Bethge 2016. Mode coverage: Srivastava et al. 2017 (VEEGAN) and Lin et al.
2018 (PacGAN).
"""

import math
import warnings
from typing import NamedTuple

import numpy as np

from npgan import backend as xp

SIGMAS = tuple(10 ** (i / 9 - 1) for i in range(10))    # the authors' grid, logspace(-1, 0, 10)

CHUNK = 1 << 24         # numbers in memory at a time: 64 MiB of float32, enough rows for a fast matmul
BLOCK = 1 << 20         # distances processed at a time: few enough to stay in the processor's cache
LIMIT = 1e15            # the largest absolute value: sums of larger squares may overflow in float32
TOLERANCE = 5e-4        # nats: the error of a log-likelihood that float32 may cause
TAIL = 1e-4             # the largest share of a sum of exponentials to leave out; on MNIST it is 3e-6


class Parzen(NamedTuple):
    """Mean log-likelihood of the test set (nats), its standard error, and the chosen sigma.

    at_edge   whether sigma is the smallest or largest of the grid: a better one may lie beyond
    samples   how many samples the estimate uses
    """
    ll: float
    se: float
    sigma: float
    at_edge: bool
    samples: int


class Anchors(NamedTuple):
    """Two Parzen estimates: one from training images, one from their k-means centres."""
    real: Parzen
    kmeans: Parzen


def parzen(samples, valid, test, sigmas=SIGMAS):
    """The paper's estimate: the mean log-likelihood of test under Gaussians at the samples.

    samples (k, d), k = 10,000 in the authors' code   valid (n_valid, d)   test (n, d)

    The Gaussians have the standard deviation sigma: the one of `sigmas` with the highest mean
    log-likelihood on the first 1,000 rows of valid. The standard error is std / sqrt(n) over
    all rows of test. Returns a Parzen, and warns if at_edge.
    """
    samples, valid, test = _matrices(samples=samples, valid=valid, test=test)
    means = log_likelihoods(valid[:1000], samples, sigmas).mean(axis=1)
    sigma, narrowest, widest = float(sigmas[int(xp.argmax(means))]), min(sigmas), max(sigmas)
    at_edge = bool(narrowest < widest and sigma in (narrowest, widest))
    if at_edge:
        warnings.warn(f"Parzen estimate: the best sigma, {sigma:g}, is at the edge of the grid from "
                      f"{narrowest:g} to {widest:g}, so a better one may lie beyond; check the scale of "
                      "the data, because the authors' grid is for pixels in [0, 1]", stacklevel=2)
    ll = log_likelihoods(test, samples, [sigma])[0]
    return Parzen(float(ll.mean()), float(ll.std()) / math.sqrt(len(test)), sigma, at_edge, len(samples))


def anchors(train, valid, test, n=10_000, iterations=1, seed=0, sigmas=SIGMAS):
    """The Parzen estimates of n random training images, and of k-means centres of all images.

    train (N, d); valid, test and sigmas as in parzen. There are n k-means centres, but at most
    N / 2, because N centres would be the images themselves.

    The centres score higher than real images, although they are no model of the data: they are
    blurred. So compare every score with these two (Theis et al. 2016). On MNIST the centres
    score 335.0 after 1 iteration, 335.7 after 3, and 335.8 after 5 or 10.
    """
    train, valid, test = _matrices(train=train, valid=valid, test=test)
    if len(train) < 2:
        raise ValueError("train: expected at least 2 rows, for at most half as many k-means centres")
    if not 1 <= n <= len(train):
        raise ValueError(f"n: expected 1 to {len(train)}, as many as train has rows, got {n}")
    real = kmeans(train, n, 0, seed)                    # 0 iterations: n random images
    centres = kmeans(train, min(n, len(train) // 2), iterations, seed)
    return Anchors(parzen(real, valid, test, sigmas), parzen(centres, valid, test, sigmas))


def log_likelihoods(x, centres, sigmas, chunk=None):
    """log p(x_i) = logmeanexp_j( -|x_i - s_j|^2 / (2 sigma^2) ) - d log(sigma sqrt(2 pi)).

    x (n, d)   centres s (k, d)   sigmas: 1e-12 to 1e12, any order   chunk: rows of x at a time

    Returns (len(sigmas), n), float64, in nats. The distances are computed once for all sigmas.
    The error of a value is below 1e-3 nats, or below 1e-10 of the value if that is more.
    Memory besides the result: a float32 copy of the centres and 96 MiB (if k + d < 2^21).
    """
    x, centres = _matrices(x=x, centres=centres)
    sigmas = [float(s) for s in sigmas]
    if not sigmas or not all(1e-12 <= s <= 1e12 for s in sigmas):       # sigma^2 in the range of float32
        raise ValueError(f"sigmas: expected at least one, all from 1e-12 to 1e12, got {sigmas}")
    d, k = x.shape[1], len(centres)
    out = xp.empty((len(sigmas), len(x)), "float64")
    normaliser = [math.log(k) + d * math.log(sigma * math.sqrt(2 * math.pi)) for sigma in sigmas]
    for rows, half_nearest, excess in _half_distances(x, centres, chunk, [sigma ** 2 for sigma in sigmas]):
        for s, log_sum in enumerate(_log_sums(excess, sigmas)):
            out[s, rows] = log_sum - half_nearest / sigmas[s] ** 2 - normaliser[s]
    return out


def _log_sums(excess, sigmas):
    """log sum_j exp(-excess_ij / sigma^2), for each sigma an array (m,).   excess (m, k)

    The largest term of each row is 1, that of its nearest centre. Terms below TAIL / k are
    small: even k of them add up to less than TAIL. The smaller sigmas skip them, because exp is
    slow, and in many dimensions nearly all terms are small.

    The loop goes from the largest sigma to the smallest. A smaller sigma has fewer large terms.
    At first the whole array is summed. As soon as at most 1/8 of the terms are large, `excess`
    becomes a flat array of the large terms only, and `row` holds the row of each.
    """
    m, k = excess.shape
    row, sums = None, [None] * len(sigmas)
    for s in sorted(range(len(sigmas)), key=sigmas.__getitem__, reverse=True):
        variance = sigmas[s] ** 2
        large = excess <= variance * math.log(k / TAIL)
        if row is None and xp.count_nonzero(large) > excess.size // 8:
            sums[s] = xp.log(xp.exp(excess * (-1 / variance)).sum(axis=1))
        else:
            kept = xp.flatnonzero(large)
            row = kept // k if row is None else row[kept]
            excess = excess.ravel()[kept]
            sums[s] = xp.log(_sums(row, xp.exp(excess * (-1 / variance)), m, 1))
    return sums


def _sums(label, values, k, top, twice=False):
    """For each label j = 0 ... k - 1, the sum of the values (n,) that have it; |values| <= top.

    A GPU adds in a different order each time. The order cannot change the bits here: each value
    is first rounded to a multiple of `unit`, so every sum is exact. If `twice`, the sums of the
    rounding errors are added. The error is at most top n^2 2^-52; if `twice`, top n^3 2^-104.
    """
    unit = math.ldexp(1, max(math.frexp(top * len(values))[1] - 52, -900))
    rounded = xp.rint(xp.multiply(values, 1 / unit, dtype="float64"))
    sums = xp.bincount(label, rounded, k) * unit
    if twice:
        sums += _sums(label, values - rounded * unit, k, unit)
    return sums


def nearest(x, data, chunk=None):
    """argmin_j |x_i - data_j|: for each row of x, the index of the nearest row of data, (n,).

    x (n, d)   data (k, d)   chunk: rows of x at a time. Memory as in log_likelihoods.
    """
    x, data = _matrices(x=x, data=data)
    out = xp.empty(len(x), "intp")
    for rows, _, excess in _half_distances(x, data, chunk):
        out[rows] = excess.argmin(axis=1)
    return out


def kmeans(x, k, iterations, seed=0):
    """Lloyd's algorithm from k random rows of x (n, d). Returns the centres (k, d).

    Each iteration moves every centre to the mean of the rows that are nearest to it. A centre
    without rows stays. The first centres are drawn on the host, so that both backends draw the
    same rows. The centres are float32 if float32 holds every value of x's dtype, else float64.
    """
    x, = _matrices(x=x)
    if not 1 <= k <= len(x):
        raise ValueError(f"k: expected 1 to {len(x)}, as many as x has rows, got {k}")
    first = np.random.default_rng(seed).choice(len(x), k, replace=False)
    centres = x[xp.asarray(first)].astype(_floating(x))
    top = max(-float(x.min()), float(x.max()))
    for _ in range(iterations):
        label = nearest(x, centres)
        count = xp.bincount(label, minlength=k)
        for j in range(x.shape[1]):
            mean = _sums(label, x[:, j], k, top, twice=True) / xp.maximum(count, 1)
            centres[:, j] = xp.where(count > 0, mean, centres[:, j])
    return centres


class Coverage(NamedTuple):
    """What `coverage` measures.

    modes          how many modes are captured
    high_quality   the share of the samples that are of high quality, 0 to 1
    reverse_kl     KL(histogram of the high-quality samples over the modes || uniform), in nats
    """
    modes: int
    high_quality: float
    reverse_kl: float


def coverage(samples, modes, sd, within=3.):
    """How many modes the samples capture, as VEEGAN and PacGAN count. Returns a Coverage.

    samples (n, d), n = 2,500 in their papers   modes (k, d)   sd: standard deviation of a mode

    A sample is of high quality if its nearest mode is at most `within` sd away. A mode is
    captured if it is the nearest mode of a high-quality sample. Without high-quality samples,
    reverse_kl is nan.
    """
    samples, modes = _matrices(samples=samples, modes=modes)
    if not (0 < sd < math.inf and 0 < within < math.inf):
        raise ValueError(f"sd, within: expected positive numbers, got {sd} and {within}")
    mode = nearest(samples, modes)
    good = xp.linalg.norm(xp.subtract(samples, modes[mode], dtype="float64"), axis=1) <= within * sd
    count = xp.asnumpy(xp.bincount(mode[good], minlength=len(modes)))
    share = count[count > 0] / max(count.sum(), 1)
    kl = float(np.sum(share * np.log(share * len(modes)))) if count.any() else math.nan
    return Coverage(int(np.count_nonzero(count)), float(count.sum() / len(samples)), kl)


def wasserstein(x, y):
    """The exact Wasserstein distance W_1 of two sets of numbers, in the units of x.

    x (n, 1)   y (k, 1)

    W_1 = inf E|X - Y| over all joint distributions of X and Y with these marginals. It is the
    integral of |F_x^-1(u) - F_y^-1(u)| over u in [0, 1]. The quantile function F_x^-1 is
    constant on n intervals of length 1/n, where its values are the sorted x; F_y^-1 likewise.
    If n = k, W_1 is the mean of |x_i - y_i| with x and y sorted.
    """
    x, y = _matrices(x=x, y=y)
    if x.shape[1] != 1:
        raise ValueError(f"x: expected numbers, one column, got points of {x.shape[1]} coordinates")
    x, y = (xp.sort(a.ravel().astype("float64")) for a in (x, y))
    n, k = len(x), len(y)
    # The ends of the intervals in u, in units of 1 / (n k): integers, so nothing is rounded.
    ends = xp.sort(xp.concatenate([xp.arange(1, n + 1) * k, xp.arange(1, k + 1) * n]))
    lengths = xp.diff(ends, prepend=xp.zeros_like(ends[:1]))
    return float((xp.abs(x[(ends - 1) // k] - y[(ends - 1) // n]) * lengths).sum() / (n * k))


def jsd(x, y, low, high, bins=50):
    """Jensen-Shannon divergence (nats) of the histograms of x (n, d) and y (k, d).

    The histograms have `bins` cells along each axis of [low, high]^d. A point outside counts in
    the nearest cell. For finite n and k the result is too large by about c (1/n + 1/k) / 8,
    where c is the number of cells that have points.
    """
    x, y = _matrices(x=x, y=y)
    d = x.shape[1]
    if not low < high or not 1 <= bins ** d <= 1 << 24:
        raise ValueError(f"bins: expected low < high and 1 to 2^24 cells, got [{low}, {high}] and {bins}^{d}")

    def histogram(a):
        cell = xp.clip((a.astype(_floating(a)) - low) * (bins / (high - low)), 0, bins - 1).astype("intp")
        index = (cell * xp.asarray(bins ** np.arange(d))).sum(axis=1)
        return xp.bincount(index, minlength=bins ** d) / len(a)

    def entropy(p):
        return -float((p * xp.log(xp.where(p > 0, p, 1))).sum())

    p, q = histogram(x), histogram(y)
    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


def _half_distances(x, centres, chunk, variances=()):
    """Yield (rows, half_nearest, excess) for each block of m rows of x.

        |x_i - s_j|^2 / 2 = half_nearest[i] + excess[i, j]      s: the centres

    half_nearest (m,), float64   excess (m, k), float32, >= 0, overwritten by the next block

    With u = x - mean and v = s - mean,

        |u - v|^2 / 2 = (|v|^2 / 2 - u.v) + |u|^2 / 2

    where the bracket, `varying`, is one float32 matrix product, [u 1] [-v |v|^2/2]^T. Any mean
    gives the same distances. The mean of the centres makes u and v small, so few digits cancel.

    With e = 2^-24 (|u| |v| + |v|^2 / 2), the error of `varying` is at most (d + 8) e, and
    usually below (4 + sqrt(d) / 4) e. `_refine` computes a pair (i, j) again, with more digits,
    if s_j may be the nearest centre or if the excess is at most `reach`. `reach` is 0 if the
    usual error, divided by each of the variances sigma^2, is at most TOLERANCE nats. Pairs with
    a larger excess are so small a part of the sum in `_log_sums` that their errors do not
    matter.
    """
    k, d = centres.shape
    chunk = min(chunk or max(1, CHUNK // (k + d + 1)), len(x))
    step = max(1, BLOCK // max(k, 4 * d))
    mean = centres.mean(axis=0, dtype="float64").astype(_floating(centres))
    left, right = xp.ones((chunk, d + 1), "float32"), xp.empty((k, d + 1), "float32")
    xp.subtract(mean, centres, out=right[:, :d], casting="same_kind")
    right[:, d] = _half_squares(k, d, lambda rows: right[rows, :d])
    half_v2 = float(right[:, d].max())
    varying = xp.empty((chunk, k), "float32")
    for i in range(0, len(x), chunk):
        m = min(chunk, len(x) - i)
        xp.subtract(x[i:i + m], mean, out=left[:m, :d], casting="same_kind")
        xp.matmul(left[:m], right.T, out=varying[:m])
        half_u2 = _half_squares(m, d, lambda rows: left[:m, :d][rows])
        e = 2 ** -24 * (2 * xp.sqrt(half_u2 * half_v2) + half_v2)
        usual, reach = (4 + math.sqrt(d) / 4) * e, xp.zeros(m)
        for variance in variances:
            excessive = usual / (TOLERANCE * variance)
            far = variance * xp.log(k * xp.clip(excessive, 1, 1 / TAIL))
            reach = xp.where(excessive > 1, xp.maximum(reach, far), reach)
        bound = 2 * (d + 8) * e                                # of the error of a difference
        float64_suffices = bool(variances) and float(usual.max()) * 2 ** -29 <= TOLERANCE * min(variances)
        for j in range(0, m, step):
            here = slice(j, min(j + step, m))
            rows, block = slice(i + here.start, i + here.stop), varying[here]
            half_nearest = _refine(block, bound[here], reach[here], float64_suffices, x[rows], centres, mean)
            yield rows, half_nearest, block


def _refine(block, bound, reach, float64_suffices, x, centres, mean):
    """Turn a block of `varying` (m, k) into the excess, in place. Returns half_nearest (m,).

    A pair is near if its value is at most bound + reach (m,) above the smallest of its row. The
    near pairs are computed again from x - s in float64. If they are many, a float64 matrix
    product first replaces the whole block. If float64_suffices, that product is the result.
    """
    block -= block.min(axis=1)[:, None]
    near = xp.flatnonzero(block <= (bound + reach).astype("float32")[:, None])
    if len(near) > block.size // 16:
        half = _half_products(x, centres, mean)
        half_nearest = half.min(axis=1)
        half -= half_nearest[:, None]
        block[...] = half
        if float64_suffices:
            return xp.maximum(half_nearest, 0)              # rounding may leave it below 0
        near = xp.flatnonzero(half <= (bound * 2 ** -29 + reach)[:, None])
        del half
    row, column = near // len(centres), near % len(centres)
    half = _half_squares(len(near), x.shape[1],
                         lambda i: xp.subtract(x[row[i]], centres[column[i]], dtype="float64"))
    half_nearest = xp.full(len(x), math.inf)
    xp.minimum.at(half_nearest, row, half)
    block.reshape(-1)[near] = half - half_nearest[row]
    return half_nearest


def _half_products(x, centres, mean):
    """|x_i - s_j|^2 / 2 (m, k) as in _half_distances, in float64."""
    k, d = centres.shape
    u, half = xp.subtract(x, mean, dtype="float64"), xp.empty((len(x), k))
    step = max(1, BLOCK // 4 // d)
    for j in range(0, k, step):
        v = xp.subtract(centres[j:j + step], mean, dtype="float64")
        half[:, j:j + step] = (v * v).sum(axis=1) / 2 - xp.matmul(u, v.T)
    half += (u * u).sum(axis=1)[:, None] / 2
    return half


def _half_squares(n, d, rows):
    """|a_i|^2 / 2 (n,), float64, for the n rows a_i of a matrix. rows(i) gives the slice i."""
    out, step = xp.empty(n), max(1, BLOCK // 4 // d)
    for i in range(0, n, step):
        a = rows(slice(i, i + step))
        out[i:i + step] = xp.matmul(a[:, None, :], a[:, :, None])[:, 0, 0] / 2
    return out


def _matrices(**named):
    """The named arrays on the device, checked: real matrices with rows, all of one width."""
    arrays = {name: xp.asarray(a) for name, a in named.items()}
    width = None
    for name, a in arrays.items():
        if a.dtype.kind not in "biuf":
            raise ValueError(f"{name}: expected real numbers, got {a.dtype}")
        if a.ndim != 2 or a.size == 0:
            raise ValueError(f"{name}: expected a matrix with an example in each row, got shape {a.shape}")
        width = width or a.shape[1]
        if a.shape[1] != width:
            first = next(iter(arrays))
            raise ValueError(f"{name}: expected {width} columns, as many as {first} has, got {a.shape[1]}")
        low, high = float(a.min()), float(a.max())
        if not -LIMIT <= low <= high <= LIMIT:          # False for nan too
            limits = f"{-LIMIT:g} to {LIMIT:g}"
            raise ValueError(f"{name}: expected finite values from {limits}, got {low:g} to {high:g}")
    return arrays.values()


def _floating(a):
    """The smaller of float32 and float64 that holds the values of a's dtype."""
    return np.result_type(a.dtype, "float32")
