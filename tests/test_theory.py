"""Each theorem against an oracle that does not use the theorem.

The oracles are numerical maxima, quadrature, finite differences, and decimals of 60 digits.
"""

import decimal
import functools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npgan import theory

LOG4 = math.log(4)
X = np.arange(-16, 26, .01)                                     # wide enough for N(0, 1) and N(10, 1)
quickly = settings(deadline=None, max_examples=25,
                   suppress_health_check=[HealthCheck.function_scoped_fixture])


def normal(x, mean, sigma=1.):
    return np.exp(-.5 * ((x - mean) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def mixture(x):
    return .33 * normal(x, -1, .065 ** .5) + .67 * normal(x, 2, 2.0025 ** .5)


@st.composite
def pairs(draw, most=12):
    """Two distributions over the same outcomes, with zeros and with tails of any size."""
    n = draw(st.integers(2, most))
    weight = st.one_of(st.just(0.), st.floats(.01, 1), st.floats(-300, 0).map(lambda e: 10 ** e))
    weights = [draw(st.lists(weight, min_size=n, max_size=n).filter(lambda w: sum(w) > 1e-2)) for _ in "pq"]
    return [np.array(w) / sum(w) for w in weights]


def exact_kl(p, q):
    """KL of exactly the numbers in p and q, with 60 digits."""
    with decimal.localcontext(decimal.Context(prec=60)):
        p, q = ([decimal.Decimal(float(x)) for x in a.ravel()] for a in (p, q))
        return sum((a * (a / b).ln() for a, b in zip(p, q) if a), decimal.Decimal(0)) + sum(q) - sum(p)


def exact_jsd(p, q):
    with decimal.localcontext(decimal.Context(prec=60)):
        p, q = ([decimal.Decimal(float(x)) for x in a.ravel()] for a in (p, q))
        return sum(a * (2 * a / (a + b)).ln() / 2 for pq in zip(p, q) for a, b in (pq, pq[::-1]) if a)


# Proposition 1

@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
@quickly
def test_a_log_y_plus_b_log_1_minus_y_peaks_at_a_over_a_plus_b(xp, a, b):
    def f(y):
        return a * math.log(y) + b * math.log(1 - y)
    low, high, golden = 0., 1., (math.sqrt(5) - 1) / 2
    for _ in range(80):                                         # golden section: uses only values of f
        y1, y2 = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, y2) if f(y1) > f(y2) else (y1, high)
    D = float(theory.optimal_discriminator([a], [b])[0])
    assert D == pytest.approx(a / (a + b), rel=1e-15, abs=0)
    assert D == pytest.approx(low, rel=1e-6, abs=1e-9)


def test_gradient_ascent_on_v_finds_the_optimal_d_and_the_criterion(xp):
    rng = np.random.default_rng(0)
    p_data, p_g = rng.dirichlet(np.ones(7)), rng.dirichlet(np.ones(7))
    a = np.zeros(7)                                             # D's logits
    for _ in range(20_000):
        D = 1 / (1 + np.exp(-a))
        a += 10 * (p_data * (1 - D) - p_g * D)
    on_device = [xp.asarray(p) for p in (p_data, p_g)]
    np.testing.assert_allclose(xp.asnumpy(theory.optimal_discriminator(*on_device)), D, rtol=1e-9)
    V = (p_data * np.log(D) + p_g * np.log(1 - D)).sum()
    assert theory.criterion(*on_device) == pytest.approx(V, abs=1e-12)


@given(pairs(), st.integers(0, 2 ** 32))
@quickly
def test_no_other_d_has_a_larger_v(xp, pq, seed):
    p_data, p_g = map(xp.asarray, pq)
    D = np.random.default_rng(seed).random(len(pq[0]))
    C = theory.criterion(p_data, p_g)
    assert theory.value(xp.asarray(D), p_data, p_g) <= C + 1e-12
    best = theory.optimal_discriminator(p_data, p_g)
    assert theory.value(best, p_data, p_g) == C
    for step in 1e-3, -1e-3:
        assert theory.value(xp.clip(best + step, 0, 1), p_data, p_g) <= C + 1e-12


def test_v_is_the_sum_of_equation_1_over_any_grid(xp):
    rng = np.random.default_rng(1)
    D, p_data, p_g, dx = rng.uniform(.1, .9, (3, 4)), *rng.random((3, 3, 4))
    p_data, p_g = p_data / (p_data * dx).sum(), p_g / (p_g * dx).sum()
    V = sum(dx[i] * (p_data[i] * math.log(D[i]) + p_g[i] * math.log(1 - D[i])) for i in np.ndindex(3, 4))

    def value(D):
        return theory.value(*map(xp.asarray, (D, p_data, p_g, dx)))
    assert value(D) == pytest.approx(V, rel=1e-13, abs=0)
    D = np.float32(D)
    assert value(D) == value(D.astype(float)) != V


def test_where_both_densities_are_zero_d_is_one_half_and_a_certain_d_costs_nothing_where_it_is_right(xp):
    D = theory.optimal_discriminator([.5, .5, 0, 0], [0, 0, 1, 0])
    assert xp.asnumpy(D).tolist() == [1, 1, 0, .5]
    assert theory.value([1., 0], [1., 0], [0., 1]) == 0
    assert theory.value([0., 0], [1., 0], [0., 1]) == theory.value([1., 1], [1., 0], [0., 1]) == -math.inf


def test_the_optimal_d_keeps_its_type_and_is_below_1_wherever_examples_are_generated(xp):
    for dtype in "float32", "float64":
        D = theory.optimal_discriminator(xp.asarray([1, 1], dtype), xp.asarray([1e-30, 0], dtype))
        assert type(D) is type(xp.zeros(1)) and D.dtype == dtype
        below_1 = np.nextafter(np.array(1, dtype), np.array(0, dtype))
        assert xp.asnumpy(D)[0] == below_1 and xp.asnumpy(D)[1] == 1


def test_v_of_the_optimal_d_and_c_are_finite_where_d_underflows(xp):
    x = np.linspace(-9, 40, 49_001)
    p, q = normal(x, 0, 1), normal(x, 38.5, .05)
    for a, b in (p, q), (q, p):
        assert theory.criterion(a, b, .001) == pytest.approx(2 * theory.jsd(a, b, .001) - LOG4, abs=1e-12)
    p, q = (xp.asarray(normal(x, mean, sd).astype("float32")) for mean, sd in ((0, 1), (14.3, .05)))
    V = theory.value(theory.optimal_discriminator(p, q), p, q, .001)
    assert V == pytest.approx(theory.criterion(p, q, .001), abs=1e-6)


# Theorem 1: C(G) = -log 4 + 2 JSD, and its minimum

points_and_weights = functools.cache(np.polynomial.legendre.leggauss)


def legendre(f, low=-16, high=26):
    """The integral of f by Gauss-Legendre, on points that no grid in these tests uses."""
    x, w = points_and_weights(1200)
    return (high - low) / 2 * (w * f(low + (high - low) / 2 * (x + 1))).sum()


def gaussian(mean, sigma=1.):
    return lambda x: normal(x, mean, sigma)


@pytest.mark.parametrize("p, q", [
    (gaussian(0), gaussian(1)), (gaussian(0), gaussian(4, .7)), (mixture, gaussian(1, 2))])
def test_c_is_minus_log_4_plus_2_jsd_by_independent_quadrature(xp, p, q):
    jsd = sum(legendre(lambda x: .5 * a(x) * np.log(2 * a(x) / (p(x) + q(x)))) for a in (p, q))
    kl = legendre(lambda x: p(x) * (np.log(p(x)) - np.log(q(x))))
    on_grid = xp.asarray(p(X)), xp.asarray(q(X)), .01
    assert theory.criterion(*on_grid) == pytest.approx(-LOG4 + 2 * jsd, abs=1e-10)
    assert theory.jsd(*on_grid) == pytest.approx(jsd, abs=1e-10)
    assert theory.kl(*on_grid) == pytest.approx(kl, rel=1e-10, abs=0)


def test_c_is_minus_log_4_plus_2_jsd_in_two_dimensions_and_with_quadrature_weights(xp):
    x, w = np.polynomial.legendre.leggauss(80)
    x, w = 9 * x, 9 * w
    p, q = np.outer(normal(x, 0), normal(x, 0)), np.outer(normal(x, 1), normal(x, -.5, 1.2))
    jsd = (np.outer(w, w) * (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q)))).sum() / 2
    x = np.arange(-9, 9, .05)
    grid = [xp.asarray(np.outer(*marginals)) for marginals in
            ((normal(x, 0), normal(x, 0)), (normal(x, 1), normal(x, -.5, 1.2)))]
    weighted = xp.asarray(p), xp.asarray(q), xp.asarray(np.outer(w, w))
    for arguments in (*grid, .05 ** 2), weighted:
        assert theory.criterion(*arguments) == pytest.approx(-LOG4 + 2 * jsd, abs=1e-10)
        assert theory.jsd(*arguments) == pytest.approx(jsd, abs=1e-10)


