"""The metrics against direct float64 sums that use nothing from npgan."""

import itertools
import math
import tracemalloc
import warnings

import device
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npgan import backend as xp
from npgan import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def images(rng, n, d=784):
    """n rows with the statistics of MNIST that matter: values in [0, 1], most of them zero.

    Two rows of 784 are about 120 apart in squared distance.
    """
    return (rng.random((n, d), dtype="float32") * (rng.random((n, d)) < .3)).astype("float32")


def squared_distances(x, centres):
    return np.stack([((centres.astype("float64") - row) ** 2).sum(axis=1) for row in x.astype("float64")])


def oracle(x, centres, sigmas):
    """log p(x_i) from its definition, in float64, from the differences of the coordinates.

    The largest exponent of a row is subtracted before exp and added again after log.
    """
    distances, ll = squared_distances(x, centres), []
    for sigma in sigmas:
        a = -distances / (2 * sigma ** 2)
        top = a.max(axis=1, keepdims=True)
        normaliser = x.shape[1] * np.log(sigma * np.sqrt(2 * np.pi))
        ll.append(np.log(np.exp(a - top).mean(axis=1)) + top[:, 0] - normaliser)
    return np.array(ll)


def log_likelihoods(*args, **kwargs):
    return xp.asnumpy(metrics.log_likelihoods(*args, **kwargs))


# The log-likelihood

def points(rng, n):
    return 3 + rng.standard_normal((n, 2)).astype("float32")


@pytest.mark.parametrize("make", [images, points], ids=["784-D", "2-D"])
def test_log_likelihoods_are_the_direct_sum_for_every_sigma_of_the_grid(rng, make):
    x, centres = make(rng, 60), make(rng, 500)
    ours = log_likelihoods(x, centres, metrics.SIGMAS)
    assert ours.shape == (10, 60)
    np.testing.assert_allclose(ours, oracle(x, centres, metrics.SIGMAS), rtol=0, atol=1e-3)


@pytest.mark.parametrize("d", [1, 5, 784])
def test_log_likelihoods_are_those_of_sklearn(rng, d):
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is not installed")
    x, centres = images(rng, 20, d), images(rng, 100, d)
    for sigma in .1, .5:
        # All centres are in one leaf, because the bounds of a deeper tree underflow.
        tree = neighbors.KernelDensity(bandwidth=sigma, leaf_size=100)
        theirs = tree.fit(centres.astype("float64")).score_samples(x.astype("float64"))
        np.testing.assert_allclose(log_likelihoods(x, centres, [sigma])[0], theirs, rtol=0, atol=1e-3)


def test_what_is_common_to_all_rows_does_not_cost_digits(rng):
    x, centres = images(rng, 20, 64), images(rng, 100, 64)
    there = log_likelihoods(x.astype("float64") + 1e4, centres.astype("float64") + 1e4, metrics.SIGMAS)
    np.testing.assert_allclose(there, log_likelihoods(x, centres, metrics.SIGMAS), rtol=0, atol=1e-3)


def test_the_order_of_the_sigmas_is_the_order_of_the_rows(rng):
    x, centres, sigmas = images(rng, 10), images(rng, 50), [.3, 1., .1, .3]
    each = [log_likelihoods(x, centres, [s])[0] for s in sigmas]
    np.testing.assert_allclose(log_likelihoods(x, centres, sigmas), each, rtol=0, atol=1e-5)


@pytest.mark.parametrize("d", [2, 784])
def test_the_size_of_chunks_and_blocks_does_not_change_the_result(rng, d, monkeypatch):
    x, centres = images(rng, 50, d), images(rng, 70, d)
    expected = log_likelihoods(x, centres, metrics.SIGMAS)
    for chunk in 1, 7, 49, 50, 1000:
        ll = log_likelihoods(x, centres, metrics.SIGMAS, chunk=chunk)
        np.testing.assert_allclose(ll, expected, rtol=0, atol=2e-3)
    monkeypatch.setattr(metrics, "BLOCK", 300)
    ll = log_likelihoods(x, centres, metrics.SIGMAS, chunk=19)
    np.testing.assert_allclose(ll, expected, rtol=0, atol=2e-3)


