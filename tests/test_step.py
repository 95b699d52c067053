"""Each player's whole update, compared with an oracle of its equation in float64 NumPy.

The oracle uses nothing of npgan.
"""

import ast
import inspect
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from npgan import gan, gradcheck
from npgan.conv import Conv2d, Reshape
from npgan.divergences import OBJECTIVES
from npgan.layers import Dropout, Linear, Maxout, Noise, ReLU, Sigmoid, Tanh, constant
from npgan.net import Net
from npgan.objectives import GAN, GENERATOR_LOSSES
from npgan.optim import Momentum, WarmUp
from npgan.penalty import GradientPenalty
from npgan.priors import Normal
from npgan.runs.fit import skip

M, NOISE, WIDTH, PIXELS, UNITS, PIECES = 4, 3, 6, 5, 4, 3


# --- The oracle: networks and equations, with derivatives by central differences --------------


def G_of(theta, z):
    W0, b0, W1, b1 = theta
    return sigmoid(np.maximum(z @ W0 + b0, 0) @ W1 + b1)


def a_of(theta, x, masks):
    """D's logits a(x), with the two dropout masks of the pass."""
    W0, b0, W1, b1 = theta
    h = (x * masks[0]) @ W0 + b0
    h = np.max([h[:, i * UNITS:(i + 1) * UNITS] for i in range(PIECES)], axis=0)
    return ((h * masks[1]) @ W1 + b1)[:, 0]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def jeffrey(t):
    """f*(t) = sup over u > 0 of u t - f(u), with f = (u - 1) log u.

    The search goes over ever finer grids of s = log u.
    """
    s, around = np.zeros_like(t), np.linspace(-1, 1, 25)[:, None]
    for i in range(10):
        grid = s + 12. ** (1 - i) * around
        value = np.exp(grid) * t - (np.exp(grid) - 1) * grid
        s = np.take_along_axis(grid, value.argmax(axis=0)[None], axis=0)
    return value.max(axis=0)


# T(a) and f*(t) as published. "gan" is equation 1 of Goodfellow et al. 2014. "wasserstein" is
# from Arjovsky, Chintala, Bottou 2017. "lecture-wasserstein" is the general f objective with
# f(D) = D. The others are from Nowozin, Cseke, Tomioka 2016, where T is called g_f.
PUBLISHED = {
    "gan": (lambda a: np.log(sigmoid(a)), lambda t: -np.log(1 - np.exp(t))),
    "kl": (lambda a: a, lambda t: np.exp(t - 1)),
    "reverse-kl": (lambda a: -np.exp(-a), lambda t: -1 - np.log(-t)),
    "pearson": (lambda a: a, lambda t: t ** 2 / 4 + t),
    "neyman": (lambda a: 1 - np.exp(-a), lambda t: 2 - 2 * np.sqrt(1 - t)),
    "hellinger": (lambda a: 1 - np.exp(-a), lambda t: t / (1 - t)),
    "jeffrey": (lambda a: a, jeffrey),
    "jensen-shannon": (lambda a: np.log(2) - np.log(1 + np.exp(-a)), lambda t: -np.log(2 - np.exp(t))),
    "total-variation": (lambda a: np.tanh(a) / 2, lambda t: t),
    "alpha": (lambda a: a, lambda t: (t / 2 + 1) ** 3 / 1.5 - 1 / 1.5),
    "wasserstein": (lambda a: a, lambda t: t),
    "lecture-wasserstein": (sigmoid, lambda t: t - 1),
}


def V(name, theta_d, theta_g, x, z, masks_x, masks_z):
    """V = E_x[ T(a(x)) ] - E_z[ f*(T(a(G(z)))) ]"""
    T, f_star = PUBLISHED[name]
    a_x, a_Gz = a_of(theta_d, x, masks_x), a_of(theta_d, G_of(theta_g, z), masks_z)
    return np.mean(T(a_x)) - np.mean(f_star(T(a_Gz)))


def J(name, loss, theta_d, theta_g, z, masks):
    """G's loss: E_z[ -f*(T(a(G(z)))) ] (minimax) or E_z[ -T(a(G(z))) ] (non-saturating)."""
    T, f_star = PUBLISHED[name]
    t = T(a_of(theta_d, G_of(theta_g, z), masks))
    return {"minimax": -np.mean(f_star(t)), "non-saturating": -np.mean(t)}[loss]


