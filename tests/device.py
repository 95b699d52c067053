"""A stand-in for CuPy on a machine without a GPU: `xp.use(device)`, and what a GPU would mind is refused or counted.

Its arrays sit in host memory but keep the manners of arrays that do not. They never turn into NumPy arrays by themselves and
never mix with them; a reduction gives a 0-d array, not a number; index arrays wrap around; overflow is silent. `counts` holds

    host reads      float, int, bool, item, tolist, get, printing, and what needs a size from the device (masks, nonzero)
    host writes     asarray and array of host data, set
    operations      calls that would launch a kernel; views and metadata are none
    allocations     new device arrays; results written through `out=` or in place are none

Every function is NumPy's own, so the numbers are NumPy's to the last bit, random numbers included.
"""

import functools
import types
from collections import Counter

import numpy as np

words = str.split
tape = None                     # what a stream that records (compiled.py) is to do again; None while none does


class Counts(Counter):
    ticks = 0                   # operations ever

    def __setitem__(self, key, value):
        Counts.ticks += key == "operations" and value > self[key]
        if tape is not None and key.startswith("host") and value > self[key]:
            raise RuntimeError(f"a {key[:-1]} while a stream is capturing")
        super().__setitem__(key, value)


counts = Counts()
reset = counts.clear


def note(again):
    if tape is not None:
        tape.append(again)

LACKING = set(words("""asmatrix bmat block busday_count char core ctypeslib datetime64 einsum_path emath errstate frompyfunc geomspace
    geterr histogram_bin_edges insert longdouble ma matrix matvec memmap multi_dot nanpercentile nanquantile ndenumerate nditer
    nested_iters object_ polydiv rec recarray seterr spacing str_ strings svdvals test timedelta64 unstack vecdot vecmat
    vector_norm void"""))                                           # NumPy has these functions, CuPy does not
LACKING_METHODS = set(words("ctypes flat getfield resize setfield setflags to_device"))
READING = set(words("argwhere bincount choose compress extract flatnonzero histogram intersect1d nonzero setdiff1d union1d unique"))
SHAPE_FIRST = set(words("broadcast_shapes empty full indices ones zeros"))                            # f((2, 3), ...)
HANDING_BACK = set(words("asanyarray ascontiguousarray asfortranarray astype atleast_1d atleast_2d atleast_3d require"))
PRODUCTS = set(words("dot matmul __matmul__ __rmatmul__"))
CUBLAS = PRODUCTS | set(words("vdot inner outer tensordot einsum norm"))


def __getattr__(name):
    return getattr(_Forward(np), name)


class _Forward:
    """Something of NumPy's, a module, a function or a ufunc with its methods, that takes and gives device arrays."""

    def __init__(self, thing):
        self._thing = thing

    def __getattr__(self, name):
        if name in LACKING or name.startswith("_"):
            raise AttributeError(f"the device has no {name!r}")
        value = getattr(self._thing, name)
        forwarded = isinstance(value, types.ModuleType) or callable(value) and not isinstance(value, type)
        return _Forward(value) if forwarded else value

    def __call__(self, *args, **kwargs):
        return call(self._thing, *args, **kwargs)


def call(f, *args, **kwargs):
    """f of NumPy applied on the device: unwrap, check, apply in silence, count, wrap."""
    name, given = f.__name__, []
    elementwise = isinstance(f, np.ufunc) or name.startswith("__")
    args = [_open(x, given, operand=elementwise or isinstance(x, list) or i == 0 and name not in SHAPE_FIRST)
            for i, x in enumerate(args)]
    kwargs = {key: _open(x, given) for key, x in kwargs.items()}
    if "initial" in kwargs or "where" in kwargs and name != "copyto":
        raise TypeError(f"{name}: the device knows neither where= nor initial=; copyto has where=")
    if name in READING or name == "where" and len(args) == 1:
        counts["host reads"] += 1
    if name == "take":
        kwargs["mode"] = "wrap"
        if (out := kwargs.get("out")) is not None and out.dtype != args[0].dtype:
            raise TypeError("take: output dtype mismatch")
    if name in PRODUCTS:
        _product(*args[:2], *args[2:] or [kwargs.get("out")])
    if tape is not None and name in CUBLAS:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    with np.errstate(all="ignore"):
        result = f(*args, **kwargs)
    closed = _close(result, given, name)
    note(functools.partial(_again, f, args, kwargs, closed))
    return closed


