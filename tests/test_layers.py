"""Layers, initialisers and networks: what holds for every shape."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npgan import gradcheck, layers
from npgan.layers import Dropout, LeakyReLU, Linear, Maxout, ReLU, Scale, Sigmoid, Softplus, Tanh, constant
from npgan.net import Net

sizes = st.integers(1, 6)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([1, 5]), sizes, sizes, st.integers(0, 10 ** 6))
def test_every_layer_has_the_right_derivatives_at_every_size(m, n, k, seed):
    same_width = Dropout(.5), ReLU(), LeakyReLU(.1), Sigmoid(), Tanh(), Softplus(), Scale(4, -2)
    for layer, width in ((Linear(n, k), n), (Maxout(k), k * n), *((layer, n) for layer in same_width)):
        for what, parameter, _, error in gradcheck.check_layer(layer, (width,), m, seed):
            assert error <= gradcheck.TOLERANCE, (what, parameter)


@given(st.integers(1, 5), sizes, sizes)
def test_adjoint_is_the_adjoint_of_apply_and_outer_the_derivative_in_w(m, n, k):
    rng = np.random.default_rng(n + 10 * k)
    layer = Linear(n, k)
    layer.W = rng.standard_normal((n, k))
    x, dy = rng.standard_normal((m, n)), rng.standard_normal((m, k))
    y, dx, dW = np.empty((m, k)), np.empty((m, n)), np.empty((n, k))
    layer.apply(x, y)
    layer.adjoint(dy, dx)
    layer.outer(x, dy, dW)
    assert np.vdot(dy, y) == pytest.approx(np.vdot(dx, x)) == pytest.approx(np.vdot(dW, layer.W))


def test_the_activations_are_their_formulas():
    x = np.linspace(-6, 6, 41)[None]
    for layer, f in ((ReLU(), np.maximum(x, 0)), (LeakyReLU(.3), np.where(x > 0, x, .3 * x)),
                     (LeakyReLU(), np.where(x > 0, x, .2 * x)),
                     (Sigmoid(), 1 / (1 + np.exp(-x))), (Tanh(), np.tanh(x)),
                     (Softplus(), np.log(1 + np.exp(x))), (Scale(4, -2), 4 * x - 2)):
        y = np.empty_like(x)
        layer.forward(x, y)
        np.testing.assert_allclose(y, f, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_activation_overflows_or_loses_its_limits(dtype):
    x = np.array([[-1e30, -800, -80, 0, 80, 800, 1e30]], dtype)
    for layer in (ReLU(), LeakyReLU(), Sigmoid(), Tanh(), Softplus()):
        y = np.empty_like(x)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            layer.forward(x, y)
            dx = np.empty_like(x)
            layer.backward(x, y, np.ones_like(x), dx)
        assert np.isfinite(y).all() and np.isfinite(dx).all() and y.dtype == dtype
    y = np.empty_like(x)
    Sigmoid().forward(x, y)
    assert y[0, 2] == pytest.approx(math.exp(-80), rel=1e-5, abs=0), "full relative precision far out"
    tiny = np.finfo(dtype).tiny
    assert tiny <= y.min() == pytest.approx(tiny, rel=1e-3, abs=0), "never subnormal, which is slow"


def test_maxout_takes_the_largest_piece_of_each_unit_and_sends_the_gradient_there_alone():
    x = np.array([[1., 5, 2, 3, 4, 2]])                          # 2 units; pieces (1, 5), (2, 3), (4, 2)
    y, dx = np.empty((1, 2)), np.full((1, 6), np.nan)
    Maxout(3).forward(x, y)
    np.testing.assert_array_equal(y, [[4, 5]])
    Maxout(3).backward(x, y, np.array([[10., 20]]), dx)
    np.testing.assert_array_equal(dx, [[0, 20, 0, 0, 10, 0]])


def test_a_tie_of_pieces_passes_the_gradient_once():
    x = np.zeros((1, 6))
    y, dx = np.empty((1, 2)), np.empty((1, 6))
    Maxout(3).forward(x, y)
    Maxout(3).backward(x, y, np.ones((1, 2)), dx)
    np.testing.assert_array_equal(dx.reshape(3, 2).sum(axis=0), [1, 1])


def test_dropout_keeps_with_its_probability_and_scales_so_that_the_mean_stays(xp):
    layer = Dropout(.8)
    mask, = layer.extra(2000, (50,), "float32")
    assert float(mask.min()) == float(mask.max()) == 1, "off until drawn"
    layer.draw(xp.default_rng(0), mask)
    values = np.unique(xp.asnumpy(mask))
    np.testing.assert_allclose(values, [0, 1.25])
    assert abs(float(mask.mean()) - 1) < .01, "4 standard errors are .0063"
    again, = layer.extra(2000, (50,), "float32")
    layer.draw(xp.default_rng(1), again)
    assert not bool((mask == again).all())


@pytest.mark.parametrize("keep", [1e-5, 1e-4, 1e-3, .0123, .1, .5, .8, .9, 1.])
def test_the_mean_of_dropout_s_mask_is_1_for_small_keeps_too(xp, keep):
    mask = xp.empty((1000, 20_000), "float32")
    Dropout(keep).draw(xp.default_rng(1), mask)
    kept = int(xp.count_nonzero(mask))
    assert abs(kept - keep * mask.size) <= 5 * math.sqrt(keep * (1 - keep) * mask.size)
    assert float(mask.max()) == np.float32(1 / keep)


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-12, .9997) | st.integers(1, 65000).map(lambda i: i / 65536))
def test_dropout_s_probability_is_keep_to_a_part_in_5000(keep):
    class Drawing:                                  # two numbers, a little below and above keep
        numbers = keep * np.array([1 - 2e-4, 1 + 2e-4])

        def random(self, size):
            return self.numbers

        def integers(self, high, size, dtype):
            return (high * self.numbers).astype(dtype)

    mask = np.empty(2)
    Dropout(keep).draw(Drawing(), mask)
    np.testing.assert_array_equal(mask, [1 / keep, 0])


@pytest.mark.parametrize("keep", [.1, .25, .3, .5, .6, .7, .8, .9, .95, 1.])
def test_dropout_s_usual_masks_are_16_bits_a_number(keep):
    mask = np.empty((50, 70), "float32")
    Dropout(keep).draw(np.random.default_rng(3), mask)
    bits = np.random.default_rng(3).integers(65536, size=mask.shape, dtype="uint16")
    np.testing.assert_array_equal(mask, np.float32(1 / keep) * (bits < int(65536 * keep + .5)))


@pytest.mark.parametrize("make, words", [
    (lambda: Dropout(0), "Dropout.0.*keep"), (lambda: Dropout(1.5), "keep"),
    (lambda: Maxout(0), "at least one piece"), (lambda: LeakyReLU(1), "slope a"),
    (lambda: Net([Linear(3, 4), Linear(5, 2)]), r"layer 1, Linear\(5, 2\).*\(5,\).*\(4,\)"),
    (lambda: Net([Linear(3, 4), Maxout(3)]), "4 inputs are not units of 3"),
    (lambda: Net([ReLU()]), "begin with a Linear"),
    (lambda: Net([Linear(3, 4, layers.sparse(7))]), r"sparse\(7\): a unit has only 3 inputs")])
def test_what_does_not_fit_is_refused_in_one_sentence_that_names_it(make, words):
    with pytest.raises(ValueError, match=words) as e:
        make()
    assert "\n" not in str(e.value)


def test_initialisers_draw_what_they_say():
    rng = np.random.default_rng(0)
    W = layers.uniform(.05)(rng, (200, 300))
    assert W.min() >= -.05 and W.max() <= .05 and W.std() == pytest.approx(.05 / math.sqrt(3), rel=.02)
    assert layers.he(rng, (200, 300)).std() == pytest.approx(math.sqrt(2 / 200), rel=.02)
    assert layers.glorot(rng, (200, 300)).std() == pytest.approx(math.sqrt(2 / 500), rel=.02)
    W = layers.sparse(10)(rng, (50, 80))
    assert ((W != 0).sum(axis=0) == 10).all() and W[W != 0].std() == pytest.approx(1, rel=.1)
    assert len(np.unique(np.nonzero(W)[0])) == 50, "not the same rows for every unit"
    np.testing.assert_array_equal(constant(-2)(rng, (3,)), [-2, -2, -2])


def test_logit_of_marginals_makes_a_sigmoid_layer_start_at_them():
    p = np.array([0, .1, .5, 1])
    net = Net([Linear(2, 4, constant(0), layers.logit(p)), Sigmoid()], "float64")
    np.testing.assert_allclose(net(np.zeros((1, 2)))[0], p, atol=1.1e-7)


# --- Networks ---------------------------------------------------------------------------------


def small(dtype="float32", seed=0):
    return Net([Dropout(.8), Linear(6, 12), Maxout(3), Dropout(.5), Linear(4, 2), Tanh()], dtype, seed)


def test_parameters_are_views_of_theta_and_gradients_of_grad(xp):
    net = small()
    assert list(net.named_parameters()) == ["1.W", "1.b", "4.W", "4.b"]
    assert len(net.theta) == 6 * 12 + 12 + 4 * 2 + 2
    net.theta[...] = 3
    net.grad[...] = 5
    for layer in (net.layers[1], net.layers[4]):
        assert float(layer.W.min()) == float(layer.b.max()) == 3
        assert float(layer.dW.max()) == float(layer.db.min()) == 5


def test_calling_a_network_is_its_equation_without_dropout_and_gives_a_fresh_array(xp):
    net = small("float64")
    x = np.random.default_rng(0).random((5, 6))
    W0, b0, W1, b1 = (xp.asnumpy(a) for a in net.named_parameters().values())
    h = (x @ W0 + b0).reshape(5, 3, 4).max(axis=1)
    y = net(xp.asarray(x))
    np.testing.assert_allclose(xp.asnumpy(y), np.tanh(h @ W1 + b1), rtol=1e-12)
    net(xp.asarray(1 - x))
    np.testing.assert_allclose(xp.asnumpy(y), np.tanh(h @ W1 + b1), rtol=1e-12)


def test_backward_fills_what_it_is_asked_for_and_nothing_else(xp):
    net = small()
    tape = net.tape(3)
    tape.x[0][...] = .5
    net.forward(tape)
    for parameters, inputs in ((True, False), (False, True), (True, True), (False, False)):
        net.grad[...] = 7
        for dx in tape.dx:
            dx[...] = 7
        net.backward(tape, parameters=parameters, inputs=inputs)
        assert bool((net.grad == 7).all()) is not parameters
        assert bool((tape.dx[0] == 7).all()) is not inputs


def test_a_slice_of_a_tape_is_the_same_memory(xp):
    net = small()
    tape = net.tape(6)
    lower = tape[2:]
    lower.x[0][...] = 1
    net.draw(lower, xp.default_rng(0))
    assert bool((tape.x[0][2:] == 1).all())
    assert bool((tape.extra[0][0][:2] == 1).all()) and not bool((tape.extra[0][0][2:] == 1).all())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(xp):
    a, b, c = small(seed=1), small(seed=1), small(seed=2)
    assert bool((a.theta == b.theta).all()) and not bool((a.theta == c.theta).all())


def test_a_layer_cannot_serve_two_networks():
    layer = Linear(3, 3)
    Net([layer])
    with pytest.raises(ValueError, match="layer 0.*is in a network already"):
        Net([layer])


def test_an_input_of_the_wrong_shape_is_refused_with_both_shapes(xp):
    for shape in ((6,), (3, 5), (3, 6, 1)):
        with pytest.raises(ValueError, match=r"\(6,\)"):
            small()(xp.zeros(shape, "float32"))


@pytest.mark.parametrize("a", [0, 1e-8, .01, .2])
def test_the_leaky_slope_is_a_to_the_last_bit_of_float32(xp, a):
    y = xp.array([-2, -1e-30, 1e-30, 3], dtype="float32")
    np.testing.assert_array_equal(xp.asnumpy(LeakyReLU(a).slope(y)), np.array([a, a, 1, 1], "float32"))


def test_repr_is_a_table_of_layers_shapes_and_counts():
    lines = repr(small()).splitlines()
    assert lines[2].split() == ["1", "Linear(6,", "12)", "12", "84"]
    assert lines[-1].split() == ["94"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_upcast_on_the_way(xp, dtype):
    net = small(dtype)
    tape = net.tape(4)
    tape.x[0][...] = .5
    net.draw(tape, xp.default_rng(0))
    net.forward(tape)
    tape.dx[-1][...] = 1
    net.backward(tape)
    assert {str(a.dtype) for a in (*tape.x, *tape.dx, net.theta, net.grad)} == {dtype}
    for layer in (ReLU(), LeakyReLU(), Sigmoid(), Tanh(), Softplus(), Scale(2, 1)):
        slope, curvature = layer.slope(tape.x[-1]), layer.curvature(tape.x[-1])
        assert str((slope * tape.dx[-1]).dtype) == str(curvature.dtype) == dtype
