"""CUDA graphs: what is launched again and again on the same buffers is recorded once, and from then on launched whole.

At m = 100 a launch costs the host more than most of them cost the GPU. NPGAN_CUDA_GRAPH=1 has both players' passes recorded, all but what
is random, the gather of a minibatch and the updates. CuPy refuses to have a product of cuBLAS recorded; the library itself does not, and so
it is asked here, with a handle and a workspace of our own (and in float32, whatever CUPY_TF32 says). Convolutions, whose products are
batched, cannot be recorded yet. Not tried on a GPU: hence not the default.
"""

import contextlib
import ctypes
import functools
import warnings

import numpy as np

from npgan import backend as xp

WORKSPACE = 32 * 2 ** 20        # bytes for cuBLAS, which may not allocate while it is recorded
GEMM = {np.dtype("float32"): (ctypes.c_float, "cublasSgemm_v2"), np.dtype("float64"): (ctypes.c_double, "cublasDgemm_v2")}
MOST = 16                       # recordings of one pair of players
library = ctypes.CDLL           # or the tests' own cuBLAS


def recorded(f):
    """f(p, *arrays), of players p: where p.graphs is a dictionary, by the graph in it. What f returns, None or arrays, is copied.

    For f to be recorded it must do the same each time: but for the numbers in p's buffers and in the arrays, and for p's objective,
    generator loss and penalty's weight, each of which has its own recording.
    """
    @functools.wraps(f)
    def call(p, *arrays):
        if p.graphs is None:
            return f(p, *arrays)
        key = f, p.objective, p.generator_loss, p.penalty and p.penalty.weight
        if key not in p.graphs:
            try:
                p.graphs[key] = record(f, p, arrays)
            except (OSError, RuntimeError, MemoryError) as e:       # no cuBLAS; what cannot be recorded; CUDA's own, and the pool's
                p.graphs = None
                warnings.warn(f"NPGAN_CUDA_GRAPH=1: {f.__name__} cannot be recorded, so training goes on as without it: {e}", stacklevel=2)
                return f(p, *arrays)
        graph, inputs, results, _ = p.graphs[key]
        for held, a in zip(inputs, arrays):
            held[...] = a
        graph.launch()
        return results and tuple(a.copy() for a in results)
    return call


def record(f, p, arrays):
    """(graph, its own copies of the arrays, its results, the memory it works in). RuntimeError where something in f cannot be recorded."""
    if len(p.graphs) == MOST:
        raise RuntimeError(f"objective, generator loss or the penalty's weight change too often, {MOST} times so far")
    stream, dot = recorder(xp.active())
    inputs = [a.astype(p.D.dtype) for a in arrays]
    pool = xp.cuda.MemoryPool()                         # what the graph's arrays lie in must not serve others
    xp.cuda.get_current_stream().synchronize()          # the stream that is recorded waits for no other
    with xp.cuda.using_allocator(pool.malloc), stream, instead(p, dot):
        f(p, *inputs)                                   # compiles kernels, which cannot be recorded, and fills the pool
        stream.synchronize()
        stream.begin_capture()
        try:
            results = f(p, *inputs)
        except BaseException:
            with contextlib.suppress(RuntimeError):
                stream.end_capture()
            raise
        return stream.end_capture(), inputs, results, pool


@contextlib.contextmanager
def instead(p, dot):
    """A context in which `xp.dot` is this function, and what is recorded within the recorded is simply called."""
    graphs, p.graphs = p.graphs, None
    vars(xp)["dot"] = dot
    try:
        yield
    finally:
        del vars(xp)["dot"]
        p.graphs = graphs


@functools.cache
def recorder(module):
    """The stream to record on, and the matrix product that goes there. RuntimeError where cuBLAS says no."""
    def call(name, *args):
        if status := getattr(cublas, name)(*args):
            raise RuntimeError(f"{name}: cuBLAS's status {status}")

    def operand(a):
        """The matrix as cuBLAS finds it, who counts down columns: its transpose as it lies, or itself to be transposed."""
        transposed = not a.flags.c_contiguous
        return int(transposed), ctypes.c_void_p(a.data.ptr), a.shape[0 if transposed else 1]

    def dot(a, b, out):
        """out = a b, which for cuBLAS is out^T = b^T a^T"""
        if not (out.flags.c_contiguous and all(x.flags.c_contiguous or x.flags.f_contiguous for x in (a, b))
                and a.dtype == b.dtype == out.dtype and out.dtype in GEMM):
            raise NotImplementedError("a product of matrices that lie in neither order, or are of two dtypes")
        real, gemm = GEMM[out.dtype]
        (transpose_a, A, lda), (transpose_b, B, ldb), (_, C, ldc) = operand(a), operand(b), operand(out)
        one, zero = real(1), real(0)
        call(gemm, handle, transpose_b, transpose_a, b.shape[1], a.shape[0], a.shape[1],
             ctypes.byref(one), B, ldb, A, lda, ctypes.byref(zero), C, ldc)
        return out

    module.cuda.device.get_cublas_handle()              # CuPy finds the library, and loads it
    cublas = library(f"libcublas.so.{module.cuda.runtime.runtimeGetVersion() // 1000}")
    stream, handle, workspace = module.cuda.Stream(non_blocking=True), ctypes.c_void_p(), module.empty(WORKSPACE, "uint8")
    dot.workspace = workspace                           # kept as long as it is used
    call("cublasCreate_v2", ctypes.byref(handle))
    call("cublasSetStream_v2", handle, ctypes.c_void_p(stream.ptr))
    call("cublasSetWorkspace_v2", handle, ctypes.c_void_p(workspace.data.ptr), ctypes.c_size_t(WORKSPACE))
    return stream, dot