@given(pairs())
@quickly
def test_c_is_minus_log_4_plus_2_jsd_for_any_two_distributions(xp, pq):
    p, q = map(xp.asarray, pq)
    C, jsd, distance = theory.criterion(p, q), float(exact_jsd(*pq)), np.abs(pq[0] - pq[1]).sum()
    assert type(C) is float
    assert C == pytest.approx(-LOG4 + 2 * jsd, abs=1e-13)
    assert theory.jsd(p, q) == theory.jsd(q, p) == pytest.approx(jsd, rel=1e-11, abs=1e-40)
    # Both bounds are -log 4 only at p_g = p_data, so C is -log 4 only there.
    assert -LOG4 + distance ** 2 / 4 - 1e-13 <= C <= -LOG4 + distance * math.log(2) + 1e-13


def test_the_minimum_is_minus_log_4_at_p_data_and_the_upper_limit_0_where_supports_do_not_meet(xp):
    p = xp.asarray(normal(X, 0))
    assert theory.criterion(p, p, .01) == pytest.approx(-LOG4, abs=1e-13)
    assert theory.jsd(p, p, .01) == theory.kl(p, p, .01) == 0
    C = [theory.criterion(p, xp.asarray(normal(X, theta)), .01) for theta in (0, 1e-3, .01, .1, 1, 10)]
    assert C == sorted(C) and C[1] - C[0] > 1e-7                # 2 JSD is theta^2 / 4 for small theta
    apart = [.25, .75, 0, 0], [0, 0, .5, .5]
    assert theory.criterion(*apart) == 0
    assert theory.jsd(*apart) == pytest.approx(math.log(2), rel=1e-15, abs=0)


