"""The array namespace: NumPy on a CPU, or CuPy on an NVIDIA GPU when NPGAN_BACKEND=cupy.

Use it as the namespace that it is, `from npgan import backend as xp`, then `xp.matmul`. A name is looked up once in the
active array module and kept as an attribute of this one, so `xp.matmul` costs what `np.matmul` costs. The environment is
read at the first such look-up; `xp.use("cupy")` switches within a process. Arrays of one backend do not follow to the other.

Below the switch: the few operations that are worth one kernel on a GPU, each as one function with its two forms side by side.
NPGAN_CUDA_GRAPH=1 has whole passes recorded there (cuda.py).
"""

import functools
import importlib
import os

import numpy as np

_module = None                  # the active array module; None until the first look-up
_kernels = _graphs = False      # whether it compiles kernels, as CuPy does; whether passes are recorded there
_own = set(globals())           # completed at the end of the file: what belongs to this module itself


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(active(), name)
    globals()[name] = value
    return value


def use(module):
    """Switch to "numpy", "cupy", or to any module that has their functions (the tests' stand-in device is one).

    ValueError for another name, or an NPGAN_CUDA_GRAPH but 0 and 1; ImportError without CuPy; OSError where CuPy finds no usable GPU.
    """
    global _module, _kernels, _graphs
    if module == "numpy":
        module = np
    elif module == "cupy":
        module = _cupy()
    elif isinstance(module, str):
        raise ValueError(f'NPGAN_BACKEND: "{module}" is unknown: set it to "numpy" or to "cupy"')
    graphs = os.environ.get("NPGAN_CUDA_GRAPH", "0")
    if graphs not in ("0", "1"):
        raise ValueError(f'NPGAN_CUDA_GRAPH: "{graphs}" is unknown: set it to "1", or leave it out')
    for cached in set(globals()) - _own:
        del globals()[cached]
    _kernel.cache_clear()
    _module, _kernels = module, hasattr(module, "ElementwiseKernel")
    _graphs = _kernels and graphs == "1"


def _cupy():
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as e:
        raise ImportError("NPGAN_BACKEND=cupy, but CuPy cannot be imported: install the extra for your CUDA driver, "
                          f'"npgan[cuda12]" or "npgan[cuda13]", or set NPGAN_BACKEND=numpy ({e})') from e
    if not cupy.is_available():
        raise OSError("NPGAN_BACKEND=cupy, but CuPy finds no usable NVIDIA GPU: check the driver with nvidia-smi, "
                      "or set NPGAN_BACKEND=numpy")
    return cupy


def active():
    """The active array module; the first call reads NPGAN_BACKEND."""
    if _module is None:
        use(os.environ.get("NPGAN_BACKEND", "numpy"))
    return _module


def name():
    """The active backend's name: "numpy" or "cupy"."""
    return active().__name__


def kernels():
    """Whether the active array module compiles kernels, as CuPy does."""
    active()
    return _kernels


def graphs():
    """Whether passes are to be recorded as CUDA graphs (cuda.py)."""
    active()
    return _graphs


def asnumpy(a):
    """A copy of `a` as a NumPy array: this is where the host waits for the device."""
    on_device = active() is not np and isinstance(a, _module.ndarray)
    return _module.asnumpy(a) if on_device else np.array(a)


def default_rng(*key):
    """A random generator on the device whose stream is a function of the integers in `key`, such as (seed, epoch).

    NumPy and CuPy draw different numbers from one key: what must agree on both is drawn with NumPy and moved.
    """
    seed = int(np.random.SeedSequence((*key, len(key))).generate_state(1, np.uint64)[0])
    return active().random.default_rng(seed)


# --- Operations worth one kernel: the NumPy form runs on any array module, the CuPy form is one launch. No max, min, sum, round here:
# --- a look-up of xp.max puts NumPy's in the place of Python's own.

MOST = {np.dtype(name): -float(np.log(np.finfo(name).tiny)) for name in ("float32", "float64")}      # e^MOST is finite, e^-MOST normal
BLOCK = 65536                   # of an update, in numbers: few enough for theta, g and the averages to stay near the core between passes


def sigmoid(x, out=None):
    """1 / (1 + e^-x), float32 or float64, to full relative precision for x > -MOST; below, e^-MOST and not a subnormal, which is slow."""
    xp, most = active(), MOST[x.dtype]
    y = xp.empty_like(x) if out is None else out
    if kernels():
        return _kernel("sigmoid", "T x, T most", "T y", "y = 1 / (1 + exp(-x > most ? most : -x));")(x, most, y)
    y.fill(-most)
    xp.maximum(x, y, out=y)
    xp.negative(y, out=y)
    xp.exp(y, out=y)
    y += 1
    return xp.reciprocal(y, out=y)


