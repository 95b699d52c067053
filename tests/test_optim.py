"""Momentum, Adam, means, schedules, projections and priors, compared with their equations."""

import math

import numpy as np
import pytest

from npgan import kernels
from npgan.layers import Linear
from npgan.net import Net
from npgan.optim import Adam, Clip, Decay, LinearDecay, MaxColumnNorm, Momentum, Ramp, WarmUp
from npgan.priors import Normal, Spherical, Uniform

SIZES = [1, 5, kernels.BLOCK, kernels.BLOCK + 1, 3 * kernels.BLOCK + 7]


def small_net():
    return Net([Linear(3, 1)], "float64")


# --- Updates ----------------------------------------------------------------------------------


def test_adam_is_the_algorithm_of_the_paper(xp):
    """The oracle has the bias-corrected moments of Kingma and Ba 2015, algorithm 1."""
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
            m_hat, v_hat, eps = m / (1 - .8 ** t), v / (1 - .95 ** t), 1e-8 / math.sqrt(1 - .95 ** t)
            theta = theta + sign * .1 / t * m_hat / (np.sqrt(v_hat) + eps)
            np.testing.assert_allclose(xp.asnumpy(net.theta), theta, rtol=1e-12)


def test_adam_projects_after_its_update_and_stays_in_float32():
    net = Net([Linear(3, 2)])
    adam = Adam(net, .1, project=Clip(.01))
    net.grad[...] = 1
    adam.descend()
    assert np.abs(net.theta).max() <= np.float32(.01)
    assert {a.dtype.name for a in (net.theta, adam.v, adam.s)} == {"float32"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sign", [+1, -1])
def test_the_momentum_kernel_is_its_equation_at_every_size(xp, size, sign):
    rng = np.random.default_rng(0)
    theta, v, g = (rng.standard_normal(size) for _ in range(3))
    a, b, c = (xp.array(x) for x in (theta, v, g))
    kernels.momentum(a, b, c, .1, .9, sign)
    np.testing.assert_allclose(xp.asnumpy(b), .9 * v + .1 * g, rtol=1e-13)
    np.testing.assert_allclose(xp.asnumpy(a), theta + sign * (.9 * v + .1 * g), rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(xp.asnumpy(c), g)


@pytest.mark.parametrize("size", SIZES)
def test_the_adam_kernel_is_its_equation_at_every_size(xp, size):
    rng = np.random.default_rng(0)
    theta, v, g = (rng.standard_normal(size) for _ in range(3))
    s = rng.random(size)
    a, b, c, d = (xp.array(x) for x in (theta, v, s, g))
    kernels.adam(a, b, c, d, -.1, .9, .99, 1e-3)
    v, s = .9 * v + .1 * g, .99 * s + .01 * g ** 2
    np.testing.assert_allclose(xp.asnumpy(b), v, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(xp.asnumpy(c), s, rtol=1e-12)
    np.testing.assert_allclose(xp.asnumpy(a), theta - .1 * v / (s ** .5 + 1e-3), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(xp.asnumpy(d), g)


@pytest.mark.parametrize("size", [1, kernels.BLOCK + 1])
def test_the_lerp_kernel_is_its_equation(xp, size):
    a, b = np.random.default_rng(0).standard_normal((2, size))
    c = xp.array(a)
    kernels.lerp(c, xp.array(b), .3)
    np.testing.assert_allclose(xp.asnumpy(c), .7 * a + .3 * b, rtol=1e-12, atol=1e-14)


def test_ascend_climbs_and_descend_goes_down():
    for step, sign in (("ascend", +1), ("descend", -1)):
        net = small_net()
        sgd = Momentum(net, .1, .5)
        net.theta += 1
        for _ in range(3):
            before = float((net.theta ** 2).sum())
            net.grad[...] = 2 * net.theta                   # of |theta|^2
            getattr(sgd, step)()
            assert sign * (float((net.theta ** 2).sum()) - before) > 0


def test_momentum_follows_its_schedules():
    net = Net([Linear(2, 1)], "float64")
    sgd = Momentum(net, lr=lambda t: [1., 10.][t], mu=lambda t: [.5, .25][t])
    start, net.grad[...] = net.theta.copy(), 1.
    sgd.ascend()
    sgd.ascend()
    assert sgd.t == 2
    np.testing.assert_allclose(sgd.v, .25 * 1 + 10)
    np.testing.assert_allclose(net.theta - start, 1 + 10.25)


# --- The mean of the iterates -----------------------------------------------------------------


def averaged_run(sgd, n, updates):
    """(theta_1, theta_2, ..., the mean over n after each update), from random gradients."""
    sgd.average(n)
    rng, iterates, means = np.random.default_rng(0), [], []
    for _ in range(updates):
        sgd.net.grad[...] = rng.standard_normal(4)
        sgd.descend()
        iterates.append(sgd.net.theta.copy())
        means.append(sgd.mean.copy())
    return np.array(iterates), np.array(means)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 11, 15, 25, 60, 99, 150])
@pytest.mark.parametrize("make", [lambda net: Momentum(net, .1, .5), lambda net: Adam(net, .1)])
def test_the_mean_over_n_is_the_exact_mean_of_n_iterates_and_then_decays_exponentially(make, n):
    iterates, means = averaged_run(make(small_net()), n, 2 * n + 3)
    for t in range(1, n + 1):
        np.testing.assert_allclose(means[t - 1], iterates[:t].mean(axis=0), rtol=1e-10, atol=1e-12)
    expected = iterates[:n].mean(axis=0)
    for t in range(n, 2 * n + 3):
        expected = expected + (iterates[t] - expected) / n
        np.testing.assert_allclose(means[t], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n, stride", [(200, 2), (205, 2), (999, 9), (1000, 10), (3000, 10)])
def test_a_long_mean_takes_every_s_th_iterate(n, stride):
    iterates, means = averaged_run(Momentum(small_net(), .1, .5), n, n + 5 * stride)
    entered = iterates[stride - 1::stride]
    for count in (1, 2, n // stride):
        mean = means[count * stride - 1]
        np.testing.assert_allclose(mean, entered[:count].mean(axis=0), rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(mean, means[(count + 1) * stride - 2])        # until the next entry
    np.testing.assert_array_equal(means[:stride - 1], iterates[:stride - 1])        # before the first entry
    expected = entered[:n // stride].mean(axis=0)
    for theta in entered[n // stride:]:
        expected = expected + stride / n * (theta - expected)
    np.testing.assert_allclose(means[stride * len(entered) - 1], expected, rtol=1e-10, atol=1e-12)
    # The iterates that are left out hardly matter: the exact mean of all is as near as 5 % of
    # their standard deviation.
    exact, deviation = iterates[:n].mean(axis=0), iterates[:n].std(axis=0)
    assert (np.abs(means[n // stride * stride - 1] - exact) < .05 * deviation).all()


def test_keeping_a_mean_does_not_change_training():
    iterates, _ = averaged_run(Momentum(small_net(), .1, .5), 7, 30)
    plain, rng = Momentum(small_net(), .1, .5), np.random.default_rng(0)
    for iterate in iterates:
        plain.net.grad[...] = rng.standard_normal(4)
        plain.descend()
        np.testing.assert_array_equal(iterate, plain.net.theta)


def test_average_begins_at_theta_refuses_n_below_1_and_may_be_called_again():
    sgd = Momentum(small_net(), .1)
    with pytest.raises(ValueError, match=r"average\(0\)"):
        sgd.average(0)
    for _ in range(2):
        sgd.average(3)
    np.testing.assert_array_equal(sgd.mean, sgd.net.theta)
    assert sgd.slots == ("v", "mean") and "mean" not in type(sgd).slots


def test_theta_is_the_mean_inside_averaged_and_is_restored_after_an_exception_too(xp):
    net = Net([Linear(3, 1)])
    sgd, theta = Momentum(net, .1), xp.asnumpy(net.theta)
    with sgd.averaged():
        np.testing.assert_array_equal(xp.asnumpy(net.theta), theta)               # no mean is kept
    sgd.average(10)
    sgd.mean[...] = 7
    with pytest.raises(KeyError), sgd.averaged():
        assert (xp.asnumpy(net.theta) == 7).all()
        raise KeyError
    np.testing.assert_array_equal(xp.asnumpy(net.theta), theta)


# --- Schedules --------------------------------------------------------------------------------


def test_decay_and_ramp_are_functions_of_the_number_of_updates():
    lr = Decay(.1)
    assert lr(0) == .1 and lr(1) == pytest.approx(.1 / 1.000004) and lr(10 ** 7) == 1e-6
    by_hand = .1
    for _ in range(1000):
        by_hand /= 1.000004
    assert lr(1000) == pytest.approx(by_hand, rel=1e-12)
    mu = Ramp(500)
    assert mu(0) == mu(499) == .5 and mu(249 * 500) == mu(10 ** 6) == pytest.approx(.7)
    assert mu(500) == pytest.approx(.5 + .2 / 249) and mu(124 * 500) < .6 < mu(125 * 500)


def test_warm_up_has_the_published_k_by_default():
    k = WarmUp()
    assert [i for i in range(1501) if k(i) == 100] == [*range(25), 500, 1000, 1500]
    assert {k(i) for i in range(1501)} == {5, 100}
    k = WarmUp(2, first=7, until=0, every=3)
    assert [k(i) for i in range(7)] == [7, 2, 2, 7, 2, 2, 7]


def test_linear_decay_is_constant_in_the_first_half_then_falls_linearly_to_0_and_stays_there():
    lr = LinearDecay(.4, 8)
    assert [lr(t) for t in range(11)] == pytest.approx([.4] * 5 + [.3, .2, .1, 0, 0, 0], abs=1e-15)


# --- Projections ------------------------------------------------------------------------------


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
    projected = xp.asnumpy(net.theta)
    MaxColumnNorm(1.9365)(net)
    np.testing.assert_allclose(xp.asnumpy(net.theta), projected, rtol=1e-14)


def test_a_projection_follows_every_update_and_the_mean_is_of_projected_iterates(xp):
    net = Net([Linear(5, 4)], "float64")
    sgd = Momentum(net, 1., project=Clip(.01))
    sgd.average(1)
    net.grad[...] = 1
    sgd.ascend()
    assert float(net.theta.min()) == float(net.theta.max()) == .01
    assert float(abs(sgd.mean - .01).max()) < 1e-15
    sgd.descend()
    sgd.descend()
    assert float(net.theta.max()) == -.01


# --- Priors -----------------------------------------------------------------------------------


def draw(xp, prior, dtype="float64", m=20_000, n=10):
    """m noise samples of n numbers, as a NumPy array."""
    z = xp.zeros((m, n), dtype)
    prior(xp.default_rng(0), z)
    assert str(z.dtype) == dtype
    return xp.asnumpy(z)


def test_priors_have_their_distributions(xp):
    z = draw(xp, Uniform())
    assert abs(z).max() <= math.sqrt(3) and z.std() == pytest.approx(1, rel=.01)
    assert z.mean() == pytest.approx(0, abs=.01)
    assert (abs(z) < math.sqrt(3) / 2).mean() == pytest.approx(.5, abs=.005)
    assert abs(draw(xp, Uniform(.5))).max() == pytest.approx(.5, rel=1e-3)
    z = draw(xp, Normal(), "float32")
    assert z.std() == pytest.approx(1, rel=.01) and (abs(z) < 1.96).mean() == pytest.approx(.95, abs=.005)
    z = draw(xp, Spherical())
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), math.sqrt(10))
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=.03)