# The divergences, to the last digits

@given(pairs())
@quickly
def test_kl_is_exact_and_infinite_where_q_is_0_and_p_is_not(xp, pq):
    p, q = pq
    ours = theory.kl(*map(xp.asarray, pq))
    if ((q == 0) & (p > 0)).any():
        assert ours == math.inf
    else:
        assert ours == pytest.approx(float(exact_kl(p, q)), rel=1e-11, abs=1e-40)


@pytest.mark.parametrize("e", [.3, .049, .03, 1e-3, 1e-6, 1e-9, 1e-12])
def test_kl_and_jsd_keep_their_digits_when_the_densities_nearly_agree(xp, e):
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(50))
    q = p * (1 + e * rng.uniform(-1, 1, 50))
    q /= q.sum()
    assert theory.kl(xp.asarray(p), xp.asarray(q)) == pytest.approx(float(exact_kl(p, q)), rel=1e-12, abs=0)
    assert theory.jsd(xp.asarray(p), xp.asarray(q)) == pytest.approx(float(exact_jsd(p, q)), rel=1e-12, abs=0)


@pytest.mark.parametrize("e", [.0499, -.0499, .0999, -.0999])
def test_the_series_that_takes_the_logarithm_s_place_has_all_its_digits_where_it_begins(xp, e):
    p = np.array([.02, .98])                            # with equal probabilities the odd powers cancel
    q = p + .02 * e * np.array([1, -1])
    if abs(e) < .05:
        kl = theory.kl(xp.asarray(p), xp.asarray(q))
        assert kl == pytest.approx(float(exact_kl(p, q)), rel=3e-14, abs=0)
    jsd = theory.jsd(xp.asarray(q), xp.asarray(p))
    assert jsd == pytest.approx(float(exact_jsd(q, p)), rel=3e-14, abs=0)


