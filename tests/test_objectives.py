"""The table of objectives, against the mathematics of f-divergences done numerically, and at
the far ends of a.
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
BOUNDED = ["gan", "jensen-shannon", "total-variation", "wasserstein", "lecture-wasserstein"]     # finite for every finite a
KINKED = ["total-variation", "lecture-wasserstein"]                                  # f has a kink at 1: T says no ratio, only a side


def each(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def test_the_table_has_every_objective_of_the_sources_under_its_own_name():
    assert set(OBJECTIVES) == {"gan", "kl", "reverse-kl", "pearson", "neyman", "hellinger", "jeffrey", "jensen-shannon", "total-variation",
                               "alpha", "wasserstein", "lecture-wasserstein"}
    assert all(row.name == name for name, row in OBJECTIVES.items())


# --- The mathematics -------------------------------------------------------------------------------------------------------


def supremum(f, t):
    """sup over u > 0 of u t - f(u), which is concave in u: ternary search over log u, on
    arrays.
    """
    low, high = np.full(t.shape, -60.), np.full(t.shape, 60.)
    for _ in range(150):
        a, b = (2 * low + high) / 3, (low + 2 * high) / 3
        left = [np.exp(s) * t - f(np.exp(s)) for s in (a, b)]
        right = left[0] < left[1]
        low, high = np.where(right, a, low), np.where(right, high, b)
    u = np.exp((low + high) / 2)
    return u * t - f(u)


@each(DIVERGENCES)
def test_f_of_a_is_the_convex_conjugate_at_t_of_a_by_a_numeric_supremum_over_positive_ratios(row):
    a = np.linspace(-6, 6, 97)
    expected = supremum(row.f, row.T(a))
    np.testing.assert_allclose(row.F(a), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(row.f_star(row.T(a)), expected, rtol=1e-9, atol=1e-9)


@each(ROWS)
def test_dt_and_df_are_the_slopes_of_t_and_f(row):
    a, h = np.linspace(-7, 7, 71) + 1e-3, 1e-5
    for f, df in ((row.T, row.dT), (row.F, row.dF)):
        np.testing.assert_allclose(df(a), (f(a + h) - f(a - h)) / (2 * h), rtol=1e-7, atol=1e-9)


@each(ROWS)
def test_t_increases_so_that_both_generator_losses_want_a_larger_a(row):
    a = np.linspace(-8, 8, 201)
    assert (np.diff(row.T(a)) > 0).all() and (row.dT(a) > 0).all() and (row.dF(a) >= 0).all()
    assert (row.dF(a[a > -.3]) > 0).all()
    for loss in GENERATOR_LOSSES:
        assert (np.diff(row.J(a, loss)) <= 0).all() and (row.dJ(a, loss) <= 0).all()
    np.testing.assert_array_equal(row.J(a, "minimax"), -row.F(a))
    np.testing.assert_array_equal(row.J(a, "non-saturating"), -row.T(a))


@each(DIVERGENCES)
def test_f_is_convex_with_its_slope_at_1_the_threshold(row):
    u, h = np.geomspace(.01, 20, 60), 1e-6
    middle = row.f((u[1:] + u[:-1]) / 2)
    assert (middle <= (row.f(u[1:]) + row.f(u[:-1])) / 2 + 1e-12).all()
    one = np.float64(1)
    assert (row.f(one + h) - row.f(one - h)) / (2 * h) == pytest.approx(row.threshold, abs=1e-8)
    assert row.f(one) == pytest.approx({"gan": -math.log(4), "lecture-wasserstein": 1}.get(row.name, 0), abs=1e-15)
    assert row.optimal_value == row.f(one) and OBJECTIVES["wasserstein"].optimal_value == 0


@each(DIVERGENCES)
def test_the_verdict_real_is_the_same_by_t_and_by_the_probability(row):
    a = np.linspace(-6, 6, 2401) + 1e-7
    np.testing.assert_array_equal(row.T(a) > row.threshold, row.prob(a) > .5)
    assert (row.T(a) > row.threshold).any() and (row.T(a) < row.threshold).any()
    assert ((0 <= row.prob(a)) & (row.prob(a) <= 1)).all() and (np.diff(row.prob(a)) >= 0).all()


@each([row for row in DIVERGENCES if row.name not in KINKED])
def test_t_is_the_slope_of_f_at_the_ratio_that_the_probability_says(row):
    a = np.linspace(-1.5, 4, 56)
    a = a[row.prob(a) > 0]
    assert len(a) > 40
    u, h = row.prob(a) / (1 - row.prob(a)), 1e-6
    np.testing.assert_allclose((row.f(u * (1 + h)) - row.f(u * (1 - h))) / (2 * h * u), row.T(a), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(row.dF(a), u * row.dT(a), rtol=1e-12)


X = np.linspace(-14, 14, 4001)
P = .33 * np.exp(-(X + 1) ** 2 / .5) / np.sqrt(.5 * np.pi) + .67 * np.exp(-(X - 2) ** 2 / 4) / np.sqrt(4 * np.pi)
Q = np.exp(-(X - 1) ** 2 / 5) / np.sqrt(5 * np.pi)


def integral(y):
    return float(np.sum(y) * (X[1] - X[0]))


def divergence(row):
    return integral(Q * row.f(P / Q))


@functools.cache
def best(row):
    """a at every x where dF = p/q dT, the maximum of p T(a) - q F(a), by bisection; the far
    ends for the rows that only know sides.
    """
    if row.name in KINKED:
        return 30 * np.sign(P - Q)
    low, high = np.full(X.shape, -1e9 if row.name == "jeffrey" else -600.), np.full(X.shape, 600.)     # Jeffrey's T is -q/p in the tails
    for _ in range(100):
        middle = (low + high) / 2
        beyond = Q * row.dF(middle) > P * row.dT(middle)
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return low


def V(row, a):
    return integral(P * row.T(a) - Q * row.F(a))


@each(DIVERGENCES)
def test_v_at_the_best_discriminator_is_the_divergence_by_quadrature(row):
    assert V(row, best(row)) == pytest.approx(divergence(row), rel=1e-9)
    assert divergence(row) > row.f(np.ones(1))[0] + .01


@each(DIVERGENCES)
@settings(max_examples=40, deadline=None)
@given(st.floats(-2, 2), st.floats(-3, 3), st.floats(-5, 5), st.floats(.2, 5))
def test_v_at_any_other_discriminator_is_at_most_the_divergence(row, constant, height, centre, width):
    a = best(row) + constant + height * np.exp(-((X - centre) / width) ** 2)
    assert V(row, a) <= divergence(row) + 1e-9
    if abs(constant) > .1 and abs(height) < abs(constant) / 2 and row.name not in KINKED:
        assert V(row, a) < divergence(row) - 1e-5


@pytest.mark.parametrize("name, value, mu, sigma", [
    ("kl", .2831, 1.0100, 1.8308), ("reverse-kl", .2480, 1.5782, 1.6319), ("jensen-shannon", .1280, 1.3070, 1.7542),
    ("jeffrey", .5705, 1.3218, 1.7034), ("pearson", .6457, .5737, 1.9274)])
def test_the_published_optima_of_the_univariate_experiment_come_out_of_the_rows(name, value, mu, sigma):
    """Nowozin, Cseke, Tomioka 2016: D_f(P, Q*) at their mu* and sigma*, P the mixture that
    reproduces all of them.
    """
    p = .33 * np.exp(-(X + 1) ** 2 / .13) / np.sqrt(.13 * np.pi) + .67 * np.exp(-(X - 2) ** 2 / 4.005) / np.sqrt(4.005 * np.pi)
    q = np.exp(-((X - mu) / sigma) ** 2 / 2) / np.sqrt(2 * np.pi) / sigma
    assert integral(q * OBJECTIVES[name].f(p / q)) == pytest.approx(value, abs=4e-4)


def test_the_gan_row_is_equation_1(xp):
    a = np.linspace(-20, 20, 81)
    D = 1 / (1 + np.exp(-a))
    for f, expected in ((GAN.T, np.log(D)), (GAN.F, -np.log(1 - D)), (GAN.dT, 1 - D), (GAN.dF, D), (GAN.prob, D)):
        np.testing.assert_allclose(xp.asnumpy(f(xp.asarray(a))), expected, rtol=1e-6, atol=0)


def test_neighbours_in_the_table_agree_where_they_must():
    a = np.linspace(-1.8, 6, 80)
    np.testing.assert_allclose(OBJECTIVES["jensen-shannon"].T(a) - GAN.T(a), math.log(2))
    np.testing.assert_allclose(OBJECTIVES["jensen-shannon"].F(a) - GAN.F(a), -math.log(2))
    np.testing.assert_allclose(alpha(2).F(a), OBJECTIVES["pearson"].F(2 * a) / 2, rtol=1e-12, atol=1e-15)
    near, kl = alpha(1 + 1e-6), OBJECTIVES["kl"]            # T differs by the constant that f'(1) = 1 adds to kl's
    np.testing.assert_allclose(near.F(a) + 1, kl.F(a + 1), rtol=1e-4)
    np.testing.assert_allclose(near.prob(a), kl.prob(a + 1), rtol=1e-4)


def test_alpha_names_itself_and_refuses_what_it_is_not_written_for():
    assert alpha(2.5).name == "alpha 2.5" and OBJECTIVES["alpha"].f(np.array(4.)) == alpha(1.5).f(np.array(4.))
    for wrong in (1, .5, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"alpha\(.*\): the row is written for alpha > 1"):
            alpha(wrong)


def test_the_lectures_general_objective_is_equation_1_of_the_lecture_for_any_increasing_f():
    a, b = np.linspace(-5, 5, 31), np.linspace(-4, 6, 31)
    Da, Db = 1 / (1 + np.exp(-a)), 1 / (1 + np.exp(-b))
    log = general("log", np.log, lambda D: 1 / D)
    root = general("root", np.sqrt, lambda D: .5 / np.sqrt(D))
    for f, row in ((lambda D: D, OBJECTIVES["lecture-wasserstein"]), (np.log, log), (np.sqrt, root)):
        assert row.T(a).mean() - row.F(b).mean() == pytest.approx(f(Da).mean() + f(1 - Db).mean(), rel=1e-12)
        np.testing.assert_allclose(row.dT(a), (row.T(a + 1e-5) - row.T(a - 1e-5)) / 2e-5, rtol=1e-7)
        np.testing.assert_allclose(row.dF(a), (row.F(a + 1e-5) - row.F(a - 1e-5)) / 2e-5, rtol=1e-7)
    for ours, theirs in ((log.T, GAN.T), (log.F, GAN.F), (log.dT, GAN.dT), (log.dF, GAN.dF), (log.prob, GAN.prob)):
        np.testing.assert_allclose(ours(a), theirs(a), rtol=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 4e-16), ("float32", 3e-7)])
def test_lamberts_w_to_full_precision_for_any_argument(dtype, tolerance):
    s = np.concatenate([-np.geomspace(1e-8, 1e6, 200), [0, 1], np.linspace(-5, 5, 400), np.geomspace(1e-8, 1e30, 300)]).astype(dtype)
    v = log_lambert(s)
    assert v.dtype == dtype
    exact = np.minimum(s, np.log(np.maximum(s, 1))).astype(np.longdouble)                       # bisection: v + e^v = s
    low, high = exact - 1, exact
    for _ in range(80):
        exact = (low + high) / 2
        above = exact + np.exp(exact) > s
        low, high = np.where(above, low, exact), np.where(above, exact, high)
    assert (np.abs(v - exact) <= tolerance * np.maximum(np.abs(exact), 1)).all()
    assert log_lambert(np.ones(1))[0] == 0, "W(e) = 1"


def test_lamberts_w_against_scipy():
    special = pytest.importorskip("scipy.special")
    s = np.linspace(-600, 600, 4001)
    np.testing.assert_allclose(np.exp(log_lambert(s)), special.wrightomega(s), rtol=2e-13)


# --- Numbers: dtypes, far ends, overflow -----------------------------------------------------------------------------------


@each(ROWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_keeps_the_dtype_and_its_functions_of_float32_are_those_of_float64(xp, row, dtype):
    a = np.linspace(-6, 6, 49)
    losses = [functools.partial(g, loss=loss) for g in (row.J, row.dJ) for loss in GENERATOR_LOSSES]
    for f in (row.T, row.dT, row.F, row.dF, row.prob, *losses):
        y = f(xp.asarray(a.astype(dtype)))
        assert y.dtype == dtype and y.shape == a.shape
        np.testing.assert_allclose(xp.asnumpy(y), xp.asnumpy(f(xp.asarray(a))), rtol=2e-5, atol=2e-6)


@each([OBJECTIVES[name] for name in BOUNDED])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_rows_without_a_bare_exponential_are_finite_for_every_logit_and_warn_of_nothing(row, dtype):
    largest = float(np.finfo(dtype).max)
    a = np.array([-largest, -1e30, -1e4, -1000, -100, -1, 0, 1, 100, 1000, 1e4, 1e30, largest], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for f in (row.T, row.dT, row.F, row.dF, row.prob):
            if row.name == "total-variation":
                a = np.clip(a, -largest / 4, largest / 4)                   # 2 a is to be a number too
            assert np.isfinite(f(a)).all() and f(a).dtype == dtype


FAR = {                                     # row: what is finite for a < -80, for a > 80
    "kl": ("T dT F dF prob", "T dT prob"), "reverse-kl": ("F dF prob", "T dT F dF prob"), "pearson": ("T dT F dF prob", "T dT F dF prob"),
    "neyman": ("prob", "T dT F dF prob"), "hellinger": ("F dF prob", "T dT prob"), "jeffrey": ("T dT F dF prob", "T dT prob"),
    "alpha": ("T dT F dF prob", "T dT F dF prob")}


@pytest.mark.parametrize("name", FAR)
def test_the_other_rows_are_finite_but_where_their_equation_overflows_and_never_nan(name):
    row = OBJECTIVES[name]
    with np.errstate(over="ignore"):
        for a, finite in zip((np.geomspace(80, 1e4, 30), -np.geomspace(80, 1e4, 30)), reversed(FAR[name])):
            for function in ("T", "dT", "F", "dF", "prob"):
                y = getattr(row, function)(a.astype("float32"))
                assert not np.isnan(y).any(), function
                assert np.isfinite(y).all() == (function in finite.split()), (function, a[0])
    a = np.linspace(-80, 80, 321, dtype="float32")
    for function in ("T", "dT", "F", "dF", "prob"):
        assert np.isfinite(getattr(row, function)(a)).all()


def test_a_sure_discriminator_keeps_its_relative_precision():
    a = np.array([-100.])
    assert GAN.dF(a)[0] == pytest.approx(math.exp(-100), rel=1e-12)
    assert GAN.T(a)[0] == -100 and GAN.F(a)[0] == pytest.approx(math.exp(-100), rel=1e-12)
    assert OBJECTIVES["total-variation"].dT(a)[0] == pytest.approx(2 * math.exp(-200), rel=1e-12)
    small = np.array([1e-12])
    for row in (OBJECTIVES[name] for name in ("pearson", "neyman", "hellinger", "total-variation")):
        assert row.F(small)[0] == pytest.approx(row.dF(np.zeros(1))[0] * 1e-12, rel=1e-9, abs=0), row.name
    far = -np.geomspace(10, 1e6, 20)                    # where w + 1/w + t - 2 would leave F's digits to cancel
    np.testing.assert_allclose(OBJECTIVES["jeffrey"].F(far.astype("float32")), OBJECTIVES["jeffrey"].F(far), rtol=1e-6)


def test_below_pearsons_smallest_ratio_g_is_not_sent_away_from_the_data():
    a = np.array([-2., -2.5, -100.])
    for row in (OBJECTIVES["pearson"], OBJECTIVES["alpha"]):
        assert (row.dF(a) == 0).all() and (row.F(a) == row.F(a[:1])).all() and (row.prob(a) == 0).all()


# --- In the game -----------------------------------------------------------------------------------------------------------


@each([alpha(1.1), alpha(3.7), general("root", lambda D: backend.sqrt(D), lambda D: .5 / backend.sqrt(D))])
def test_rows_that_are_made_by_a_function_pass_the_gradient_checks_of_the_table(row):
    found = [*gradcheck.check_objective(row), *gradcheck.check_steps(row)]
    assert len(found) == 9 and all(error <= gradcheck.TOLERANCE for *_, error in found)


def toy(objective, dtype="float32", rate=.01, project=None):
    """One number: N(1, .5^2) against G(z) = b + w z."""
    G, D = Net([Linear(1, 1)], dtype, 0), Net([Linear(1, 8), Tanh(), Linear(8, 1)], dtype, 1)
    x = backend.asarray((1 + .5 * np.random.default_rng(0).standard_normal((256, 1))).astype(dtype))
    return gan.Players(G, D, 32, objective, "minimax"), x, Momentum(D, rate, project=project), Momentum(G, rate)


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
def test_an_exponential_that_overflows_stops_the_run_with_a_sentence_that_names_the_iteration(name):
    """D's last bias alone puts a where the row overflows: V is infinite, or not a number, at
    the third iteration.
    """
    row, far = OBJECTIVES[name], -100 if name in ("reverse-kl", "neyman") else 100
    p, x, sgd_d, sgd_g = toy(row, rate=1e-6)
    state = fit.State()
    for state in fit.fit(p, x, Normal(), sgd_d, sgd_g, state, seed=0, epochs=1, iterations=2, quiet=True):
        pass
    p.D.named_parameters()["2.b"][...] = far
    with pytest.raises(FloatingPointError, match=r"^iteration 3 \(epoch 1\): .*not finite"):
        for _ in fit.fit(p, x, Normal(), sgd_d, sgd_g, state, seed=0, epochs=1, quiet=True):
            pass


def test_clipped_critics_estimate_a_distance_that_grows_with_the_generators():
    """Between N(1, .5^2) and N(b, .5^2) the earth mover's distance is |b - 1|: a critic of
    Lipschitz constant <= L has V <= L |b - 1|.
    """
    V = []
    for b in (1., 2., 4.):
        p, x, sgd_d, _ = toy(OBJECTIVES["wasserstein"], rate=.05, project=Clip(.1))
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
