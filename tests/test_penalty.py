"""The gradient penalties, and Net.double_backward behind them: compared with formulas, brute
force and finite differences.
"""

import itertools

import device
import numpy as np
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from npgan import backend, gan, gradcheck, layers
from npgan.conv import Reshape
from npgan.divergences import OBJECTIVES
from npgan.gradcheck import TOLERANCE, error
from npgan.layers import Dropout, LeakyReLU, Linear, Maxout, Noise, ReLU, Sigmoid, Softplus, Tanh, constant
from npgan.net import Net
from npgan.objectives import GAN
from npgan.optim import Momentum
from npgan.penalty import R1, GradientPenalty
from npgan.priors import Normal
from npgan.runs.fit import UPDATES, skip

WASSERSTEIN = OBJECTIVES["wasserstein"]
CURVED = [Sigmoid, Tanh, Softplus]
STRAIGHT = [ReLU, LeakyReLU, lambda: Maxout(2), lambda: Dropout(.7), lambda: Noise(.3),
            lambda: layers.Scale(.7, -.2)]
PENALTIES = [GradientPenalty, R1]


def linear(rng, n, k):
    W, b = rng.standard_normal((n, k)) / np.sqrt(n), .5 * rng.standard_normal(k)
    return Linear(n, k, constant(W), constant(b))


def discriminator(kinds, widths, seed=0, dtype="float64"):
    """Linear layers with `widths` inputs, each followed by a layer of its kind. One logit."""
    rng, stack = np.random.default_rng(seed), []
    for kind, n, k in zip(kinds, widths, [*widths[1:], 3]):
        stack += [linear(rng, n, 2 * k if isinstance(kind(), Maxout) else k), kind()]
    return Net([*stack, linear(rng, 3, 1)], dtype, seed)


def penalty_at_points(D, penalty, m, seed=0):
    """P as a function of D's parameters, examples fixed. P() leaves D.grad = -grad P."""
    rng = np.random.default_rng(seed)
    penalty.prepare(D, m)
    real, fake = D.tape(m), D.tape(m)
    for tape in (real, fake):
        tape.x[0][...] = rng.standard_normal(tape.x[0].shape)
        D.draw(tape, rng)
    penalty.draw(rng)

    def P():
        D.forward(real)
        D.grad[...] = 0
        penalty(real, fake)
        return penalty.P
    return P


def penalty_error(D, penalty, m, seed=0):
    """gradcheck's error of grad P over D's parameters."""
    P = penalty_at_points(D, penalty, m, seed)
    P()
    return error(P, D.theta, -D.grad)


# --- P's gradient against finite differences --------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("m", [1, 5])
@pytest.mark.parametrize("kind", CURVED + STRAIGHT, ids=lambda kind: type(kind()).__name__)
def test_the_penaltys_gradient_is_exact_through_two_layers_of_every_kind(kind, m, penalty):
    assert penalty_error(discriminator([kind, kind], [4, 5]), penalty(), m) <= TOLERANCE


def test_every_layer_there_is_can_be_penalised():
    kinds = {kind for kind in vars(layers).values() if isinstance(kind, type) and hasattr(kind, "forward")}
    tested = {Linear, *(type(kind()) for kind in CURVED + STRAIGHT)}
    assert kinds - {layers.Affine, layers.Elementwise} == tested


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(CURVED + STRAIGHT), st.integers(1, 6)), min_size=1, max_size=4),
       st.sampled_from([1, 5]), st.integers(0, 10 ** 6))
@example([(STRAIGHT[2], 6), (Sigmoid, 6), (Sigmoid, 1)], 1, 2000)      # a Maxout near a tie
def test_the_gradient_is_exact_in_every_mixture_of_layers(stack, m, seed):
    kinds, widths = zip(*stack)
    net = discriminator(kinds, widths, seed)
    rng = np.random.default_rng(seed)
    tape, tape_u = net.tape(m), net.tape(m)
    net.draw(tape, rng)
    for a in (tape.x[0], tape.dx[-1], tape_u.x[0]):
        a[...] = rng.standard_normal(a.shape)

    def Q():
        net.forward(tape)
        net.backward(tape, parameters=False)
        return np.vdot(tape_u.x[0], tape.dx[0])
    value = Q()
    net.double_backward(tape, tape_u, np.full_like(net.theta, np.nan))
    up = np.vdot(tape.dx[-1], tape_u.x[-1])
    assert up == pytest.approx(value, abs=1e-12), "the pass up is the transposed backward pass"
    try:
        assert error(Q, net.theta, net.grad) <= TOLERANCE
    except ValueError:                              # at a kink
        reject()