def test_tails_that_underflow_change_nothing(xp):
    x = np.arange(-45, 45, .01)                                 # exp(-45^2 / 2) is 0
    p, q = normal(x, -3), normal(x, 3)
    assert p[-1] == q[0] == 0
    C, jsd = (f(xp.asarray(p), xp.asarray(q), .01) for f in (theory.criterion, theory.jsd))
    assert C == pytest.approx(-LOG4 + 2 * theory.jsd(p, q, .01), abs=1e-12)
    inside = np.arange(-16, 16, .01)
    narrower = theory.jsd(normal(inside, -3), normal(inside, 3), .01)
    assert jsd == pytest.approx(narrower, rel=1e-12, abs=0)
    assert theory.kl([1., 0], [1., 5e-324]) == 5e-324 and theory.jsd([1., 0], [1., 5e-324]) >= 0
    assert theory.kl([1 - 1e-16, 1e-300], [1., 5e-324]) < 1e-15


@pytest.mark.parametrize("theta, sigma", [(1, 1), (3, 1), (0, 2), (1, .5)])
def test_kl_of_two_gaussians_is_the_closed_form(xp, theta, sigma):
    closed = -math.log(sigma) + (sigma ** 2 + theta ** 2 - 1) / 2
    kl = theory.kl(xp.asarray(normal(X, theta, sigma)), xp.asarray(normal(X, 0)), .01)
    assert kl == pytest.approx(closed, rel=1e-11, abs=0)


def test_float32_densities_are_taken_for_what_they_are(xp):
    p, q = normal(X, 0).astype("float32"), normal(X, .5).astype("float32")
    jsd = theory.jsd(normal(X, 0), normal(X, .5), .01)
    assert theory.jsd(xp.asarray(p), xp.asarray(q), .01) == pytest.approx(jsd, rel=1e-6, abs=0)
    assert theory.criterion(xp.asarray(p), xp.asarray(q), .01) == pytest.approx(-LOG4 + 2 * jsd, abs=1e-6)
    p, q = xp.asarray([.5, .50008], "float32"), xp.asarray([.5, .5], "float32")
    for f in (theory.kl, theory.jsd, theory.criterion, lambda p, q: theory.value(p, p, q),
              lambda p, q: next(theory.descend(p, q, 1))):
        f(p, q)                                         # p sums to 1.00008, which float64 would not allow


# What is refused

good, half = [.25, .75], [.5, .5]


