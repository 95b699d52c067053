"""A stand-in for CuPy on a machine without a GPU: `backend.use(device)` computes on it.

A program that works with NumPy can fail on a GPU: NumPy arrays and device arrays do not mix. It
can also be slow on a GPU: each number that it reads from the device makes the host wait.
The stand-in shows both mistakes on a CPU. Its arrays lie in host memory, but they behave as if
they were on a device:

* What CuPy refuses raises an error. No array becomes a NumPy array by itself, no function takes
  a device array beside a NumPy array, and functions that CuPy lacks are missing.
* What CuPy does differently from NumPy is done as in CuPy. A reduction gives a 0-d array and
  not a number, an index array wraps around, and an overflow is silent.
* `counts` holds how often something was done that takes time on a GPU:

    host reads      float, int, bool, item, tolist, get, printing, and each result whose size
                    depends on the values (masks, nonzero)
    host writes     asarray and array of host data, set
    operations      calls that launch a kernel; views and metadata launch none
    allocations     new device arrays; a result in `out=` or in place allocates none

NumPy computes every result, so the numbers are NumPy's to the last bit, random numbers
included. compiled.py adds to this module what CuPy compiles and records.
"""

import functools
import types
from collections import Counter

import numpy as np

counts = Counter()
reset = counts.clear
operations_ever = 0             # as counts["operations"], but never reset
recording = None                # while a stream of compiled.py records: functions that repeat the calls


def count(what, n=1):
    """Add n to a counter. While a stream records, "host ..." raises RuntimeError."""
    global operations_ever
    if recording is not None and what.startswith("host"):
        raise RuntimeError(f"a {what.removesuffix('s')} while a stream is capturing")
    counts[what] += n
    if what == "operations":
        operations_ever += n


def record(action):
    """Add a function to what a recording stream will do again."""
    if recording is not None:
        recording.append(action)


# NumPy has these functions and methods, CuPy does not.
MISSING_FUNCTIONS = set("""asmatrix bmat block busday_count char core ctypeslib datetime64 einsum_path emath
    errstate frompyfunc geomspace geterr histogram_bin_edges insert longdouble ma matrix matvec memmap
    multi_dot nanpercentile nanquantile ndenumerate nditer nested_iters object_ polydiv rec recarray seterr
    spacing str_ strings svdvals test timedelta64 unstack vecdot vecmat vector_norm void""".split())
MISSING_METHODS = set("ctypes flat getfield resize setfield setflags to_device".split())
# The size of the result depends on the values, so the host must read it.
VALUE_DEPENDENT = set("""argwhere bincount choose compress extract flatnonzero histogram intersect1d nonzero
    setdiff1d union1d unique""".split())
# The first argument may be a tuple of numbers.
SHAPE_FIRST = set("broadcast_shapes empty full indices ones zeros".split())
# The result may be the argument itself, which was not written to.
MAY_RETURN_ARGUMENT = set("""asanyarray ascontiguousarray asfortranarray astype atleast_1d atleast_2d
    atleast_3d require""".split())
PRODUCTS = set("dot matmul __matmul__ __rmatmul__".split())
CUBLAS = PRODUCTS | set("vdot inner outer tensordot einsum norm".split())


# --- Functions --------------------------------------------------------------------------------


def __getattr__(name):
    return getattr(_Forwarded(np), name)


class _Forwarded:
    """A module, function or ufunc of NumPy that takes and returns device arrays."""

    def __init__(self, target):
        self._target = target

    def __getattr__(self, name):
        if name in MISSING_FUNCTIONS or name.startswith("_"):
            raise AttributeError(f"the device has no {name!r}")
        value = getattr(self._target, name)
        if isinstance(value, types.ModuleType) or callable(value) and not isinstance(value, type):
            return _Forwarded(value)
        return value

    def __call__(self, *args, **kwargs):
        return call(self._target, *args, **kwargs)


def call(f, *args, **kwargs):
    """Apply a function of NumPy to device arrays, and wrap its result."""
    name, device_args = f.__name__, []
    elementwise = isinstance(f, np.ufunc) or name.startswith("__")
    args = [_unwrap(x, device_args, elementwise or isinstance(x, list) or i == 0 and name not in SHAPE_FIRST)
            for i, x in enumerate(args)]
    kwargs = {key: _unwrap(x, device_args) for key, x in kwargs.items()}
    if "initial" in kwargs or "where" in kwargs and name != "copyto":
        raise TypeError(f"{name}: the device knows neither where= nor initial=; copyto has where=")
    if name in VALUE_DEPENDENT or name == "where" and len(args) == 1:
        count("host reads")
    if name == "take":
        kwargs["mode"] = "wrap"
        if (out := kwargs.get("out")) is not None and out.dtype != args[0].dtype:
            raise TypeError("take: output dtype mismatch")
    if name in PRODUCTS:
        _check_product(*args[:2], args[2] if len(args) > 2 else kwargs.get("out"))
    if recording is not None and name in CUBLAS:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    with np.errstate(all="ignore"):
        result = f(*args, **kwargs)
    wrapped = _wrap(result, device_args, name)
    record(functools.partial(_call_again, f, args, kwargs, wrapped))
    return wrapped


