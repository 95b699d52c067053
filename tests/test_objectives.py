"""The objectives against numerical maxima and integrals, and at very large logits.

A `row` is an Objective of the table OBJECTIVES: T, F, dT, dF, prob; an f-divergence also has f.
"""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npgan import backend, gan, gradcheck
from npgan.divergences import OBJECTIVES, alpha, general, log_lambert
from npgan.layers import Linear, Tanh
from npgan.net import Net
from npgan.objectives import GAN, GENERATOR_LOSSES
from npgan.optim import Clip, Momentum
from npgan.priors import Normal
from npgan.runs import fit

ROWS = [*OBJECTIVES.values(), alpha(1.1), alpha(2), alpha(3.7)]
DIVERGENCES = [row for row in ROWS if row.f]
FINITE = ["gan", "jensen-shannon", "total-variation", "wasserstein", "lecture-wasserstein"]     # for every a
# f has a kink at u = 1. The best T tells only whether u = p/q is above or below 1.
KINKED = ["total-variation", "lecture-wasserstein"]
FUNCTIONS = ["T", "dT", "F", "dF", "prob"]


def each(rows):
    """Run a test for each of these objectives."""
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def test_the_table_has_every_objective_of_the_sources_under_its_own_name():
    assert set(OBJECTIVES) == {
        "gan", "kl", "reverse-kl", "pearson", "neyman", "hellinger", "jeffrey", "jensen-shannon",
        "total-variation", "alpha", "wasserstein", "lecture-wasserstein"}
    assert all(row.name == name for name, row in OBJECTIVES.items())


# --- The mathematics --------------------------------------------------------------------------


def supremum(f, t):
    """sup over u > 0 of u t - f(u), for each t, by ternary search over log u."""
    low, high = np.full(t.shape, -60.), np.full(t.shape, 60.)
    for _ in range(150):
        a, b = (2 * low + high) / 3, (low + 2 * high) / 3
        value_a, value_b = (np.exp(s) * t - f(np.exp(s)) for s in (a, b))
        right = value_a < value_b
        low, high = np.where(right, a, low), np.where(right, high, b)
    u = np.exp((low + high) / 2)
    return u * t - f(u)


