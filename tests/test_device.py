"""The stand-in device refuses what CuPy refuses, and counts what takes time on a GPU.

Tests that take `cp` state how CuPy behaves. They run on the stand-in, and on CuPy too if there
is a GPU. Tests that take `device` state what only the stand-in does.
"""

import copy
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from npgan import backend


@pytest.fixture(params=["device", pytest.param("cupy", marks=pytest.mark.gpu)])
def cp(request):
    """The stand-in for CuPy, and CuPy itself."""
    if request.param == "device":
        yield request.getfixturevalue("device")
    else:
        backend.use("cupy")
        yield sys.modules["cupy"]
        backend.use("numpy")


@pytest.fixture
def x(cp):
    """A matrix on the stand-in, and on CuPy: the numbers of HOST."""
    return cp.arange(6, dtype=cp.float32).reshape(2, 3)


@pytest.fixture
def d(device):
    """The same matrix on the stand-in, whose counters are at zero."""
    matrix = device.arange(6, dtype=device.float32).reshape(2, 3)
    device.reset()
    return matrix


HOST = np.arange(6, dtype=np.float32).reshape(2, 3)


# --- what is refused --------------------------------------------------------------------------

@pytest.mark.parametrize("convert", [
    np.asarray, np.array, np.float64, lambda x: np.array([x, x]), memoryview,
    lambda x: np.zeros((2, 3)).__setitem__(..., x)])
def test_a_device_array_does_not_become_a_numpy_array_by_itself(x, convert):
    with pytest.raises((TypeError, ValueError)):
        convert(x)


@pytest.mark.parametrize("f", [
    np.tanh, np.sum, np.mean, np.reshape, np.shape, np.matmul, np.add, np.linalg.norm, np.concatenate,
    np.where])
def test_numpy_functions_refuse_a_device_array(d, f):
    with pytest.raises(TypeError):
        f(d, d)
    with pytest.raises(TypeError):
        f(d)


def test_numpy_cannot_write_into_a_device_array(d):
    with pytest.raises(TypeError):
        np.tanh(HOST, out=d)


def add_in_place(a, b):
    a += b


@pytest.mark.parametrize("host", [HOST, HOST.tolist(), HOST[:1, :1]], ids=["array", "list", "1x1"])
@pytest.mark.parametrize("mix", [
    lambda xp, x, a: x + a, lambda xp, x, a: a + x, lambda xp, x, a: x * a, lambda xp, x, a: a * x,
    lambda xp, x, a: x < a, lambda xp, x, a: x == a, lambda xp, x, a: x @ a, lambda xp, x, a: a @ x,
    lambda xp, x, a: add_in_place(x, a), lambda xp, x, a: add_in_place(a, x),
    lambda xp, x, a: xp.maximum(x, a), lambda xp, x, a: xp.add(x, 1, out=a), lambda xp, x, a: xp.matmul(x, a),
    lambda xp, x, a: xp.concatenate([x, a]), lambda xp, x, a: xp.tanh(a)])
def test_a_device_array_does_not_mix_with_host_data(cp, x, host, mix):
    if isinstance(host, list) and mix.__code__.co_names == ("add_in_place",):
        host = tuple(host)                              # list += x works for everything that iterates
    with pytest.raises((TypeError, AttributeError)):
        mix(cp, x, host)


@pytest.mark.parametrize("mix", [
    lambda xp, x, a: xp.copyto(x, a), lambda xp, x, a: xp.where(x > 0, x, a), lambda xp, x, a: xp.sum(a),
    lambda xp, x, a: xp.dot(x, a), lambda xp, x, a: x.dot(a), lambda xp, x, a: xp.dot(x, a.T.tolist()),
    lambda xp, x, a: xp.take(x, [0], axis=0), lambda xp, x, a: xp.stack([x, a.tolist()]),
    lambda xp, x, a: xp.einsum("ij,ij", x, a), lambda xp, x, a: x.__setitem__(..., a),
    lambda xp, x, a: x.__setitem__(0, [1, 2, 3]), lambda xp, x, a: x[np.array([0, 1])],
    lambda xp, x, a: x[[0, 1]], lambda xp, x, a: xp.add.at(x, 0, a),
    lambda xp, x, a: xp.take(x, np.array([0]), axis=0), lambda xp, x, a: xp.prod((2, 3)),
    lambda xp, x, a: xp.array([x, a])])