def _call_again(f, args, kwargs, wrapped):
    """Repeat a recorded call. The arrays of its first result receive the new values."""
    with np.errstate(all="ignore"):
        result = f(*args, **kwargs)
    several = isinstance(wrapped, (list, tuple))
    for array, value in zip(wrapped, result) if several else [(wrapped, result)]:
        if isinstance(array, ndarray) and not np.may_share_memory(array._host, value):
            np.copyto(array._host, value)


def _unwrap(x, device_args, operand=False):
    """Return the argument x for NumPy, and add the device arrays in x to device_args.

    An operand must be a device array, a scalar, or a list or tuple of device arrays.
    """
    if isinstance(x, ndarray):
        device_args.append(x)
        return x._host
    mixed = operand and isinstance(x, (list, tuple)) and not all(isinstance(item, ndarray) for item in x)
    if isinstance(x, np.ndarray) or mixed:
        raise TypeError(f"Unsupported type {type(x)}: bring it to the device with asarray")
    if type(x) in (list, tuple):
        return type(x)(_unwrap(item, device_args) for item in x)
    return x


def _wrap(result, device_args, name):
    """Turn NumPy's result into device arrays, and count the operation and its allocations.

    A result that is one of device_args was written to, unless the function may return its
    argument as it is. A result that shares memory with a device argument is a view and costs
    nothing.
    """
    written, allocated = result is None, 0

    def wrap(value):
        nonlocal written, allocated
        if isinstance(value, list):
            return [wrap(item) for item in value]
        if isinstance(value, tuple):
            return tuple(wrap(item) for item in value)
        if name in ("allclose", "array_equal", "array_equiv"):
            value = np.bool_(value)
        if not isinstance(value, (np.ndarray, np.generic)):
            return value
        for x in device_args:
            if x._host is value:
                written = written or name not in MAY_RETURN_ARGUMENT
                return x
        if not any(np.may_share_memory(value, x._host) for x in device_args):
            allocated += 1
        return ndarray(np.asarray(value))

    wrapped = wrap(result)
    count("allocations", allocated)
    if (written or allocated) and name not in ("empty", "empty_like"):
        count("operations")
    return wrapped


def _check_product(a, b, out):
    """Refuse an `out` that cuBLAS cannot write to, and count the operands that CuPy copies.

    `out` must be C-contiguous, have the result's dtype and overlap no operand. An operand that
    is contiguous in neither order is copied.
    """
    if out is not None:
        if not out.flags.c_contiguous or out.dtype != np.result_type(a, b):
            raise ValueError("matmul: out must be C-contiguous and of the result's dtype, "
                             "or the product takes a slow path")
        if np.may_share_memory(out, a) or np.may_share_memory(out, b):
            raise ValueError("matmul: out overlaps an operand, so the product takes a slow path")
    for x in a, b:
        if x.ndim > 1 and not (x.flags.c_contiguous or x.flags.f_contiguous):
            count("allocations")


# --- Arrays -----------------------------------------------------------------------------------