def differences(f, theta, h=1e-5):
    """df/dtheta, by central differences in each parameter."""
    gradient = [np.zeros_like(a) for a in theta]
    for a, g in zip(theta, gradient):
        for i in np.ndindex(a.shape):
            kept = a[i]
            a[i] = kept + h
            above = f(theta)
            a[i] = kept - h
            g[i] = (above - f(theta)) / (2 * h)
            a[i] = kept
    return gradient


class OracleMomentum:
    """v <- mu v + lr g;  theta <- theta + sign v, on lists of arrays."""

    def __init__(self, theta, lr, mu, sign):
        self.theta, self.lr, self.mu, self.sign = theta, lr, mu, sign
        self.v = [np.zeros_like(a) for a in theta]

    def step(self, gradient):
        for a, v, g in zip(self.theta, self.v, gradient):
            v *= self.mu
            v += self.lr * g
            a += self.sign * v


# --- The game of the oracle in npgan ----------------------------------------------------------


GAMES = pytest.mark.parametrize("game", list(itertools.product(PUBLISHED, GENERATOR_LOSSES)), indirect=True,
                                ids=" ".join)
LR_D, LR_G, MU = .07, .11, .6


@pytest.fixture
def game(request):
    """(players, examples) of one objective and one loss of G."""
    objective, loss = request.param
    rng = np.random.default_rng(7)

    def linear(n, k):
        return Linear(n, k, constant(.3 * rng.standard_normal((n, k))), constant(.3 * rng.standard_normal(k)))

    G = Net([linear(NOISE, WIDTH), ReLU(), linear(WIDTH, PIXELS), Sigmoid()], "float64")
    D = Net([Dropout(.8), linear(PIXELS, UNITS * PIECES), Maxout(PIECES), Dropout(.5), linear(UNITS, 1)],
            "float64")
    p = gan.Players(G, D, M, OBJECTIVES[objective], loss)
    examples = itertools.cycle([rng.random((M, PIXELS)) for _ in range(3)])
    return p, examples


def parameters(net):
    return [a.copy() for a in net.named_parameters().values()]


def masks(tape):
    """Copies of what was drawn for the random layers of a tape."""
    return [extra[0].copy() for extra in tape.extra if extra]


def flat(arrays):
    return np.concatenate([a.ravel() for a in arrays])


def assert_all_differ(draws):
    """No two of the draws are equal. A draw is a list of arrays."""
    for a, b in itertools.combinations(draws, 2):
        assert not np.array_equal(flat(a), flat(b))


def spy(gradient, look):
    """`gradient`, with a call of look(players, *arrays) before it."""
    def call(p, *arrays):
        look(p, *arrays)
        return gradient(p, *arrays)
    return call


def optimizers(p):
    return Momentum(p.D, LR_D, MU), Momentum(p.G, LR_G, MU)


def oracle_optimizers(p):
    return OracleMomentum(parameters(p.D), LR_D, MU, +1), OracleMomentum(parameters(p.G), LR_G, MU, -1)


def assert_parameters_are(p, theta_d, theta_g):
    for net, theta in ((p.D, theta_d), (p.G, theta_g)):
        for ours, expected in zip(parameters(net), theta):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("k", [1, 2])
@GAMES
def test_two_iterations_of_algorithm_1_follow_the_equation_of_the_objective_with_momentum(game, k):
    p, examples = game
    oracle_d, oracle_g = oracle_optimizers(p)
    theta_d, theta_g = oracle_d.theta, oracle_g.theta
    passes = []                                     # what each gradient was computed from

    def look_d(p, x, z):
        passes.append(("D", x, z.copy(), masks(p.tape_real), masks(p.tape_fake)))

    def look_g(p, z):
        passes.append(("G", None, z.copy(), masks(p.tape_real), masks(p.tape_fake)))

    records = list(gan.train(p, examples, Normal(), *optimizers(p), np.random.default_rng(0), 2, k,
                             discriminator_gradient=spy(gan.discriminator_gradient, look_d),
                             generator_gradient=spy(gan.generator_gradient, look_g)))

    assert [player for player, *_ in passes] == (["D"] * k + ["G"]) * 2
    assert_all_differ([z for _, _, z, _, _ in passes])
    assert_all_differ([masks_z for *_, masks_z in passes]
                      + [masks_x for player, _, _, masks_x, _ in passes if player == "D"])
    for (*_, before, _), (player, _, _, masks_x, _) in zip(passes, passes[1:]):
        if player == "G":
            assert np.array_equal(flat(masks_x), flat(before)), "G's step draws only what it uses"
    values = []
    for player, x, z, masks_x, masks_z in passes:
        if player == "D":
            def V_of(theta_d):
                return V(p.objective.name, theta_d, theta_g, x, z, masks_x, masks_z)
            values.append(V_of(theta_d))
            oracle_d.step(differences(V_of, theta_d))
        else:
            def J_of(theta_g):
                return J(p.objective.name, p.generator_loss, theta_d, theta_g, z, masks_z)
            oracle_g.step(differences(J_of, theta_g))
    assert_parameters_are(p, theta_d, theta_g)
    np.testing.assert_allclose([r.V for r in records], values[k - 1::k], rtol=1e-6)


