"""CUDA graphs: record a pass once on the GPU, then launch it whole.

At m = 100 the host may need more time for a launch than the GPU needs for most kernels.
`recorded_updates` gives the training functions of gan.py with recorded gradient functions. Not
recorded: random numbers, the gather of a minibatch, and the optimizers' updates. runs/fit.py
uses it if NPGAN_CUDA_GRAPH=1.

CuPy refuses to record a product of cuBLAS; cuBLAS itself allows it. So this module calls cuBLAS
through ctypes, with its own handle and workspace, in full precision whatever CUPY_TF32 says. A
network with convolutions is not recorded, because their products are batched.

Not yet tried on a GPU, so it is not the default.
"""

import contextlib
import ctypes
import functools
import warnings

import numpy as np

from npgan import backend as xp
from npgan import gan, kernels

WORKSPACE = 32 * 2 ** 20        # bytes for cuBLAS, which may not allocate memory during a recording
GEMM = {np.dtype("float32"): (ctypes.c_float, "cublasSgemm_v2"),
        np.dtype("float64"): (ctypes.c_double, "cublasDgemm_v2")}
MAX_RECORDINGS = 16             # of one function
load_library = ctypes.CDLL      # the tests put their own cuBLAS here


def recorded_updates():
    """gan.train and gan.train_simultaneous by the names of --update, with recorded gradient
    functions.
    """
    discriminator_gradient = Recorded(gan.discriminator_gradient)
    return {"algorithm1": functools.partial(
                gan.train, discriminator_gradient=discriminator_gradient,
                generator_gradient=Recorded(gan.generator_gradient)),
            "simultaneous": functools.partial(
                gan.train_simultaneous, discriminator_gradient=discriminator_gradient,
                generator_backward=Recorded(gan.generator_backward))}


class Recorded:
    """f(players, *arrays) as a CUDA graph.

    The first call records f. Every call copies the arrays into the graph's inputs, launches it,
    and returns copies of its results. A recording belongs to one combination of players,
    objective, generator loss and penalty weight; another combination is recorded anew. If f
    cannot be recorded, a warning says why, and from then on f itself is called.
    """

    def __init__(self, f):
        self.f, self.recordings = f, {}

    def __call__(self, players, *arrays):
        if self.recordings is None:
            return self.f(players, *arrays)
        key = (players, players.objective, players.generator_loss,
               players.penalty and players.penalty.weight)
        if key not in self.recordings:
            try:
                self.recordings[key] = self.record(players, arrays)
            except (OSError, RuntimeError, MemoryError) as e:       # of cuBLAS, of CUDA, of the memory pool
                self.recordings = None
                warnings.warn(f"NPGAN_CUDA_GRAPH=1: {self.f.__name__} cannot be recorded, so training goes "
                              f"on without a graph: {e}", stacklevel=2)
                return self.f(players, *arrays)
        graph, inputs, results, _ = self.recordings[key]
        for a, graph_input in zip(arrays, inputs):
            gan.copy_minibatch("a minibatch", a, graph_input)
        graph.launch()
        return None if results is None else tuple(a.copy() for a in results)

    def record(self, players, arrays):
        """(graph, its inputs, its results, its memory pool). Raises RuntimeError if f cannot be
        recorded.
        """
        if len(self.recordings) == MAX_RECORDINGS:
            raise RuntimeError("players, objective, generator loss or the penalty's weight change too often, "
                               f"{MAX_RECORDINGS} times so far")
        stream, product = recorder(xp.active())
        inputs = [a.astype(players.D.dtype) for a in arrays]
        pool = xp.cuda.MemoryPool()                         # the graph's own memory: nothing else may use it
        xp.cuda.get_current_stream().synchronize()          # the recorded stream waits for no other stream
        with xp.cuda.using_allocator(pool.malloc), stream, kernels.product_by(product):
            self.f(players, *inputs)                        # compiles the kernels and fills the pool
            stream.synchronize()
            stream.begin_capture()
            try:
                results = self.f(players, *inputs)
            except BaseException:
                with contextlib.suppress(RuntimeError):
                    stream.end_capture()
                raise
            return stream.end_capture(), inputs, results, pool


@functools.cache
def recorder(module):
    """(stream to record on, product(a, b, out) on that stream). Raises RuntimeError if cuBLAS
    refuses.
    """
    def call(name, *args):
        if status := getattr(cublas, name)(*args):
            raise RuntimeError(f"{name}: cuBLAS's status {status}")

    def operand(a):
        """(1 if cuBLAS must transpose a, address, leading dimension).

        cuBLAS reads memory column by column, so it sees a row-major matrix as its transpose.
        """
        transpose = not a.flags.c_contiguous
        return int(transpose), ctypes.c_void_p(a.data.ptr), a.shape[0 if transpose else 1]

    def product(a, b, out):
        """out = a b, which cuBLAS computes as out^T = b^T a^T."""
        contiguous = all(x.flags.c_contiguous or x.flags.f_contiguous for x in (a, b))
        one_dtype = a.dtype == b.dtype == out.dtype and out.dtype in GEMM
        if not (contiguous and out.flags.c_contiguous and one_dtype):
            raise NotImplementedError("a product of matrices that lie in neither order, or are of two dtypes")
        real, gemm = GEMM[out.dtype]
        (transpose_a, A, lda), (transpose_b, B, ldb), (_, C, ldc) = operand(a), operand(b), operand(out)
        one, zero = real(1), real(0)
        call(gemm, handle, transpose_b, transpose_a, b.shape[1], a.shape[0], a.shape[1],
             ctypes.byref(one), B, ldb, A, lda, ctypes.byref(zero), C, ldc)
        return out

    module.cuda.device.get_cublas_handle()              # makes CuPy find and load the library
    cublas = load_library(f"libcublas.so.{module.cuda.runtime.runtimeGetVersion() // 1000}")
    stream, handle = module.cuda.Stream(non_blocking=True), ctypes.c_void_p()
    product.workspace = module.empty(WORKSPACE, "uint8")       # lives as long as the function that needs it
    call("cublasCreate_v2", ctypes.byref(handle))
    call("cublasSetStream_v2", handle, ctypes.c_void_p(stream.ptr))
    call("cublasSetWorkspace_v2", handle, ctypes.c_void_p(product.workspace.data.ptr),
         ctypes.c_size_t(WORKSPACE))
    return stream, product