def test_a_layer_may_come_first_or_last_and_twice_in_a_row():
    rng = np.random.default_rng(1)
    D = Net([Dropout(.8), Tanh(), Tanh(), linear(rng, 4, 6), Maxout(2), Softplus(),
             linear(rng, 3, 1), Sigmoid()], "float64")
    for penalty in PENALTIES:
        D.grad[...] = 0
        assert penalty_error(D, penalty(), 5) <= TOLERANCE


def jvp_with_bias(self, x, y, u, v):
    self.apply(u, v)
    v += self.b


def jvp_of_every_piece(self, x, y, u, v):
    v[...] = self.split(u).sum(axis=1)


def jvp_without_mask(self, x, y, u, v, mask):
    v[...] = u


SMOOTH, MAXOUT, DROPOUT = [Softplus, Tanh], [lambda: Maxout(2)] * 2, [lambda: Dropout(.7)] * 2


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kinds, broken, name, value", [
    (SMOOTH, Softplus, "curved", False), (SMOOTH, Tanh, "curved", False),
    (SMOOTH, Tanh, "curvature", lambda self, y: -2 * y), (SMOOTH, Linear, "jvp", jvp_with_bias),
    (MAXOUT, Maxout, "jvp", jvp_of_every_piece), (DROPOUT, Dropout, "jvp", jvp_without_mask)])
def test_forgetting_a_piece_of_the_second_derivative_is_caught(
        kinds, broken, name, value, penalty, monkeypatch):
    assert penalty_error(discriminator(kinds, [4, 5]), penalty(), 5) <= TOLERANCE
    monkeypatch.setattr(broken, name, value)
    assert penalty_error(discriminator(kinds, [4, 5]), penalty(), 5) > 1e-3


def test_the_table_of_gradcheck_catches_a_missing_curvature_term(monkeypatch):
    for kind in CURVED:
        monkeypatch.setattr(kind, "curved", False)
    failed = {what for what, _, _, e in gradcheck.rows() if e > TOLERANCE}
    assert failed == {f"grad_x y through {kind()}" for kind in CURVED}


# --- Net.double_backward ----------------------------------------------------------------------


def test_a_piecewise_linear_network_gives_its_biases_nothing_and_makes_no_pass_down():
    net = discriminator([ReLU, lambda: Maxout(2), LeakyReLU], [4, 6, 5])
    tape, tape_u = net.tape(5), net.tape(5)
    tape.x[0][...] = tape_u.x[0][...] = np.random.default_rng(0).standard_normal((5, 4))
    for e in tape_u.dx:
        e[...] = np.nan
    net.forward(tape)
    tape.dx[-1][...] = 1
    net.backward(tape, parameters=False)
    net.double_backward(tape, tape_u, np.empty_like(net.theta))
    for name, g in net.named(net.grad).items():
        assert (g == 0).all() if name.endswith("b") else np.abs(g).max() > 0, name
    assert all(np.isnan(e).all() for e in tape_u.dx)


@pytest.mark.parametrize("kinds", [[ReLU, LeakyReLU], [Tanh, Softplus]])
def test_double_backward_adds_to_the_gradient_and_only_reads_its_first_tape(kinds):
    net = discriminator(kinds, [4, 5])
    tape, tape_u, work = net.tape(3), net.tape(3), np.empty_like(net.theta)
    tape.x[0][...] = tape_u.x[0][...] = np.random.default_rng(0).standard_normal((3, 4))
    net.forward(tape)
    tape.dx[-1][...] = 1
    net.backward(tape, parameters=False)
    before = [a.copy() for a in (*tape.x, *tape.dx, net.theta)]
    net.double_backward(tape, tape_u, work)
    once = net.grad.copy()
    net.grad[...] = start = np.arange(len(once))
    net.double_backward(tape, tape_u, work)
    np.testing.assert_allclose(net.grad - start, once, atol=1e-12)
    for a, b in zip((*tape.x, *tape.dx, net.theta), before):
        np.testing.assert_array_equal(a, b)