@GAMES
def test_the_simultaneous_update_takes_both_gradients_at_the_old_parameters_from_one_minibatch(game):
    p, examples = game
    oracle_d, oracle_g = oracle_optimizers(p)
    theta_d, theta_g = oracle_d.theta, oracle_g.theta
    passes = []

    def look(p, x, z):
        passes.append((x.copy(), z.copy(), masks(p.tape_real), masks(p.tape_fake)))

    list(gan.train_simultaneous(p, examples, Normal(), *optimizers(p), np.random.default_rng(0), 2,
                                discriminator_gradient=spy(gan.discriminator_gradient, look)))

    assert len(passes) == 2
    assert_all_differ([z for _, z, *_ in passes])
    assert_all_differ([draw for *_, masks_x, masks_z in passes for draw in (masks_x, masks_z)])
    for x, z, masks_x, masks_z in passes:
        objective, loss = p.objective.name, p.generator_loss
        g_d = differences(lambda theta: V(objective, theta, theta_g, x, z, masks_x, masks_z), theta_d)
        g_g = differences(lambda theta: J(objective, loss, theta_d, theta, z, masks_z), theta_g)
        oracle_d.step(g_d)
        oracle_g.step(g_g)
    assert_parameters_are(p, theta_d, theta_g)


@pytest.mark.parametrize("train", [gan.train, gan.train_simultaneous])
@pytest.mark.parametrize("game", [("gan", "non-saturating")], indirect=True, ids=" ".join)
def test_a_record_has_the_statistics_of_ds_last_minibatch_and_the_norms_of_both_gradients(game, train):
    p, examples = game
    found = []

    def look(p, x, z):
        a_x = a_of(parameters(p.D), x, masks(p.tape_real))
        a_Gz = a_of(parameters(p.D), G_of(parameters(p.G), z), masks(p.tape_fake))
        found.append((np.mean(np.log(sigmoid(a_x))) + np.mean(np.log(sigmoid(-a_Gz))),
                      np.mean(sigmoid(a_x)), np.mean(sigmoid(a_Gz))))

    records = train(p, examples, Normal(), *optimizers(p), np.random.default_rng(0), 3,
                    discriminator_gradient=spy(gan.discriminator_gradient, look))
    for i, record in enumerate(records):
        norms = np.linalg.norm(p.D.grad), np.linalg.norm(p.G.grad)
        assert record == pytest.approx((i, *found[-1], *norms), rel=1e-9)


@pytest.mark.parametrize("game", [("gan", "minimax")], indirect=True, ids=" ".join)
def test_the_simultaneous_update_refuses_k_above_one(game):
    p, examples = game
    with pytest.raises(ValueError, match="k = 2"):
        next(gan.train_simultaneous(p, examples, None, None, None, None, 1, k=2))


def test_both_generator_losses_raise_the_logit_but_only_the_minimax_loss_saturates():
    a = np.array([-30., -5., 0., 5.])                # a = -30: D is sure that the example is generated
    minimax, non_saturating = GAN.dJ(a, "minimax"), GAN.dJ(a, "non-saturating")
    assert (minimax < 0).all() and (non_saturating < 0).all()
    assert abs(minimax[0]) < 1e-12 and abs(non_saturating[0]) > .999


def test_an_unknown_generator_loss_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match='"saturated" is unknown.*non-saturating, minimax'):
        GAN.dJ(np.zeros(3), "saturated")


# --- What a step reads and writes -------------------------------------------------------------