@each(DIVERGENCES)
def test_F_is_the_convex_conjugate_of_f_at_T(row):
    a = np.linspace(-6, 6, 97)
    expected = supremum(row.f, row.T(a))
    np.testing.assert_allclose(row.F(a), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(row.f_star(row.T(a)), expected, rtol=1e-9, atol=1e-9)


@each(ROWS)
def test_dT_and_dF_are_the_slopes_of_T_and_F(row):
    a, h = np.linspace(-7, 7, 71) + 1e-3, 1e-5
    for f, df in ((row.T, row.dT), (row.F, row.dF)):
        np.testing.assert_allclose(df(a), (f(a + h) - f(a - h)) / (2 * h), rtol=1e-7, atol=1e-9)


@each(ROWS)
def test_T_increases_with_a_so_both_generator_losses_fall_as_a_grows(row):
    a = np.linspace(-8, 8, 201)
    assert (np.diff(row.T(a)) > 0).all() and (row.dT(a) > 0).all() and (row.dF(a) >= 0).all()
    assert (row.dF(a[a > -.3]) > 0).all()
    for loss in GENERATOR_LOSSES:
        assert (np.diff(row.J(a, loss)) <= 0).all() and (row.dJ(a, loss) <= 0).all()
    np.testing.assert_array_equal(row.J(a, "minimax"), -row.F(a))
    np.testing.assert_array_equal(row.J(a, "non-saturating"), -row.T(a))


@each(DIVERGENCES)
def test_f_is_convex_and_its_slope_at_1_is_the_threshold(row):
    u, h = np.geomspace(.01, 20, 60), 1e-6
    middle = row.f((u[1:] + u[:-1]) / 2)
    assert (middle <= (row.f(u[1:]) + row.f(u[:-1])) / 2 + 1e-12).all()
    f_1, f_above, f_below = (row.f(np.float64(u)) for u in (1, 1 + h, 1 - h))
    assert (f_above - f_below) / (2 * h) == pytest.approx(row.threshold, abs=1e-8)
    expected = {"gan": -math.log(4), "lecture-wasserstein": 1}.get(row.name, 0)
    assert f_1 == pytest.approx(expected, abs=1e-15)
    assert row.optimal_value == f_1 and OBJECTIVES["wasserstein"].optimal_value == 0


@each(DIVERGENCES)
def test_T_is_above_the_threshold_where_the_probability_is_above_one_half(row):
    a = np.linspace(-6, 6, 2401) + 1e-7
    np.testing.assert_array_equal(row.T(a) > row.threshold, row.prob(a) > .5)
    assert (row.T(a) > row.threshold).any() and (row.T(a) < row.threshold).any()
    assert ((0 <= row.prob(a)) & (row.prob(a) <= 1)).all() and (np.diff(row.prob(a)) >= 0).all()


@each([row for row in DIVERGENCES if row.name not in KINKED])
def test_T_is_the_slope_of_f_at_the_ratio_u_that_prob_stands_for(row):
    a = np.linspace(-1.5, 4, 56)
    a = a[row.prob(a) > 0]
    assert len(a) > 40
    u, h = row.prob(a) / (1 - row.prob(a)), 1e-6                # prob = u / (1 + u)
    slope = (row.f(u * (1 + h)) - row.f(u * (1 - h))) / (2 * h * u)
    np.testing.assert_allclose(slope, row.T(a), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(row.dF(a), u * row.dT(a), rtol=1e-12)


def normal(mu, variance):
    """The density of N(mu, variance) at X."""
    return np.exp(-(X - mu) ** 2 / (2 * variance)) / np.sqrt(2 * np.pi * variance)


X = np.linspace(-14, 14, 4001)
P = .33 * normal(-1, .25) + .67 * normal(2, 2)
Q = normal(1, 2.5)


def integral(y):
    """The integral of y(x) over the grid X."""
    return float(np.sum(y) * (X[1] - X[0]))


def divergence(row):
    """D_f(P||Q)"""
    return integral(Q * row.f(P / Q))


@functools.cache
def best_logit(row):
    """a(x) of the best discriminator: the maximum of p T(a) - q F(a), by bisection.

    There p dT = q dF. The maximum is at a = +-infinity if f has a kink; 30 stands for infinity.
    """
    if row.name in KINKED:
        return 30 * np.sign(P - Q)
    lowest = -1e9 if row.name == "jeffrey" else -600.           # Jeffrey's best a is about -q/p in the tails
    low, high = np.full(X.shape, lowest), np.full(X.shape, 600.)
    for _ in range(100):
        middle = (low + high) / 2
        beyond = Q * row.dF(middle) > P * row.dT(middle)
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return low


def V(row, a):
    """V of the discriminator with the logits a(x)."""
    return integral(P * row.T(a) - Q * row.F(a))


@each(DIVERGENCES)
def test_V_at_the_best_discriminator_is_the_divergence(row):
    assert V(row, best_logit(row)) == pytest.approx(divergence(row), rel=1e-9)
    assert divergence(row) > row.f(np.ones(1))[0] + .01


@each(DIVERGENCES)
@settings(max_examples=40, deadline=None)
@given(st.floats(-2, 2), st.floats(-3, 3), st.floats(-5, 5), st.floats(.2, 5))
def test_V_at_any_other_discriminator_is_at_most_the_divergence(row, constant, height, centre, width):
    a = best_logit(row) + constant + height * np.exp(-((X - centre) / width) ** 2)
    assert V(row, a) <= divergence(row) + 1e-9
    if abs(constant) > .1 and abs(height) < abs(constant) / 2 and row.name not in KINKED:
        assert V(row, a) < divergence(row) - 1e-5


@pytest.mark.parametrize("name, value, mu, sigma", [
    ("kl", .2831, 1.0100, 1.8308), ("reverse-kl", .2480, 1.5782, 1.6319),
    ("jensen-shannon", .1280, 1.3070, 1.7542), ("jeffrey", .5705, 1.3218, 1.7034),
    ("pearson", .6457, .5737, 1.9274)])
def test_the_rows_give_the_published_divergences_of_the_univariate_experiment(name, value, mu, sigma):
    """D_f(P||Q*) at the best mu* and sigma*, as Nowozin, Cseke, Tomioka 2016 print them.

    P is the mixture that reproduces all figures of their table.
    """
    p, q = .33 * normal(-1, .065) + .67 * normal(2, 2.0025), normal(mu, sigma ** 2)
    assert integral(q * OBJECTIVES[name].f(p / q)) == pytest.approx(value, abs=4e-4)


def test_the_gan_row_is_equation_1(xp):
    a = np.linspace(-20, 20, 81)
    D = 1 / (1 + np.exp(-a))
    for f, expected in ((GAN.T, np.log(D)), (GAN.F, -np.log(1 - D)), (GAN.dT, 1 - D), (GAN.dF, D),
                        (GAN.prob, D)):
        np.testing.assert_allclose(xp.asnumpy(f(xp.asarray(a))), expected, rtol=1e-6, atol=0)


def test_rows_that_are_shifts_scalings_or_limits_of_each_other_agree():
    a = np.linspace(-1.8, 6, 80)
    np.testing.assert_allclose(OBJECTIVES["jensen-shannon"].T(a) - GAN.T(a), math.log(2))
    np.testing.assert_allclose(OBJECTIVES["jensen-shannon"].F(a) - GAN.F(a), -math.log(2))
    np.testing.assert_allclose(alpha(2).F(a), OBJECTIVES["pearson"].F(2 * a) / 2, rtol=1e-12, atol=1e-15)
    near, kl = alpha(1 + 1e-6), OBJECTIVES["kl"]            # f'(1) is 0 for alpha, 1 for kl: T differs by 1
    np.testing.assert_allclose(near.F(a) + 1, kl.F(a + 1), rtol=1e-4)
    np.testing.assert_allclose(near.prob(a), kl.prob(a + 1), rtol=1e-4)


def test_alpha_names_its_row_and_refuses_numbers_that_are_not_above_1():
    assert alpha(2.5).name == "alpha 2.5"
    assert OBJECTIVES["alpha"].f(np.array(4.)) == alpha(1.5).f(np.array(4.))
    for wrong in (1, .5, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"alpha\(.*\): the row is written for alpha > 1"):
            alpha(wrong)


def test_the_general_f_objective_is_its_equation_for_increasing_f():
    """V = E_x[ f(D(x)) ] + E_z[ f(1 - D(G(z))) ]; and f = log gives the gan row."""
    a, b = np.linspace(-5, 5, 31), np.linspace(-4, 6, 31)
    Da, Db = 1 / (1 + np.exp(-a)), 1 / (1 + np.exp(-b))
    log = general("log", np.log, lambda D: 1 / D)
    root = general("root", np.sqrt, lambda D: .5 / np.sqrt(D))
    for f, row in ((lambda D: D, OBJECTIVES["lecture-wasserstein"]), (np.log, log), (np.sqrt, root)):
        V = row.T(a).mean() - row.F(b).mean()
        assert V == pytest.approx(f(Da).mean() + f(1 - Db).mean(), rel=1e-12)
        np.testing.assert_allclose(row.dT(a), (row.T(a + 1e-5) - row.T(a - 1e-5)) / 2e-5, rtol=1e-7)
        np.testing.assert_allclose(row.dF(a), (row.F(a + 1e-5) - row.F(a - 1e-5)) / 2e-5, rtol=1e-7)
    for function in FUNCTIONS:
        np.testing.assert_allclose(getattr(log, function)(a), getattr(GAN, function)(a), rtol=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 4e-16), ("float32", 3e-7)])
