"""What differs between NumPy and a GPU: compiled kernels, and passes recorded as CUDA graphs.

The tests run on a stand-in that compiles and records (compiled.py), and on CuPy with a GPU.
"""

import contextlib
import ctypes
import functools
import itertools
import sys
import types
from pathlib import Path

import compiled
import device
import numpy as np
import pytest
from conftest import needs_compiler

from npgan import backend, cuda, gan, kernels
from npgan.conv import Conv2d, Reshape
from npgan.data.toy import endless
from npgan.divergences import OBJECTIVES
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid
from npgan.net import Net
from npgan.objectives import GENERATOR_LOSSES
from npgan.optim import Momentum
from npgan.penalty import R1
from npgan.priors import Uniform
from npgan.runs import options
from npgan.runs.fit import UPDATES, State, fit


@pytest.fixture(params=[pytest.param("compiled", marks=needs_compiler),
                        pytest.param("cupy", marks=pytest.mark.gpu)])
def gpu(request, monkeypatch):
    """The active array module, which compiles and records. NPGAN_CUDA_GRAPH is 1."""
    monkeypatch.setenv("NPGAN_CUDA_GRAPH", "1")
    if request.param == "compiled":
        monkeypatch.setattr(cuda, "load_library", compiled.library)
        cuda.recorder.cache_clear()
        device.reset()
    backend.use({"compiled": compiled}.get(request.param, request.param))
    yield backend.active()
    backend.use("numpy")


@pytest.fixture
def without_cublas(monkeypatch):
    """The stand-in is active, NPGAN_CUDA_GRAPH is 1, and no cuBLAS can be loaded."""
    def missing(name):
        raise OSError(f"{name}: no such library")

    monkeypatch.setenv("NPGAN_CUDA_GRAPH", "1")
    monkeypatch.setattr(cuda, "load_library", missing)
    cuda.recorder.cache_clear()
    backend.use(compiled)
    yield
    cuda.recorder.cache_clear()
    backend.use("numpy")


# --- Kernels ----------------------------------------------------------------------------------

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def both(f, *host):
    """[arrays of the active module, arrays of NumPy]: f's arguments after the call, its result.

    NumPy is active afterwards.
    """
    results = []
    for module in (backend.active(), "numpy"):
        backend.use(module)
        args = [backend.asarray(a.copy()) if isinstance(a, np.ndarray) else a for a in host]
        result = f(*args)
        results.append([backend.asnumpy(a) for a in (*args, result) if isinstance(a, backend.ndarray)])
    return results


def assert_both_agree(f, *host):
    """The active array module and NumPy give equal results, but for the last digits."""
    ours, numpys = both(f, *host)
    assert len(ours) == len(numpys) > 0
    for a, b in zip(ours, numpys):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=4 * np.finfo(b.dtype).eps if b.dtype.kind == "f" else 0)


@both_dtypes
def test_the_sigmoid_kernel_agrees_with_its_numpy_form_for_large_inputs_too(gpu, dtype):
    x = np.array([[-np.inf, -1e4, -700, -100, -88, -87, -1], [1e-9, 0, 1, 40, 1e4, np.inf, np.nan]], dtype)
    assert_both_agree(kernels.sigmoid, x)
    backend.use(gpu)
    assert_both_agree(kernels.sigmoid, x, np.empty_like(x))


@both_dtypes
def test_the_two_forms_of_relu_agree(gpu, dtype):
    x = np.array([[-np.inf, -1, -0., 0, 1, np.inf, np.nan]], dtype)
    assert_both_agree(kernels.relu, x, np.empty_like(x))


@both_dtypes
@pytest.mark.parametrize("m, pieces, units", [(1, 1, 1), (3, 5, 4), (7, 2, 1), (1, 3, 6)])
def test_first_maximum_agrees_with_its_numpy_form_and_a_tie_goes_to_the_first(gpu, dtype, m, pieces, units):
    x = np.random.default_rng(0).integers(0, 3, (m, pieces, units)).astype(dtype)
    ours, numpys = both(kernels.first_maximum, x, x.max(axis=1))
    np.testing.assert_array_equal(ours[-1], numpys[-1])
    np.testing.assert_array_equal(ours[-1].argmax(axis=1), x.argmax(axis=1))
    assert (ours[-1].sum(axis=1) == 1).all()