def test_nothing_leaks_from_one_step_to_the_next():
    """Equal x, z and masks give equal gradients, whatever was computed in between.

    NaN in every buffer changes nothing either.
    """
    p, x, z = gradcheck.game(GAN, "non-saturating")
    statistics = gan.discriminator_gradient(p, x, z)
    g_d = p.D.grad.copy()
    gan.generator_gradient(p, z)
    g_g = p.G.grad.copy()
    gan.discriminator_gradient(p, 1 - x, -z)
    gan.generator_gradient(p, 3 * z)
    for tape in (p.tape_g, p.tape_d):
        for buffer in (*tape.x, *tape.dx):
            buffer[...] = np.nan
    p.D.grad[...] = p.G.grad[...] = np.nan
    assert gan.discriminator_gradient(p, x, z) == statistics
    np.testing.assert_array_equal(p.D.grad, g_d)
    gan.generator_gradient(p, z)
    np.testing.assert_array_equal(p.G.grad, g_g)


def test_a_players_gradient_leaves_the_other_players_gradient_and_all_parameters_alone():
    p, x, z = gradcheck.game(GAN, "minimax")
    before = p.G.theta.copy(), p.D.theta.copy()
    p.G.grad[...] = p.D.grad[...] = p.z[...] = 42
    gan.discriminator_gradient(p, x, z)
    assert (p.G.grad == 42).all()
    p.D.grad[...] = 42
    gan.generator_gradient(p, z)
    assert (p.D.grad == 42).all() and (p.z == 42).all()
    np.testing.assert_array_equal(p.G.theta, before[0])
    np.testing.assert_array_equal(p.D.theta, before[1])


def test_the_gradient_leaves_theta_and_ascend_adds_v_to_theta():
    G = Net([Linear(2, 3), Tanh()], "float64")
    D = Net([Linear(3, 1)], "float64")
    p = gan.Players(G, D, 4)
    rng = np.random.default_rng(0)
    sgd, before = Momentum(D, .5, .9), D.theta.copy()
    gan.discriminator_gradient(p, rng.random((4, 3)), rng.random((4, 2)))
    np.testing.assert_array_equal(D.theta, before)
    sgd.ascend()
    np.testing.assert_allclose(D.theta - before, .5 * D.grad, rtol=1e-12)


def test_ds_tape_has_the_real_examples_above_and_the_generated_examples_below():
    p, x, z = gradcheck.game(GAN, "minimax")
    gan.discriminator_gradient(p, x, z)
    np.testing.assert_array_equal(p.tape_d.x[0], np.concatenate([x, p.G(z)]))
    for tape, rows in ((p.tape_real, slice(0, p.m)), (p.tape_fake, slice(p.m, None))):
        np.testing.assert_array_equal(tape.x[-1], p.tape_d.x[-1][rows])


def test_the_gradient_of_a_minibatch_is_the_mean_of_the_gradients_of_its_examples():
    """So a minibatch of 1 example is enough for the players."""
    rng = np.random.default_rng(0)
    x, z = rng.random((3, 3)), rng.random((3, 2))

    def gradients(x, z):
        G, D = Net([Linear(2, 3), Tanh()], "float64", 1), Net([Linear(3, 1)], "float64", 2)
        p = gan.Players(G, D, len(x))
        statistics = gan.discriminator_gradient(p, x, z)
        gan.generator_gradient(p, z)
        return np.concatenate([statistics, D.grad, G.grad])

    mean = np.mean([gradients(x[i:i + 1], z[i:i + 1]) for i in range(3)], axis=0)
    np.testing.assert_allclose(gradients(x, z), mean, rtol=1e-12, atol=1e-15)


# --- k, D's steps in each iteration -----------------------------------------------------------


def a_game_in_one_dimension():
    """(players, sgd_d, sgd_g, a counter of the minibatches drawn, the minibatches, rng)"""
    p = gan.Players(Net([Linear(1, 1), Dropout(.5)]), Net([Dropout(.5), Linear(1, 1)]), 3,
                    penalty=GradientPenalty())
    counter = itertools.count()
    examples = (np.full((3, 1), i % 5) for i in counter)
    return p, Momentum(p.D, .01), Momentum(p.G, .01), counter, examples, np.random.default_rng(0)