@pytest.mark.parametrize("call, words", [
    (lambda: theory.jsd([.5, .6], half), "p: expected to integrate to 1, got 1.1"),
    (lambda: theory.kl(half, [.5, .500002]), "q: expected to integrate to 1, got 1.000002"),
    (lambda: theory.criterion(normal(X, 0), normal(X, 1)), "p_data: expected to integrate to 1, got 100"),
    (lambda: theory.criterion(np.float32([.5, .5005]), np.float32(half)),
     "p_data: expected to integrate to 1"),
    (lambda: theory.criterion([], []), "p_data: expected to integrate to 1, got 0"),
    (lambda: theory.kl([1e300, 1e300], half, 1e10), "p: expected to integrate to 1, got inf"),
    (lambda: theory.optimal_discriminator([-.1, 1.1], half),
     "p_data: expected finite values >= 0, got -0.1 to 1.1"),
    (lambda: theory.jsd(half, [math.nan, 1]), "q: expected finite values >= 0"),
    (lambda: theory.jsd(half, [math.inf, 1]), "q: expected finite values >= 0"),
    (lambda: theory.optimal_discriminator(half, [[.5, .5]]),
     r"p_g: expected shape \(2,\), that of p_data, got \(1, 2\)"),
    (lambda: theory.value([.5], half, half), r"D: expected shape \(2,\)"),
    (lambda: theory.value([.5, 1.1], half, half), r"D: expected probabilities, in \[0, 1\], got 0.5 to 1.1"),
    (lambda: theory.value([.5, math.nan], half, half), "D: holds values that are not finite"),
    (lambda: theory.value([-.5, .5], half, half), "D: expected probabilities"),
    (lambda: theory.jsd(half, half, 0), "dx: expected positive, finite cells, got 0.0 to 0.0"),
    (lambda: theory.jsd(half, half, math.nan), "dx: expected positive"),
    (lambda: theory.jsd(half, half, [1, -1]), "dx: expected positive, finite cells, got -1.0 to 1.0"),
    (lambda: theory.jsd(half, half, [1, 1, 1]),
     r"dx: expected a number or weights of shape \(2,\), got shape \(3,\)"),
    (lambda: theory.minimax_gradient(half, half, [1, -1, 0]), r"dp_g: expected shape \(2,\)"),
    (lambda: theory.minimax_gradient(half, half, [1, math.inf]), "dp_g: holds values that are not finite"),
    (lambda: theory.minimax_gradient(half, half, [1, -.9]), "dp_g: expected to integrate to 0, got 0.1"),
    (lambda: theory.minimax_gradient(half, [1, 0], [-1, 1]), "dp_g: is not 0 everywhere that p_g is"),
    (lambda: theory.nonsaturating_gradient([1, 0], half, [-1, 1]),
     "dp_g: is not 0 everywhere that p_data is"),
    (lambda: next(theory.descend(half, [1, 0], 1)), "p_g: is 0 where p_data is not"),
    (lambda: next(theory.descend(half, good, 1, rate=1.5)), "rate: expected 0 < rate <= 1"),
    (lambda: next(theory.descend(half, good, 1, rate=0)), "rate: expected 0 < rate <= 1"),
    (lambda: next(theory.descend(half, [.5, .6], 1)), "p_g: expected to integrate to 1"),
    (lambda: theory.vanishing_bound(1, 1), "M, eps: expected"),
    (lambda: theory.vanishing_bound(-1, .1), "M, eps: expected"),
    (lambda: theory.wasserstein_bound(1, 1, -1e-3), "V, C, jsd: expected"),
    (lambda: theory.wasserstein_bound(1, math.inf, .1), "V, C, jsd: expected"),
])
def test_a_wrong_argument_is_one_sentence_that_names_it(xp, call, words):
    with pytest.raises(ValueError, match=words) as e, np.errstate(over="ignore"):
        call()
    assert "\n" not in str(e.value)


# Proposition 2

@given(pairs(), st.integers(0, 2 ** 32))
@quickly
def test_the_gradient_of_the_supremum_is_that_of_the_v_that_attains_it(xp, pq, seed):
    p_data, p_g = (.9 * p + .1 / len(p) for p in pq)
    direction = np.random.default_rng(seed).standard_normal(len(p_g))
    direction -= direction.mean()
    h = 1e-4 * p_g.min() / np.abs(direction).max()
    above, below = (theory.criterion(p_data, p_g + step * direction) for step in (h, -h))
    difference = (above - below) / (2 * h)
    D = theory.optimal_discriminator(p_data, p_g)
    assert (direction * np.log(1 - xp.asnumpy(D))).sum() == pytest.approx(difference, abs=1e-13 / h + 1e-7)
    assert theory.minimax_gradient(p_data, p_g, direction) == pytest.approx(difference, abs=1e-13 / h + 1e-7)


@given(pairs(), st.integers(0, 2 ** 32), st.floats(0, 1))
@quickly
def test_c_is_convex_in_p_g(xp, pq, seed, t):
    p_data, a = pq
    b = np.random.default_rng(seed).dirichlet(np.ones(len(a)))
    between = theory.criterion(*map(xp.asarray, (p_data, t * a + (1 - t) * b)))
    assert between <= t * theory.criterion(p_data, a) + (1 - t) * theory.criterion(p_data, b) + 1e-12


@pytest.mark.parametrize("rate", [.1, .7, 1.])
def test_a_step_descends_the_gradient_at_the_optimal_d_and_normalises(xp, rate):
    p_data, p_g = np.array([.7, .2, .1, 0]), np.array([.1, .1, .7, .1])
    D = p_data / (p_data + p_g)
    expected = p_g * np.exp(-rate * np.log(1 - D))
    step, = theory.descend(xp.asarray(p_data), xp.asarray(p_g), 1, rate)
    np.testing.assert_allclose(xp.asnumpy(step), expected / expected.sum(), rtol=1e-14)
    if rate == 1:
        np.testing.assert_allclose(xp.asnumpy(step), (p_data + p_g) / 2, rtol=1e-14)


