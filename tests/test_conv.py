"""Convolution, transposed convolution, pooling and reshaping: compared with the naive forms of
conv.py and with finite differences.
"""

import itertools
import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npgan
from npgan import backend, conv, gan, gradcheck
from npgan.conv import Conv2d, ConvTranspose2d, MaxPool, Reshape
from npgan.layers import Dropout, LeakyReLU, Linear, Maxout, ReLU, Softplus, constant, he, uniform
from npgan.net import Net
from npgan.objectives import GAN
from npgan.optim import Momentum
from npgan.penalty import R1, GradientPenalty
from npgan.priors import Normal
from npgan.runs import checkpoint

# --- Convolution ------------------------------------------------------------------------------


@st.composite
def geometries(draw):
    """(m, (c, h, w), k, n, s, p), with a kernel that fits into the padded image."""
    n, p = draw(st.integers(1, 5)), draw(st.integers(0, 4))
    smallest = max(1, n - 2 * p)
    h, w = (draw(st.integers(smallest, smallest + 5)) for _ in "hw")
    m, c, k = draw(st.sampled_from([1, 2, 5])), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return m, (c, h, w), k, n, draw(st.integers(1, 4)), p


def naive(W, x, dy, n, s, p):
    """naive_convolution for W (n c n, k)."""
    y, dx, dW = conv.naive_convolution(W.reshape(n, -1, n, W.shape[1]), x, dy, s, p)
    return y, dx, dW.reshape(W.shape)