@both_dtypes
def test_the_bernoulli_kernel_gives_the_value_with_probability_p(gpu, dtype):
    out = gpu.empty((400, 500), dtype)
    assert kernels.bernoulli(gpu.random.default_rng(1), .3, 2.5, out) is out
    out = backend.asnumpy(out)
    assert set(np.unique(out)) == {0, 2.5}
    assert abs((out > 0).mean() - .3) < 4 * (.3 * .7 / out.size) ** .5


@both_dtypes
@pytest.mark.parametrize("n", [1, 1000])
def test_the_update_kernels_agree_with_their_numpy_forms(gpu, dtype, n):
    rng = np.random.default_rng(0)
    theta, v, g = (rng.standard_normal(n).astype(dtype) for _ in range(3))
    for update, *args in ((kernels.momentum, theta, v, g, .1, .9, -1),
                          (kernels.momentum, theta, v, g, .1, .9, +1),
                          (kernels.adam, theta, v, abs(v), g, .1, .9, .99, 1e-8),
                          (kernels.lerp, theta, v, .3)):
        backend.use(gpu)
        for ours, numpys in zip(*both(update, *args)):              # without what a compiled kernel returns
            np.testing.assert_allclose(ours, numpys, rtol=0, atol=16 * np.finfo(dtype).eps)


@functools.cache
def nvrtc():
    """NVIDIA's run-time compiler, which needs no GPU, or None if it is not installed."""
    installed = (str(p) for path in sys.path for p in Path(path).glob("nvidia/*/lib/libnvrtc.so.1[23]"))
    for name in ("libnvrtc.so.12", "libnvrtc.so.13", *installed):
        try:
            return ctypes.CDLL(name)
        except OSError:
            pass


@needs_compiler
@pytest.mark.skipif(not nvrtc(), reason="no NVRTC to compile with: pip install nvidia-cuda-nvrtc-cu12")
@both_dtypes
def test_every_kernel_compiles_as_cuda(dtype):
    compiled.ElementwiseKernel.made.clear()
    kernels._compiled.cache_clear()
    backend.use(compiled)
    try:
        x, vectors = compiled.ones((2, 3, 4), dtype), compiled.ones((4, 5), dtype)
        kernels.sigmoid(x)
        kernels.first_maximum(x, x[:, 0])
        kernels.bernoulli(compiled.random.default_rng(0), .5, 2., x)
        kernels.momentum(*vectors[:3], .1, .5, 1)
        kernels.adam(*vectors[:4], .1, .9, .99, 1e-8)
        kernels.lerp(*vectors[:2], .1)
    finally:
        backend.use("numpy")
    made = compiled.ElementwiseKernel.made
    assert len(made) == Path(kernels.__file__).read_text().count('_kernel("')
    for kernel in made:
        source = ("#define QUALIFIER __global__\n" + kernel.source(dtype)).encode()
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        name = kernel.name.encode()
        assert nvrtc().nvrtcCreateProgram(ctypes.byref(program), source, name, 0, None, None) == 0
        architecture = (ctypes.c_char_p * 1)(b"--gpu-architecture=compute_80")
        status = nvrtc().nvrtcCompileProgram(program, 1, architecture)
        nvrtc().nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc().nvrtcGetProgramLog(program, log)
        assert status == 0, f"{kernel.name}: {log.value.decode()}"


# --- Graphs -----------------------------------------------------------------------------------


def minibatch(rng):
    """(x, z) for `players`, uniform on [0, 1) and on the device."""
    return tuple(backend.asarray(rng.random((4, n), "float32")) for n in (8, 5))


def players(objective="gan", loss="non-saturating", conv=False, penalty=None):
    G = Net([Linear(5, 6), ReLU(), Linear(6, 6), ReLU(), Linear(6, 8), Sigmoid()])
    D = Net([Dropout(.8), Linear(8, 10), Maxout(5), Dropout(.5), Linear(2, 10), Maxout(5), Dropout(.5),
             Linear(2, 1)], seed=1)
    if conv:
        G = Net([Linear(5, 8)])
        D = Net([Linear(8, 8), Reshape((2, 2, 2)), Conv2d((2, 2, 2), 8, 1), Maxout(4), Reshape((8,)),
                 Linear(8, 1)])
    return gan.Players(G, D, 4, OBJECTIVES[objective], loss, penalty=penalty)


