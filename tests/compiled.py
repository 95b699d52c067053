"""The stand-in for CuPy (device.py) with kernels and CUDA graphs: `backend.use(compiled)`.

On a GPU, CuPy compiles the package's short kernels, and cuda.py records whole passes as CUDA
graphs. This module does both on a CPU. It needs a C++ compiler: c++ or $CXX.

* `ElementwiseKernel` compiles the text that CuPy gives to NVIDIA's compiler, as a loop in C++.
* `cuda.Stream` records the calls between begin_capture and end_capture. `Graph.launch` repeats
  these calls on the same memory. While a stream records, the host cannot read or write device
  arrays, and CuPy's own matrix product raises an error, as on a GPU.
* `library` stands for cuBLAS, NVIDIA's matrix product. cuBLAS stores matrices by columns.
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
from typing import NamedTuple

import device
import numpy as np

COMPILER = shutil.which(os.environ.get("CXX", "c++"))
C_TYPES = {"float32": "float", "float64": "double", "int32": "int", "bool": "bool"}
folder = tempfile.TemporaryDirectory()


def __getattr__(name):
    return getattr(device, name)


@functools.cache
def shared_library(source, name):
    """Compile the source, once in a session, and load the library."""
    path = Path(folder.name, f"{name}-{len(os.listdir(folder.name))}")
    text = f"#include <cmath>\n#include <cstring>\nusing namespace std;\n#define QUALIFIER\n{source}"
    path.with_suffix(".cpp").write_text(text)
    command = [COMPILER, "-O1", "-ffp-contract=off", "-shared", "-fPIC"]
    command += [path.with_suffix(".cpp"), "-o", path.with_suffix(".so")]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(path.with_suffix(".so"))


# --- Kernels ----------------------------------------------------------------------------------


class Parameter(NamedTuple):
    """A parameter of a kernel: "T x", or "raw T x", which the kernel indexes itself."""

    raw: bool
    dtype: str
    name: str

    @classmethod
    def parse(cls, text):
        *raw, dtype, name = text.split()
        return cls(bool(raw), dtype, name)


class ElementwiseKernel:
    """cupy.ElementwiseKernel: an operation on each element of arrays that broadcast."""

    made = []                   # every kernel, for the test that compiles them as CUDA

    def __init__(self, in_params, out_params, operation, name="kernel"):
        self.inputs = [Parameter.parse(text) for text in in_params.split(", ")]
        self.parameters = self.inputs + [Parameter.parse(text) for text in out_params.split(", ")]
        self.operation, self.name = operation, name
        self.functions = {}     # the compiled function, for each dtype T
        self.made.append(self)

    def source(self, T):
        """Return the kernel in C++, or in CUDA if the macro QUALIFIER is __global__.

        The function takes, for each parameter, the address of its first element and the number
        of bytes from one element to the next.
        """
        lines = []
        for i, (raw, dtype, name) in enumerate(self.parameters):
            c_type = C_TYPES.get(dtype, dtype)
            if i < len(self.inputs):
                c_type = f"const {c_type}"
            if raw:
                lines.append(f"{c_type} *{name} = ({c_type} *) address[{i}];")
            else:
                lines.append(f"{c_type} &{name} = *({c_type} *) (address[{i}] + step[{i}] * i);")
        return (f"typedef {C_TYPES[T]} T;\n"
                f"extern \"C\" QUALIFIER void {self.name}(\n"
                "    long long size, char **address, const long long *step) {\n"
                f"for (long long i = 0; i < size; i++) {{\n{' '.join(lines)}\n{self.operation};\n}} }}\n")

    def __call__(self, *args):
        dtypes = {a.dtype for p, a in zip(self.parameters, args)
                  if p.dtype == "T" and isinstance(a, device.ndarray)}
        if len(dtypes) != 1 or len(args) not in (len(self.parameters), len(self.inputs)):
            raise TypeError(f"{self.name}: T is {dtypes}, and there are {len(args)} arguments")
        if any(isinstance(a, np.ndarray) for a in args):
            raise TypeError("Unsupported type numpy.ndarray")
        T, = dtypes
        arrays = []
        for p, a in zip(self.parameters, args):
            scalar_dtype = T if p.dtype == "T" else p.dtype
            arrays.append(a._host if isinstance(a, device.ndarray) else np.asarray(a, scalar_dtype))
        shape = np.broadcast_shapes(*(a.shape for p, a in zip(self.parameters, arrays) if not p.raw))
        outputs = [device.ndarray(np.empty(shape, T)) for _ in self.parameters[len(args):]]
        arrays += [output._host for output in outputs]
        run = functools.partial(self.run, T.name, shape, arrays)
        run()
        device.record(run)
        device.count("operations")
        device.count("allocations", len(outputs))
        return (outputs or args)[-1]

    def run(self, T, shape, arrays):
        """Run the compiled loop on NumPy arrays. A copied output is copied back."""
        if T not in self.functions:
            self.functions[T] = getattr(shared_library(self.source(T), self.name), self.name)
        memory, copied = [], []
        for i, (p, a) in enumerate(zip(self.parameters, arrays)):
            is_input = i < len(self.inputs)
            if p.raw and not a.flags.c_contiguous:
                raise ValueError(f"{self.name}: {p.name} is raw and not contiguous")
            if p.raw or a.size == 1 and is_input or a.shape == shape and a.flags.c_contiguous:
                memory.append(a)
                continue
            memory.append(np.ascontiguousarray(np.broadcast_to(a, shape)))
            if not is_input:
                copied.append((a, memory[-1]))
        n = len(memory)
        addresses = (ctypes.c_void_p * n)(*(a.ctypes.data for a in memory))
        steps = (ctypes.c_longlong * n)(*(0 if a.size == 1 else a.itemsize for a in memory))
        self.functions[T](ctypes.c_longlong(int(np.prod(shape))), addresses, steps)
        for a, result in copied:
            a[...] = result


# --- Streams that record ----------------------------------------------------------------------


class Stream:
    """cupy.cuda.Stream: a context in which the calls go to this stream. It can record them.

    A non-blocking stream does not wait for other streams. The host must therefore wait for the
    current stream before it enters another one, and again before it begins to record. `done` is
    the value of `device.operations_ever` when the host last waited.
    """

    stack = []

    def __init__(self, non_blocking=False):
        self.non_blocking, self.ptr, self.done = non_blocking, id(self), 0

    def __enter__(self):
        if current_stream().done != device.operations_ever:
            raise AssertionError("what is under way on the other stream may still write")
        self.stack.append(self)
        self.entered = self.done = device.operations_ever

    def __exit__(self, *error):
        self.stack.pop()

    def synchronize(self):
        if device.recording is not None and self in self.stack:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported")
        self.done = device.operations_ever

    def begin_capture(self):
        if not self.non_blocking or current_stream() is not self:
            raise RuntimeError("cannot capture on this stream, or it is not the current one")
        if not self.entered < self.done == device.operations_ever:
            raise AssertionError("kernels are compiled before, and what that launched is waited for")
        if not pools:
            raise AssertionError("the default pool gives the graph's memory to others")
        device.recording = []

    def end_capture(self):
        graph, device.recording = Graph(device.recording, pools[-1]), None
        return graph


null_stream = Stream()


def current_stream():
    return Stream.stack[-1] if Stream.stack else null_stream


class Graph:
    """What a stream has recorded. The memory pool must live as long as the graph."""

    def __init__(self, actions, pool):
        self.actions, self.pool = actions, weakref.ref(pool)

    def launch(self):
        if not self.pool():
            raise AssertionError("the memory that the graph works in has been freed")
        device.count("launches of a graph")
        for action in self.actions:
            action()


class MemoryPool:
    def malloc(self, size):
        raise AssertionError("this module allocates host memory, and no pool is asked for it")


pools = []                      # those of the `using_allocator` contexts that are open


@contextlib.contextmanager
def using_allocator(malloc):
    pools.append(malloc.__self__)
    try:
        yield
    finally:
        pools.pop()


handles = []                    # one entry for each time that CuPy was asked to load cuBLAS
cuda = types.SimpleNamespace(
    Stream=Stream, MemoryPool=MemoryPool, using_allocator=using_allocator, get_current_stream=current_stream,
    device=types.SimpleNamespace(get_cublas_handle=lambda: handles.append(0)),
    runtime=types.SimpleNamespace(runtimeGetVersion=lambda: 12090))


# --- cuBLAS -----------------------------------------------------------------------------------

CUBLAS = """
struct handle { char *workspace; };
extern "C" int cublasCreate_v2(handle **h) { *h = new handle{0}; return 0; }
extern "C" int cublasSetStream_v2(handle *h, void *stream) { h->workspace = 0; return stream ? 0 : 1; }
extern "C" int cublasSetWorkspace_v2(handle *h, char *workspace, size_t bytes) {
    h->workspace = workspace;
    workspace[0] = workspace[bytes - 1] = 1;
    return bytes >= 4194304 ? 0 : 7;
}
template <typename T> int gemm(handle *h, int ta, int tb, int m, int n, int k, const T *alpha,
                               const T *A, int lda, const T *B, int ldb, const T *beta, T *C, int ldc) {
    if (!h->workspace || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return 7;
    for (int j = 0; j < n; j++) for (int i = 0; i < m; i++) {
        double sum = 0;
        for (int l = 0; l < k; l++) {
            const T a = ta ? A[l + (long) i * lda] : A[i + (long) l * lda];
            const T b = tb ? B[j + (long) l * ldb] : B[l + (long) j * ldb];
            sum += double(a) * b;
        }
        T &c = C[i + (long) j * ldc];
        c = T(*alpha * sum) + (*beta == 0 ? T(0) : *beta * c);
    }
    return 0;
}
#define GEMM(name, T) extern "C" int name( \\
    handle *h, int ta, int tb, int m, int n, int k, const T *alpha, \\
    const T *A, int lda, const T *B, int ldb, const T *beta, T *C, int ldc) { \\
    return gemm<T>(h, ta, tb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc); }
GEMM(cublasSgemm_v2, float)
GEMM(cublasDgemm_v2, double)
"""


class library:
    """In place of ctypes.CDLL("libcublas.so.12"). A stream can record these calls."""

    def __init__(self, name):
        assert name == "libcublas.so.12" and handles, "CuPy loads the library"
        self.cublas = shared_library(CUBLAS, "cublas")

    def __getattr__(self, name):
        function = getattr(self.cublas, name)

        def call(*args):
            if name == "cublasSetWorkspace_v2":
                library.workspace = args[1].value
            status = function(*args)
            device.record(lambda: function(*args))
            device.count("operations")
            return status
        return call
