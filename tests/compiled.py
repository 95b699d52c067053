"""The stand-in of device.py, with what CuPy compiles and records: `xp.use(compiled)`. Needs a C++ compiler, c++ or $CXX.

`ElementwiseKernel` runs its operation, the same text that CuPy gives to NVRTC, as a loop in C++. `cuda` has streams that record: what is
called between begin_capture and end_capture becomes a Graph, whose launch does it again on the same memory, and reads nothing else. While
they record a host read, a host write and a product of CuPy's cuBLAS are refused, as there. `library` stands for cuBLAS, column by column.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
import types
import weakref
from pathlib import Path

import device
import numpy as np

COMPILER = shutil.which(os.environ.get("CXX", "c++"))
C_TYPES = {"float32": "float", "float64": "double", "int32": "int", "bool": "bool"}
folder = tempfile.TemporaryDirectory()


def __getattr__(name):
    return getattr(device, name)


# --- Kernels ---------------------------------------------------------------------------------------------------------------


class ElementwiseKernel:
    made = []

    def __init__(self, in_params, out_params, operation, name="kernel"):
        self.inputs, self.outputs = ([p.split() for p in params.split(", ")] for params in (in_params, out_params))
        self.operation, self.name = operation, name
        self.made.append(self)

    def source(self, T):
        """C++, and CUDA where `QUALIFIER` is __global__: of each parameter an address, and the bytes from one number to the next."""
        lines = []
        for i, (*raw, kind, name) in enumerate(self.inputs + self.outputs):
            kind = ("const " if i < len(self.inputs) else "") + C_TYPES.get(kind, kind)
            lines.append(f"{kind} *{name} = ({kind} *) address[{i}];" if raw else
                         f"{kind} &{name} = *({kind} *) (address[{i}] + step[{i}] * i);")
        return (f"typedef {C_TYPES[T]} T;\n"
                f"extern \"C\" QUALIFIER void {self.name}(long long size, char **address, const long long *step) {{\n"
                f"for (long long i = 0; i < size; i++) {{\n{' '.join(lines)}\n{self.operation};\n}} }}\n")

    def __call__(self, *args):
        params = self.inputs + self.outputs
        kinds = {a.dtype.name for (*_, kind, _), a in zip(params, args) if kind == "T" and isinstance(a, device.ndarray)}
        if len(kinds) != 1 or len(args) not in (len(params), len(self.inputs)):
            raise TypeError(f"{self.name}: T is {kinds}, and there are {len(args)} arguments")
        T, = kinds
        if any(isinstance(a, np.ndarray) for a in args):
            raise TypeError("Unsupported type numpy.ndarray")
        arrays = [a._a if isinstance(a, device.ndarray) else np.asarray(a, T if kind == "T" else kind)
                  for (*_, kind, _), a in zip(params, args)]
        shape = np.broadcast_shapes(*(a.shape for (*raw, _, _), a in zip(params, arrays) if len(raw) == 0))
        made = [device.ndarray(np.empty(shape, T)) for _ in params[len(args):]]
        arrays += [a._a for a in made]
        run = functools.partial(self.run, T, shape, params, arrays)
        run()
        device.note(run)
        device.counts["operations"] += 1
        device.counts["allocations"] += len(made)
        return (made or args)[-1]

    def run(self, T, shape, params, arrays):
        flat, back = [], []
        for i, ((*raw, kind, name), a) in enumerate(zip(params, arrays)):
            if raw and not a.flags.c_contiguous:
                raise ValueError(f"{self.name}: {name} is raw and not contiguous")
            b = a if raw or a.size == 1 and i < len(self.inputs) else np.ascontiguousarray(np.broadcast_to(a, shape))
            if i >= len(self.inputs) and b is not a:
                back.append((a, b))
            flat.append(b)
        steps = [0 if a.size == 1 else a.itemsize for a in flat]
        n = len(flat)
        function = getattr(compiled(self.source(T), self.name), self.name)
        function(ctypes.c_longlong(int(np.prod(shape))), (ctypes.c_void_p * n)(*(a.ctypes.data for a in flat)),
                 (ctypes.c_longlong * n)(*steps))
        for a, b in back:
            a[...] = b


@functools.cache
def compiled(source, name):
    """The library of that source."""
    path = Path(folder.name, f"{name}-{len(os.listdir(folder.name))}")
    text = f"#include <cmath>\n#include <cstring>\nusing namespace std;\n#define QUALIFIER\n{source}"
    path.with_suffix(".cpp").write_text(text)
    subprocess.run([COMPILER, "-O1", "-ffp-contract=off", "-shared", "-fPIC", path.with_suffix(".cpp"), "-o", path.with_suffix(".so")],
                   check=True, capture_output=True)
    return ctypes.CDLL(path.with_suffix(".so"))


# --- Streams that record ---------------------------------------------------------------------------------------------------


class Stream:
    """Waits for no other: one is entered when the work before is done, and records when its own is, into a pool of its own."""

    stack = []

    def __init__(self, non_blocking=False):
        self.non_blocking, self.ptr, self.done = non_blocking, id(self), 0

    def __enter__(self):
        if current().done != device.Counts.ticks:
            raise AssertionError("what is under way on the other stream may still write")
        self.stack.append(self)
        self.entered = self.done = device.Counts.ticks

    def __exit__(self, *error):
        self.stack.pop()

    def synchronize(self):
        if device.tape is not None and self in self.stack:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported")
        self.done = device.Counts.ticks

    def begin_capture(self):
        if not self.non_blocking or current() is not self:
            raise RuntimeError("cannot capture on this stream, or it is not the current one")
        if not self.entered < self.done == device.Counts.ticks:
            raise AssertionError("kernels are compiled before, and what that launched is waited for")
        if not pools:
            raise AssertionError("the default pool gives the graph's memory to others")
        device.tape = []

    def end_capture(self):
        graph, device.tape = Graph(device.tape, pools[-1]), None
        return graph


null = Stream()


def current():
    return Stream.stack[-1] if Stream.stack else null


class Graph:
    def __init__(self, tape, pool):
        self.tape, self.pool = tape, weakref.ref(pool)

    def launch(self):
        if not self.pool():
            raise AssertionError("the memory that the graph works in has been freed")
        device.counts["launches of a graph"] += 1
        for again in self.tape:
            again()


class MemoryPool:
    def malloc(self, size):
        raise AssertionError("host memory serves here")


pools = []


@contextlib.contextmanager
def using_allocator(malloc):
    pools.append(malloc.__self__)
    try:
        yield
    finally:
        pools.pop()


handles = []
cuda = types.SimpleNamespace(
    Stream=Stream, MemoryPool=MemoryPool, using_allocator=using_allocator, get_current_stream=current,
    device=types.SimpleNamespace(get_cublas_handle=lambda: handles.append(0)),
    runtime=types.SimpleNamespace(runtimeGetVersion=lambda: 12090))

CUBLAS = """
struct handle { char *workspace; };
extern "C" int cublasCreate_v2(handle **h) { *h = new handle{0}; return 0; }
extern "C" int cublasSetStream_v2(handle *h, void *stream) { h->workspace = 0; return stream ? 0 : 1; }
extern "C" int cublasSetWorkspace_v2(handle *h, char *workspace, size_t bytes) {
    h->workspace = workspace; workspace[0] = workspace[bytes - 1] = 1; return bytes >= 4194304 ? 0 : 7; }