def trained(p, updates, update="algorithm1", iterations=5):
    """(statistics of each iteration, theta_d, theta_g), with random numbers of one seed."""
    rng = np.random.default_rng(0)
    examples = itertools.cycle([backend.asarray(rng.random((p.m, 8), "float32")) for _ in range(3)])
    sgd_d, sgd_g = Momentum(p.D, .1, .5), Momentum(p.G, .1, .5)
    records = list(updates[update](p, examples, Uniform(), sgd_d, sgd_g, backend.default_rng(0), iterations))
    statistics = np.array([[float(a) for a in record[1:]] for record in records])
    return statistics, *(backend.asnumpy(net.theta) for net in (p.D, p.G))


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("objective, loss", list(itertools.product(OBJECTIVES, GENERATOR_LOSSES)))
def test_recorded_passes_train_as_passes_that_are_not_recorded(gpu, objective, loss, update):
    recorded = cuda.recorded_updates()
    results = [trained(players(objective, loss), updates, update) for updates in (recorded, UPDATES)]
    assert [len(f.recordings) for f in recorded[update].keywords.values()] == [1, 1]
    for ours, expected in zip(*results):
        np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("update, operations, allocations, recorded",
                         [("algorithm1", 144, 47, 31), ("simultaneous", 114, 47, 21)])
@pytest.mark.parametrize("graphs", [False, True])
@needs_compiler
def test_an_iteration_of_the_papers_networks_has_its_known_number_of_operations_and_new_arrays(
        monkeypatch, without_cublas, graphs, update, operations, allocations, recorded):
    """At m = 100 the launches on a GPU take most of an iteration's time.

    Most operations are one launch, some are two. A graph is one launch.
    """
    monkeypatch.setattr(cuda, "load_library", compiled.library)
    p, x = players(), endless(backend.asarray(np.ones((12, 8), "float32")), 4, 0)
    update_by = (cuda.recorded_updates() if graphs else UPDATES)[update]
    sgd_d, sgd_g = Momentum(p.D, .1, .5), Momentum(p.G, .1, .5)
    records = update_by(p, x, Uniform(), sgd_d, sgd_g, backend.default_rng(0), 2)
    next(records)
    device.reset()
    next(records)
    assert device.counts["operations"] == (recorded if graphs else operations)
    assert device.counts["allocations"] == (8 if graphs else allocations)
    assert device.counts["launches of a graph"] == (2 if graphs else 0)
    assert device.counts["host reads"] == device.counts["host writes"] == 0


def test_the_next_recorded_pass_does_not_change_what_a_pass_returned(gpu):
    p, rng, gradient = players(), np.random.default_rng(0), cuda.Recorded(gan.discriminator_gradient)
    x, z = minibatch(rng)
    kept = x.copy(), z.copy()
    first = gradient(p, x, z)
    before = [float(a) for a in first]
    second = gradient(p, *minibatch(rng))
    assert [float(a) for a in first] == before != [float(a) for a in second]
    assert all(bool((a == b).all()) for a, b in zip(kept, (x, z))), "the arguments are only read"


def test_a_recorded_pass_refuses_a_minibatch_of_another_shape(gpu):
    p, gradient = players(), cuda.Recorded(gan.discriminator_gradient)
    x, z = minibatch(np.random.default_rng(0))
    gradient(p, x, z)
    for wrong in (x[:1], x[:, :1], x[0]):
        with pytest.raises(ValueError, match=r"has shape .*but the players were made for \(4, 8\)"):
            gradient(p, wrong, z)


def test_a_recorded_pass_sees_new_parameters_and_masks(gpu):
    p, gradient = players(), cuda.Recorded(gan.discriminator_gradient)
    x, z = minibatch(np.random.default_rng(0))
    V = [float(gradient(p, x, z)[0])]
    p.D.theta *= 2
    V.append(float(gradient(p, x, z)[0]))
    p.G.theta *= 3
    V.append(float(gradient(p, x, z)[0]))
    p.D.draw(p.tape_d, backend.default_rng(5))
    V.append(float(gradient(p, x, z)[0]))
    assert len(set(V)) == 4
    assert float(gan.discriminator_gradient(p, x, z)[0]) == pytest.approx(V[-1], rel=1e-5)