def test_a_layer_that_cannot_be_differentiated_twice_is_named():
    class Cube(layers.Layer):
        def forward(self, x, y):
            y[...] = x ** 3

        def backward(self, x, y, dy, dx):
            dx[...] = 3 * x * x * dy

    P = penalty_at_points(Net([Linear(3, 2), Cube(), Linear(2, 1)], "float64"), R1(), 4)
    with pytest.raises(ValueError, match=r"^Cube\(\): has no jvp.*penalty"):
        P()


# --- P itself, by formula ---------------------------------------------------------------------


def test_of_a_linear_discriminator_both_penalties_are_their_formulas_in_w(xp):
    w = np.array([3., 0, -4])                                                    # |w| = 5
    for penalty, P, dP_dw in ((GradientPenalty(.5), .5 * 16, .5 * 2 * 4 * w / 5), (R1(3), 1.5 * 25, 3 * w)):
        D = Net([Linear(3, 1, constant(w[:, None]), constant(2))], "float64")
        penalty.prepare(D, 4)
        tape = D.tape(4)
        tape.x[0][...] = 1
        penalty.draw(xp.default_rng(0))
        D.forward(tape)
        penalty(tape, tape)
        assert float(penalty.P) == pytest.approx(P)
        np.testing.assert_allclose(xp.asnumpy(-D.grad), [*dP_dw, 0], rtol=1e-12, atol=1e-15)


class Flat(Reshape):
    """y = x, its (2, 3) numbers in a row"""

    inputs = (2, 3)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_shape_of_an_example_makes_no_difference(penalty):
    results = []
    for first in ([], [Flat((6,))]):
        rng = np.random.default_rng(0)
        D = Net([*first, linear(rng, 6, 5), Tanh(), linear(rng, 5, 1)], "float64")
        P = penalty_at_points(D, penalty(), 4)()
        results.append((D.grad, P))
    (grad, P), (grad_of_matrices, P_of_matrices) = results
    np.testing.assert_array_equal(grad, grad_of_matrices)
    assert P == P_of_matrices and np.abs(grad).max() > 0


def test_penalised_ascent_reaches_the_maximum_that_can_be_computed_by_hand():
    """All data at 3, G(z) = 0, and D(x) = w x. With the gradient penalty
    V - P = 3 w - lam (w - 1)^2 is largest at w = 1 + 3 / (2 lam); with R1
    V - P = 3 w - gamma w^2 / 2 is largest at w = 3 / gamma.
    """
    for penalty, expected in ((GradientPenalty(10), 1.15), (R1(2), 1.5)):
        G, D = (Net([Linear(1, 1, constant(w))], "float64") for w in (0, .2))
        players = gan.Players(G, D, 4, WASSERSTEIN, penalty=penalty)
        sgd, rng = Momentum(D, .02), np.random.default_rng(0)
        for _ in range(600):
            players.draw_masks_d(rng)
            gan.discriminator_gradient(players, np.full((4, 1), 3.), np.zeros((4, 1)))
            sgd.ascend()
        assert D.layers[0].W[0, 0] == pytest.approx(expected, abs=1e-6)


# --- The step against brute force, in NumPy that knows nothing of npgan -----------------------


M, NOISE, PIXELS, HIDDEN, UNITS, LAM, GAMMA = 4, 2, 5, 6, 3, 3., 1.7


def G_(theta, z):
    W, b = theta
    return np.tanh(z @ W + b)


def D_(theta, x, mask):
    W0, b0, W1, b1, W2, b2 = theta
    a = np.log1p(np.exp((x * mask) @ W0 + b0)) @ W1 + b1
    return np.maximum(a[:, :UNITS], a[:, UNITS:]) @ W2[:, 0] + b2[0]


def squared_slope(theta, x, mask):
    """|grad_x D(x)|^2 of one example after the other, by the product of the Jacobians."""
    W0, b0, W1, b1, W2, b2 = theta
    squares = []
    for x_i, mask_i in zip(x, mask):
        s = (x_i * mask_i) @ W0 + b0
        a = np.log1p(np.exp(s)) @ W1 + b1
        chosen = [j if a[j] > a[j + UNITS] else j + UNITS for j in range(UNITS)]
        J = np.diag(mask_i) @ W0 @ np.diag(1 / (1 + np.exp(-s))) @ W1[:, chosen] @ W2
        squares.append(np.sum(J ** 2))
    return np.array(squares)