def test_no_function_and_no_assignment_takes_host_data_beside_a_device_array(d, device, mix):
    with pytest.raises(TypeError):
        mix(device, d, HOST)
    np.testing.assert_array_equal(d.get(), HOST)


def test_ufuncs_and_reductions_know_no_where_but_copyto_does(cp, x):
    for f, *args in (cp.tanh, x), (cp.add, x, x), (cp.sum, x):
        with pytest.raises(TypeError):
            f(*args, where=x > 2)
    cp.copyto(x, 0, where=x > 2)
    np.testing.assert_array_equal(backend.asnumpy(x), np.where(HOST > 2, 0, HOST))


@pytest.mark.parametrize("name", [
    "errstate", "nditer", "insert", "geomspace", "vecdot", "no_such_function", "__wrapped__"])
def test_names_that_cupy_lacks_are_lacking(cp, name):
    assert not hasattr(cp, name)


@pytest.mark.parametrize("name", ["__index__", "__array_interface__", "__contains__", "ctypes", "setflags"])
def test_methods_that_cupy_lacks_are_lacking(x, name):
    assert not hasattr(x, name)


@pytest.mark.parametrize("wrong", [
    lambda xp: xp.empty((2, 2), xp.float64), lambda xp: xp.empty((2, 2), xp.float32).T,
    lambda xp: xp.empty((2, 4), xp.float32)[:, ::2]])
def test_matmul_refuses_an_out_that_would_take_a_slow_path(d, device, wrong):
    with pytest.raises(ValueError, match="slow path"):
        device.matmul(d, d.T, out=wrong(device))
    with pytest.raises(ValueError, match="slow path"):
        device.matmul(d, d.T, wrong(device))


def test_matmul_refuses_an_out_that_overlaps_an_operand(device):
    a = device.ones((4, 2), device.float32)
    with pytest.raises(ValueError, match="overlaps"):
        device.matmul(a[:2], a[2:], out=a[2:])


# --- what the results are ---------------------------------------------------------------------

def test_matmul_writes_through_out_and_transposes_for_nothing(d, device):
    out = device.empty((3, 3), device.float32)
    device.reset()
    assert device.matmul(d.T, d, out=out) is out
    np.testing.assert_array_equal(out.get(), HOST.T @ HOST)
    assert device.counts["operations"] == 1 and device.counts["allocations"] == 0


def test_matmul_copies_an_operand_that_lies_in_neither_order(device):
    a, out = device.ones((4, 6)), device.empty((4, 4))
    device.reset()
    device.matmul(a[:, ::2], a[:, ::2].T, out=out)
    assert device.counts["allocations"] == 2


@pytest.mark.parametrize("reduce", [
    lambda xp, x: x.sum(), lambda xp, x: xp.mean(x), lambda xp, x: x.argmax(), lambda xp, x: xp.all(x > 0),
    lambda xp, x: x[0, 0], lambda xp, x: xp.linalg.norm(x), lambda xp, x: xp.dot(x[0], x[0]),
    lambda xp, x: x.max() * 2, lambda xp, x: xp.allclose(x, x), lambda xp, x: xp.add.reduce(x[0]),
    lambda xp, x: xp.sqrt(2.0), lambda xp, x: next(iter(x[0]))])
def test_a_single_number_is_an_array_of_no_dimension(cp, x, reduce):
    y = reduce(cp, x)
    assert type(y) is cp.ndarray and y.shape == ()