@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (4, 3, 2), (5, 1, 3), (1, 4, 1), (2, 7, 1), (1, 1, 6)])
@both_dtypes
def test_the_product_of_a_graph_is_right_for_transposed_matrices_and_views_too(gpu, m, n, k, dtype):
    stream, dot = cuda.recorder(backend.active())
    rng = np.random.default_rng(0)

    def layouts(a):
        """a on the device: by rows, by columns, and as the last rows of a larger matrix."""
        larger = backend.asarray(np.concatenate([a, a]))
        return backend.asarray(a), backend.asarray(a.T.copy()).T, larger[len(a):]

    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((m, n), (n, k)))
    for A, B in itertools.product(layouts(a), layouts(b)):
        out = backend.asarray(np.full((m, k), np.nan, dtype))
        backend.active().cuda.get_current_stream().synchronize()
        with stream:
            assert dot(A, B, out=out) is out
        stream.synchronize()
        np.testing.assert_allclose(backend.asnumpy(out), a @ b, rtol=0, atol=64 * np.finfo(dtype).eps)


def test_matrices_that_cublas_would_misread_are_refused(gpu):
    _, dot = cuda.recorder(gpu)
    a, b = (backend.asarray(np.ones((4, 4), dtype)) for dtype in ("float32", "float64"))
    strided = backend.asarray(np.ones((4, 8), "float32"))[:, ::2]
    integers = backend.asarray(np.ones((4, 4), "int32"))
    for A, B, out in ((strided, a, a.copy()), (a, strided, a.copy()), (a, a, strided), (a, a, a.copy().T),
                      (a, b, a.copy()), (b, a, a.copy()), (b, b, a), (integers,) * 3):
        with pytest.raises(NotImplementedError, match="neither order, or are of two dtypes"):
            dot(A, B, out=out)


def test_a_pass_that_cannot_be_recorded_runs_without_a_graph_and_a_warning_says_why(gpu):
    recorded = cuda.recorded_updates()
    words = "NPGAN_CUDA_GRAPH=1: .*_gradient cannot be recorded.*cuBLAS"
    with pytest.warns(UserWarning, match=words) as warnings:
        ours = trained(players(conv=True), recorded)
    assert len(warnings) == 2, "a warning for each player's pass"
    assert all(f.recordings is None for f in recorded["algorithm1"].keywords.values())
    for a, b in zip(ours, trained(players(conv=True), UPDATES)):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


def test_the_product_is_replaced_only_while_a_pass_is_recorded(gpu):
    used = []

    def product(a, b, out):
        used.append(out)
        return backend.dot(a, b, out=out)

    a, out = backend.asarray(np.ones((2, 2), "float32")), backend.asarray(np.zeros((2, 2), "float32"))
    with kernels.product_by(product):
        with contextlib.suppress(KeyError), kernels.product_by(None):
            kernels.product(a, a, out)
            raise KeyError
        assert used == []
        kernels.product(a, a, out)
        assert len(used) == 1
    kernels.product(a, a, out)
    assert len(used) == 1 and float(out[0, 0]) == 2


@needs_compiler
def test_a_missing_cublas_is_a_warning(without_cublas):
    gradient = cuda.Recorded(gan.generator_gradient)
    with pytest.warns(UserWarning, match="libcublas.so.12: no such library") as warnings:
        gradient(players(), backend.asarray(np.ones((4, 5), "float32")))
    assert gradient.recordings is None
    assert warnings[0].filename == __file__, "the warning names the line that called the pass"


@needs_compiler
def test_a_cublas_call_that_fails_is_a_warning(monkeypatch, without_cublas):
    class Refusing(compiled.library):
        def __getattr__(self, name):
            return (lambda *args: 13) if name == "cublasSetStream_v2" else super().__getattr__(name)

    monkeypatch.setattr(cuda, "load_library", Refusing)
    gradient = cuda.Recorded(gan.generator_gradient)
    with pytest.warns(UserWarning, match="cublasSetStream_v2: cuBLAS's status 13"):
        gradient(players(), backend.asarray(np.ones((4, 5), "float32")))
    assert gradient.recordings is None


