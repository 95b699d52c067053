"""The array namespace: NumPy on a CPU, or CuPy on an NVIDIA GPU when NPGAN_BACKEND=cupy.

Use it as the namespace that it is, `from npgan import backend as xp`, then `xp.matmul`. A name is looked up once in the
active array module and kept as an attribute of this one, so `xp.matmul` costs what `np.matmul` costs. The environment is
read at the first such look-up; `xp.use("cupy")` switches within a process. Arrays of one backend do not follow to the other.

Below the switch: the few operations that are worth one kernel on a GPU, each as one function with its two forms side by side.
"""

import functools
import importlib
import os

import numpy as np

_module = None                  # the active array module; None until the first look-up
_own = set(globals())           # completed at the end of the file: what belongs to this module itself


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(active(), name)
    globals()[name] = value
    return value


def use(module):
    """Switch to "numpy", "cupy", or to any module that has their functions (the tests' stand-in device is one).

    ValueError for another name; ImportError without CuPy; OSError where CuPy finds no usable GPU.
    """
    global _module
    if module == "numpy":
        module = np
    elif module == "cupy":
        module = _cupy()
    elif isinstance(module, str):
        raise ValueError(f'NPGAN_BACKEND: "{module}" is unknown: set it to "numpy" or to "cupy"')
    for cached in set(globals()) - _own:
        del globals()[cached]
    _module = module


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


# --- Operations worth one kernel: the NumPy form runs on any array module, the CuPy form is one launch ---------------------

MOST = {np.dtype(name): -float(np.log(np.finfo(name).tiny)) for name in ("float32", "float64")}      # e^MOST is finite, e^-MOST normal
BLOCK = 65536                   # of the momentum step, in numbers: theta, v, g and lr g of a block stay in a core's L2 cache


def sigmoid(x, out=None):
    """1 / (1 + e^-x), float32 or float64, to full relative precision for x > -MOST; below, e^-MOST and not a subnormal, which is slow."""
    xp = active()
    y = xp.negative(x, out=out)
    xp.minimum(y, MOST[x.dtype], out=y)
    xp.exp(y, out=y)
    y += 1
    return xp.reciprocal(y, out=y)


def bernoulli(rng, p, out):
    """out = 1 with probability p, else 0. On a CPU 16 random bits decide, in half the time of a float: p is rounded to 1 / 65536."""
    if name() == "cupy":
        rng.random(out.shape, out.dtype, out)
        return _module.less(out, p, out=out)
    return _module.less(rng.integers(65536, size=out.shape, dtype="uint16"), round(65536 * p), out=out)


def momentum(theta, v, g, lr, mu, sign):
    """v <- mu v + lr g;  theta <- theta + sign v, in place on flat vectors of one length. lr, mu: Python floats; sign: +1 or -1."""
    if name() == "cupy":
        return _momentum_kernel()(g, lr, mu, sign, v, theta)
    step = _module.add if sign > 0 else _module.subtract
    block = BLOCK if _module is np else len(theta)      # the five passes over memory are one, a block at a time
    lr_g = _module.empty_like(g[:block])
    for i in range(0, len(theta), block):
        t, v_, g_ = theta[i:i + block], v[i:i + block], g[i:i + block]
        s = lr_g[:len(t)]
        _module.multiply(g_, lr, out=s)
        v_ *= mu
        v_ += s
        step(t, v_, out=t)


@functools.cache
def _momentum_kernel():
    return _module.ElementwiseKernel("T g, T lr, T mu, T sign", "T v, T theta", "v = mu * v + lr * g; theta += sign * v;", "momentum")


_own |= set(globals())
