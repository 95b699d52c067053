"""The gradient penalties, and the pass behind them that differentiates a gradient: against formulas, brute force and finite differences."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npgan import gan, gradcheck, layers
from npgan.conv import Reshape
from npgan.divergences import OBJECTIVES
from npgan.gradcheck import TOLERANCE, error
from npgan.layers import (
    Dropout,
    Layer,
    LeakyReLU,
    Linear,
    Maxout,
    Noise,
    ReLU,
    Scale,
    Sigmoid,
    Softplus,
    Tanh,
    constant,
)
from npgan.net import Net
from npgan.objectives import GAN
from npgan.optim import Momentum
from npgan.penalty import R1, GradientPenalty
from npgan.priors import Normal
from npgan.runs.fit import UPDATES, skip

WASSERSTEIN = OBJECTIVES["wasserstein"]
CURVED = [Sigmoid, Tanh, Softplus]
STRAIGHT = [ReLU, LeakyReLU, lambda: Maxout(2), lambda: Dropout(.7), lambda: Noise(.3), lambda: Scale(.7, -.2)]
PENALTIES = [GradientPenalty, R1]


def linear(rng, n, k):
    return Linear(n, k, constant(rng.standard_normal((n, k)) / np.sqrt(n)), constant(.5 * rng.standard_normal(k)))


def discriminator(kinds, widths, seed=0, dtype="float64"):
    """Linear layers of the given numbers of inputs, each followed by a layer of its kind, the last by one logit."""
    rng, stack = np.random.default_rng(seed), []
    for kind, n, k in zip(kinds, widths, [*widths[1:], 3]):
        stack += [linear(rng, n, 2 * k if isinstance(kind(), Maxout) else k), kind()]
    return Net([*stack, linear(rng, 3, 1)], dtype, seed)


def points(D, penalty, m, seed=0):
    """The penalty prepared and drawn, D's tapes of m real and m generated rows, and P as a function of D's parameters."""
    rng = np.random.default_rng(seed)
    penalty.prepare(D, m)
    real, fake = D.tape(m), D.tape(m)
    for t in (real, fake):
        t.x[0][...] = rng.standard_normal(t.x[0].shape)
        D.draw(t, rng)
    penalty.draw(rng)

    def P():
        D.forward(real)
        D.grad[...] = 0
        penalty(real, fake)
        return penalty.P
    return P


def wrong(D, penalty, m, seed=0):
    """The error of grad P over D's parameters."""
    P = points(D, penalty, m, seed)
    P()
    return error(P, D.theta, -D.grad)


# --- P's gradient against finite differences --------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("m", [1, 5])
@pytest.mark.parametrize("kind", CURVED + STRAIGHT, ids=lambda kind: type(kind()).__name__)
def test_the_penaltys_gradient_is_exact_through_two_layers_of_every_kind(kind, m, penalty):
    assert wrong(discriminator([kind, kind], [4, 5]), penalty(), m) <= TOLERANCE


def test_every_layer_there_is_can_be_penalised():
    kinds = {value for value in vars(layers).values() if isinstance(value, type) and hasattr(value, "forward")}
    assert kinds - {layers.Affine, layers.Elementwise} == {Linear, *(type(kind()) for kind in CURVED + STRAIGHT)}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(CURVED + STRAIGHT), st.integers(1, 6)), min_size=1, max_size=4), st.sampled_from([1, 5]),
       st.integers(0, 10 ** 6))
def test_the_gradient_is_exact_in_every_mixture_of_layers(stack, m, seed):
    kinds, widths = zip(*stack)
    net = discriminator(kinds, widths, seed)
    rng = np.random.default_rng(seed)
    t, s = net.tape(m), net.tape(m)
    net.draw(t, rng)
    for a in (t.x[0], t.dx[-1], s.x[0]):
        a[...] = rng.standard_normal(a.shape)

    def Q():
        net.forward(t)
        net.backward(t, parameters=False)
        return np.vdot(s.x[0], t.dx[0])
    value = Q()
    net.double_backward(t, s, np.full_like(net.theta, np.nan))
    assert np.vdot(t.dx[-1], s.x[-1]) == pytest.approx(value, abs=1e-12), "the pass up is the transposed backward pass"
    assert error(Q, net.theta, net.grad) <= TOLERANCE


def test_a_layer_may_come_first_or_last_and_twice_in_a_row():
    rng = np.random.default_rng(1)
    D = Net([Dropout(.8), Tanh(), Tanh(), linear(rng, 4, 6), Maxout(2), Softplus(), linear(rng, 3, 1), Sigmoid()], "float64")
    for penalty in PENALTIES:
        D.grad[...] = 0
        assert wrong(D, penalty(), 5) <= TOLERANCE