def test_the_oracles_slope_is_the_slope_of_its_D():
    rng, h = np.random.default_rng(0), 1e-5
    shapes = (PIXELS, HIDDEN), HIDDEN, (HIDDEN, 2 * UNITS), 2 * UNITS, (UNITS, 1), 1
    theta = [rng.standard_normal(shape) for shape in shapes]
    x, mask = rng.random((M, PIXELS)), rng.random((M, PIXELS))
    slopes = [(D_(theta, x + h * e, mask) - D_(theta, x - h * e, mask)) / (2 * h) for e in np.eye(PIXELS)]
    np.testing.assert_allclose(squared_slope(theta, x, mask), np.sum(np.square(slopes), axis=0), rtol=1e-7)


def value(theta_d, theta_g, penalty, x, z, masks_x, masks_z, e, masks_e):
    V = np.mean(D_(theta_d, x, masks_x)) - np.mean(D_(theta_d, G_(theta_g, z), masks_z))
    if penalty is R1:
        return V - GAMMA / 2 * np.mean(squared_slope(theta_d, x, masks_x))
    x_hat = np.array([e_i * x_i + (1 - e_i) * Gz_i for e_i, x_i, Gz_i in zip(e, x, G_(theta_g, z))])
    return V - LAM * np.mean((np.sqrt(squared_slope(theta_d, x_hat, masks_e)) - 1) ** 2)


def differences(f, theta, h=1e-4):
    gradient = [np.zeros_like(a) for a in theta]
    for a, g in zip(theta, gradient):
        for i in np.ndindex(a.shape):
            kept, v = a[i], []
            for step in (-2 * h, -h, h, 2 * h):
                a[i] = kept + step
                v.append(f(theta))
            g[i] = (8 * (v[2] - v[1]) - (v[3] - v[0])) / (12 * h)
            a[i] = kept
    return gradient