def test_python_floats_keep_float32_and_numpy_scalars_and_0d_arrays_promote(cp, x):
    for y in 2.0 * x, x / 3, cp.maximum(x, 0.0), x.mean(), np.float32(2) * x:
        assert y.dtype == cp.float32
    two = np.float64(2)
    for y in two * x, x * two, cp.maximum(x, two), cp.asarray(2.0) * x, cp.sqrt(2.0) * x:
        assert y.dtype == cp.float64


def test_slices_are_views_that_write_through(cp, x):
    x[1][:2] = 7
    row, element = x[0], x[1, 2]
    row *= 10
    element += 1
    cp.add(x[:, 0], 1, out=x[:, 0])
    np.testing.assert_array_equal(backend.asnumpy(x), [[1, 10, 20], [8, 7, 6]])


def test_in_place_operators_and_out_hand_back_the_same_object(cp, x):
    y = x
    y += 1
    assert y is x and cp.tanh(x, out=x) is x


@pytest.mark.parametrize("index, same", [
    ((9,), (1,)), ((-5,), (1,)), ((slice(None), 4), (slice(None), 1)), ((..., -4), (..., 2)),
    ((None, 3), (None, 1)), ((5, 5), (1, 2))])
def test_index_arrays_gather_and_wrap_around(cp, x, index, same):
    def on(module, key):
        return tuple(module.asarray([k]) if isinstance(k, int) else k for k in key)
    y = x[on(cp, index)]
    np.testing.assert_array_equal(backend.asnumpy(y), HOST[on(np, same)])
    y += 1                                                              # a copy, not a view
    np.testing.assert_array_equal(backend.asnumpy(x), HOST)


def test_index_arrays_scatter_and_wrap_around(cp, x):
    x[cp.asarray([3]), cp.asarray([-1])] = -1
    np.testing.assert_array_equal(backend.asnumpy(x), [[0, 1, 2], [3, 4, -1]])


def test_a_python_integer_out_of_range_is_an_index_error(x):
    with pytest.raises(IndexError):
        x[2]


def test_an_index_of_no_dimension_copies(cp, x):
    y = x[cp.asarray(1)]
    y += 1
    np.testing.assert_array_equal(backend.asnumpy(x), HOST)


def test_take_wraps_around_and_wants_an_out_of_the_same_dtype(cp, x):
    out = cp.empty((2, 3), cp.float32)
    cp.take(x, cp.asarray([3, -2]), axis=0, out=out)
    np.testing.assert_array_equal(backend.asnumpy(out), HOST[[1, 0]])
    with pytest.raises(TypeError):
        cp.take(x.astype(cp.float64), cp.asarray([0, 1]), axis=0, out=out)


@pytest.mark.filterwarnings("error")
def test_overflow_and_division_are_silent(cp, x):
    assert not bool(cp.isfinite(cp.exp(x * 1e3)).all())
    assert not bool(cp.isfinite(x / 0).any())
    x[0] = cp.asarray(1e300)
    x **= 9
    assert bool(cp.isinf(x[0]).all())


def test_the_usual_functions_give_what_numpy_gives(cp, x):
    for f in (
            lambda m, a: m.einsum("ij,kj->ik", a, a), lambda m, a: m.stack([a, a + 1], axis=1),
            lambda m, a: m.concatenate((a, a.T.copy()), axis=None), lambda m, a: m.clip(a, 1, 3),
            lambda m, a: m.lib.stride_tricks.sliding_window_view(a, (2, 2)),
            lambda m, a: m.lib.stride_tricks.as_strided(a, (2, 2), (4, 4)),
            lambda m, a: m.where(a > 2, a, -a), lambda m, a: m.full((2, 2), m.pi),
            lambda m, a: m.zeros_like(a), lambda m, a: m.linspace(0, 1, 5),
            lambda m, a: a[:, m.newaxis] + m.inf, lambda m, a: m.add.outer(a[0], a[1]),
            lambda m, a: m.tensordot(a, a, axes=([0], [0])), lambda m, a: m.transpose(a, (1, 0)),
            lambda m, a: divmod(a, 2)[1], lambda m, a: a.astype(m.uint8), lambda m, a: m.split(a, 2)[1],
            lambda m, a: m.linalg.norm(a, axis=0), lambda m, a: -abs(a) ** 2):
        ours, numpys = f(cp, x), f(np, HOST)
        assert type(ours) is cp.ndarray and ours.dtype == numpys.dtype
        np.testing.assert_allclose(backend.asnumpy(ours), numpys, rtol=1e-6)