@needs_compiler
def test_a_recording_that_fails_gives_its_first_error_though_the_capture_cannot_end_either(
        monkeypatch, without_cublas):
    end_capture = compiled.Stream.end_capture

    def failing(stream):
        end_capture(stream)
        raise RuntimeError("the capture is invalid")

    monkeypatch.setattr(cuda, "load_library", compiled.library)
    monkeypatch.setattr(compiled.Stream, "end_capture", failing)
    with pytest.warns(UserWarning, match="calling cuBLAS API during stream capture"):
        cuda.Recorded(gan.generator_gradient)(players(conv=True), backend.asarray(np.ones((4, 5), "float32")))


def test_too_little_memory_for_a_recording_is_a_warning(monkeypatch):
    def record(self, players, arrays):
        raise MemoryError("out of memory")

    monkeypatch.setattr(cuda.Recorded, "record", record)
    gradient = cuda.Recorded(gan.generator_gradient)
    with pytest.warns(UserWarning, match="generator_gradient cannot be recorded.*out of memory"):
        gradient(players(), backend.asarray(np.ones((4, 5), "float32")))
    assert gradient.recordings is None


def test_another_loss_objective_or_weight_is_another_recording(gpu):
    p = players(penalty=R1(1.))
    x, z = minibatch(np.random.default_rng(0))

    def norms(gradient_d, gradient_g):
        for p.objective, p.generator_loss, p.penalty.weight in itertools.product(
                (OBJECTIVES["gan"], OBJECTIVES["kl"]), GENERATOR_LOSSES, (1., 9.)):
            gradient_d(p, x, z)
            gradient_g(p, z)
            yield float(gan.norm(p.D.grad)), float(gan.norm(p.G.grad))

    functions = gan.discriminator_gradient, gan.generator_gradient
    recorded = [cuda.Recorded(f) for f in functions]
    ours, expected = list(norms(*recorded)), list(norms(*functions))
    assert [len(f.recordings) for f in recorded] == [8, 8]
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    assert len({d for d, _ in expected}) == 4, "D's gradient depends on the objective and the weight"
    assert len({g for _, g in expected}) == 4, "G's gradient depends on the objective and the loss"


def test_each_players_object_has_a_recording_of_its_own(gpu):
    gradient, (x, z) = cuda.Recorded(gan.discriminator_gradient), minibatch(np.random.default_rng(0))
    first, second = players(), players()
    second.D.theta *= 2
    for p in (first, second, first):
        p.D.grad[...] = 0
        V = float(gradient(p, x, z)[0])
        norm = float(gan.norm(p.D.grad))
        assert V == pytest.approx(float(gan.discriminator_gradient(p, x, z)[0]), rel=1e-5)
        assert norm == pytest.approx(float(gan.norm(p.D.grad)), rel=1e-4)
    assert len(gradient.recordings) == 2


def test_after_16_recordings_another_change_is_a_warning_and_ends_the_recording(gpu):
    p, gradient = players(penalty=R1(1.)), cuda.Recorded(gan.discriminator_gradient)
    x, z = minibatch(np.random.default_rng(0))
    for p.penalty.weight in range(1, 17):
        gradient(p, x, z)
    assert len(gradient.recordings) == 16
    p.penalty.weight = 17
    with pytest.warns(UserWarning, match="change too often, 16 times"):
        gradient(p, x, z)
    gradient(p, x, z)
    assert gradient.recordings is None


def test_a_recorded_pass_takes_minibatches_of_any_dtype_in_any_order(gpu):
    p, gradient = players(), cuda.Recorded(gan.discriminator_gradient)
    x, z = np.random.default_rng(0).random((4, 8)), backend.asarray(np.ones((4, 5), "float32"))
    V = []
    for f in (gradient, gan.discriminator_gradient):
        f(p, backend.asarray((255 * x).astype("uint8")), z)
        V.append(float(f(p, backend.asarray(x), z)[0]))
    assert V[0] == pytest.approx(V[1], rel=1e-5)


def test_the_workspace_of_cublas_is_kept(gpu):
    _, product = cuda.recorder(gpu)
    assert product.workspace.nbytes == cuda.WORKSPACE
    assert gpu is not compiled or product.workspace.data.ptr == compiled.library.workspace


@needs_compiler
def test_each_array_module_compiles_its_own_kernels():
    made = []
    other = types.ModuleType("other")
    other.__getattr__ = lambda name: getattr(compiled, name)
    other.ElementwiseKernel = lambda *args: made.append(args) or compiled.ElementwiseKernel(*args)
    for module in (compiled, other):
        backend.use(module)
        kernels.sigmoid(compiled.ones(3))
    backend.use("numpy")
    assert len(made) == 1