class ndarray:
    """An array on the device. `_host` is the NumPy array that holds its numbers."""

    __slots__ = ("_host",)
    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, host):
        self._host = host

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use `.get()`")

    def __array_function__(self, f, *args):
        raise TypeError(f"numpy.{f.__name__} was given a device array")

    def __getattr__(self, name):
        if name.startswith("_") or name in MISSING_METHODS:
            raise AttributeError(f"a device array has no {name!r}")
        value = getattr(self._host, name)
        if callable(value):
            return functools.partial(call, getattr(np.ndarray, name), self)
        return _wrap(value, [self], name) if isinstance(value, np.ndarray) else value

    def get(self, out=None):
        count("host reads")
        if out is None:
            return self._host.copy()
        np.copyto(out, self._host)
        return out

    def set(self, a):
        if not isinstance(a, np.ndarray) or a.dtype != self.dtype:
            raise TypeError("set takes a NumPy array of the same dtype")
        if a.shape != self.shape:
            raise ValueError(f"set: shape mismatch: {a.shape} into {self.shape}")
        count("host writes")
        self._host[...] = a

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __copy__(self, memo=None):
        return self.copy()

    __deepcopy__ = __copy__

    def __reduce__(self):
        return asarray, (self.get(),)

    def __getitem__(self, key):
        gathers = any(isinstance(k, ndarray) for k in (key if isinstance(key, tuple) else (key,)))
        key = self._unwrap_key(key)
        part = self._host[key]
        part = _wrap(part.copy() if gathers else part, [self], "getitem")
        record(lambda: np.copyto(part._host, self._host[key]))
        return part

    def __setitem__(self, key, value):
        if isinstance(value, (np.ndarray, list, tuple)):
            raise TypeError(f"Unsupported type {type(value)}: use set, "
                            "or bring it to the device with asarray")
        key = self._unwrap_key(key)
        if isinstance(value, ndarray):
            value, part = value._host, self._host[key]
            if _place(part) == _place(value):
                return                                      # x[i] += y has already written to x[i]
        with np.errstate(all="ignore"):
            self._host[key] = value
        record(lambda: self._host.__setitem__(key, value))
        count("operations")

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._host.ctypes.data)

    def _unwrap_key(self, key):
        """Return the key for NumPy. Index arrays wrap around; one element stays an array."""
        key = key if isinstance(key, tuple) else (key,)
        if not any(k is Ellipsis for k in key):
            key = (*key, Ellipsis)
        axes = [_axes_taken(k) for k in key]
        unwrapped, axis = [], 0
        for k, taken in zip(key, axes):
            if isinstance(k, (np.ndarray, list, tuple)):
                raise TypeError(f"Unsupported index {type(k)}: bring it to the device with asarray")
            if isinstance(k, ndarray) and k.dtype == bool:
                count("host reads")                         # the number of True elements
                k = k._host
            elif isinstance(k, ndarray):
                k = k._host % max(self.shape[axis], 1)
            unwrapped.append(k)
            axis += self.ndim - sum(axes) if k is Ellipsis else taken
        return tuple(unwrapped)


def _place(a):
    return a.ctypes.data, a.shape, a.strides


def _axes_taken(k):
    """How many axes of an array one part of a key takes. `...` counts as none here."""
    if k is None or k is Ellipsis:
        return 0
    return k.ndim if getattr(k, "dtype", None) == bool else 1


def _operator(name):
    f = getattr(np.ndarray, name)
    return lambda self, *other: call(f, self, *other)


def _host_read(name):
    f = getattr(np.ndarray, name)

    def read(self, *args, **kwargs):
        count("host reads")
        return f(self._host, *args, **kwargs)
    return read


for _name in "add sub mul truediv floordiv mod pow lshift rshift and xor or".split():
    for _kind in "", "r", "i":
        setattr(ndarray, f"__{_kind}{_name}__", _operator(f"__{_kind}{_name}__"))
for _name in "matmul rmatmul divmod rdivmod lt le eq ne gt ge neg pos abs invert".split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in """__float__ __int__ __complex__ __bool__ __str__ __repr__ __format__ item tolist tobytes tofile
        dump dumps""".split():
    setattr(ndarray, _name, _host_read(_name))


def array(obj, dtype=None, copy=True, ndmin=0):
    items = obj if isinstance(obj, (list, tuple)) else [obj]
    if any(isinstance(item, ndarray) for item in items):
        options = {"ndmin": ndmin} if ndmin else {}
        return call(np.array if copy else np.asanyarray, obj, dtype=dtype, **options)
    host = np.array(obj, dtype=dtype, ndmin=ndmin)
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    count("host writes")
    count("allocations")
    return ndarray(host)


def asarray(a, dtype=None):
    return array(a, dtype, copy=False)


def asnumpy(a):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


# --- Random numbers ---------------------------------------------------------------------------


class Generator:
    """The methods that the generators of CuPy and NumPy share and npgan uses."""

    def __init__(self, rng):
        self._rng = rng

    def random(self, size=None, dtype=np.float64, out=None):
        return call(self._rng.random, size=_size(size, out), dtype=dtype, out=out)

    def standard_normal(self, size=None, dtype=np.float64, out=None):
        return call(self._rng.standard_normal, size=_size(size, out), dtype=dtype, out=out)

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
        low, high = int(low), None if high is None else int(high)
        size = () if size is None else size
        return call(self._rng.integers, low, high, size=size, dtype=dtype, endpoint=endpoint)


def _size(size, out):
    if size is None and out is not None:
        raise TypeError("out without size: CuPy draws one number then, and copies it everywhere")
    return () if size is None else size


def _default_rng(seed=None):
    return Generator(np.random.default_rng(seed))


random = types.SimpleNamespace(Generator=Generator, default_rng=_default_rng)