def test_k_may_be_a_function_of_the_iteration():
    p, sgd_d, sgd_g, counter, examples, rng = a_game_in_one_dimension()
    k = WarmUp(2, first=4, until=2, every=5)
    updates = [(record.iteration, sgd_d.t, sgd_g.t)
               for record in gan.train(p, examples, Normal(), sgd_d, sgd_g, rng, 7, k)]
    assert updates == [(0, 4, 1), (1, 8, 2), (2, 10, 3), (3, 12, 4), (4, 14, 5), (5, 18, 6), (6, 20, 7)]
    assert next(counter) == 20, "D takes a minibatch of examples in each of its steps"


def test_a_constant_function_for_k_trains_as_the_number_does():
    found = []
    for k in (3, lambda i: 3):
        p, sgd_d, sgd_g, counter, examples, rng = a_game_in_one_dimension()
        list(gan.train(p, examples, Normal(), sgd_d, sgd_g, rng, 4, k))
        found.append((*p.D.theta, *p.G.theta, next(counter), rng.random()))
    assert found[0] == found[1]


def test_an_iteration_with_k_below_1_is_refused():
    p, sgd_d, sgd_g, _, examples, rng = a_game_in_one_dimension()
    records = gan.train(p, examples, Normal(), sgd_d, sgd_g, rng, 4, lambda i: 2 - i)
    assert [next(records).iteration, next(records).iteration] == [0, 1]
    with pytest.raises(ValueError, match="^k = 0 at iteration 2: D makes one step or more$"):
        next(records)


def test_skip_draws_as_much_as_training_with_a_schedule_of_k():
    after = []
    for skipping in (True, False):
        p, sgd_d, sgd_g, counter, examples, rng = a_game_in_one_dimension()
        if skipping:
            skip(p, examples, Normal(), rng, 4, lambda i: 3 - i % 2)
        else:
            list(gan.train(p, examples, Normal(), sgd_d, sgd_g, rng, 4, lambda i: 3 - i % 2))
        after.append((next(counter), rng.random()))
    assert after[0] == after[1] and after[0][0] == 3 + 2 + 3 + 2


# --- Packs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", GENERATOR_LOSSES)
def test_a_packed_discriminator_judges_samples_side_by_side(loss):
    """Both gradients of equation 1 over 3 packs of 2. D is a function of both examples."""
    rng = np.random.default_rng(0)
    G = Net([Linear(2, 3), Tanh()], "float64", 1)
    D = Net([Linear(6, 4), Tanh(), Linear(4, 1)], "float64", 2)
    p = gan.Players(G, D, 6, GAN, loss, pack=2)
    x, z = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    theta_d, theta_g = parameters(D), parameters(G)

    def prob(theta_d, x):
        W0, b0, W1, b1 = theta_d
        pairs = np.stack([np.concatenate([x[i], x[i + 1]]) for i in (0, 2, 4)])
        return sigmoid(np.tanh(pairs @ W0 + b0) @ W1 + b1)

    def samples(theta_g):
        return np.tanh(z @ theta_g[0] + theta_g[1])

    def V(theta_d):
        return np.mean(np.log(prob(theta_d, x))) + np.mean(np.log(1 - prob(theta_d, samples(theta_g))))

    def J(theta_g):
        D_Gz = prob(theta_d, samples(theta_g))
        return np.mean(np.log(1 - D_Gz)) if loss == "minimax" else -np.mean(np.log(D_Gz))

    found, _, _ = gan.discriminator_gradient(p, x, z)
    assert found == pytest.approx(V(theta_d), rel=1e-12)
    for expected, g in zip(differences(V, theta_d), D.named(D.grad).values()):
        np.testing.assert_allclose(g, expected, rtol=1e-7, atol=1e-9)
    gan.generator_gradient(p, z)
    for expected, g in zip(differences(J, theta_g), G.named(G.grad).values()):
        np.testing.assert_allclose(g, expected, rtol=1e-7, atol=1e-9)


# --- What is refused, and what is drawn -------------------------------------------------------