@pytest.mark.parametrize("value, wanted", [(None, False), ("0", False), ("1", True)])
def test_a_run_records_its_passes_if_the_variable_is_1_but_never_on_numpy(gpu, monkeypatch, value, wanted):
    made = []
    monkeypatch.setattr(cuda, "recorded_updates", lambda: made.append(1) or UPDATES)
    if value is None:
        monkeypatch.delenv("NPGAN_CUDA_GRAPH")
    else:
        monkeypatch.setenv("NPGAN_CUDA_GRAPH", value)

    for module in (gpu, "numpy"):
        backend.use(module)
        p, x = players(), backend.asarray(np.ones((8, 8), "float32"))
        sgd_d, sgd_g = Momentum(p.D, .1), Momentum(p.G, .1)
        list(fit(p, x, Uniform(), sgd_d, sgd_g, State(), seed=0, epochs=1, quiet=True))
        assert len(made) == (1 if wanted else 0)


@pytest.mark.parametrize("value", ["yes", "", "2"])
def test_another_value_of_the_variable_is_refused(monkeypatch, value):
    monkeypatch.setenv("NPGAN_CUDA_GRAPH", value)
    message = f'^NPGAN_CUDA_GRAPH: "{value}" is unknown: set it to "1", or leave it out$'
    with pytest.raises(ValueError, match=message):
        options.cuda_graphs()


# --- The stand-in itself ----------------------------------------------------------------------


@contextlib.contextmanager
def capturing(pool=True, warm=True, before=True, after=True):
    """Record what the context does. The list that it yields is [graph, memory pool] afterwards.

    Each argument is a rule of recording. False breaks the rule.
    """
    stream, pool, graphs = compiled.Stream(non_blocking=True), compiled.MemoryPool() if pool else None, []
    compiled.ones(1)
    if before:
        compiled.cuda.get_current_stream().synchronize()
    with compiled.using_allocator(pool.malloc) if pool else contextlib.nullcontext(), stream:
        if warm:
            compiled.ones(1)
        if after:
            stream.synchronize()
        stream.begin_capture()
        try:
            yield graphs
        finally:
            graphs.append(stream.end_capture())
            graphs.append(pool)


@pytest.mark.parametrize("rule, words", [("pool", "default pool"), ("warm", "compiled before"),
                                         ("before", "still write"), ("after", "waited for")])
def test_the_stand_in_refuses_a_recording_that_breaks_a_rule(rule, words):
    with pytest.raises(AssertionError, match=words), capturing(**{rule: False}):
        pass


def test_the_stand_in_refuses_to_launch_a_graph_whose_memory_was_freed():
    with capturing() as graphs:
        pass
    del graphs[1]
    with pytest.raises(AssertionError, match="has been freed"):
        graphs[0].launch()


@needs_compiler
@pytest.mark.parametrize("refused", [
    lambda a: float(a[0, 0]), lambda a: compiled.asarray(np.ones(2)), lambda a: compiled.dot(a, a),
    lambda a: a @ a, lambda a: bool(a.sum() > 0), lambda a: compiled.vdot(a, a)])
def test_the_stand_in_refuses_to_record_what_cupy_cannot_record(refused):
    a = compiled.ones((2, 2))
    with capturing() as graphs:
        with pytest.raises(RuntimeError):
            refused(a)
    refused(a)
    graphs[0].launch()


@needs_compiler
def test_a_graph_repeats_all_operations_on_the_memory_they_were_recorded_on():
    a, b = compiled.ones((2, 3)), compiled.zeros(3)
    kernel = compiled.ElementwiseKernel("T x, T c", "T y", "y = c * x;", "scaled")
    with capturing() as graphs:
        c = kernel(a, 3.)
        b[...] = c[1]
        b += 1
        total = b.sum()
        low, high = compiled.split(b.reshape(3, 1)[:2], 2)
        picked = a[compiled.arange(1)]
    a[...] = 5
    graphs[0].launch()
    assert (c.tolist(), b.tolist(), float(total)) == ([[15.] * 3] * 2, [16.] * 3, 48.)
    assert (low.tolist(), high.tolist(), picked.tolist()) == ([[16.]], [[16.]], [[5.] * 3])