def relu(x, out):
    """out = max(x, 0). On a CPU of two arrays: NumPy's maximum of an array and a number takes twice to four times as long."""
    if kernels():
        return _module.maximum(x, 0, out=out)
    out.fill(0)
    return _module.maximum(x, out, out=out)


def largest(x, y):
    """(m, pieces, units) bool: True where x (m, pieces, units) is y (m, units), its maximum over the pieces, for the first time."""
    m, pieces, units = x.shape
    if kernels():
        first = _module.empty(x.shape, "bool")
        _kernel("largest", "T y, raw T x, int32 pieces, int32 units", "raw bool first", """
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
        _module.greater(first[:, p], taken, out=first[:, p])        # equal, and none before it
        taken |= first[:, p]
    return first


def bernoulli(rng, p, value, out):
    """out = value with probability p, else 0. On a CPU 16 random bits decide, in half the time of a float: p is rounded to 1 / 65536."""
    if kernels():
        rng.random(out.shape, out.dtype, out)
        return _kernel("bernoulli", "T p, T value", "T u", "u = u < p ? value : T(0);")(p, value, out)
    _module.less(rng.integers(65536, size=out.shape, dtype="uint16"), int(65536 * p + .5) or 1, out=out)
    return _module.multiply(out, value, out=out)


def total(a, out):
    """out = sum over i of a_i, the rows of a matrix. On a CPU 1^T a: a product of BLAS, in half of the time of a small matrix's sum."""
    if kernels():
        return a.sum(axis=0, out=out)
    return _module.dot(_ones(_module, len(a), a.dtype), a, out=out)


def momentum(theta, v, g, lr, mu, sign):
    """v <- mu v + lr g;  theta <- theta + sign v, in place on flat vectors of one length. lr, mu: Python floats; sign: +1 or -1."""
    if kernels():
        return _kernel("momentum", "T g, T lr, T mu, T sign", "T v, T theta", "v = mu * v + lr * g; theta += sign * v;")(
            g, lr, mu, sign, v, theta)
    step = _module.add if sign > 0 else _module.subtract
    for t, v, g, w in _blocks(theta, v, g):
        _module.multiply(g, lr, out=w)
        v *= mu
        v += w
        step(t, v, out=t)


def adam(theta, v, s, g, lr, b1, b2, eps):
    """v <- v + (1 - b1) (g - v);  s <- s + (1 - b2) (g^2 - s);  theta <- theta + lr v / (sqrt s + eps), in place; the rest floats."""
    if kernels():
        return _kernel("adam", "T g, T lr, T b1, T b2, T eps", "T v, T s, T theta", """
            v += (1 - b1) * (g - v);
            s += (1 - b2) * (g * g - s);
            theta += lr * v / (sqrt(s) + eps);""")(g, lr, b1, b2, eps, v, s, theta)
    for t, v, s, g, w in _blocks(theta, v, s, g):
        _module.subtract(g, v, out=w)
        w *= 1 - b1
        v += w
        _module.multiply(g, g, out=w)
        w -= s
        w *= 1 - b2
        s += w
        _module.sqrt(s, out=w)
        w += eps
        _module.divide(v, w, out=w)
        w *= lr
        t += w


def approach(a, b, w):
    """a <- a + w (b - a), in place on flat vectors."""
    if kernels():
        return _kernel("approach", "T b, T w", "T a", "a += w * (b - a);")(b, w, a)
    for a, b, d in _blocks(a, b):
        _module.subtract(b, a, out=d)
        d *= w
        a += d


def _blocks(*vectors):
    """Their blocks side by side, and as many numbers to work in: on a CPU all passes over memory become one, a block at a time."""
    n = len(vectors[0])
    work = _module.empty_like(vectors[0][:BLOCK] if _module is np else vectors[0])
    if n == len(work):
        return [(*vectors, work)]
    return ((*(a[i:i + BLOCK] for a in vectors), work[:n - i]) for i in range(0, n, BLOCK))


@functools.cache
def _ones(module, n, dtype):
    return module.ones(n, dtype)


@functools.cache
def _kernel(name, *code):
    return _module.ElementwiseKernel(*code, name)


_own |= set(globals())