@pytest.mark.parametrize("penalty", PENALTIES)
def test_forgetting_a_piece_of_the_second_derivative_is_caught(penalty, monkeypatch):
    smooth, maxout = (lambda: discriminator([Softplus, Tanh], [4, 5])), (lambda: discriminator([lambda: Maxout(2)] * 2, [4, 5]))

    def shifted(self, x, u, v):
        self.apply(u, v)
        v += self.b                                                              # the pass up with b, as if it were a forward pass

    def sum_of_pieces(self, x, y, u, v):
        v[...] = self.split(u).sum(axis=1)

    def unmasked(self, x, y, u, v, mask):
        v[...] = u

    cases = [(smooth, Softplus, "curved", False), (smooth, Tanh, "curved", False), (smooth, Tanh, "curvature", lambda self, y: -2 * y),
             (smooth, Linear, "jvp", lambda self, x, y, u, v: shifted(self, x, u, v)),
             (maxout, Maxout, "jvp", sum_of_pieces),
             (lambda: discriminator([lambda: Dropout(.7)] * 2, [4, 5]), Dropout, "jvp", unmasked)]
    for make, kind, name, broken in cases:
        assert wrong(make(), penalty(), 5) <= TOLERANCE
        with monkeypatch.context() as m:
            m.setattr(kind, name, broken)
            assert wrong(make(), penalty(), 5) > 1e-3, (kind, name)


def test_the_table_of_gradcheck_catches_a_missing_curvature_term(monkeypatch):
    for kind in CURVED:
        monkeypatch.setattr(kind, "curved", False)
    failed = {what for what, _, _, e in gradcheck.rows() if e > TOLERANCE}
    assert failed == {f"grad_x y through {kind()}" for kind in CURVED}


# --- Net.tape_u -------------------------------------------------------------------------------------------------------------


def test_a_piecewise_linear_network_gives_its_biases_nothing_and_makes_no_pass_down():
    net = discriminator([ReLU, lambda: Maxout(2), LeakyReLU], [4, 6, 5])
    t, s = net.tape(5), net.tape(5)
    t.x[0][...] = s.x[0][...] = np.random.default_rng(0).standard_normal((5, 4))
    for e in s.dx:
        e[...] = np.nan
    net.forward(t)
    t.dx[-1][...] = 1
    net.backward(t, parameters=False)
    net.double_backward(t, s, np.empty_like(net.theta))
    for name, g in net.named(net.grad).items():
        assert (g == 0).all() if name.endswith("b") else np.abs(g).max() > 0, name
    assert all(np.isnan(e).all() for e in s.dx)


@pytest.mark.parametrize("kinds", [[ReLU, LeakyReLU], [Tanh, Softplus]])
def test_second_adds_to_the_gradient_and_only_reads_its_first_tape(kinds):
    net = discriminator(kinds, [4, 5])
    t, s, work = net.tape(3), net.tape(3), np.empty_like(net.theta)
    t.x[0][...] = s.x[0][...] = np.random.default_rng(0).standard_normal((3, 4))
    net.forward(t)
    t.dx[-1][...] = 1
    net.backward(t, parameters=False)
    before = [a.copy() for a in (*t.x, *t.dx, net.theta)]
    net.double_backward(t, s, work)
    once = net.grad.copy()
    net.grad[...] = start = np.arange(len(once))
    net.double_backward(t, s, work)
    np.testing.assert_allclose(net.grad - start, once, atol=1e-12)
    for a, b in zip((*t.x, *t.dx, net.theta), before):
        np.testing.assert_array_equal(a, b)


def test_a_layer_that_cannot_be_differentiated_twice_is_named():
    class Cube(Layer):
        def forward(self, x, y):
            y[...] = x ** 3

        def backward(self, x, y, dy, dx):
            dx[...] = 3 * x * x * dy

    P = points(Net([Linear(3, 2), Cube(), Linear(2, 1)], "float64"), R1(), 4)
    with pytest.raises(ValueError, match=r"^Cube\(\): has no jvp.*penalty"):
        P()


# --- P itself, by formula ---------------------------------------------------------------------------------------------------