def test_arrays_copy_and_pickle(cp, x):
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), cp.array(x), x.copy()):
        assert type(y) is cp.ndarray
        y += 1
    np.testing.assert_array_equal(backend.asnumpy(x), HOST)


def test_host_data_is_copied_to_the_device_and_back(cp):
    host = HOST.copy()
    x = cp.asarray(host)
    host += 1
    back = cp.asnumpy(x)
    back += 1
    np.testing.assert_array_equal(cp.asnumpy(x), HOST)
    x.set(host)
    np.testing.assert_array_equal(x.get(), host)
    with pytest.raises((TypeError, ValueError)):
        x.set(host.astype(np.float64))
    with pytest.raises(ValueError):
        x.set(host[:1])
    with pytest.raises(ValueError):
        cp.asarray(["words"])


# --- what is counted --------------------------------------------------------------------------

@pytest.mark.parametrize("read", [
    lambda xp, x: float(x[0, 0]), lambda xp, x: int(x[0, 0]), lambda xp, x: complex(x[0, 0]),
    lambda xp, x: bool(x[0, 0]), lambda xp, x: not x[0, 0], lambda xp, x: x[0, 0].item(),
    lambda xp, x: x.tolist(), lambda xp, x: str(x), lambda xp, x: repr(x), lambda xp, x: f"{x[0, 0]:.2f}",
    lambda xp, x: x.get(), lambda xp, x: xp.asnumpy(x), lambda xp, x: backend.asnumpy(x),
    lambda xp, x: pickle.dumps(x), lambda xp, x: x.tobytes(), lambda xp, x: max(x[0, 0], x[0, 1]),
    lambda xp, x: x[x > 2], lambda xp, x: x.__setitem__(x > 2, 0), lambda xp, x: x.nonzero(),
    lambda xp, x: xp.nonzero(x), lambda xp, x: xp.where(x > 2), lambda xp, x: xp.unique(x),
    lambda xp, x: [float(v) for v in x[0, :1]]])
def test_each_host_read_is_counted_once(d, device, read):
    read(device, d)
    assert device.counts["host reads"] == 1


def test_computing_slicing_and_iterating_read_nothing(d, device):
    y = device.where(d > 2, d, 0) @ d.T
    y[device.asarray([1, 0])] += d.sum() / len(d)
    assert [row.shape for row in y] == [(2,), (2,)] and y.size == 4
    assert d.T.flags.f_contiguous and device.shape(y) == (2, 2)
    copy.copy(d), copy.deepcopy(d)
    device.copyto(d, 0, where=d > 2)
    assert device.counts["host reads"] == 0