def test_the_order_of_the_centres_does_not_matter(rng):
    x, centres = images(rng, 30), images(rng, 200)
    np.testing.assert_allclose(log_likelihoods(x, rng.permutation(centres), metrics.SIGMAS),
                               log_likelihoods(x, centres, metrics.SIGMAS), rtol=0, atol=2e-3)


@pytest.mark.parametrize("sigma", [.1, 1.])
def test_the_density_integrates_to_one(rng, sigma):
    centres = rng.random((30, 1), dtype="float32") * 4
    x = np.linspace(-8, 12, 4001, dtype="float32")[:, None]
    density = np.exp(log_likelihoods(x, centres, [sigma])[0])
    assert np.trapezoid(density, x[:, 0]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("far", [1e2, 1e4, 1e8])
def test_a_point_far_from_every_centre_has_a_finite_log_likelihood(rng, far):
    x, centres = images(rng, 5) + np.float32(far), images(rng, 100)
    with np.errstate(all="raise", under="ignore"):
        ours = log_likelihoods(x, centres, metrics.SIGMAS)
    np.testing.assert_allclose(ours, oracle(x, centres, metrics.SIGMAS), rtol=1e-4)


def test_no_density_is_above_its_peak_even_where_sigma_is_so_narrow_that_rounding_shows(rng):
    x, sigma = images(rng, 50), 1e-3
    peak = -784 * math.log(sigma * math.sqrt(2 * math.pi)) - math.log(50)
    assert (log_likelihoods(x, x, [sigma]) <= peak + 1e-6).all()
    assert log_likelihoods(x[:1], x[:1], [sigma])[0, 0] == pytest.approx(peak + math.log(50), abs=1e-6)


# Accuracy

@st.composite
def clusters(draw):
    """x and centres in clusters that stand apart, and sigmas: digits cancel in most of them."""
    d, n, k = draw(st.integers(1, 40)), draw(st.integers(1, 20)), draw(st.integers(1, 300))
    scale = 10. ** draw(st.integers(-3, 3))
    gap, offset = (scale * draw(st.sampled_from([0, 1, 30, 1e3, 3e4, 1e8])) for _ in range(2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))

    def points(n):
        spread = rng.standard_normal((n, 1 if draw(st.booleans()) else d)) * np.ones(d)    # or a diagonal
        return spread * scale + gap * rng.integers(0, 3, (n, 1)) + offset

    centres = points(k)
    if draw(st.booleans()):
        centres[rng.integers(0, k, k // 2)] = centres[0]
    dtypes = st.sampled_from(["float32", "float64", "float16", "int64", "uint8"])
    x, centres = (a.clip(0, 200).astype(t) if t in ("uint8", "float16") else a.astype(t)
                  for a, t in ((points(n), draw(dtypes)), (centres, draw(dtypes))))
    return x, centres, [scale * draw(st.sampled_from([.01, .1, .3, 1., 10.])) for _ in range(3)]


@settings(max_examples=300, deadline=None)
@given(clusters())
def test_every_log_likelihood_is_within_a_thousandth_of_a_nat_of_float64(case):
    x, centres, sigmas = case
    np.testing.assert_allclose(log_likelihoods(x, centres, sigmas), oracle(x, centres, sigmas),
                               rtol=1e-10, atol=1e-3)


@settings(max_examples=300, deadline=None)
@given(clusters())
def test_nearest_is_the_nearest_however_far_apart_the_data_are(case):
    x, data, _ = case
    distances = np.sqrt(squared_distances(x, data))
    found = np.take_along_axis(distances, xp.asnumpy(metrics.nearest(x, data))[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(found, distances.min(axis=1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("d", [1, 784])
def test_clusters_apart_lose_no_digits(rng, d):
    """Of 1,000 centres half are 300 away, and each cluster is .01 wide."""
    x, centres = (rng.normal(0, .01, (n, d)) + 300 * rng.integers(0, 2, (n, 1)) for n in (50, 1000))
    for dtype in "float32", "float64":
        x, centres = x.astype(dtype), centres.astype(dtype)
        ours, sigmas = log_likelihoods(x, centres, [.01, .1]), [.01, .1]
        np.testing.assert_allclose(ours, oracle(x, centres, sigmas), rtol=0, atol=1e-3)
        found = squared_distances(x, centres).argmin(axis=1)
        np.testing.assert_array_equal(xp.asnumpy(metrics.nearest(x, centres)), found)


def test_images_are_far_more_exact_than_is_promised(rng):
    x, centres = images(rng, 30), images(rng, 3000)
    ours = log_likelihoods(x, centres, metrics.SIGMAS)
    np.testing.assert_allclose(ours, oracle(x, centres, metrics.SIGMAS), rtol=0, atol=5e-5)


@pytest.mark.parametrize("offset, outlier", [(1e9, 0), (0, 1e12), (0, -1e12)])
def test_the_centres_of_kmeans_keep_the_digits_of_the_data(rng, offset, outlier):
    x = rng.standard_normal((300, 3)) + offset
    x[7] += outlier
    first = xp.asnumpy(metrics.kmeans(x, 10, 0, seed=5))
    assert all((x == row).all(axis=1).any() for row in first)
    label = squared_distances(x, first).argmin(axis=1)
    far = label[7]
    means = [x[label == j].mean(axis=0) for j in range(10)]
    found = xp.asnumpy(metrics.kmeans(x, 10, 1, seed=5))
    assert np.abs(found - means)[np.arange(10) != far].max() < 1e-15 * max(1, offset) * 8


def peak_memory(f, *args):
    tracemalloc.start()
    try:
        f(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("gap", [0, 300, 1e6])
@pytest.mark.parametrize("n, k, d", [(4000, 4000, 784), (40_000, 5, 784), (3000, 6000, 1)])
def test_memory_is_a_copy_of_the_centres_and_96_mib(rng, n, k, d, gap):
    x, centres = np.zeros((n, d), "float32"), rng.random((k, d), dtype="float32")
    centres[::2] += gap
    n = 300 if gap > 300 and d > 1 else n               # every pair is computed by itself
    peak = peak_memory(metrics.log_likelihoods, x[:n], centres, [.1, 1.])
    assert peak <= centres.nbytes + (96 << 20)


def test_no_call_makes_the_copies_that_cupy_s_einsum_makes(rng, device, monkeypatch):
    def einsum(subscripts, *arrays):
        return device.call(np.einsum, subscripts, *(a.copy() for a in arrays))

    monkeypatch.setattr(device, "einsum", einsum, raising=False)
    x, centres = xp.zeros((22_000, 784), "float32"), xp.asarray(rng.random((5, 784), dtype="float32"))
    assert peak_memory(metrics.log_likelihoods, x, centres, [.1, 1.]) <= (96 << 20)


def test_the_bits_do_not_depend_on_the_order_in_which_a_gpu_adds(rng, device, monkeypatch):
    def bincount(x, weights=None, minlength=0):
        order = device.asarray(np.random.default_rng().permutation(len(x)))
        weights = None if weights is None else weights[order]
        return device.call(np.bincount, x[order], weights, minlength)

    monkeypatch.setattr(device, "bincount", bincount, raising=False)
    x = xp.asarray(rng.standard_normal((3000, 4)))
    heavy = xp.concatenate([x * 1e12, x, x * -1e12])                    # the large numbers cancel
    runs = [(log_likelihoods(x[:99], x, [.1, .2]), xp.asnumpy(metrics.kmeans(heavy, 1, 1))) for _ in range(3)]
    for ll, centres in runs[1:]:
        np.testing.assert_array_equal(ll, runs[0][0])
        np.testing.assert_array_equal(centres, runs[0][1])


# The estimate

def test_the_grid_is_the_paper_s():
    assert metrics.SIGMAS == pytest.approx(np.logspace(-1, 0, 10).tolist(), rel=1e-15)
    assert all(type(s) is float for s in metrics.SIGMAS)


@pytest.mark.parametrize("spread", [.3, .6])
def test_sigma_is_the_best_of_the_grid_on_the_first_thousand_validation_rows(rng, spread):
    samples, test = spread * rng.standard_normal((300, 8)), spread * rng.standard_normal((200, 8))
    valid = spread * rng.standard_normal((1500, 8))
    valid[1000:] *= 40                          # with these rows the widest sigma would be the best
    best = metrics.SIGMAS[oracle(valid[:1000], samples, metrics.SIGMAS).mean(axis=1).argmax()]
    assert metrics.SIGMAS[0] < best < metrics.SIGMAS[-1]
    p = metrics.parzen(samples, valid, test)
    assert p.sigma == best
    ll = oracle(test, samples, [best])[0]
    assert p.ll == pytest.approx(ll.mean(), abs=1e-3)
    assert p.se == pytest.approx(math.sqrt(((ll - ll.mean()) ** 2).mean() / 200), rel=1e-3)
    assert [type(v) for v in p[:3]] == [float] * 3 and p.at_edge is False


@pytest.mark.parametrize("scale, sigma", [(255, metrics.SIGMAS[-1]), (.01, metrics.SIGMAS[0])])
def test_a_sigma_at_the_edge_of_the_grid_is_one_warning_and_is_said_in_the_result(xp, rng, scale, sigma):
    samples, valid, test = scale * rng.random((3, 200, 8))
    sentence = f"^Parzen estimate: the best sigma, {sigma:g}, is at the edge [^\\n]+$"
    with pytest.warns(UserWarning, match=sentence) as record:
        p = metrics.parzen(samples, valid, test)
    assert len(record) == 1 and record[0].filename == __file__
    assert p.sigma == sigma and p.at_edge is True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = metrics.parzen(samples, valid, test, [scale * s for s in metrics.SIGMAS])
        assert metrics.parzen(samples, valid, test, [sigma]).at_edge is False, "one sigma is no choice"
    assert fits.at_edge is False and fits.sigma == pytest.approx(scale * metrics.SIGMAS[3], rel=.7)


def test_the_first_anchor_is_made_of_training_rows_and_the_second_of_their_centres(rng):
    train, valid, test = (images(rng, n, 20) for n in (400, 50, 60))
    a = metrics.anchors(train, valid, test, n=40, seed=3)
    real, centres = (xp.asnumpy(metrics.kmeans(train, 40, i, 3)) for i in (0, 1))
    assert a.real == metrics.parzen(real, valid, test)
    assert a.kmeans == metrics.parzen(centres, valid, test)
    assert len(np.unique(real, axis=0)) == 40
    assert all((train == row).all(axis=1).any() for row in real)
    assert a.real.samples == a.kmeans.samples == 40


@pytest.mark.parametrize("n, centres", [(400, 200), (300, 200), (200, 200), (150, 150), (1, 1)])
def test_there_are_at_most_half_as_many_centres_as_images_so_the_anchors_differ(rng, n, centres):
    train, valid, test = (images(rng, n, 20) for n in (400, 50, 60))
    a = metrics.anchors(train, valid, test, n=n)
    assert (a.real.samples, a.kmeans.samples) == (n, centres)
    assert a.kmeans[:3] == metrics.parzen(xp.asnumpy(metrics.kmeans(train, centres, 1)), valid, test)[:3]
    assert a.kmeans.ll != a.real.ll


# K-means and neighbours

def test_nearest_is_the_row_at_the_least_distance_whatever_the_chunk(rng):
    x, data = images(rng, 60), images(rng, 300)
    best = squared_distances(x, data).argmin(axis=1)
    for chunk in None, 1, 7:
        np.testing.assert_array_equal(xp.asnumpy(metrics.nearest(x, data, chunk)), best)
    np.testing.assert_array_equal(xp.asnumpy(metrics.nearest(data, data)), np.arange(300))


def test_every_iteration_of_kmeans_lowers_the_mean_squared_distance(rng):
    x = images(rng, 600, 10)
    centres = [xp.asnumpy(metrics.kmeans(x, 30, i, seed=1)) for i in range(8)]
    error = [squared_distances(x, c).min(axis=1).mean() for c in centres]
    assert all(after < before for before, after in itertools.pairwise(error)), error


def test_one_iteration_of_kmeans_moves_each_centre_to_the_mean_of_its_rows(rng):
    x = images(rng, 200, 6)
    first = xp.asnumpy(metrics.kmeans(x, 10, 0, seed=5))
    label = squared_distances(x, first).argmin(axis=1)
    means = [x[label == j].astype("float64").mean(axis=0) for j in range(10)]
    np.testing.assert_allclose(xp.asnumpy(metrics.kmeans(x, 10, 1, seed=5)), means, atol=1e-6)


def test_kmeans_recovers_clusters_that_stand_apart(rng):
    truth = 100 * np.eye(6, 12)
    x = (np.repeat(truth, 50, axis=0) + rng.standard_normal((300, 12))).astype("float32")
    # One start in 65 has a row of every cluster.
    runs = [xp.asnumpy(metrics.kmeans(x, 6, 10, seed)) for seed in range(60)]
    best = min(runs, key=lambda c: squared_distances(x, c).min(axis=1).mean())
    best = best[squared_distances(truth, best).argmin(axis=1)]
    np.testing.assert_allclose(best, x.reshape(6, 50, 12).mean(axis=1), atol=1e-4)


def test_a_centre_with_no_rows_stays_where_it_is():
    x = np.array([[3.], [3.], [3.], [8.]], "float32")       # the first of equal centres takes all rows
    np.testing.assert_array_equal(np.sort(xp.asnumpy(metrics.kmeans(x, 4, 3)), axis=0), x)


def test_integer_pixels_are_data_like_any_other(rng):
    x, data = (rng.integers(0, 256, (n, 9), dtype="uint8") for n in (20, 50))
    best = squared_distances(x, data).argmin(axis=1)
    np.testing.assert_array_equal(xp.asnumpy(metrics.nearest(x, data)), best)
    np.testing.assert_allclose(log_likelihoods(x, data, [20.])[0], oracle(x, data, [20.])[0], atol=1e-3)


# Other devices and bad input

@pytest.mark.parametrize("module", [device, pytest.param("cupy", marks=pytest.mark.gpu)],
                         ids=["stand-in", "cupy"])
def test_the_device_gives_what_numpy_gives(rng, module):
    if module == "cupy":
        pytest.importorskip("cupy", reason="CuPy is not installed")
    train, valid, test = (images(rng, n, 20) for n in (300, 50, 60))

    def everything():
        return [np.array(metrics.anchors(train, valid, test, n=40)),
                log_likelihoods(test, train, metrics.SIGMAS),
                xp.asnumpy(metrics.nearest(test, train)), xp.asnumpy(metrics.kmeans(train, 40, 2))]

    before = xp.name()
    try:
        xp.use("numpy")
        host = everything()
        xp.use(module)
        on_device = everything()
    finally:
        xp.use(before)
    for a, b in zip(host, on_device):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-3)


ONES = np.ones((3, 2), "float32")


@pytest.mark.parametrize("name, value", [
    ("samples", ONES * np.nan), ("samples", ONES * np.inf), ("samples", ONES[:0]), ("samples", ONES[0]),
    ("valid", ONES[:, :1]), ("valid", ONES[:0]),
    ("test", ONES[:, :1]), ("test", ONES * np.nan), ("test", ONES[:, :0]),
    ("samples", ONES.astype("float64") * 1e300), ("valid", ONES * 1e20), ("test", -1e20 * ONES),
    ("samples", ONES + 0j), ("valid", ONES.astype(object)), ("test", ONES.astype(str)),
    ("sigmas", []), ("sigmas", [.1, 0.]), ("sigmas", [-1.]),
    ("sigmas", [math.nan]), ("sigmas", [1e-20]), ("sigmas", [1e200])])
def test_bad_input_to_parzen_is_one_sentence_that_names_the_argument(name, value):
    with pytest.raises(ValueError, match=f"^{name}: [^\n]+$"):
        metrics.parzen(**{"samples": ONES, "valid": ONES, "test": ONES, name: value})


@pytest.mark.parametrize("name, call", [
    ("k", lambda: metrics.kmeans(ONES, 4, 1)),
    ("k", lambda: metrics.kmeans(ONES, 0, 1)),
    ("n", lambda: metrics.anchors(ONES, ONES, ONES, n=4)),
    ("train", lambda: metrics.anchors(ONES[:1], ONES, ONES, n=1)),
    ("train", lambda: metrics.anchors(ONES * np.nan, ONES, ONES, n=2)),
    ("data", lambda: metrics.nearest(ONES, ONES[:, :1])),
    ("x", lambda: metrics.nearest(ONES[:0], ONES)),
    ("centres", lambda: metrics.log_likelihoods(ONES, ONES[:0], [1.]))])
def test_bad_input_elsewhere_is_one_sentence_that_names_the_argument(name, call):
    with pytest.raises(ValueError, match=f"^{name}: [^\n]+$"):
        call()


# Toy data: mode coverage, Wasserstein on a line, Jensen-Shannon on a grid

SQUARE = np.array([[0, 0], [2, 0], [0, 2], [2, 2]], float)


def test_mode_coverage_is_counted_as_by_hand(xp):
    """Three samples are at one mode, one is at another, one is beyond 3 sd, one is far off."""
    samples = np.array([[0, 0], [.1, .1], [0, -.29], [2.2, 0], [0, 2.31], [1, 1.2]])
    c = metrics.coverage(samples.astype("float32"), SQUARE, .1)
    q = np.array([3, 1]) / 4
    assert c.modes == 2 and c.high_quality == pytest.approx(4 / 6)
    assert c.reverse_kl == pytest.approx((q * np.log(q * 4)).sum(), abs=1e-12)


def test_all_modes_alike_is_reverse_kl_0_one_mode_is_log_k_and_none_is_nan(xp):
    assert metrics.coverage(SQUARE, SQUARE, .1) == (4, 1, 0)
    assert metrics.coverage(SQUARE[:1], SQUARE, .1) == (1, 1, pytest.approx(math.log(4)))
    none = metrics.coverage(SQUARE + 1, SQUARE, .1)
    assert none[:2] == (0, 0) and math.isnan(none.reverse_kl)


integers = st.lists(st.integers(-8, 8), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(integers, integers)
def test_wasserstein_is_the_area_between_the_distribution_functions(x, y):
    """W_1 = integral |F_x(t) - F_y(t)| dt, which is a finite sum for integers."""
    F = [np.mean(np.array(a)[:, None] <= np.arange(-8, 9), axis=0) for a in (x, y)]
    found = metrics.wasserstein(np.array(x, float)[:, None], np.array(y, float)[:, None])
    assert found == pytest.approx(np.abs(F[0] - F[1]).sum(), abs=1e-12)


def test_wasserstein_of_a_shift_is_the_shift_and_of_equal_sizes_pairs_in_order(xp, rng):
    x, y = rng.standard_normal((2, 1000, 1)).astype("float32")
    assert metrics.wasserstein(x, x + 3) == pytest.approx(3, rel=1e-6)
    assert metrics.wasserstein(x, x[::-1].copy()) == 0
    expected = np.abs(np.sort(x.ravel()).astype(float) - np.sort(y.ravel())).mean()
    assert metrics.wasserstein(x, y) == pytest.approx(expected, rel=1e-12, abs=0)


def test_jsd_on_a_grid_is_its_definition_0_for_equal_sets_and_log_2_for_sets_apart(xp, rng):
    x, y = rng.random((300, 2)), rng.random((500, 2)) ** 2
    p, q = (np.histogram2d(*a.T, 5, [(0, 1)] * 2)[0].ravel() / len(a) for a in (x, y))
    m = (p + q) / 2
    expected = sum((a[a > 0] * np.log(a[a > 0] / m[a > 0])).sum() for a in (p, q)) / 2
    assert metrics.jsd(x, y, 0, 1, 5) == pytest.approx(expected, abs=1e-12)
    assert metrics.jsd(x, x, 0, 1) == pytest.approx(0, abs=1e-12)
    assert metrics.jsd(x, x + 5, 0, 6) == pytest.approx(math.log(2), abs=1e-12)
    # Points outside the grid are counted in the cells at its border.
    assert metrics.jsd(x - 9, x + 9, 0, 1) == pytest.approx(math.log(2), abs=1e-12)


def test_jsd_of_samples_of_one_distribution_is_the_bias_that_is_stated(rng):
    found = [metrics.jsd(rng.random((10_000, 2)), rng.random((4_000, 2)), 0, 1, 10) for _ in range(30)]
    assert np.mean(found) == pytest.approx(100 * (1 / 10_000 + 1 / 4_000) / 8, rel=.1)


def test_bytes_are_data_like_any_other_for_the_toy_metrics(rng):
    x, y = (rng.integers(0, 9, (n, 2), dtype="uint8") for n in (300, 20))
    assert metrics.coverage(x, y, .4) == metrics.coverage(x.astype(float), y.astype(float), .4)
    assert metrics.jsd(x, y, 3, 7, 4) == metrics.jsd(x.astype(float), y.astype(float), 3, 7, 4)
    assert metrics.wasserstein(x[:, :1], y[:, :1]) == metrics.wasserstein(x[:, :1] * 1., y[:, :1] * 1.)


@pytest.mark.parametrize("name, call", [
    ("samples", lambda: metrics.coverage(SQUARE * np.nan, SQUARE, .1)),
    ("modes", lambda: metrics.coverage(SQUARE, SQUARE[:, :1], .1)),
    ("sd, within", lambda: metrics.coverage(SQUARE, SQUARE, 0)),
    ("x", lambda: metrics.wasserstein(SQUARE, SQUARE)),
    ("y", lambda: metrics.wasserstein(SQUARE[:, :1], SQUARE)),
    ("y", lambda: metrics.wasserstein(SQUARE[:, :1], SQUARE[:0, :1])),
    ("bins", lambda: metrics.jsd(SQUARE, SQUARE, 1, 1)),
    ("bins", lambda: metrics.jsd(SQUARE, SQUARE, 0, 1, 5000))])
def test_bad_input_to_the_toy_metrics_is_one_sentence_that_names_the_argument(name, call):
    with pytest.raises(ValueError, match=f"^{name}: [^\n]+$"):
        call()


def test_real_training_images_of_mnist_score_about_243():
    """Theis et al. 2016 publish 243. The estimate is within two standard errors of it."""
    from npgan.data import mnist
    try:
        images = mnist.load(download=False)
    except OSError as e:
        pytest.skip(f"MNIST: {e}")
    if images.name != "mnist":
        pytest.skip(f"NPGAN_DATA leads to {images.name}, not to MNIST")
    real = xp.asnumpy(metrics.kmeans(images.train, 10_000, 0))
    p = metrics.parzen(real, images.valid, images.test)
    assert p.ll == pytest.approx(243, abs=4) and p.se == pytest.approx(2.1, abs=.1)
    assert p.sigma == metrics.SIGMAS[2]
