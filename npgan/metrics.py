"""How good are the samples? The Parzen-window estimate of the paper's Table 1, its two anchors, nearest neighbours; and for toy data,
where more can be known, mode coverage, the exact Wasserstein distance on a line and the Jensen-Shannon divergence on a grid.

The first ones rest on one matrix, the squared L2 distances between rows, made in one place and a chunk of rows at a time.
Log-likelihoods are in nats, and of a density: they depend on the scale of the data (the paper's pixels lie in [0, 1]).

Goodfellow et al. 2014, section 5; Breuleux, Bengio, Vincent 2011, for the estimate; Theis, van den Oord, Bethge 2016, for how it fails.
Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN) for mode coverage.
"""

import math
from typing import NamedTuple

import numpy as np

from npgan import backend as xp

SIGMAS = tuple(10 ** (i / 9 - 1) for i in range(10))    # the paper's grid, logspace(-1, 0, 10)

CHUNK = 1 << 24         # numbers held at a time: 64 MiB of float32, and enough rows for a matrix product at full speed
BLOCK = 1 << 20         # distances reduced at a time: few enough to stay near the processor
TAIL = 1e-4             # the share of a sum of exponentials that may be left out: nats, at most; on the digits of MNIST 3e-6


class Parzen(NamedTuple):
    """The estimate: mean log-likelihood of the test set (nats), its standard error, and the sigma chosen on the validation set."""
    ll: float
    se: float
    sigma: float


class Anchors(NamedTuple):
    """The estimate with no generator at all: real training images as the samples, and k-means centres as the samples."""
    real: Parzen
    kmeans: Parzen


def parzen(samples, valid, test, sigmas=SIGMAS):
    """Log-likelihood of `test` under Gaussians of width sigma around `samples`, by the paper's protocol: a Parzen, in nats.

    samples (k, d), the paper's k is 10,000   valid (n, d), the first 1,000 choose sigma from the grid   test (n, d), all of it
    The standard error is std / sqrt(n) over the test set. NumPy arrays are moved to the device.
    ValueError: an array that is empty, not two-dimensional, not finite or of another width; a sigma that is not positive.
    """
    samples, valid, test = _matrices(samples=samples, valid=valid, test=test)
    means = log_likelihoods(valid[:1000], samples, sigmas).mean(axis=1)
    sigma = float(sigmas[int(xp.argmax(means))])
    ll = log_likelihoods(test, samples, [sigma])[0]
    return Parzen(float(ll.mean()), float(ll.std()) / math.sqrt(len(test)), sigma)


def anchors(train, valid, test, n=10_000, iterations=1, seed=0):
    """What the estimate gives to n real training images, and to the n centres that k-means makes of them: Anchors, in nats.

    train (N, d), the rest as in parzen. k-means beats the real images, and neither is a model of anything: a score is to be read beside
    these two (Theis et al. 2016). On MNIST k-means has 335.0 after one iteration, 335.7 after 3, and 335.8 after 5 or 10.
    ValueError: as parzen; n outside 1..N.
    """
    train, valid, test = _matrices(train=train, valid=valid, test=test)
    if not 1 <= n <= len(train):
        raise ValueError(f"n: expected 1 to {len(train)}, as many as train has rows, got {n}")
    real, centres = kmeans(train, n, 0, seed), kmeans(train, n, iterations, seed)       # the draw that k-means starts from, and its end
    return Anchors(parzen(real, valid, test), parzen(centres, valid, test))