@pytest.mark.parametrize("do, operations, allocations, writes", [
    (lambda xp, x: x + 1, 1, 1, 0), (lambda xp, x: xp.tanh(x, out=x), 1, 0, 0),
    (lambda xp, x: x.__iadd__(1), 1, 0, 0), (lambda xp, x: x.sum(axis=0), 1, 1, 0),
    (lambda xp, x: x.T[1:].reshape(1, 2, 2)[None], 0, 0, 0), (lambda xp, x: x.T.reshape(6), 1, 1, 0),
    (lambda xp, x: x.astype(xp.float32), 1, 1, 0), (lambda xp, x: x.astype(xp.float32, copy=False), 0, 0, 0),
    (lambda xp, x: x.fill(0), 1, 0, 0), (lambda xp, x: x.__setitem__(0, 1), 1, 0, 0),
    (lambda xp, x: xp.copyto(x, 0, where=x > 0), 2, 1, 0), (lambda xp, x: xp.zeros((2, 3)), 1, 1, 0),
    (lambda xp, x: xp.empty((2, 3)), 0, 1, 0), (lambda xp, x: xp.empty_like(x), 0, 1, 0),
    (lambda xp, x: xp.asarray(HOST), 0, 1, 1), (lambda xp, x: xp.asarray([1.0, 2.0]), 0, 1, 1),
    (lambda xp, x: xp.asarray(x), 0, 0, 0), (lambda xp, x: xp.array(x), 1, 1, 0),
    (lambda xp, x: x.set(HOST), 0, 0, 1), (lambda xp, x: xp.split(x, 2), 0, 0, 0),
    (lambda xp, x: xp.stack([x, x]), 1, 1, 0), (lambda xp, x: x[xp.asarray([0])], 1, 2, 1),
    (lambda xp, x: xp.broadcast_to(x, (4, 2, 3)), 0, 0, 0), (lambda xp, x: xp.divmod(x, 2), 1, 2, 0),
    (lambda xp, x: xp.ascontiguousarray(x), 0, 0, 0), (lambda xp, x: xp.result_type(x, xp.float64), 0, 0, 0),
    (lambda xp, x: xp.add.at(x, 0, 1), 1, 0, 0), (lambda xp, x: xp.sum(x, axis=0, out=x[0]), 1, 0, 0),
    (lambda xp, x: xp.lib.stride_tricks.as_strided(x, (2, 2), (4, 4)), 0, 0, 0),
    (lambda xp, x: xp.random.default_rng(0).random(3), 1, 1, 0),
    (lambda xp, x: xp.random.default_rng(0).random(x.shape, out=x, dtype=xp.float32), 1, 0, 0)])
def test_operations_allocations_and_host_writes_are_counted(d, device, do, operations, allocations, writes):
    do(device, d)
    counted = [device.counts[what] for what in ("operations", "allocations", "host writes")]
    assert counted == [operations, allocations, writes]


def test_an_augmented_slice_is_one_operation(d, device):
    d[:1] += 1
    assert device.counts["operations"] == 1 and device.counts["allocations"] == 0
    np.testing.assert_array_equal(d.get(), HOST + [[1], [0]])


def test_reset_forgets(d, device):
    assert float(d[0, 1]) == 1 and device.counts["host reads"] == 1
    device.reset()
    assert not device.counts


# --- random numbers ---------------------------------------------------------------------------

def test_a_generator_draws_device_arrays_of_the_asked_dtype(cp):
    rng = cp.random.default_rng(1)
    for draw in (rng.random, rng.standard_normal):
        out = cp.zeros((2, 3), cp.float32)
        assert draw(size=(2, 3), dtype=cp.float32, out=out) is out and bool((out != 0).all())
        for y, shape, dtype in ((draw(), (), cp.float64), (draw(4), (4,), cp.float64),
                                (draw((2, 3), dtype=cp.float32), (2, 3), cp.float32)):
            assert type(y) is cp.ndarray and y.shape == shape and y.dtype == dtype
        with pytest.raises(TypeError):
            draw(out=out)                               # the default is float64, and out is float32
    y = rng.integers(2, 5, size=1000, dtype=cp.uint8)
    assert y.dtype == cp.uint8 and int(y.min()) == 2 and int(y.max()) == 4
    assert type(rng.integers(3)) is cp.ndarray
    with pytest.raises(TypeError):
        rng.integers(3, size=2, out=cp.zeros(2, cp.int64))


@pytest.mark.parametrize("name", ["normal", "permutation", "shuffle", "choice", "permuted", "laplace"])
def test_a_generator_lacks_what_cupys_lacks(cp, name):
    assert not hasattr(cp.random.default_rng(0), name)