def _again(f, args, kwargs, closed):
    """The same into the same memory: where it allocated, into what it allocated."""
    with np.errstate(all="ignore"):
        result = f(*args, **kwargs)
    for old, new in zip(closed, result) if isinstance(closed, (list, tuple)) else [(closed, result)]:
        if isinstance(old, ndarray) and not np.may_share_memory(old._a, new):
            np.copyto(old._a, new)


def _open(x, given, operand=False):
    """What NumPy is to see of the argument x; the device arrays in it are added to `given`. An operand is device arrays or scalars."""
    if isinstance(x, ndarray):
        given.append(x)
        return x._a
    if isinstance(x, np.ndarray) or operand and isinstance(x, (list, tuple)) and not all(isinstance(e, ndarray) for e in x):
        raise TypeError(f"Unsupported type {type(x)}: bring it to the device with asarray")
    return type(x)(_open(e, given) for e in x) if type(x) in (list, tuple) else x


def _close(result, given, name):
    """Wrap what NumPy gave, and count it: arrays that were given and come back were written to, views cost nothing."""
    before = counts["allocations"]
    written = result is None

    def close(r):
        nonlocal written
        if isinstance(r, (list, tuple)):
            return [close(e) for e in r] if isinstance(r, list) else tuple(close(e) for e in r)
        if name in ("allclose", "array_equal", "array_equiv"):
            r = np.bool_(r)
        if not isinstance(r, (np.ndarray, np.generic)):
            return r
        for x in given:
            if x._a is r:
                written |= name not in HANDING_BACK
                return x
        counts["allocations"] += not any(np.may_share_memory(r, x._a) for x in given)
        return ndarray(np.asarray(r))

    closed = close(result)
    counts["operations"] += (written or counts["allocations"] > before) and name not in ("empty", "empty_like")
    return closed


def _product(a, b, out):
    """cuBLAS writes into a C-contiguous `out` of the right dtype that overlaps no operand; operands in neither order it copies."""
    if out is not None:
        if not out.flags.c_contiguous or out.dtype != np.result_type(a, b):
            raise ValueError("matmul: out must be C-contiguous and of the result's dtype, or the product takes a slow path")
        if np.may_share_memory(out, a) or np.may_share_memory(out, b):
            raise ValueError("matmul: out overlaps an operand, so the product takes a slow path")
    counts["allocations"] += sum(x.ndim > 1 and not (x.flags.c_contiguous or x.flags.f_contiguous) for x in (a, b))


