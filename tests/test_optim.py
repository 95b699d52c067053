"""Momentum, schedules, projections and priors against their one-line definitions."""

import math

import numpy as np
import pytest

from npgan import backend
from npgan.layers import Linear
from npgan.net import Net
from npgan.optim import Adam, Clip, Decay, Fall, MaxColumnNorm, Momentum, Ramp, WarmUp
from npgan.priors import Normal, Spherical, Uniform


def test_adam_is_its_formula(xp):
    """Against the algorithm as Kingma and Ba print it, with their bias-corrected moments."""
    rng = np.random.default_rng(0)
    net = Net([Linear(3, 2)], "float64")
    for step, sign in (("ascend", 1), ("descend", -1)):
        adam = Adam(net, lr=lambda t: .1 / (t + 1), b1=.8, b2=.95)
        theta, m, v = xp.asnumpy(net.theta), 0, 0
        for t in range(1, 6):
            g = rng.standard_normal(8)
            net.grad[...] = xp.asarray(g)
            getattr(adam, step)()
            m, v = .8 * m + .2 * g, .95 * v + .05 * g * g
            theta = theta + sign * .1 / t * (m / (1 - .8 ** t)) / (np.sqrt(v / (1 - .95 ** t)) + 1e-8 / math.sqrt(1 - .95 ** t))
            np.testing.assert_allclose(xp.asnumpy(net.theta), theta, rtol=1e-12)


def test_adam_projects_after_its_update_and_stays_in_float32():
    net = Net([Linear(3, 2)])
    adam = Adam(net, .1, project=Clip(.01))
    net.grad[...] = 1
    adam.descend()
    assert np.abs(net.theta).max() <= np.float32(.01) and {a.dtype.name for a in (net.theta, adam.v, adam.s)} == {"float32"}