@pytest.mark.parametrize("update", ["algorithm1", "simultaneous"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_two_penalised_updates_of_D_are_the_equation_followed_by_momentum(penalty, update):
    rng = np.random.default_rng(7)
    G = Net([linear(rng, NOISE, PIXELS), Tanh()], "float64")
    D = Net([Dropout(.8), linear(rng, PIXELS, HIDDEN), Softplus(), linear(rng, HIDDEN, 2 * UNITS), Maxout(2),
             linear(rng, UNITS, 1)], "float64")
    weight = LAM if penalty is GradientPenalty else GAMMA
    players = gan.Players(G, D, M, WASSERSTEIN, penalty=penalty(weight))
    theta = [a.copy() for a in D.named_parameters().values()]
    v, lr, mu = [np.zeros_like(a) for a in theta], .05, .6
    steps = []

    def spy(players, x, z):
        theta_g = [a.copy() for a in G.named_parameters().values()]
        masks = [tape.extra[0][0].copy() for tape in (players.tape_real, players.tape_fake)]
        e, masks_e = None, None
        if penalty is GradientPenalty:
            e, masks_e = players.penalty.e.copy(), players.penalty.tape.extra[0][0].copy()
        steps.append((theta_g, x, z.copy(), *masks, e, masks_e))
        return gan.discriminator_gradient(players, x, z)
    examples = itertools.cycle([rng.random((M, PIXELS)) for _ in range(3)])
    list(UPDATES[update](players, examples, Normal(), Momentum(D, lr, mu), Momentum(G, .1),
                         np.random.default_rng(0), 2, discriminator_gradient=spy))

    assert len(steps) == 2
    for theta_g, *drawn in steps:
        gradient = differences(lambda theta_d: value(theta_d, theta_g, penalty, *drawn), theta)
        for a, velocity, g in zip(theta, v, gradient):
            velocity *= mu
            velocity += lr * g
            a += velocity
    for found, expected in zip(D.named_parameters().values(), theta):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    if penalty is GradientPenalty:
        e, masks_e = [step[-2] for step in steps], [step[-1] for step in steps]
        assert not np.array_equal(*e) and not np.array_equal(*masks_e), "fresh points and masks in every step"
        assert not np.array_equal(masks_e[0], steps[0][3]), "the penalty has masks of its own"
        assert e[0].shape == (M, 1), "one e for each example"


# --- In the step ------------------------------------------------------------------------------


def game(penalty, pack=1, dtype="float64", objective=WASSERSTEIN):
    rng = np.random.default_rng(3)
    G = Net([linear(rng, 2, 4), Tanh()], dtype)
    D = discriminator([Tanh, lambda: Maxout(2), lambda: Dropout(.7)], [4 * pack, 5, 6], dtype=dtype)
    players = gan.Players(G, D, 6, objective, pack=pack, penalty=penalty)
    return players, rng.random((6, 4)).astype(dtype), rng.standard_normal((6, 2)).astype(dtype)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("pack", [1, 2])
@pytest.mark.parametrize("objective", [WASSERSTEIN, GAN], ids=lambda o: o.name)
def test_D_ascends_V_minus_P_while_V_is_recorded_and_the_generators_step_is_as_before(
        objective, pack, penalty):
    players, x, z = game(penalty(), pack, objective=objective)
    plain, *_ = game(None, pack, objective=objective)
    players.draw_masks_d(np.random.default_rng(5))
    plain.draw_masks_d(np.random.default_rng(5))

    players.G.grad[...] = 42
    statistics = gan.discriminator_gradient(players, x, z)
    assert statistics == gan.discriminator_gradient(plain, x, z)
    assert (players.G.grad == 42).all(), "no gradient goes through the penalty to G"
    assert np.abs(players.D.grad - plain.D.grad).max() > .01

    def V_minus_P():
        return gan.discriminator_gradient(players, x, z)[0] - players.penalty.P
    assert error(V_minus_P, players.D.theta, players.D.grad) <= TOLERANCE

    for simultaneous in (True, False):
        for these in (players, plain):
            gan.discriminator_gradient(these, x, z)
            if simultaneous:
                gan.generator_backward(these)
            else:
                gan.generator_gradient(these, z)
        np.testing.assert_array_equal(players.G.grad, plain.G.grad)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_nothing_leaks_from_one_penalised_step_to_the_next(penalty):
    players, x, z = game(penalty())
    players.draw_masks_d(np.random.default_rng(5))
    gan.discriminator_gradient(players, x, z)
    expected, P = players.D.grad.copy(), players.penalty.P
    tape_of_points = [players.penalty.tape] if penalty is GradientPenalty else []
    for tape in (players.tape_g, players.tape_d, players.penalty.tape_u, *tape_of_points):
        for buffer in (*tape.x, *tape.dx):
            buffer[...] = np.nan
    players.D.grad[...] = players.penalty.work[...] = np.nan
    gan.discriminator_gradient(players, x, z)
    np.testing.assert_array_equal(players.D.grad, expected)
    assert players.penalty.P == P


def test_the_points_lie_between_the_examples_each_row_at_a_place_of_its_own():
    players, x, z = game(GradientPenalty(), pack=2)
    x[...] = 3
    players.draw_masks_d(np.random.default_rng(5))
    gan.discriminator_gradient(players, x, z)
    real, fake, x_hat = players.tape_real.x[0], players.tape_fake.x[0], players.penalty.tape.x[0]
    place = (x_hat - fake) / (real - fake)
    assert x_hat.shape == (3, 8) and (place > 0).all() and (place < 1).all()
    np.testing.assert_allclose(place, np.repeat(place[:, :1], 8, axis=1))
    assert len(np.unique(place[:, 0].round(9))) == 3


def test_the_generators_pass_draws_nothing_for_the_penalty():
    players, *_ = game(GradientPenalty())
    rng, penalty = np.random.default_rng(5), players.penalty
    mask, = penalty.tape.extra[-2]
    players.draw_masks_d(rng)
    e_before, mask_before = penalty.e.copy(), mask.copy()
    players.draw_masks_g(rng)
    np.testing.assert_array_equal(penalty.e, e_before)
    np.testing.assert_array_equal(mask, mask_before)
    players.draw_masks_d(rng)
    assert not np.array_equal(penalty.e, e_before) and not np.array_equal(mask, mask_before)


@pytest.mark.parametrize("update", ["algorithm1", "simultaneous"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_skipping_draws_what_the_penalised_update_draws(penalty, update):
    after = []
    for skipping in (False, True):
        players, x, _ = game(penalty())
        rng, examples = np.random.default_rng(9), itertools.repeat(x)
        if skipping:
            skip(players, examples, Normal(), rng, 3, 1, update)
        else:
            sgd_d, sgd_g = Momentum(players.D, .01), Momentum(players.G, .01)
            list(UPDATES[update](players, examples, Normal(), sgd_d, sgd_g, rng, 3))
        after.append(rng.random())
    assert after[0] == after[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_where_the_slope_is_zero_the_gradient_is_zero_and_finite(xp, penalty, dtype):
    for kinds in ([Tanh, Softplus], [ReLU, LeakyReLU]):
        D, P = discriminator(kinds, [4, 5], dtype=dtype), penalty(10)
        P.prepare(D, 3)
        tape = D.tape(3)
        tape.x[0][...] = 1
        P.draw(xp.default_rng(0))
        D.theta[...] = 0
        with np.errstate(all="raise"):
            D.forward(tape)
            P(tape, tape)
        assert float(P.P) == (10 if penalty is GradientPenalty else 0)
        assert bool((D.grad == 0).all())


def test_one_example_without_a_slope_leaves_the_others_gradient_alone():
    """With a dead ReLU, D is flat at the first example. Then P's gradient is that of the other
    example, halved by the mean.
    """
    gradients = []
    for x in ([[-2.], [3.]], [[3.]]):
        D = Net([Linear(1, 1, constant(2)), ReLU(), Linear(1, 1, constant(4))], "float64")
        penalty, tape = GradientPenalty(1), D.tape(len(x))
        penalty.prepare(D, len(x))
        tape.x[0][...] = x
        penalty.draw(np.random.default_rng(0))
        penalty(tape, tape)
        gradients.append(-D.grad)
    np.testing.assert_allclose(gradients[1], [2 * 7 * 4, 0, 2 * 7 * 2, 0])
    np.testing.assert_allclose(gradients[0], gradients[1] / 2)


# --- Device manners ---------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalised_training_reads_nothing_on_the_host_keeps_float32_and_gives_numpys_bits(penalty):
    thetas = []
    for module in ("numpy", device):
        backend.use(module)
        try:
            players, x, _ = game(penalty(), pack=2, dtype="float32")
            G, D, P = players.G, players.D, players.penalty
            rng, examples = backend.default_rng(1), itertools.repeat(backend.asarray(x))
            sgd_d, sgd_g = Momentum(D, .01, .5), Momentum(G, .01)
            device.reset()
            *_, record = gan.train(players, examples, Normal(), sgd_d, sgd_g, rng, 3, k=2)
            assert device.counts["host reads"] == device.counts["host writes"] == 0
            arrays = *P.tape_u.x, *P.tape_u.dx, P.work, P.P, D.theta, D.grad, record.norm_d
            assert {str(a.dtype) for a in arrays} == {"float32"}
            thetas.append([backend.asnumpy(a) for a in (D.theta, G.theta, P.P)])
        finally:
            backend.use("numpy")
    for a, b in zip(*thetas):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()


@pytest.mark.usefixtures("device")
def test_a_penalised_step_allocates_nothing_as_large_as_the_parameters(monkeypatch):
    D = Net([Linear(3, 100), Tanh(), Linear(100, 100), LeakyReLU(), Linear(100, 1)])
    players = gan.Players(Net([Linear(2, 3)]), D, 2, WASSERSTEIN, penalty=GradientPenalty())
    x, z, sizes = device.ones((2, 3), "float32"), device.ones((2, 2), "float32"), []
    new = device.ndarray.__init__

    def counted(self, a):
        new(self, a)
        if a.base is None:
            sizes.append(a.size)
    monkeypatch.setattr(device.ndarray, "__init__", counted)
    gan.discriminator_gradient(players, x, z)
    assert sizes and max(sizes) <= 4 * 100, "rows times the widest layer; D has 10,000 weights and more"


# --- What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_weight_that_is_no_positive_number_is_refused(penalty):
    for weight in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"{penalty.__name__}.*positive") as e:
            penalty(weight)
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_cannot_serve_two_pairs_of_players(penalty):
    used = penalty(3)
    game(used)
    with pytest.raises(ValueError, match=rf"{penalty.__name__}\(3\): belongs to other players"):
        game(used)