def test_log_lambert_has_full_precision_for_any_argument(dtype, tolerance):
    s = np.concatenate([-np.geomspace(1e-8, 1e6, 200), [0, 1], np.linspace(-5, 5, 400),
                        np.geomspace(1e-8, 1e30, 300)]).astype(dtype)
    v = log_lambert(s)
    assert v.dtype == dtype
    # the root of v + e^v = s, by bisection
    exact = np.minimum(s, np.log(np.maximum(s, 1))).astype(np.longdouble)
    low, high = exact - 1, exact
    for _ in range(80):
        exact = (low + high) / 2
        above = exact + np.exp(exact) > s
        low, high = np.where(above, low, exact), np.where(above, exact, high)
    assert (np.abs(v - exact) <= tolerance * np.maximum(np.abs(exact), 1)).all()
    assert log_lambert(np.ones(1))[0] == 0, "W(e) = 1"


def test_log_lambert_agrees_with_scipy():
    special = pytest.importorskip("scipy.special")
    s = np.linspace(-600, 600, 4001)
    np.testing.assert_allclose(np.exp(log_lambert(s)), special.wrightomega(s), rtol=2e-13)


# --- Numbers: dtypes, large logits, overflow --------------------------------------------------


@each(ROWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_keeps_the_dtype_and_gives_equal_values_in_float32_and_float64(xp, row, dtype):
    a = np.linspace(-6, 6, 49)
    losses = [functools.partial(g, loss=loss) for g in (row.J, row.dJ) for loss in GENERATOR_LOSSES]
    for f in (row.T, row.dT, row.F, row.dF, row.prob, *losses):
        y = f(xp.asarray(a.astype(dtype)))
        assert y.dtype == dtype and y.shape == a.shape
        np.testing.assert_allclose(xp.asnumpy(y), xp.asnumpy(f(xp.asarray(a))), rtol=2e-5, atol=2e-6)


@each([OBJECTIVES[name] for name in FINITE])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_without_a_bare_exponential_are_finite_for_every_logit_and_never_warn(row, dtype):
    largest = float(np.finfo(dtype).max)
    if row.name == "total-variation":
        largest /= 4                                                        # its functions compute 2 a
    a = np.array([-largest, -1e30, -1e4, -1000, -100, -1, 0, 1, 100, 1000, 1e4, 1e30, largest], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for function in FUNCTIONS:
            y = getattr(row, function)(a)
            assert np.isfinite(y).all() and y.dtype == dtype


OVERFLOWS = {                               # row: what overflows for a < -80, for a > 80
    "kl": ("", "F dF"), "reverse-kl": ("T dT", ""), "pearson": ("", ""), "neyman": ("T dT F dF", ""),
    "hellinger": ("T dT", "F dF"), "jeffrey": ("", "F dF"), "alpha": ("", "")}


@pytest.mark.parametrize("name", OVERFLOWS)
def test_the_other_rows_are_infinite_only_where_their_equation_overflows_and_never_nan(name):
    row, far = OBJECTIVES[name], np.geomspace(80, 1e4, 30)
    with np.errstate(over="ignore"):
        for a, overflows in zip((-far, far), OVERFLOWS[name]):
            for function in FUNCTIONS:
                y = getattr(row, function)(a.astype("float32"))
                assert not np.isnan(y).any(), function
                assert np.isfinite(y).all() == (function not in overflows.split()), (function, a[0])
    a = np.linspace(-80, 80, 321, dtype="float32")
    for function in FUNCTIONS:
        assert np.isfinite(getattr(row, function)(a)).all()


def test_values_near_0_keep_their_relative_precision():
    a = np.array([-100.])
    assert GAN.dF(a)[0] == pytest.approx(math.exp(-100), rel=1e-12)
    assert GAN.T(a)[0] == -100 and GAN.F(a)[0] == pytest.approx(math.exp(-100), rel=1e-12)
    assert OBJECTIVES["total-variation"].dT(a)[0] == pytest.approx(2 * math.exp(-200), rel=1e-12)
    for row in (OBJECTIVES[name] for name in ("pearson", "neyman", "hellinger", "total-variation")):
        slope = row.dF(np.zeros(1))[0]
        assert row.F(np.array([1e-12]))[0] == pytest.approx(slope * 1e-12, rel=1e-9, abs=0), row.name
    F, far = OBJECTIVES["jeffrey"].F, -np.geomspace(10, 1e6, 20)        # w + 1/w + t - 2 would cancel here
    np.testing.assert_allclose(F(far.astype("float32")), F(far), rtol=1e-6)


def test_pearson_and_alpha_give_a_minimax_g_no_slope_where_the_ratio_is_0():
    a = np.array([-2., -2.5, -100.])
    for row in (OBJECTIVES["pearson"], OBJECTIVES["alpha"]):
        assert (row.dF(a) == 0).all() and (row.F(a) == row.F(a[:1])).all() and (row.prob(a) == 0).all()


# --- In the game ------------------------------------------------------------------------------


@each([alpha(1.1), alpha(3.7), general("root", lambda D: backend.sqrt(D), lambda D: .5 / backend.sqrt(D))])
def test_rows_that_a_function_makes_pass_the_gradient_checks_of_the_table(row):
    found = [*gradcheck.check_objective(row), *gradcheck.check_steps(row)]
    assert len(found) == 9 and all(error <= gradcheck.TOLERANCE for *_, error in found)


def toy(objective, lr=.01, project=None):
    """(players, examples, sgd_d, sgd_g): the data are N(1, .5^2), and G(z) = b + w z."""
    G, D = Net([Linear(1, 1)], seed=0), Net([Linear(1, 8), Tanh(), Linear(8, 1)], seed=1)
    x = backend.asarray((1 + .5 * np.random.default_rng(0).standard_normal((256, 1))).astype("float32"))
    p = gan.Players(G, D, 32, objective, "minimax")
    return p, x, Momentum(D, lr, project=project), Momentum(G, lr)


@each(ROWS)
def test_both_players_step_on_the_device_without_a_host_read_and_in_their_dtype(device, row):
    p, x, sgd_d, sgd_g = toy(row)
    steps = gan.train(p, iter([x[:32]] * 9), Normal(), sgd_d, sgd_g, backend.default_rng(0), 9)
    next(steps)
    device.reset()
    records = list(steps)
    assert device.counts["host reads"] == device.counts["host writes"] == 0
    assert all(value.dtype == "float32" for record in records for value in record[1:])
    assert np.isfinite(backend.asnumpy(records[-1].V))


@pytest.mark.parametrize("name", ["kl", "hellinger", "reverse-kl", "neyman", "jeffrey"])
def test_an_overflow_ends_the_run_with_a_sentence_that_names_the_iteration(name):
    """After two iterations D's last bias is set to +-100, so V overflows at the third."""
    row, far = OBJECTIVES[name], -100 if name in ("reverse-kl", "neyman") else 100
    p, x, sgd_d, sgd_g = toy(row, lr=1e-6)
    state = fit.State()
    list(fit.fit(p, x, Normal(), sgd_d, sgd_g, state, seed=0, epochs=1, iterations=2, quiet=True))
    p.D.named_parameters()["2.b"][...] = far
    with pytest.raises(FloatingPointError, match=r"^iteration 3 \(epoch 1\): .*not finite"):
        list(fit.fit(p, x, Normal(), sgd_d, sgd_g, state, seed=0, epochs=1, quiet=True))


def test_V_of_a_clipped_critic_grows_with_the_distance_of_the_generator_from_the_data():
    """The earth mover's distance between N(1, .5^2) and N(b, .5^2) is |b - 1|.

    So a critic with Lipschitz constant L has V <= L |b - 1|.
    """
    V = []
    for b in (1., 2., 4.):
        p, x, sgd_d, _ = toy(OBJECTIVES["wasserstein"], lr=.05, project=Clip(.1))
        p.G.named_parameters()["0.W"][...], p.G.named_parameters()["0.b"][...] = .5, b
        for _ in range(200):
            z = backend.asarray(np.random.default_rng(1).standard_normal((32, 1)).astype("float32"))
            estimate, *_ = gan.discriminator_gradient(p, x[:32], z)
            sgd_d.ascend()
        assert float(backend.abs(p.D.theta).max()) <= .1 + 1e-7
        L = 8 * .1 * .1
        assert estimate <= L * (abs(b - 1) + .3)
        V.append(float(estimate))
    assert V[0] < .1 * V[1] and V[1] < V[2]