@pytest.mark.parametrize("size", [1, 5, backend.BLOCK, backend.BLOCK + 1, 3 * backend.BLOCK + 7])
@pytest.mark.parametrize("sign", [+1, -1])
def test_the_momentum_kernel_is_its_formula_at_every_size(xp, size, sign):
    rng = np.random.default_rng(0)
    theta, v, g = (rng.standard_normal(size) for _ in range(3))
    a, b, c = (xp.array(x) for x in (theta, v, g))
    xp.momentum(a, b, c, .1, .9, sign)
    np.testing.assert_allclose(xp.asnumpy(b), .9 * v + .1 * g, rtol=1e-13)
    np.testing.assert_allclose(xp.asnumpy(a), theta + sign * (.9 * v + .1 * g), rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(xp.asnumpy(c), g)


@pytest.mark.parametrize("size", [1, 5, backend.BLOCK, backend.BLOCK + 1, 3 * backend.BLOCK + 7])
def test_the_adam_kernel_is_its_formula_at_every_size(xp, size):
    rng = np.random.default_rng(0)
    theta, v, g = (rng.standard_normal(size) for _ in range(3))
    s = rng.random(size)
    a, b, c, d = (xp.array(x) for x in (theta, v, s, g))
    xp.adam(a, b, c, d, -.1, .9, .99, 1e-3)
    v, s = .9 * v + .1 * g, .99 * s + .01 * g ** 2
    np.testing.assert_allclose(xp.asnumpy(b), v, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(xp.asnumpy(c), s, rtol=1e-12)
    np.testing.assert_allclose(xp.asnumpy(a), theta - .1 * v / (s ** .5 + 1e-3), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(xp.asnumpy(d), g)


@pytest.mark.parametrize("size", [1, backend.BLOCK + 1])
def test_the_averaging_kernel_is_its_formula(xp, size):
    a, b = np.random.default_rng(0).standard_normal((2, size))
    c = xp.array(a)
    xp.approach(c, xp.array(b), .3)
    np.testing.assert_allclose(xp.asnumpy(c), .7 * a + .3 * b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", [lambda net: Momentum(net, .1, .5), lambda net: Adam(net, .1)])
def test_the_mean_is_that_of_every_tenth_iterate_and_then_forgets_what_is_older_than_n(make):
    """Beside theta, which goes its way as without it."""
    sgd, alone = (make(Net([Linear(3, 1)], "float64")) for _ in range(2))
    sgd.average(60)
    rng, iterates = np.random.default_rng(0), []
    for t in range(1, 121):
        sgd.net.grad[...] = alone.net.grad[...] = rng.standard_normal(4)
        sgd.descend()
        alone.descend()
        np.testing.assert_array_equal(sgd.net.theta, alone.net.theta)
        iterates += [sgd.net.theta.copy()] if t % 10 == 0 else []
        if t <= 10:
            np.testing.assert_array_equal(sgd.mean, sgd.net.theta)
        elif t <= 60:
            np.testing.assert_allclose(sgd.mean, np.mean(iterates, axis=0), rtol=1e-12)
    weights = np.array([*[(5 / 6) ** 6] * 6, *(5 / 6) ** np.arange(5, -1, -1)]) / 6
    np.testing.assert_allclose(sgd.mean, weights @ iterates, rtol=1e-12)
    assert sgd.slots == (*alone.slots, "mean") and "mean" not in type(sgd).slots


@pytest.mark.parametrize("n", [1, 3])
def test_a_mean_over_few_updates_takes_them_all(n):
    sgd = Momentum(Net([Linear(3, 1)], "float64"), .1)
    with pytest.raises(ValueError, match=r"average\(0\)"):
        sgd.average(0)
    for _ in range(2):                                                          # the second begins again
        sgd.average(n)
    assert sgd.slots == ("v", "mean")
    iterates = []
    for t in range(15):                                                         # the last is no tenth
        sgd.net.grad[...] = t
        sgd.descend()
        iterates.append(sgd.net.theta.copy())
    np.testing.assert_allclose(sgd.mean, iterates[-1], rtol=1e-12)


def test_averaged_puts_the_mean_in_thetas_place_for_as_long_as_it_lasts_whatever_happens(xp):
    net = Net([Linear(3, 1)])
    sgd, theta = Momentum(net, .1), xp.asnumpy(net.theta)
    with sgd.averaged():
        np.testing.assert_array_equal(xp.asnumpy(net.theta), theta)               # none is kept
    sgd.average(10)
    sgd.mean[...] = 7
    with pytest.raises(KeyError), sgd.averaged():
        assert (xp.asnumpy(net.theta) == 7).all()
        raise KeyError
    np.testing.assert_array_equal(xp.asnumpy(net.theta), theta)


def test_ascend_climbs_and_descend_goes_down():
    net = Net([Linear(3, 1)], "float64")
    for step, better in (("ascend", lambda a, b: a > b), ("descend", lambda a, b: a < b)):
        sgd = Momentum(net, .1, .5)
        before = float((net.theta ** 2).sum())
        net.theta += 1
        for _ in range(3):
            net.grad[...] = 2 * net.theta                   # of |theta|^2
            before = float((net.theta ** 2).sum())
            getattr(sgd, step)()
            assert better(float((net.theta ** 2).sum()), before)


def test_schedules_are_functions_of_the_number_of_updates():
    lr = Decay(.1)
    assert lr(0) == .1 and lr(1) == pytest.approx(.1 / 1.000004) and lr(10 ** 7) == 1e-6
    by_hand = .1
    for _ in range(1000):
        by_hand /= 1.000004
    assert lr(1000) == pytest.approx(by_hand, rel=1e-12)
    mu = Ramp(500)
    assert mu(0) == mu(499) == .5 and mu(249 * 500) == mu(10 ** 6) == pytest.approx(.7)
    assert mu(500) == pytest.approx(.5 + .2 / 249) and mu(124 * 500) < .6 < mu(125 * 500)


def test_the_critics_warm_up_is_the_published_one():
    k = WarmUp()
    many = [i for i in range(1501) if k(i) == 100]
    assert many == [*range(25), 500, 1000, 1500] and {k(i) for i in range(1501) if i not in many} == {5}
    k = WarmUp(2, first=7, until=0, every=3)
    assert [k(i) for i in range(7)] == [7, 2, 2, 7, 2, 2, 7]


def test_fall_is_constant_in_the_first_half_and_then_linear_to_0_where_it_stays():
    lr = Fall(.4, 8)
    assert [lr(t) for t in range(11)] == pytest.approx([.4] * 5 + [.3, .2, .1, 0, 0, 0], abs=1e-15)


def test_momentum_follows_its_schedules():
    net = Net([Linear(2, 1)], "float64")
    sgd = Momentum(net, lr=lambda t: [1., 10.][t], mu=lambda t: [.5, .25][t])
    start, net.grad[...] = net.theta.copy(), 1.
    sgd.ascend()
    sgd.ascend()
    assert sgd.t == 2
    np.testing.assert_allclose(sgd.v, .25 * 1 + 10)
    np.testing.assert_allclose(net.theta - start, 1 + 10.25)


def test_max_column_norm_is_a_projection(xp):
    net = Net([Linear(5, 4), Linear(4, 3)], "float64")
    net.theta *= 10
    net.layers[0].W[:, 0] *= .001
    before = {name: xp.asnumpy(a) for name, a in net.named_parameters().items()}
    MaxColumnNorm(1.9365)(net)
    for name, a in net.named_parameters().items():
        expected = before[name].copy()
        if name.endswith("W"):
            norms = np.linalg.norm(expected, axis=0)
            expected = expected * np.where(norms > 1.9365, 1.9365 / norms, 1)
        np.testing.assert_allclose(xp.asnumpy(a), expected, rtol=1e-12)
    once = net.theta.copy()
    MaxColumnNorm(1.9365)(net)
    np.testing.assert_allclose(xp.asnumpy(net.theta), xp.asnumpy(once), rtol=1e-14)


def test_a_projection_follows_every_update(xp):
    net = Net([Linear(5, 4)], "float64")
    sgd = Momentum(net, 1., project=Clip(.01))
    net.grad[...] = 1
    sgd.ascend()
    assert float(net.theta.min()) == float(net.theta.max()) == .01
    sgd.descend()
    sgd.descend()
    assert float(net.theta.max()) == -.01


def draw(xp, prior, dtype="float64", m=20_000, n=10):
    z = xp.zeros((m, n), dtype)
    prior(xp.default_rng(0), z)
    assert str(z.dtype) == dtype
    return xp.asnumpy(z)


def test_priors_have_their_distributions(xp):
    z = draw(xp, Uniform())
    assert abs(z).max() <= math.sqrt(3) and z.std() == pytest.approx(1, rel=.01) and z.mean() == pytest.approx(0, abs=.01)
    assert (abs(z) < math.sqrt(3) / 2).mean() == pytest.approx(.5, abs=.005)
    assert abs(draw(xp, Uniform(.5))).max() == pytest.approx(.5, rel=1e-3)
    z = draw(xp, Normal(), "float32")
    assert z.std() == pytest.approx(1, rel=.01) and (abs(z) < 1.96).mean() == pytest.approx(.95, abs=.005)
    z = draw(xp, Spherical())
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), math.sqrt(10))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=.03)