class ndarray:
    """An array on the device."""

    __slots__ = ("_a",)
    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, a):
        self._a = a

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use `.get()`")

    def __array_function__(self, f, *args):
        raise TypeError(f"numpy.{f.__name__} was given a device array")

    def __getattr__(self, name):
        if name.startswith("_") or name in LACKING_METHODS:
            raise AttributeError(f"a device array has no {name!r}")
        value = getattr(self._a, name)
        return functools.partial(call, getattr(np.ndarray, name), self) if callable(value) else _close(value, [self], name)

    def get(self, out=None):
        counts["host reads"] += 1
        if out is None:
            return self._a.copy()
        np.copyto(out, self._a)
        return out

    def set(self, a):
        if not isinstance(a, np.ndarray) or a.dtype != self.dtype:
            raise TypeError("set takes a NumPy array of the same dtype")
        if a.shape != self.shape:
            raise ValueError(f"set: shape mismatch: {a.shape} into {self.shape}")
        counts["host writes"] += 1
        self._a[...] = a

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __copy__(self, memo=None):
        return self.copy()

    __deepcopy__ = __copy__

    def __reduce__(self):
        return asarray, (self.get(),)

    def __getitem__(self, key):
        gather = any(isinstance(k, ndarray) for k in (key if isinstance(key, tuple) else (key,)))
        key = self._key(key)
        part = self._a[key]
        part = _close(part.copy() if gather else part, [self], "getitem")
        note(lambda: np.copyto(part._a, self._a[key]))
        return part

    def __setitem__(self, key, value):
        if isinstance(value, (np.ndarray, list, tuple)):
            raise TypeError(f"Unsupported type {type(value)}: use set, or bring it to the device with asarray")
        key = self._key(key)
        if isinstance(value, ndarray):
            value, part = value._a, self._a[key]
            if part.ctypes.data == value.ctypes.data and part.shape == value.shape and part.strides == value.strides:
                return                                                     # the second half of x[i] += y
        with np.errstate(all="ignore"):
            self._a[key] = value
        note(lambda: self._a.__setitem__(key, value))
        counts["operations"] += 1

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._a.ctypes.data)

    def _key(self, key):
        """The key for NumPy, by which index arrays wrap around and a single element stays an array."""
        key = key if isinstance(key, tuple) else (key,)
        key = key if any(k is Ellipsis for k in key) else (*key, Ellipsis)
        takes = [0 if k is None or k is Ellipsis else k.ndim if getattr(k, "dtype", None) == bool else 1 for k in key]
        opened, axis = [], 0
        for k, taken in zip(key, takes):
            if isinstance(k, (np.ndarray, list, tuple)):
                raise TypeError(f"Unsupported index {type(k)}: bring it to the device with asarray")
            if isinstance(k, ndarray):
                masks = k.dtype == bool
                counts["host reads"] += masks                              # how many elements does it take?
                k = k._a if masks else k._a % max(self.shape[axis], 1)
            opened.append(k)
            axis += self.ndim - sum(takes) if k is Ellipsis else taken
        return tuple(opened)


def _operator(name):
    f = getattr(np.ndarray, name)
    return lambda self, *other: call(f, self, *other)


def _reading(name):
    f = getattr(np.ndarray, name)

    def read(self, *args, **kwargs):
        counts["host reads"] += 1
        return f(self._a, *args, **kwargs)
    return read


for _x in words("add sub mul truediv floordiv mod pow lshift rshift and xor or"):
    for _kind in "", "r", "i":
        setattr(ndarray, f"__{_kind}{_x}__", _operator(f"__{_kind}{_x}__"))
for _x in words("matmul rmatmul divmod rdivmod lt le eq ne gt ge neg pos abs invert"):
    setattr(ndarray, f"__{_x}__", _operator(f"__{_x}__"))
for _x in words("__float__ __int__ __complex__ __bool__ __str__ __repr__ __format__ item tolist tobytes tofile dump dumps"):
    setattr(ndarray, _x, _reading(_x))


def array(obj, dtype=None, copy=True, ndmin=0):
    if isinstance(obj, ndarray) or isinstance(obj, (list, tuple)) and any(isinstance(e, ndarray) for e in obj):
        return call(np.array if copy else np.asanyarray, obj, dtype=dtype, **({"ndmin": ndmin} if ndmin else {}))
    a = np.array(obj, dtype=dtype, ndmin=ndmin)
    if a.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {a.dtype}")
    counts.update({"host writes": 1, "allocations": 1})
    return ndarray(a)


def asarray(a, dtype=None):
    return array(a, dtype, copy=False)


def asnumpy(a):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


class Generator:
    """What cupy.random.Generator and numpy.random.Generator have in common and npgan may use."""

    def __init__(self, rng):
        self._rng = rng

    def random(self, size=None, dtype=np.float64, out=None):
        return call(self._rng.random, size=_size(size, out), dtype=dtype, out=out)

    def standard_normal(self, size=None, dtype=np.float64, out=None):
        return call(self._rng.standard_normal, size=_size(size, out), dtype=dtype, out=out)

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
        low, high = int(low), None if high is None else int(high)
        return call(self._rng.integers, low, high, size=() if size is None else size, dtype=dtype, endpoint=endpoint)


def _size(size, out):
    if size is None and out is not None:
        raise TypeError("out without size: CuPy draws one number then, and copies it everywhere")
    return () if size is None else size


def _default_rng(seed=None):
    return Generator(np.random.default_rng(seed))


random = types.SimpleNamespace(Generator=Generator, default_rng=_default_rng)