def test_of_a_linear_discriminator_both_penalties_are_their_formulas_in_w(xp):
    w = np.array([3., 0, -4])                                                    # |w| = 5
    for penalty, expected, slope in ((GradientPenalty(.5), .5 * 16, .5 * 2 * 4 * w / 5), (R1(3), 1.5 * 25, 3 * w)):
        D = Net([Linear(3, 1, constant(w[:, None]), constant(2))], "float64")
        penalty.prepare(D, 4)
        t = D.tape(4)
        t.x[0][...] = 1
        penalty.draw(xp.default_rng(0))
        D.forward(t)
        penalty(t, t)
        assert float(penalty.P) == pytest.approx(expected)
        np.testing.assert_allclose(xp.asnumpy(-D.grad), [*slope, 0], rtol=1e-12, atol=1e-15)


class Flat(Reshape):
    """y = x, its (2, 3) numbers in a row"""

    inputs = (2, 3)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_shape_of_an_example_makes_no_difference(penalty):
    gradients = []
    for first in ([], [Flat((6,))]):
        rng = np.random.default_rng(0)
        D, pen = Net([*first, linear(rng, 6, 5), Tanh(), linear(rng, 5, 1)], "float64"), penalty()
        points(D, pen, 4)()
        gradients.append((D.grad, pen.P))
    np.testing.assert_array_equal(*(grad for grad, _ in gradients))
    assert gradients[0][1] == gradients[1][1] and np.abs(D.grad).max() > 0


def test_penalised_ascent_reaches_the_maximum_that_can_be_computed_by_hand():
    """Data at 3, G at 0, D(x) = w x: V - P = 3 w - lam (w - 1)^2, largest at w = 1 + 3 / (2 lam), or 3 w - gamma w^2 / 2, at 3 / gamma."""
    for penalty, expected in ((GradientPenalty(10), 1.15), (R1(2), 1.5)):
        G, D = Net([Linear(1, 1, constant(0))], "float64"), Net([Linear(1, 1, constant(.2))], "float64")
        p = gan.Players(G, D, 4, WASSERSTEIN, penalty=penalty)
        sgd, rng = Momentum(D, .02), np.random.default_rng(0)
        for _ in range(600):
            p.draw_masks_d(rng)
            gan.discriminator_gradient(p, np.full((4, 1), 3.), np.zeros((4, 1)))
            sgd.ascend()
        assert D.layers[0].W[0, 0] == pytest.approx(expected, abs=1e-6)


# --- The whole step against brute force, in NumPy that knows nothing of npgan ------------------------------------------------


M, NOISE, PIXELS, HIDDEN, UNITS, LAM, GAMMA = 4, 2, 5, 6, 3, 3., 1.7


def G_(theta, z):
    W, b = theta
    return np.tanh(z @ W + b)


def D_(theta, x, mask):
    W0, b0, W1, b1, W2, b2 = theta
    a = np.log1p(np.exp((x * mask) @ W0 + b0)) @ W1 + b1
    return np.maximum(a[:, :UNITS], a[:, UNITS:]) @ W2[:, 0] + b2[0]


def squared_slope(theta, x, mask):
    """|grad_x D(x)|^2 of each example, one example after the other: the product of the Jacobians."""
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
    theta = [rng.standard_normal(shape) for shape in ((PIXELS, HIDDEN), HIDDEN, (HIDDEN, 2 * UNITS), 2 * UNITS, (UNITS, 1), 1)]
    x, mask = rng.random((M, PIXELS)), rng.random((M, PIXELS))
    differences = [(D_(theta, x + h * e, mask) - D_(theta, x - h * e, mask)) / (2 * h) for e in np.eye(PIXELS)]
    np.testing.assert_allclose(squared_slope(theta, x, mask), np.sum(np.square(differences), axis=0), rtol=1e-7)


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
def test_two_penalised_updates_of_D_are_the_equation_followed_by_momentum(penalty, update, monkeypatch):
    rng = np.random.default_rng(7)
    G = Net([linear(rng, NOISE, PIXELS), Tanh()], "float64")
    D = Net([Dropout(.8), linear(rng, PIXELS, HIDDEN), Softplus(), linear(rng, HIDDEN, 2 * UNITS), Maxout(2), linear(rng, UNITS, 1)],
            "float64")
    p = gan.Players(G, D, M, WASSERSTEIN, penalty=penalty(LAM if penalty is GradientPenalty else GAMMA))
    theta = [a.copy() for a in D.named_parameters().values()]
    v, lr, mu = [np.zeros_like(a) for a in theta], .05, .6
    steps = []

    def spy(p, x, z):
        own = (p.penalty.e.copy(), p.penalty.tape.extra[0][0].copy()) if penalty is GradientPenalty else (None, None)
        theta_g, masks = [a.copy() for a in G.named_parameters().values()], [t.extra[0][0].copy() for t in (p.tape_real, p.tape_fake)]
        steps.append((theta_g, x, z.copy(), *masks, *own))
        return gan.discriminator_gradient(p, x, z)
    examples = itertools.cycle([rng.random((M, PIXELS)) for _ in range(3)])
    list(UPDATES[update](p, examples, Normal(), Momentum(D, lr, mu), Momentum(G, .1), np.random.default_rng(0), 2,
                         discriminator_gradient=spy))

    assert len(steps) == 2
    for theta_g, *drawn in steps:
        for a, u, g in zip(theta, v, differences(lambda t: value(t, theta_g, penalty, *drawn), theta)):
            u *= mu
            u += lr * g
            a += u
    for ours, expected in zip(D.named_parameters().values(), theta):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)
    if penalty is GradientPenalty:
        e, masks = [s[-2] for s in steps], [s[-1] for s in steps]
        assert not np.array_equal(*e) and not np.array_equal(*masks), "fresh points and masks for every step"
        assert not np.array_equal(masks[0], steps[0][3]) and e[0].shape == (M, 1), "and of its own; one e for each example"


