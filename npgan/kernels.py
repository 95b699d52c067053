"""Operations with special code, where a GPU wants one launch or a CPU wants BLAS or blocks.

You can skip this file: read each call as the equation in its docstring. If the array module
compiles kernels, as CuPy does, most of the operations are one kernel, because m = 100 examples
are too little work for several launches. Otherwise they are plain array operations. On a CPU a
large update goes through memory in blocks, because theta, v and g together do not fit into the
processor's cache.

Study page: docs/study/backend.html
"""

import contextlib
import functools

import numpy as np

from npgan import backend as xp

BLOCK = 65536                   # numbers of each vector that one block of an update covers
# The largest x of a dtype for which e^-x is a normal number
EXP_LIMIT = {np.dtype(t): float(np.nextafter(-np.log(np.finfo(t).tiny), t(0)))
             for t in (np.float32, np.float64)}


# --- Products of matrices ---------------------------------------------------------------------


_product = None                 # what cuda.py puts in the place of xp.dot while a CUDA graph is recorded


def product(a, b, out):
    """out = a b, for matrices.

    NumPy's matmul multiplies by a matrix of one column in a loop without BLAS, ten times slower
    than dot, and D ends in one logit. So `product` calls dot.
    """
    (_product or xp.dot)(a, b, out=out)


@contextlib.contextmanager
def product_by(function):
    """A context in which `product` calls function(a, b, out=out). This is the one entry for
    cuda.py.
    """
    global _product
    _product, before = function, _product
    try:
        yield
    finally:
        _product = before


# --- Layers -----------------------------------------------------------------------------------


def sigmoid(x, out=None):
    """1 / (1 + e^-x), to full relative precision for x > -EXP_LIMIT.

    Below that limit the result is e^-EXP_LIMIT: subnormal numbers would be slow.
    """
    limit = EXP_LIMIT[x.dtype]
    y = xp.empty_like(x) if out is None else out
    if xp.compiles():
        return _kernel("sigmoid", "T x, T limit", "T y",
                       "y = 1 / (1 + exp(-x > limit ? limit : -x));")(x, limit, y)
    y.fill(-limit)              # NumPy's maximum of two arrays is faster than that of an array and a number
    xp.maximum(x, y, out=y)
    xp.negative(y, out=y)
    xp.exp(y, out=y)
    y += 1
    return xp.reciprocal(y, out=y)


def relu(x, out):
    """out = max(x, 0)"""
    if xp.compiles():
        return xp.maximum(x, 0, out=out)
    out.fill(0)                 # as in sigmoid: a maximum of two arrays
    return xp.maximum(x, out, out=out)


def first_maximum(x, y):
    """True at the first piece of x (m, pieces, units) that equals its maximum y (m, units)."""
    m, pieces, units = x.shape
    if xp.compiles():
        first = xp.empty(x.shape, "bool")
        _kernel("first_maximum", "T y, raw T x, int32 pieces, int32 units", "raw bool first", """
            // i, given by CuPy, runs over y
            bool taken = false;
            for (int p = 0; p < pieces; p++) {
                const long long at = ((long long)(i / units) * pieces + p) * units + i % units;
                first[at] = !taken && x[at] == y;
                taken = taken || first[at];
            }""")(y, x, pieces, units, first)
        return first
    first = x == y.reshape(m, 1, units)
    taken = first[:, 0].copy()
    for p in range(1, pieces):
        xp.greater(first[:, p], taken, out=first[:, p])         # this piece is a maximum, and none before it
        taken |= first[:, p]
    return first


def bernoulli(rng, p, value, out):
    """out = value with probability p, else 0.

    On a CPU 16 random bits decide, in half the time of a random float. On a GPU a random float
    of out's dtype decides. If rounding p to 16 bits would change it by more than 1e-4 p, a
    float64 decides on both.
    """
    threshold = int(65536 * p + .5)
    bits_suffice = abs(threshold - 65536 * p) <= 1e-4 * 65536 * p
    if xp.compiles():
        u = out if bits_suffice else xp.empty(out.shape, "float64")
        rng.random(u.shape, u.dtype, u)
        _kernel("bernoulli", "T p, T value", "T u", "u = u < p ? value : T(0);")(p, value, u)
        if u is not out:
            out[...] = u
        return out
    if bits_suffice:
        xp.less(rng.integers(65536, size=out.shape, dtype="uint16"), threshold, out=out)
    else:
        xp.less(rng.random(out.shape), p, out=out)
    return xp.multiply(out, value, out=out)


def sum_rows(a, out):
    """out = sum_i a_i, the sum of a matrix's rows. On a CPU: the product 1^T a, by BLAS"""
    if xp.compiles():
        return a.sum(axis=0, out=out)
    return xp.dot(_ones(xp.active(), len(a), a.dtype), a, out=out)


# --- Updates of flat vectors, in place. The other arguments are Python floats -----------------


def momentum(theta, v, g, lr, mu, sign):
    """v <- mu v + lr g;  theta <- theta + sign v          sign: +1 or -1"""
    if xp.compiles():
        return _kernel("momentum", "T g, T lr, T mu, T sign", "T v, T theta",
                       "v = mu * v + lr * g; theta += sign * v;")(g, lr, mu, sign, v, theta)
    step = xp.add if sign > 0 else xp.subtract
    for theta, v, g, work in _blocks(theta, v, g):
        xp.multiply(g, lr, out=work)
        v *= mu
        v += work
        step(theta, v, out=theta)


def adam(theta, v, s, g, rate, b1, b2, eps):
    """v <- v + (1 - b1) (g - v)
    s <- s + (1 - b2) (g^2 - s)
    theta <- theta + rate v / (sqrt s + eps)
    """
    if xp.compiles():
        return _kernel("adam", "T g, T rate, T b1, T b2, T eps", "T v, T s, T theta", """
            v += (1 - b1) * (g - v);
            s += (1 - b2) * (g * g - s);
            theta += rate * v / (sqrt(s) + eps);""")(g, rate, b1, b2, eps, v, s, theta)
    for theta, v, s, g, work in _blocks(theta, v, s, g):
        xp.subtract(g, v, out=work)
        work *= 1 - b1
        v += work
        xp.multiply(g, g, out=work)
        work -= s
        work *= 1 - b2
        s += work
        xp.sqrt(s, out=work)
        work += eps
        xp.divide(v, work, out=work)
        work *= rate
        theta += work


def lerp(a, b, w):
    """a <- a + w (b - a): linear interpolation"""
    if xp.compiles():
        return _kernel("lerp", "T b, T w", "T a", "a += w * (b - a);")(b, w, a)
    for a, b, work in _blocks(a, b):
        xp.subtract(b, a, out=work)
        work *= w
        a += work


def _blocks(*vectors):
    """Tuples of corresponding blocks of the vectors, each with a work block: one pass over
    memory in all.

    Only NumPy works in blocks; another array module gets the whole vectors as one block.
    """
    n = len(vectors[0])
    work = xp.empty_like(vectors[0][:BLOCK] if xp.active() is np else vectors[0])
    if n == len(work):
        return [(*vectors, work)]
    return ((*(a[i:i + BLOCK] for a in vectors), work[:n - i]) for i in range(0, n, BLOCK))


@functools.cache
def _ones(module, n, dtype):
    return module.ones(n, dtype)


def _kernel(name, *code):
    return _compiled(xp.active(), name, *code)


@functools.cache
def _compiled(module, name, *code):
    return module.ElementwiseKernel(*code, name)