def log_likelihoods(x, centres, sigmas, chunk=None):
    """log p(x_i) = logmeanexp_j( -|x_i - s_j|^2 / (2 sigma^2) ) - d log(sigma sqrt(2 pi)), in nats, for every sigma: (len(sigmas), n)

    x (n, d)   centres s (k, d)   sigmas: from 1e-12 to 1e12, any order   chunk: rows of x at a time
    One pass over the distances serves all sigmas. Memory beside the result: a float32 copy of the centres and 96 MiB (if k + d < 2^22).
    ValueError: as parzen.
    """
    x, centres = _matrices(x=x, centres=centres)
    sigmas = [float(s) for s in sigmas]
    if not sigmas or not all(1e-12 <= s <= 1e12 for s in sigmas):                   # sigma^2 in the range of float32
        raise ValueError(f"sigmas: expected at least one, all from 1e-12 to 1e12, got {sigmas}")
    d, k = x.shape[1], len(centres)
    out = xp.empty((len(sigmas), len(x)), "float64")
    normaliser = [math.log(k) + d * math.log(sigma * math.sqrt(2 * math.pi)) for sigma in sigmas]
    step = max(1, BLOCK // k)
    for rows, h, r in _half_distances(x, centres, chunk):
        for i in range(0, len(h), step):
            block, to = h[i:i + step], out[:, rows][:, i:i + step]
            least = block.min(axis=1)
            half = xp.maximum(least + r[i:i + step], 0).astype("float64")
            for s, log_sum in enumerate(_log_sums(block, least, sigmas)):
                to[s] = log_sum - half / sigmas[s] ** 2 - normaliser[s]
    return out


def _log_sums(h, least, sigmas):
    """log sum_j exp(-(h_ij - least_i) / sigma^2) for every sigma: a list of (m,)       h (m, k), overwritten   least (m,), its rows' minima

    A row's nearest centre is its largest term, 1, whatever sigma. exp is dear, and in many dimensions nearly every other term
    vanishes beside that one: k terms below TAIL / k cannot add up to more than TAIL. So from the widest sigma down, as soon as
    few terms count, only those are kept, in a flat array, each with its row.
    """
    m, k = h.shape
    h -= least[:, None]
    row, sums = None, [None] * len(sigmas)
    for s in sorted(range(len(sigmas)), key=sigmas.__getitem__, reverse=True):
        v = sigmas[s] ** 2
        within = h <= v * math.log(k / TAIL)
        if row is None and xp.count_nonzero(within) > h.size // 8:
            sums[s] = xp.log(xp.exp(h * (-1 / v)).sum(axis=1))
        else:
            kept = xp.flatnonzero(within)
            row = kept // k if row is None else row[kept]
            h = h.ravel()[kept]
            sums[s] = xp.log(xp.bincount(row, xp.exp(h * (-1 / v)), m))
    return sums


def nearest(x, data, chunk=None):
    """argmin_j |x_i - data_j|: the index of the L2-nearest row of `data` for each row of x, (n,).

    x (n, d)   data (k, d)   chunk: rows of x at a time. Memory as in log_likelihoods. ValueError: as parzen.
    """
    x, data = _matrices(x=x, data=data)
    out = xp.empty(len(x), "int64")
    for rows, h, _ in _half_distances(x, data, chunk):
        out[rows] = h.argmin(axis=1)
    return out


def kmeans(x, k, iterations, seed=0):
    """Lloyd's algorithm from k random rows of x: each centre moves to the mean of the rows nearest to it; one with none stays. (k, d)

    x (n, d). The first centres are drawn on the host: the same on both backends. ValueError: as parzen; k outside 1..n.
    """
    x, = _matrices(x=x)
    if not 1 <= k <= len(x):
        raise ValueError(f"k: expected 1 to {len(x)}, as many as x has rows, got {k}")
    first = np.random.default_rng(seed).choice(len(x), k, replace=False)
    centres = x[xp.asarray(first)].astype("float32")
    for _ in range(iterations):
        label = nearest(x, centres)
        count = xp.bincount(label, minlength=k)
        for j in range(x.shape[1]):
            mean = xp.bincount(label, x[:, j], k) / xp.maximum(count, 1)
            centres[:, j] = xp.where(count > 0, mean, centres[:, j])
    return centres


class Coverage(NamedTuple):
    """Modes captured, the share of samples of high quality, and KL(high-quality samples over the modes || uniform), in nats."""
    modes: int
    high_quality: float
    reverse_kl: float


def coverage(samples, modes, sd, within=3.):
    """Mode coverage, by the published protocol: a sample is of high quality if it is within 3 sd of its nearest mode, and a mode is
    captured if it is the nearest one of at least one such sample. A Coverage; its reverse KL is nan without any such sample.

    samples (n, d), the protocol's n is 2,500   modes (k, d)   sd > 0, of each mode. ValueError: as parzen; sd or within not positive.
    """
    samples, modes = _matrices(samples=samples, modes=modes)
    if not (0 < sd < math.inf and 0 < within < math.inf):
        raise ValueError(f"sd, within: expected positive numbers, got {sd} and {within}")
    of = nearest(samples, modes)
    good = xp.linalg.norm(samples - modes[of], axis=1) <= within * sd
    count = xp.asnumpy(xp.bincount(of[good], minlength=len(modes)))
    share = count[count > 0] / max(count.sum(), 1)
    kl = float(np.sum(share * np.log(share * len(modes)))) if count.any() else math.nan
    return Coverage(int(np.count_nonzero(count)), float(count.sum() / len(samples)), kl)


def wasserstein(x, y):
    """W_1 = inf E|x - y| over joint distributions, exactly, of two sets of numbers: the mean of |x_(i) - y_(i)|, sorted, i.e. the integral
    of |F_x^-1(u) - F_y^-1(u)| over u, which sets of unequal size cut at all multiples of 1/n and 1/k.

    x (n, 1)   y (k, 1), in the units of x. ValueError: as parzen; more than one column.
    """
    x, y = _matrices(x=x, y=y)
    if x.shape[1] != 1:
        raise ValueError(f"x: sorting gives the distance of numbers only, and these are points of {x.shape[1]} coordinates")
    x, y = (xp.sort(a.ravel().astype("float64")) for a in (x, y))
    n, k = len(x), len(y)
    cut = xp.sort(xp.concatenate([xp.arange(1, n + 1) * k, xp.arange(1, k + 1) * n]))      # of u, in units of 1 / nk: integers, exact
    length = xp.diff(cut, prepend=xp.zeros_like(cut[:1]))
    return float((xp.abs(x[(cut - 1) // k] - y[(cut - 1) // n]) * length).sum() / (n * k))


def jsd(x, y, low, high, bins=50):
    """The Jensen-Shannon divergence (nats) of two sets of points, as histograms over `bins` cells along each axis of [low, high]^d.

    x (n, d)   y (k, d); what lies outside is counted in the cell at the border. Biased upward, by about (cells met) (1/n + 1/k) / 8.
    ValueError: as parzen; an empty range; more than 2^24 cells.
    """
    x, y = _matrices(x=x, y=y)
    d = x.shape[1]
    if not low < high or not 1 <= bins ** d <= 1 << 24:
        raise ValueError(f"bins: expected low < high and 1 to 2^24 cells in all, got [{low}, {high}] and {bins}^{d} cells")

    def histogram(a):
        cell = xp.clip((a - low) * (bins / (high - low)), 0, bins - 1).astype("int64")
        return xp.bincount((cell * xp.asarray(bins ** np.arange(d))).sum(axis=1), minlength=bins ** d) / len(a)

    def entropy(p):
        return -float((p * xp.log(xp.where(p > 0, p, 1))).sum())

    p, q = histogram(x), histogram(y)
    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


def _half_distances(x, centres, chunk):
    """Yields rows, h, r with h_ij + r_i = |x_i - s_j|^2 / 2, for one chunk of rows of x after the other.

    h (m, k), float32, is overwritten by the next chunk   r (m,)
    With u = x - mean and v = s - mean (whatever the mean: but large common parts would cancel, with their digits),
    |u - v|^2 / 2 = |u|^2 / 2 + (|v|^2 / 2 - u.v), and the bracket is the one matrix product h = [u 1] [-v |v|^2/2]^T. Comparing the
    entries of a row needs nothing else.
    """
    k, d = centres.shape
    chunk = min(chunk or max(1, CHUNK // (k + d + 1)), len(x))
    mean = centres.mean(axis=0, dtype="float64").astype("float32")
    u, v = xp.ones((chunk, d + 1), "float32"), xp.empty((k, d + 1), "float32")
    xp.subtract(mean, centres, out=v[:, :d], casting="same_kind")
    v[:, d] = _half_squares(v[:, :d])
    h = xp.empty((chunk, k), "float32")
    for i in range(0, len(x), chunk):
        rows = slice(i, min(i + chunk, len(x)))
        m = rows.stop - i
        xp.subtract(x[rows], mean, out=u[:m, :d], casting="same_kind")
        xp.matmul(u[:m], v.T, out=h[:m])
        yield rows, h[:m], _half_squares(u[:m, :d])


def _half_squares(a):
    return xp.einsum("ij,ij->i", a, a) / 2


def _matrices(**arrays):
    """The named arrays on the device, or a ValueError that names the one at fault."""
    arrays = {name: xp.asarray(a) for name, a in arrays.items()}
    width = None
    for name, a in arrays.items():
        if a.ndim != 2 or a.size == 0:
            raise ValueError(f"{name}: expected a matrix with one example a row, and at least one, got shape {a.shape}")
        width = width or a.shape[1]
        if a.shape[1] != width:
            raise ValueError(f"{name}: expected {width} columns, as many as {next(iter(arrays))} has, got {a.shape[1]}")
        if not xp.isfinite(a.sum(dtype="float64")):
            raise ValueError(f"{name}: holds values that are not finite")
    return arrays.values()