# --- In the step ------------------------------------------------------------------------------------------------------------


def game(penalty, pack=1, dtype="float64", objective=WASSERSTEIN):
    rng = np.random.default_rng(3)
    G = Net([linear(rng, 2, 4), Tanh()], dtype)
    D = discriminator([Tanh, lambda: Maxout(2), lambda: Dropout(.7)], [4 * pack, 5, 6], dtype=dtype)
    p = gan.Players(G, D, 6, objective, pack=pack, penalty=penalty)
    return p, rng.random((6, 4)).astype(dtype), rng.standard_normal((6, 2)).astype(dtype)


def no_noise(rng, z):
    """A prior that leaves z alone."""


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("pack", [1, 2])
@pytest.mark.parametrize("objective", [WASSERSTEIN, GAN], ids=lambda o: o.name)
def test_D_ascends_V_minus_P_while_V_is_recorded_and_the_generators_step_is_as_before(objective, pack, penalty):
    p, x, z = game(penalty(), pack, objective=objective)
    plain, *_ = game(None, pack, objective=objective)
    p.draw_masks_d(np.random.default_rng(5))
    plain.draw_masks_d(np.random.default_rng(5))

    p.G.grad[...] = 42
    statistics = gan.discriminator_gradient(p, x, z)
    assert statistics == gan.discriminator_gradient(plain, x, z)
    assert (p.G.grad == 42).all(), "no gradient goes through the penalty to G"
    assert np.abs(p.D.grad - plain.D.grad).max() > .01
    assert error(lambda: gan.discriminator_gradient(p, x, z)[0] - p.penalty.P, p.D.theta, p.D.grad.copy()) <= TOLERANCE

    for generator_step in (gan.generator_backward, lambda p: gan.generator_gradient(p, z)):      # as in the simultaneous update, and alone
        for players in (p, plain):
            gan.discriminator_gradient(players, x, z)
            generator_step(players)
        np.testing.assert_array_equal(p.G.grad, plain.G.grad)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_nothing_leaks_from_one_penalised_step_to_the_next(penalty):
    p, x, z = game(penalty())
    p.draw_masks_d(np.random.default_rng(5))
    gan.discriminator_gradient(p, x, z)
    expected, P = p.D.grad.copy(), p.penalty.P
    for t in (p.tape_g, p.tape_d, p.penalty.tape_u, getattr(p.penalty, "t", p.tape_d)):
        for buffer in (*t.x, *t.dx):
            buffer[...] = np.nan
    p.D.grad[...] = p.penalty.work[...] = np.nan
    gan.discriminator_gradient(p, x, z)
    np.testing.assert_array_equal(p.D.grad, expected)
    assert p.penalty.P == P


def test_the_points_lie_between_the_examples_each_row_at_a_place_of_its_own():
    p, x, z = game(GradientPenalty(), pack=2)
    x[...] = 3
    p.draw_masks_d(np.random.default_rng(5))
    gan.discriminator_gradient(p, x, z)
    real, fake, x_hat = p.tape_real.x[0], p.tape_fake.x[0], p.penalty.tape.x[0]
    place = (x_hat - fake) / (real - fake)
    assert x_hat.shape == (3, 8) and (place > 0).all() and (place < 1).all()
    np.testing.assert_allclose(place, np.repeat(place[:, :1], 8, axis=1))
    assert len(np.unique(place[:, 0].round(9))) == 3