def test_one_seed_gives_one_stream(cp):
    a, b, c = (backend.asnumpy(cp.random.default_rng(seed).random(8)) for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_the_stand_in_draws_what_numpy_draws(device):
    for f in (lambda rng: rng.random(5, dtype=np.float32), lambda rng: rng.standard_normal((2, 2)),
              lambda rng: rng.integers(9, size=7)):
        np.testing.assert_array_equal(f(device.random.default_rng(3)).get(), f(np.random.default_rng(3)))


# --- the fixtures -----------------------------------------------------------------------------

def test_the_fixture_switches_the_backend(xp, request):
    assert xp.name() == request.node.callspec.params["xp"]
    assert type(xp.ones(3)).__module__.split(".")[0] == {"compiled": "device"}.get(xp.name(), xp.name())


def test_the_device_fixture_begins_at_zero(device):
    assert backend.name() == "device" and not device.counts


def run_pytest(folder, tests, *args, cupy=""):
    """Run pytest with this conftest.py on the tests. `cupy` is the source of a false CuPy."""
    for name in ("conftest.py", "device.py", "compiled.py"):
        shutil.copy(Path(__file__).with_name(name), folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    (folder / "test_it.py").write_text(tests)
    (folder / "cupy.py").write_text(cupy)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *args, str(folder)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_a_test_that_leaves_another_backend_active_fails_and_the_next_one_sees_numpy(tmp_path):
    run = run_pytest(tmp_path, """
import device as stand_in
from npgan import backend

def test_leaves(): backend.use(stand_in)
def test_next(): assert backend.name() == "numpy"
""")
    assert "2 passed, 1 error" in run.stdout and "left the backend 'device' active" in run.stdout


GPU_TESTS = """
import pytest
from npgan import backend

def test_of_numpy(): assert backend.name() == "numpy"
@pytest.mark.gpu
@pytest.mark.parametrize("i", range(5))
def test_of_a_gpu(i): backend.use("cupy"); backend.use("numpy")
"""


def test_without_a_gpu_one_test_is_skipped_for_all_that_need_it_and_says_what_is_missing(tmp_path):
    run = run_pytest(tmp_path, GPU_TESTS, cupy="raise ImportError('no CUDA library')")
    skipped, = [line for line in run.stdout.splitlines() if line.startswith("SKIPPED")]
    assert "5 tests need CuPy and an NVIDIA GPU: CuPy cannot be imported" in skipped
    assert "no CUDA library" in skipped
    assert "1 passed, 1 skipped, 4 deselected" in run.stdout and run.returncode == 0


def test_with_m_gpu_and_k_the_tests_that_were_chosen_are_counted(tmp_path):
    cupy = "def is_available(): return False"
    run = run_pytest(tmp_path, GPU_TESTS, "-m", "gpu", "-k", "1 or 2", cupy=cupy)
    assert "2 tests need CuPy and an NVIDIA GPU: CuPy finds no usable NVIDIA GPU" in run.stdout
    assert "1 skipped, 5 deselected" in run.stdout and run.returncode == 0


def test_with_a_gpu_every_test_runs(tmp_path):
    run = run_pytest(tmp_path, GPU_TESTS, cupy="def is_available(): return True")
    assert "6 passed" in run.stdout and "skipped" not in run.stdout and "deselected" not in run.stdout


def test_nothing_warns_when_the_stand_in_is_used(device):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(device.float32(0) * device.ones(2).sum() / device.zeros(1)[0]) != 0


def test_a_generator_refuses_out_without_a_size_because_cupy_would_draw_one_number_for_all(device):
    z = device.zeros((2, 3))
    for draw in (device.random.default_rng(0).random, device.random.default_rng(0).standard_normal):
        with pytest.raises(TypeError, match="out without size"):
            draw(out=z)
