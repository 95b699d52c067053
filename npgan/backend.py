"""The array namespace: NumPy on a CPU, or CuPy on an NVIDIA GPU when NPGAN_BACKEND=cupy.

Import the module under the name `xp` and use it as NumPy is used:

    from npgan import backend as xp
    y = xp.tanh(x)

Each name is looked up once in the active array module and then kept as an attribute here, so
`xp.tanh` costs what `np.tanh` costs. The first look-up reads NPGAN_BACKEND. `xp.use("cupy")`
switches within a process; arrays that exist already stay where they are.
The few operations that have GPU kernels of their own are in kernels.py.

Study page: docs/study/backend.html
"""

import importlib
import os

import numpy as np

_module = None                  # the active array module; None until the first look-up
_compiles = False               # whether it compiles kernels, as CuPy does
_own = set(globals())           # the names that belong to this file; completed at its end


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(active(), name)
    globals()[name] = value
    return value


def use(module):
    """Switch to "numpy", to "cupy", or to any module that has their functions.

    Raises ValueError for another name, ImportError if CuPy is not installed, and OSError if
    CuPy finds no usable GPU.
    """
    global _module, _compiles
    if module == "numpy":
        module = np
    elif module == "cupy":
        module = _cupy()
    elif isinstance(module, str):
        raise ValueError(f'NPGAN_BACKEND: "{module}" is unknown: set it to "numpy" or to "cupy"')
    for cached in set(globals()) - _own:
        del globals()[cached]
    _module, _compiles = module, hasattr(module, "ElementwiseKernel")


def _cupy():
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as e:
        raise ImportError(
            "NPGAN_BACKEND=cupy, but CuPy cannot be imported: install the extra for your CUDA driver, "
            f'"npgan[cuda12]" or "npgan[cuda13]", or set NPGAN_BACKEND=numpy ({e})') from e
    if not cupy.is_available():
        raise OSError("NPGAN_BACKEND=cupy, but CuPy finds no usable NVIDIA GPU: check the driver with "
                      "nvidia-smi, or set NPGAN_BACKEND=numpy")
    return cupy


def active():
    """The active array module. The first call reads NPGAN_BACKEND."""
    if _module is None:
        use(os.environ.get("NPGAN_BACKEND", "numpy"))
    return _module


def name():
    """The active backend's name: "numpy" or "cupy"."""
    return active().__name__


def compiles():
    """Whether the active array module compiles kernels, as CuPy does."""
    active()
    return _compiles


def asnumpy(a):
    """A copy of `a` as a NumPy array. On a GPU the host waits here until the device is done."""
    on_device = active() is not np and isinstance(a, _module.ndarray)
    return _module.asnumpy(a) if on_device else np.array(a)


def default_rng(*key):
    """A random generator on the device; its stream is a function of the integers in `key`.

    A key is for example (seed, epoch). Without a key the stream is always the same. NumPy and
    CuPy draw different numbers from one key. What must be equal on both backends is drawn with
    NumPy on the host.
    """
    # len(key), because SeedSequence treats (1,) and (1, 0) alike
    seed = int(np.random.SeedSequence((*key, len(key))).generate_state(1, np.uint64)[0])
    return active().random.default_rng(seed)


_own |= set(globals())