def test_the_generators_pass_draws_nothing_for_the_penalty():
    p, *_ = game(GradientPenalty())
    rng = np.random.default_rng(5)
    p.draw_masks_d(rng)
    e, mask = p.penalty.e.copy(), p.penalty.tape.extra[-2][0].copy()
    p.draw_masks_g(rng)
    np.testing.assert_array_equal(p.penalty.e, e)
    np.testing.assert_array_equal(p.penalty.tape.extra[-2][0], mask)
    p.draw_masks_d(rng)
    assert not np.array_equal(p.penalty.e, e) and not np.array_equal(p.penalty.tape.extra[-2][0], mask)


@pytest.mark.parametrize("update", ["algorithm1", "simultaneous"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_skipping_draws_what_the_penalised_update_draws(penalty, update):
    after = []
    for skipping in (False, True):
        p, x, _ = game(penalty())
        rng, examples = np.random.default_rng(9), itertools.repeat(x)
        if skipping:
            skip(p, examples, Normal(), rng, 3, 1, update)
        else:
            list(UPDATES[update](p, examples, Normal(), Momentum(p.D, .01), Momentum(p.G, .01), rng, 3))
        after.append(rng.random())
    assert after[0] == after[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_where_the_slope_is_zero_the_gradient_is_zero_and_finite(xp, penalty, dtype):
    for kinds in ([Tanh, Softplus], [ReLU, LeakyReLU]):
        D, pen = discriminator(kinds, [4, 5], dtype=dtype), penalty(10)
        pen.prepare(D, 3)
        t = D.tape(3)
        t.x[0][...] = 1
        pen.draw(xp.default_rng(0))
        D.theta[...] = 0
        with np.errstate(all="raise"):
            D.forward(t)
            pen(t, t)
        assert float(pen.P) == (10 if penalty is GradientPenalty else 0)
        assert bool((D.grad == 0).all())


def test_one_example_without_a_slope_leaves_the_others_gradient_alone():
    """A dead ReLU: D is flat at the first example, and P's gradient is the other one's, halved by the mean."""
    gradients = []
    for x in ([[-2.], [3.]], [[3.]]):
        D, penalty = Net([Linear(1, 1, constant(2)), ReLU(), Linear(1, 1, constant(4))], "float64"), GradientPenalty(1)
        penalty.prepare(D, len(x))
        t = D.tape(len(x))
        t.x[0][...] = x
        penalty.draw(np.random.default_rng(0))
        penalty(t, t)
        gradients.append(-D.grad)
    np.testing.assert_allclose(gradients[1], [2 * 7 * 4, 0, 2 * 7 * 2, 0])
    np.testing.assert_allclose(gradients[0], gradients[1] / 2)


# --- Device manners ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalised_training_reads_nothing_on_the_host_keeps_float32_and_gives_numpys_bits(penalty):
    import device

    from npgan import backend
    thetas = []
    for module in ("numpy", device):
        backend.use(module)
        try:
            p, x, _ = game(penalty(), pack=2, dtype="float32")
            rng, examples = backend.default_rng(1), itertools.repeat(backend.asarray(x))
            device.reset()
            records = list(gan.train(p, examples, Normal(), Momentum(p.D, .01, .5), Momentum(p.G, .01), rng, 3, k=2))
            assert device.counts["host reads"] == device.counts["host writes"] == 0
            own = [*p.penalty.tape_u.x, *p.penalty.tape_u.dx, p.penalty.work, p.penalty.P, p.D.theta, p.D.grad, records[-1].norm_d]
            assert {str(a.dtype) for a in own} == {"float32"}
            thetas.append([backend.asnumpy(a) for a in (p.D.theta, p.G.theta, p.penalty.P)])
        finally:
            backend.use("numpy")
    for a, b in zip(*thetas):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()


def test_a_penalised_step_allocates_nothing_as_large_as_the_parameters(device):
    sizes = []

    def step(width):
        D = Net([Linear(3, width), Tanh(), Linear(width, width), LeakyReLU(), Linear(width, 1)])
        p = gan.Players(Net([Linear(2, 3)]), D, 2, WASSERSTEIN, penalty=GradientPenalty())
        x, z = device.ones((2, 3), "float32"), device.ones((2, 2), "float32")
        new = device.ndarray.__init__

        def counted(self, a):
            new(self, a)
            if a.base is None:
                sizes.append(a.size)
        device.ndarray.__init__ = counted
        try:
            gan.discriminator_gradient(p, x, z)
        finally:
            device.ndarray.__init__ = new
    step(100)
    assert sizes and max(sizes) <= 4 * 100, "rows times the widest layer; D has 10,000 weights and more"


# --- What is refused --------------------------------------------------------------------------------------------------------


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