def with_parameters(layer, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    for name, shape in layer.parameters.items():
        setattr(layer, name, rng.standard_normal(shape).astype(dtype))
        setattr(layer, "d" + name, np.empty(shape, dtype))
    return layer


def assert_verbs(layer, x, dy, tied, workspace, Mx, MTdy, dW):
    """forward, backward and gradient of y = M x + b are M x + b, M^T dy, dW and db."""
    y, dx = np.full(dy.shape, np.nan), np.full(x.shape, np.nan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "WORKSPACE", workspace)
        patch.setattr(conv, "COLUMNS", 1)
        layer.forward(x, y)
        layer.backward(x, y, dy, dx)
        layer.gradient(x, dy)
    db = dy.sum(axis=(0, 2, 3))[:, None, None] if tied else dy.sum(axis=0)
    assert layer.b.shape == db.shape
    for found, expected in ((y, Mx + layer.b), (dx, MTdy), (layer.dW, dW), (layer.db, db)):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_the_naive_convolution_by_hand():
    x = np.arange(1., 10).reshape(1, 1, 3, 3)
    W = np.array([1., 10, 100, 1000]).reshape(2, 1, 2, 1)
    y, dx, dW = conv.naive_convolution(W, x, np.array([[[[1., 0], [0, 2]]]]), 1, 0)
    np.testing.assert_array_equal(y[0, 0], [[5421, 6532], [8754, 9865]])
    np.testing.assert_array_equal(dx[0, 0], [[1, 10, 0], [100, 1002, 20], [0, 200, 2000]])
    np.testing.assert_array_equal(dW.ravel(), [1 + 2 * 5, 2 + 2 * 6, 4 + 2 * 8, 5 + 2 * 9])


@settings(deadline=None, max_examples=60)
@given(geometries(), st.booleans(), st.sampled_from([1, 700, 8 << 20]))
def test_the_fast_convolution_is_the_naive_one_in_all_three_verbs_at_every_size_and_workspace(
        geometry, tied, workspace):
    m, inputs, k, n, s, p = geometry
    layer = with_parameters(Conv2d(inputs, k, n, s, p, tied))
    outputs, (_, h, w) = layer.outputs(inputs), inputs
    assert outputs == (k, (h + 2 * p - n) // s + 1, (w + 2 * p - n) // s + 1)
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((m, *inputs)), rng.standard_normal((m, *outputs))
    Ax, ATdy, dW = naive(layer.W, x, dy, n, s, p)
    assert_verbs(layer, x, dy, tied, workspace, Ax, ATdy, dW)


@settings(deadline=None, max_examples=60)
@given(geometries(), st.booleans(), st.sampled_from([1, 700, 8 << 20]))
def test_a_transposed_convolution_is_the_adjoint_of_the_naive_one(geometry, tied, workspace):
    m, (k, h, w), c, n, s, p = geometry
    image = tuple(s * (size - 1) + n - 2 * p for size in (h, w))
    if min(image) < 1:
        with pytest.raises(ValueError, match=f"leave {image[0]} x {image[1]} outputs"):
            ConvTranspose2d((k, h, w), c, n, s, p, tied)
        return
    layer = with_parameters(ConvTranspose2d((k, h, w), c, n, s, p, tied))
    assert layer.inputs == (k, h, w) and layer.outputs(layer.inputs) == (c, *image)
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((m, k, h, w)), rng.standard_normal((m, c, *image))
    Ady, ATx, dW = naive(layer.W, dy, x, n, s, p)
    assert_verbs(layer, x, dy, tied, workspace, ATx, Ady, dW)


@settings(deadline=None, max_examples=40)
@given(geometries(), st.sampled_from([Conv2d, ConvTranspose2d]))
def test_adjoint_is_the_adjoint_of_apply_and_outer_the_derivative_in_w(geometry, kind):
    m, inputs, k, n, s, p = geometry
    layer = with_parameters(kind(inputs, k, n, s, 0 if kind is ConvTranspose2d else p))
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((m, *inputs)), rng.standard_normal((m, *layer.outputs(inputs)))
    y, dx, dW = np.empty_like(dy), np.empty_like(x), np.empty_like(layer.W)
    layer.apply(x, y)
    layer.adjoint(dy, dx)
    layer.outer(x, dy, dW)
    assert np.vdot(dy, y) == pytest.approx(np.vdot(dx, x), rel=1e-10, abs=1e-10)
    assert np.vdot(dy, y) == pytest.approx(np.vdot(dW, layer.W), rel=1e-10, abs=1e-10)


# --- Pooling, reshaping -----------------------------------------------------------------------


def windows(size, window, s):
    """The slices of the windows along one side of an image, cut off at its edge."""
    starts = [a for a in range(0, size, s) if a == 0 or a - s + window < size]
    return [slice(a, min(a + window, size)) for a in starts]


@settings(deadline=None, max_examples=80)
@given(st.sampled_from([1, 4]), st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), st.integers(0, 6),
       st.integers(0, 6), st.sampled_from([2, 5, 1000]), st.sampled_from([1, 8 << 20]), st.integers(0, 99))
def test_the_fast_pooling_is_the_naive_one_with_overlap_ties_and_ragged_edges(
        m, c, window, s, more_h, more_w, values, workspace, seed):
    s, h, w = min(s, window), window + more_h, window + more_w
    layer, rng = MaxPool(window, s), np.random.default_rng(seed)
    rows, columns = windows(h, window, s), windows(w, window, s)
    assert layer.outputs((c, h, w)) == (c, len(rows), len(columns))
    assert max(r.stop for r in rows) == h and max(q.stop for q in columns) == w, "the whole image is covered"
    x, u = rng.integers(0, values, (m, c, h, w)) - values / 2, rng.standard_normal((m, c, h, w))
    dy = rng.standard_normal((m, c, len(rows), len(columns)))
    y, dx, v = np.full(dy.shape, np.nan), np.full(x.shape, np.nan), np.full(dy.shape, np.nan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "WORKSPACE", workspace)
        layer.forward(x, y)
        layer.backward(x, y, dy, dx)
        layer.jvp(x, y, u, v)
    naive_y, naive_dx, naive_v = conv.naive_max_pool(x, dy, u, window, s)
    np.testing.assert_array_equal(y, naive_y)
    np.testing.assert_array_equal(v, naive_v)
    np.testing.assert_allclose(dx, naive_dx, atol=1e-12)


def test_a_constant_image_sends_each_windows_gradient_to_its_first_pixel():
    x = np.zeros((1, 1, 3, 3))
    y, dx = np.empty((1, 1, 2, 2)), np.empty((1, 1, 3, 3))
    MaxPool(2, 1).forward(x, y)
    MaxPool(2, 1).backward(x, y, np.array([[[[1., 2], [3, 4]]]]), dx)
    np.testing.assert_array_equal(dx[0, 0], [[1, 2, 0], [3, 4, 0], [0, 0, 0]])


def test_reshape_keeps_the_numbers_in_order_and_copies():
    x, y = np.arange(12.).reshape(2, 6), np.empty((2, 3, 2))
    layer = Reshape((3, 2))
    layer.forward(x, y)
    np.testing.assert_array_equal(y[1], [[6, 7], [8, 9], [10, 11]])
    dx = np.empty((2, 6))
    layer.backward(x, y, y, dx)
    np.testing.assert_array_equal(dx, x)
    x[...] = 0
    assert y[1, 2, 1] == 11 and dx[1, 5] == 11


# --- Networks ---------------------------------------------------------------------------------


def cifar(channels=32, last=192, dense=500, hidden=8000):
    """G and D of the paper's convolutional CIFAR-10 experiment."""
    maps = hidden // 100
    G = [Linear(100, hidden), ReLU(), Reshape((maps, 10, 10)),
         ConvTranspose2d((maps, 10, 10), 3, 5, 3, 0, False)]
    D = [Dropout(.8), Conv2d((3, 32, 32), 2 * channels, 8, 1, 4), Maxout(2), MaxPool(4, 2),
         Dropout(.5), Conv2d((channels, 16, 16), 2 * channels, 8, 1, 3), Maxout(2), MaxPool(4, 2),
         Dropout(.5), Conv2d((channels, 7, 7), 2 * last, 5, 1, 3), Maxout(2), MaxPool(2, 2),
         Reshape((last * 25,)), Dropout(.5), Linear(last * 25, 5 * dense), Maxout(5), Dropout(.5),
         Linear(dense, 1)]
    return G, D


def test_the_shapes_of_the_papers_cifar_networks_follow_pylearn2s_pooling():
    G, D = cifar()
    assert npgan.net.shapes(G)[2:] == [(8000,), (80, 10, 10), (3, 32, 32)]
    shapes = npgan.net.shapes(D)
    assert [shapes[l] for l in (2, 3, 4)] == [(64, 33, 33), (32, 33, 33), (32, 16, 16)]
    assert [shapes[l] for l in (6, 7, 8)] == [(64, 15, 15), (32, 15, 15), (32, 7, 7)]
    assert [shapes[l] for l in (10, 11, 12, 13)] == [(384, 9, 9), (192, 9, 9), (192, 5, 5), (4800,)]


def small(kind=lambda: Maxout(2), seed=0, dtype="float64"):
    """G and D with every layer of conv.py. D's first convolution is followed by a `kind`."""
    b = constant(np.random.default_rng(seed).standard_normal((4, 1, 1)) / 5)
    channels = 2 if isinstance(kind(), Maxout) else 4
    G = Net([Linear(4, 18, he), ReLU(), Reshape((2, 3, 3)),
             ConvTranspose2d((2, 3, 3), 3, 3, 2, 1, False, uniform(.5))], dtype, seed)
    D = Net([Dropout(.8), Conv2d((3, 5, 5), 4, 3, 1, 1, True, he, b), kind(), MaxPool(3, 2),
             Conv2d((channels, 2, 2), 3, 2, 1, 1, False, he), Softplus(), Reshape((27,)), Linear(27, 1)],
            dtype, seed + 1)
    return G, D


def game(kind=lambda: Maxout(2), m=3, penalty=None, dtype="float64"):
    rng, (G, D) = np.random.default_rng(0), small(kind, dtype=dtype)
    players = gan.Players(G, D, m, penalty=penalty)
    players.draw_masks_d(np.random.default_rng(1))
    return players, rng.standard_normal((m, 3, 5, 5)), rng.standard_normal((m, 4))


@pytest.mark.parametrize("kind", [lambda: Maxout(2), ReLU, Softplus])
def test_both_players_steps_have_the_right_gradient_through_every_layer(kind):
    players, x, z = game(kind)

    def V():
        return gan.discriminator_gradient(players, x, z)[0]

    def J():
        gan.generator_gradient(players, z)
        return GAN.J(players.tape_fake.x[-1], players.generator_loss).mean()

    V()
    assert gradcheck.error(V, players.D.theta, players.D.grad.copy()) <= gradcheck.TOLERANCE
    J()
    assert gradcheck.error(J, players.G.theta, players.G.grad.copy()) <= gradcheck.TOLERANCE


@pytest.mark.parametrize("kind", [lambda: Maxout(2), LeakyReLU, Softplus])
@pytest.mark.parametrize("penalty", [GradientPenalty, R1])
def test_a_penalty_has_the_right_gradient_through_convolution_and_pooling(penalty, kind):
    penalty = penalty()
    players, x, z = game(kind, penalty=penalty)

    def V_minus_P():
        return gan.discriminator_gradient(players, x, z)[0] - penalty.P
    V_minus_P()
    assert float(penalty.P) > 0
    assert gradcheck.error(V_minus_P, players.D.theta, players.D.grad.copy()) <= gradcheck.TOLERANCE


def test_the_table_of_gradcheck_has_rows_for_every_layer_here_once_and_twice_differentiated():
    layers_first = itertools.takewhile(lambda row: "step" not in row[0], gradcheck.rows())
    what = {row[0] for row in layers_first}
    for kind in (Conv2d, ConvTranspose2d, MaxPool, Reshape):
        assert any(w.startswith(kind.__name__ + "(") for w in what)
        assert any(w.startswith(f"grad_x y through {kind.__name__}(") for w in what)


def test_a_training_step_reads_nothing_back_from_the_device(device):
    players = gan.Players(*small(dtype="float32"), 4, penalty=R1(.1))
    G, D, tape_g, tape_d = players.G, players.D, players.tape_g, players.tape_d
    examples = iter([device.asarray(np.random.default_rng(i).standard_normal((4, 3, 5, 5)).astype("float32"))
                     for i in range(3)])
    sgd_d, sgd_g, rng, before = Momentum(D, .01), Momentum(G, .01), backend.default_rng(0), D.theta.copy()
    device.reset()
    for _ in gan.train(players, examples, Normal(), sgd_d, sgd_g, rng, 3):
        pass
    assert device.counts["host reads"] == device.counts["host writes"] == 0 < device.counts["operations"]
    arrays = *tape_d.x, *tape_d.dx, *tape_g.x, *tape_g.dx, D.theta, D.grad, G.theta, G.grad
    assert {str(a.dtype) for a in arrays} == {"float32"}
    assert 0 < float(abs(D.theta - before).max()) < 1


def test_float32_is_not_upcast_on_the_way(monkeypatch):
    """Every array that a layer makes for itself has the dtype of its inputs."""
    seen = set()
    for name in ("matmul", "zeros", "full", "ascontiguousarray", "maximum", "zeros_like"):
        def spy(*args, f=getattr(np, name), **kwargs):
            a = f(*args, **kwargs)
            seen.add(str(a.dtype))
            return a
        monkeypatch.setattr(conv.xp, name, spy, raising=False)
    for layer, inputs in ((Conv2d((2, 5, 5), 3, 3, 2, 1), (2, 5, 5)), (MaxPool(3, 2), (2, 5, 5)),
                          (ConvTranspose2d((2, 3, 3), 3, 3, 2, 1, False), (2, 3, 3))):
        with_parameters(layer, "float32")
        x, dy = np.ones((2, *inputs), "float32"), np.ones((2, *layer.outputs(inputs)), "float32")
        y, dx = np.empty_like(dy), np.empty_like(x)
        layer.forward(x, y)
        layer.backward(x, y, dy, dx)
        layer.gradient(x, dy)
        layer.jvp(x, y, x, y)
    assert seen == {"float32"}


def test_a_layer_keeps_nothing_of_a_pass_and_rows_of_a_tape_stay_rows():
    _, D = small()
    state = {l: dict(vars(layer)) for l, layer in enumerate(D.layers)}
    tape, rng = D.tape(6), np.random.default_rng(0)
    tape.x[0][...] = rng.standard_normal(tape.x[0].shape)
    D.forward(tape)
    all_rows = tape.x[-1].copy()
    D.forward(tape[2:4])
    tape.dx[-1][...] = 1
    D.backward(tape)
    np.testing.assert_allclose(tape.x[-1], all_rows, rtol=1e-12)
    for l, layer in enumerate(D.layers):
        assert vars(layer).keys() == state[l].keys()
        assert all(vars(layer)[name] is state[l][name] for name in state[l])


@pytest.mark.parametrize("verb", ["apply", "adjoint", "outer"])
def test_the_workspace_is_bounded_however_many_the_examples(verb, monkeypatch):
    monkeypatch.setattr(conv, "WORKSPACE", 1 << 20)
    layer = with_parameters(Conv2d((3, 20, 20), 8, 5, 1, 2), "float32")
    x, dy = np.ones((300, 3, 20, 20), "float32"), np.ones((300, 8, 20, 20), "float32")
    arrays = {"apply": (x, dy), "adjoint": (dy, x), "outer": (x, dy, layer.dW)}[verb]
    tracemalloc.start()
    try:
        getattr(layer, verb)(*arrays)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    im2col = 300 * 75 * 400 * 4
    assert peak < 3 * 2 ** 20 + 2 * layer.W.nbytes < im2col / 8


def test_a_product_has_enough_columns_where_one_example_fills_the_workspace(monkeypatch):
    layer = Conv2d((128, 32, 32), 2, 7, 1, 3)
    assert 38 * 128 * 7 * 32 * 4 > conv.WORKSPACE
    assert layer.chunks(np.empty((16, 1), "float32")) == [slice(i, i + 4) for i in range(0, 16, 4)]
    monkeypatch.setattr(conv, "COLUMNS", 32)
    assert layer.chunks(np.empty((3, 1), "float32")) == [slice(i, i + 1) for i in range(3)]


def test_chunks_are_slices_of_all_rows_of_nearly_equal_size():
    for m in (1, 7, 128):
        for example_bytes in (1, 5 << 20, 1 << 20, 300 << 20):
            slices = conv.chunks(m, example_bytes)
            sizes = [len(range(m)[rows]) for rows in slices]
            assert [i for rows in slices for i in range(m)[rows]] == list(range(m))
            assert max(sizes) * example_bytes <= max(conv.WORKSPACE, example_bytes) and min(sizes) > 0


# --- Files and refusals -----------------------------------------------------------------------


def test_convolutional_networks_come_back_from_a_checkpoint_to_the_bit(xp, tmp_path):
    nets, others = small(dtype="float32"), small(seed=7, dtype="float32")
    saved, other = ([Momentum(net, .1) for net in pair] for pair in (nets, others))
    for sgd in saved:
        sgd.net.grad[...] = 1
        sgd.ascend()
    checkpoint.save(tmp_path / "c.npz", *saved, {})
    checkpoint.restore(tmp_path / "c.npz", *other)
    G, D = npgan.load(tmp_path / "c.npz")
    z = xp.asarray(np.random.default_rng(0).standard_normal((3, 4)).astype("float32"))
    expected = xp.asnumpy(nets[1](nets[0](z)))
    for g, d in ((G, D), others):
        np.testing.assert_array_equal(xp.asnumpy(d(g(z))), expected)
    assert repr(G) == repr(nets[0]) and repr(D) == repr(nets[1])


@pytest.mark.parametrize("layer", [
    ["Conv2d", [3, 5], 4, 3], ["Conv2d", 3, 4, 3], ["Conv2d", [3, 5, 5], "4", 3], ["Conv2d", [3, 5, 5], 4, 9],
    ["Conv2d", [3, 10 ** 9, 10 ** 9], 10 ** 9, 3, 1, 0, False], ["MaxPool", 2, 0], ["MaxPool", 1e9, 1],
    ["Reshape", [-1]], ["Reshape", {}]])
def test_a_checkpoint_with_an_impossible_layer_is_refused_naming_the_file(tmp_path, layer):
    path = tmp_path / "c.npz"
    checkpoint.save(path, *(Momentum(net, .1) for net in small()), {})
    with np.load(path) as f:
        arrays = dict(f)
    about = json.loads(arrays["about"].tobytes())
    about["G"]["layers"][2] = layer
    np.savez(path, **{**arrays, "about": np.frombuffer(json.dumps(about).encode(), np.uint8)})
    with pytest.raises(ValueError, match="c.npz") as e:
        npgan.load(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("make, words", [
    (lambda: Conv2d((3, 5, 4), 8, 7, 1, 1),
     r"Conv2d\(\(3, 5, 4\), 8, 7, 1, 1, True\): a kernel of 7 x 7 .* 5 x 4 with 1 zeros"),
    (lambda: Conv2d(3, 64, 8), r"Conv2d\(3, 64, 8, 1, 0, True\): takes inputs \(channels, height, width\)"),
    (lambda: Conv2d((3, 32), 64, 8), "takes inputs"),
    (lambda: Conv2d((3, 32, 0), 64, 8), "integers >= 1"),
    (lambda: Conv2d((3, 32, 32), 0, 8), "integers"),
    (lambda: Conv2d((3, 32, 32), 64, 8, 0), "integers"),
    (lambda: Conv2d((3, 32, 32), 64, 2.5), "integers"),
    (lambda: Conv2d((3, 32, 32), 64, 8, 1, -1), "pad >= 0"),
    (lambda: Conv2d((3, 32, 32), 64, 8, 1, 0, uniform(.1)), "tied, True or False"),
    (lambda: ConvTranspose2d((8, 2, 3), 3, 2, 1, 2),
     r": 2 x 3 inputs, 1 pixels apart.*kernel of 2 x 2.*pad of 2 leave -1 x 0"),
    (lambda: MaxPool(2, 3), r"MaxPool\(2, 3\).*stride <= window"),
    (lambda: MaxPool(0, 0), "integers"),
    (lambda: MaxPool(2.5, 1), "integers"),
    (lambda: Reshape(()), "tuple of integers"),
    (lambda: Reshape(12), "tuple"),
    (lambda: Net([Conv2d((1, 4, 4), 2, 3), MaxPool(3, 2)]),
     r"MaxPool\(3, 2\): there is no window of 3 x 3 in inputs of shape \(2, 2, 2\)"),
    (lambda: Net([Linear(3, 4), MaxPool(1, 1)]), r"no window.*\(4,\)"),
    (lambda: Net([Linear(3, 7), Reshape((2, 3))]),
     r"Reshape\(\(2, 3\)\): has 6 numbers, but the inputs, of shape \(7,\), have 7"),
    (lambda: Net([Linear(3, 12), Reshape((3, 2, 2)), Conv2d((3, 2, 3), 2, 1)]),
     r"layer 2, Conv2d.*\(3, 2, 3\).*\(3, 2, 2\)")])
def test_impossible_geometry_is_refused_at_construction_in_one_sentence_with_the_sizes(make, words):
    with pytest.raises(ValueError, match=words) as e:
        make()
    assert "\n" not in str(e.value)


def test_an_initialiser_sees_a_kernel_as_a_column_as_in_a_linear_layer():
    net = Net([Conv2d((16, 6, 6), 200, 5, W=he)])
    W = net.named_parameters()["0.W"]
    assert W.shape == (400, 200) and W.std() == pytest.approx(math.sqrt(2 / 400), rel=.02)