def test_players_that_do_not_fit_are_refused_with_the_reason():
    for G, D in ((Net([Linear(2, 3)]), Net([Linear(4, 1)])), (Net([Linear(2, 4)]), Net([Linear(4, 2)]))):
        with pytest.raises(ValueError, match="ends in"):
            gan.Players(G, D, 5)
    with pytest.raises(ValueError, match=r"D must take \(6,\), since G ends in \(3,\) and pack = 2"):
        gan.Players(Net([Linear(2, 3)]), Net([Linear(3, 1)]), 6, pack=2)
    G = Net([Linear(2, 8), Reshape((2, 2, 2))])
    D = Net([Conv2d((2, 4, 1), 1, 1), Reshape((4,)), Linear(4, 1)])
    with pytest.raises(ValueError, match=r"D must take \(2, 2, 2\), since G ends in \(2, 2, 2\)"):
        gan.Players(G, D, 6)
    with pytest.raises(ValueError, match="G is float32 and D is float64: make both of one dtype"):
        gan.Players(Net([Linear(2, 3)]), Net([Linear(3, 1)], "float64"), 5)
    with pytest.raises(ValueError, match="m = 5: a minibatch needs m >= 1, a multiple of pack = 2"):
        gan.Players(Net([Linear(2, 3)]), Net([Linear(6, 1)]), 5, pack=2)


@pytest.mark.parametrize("m", [0, -2])
def test_players_of_an_empty_minibatch_are_refused(m):
    with pytest.raises(ValueError, match=f"^m = {m}: a minibatch needs m >= 1"):
        gan.Players(Net([Linear(2, 3)]), Net([Linear(3, 1)]), m)


@pytest.mark.parametrize("wrong", [
    lambda x: x[:1], lambda x: x[0], lambda x: x[:, :1], lambda x: 1., lambda x: x[None],
    lambda x: x[:-1], lambda x: np.concatenate([x, x])])
@pytest.mark.parametrize("which", ["x", "z"])
def test_a_minibatch_of_another_shape_is_refused_with_both_shapes_and_changes_nothing(which, wrong):
    """NumPy would silently broadcast the first four: a row, a vector, a column, a number."""
    p, x, z = gradcheck.game(GAN, "non-saturating")
    right = {"x": x, "z": z}
    bad = right | {which: wrong(right[which])}
    found, wanted = (re.escape(str(np.shape(a[which]))) for a in (bad, right))
    before = p.D.grad.copy(), p.x.copy()
    message = f"^{which} has shape {found}, but the players were made for {wanted}$"
    with pytest.raises(ValueError, match=message):
        gan.discriminator_gradient(p, **bad)
    np.testing.assert_array_equal(p.D.grad, before[0])
    np.testing.assert_array_equal(p.x, before[1])
    if which == "z":
        with pytest.raises(ValueError, match=message):
            gan.generator_gradient(p, bad["z"])


@pytest.mark.parametrize("train", [gan.train, gan.train_simultaneous])
def test_examples_that_end_early_are_an_error_that_names_the_iteration(train):
    p, sgd_d, sgd_g, _, _, rng = a_game_in_one_dimension()
    records = train(p, iter([np.ones((3, 1))] * 2), Normal(), sgd_d, sgd_g, rng, 5)
    assert [next(records).iteration, next(records).iteration] == [0, 1]
    with pytest.raises(ValueError, match="^the examples ended at iteration 2"):
        next(records)


def test_random_layers_of_g_are_drawn_afresh_for_every_pass():
    G = Net([Linear(2, 40), Dropout(.5), Noise(1.), Linear(40, 1)], "float64")
    p = gan.Players(G, Net([Linear(1, 1)], "float64", 1), 4)
    assert [set(np.unique(a)) for a in masks(p.tape_g)] == [{1.}, {0.}], "off until they are drawn"
    passes = []

    def look(p, *arrays):
        passes.append(masks(p.tape_g))

    list(gan.train(p, itertools.repeat(np.ones((4, 1))), Normal(), Momentum(p.D, .01), Momentum(G, .01),
                   np.random.default_rng(0), 2,
                   discriminator_gradient=spy(gan.discriminator_gradient, look),
                   generator_gradient=spy(gan.generator_gradient, look)))
    assert len(passes) == 4
    for mask, noise in passes:
        assert set(np.unique(mask)) == {0., 2.} and len(np.unique(noise)) == noise.size
    for earlier, later in itertools.combinations(passes, 2):
        assert not any(np.array_equal(a, b) for a, b in zip(earlier, later))


# --- The README -------------------------------------------------------------------------------


def test_the_readme_shows_the_code_of_train_as_it_is():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    shown = [block.split("```")[0] for block in readme.split("```python\n")[1:]]
    loop = ast.parse(inspect.getsource(gan.train)).body[0].body[1:]              # without the docstring
    assert ast.dump(ast.Module(loop, [])) in [ast.dump(ast.parse(block)) for block in shown]