template <typename T> int gemm(handle *h, int ta, int tb, int m, int n, int k, const T *alpha, const T *A, int lda, const T *B, int ldb,
                               const T *beta, T *C, int ldc) {
    if (!h->workspace || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return 7;
    for (int j = 0; j < n; j++) for (int i = 0; i < m; i++) {
        double sum = 0;
        for (int l = 0; l < k; l++)
            sum += double(ta ? A[l + (long) i * lda] : A[i + (long) l * lda]) * (tb ? B[j + (long) l * ldb] : B[l + (long) j * ldb]);
        C[i + (long) j * ldc] = T(*alpha * sum) + (*beta == 0 ? T(0) : *beta * C[i + (long) j * ldc]);
    }
    return 0; }
#define GEMM(name, T) extern "C" int name(handle *h, int ta, int tb, int m, int n, int k, const T *alpha, const T *A, int lda, \\
    const T *B, int ldb, const T *beta, T *C, int ldc) { return gemm<T>(h, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc); }
GEMM(cublasSgemm_v2, float) GEMM(cublasDgemm_v2, double)
"""


class library:
    """cuBLAS: what is asked of it while a stream records is done at the graph's launch, too."""

    def __init__(self, name):
        assert name == "libcublas.so.12" and handles, "CuPy loads the library"
        self.cublas = compiled(CUBLAS, "cublas")

    def __getattr__(self, name):
        function = getattr(self.cublas, name)

        def call(*args):
            if name == "cublasSetWorkspace_v2":
                library.workspace = args[1].value
            status = function(*args)
            device.note(lambda: function(*args))
            device.counts["operations"] += 1
            return status
        return call