@given(pairs(), st.floats(.01, 1))
@quickly
def test_c_never_rises_from_any_interior_start(xp, pq, rate):
    p_data, p_g = pq
    p_g = p_g + (p_g == 0) * 1e-200
    run = [p_g, *map(xp.asnumpy, theory.descend(*map(xp.asarray, (p_data, p_g)), 10, rate))]
    jsd = [theory.jsd(xp.asarray(p_data), xp.asarray(p)) for p in run]
    assert all(after <= before * (1 + 1e-9) + 1e-30 for before, after in zip(jsd, jsd[1:]))
    assert all(abs(p.sum() - 1) < 1e-14 for p in run[1:])


@given(pairs())
@quickly
def test_p_g_converges_to_p_data_from_any_interior_start(xp, pq):
    p_data, p_g = pq
    *_, last = theory.descend(xp.asarray(p_data), xp.asarray(p_g + (p_g == 0) * 1e-12), 60)
    np.testing.assert_allclose(xp.asnumpy(last), p_data, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rate", [.1, .5, 1.])
def test_near_its_end_c_falls_by_the_square_of_1_minus_rate_over_2_a_step(xp, rate):
    rng = np.random.default_rng(3)
    p_data, p_g = rng.dirichlet(np.ones(20)), rng.dirichlet(np.ones(20))
    excess = [theory.jsd(p_data, xp.asnumpy(p)) for p in theory.descend(p_data, p_g, int(22 / rate), rate)]
    measured = (excess[-1] / excess[-6]) ** (1 / 5)
    assert measured == pytest.approx((1 - rate / 2) ** 2, rel=1e-3, abs=0)


@pytest.mark.parametrize("rate", [.2, 1.])
def test_where_there_is_no_data_p_g_falls_by_2_to_the_minus_rate_a_step(xp, rate):
    p_data = [.7, .3, 0]
    *_, before, after = theory.descend(p_data, [.1, .2, .7], int(30 / rate), rate)
    assert float(after[2] / before[2]) == pytest.approx(2 ** -rate, rel=1e-5)
    assert theory.jsd(p_data, after) / theory.jsd(p_data, before) == pytest.approx(2 ** -rate, rel=1e-5)


def test_proposition_2_holds_for_a_density_on_a_grid_and_in_float32(xp):
    p_data, p_g = (xp.asarray(p.astype("float32")) for p in (mixture(X), normal(X, 1, 3)))
    *_, last = theory.descend(p_data, p_g, 30, dx=.01)
    assert last.dtype == "float32"
    assert theory.jsd(p_data, last, .01) < 1e-12


def test_no_step_of_proposition_2_waits_for_the_device(device):
    p = theory.descend(device.asarray([.5, .5]), device.asarray([.1, .9]), 4)
    next(p)
    device.reset()
    assert len(list(p)) == 3 and device.counts["host reads"] == 0 and device.counts["operations"] > 0


# Arjovsky and Bottou 2017

@pytest.mark.parametrize("theta, nonsaturating, minimax, digits", [
    (.5, .26474, .23526, 5e-6), (1, .60203, .39797, 5e-6),
    (2, 1.55040, .44960, 5e-6), (4, 3.86281, .13720, 6e-6),
    (6, 5.99, .01245, 5e-3), (8, 8.00, 3.93e-4, 5e-3), (10, 10.00, 4.46e-6, 5e-3)])
def test_the_two_gradients_of_the_generator_have_the_known_values(xp, theta, nonsaturating, minimax, digits):
    p_g = normal(X, theta)
    arguments = [xp.asarray(a) for a in (normal(X, 0), p_g, (X - theta) * p_g)]
    assert theory.nonsaturating_gradient(*arguments, .01) == pytest.approx(nonsaturating, abs=digits)
    tolerance = {"abs": digits, "rel": 0} if theta < 6 else {"rel": 2e-3, "abs": 0}
    assert theory.minimax_gradient(*arguments, .01) == pytest.approx(minimax, **tolerance)


@pytest.mark.parametrize("theta", [.5, 1, 2, 4, 6])
def test_log_d_gives_the_derivative_of_kl_minus_2_jsd_and_minimax_that_of_2_jsd(xp, theta):
    def derivative(divergence, h=1e-4):
        return (divergence(theta + h) - divergence(theta - h)) / (2 * h)

    p_data, p_g = xp.asarray(mixture(X)), normal(X, theta, 1.5)
    kl = derivative(lambda t: theory.kl(xp.asarray(normal(X, t, 1.5)), p_data, .01))
    jsd = derivative(lambda t: theory.jsd(p_data, xp.asarray(normal(X, t, 1.5)), .01))
    dp_g = (X - theta) / 1.5 ** 2 * p_g
    arguments = p_data, xp.asarray(p_g), xp.asarray(dp_g), .01
    assert theory.nonsaturating_gradient(*arguments) == pytest.approx(kl - 2 * jsd, rel=1e-7, abs=0)
    assert theory.minimax_gradient(*arguments) == pytest.approx(2 * jsd, rel=1e-7, abs=0)


def test_the_minimax_gradient_vanishes_and_that_of_log_d_grows_also_where_d_underflows(xp):
    x = np.arange(-9, 39, .01)
    minimax, nonsaturating = [], []
    for theta in (6, 12, 24, 30):                   # at x = 39, log D* is below -750 and D* underflows to 0
        p_g = normal(x, theta)
        arguments = [xp.asarray(a) for a in (normal(x, 0), p_g, (x - theta) * p_g)]
        arguments[0] = xp.maximum(arguments[0], 1e-320)
        minimax.append(abs(theory.minimax_gradient(*arguments, .01)))
        nonsaturating.append(theory.nonsaturating_gradient(*arguments, .01))
    assert minimax == sorted(minimax, reverse=True) and minimax[-1] < 1e-40
    np.testing.assert_allclose(nonsaturating, (6, 12, 24, 30), rtol=3e-3)


@given(st.floats(1e-6, .99), st.floats(0, 1), st.floats(.1, 10))
@quickly
def test_the_minimax_gradient_stays_below_m_eps_over_1_minus_eps(eps, share, M):
    """Near generated examples D* = 0, D = share * eps, and the slope of D is (1 - share) * eps.

    G(z) = M theta + z, and the gradient is taken at theta = 0.
    """
    def E(theta):
        return np.log1p(-(share * eps + (1 - share) * eps * M * theta))
    h = 1e-4
    assert abs(E(h) - E(-h)) / (2 * h) <= theory.vanishing_bound(M, eps) * (1 + 1e-5)


def test_the_vanishing_bound_has_its_values():
    assert theory.vanishing_bound(3, .25) == 1 and theory.vanishing_bound(3, 0) == 0
    assert type(theory.vanishing_bound(1, 0)) is float


def test_the_mean_of_noisy_gradients_scatters_as_widely_as_one_of_them(xp):
    def spread(a):
        low, high = np.quantile(a, (.25, .75))
        return high - low

    rng = xp.default_rng(0)
    for m in (1, 10, 100, 1000):
        means = xp.asnumpy(theory.noisy_gradient(rng, (2000, m)).mean(axis=1))
        assert spread(means) == pytest.approx(2, abs=.3)
        normal_means = xp.asnumpy(rng.standard_normal((2000, m)).mean(axis=1))
        assert spread(normal_means) == pytest.approx(1.349 / m ** .5, rel=.15, abs=0)


@given(pairs(), st.floats(0, 1), st.integers(0, 40))
@quickly
def test_the_noised_jsd_bounds_the_wasserstein_distance(pq, spacing, width):
    """The points are `spacing` apart. The noise is uniform over 2 width + 1 points."""
    p, q = pq
    W = spacing * np.abs(np.cumsum(p - q)).sum()                # exact in one dimension
    noise = np.full(2 * width + 1, 1 / (2 * width + 1))
    V = (noise * (spacing * (np.arange(2 * width + 1) - width)) ** 2).sum()
    C = spacing * (len(p) - 1 + 2 * width)
    jsd = theory.jsd(np.convolve(p, noise), np.convolve(q, noise))
    assert W <= theory.wasserstein_bound(V, C, jsd) + 1e-12


def test_the_wasserstein_bound_has_its_values():
    assert theory.wasserstein_bound(4, 3, .25) == 2 * 2 + 2 * 3 * .5
