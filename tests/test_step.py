"""Each player's whole update against its equation, written out in float64 NumPy that knows
nothing of npgan.
"""

import itertools
import re

import numpy as np
import pytest

from npgan import gan
from npgan.divergences import OBJECTIVES
from npgan.layers import Dropout, Linear, Maxout, Noise, ReLU, Sigmoid, Tanh, constant
from npgan.net import Net
from npgan.objectives import GAN, GENERATOR_LOSSES
from npgan.optim import Momentum, WarmUp
from npgan.penalty import GradientPenalty
from npgan.priors import Normal
from npgan.runs.fit import skip

M, NOISE, WIDTH, PIXELS, UNITS, PIECES = 4, 3, 6, 5, 4, 3


# --- The oracle: the paper's networks and its equation, and derivatives by brute force over every parameter ------------------


def G_(theta, z):
    W0, b0, W1, b1 = theta
    return 1 / (1 + np.exp(-(np.maximum(z @ W0 + b0, 0) @ W1 + b1)))


def a_(theta, x, masks):
    W0, b0, W1, b1 = theta
    h = (x * masks[0]) @ W0 + b0
    h = np.max([h[:, i * UNITS:(i + 1) * UNITS] for i in range(PIECES)], axis=0)
    return ((h * masks[1]) @ W1 + b1)[:, 0]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def jeffrey(t):
    """f*(t) as the supremum of u t - f(u), f = (u - 1) log u, over ever finer grids of s = log
    u.
    """
    s, around = np.zeros_like(t), np.linspace(-1, 1, 25)[:, None]
    for i in range(10):
        grid = s + 12. ** (1 - i) * around
        value = np.exp(grid) * t - (np.exp(grid) - 1) * grid
        s = np.take_along_axis(grid, value.argmax(axis=0)[None], axis=0)
    return value.max(axis=0)


# g_f(a) and f*(t) as published (Goodfellow et al. 2014; Nowozin, Cseke, Tomioka 2016; the
# lecture), and V of them
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
    g, f_star = PUBLISHED[name]
    return np.mean(g(a_(theta_d, x, masks_x))) - np.mean(f_star(g(a_(theta_d, G_(theta_g, z), masks_z))))


def J(name, loss, theta_d, theta_g, z, masks):
    g, f_star = PUBLISHED[name]
    t = g(a_(theta_d, G_(theta_g, z), masks))
    return {"minimax": -np.mean(f_star(t)), "non-saturating": -np.mean(t)}[loss]


def differences(f, theta, h=1e-5):
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


GAMES = list(itertools.product(PUBLISHED, GENERATOR_LOSSES))


# --- The same game in npgan ------------------------------------------------------------------------------------------------


@pytest.fixture
def game(request):
    objective, loss = request.param
    rng = np.random.default_rng(7)

    def linear(n, k):
        return Linear(n, k, constant(.3 * rng.standard_normal((n, k))), constant(.3 * rng.standard_normal(k)))

    G = Net([linear(NOISE, WIDTH), ReLU(), linear(WIDTH, PIXELS), Sigmoid()], "float64")
    D = Net([Dropout(.8), linear(PIXELS, UNITS * PIECES), Maxout(PIECES), Dropout(.5), linear(UNITS, 1)], "float64")
    p = gan.Players(G, D, M, OBJECTIVES[objective], loss)
    examples = itertools.cycle([rng.random((M, PIXELS)) for _ in range(3)])
    return p, examples


class Recorder:
    """A generator and a prior that remember what they gave out, so that the oracle sees the
    same noise and masks.
    """

    def __init__(self, p):
        self.rng, self.p, self.seen = np.random.default_rng(3), p, []

    def __call__(self, rng, z):
        z[...] = self.rng.standard_normal(z.shape)


def parameters(net):
    return [a.copy() for a in net.named_parameters().values()]


def masks(t):
    return [e[0].copy() for e in t.extra if e]


def oracle_step(theta, v, gradient, lr, mu, sign):
    for a, u, g in zip(theta, v, gradient):
        u *= mu
        u += lr * g
        a += sign * u


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("game", GAMES, indirect=True, ids=" ".join)
def test_two_iterations_of_algorithm_1_are_the_objectives_equation_followed_by_momentum(game, k):
    p, examples = game
    objective, lr_d, lr_g, mu = p.objective.name, .07, .11, .6
    theta_d, theta_g = parameters(p.D), parameters(p.G)
    v_d, v_g = [np.zeros_like(a) for a in theta_d], [np.zeros_like(a) for a in theta_g]

    passes = []                                     # what each gradient was computed from

    def spy(original):
        def call(p, *args):
            passes.append((original.__name__, [a.copy() for a in args], masks(p.tape_real), masks(p.tape_fake)))
            return original(p, *args)
        return call

    records = list(gan.train(p, examples, Recorder(p), Momentum(p.D, lr_d, mu), Momentum(p.G, lr_g, mu),
                             np.random.default_rng(0), 2, k,
                             discriminator_gradient=spy(gan.discriminator_gradient),
                             generator_gradient=spy(gan.generator_gradient)))

    assert [name for name, *_ in passes] == (["discriminator_gradient"] * k + ["generator_gradient"]) * 2
    values = []
    for name, args, masks_x, masks_z in passes:
        if name == "discriminator_gradient":
            x, z = args
            values.append(V(objective, theta_d, theta_g, x, z, masks_x, masks_z))
            oracle_step(theta_d, v_d, differences(lambda t: V(objective, t, theta_g, x, z, masks_x, masks_z), theta_d), lr_d, mu, +1)
        else:
            z, = args
            oracle_step(theta_g, v_g, differences(lambda t: J(objective, p.generator_loss, theta_d, t, z, masks_z), theta_g), lr_g, mu, -1)
    for net, theta in ((p.D, theta_d), (p.G, theta_g)):
        for ours, expected in zip(parameters(net), theta):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose([r.V for r in records], values[k - 1::k], rtol=1e-6)
    noises = [args[-1] for _, args, *_ in passes]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(noises, 2)), "fresh noise for every pass, G's included"
    drawn = [np.concatenate([m.ravel() for m in masks_z]) for *_, masks_z in passes]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(drawn, 2)), "fresh masks for every pass"


@pytest.mark.parametrize("game", GAMES, indirect=True, ids=" ".join)
def test_the_simultaneous_update_takes_both_gradients_at_the_old_parameters_from_one_minibatch(game):
    p, examples = game
    objective, lr_d, lr_g, mu = p.objective.name, .07, .11, .6
    theta_d, theta_g = parameters(p.D), parameters(p.G)
    v_d, v_g = [np.zeros_like(a) for a in theta_d], [np.zeros_like(a) for a in theta_g]
    seen = []

    def spy(p, x, z):
        seen.append((x.copy(), z.copy(), masks(p.tape_real), masks(p.tape_fake)))
        return gan.discriminator_gradient(p, x, z)

    list(gan.train_simultaneous(p, examples, Recorder(p), Momentum(p.D, lr_d, mu), Momentum(p.G, lr_g, mu),
                                np.random.default_rng(0), 2, discriminator_gradient=spy))

    assert len(seen) == 2
    for x, z, masks_x, masks_z in seen:
        g_d = differences(lambda t: V(objective, t, theta_g, x, z, masks_x, masks_z), theta_d)
        g_g = differences(lambda t: J(objective, p.generator_loss, theta_d, t, z, masks_z), theta_g)
        oracle_step(theta_d, v_d, g_d, lr_d, mu, +1)
        oracle_step(theta_g, v_g, g_g, lr_g, mu, -1)
    for net, theta in ((p.D, theta_d), (p.G, theta_g)):
        for ours, expected in zip(parameters(net), theta):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("game", [("gan", "minimax")], indirect=True, ids=" ".join)
def test_the_simultaneous_update_refuses_k_above_one(game):
    p, examples = game
    with pytest.raises(ValueError, match="k = 2"):
        next(gan.train_simultaneous(p, examples, None, None, None, None, 1, k=2))


def test_the_two_generator_losses_pull_the_same_way_but_only_the_minimax_one_saturates():
    a = np.array([-30., -5., 0., 5.])                # D's verdict on generated examples: -30 is a sure "generated"
    minimax, heuristic = GAN.dJ(a, "minimax"), GAN.dJ(a, "non-saturating")
    assert (minimax < 0).all() and (heuristic < 0).all()
    assert abs(minimax[0]) < 1e-12 and abs(heuristic[0]) > .999


def test_an_unknown_generator_loss_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match='"saturated" is unknown.*non-saturating, minimax'):
        GAN.dJ(np.zeros(3), "saturated")


def test_nothing_leaks_from_one_step_to_the_next():
    """The same x, z and masks give the same gradients, whatever was computed in between, and
    poisoned buffers change nothing.
    """
    from npgan.gradcheck import game
    p, x, z = game(GAN, "non-saturating")
    statistics = gan.discriminator_gradient(p, x, z)
    g_d = p.D.grad.copy()
    gan.generator_gradient(p, z)
    g_g = p.G.grad.copy()
    gan.discriminator_gradient(p, 1 - x, -z)
    gan.generator_gradient(p, 3 * z)
    for t in (p.tape_g, p.tape_d):
        for buffer in (*t.x, *t.dx):
            buffer[...] = np.nan
    p.D.grad[...] = p.G.grad[...] = np.nan
    assert gan.discriminator_gradient(p, x, z) == statistics
    np.testing.assert_array_equal(p.D.grad, g_d)
    gan.generator_gradient(p, z)
    np.testing.assert_array_equal(p.G.grad, g_g)


def test_a_players_gradient_leaves_the_other_players_gradient_and_all_parameters_alone():
    from npgan.gradcheck import game
    p, x, z = game(GAN, "minimax")
    before = p.G.theta.copy(), p.D.theta.copy()
    p.G.grad[...] = p.D.grad[...] = 42
    gan.discriminator_gradient(p, x, z)
    assert (p.G.grad == 42).all()
    p.D.grad[...] = 42
    gan.generator_gradient(p, z)
    assert (p.D.grad == 42).all()
    np.testing.assert_array_equal(p.G.theta, before[0])
    np.testing.assert_array_equal(p.D.theta, before[1])


def a_game_in_one_dimension():
    p = gan.Players(Net([Linear(1, 1), Dropout(.5)]), Net([Dropout(.5), Linear(1, 1)]), 3, penalty=GradientPenalty())
    return p, Momentum(p.D, .01), Momentum(p.G, .01), itertools.count(), np.random.default_rng(0)


def test_k_may_be_a_function_of_the_iteration():
    p, sgd_d, sgd_g, counter, rng = a_game_in_one_dimension()
    drawn, examples = [], (np.full((3, 1), i % 5) for i in counter)
    steps = gan.train(p, examples, Normal(), sgd_d, sgd_g, rng, 7, WarmUp(2, first=4, until=2, every=5))
    for record in steps:
        drawn.append((record.iteration, sgd_d.t, sgd_g.t))
    assert drawn == [(0, 4, 1), (1, 8, 2), (2, 10, 3), (3, 12, 4), (4, 14, 5), (5, 18, 6), (6, 20, 7)]
    assert next(counter) == 20, "a minibatch of examples for each step of D"


def test_a_constant_schedule_is_the_number():
    found = []
    for k in (3, lambda i: 3):
        p, sgd_d, sgd_g, counter, rng = a_game_in_one_dimension()
        list(gan.train(p, (np.full((3, 1), i % 5) for i in counter), Normal(), sgd_d, sgd_g, rng, 4, k))
        found.append((*p.D.theta, *p.G.theta, next(counter), rng.random()))
    assert found[0] == found[1]


def test_no_step_of_d_in_an_iteration_is_refused():
    p, sgd_d, sgd_g, counter, rng = a_game_in_one_dimension()
    records = gan.train(p, (np.full((3, 1), i % 5) for i in counter), Normal(), sgd_d, sgd_g, rng, 4, lambda i: 2 - i)
    assert [next(records).iteration, next(records).iteration] == [0, 1]
    with pytest.raises(ValueError, match="^k = 0 at iteration 2: D makes one step or more$"):
        next(records)


def test_skipping_draws_what_a_schedule_of_k_draws():
    after = []
    for skipping in (True, False):
        p, sgd_d, sgd_g, counter, rng = a_game_in_one_dimension()
        examples = (np.full((3, 1), i % 5) for i in counter)
        if skipping:
            skip(p, examples, Normal(), rng, 4, lambda i: 3 - i % 2)
        else:
            list(gan.train(p, examples, Normal(), sgd_d, sgd_g, rng, 4, lambda i: 3 - i % 2))
        after.append((next(counter), rng.random()))
    assert after[0] == after[1] and after[0][0] == 3 + 2 + 3 + 2


def test_the_gradient_moves_nothing_and_ascending_moves_theta_by_v_alone():
    G = Net([Linear(2, 3), Tanh()], "float64")
    D = Net([Linear(3, 1)], "float64")
    p = gan.Players(G, D, 4)
    rng = np.random.default_rng(0)
    sgd, before = Momentum(D, .5, .9), D.theta.copy()
    gan.discriminator_gradient(p, rng.random((4, 3)), rng.random((4, 2)))
    np.testing.assert_array_equal(D.theta, before)
    sgd.ascend()
    np.testing.assert_allclose(D.theta - before, .5 * D.grad, rtol=1e-12)


def test_players_that_do_not_fit_are_refused_with_their_shapes():
    for G, D in ((Net([Linear(2, 3)]), Net([Linear(4, 1)])), (Net([Linear(2, 4)]), Net([Linear(4, 2)]))):
        with pytest.raises(ValueError, match="ends in"):
            gan.Players(G, D, 5)
    with pytest.raises(ValueError, match=r"D must take \(6,\), since G ends in \(3,\) and pack = 2"):
        gan.Players(Net([Linear(2, 3)]), Net([Linear(3, 1)]), 6, pack=2)
    with pytest.raises(ValueError, match="G is float32 and D is float64: make both of one dtype"):
        gan.Players(Net([Linear(2, 3)]), Net([Linear(3, 1)], "float64"), 5)
    with pytest.raises(ValueError, match="m = 5: a minibatch has 1 example or more, in whole packs of 2"):
        gan.Players(Net([Linear(2, 3)]), Net([Linear(6, 1)]), 5, pack=2)


@pytest.mark.parametrize("loss", GENERATOR_LOSSES)
def test_a_packed_discriminator_judges_samples_side_by_side(loss):
    """Both gradients against brute force over every parameter, of equation (1) over 3 packs of
    2: D is a function of both.
    """
    rng = np.random.default_rng(0)
    G = Net([Linear(2, 3), Tanh()], "float64", 1)
    D = Net([Linear(6, 4), Tanh(), Linear(4, 1)], "float64", 2)
    p = gan.Players(G, D, 6, GAN, loss, pack=2)
    x, z = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))

    def D_of(theta, x):
        W0, b0, W1, b1 = theta
        pairs = np.stack([np.concatenate([x[i], x[i + 1]]) for i in (0, 2, 4)])
        return 1 / (1 + np.exp(-(np.tanh(pairs @ W0 + b0) @ W1 + b1)))

    def G_of(theta, z):
        return np.tanh(z @ theta[0] + theta[1])

    theta_d, theta_g = ([a.copy() for a in net.named_parameters().values()] for net in (D, G))
    found, _, _ = gan.discriminator_gradient(p, x, z)

    def V(theta):
        return np.mean(np.log(D_of(theta, x))) + np.mean(np.log(1 - D_of(theta, G_of(theta_g, z))))

    def J(theta):
        D_Gz = D_of(theta_d, G_of(theta, z))
        return np.mean(np.log(1 - D_Gz)) if loss == "minimax" else -np.mean(np.log(D_Gz))

    assert found == pytest.approx(V(theta_d), rel=1e-12)
    for expected, g in zip(differences(V, theta_d), D.named(D.grad).values()):
        np.testing.assert_allclose(g, expected, rtol=1e-7, atol=1e-9)
    gan.generator_gradient(p, z)
    for expected, g in zip(differences(J, theta_g), G.named(G.grad).values()):
        np.testing.assert_allclose(g, expected, rtol=1e-7, atol=1e-9)


def test_the_readme_shows_the_code_of_train_as_it_is():
    import ast
    import inspect
    from pathlib import Path
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    shown = readme.split("```python\n")[2].split("```")[0]                        # after hello.py
    loop = ast.parse(inspect.getsource(gan.train)).body[0].body[1:]              # without the docstring
    assert ast.dump(ast.parse(shown)) == ast.dump(ast.Module(loop, []))


# --- What is refused, and what is drawn ---------------------------------------------------------


@pytest.mark.parametrize("wrong", [lambda x: x[:1], lambda x: x[0], lambda x: x[:, :1], lambda x: 1., lambda x: x[None],
                                   lambda x: x[:-1], lambda x: np.concatenate([x, x])])
@pytest.mark.parametrize("which", ["x", "z"])
def test_a_minibatch_of_another_shape_is_refused_with_both_shapes_and_changes_nothing(which, wrong):
    """One row, a vector, a column, a number: NumPy would broadcast each of them without a word."""
    from npgan.gradcheck import game
    p, x, z = game(GAN, "non-saturating")
    bad = {"x": x, "z": z}
    bad[which] = wrong(bad[which])
    shapes = [re.escape(str(np.shape(a))) for a in (bad[which], {"x": x, "z": z}[which])]
    before = p.D.grad.copy(), p.x.copy()
    with pytest.raises(ValueError, match=f"^{which} has shape {shapes[0]}, but the players were made for {shapes[1]}$"):
        gan.discriminator_gradient(p, bad["x"], bad["z"])
    np.testing.assert_array_equal(p.D.grad, before[0])
    np.testing.assert_array_equal(p.x, before[1])
    if which == "z":
        with pytest.raises(ValueError, match="^z has shape"):
            gan.generator_gradient(p, bad["z"])


@pytest.mark.parametrize("m", [0, -2])
def test_players_of_an_empty_minibatch_are_refused(m):
    with pytest.raises(ValueError, match=f"^m = {m}: a minibatch has 1 example or more"):
        gan.Players(Net([Linear(2, 3)]), Net([Linear(3, 1)]), m)


@pytest.mark.parametrize("train", [gan.train, gan.train_simultaneous])
def test_examples_that_end_early_are_an_error_that_names_the_iteration(train):
    p, sgd_d, sgd_g, _, rng = a_game_in_one_dimension()
    records = train(p, iter([np.ones((3, 1))] * 2), Normal(), sgd_d, sgd_g, rng, 5)
    assert [next(records).iteration, next(records).iteration] == [0, 1]
    with pytest.raises(ValueError, match="^the examples ended at iteration 2"):
        next(records)


def test_random_layers_of_g_are_drawn_afresh_for_every_pass():
    """Dropout and noise in G: each player's step has new ones, and G's own step uses what it drew."""
    def random_parts(tape):
        return [e[0].copy() for e in tape.extra if e]

    G = Net([Linear(2, 40), Dropout(.5), Noise(1.), Linear(40, 1)], "float64")
    p = gan.Players(G, Net([Linear(1, 1)], "float64", 1), 4)
    assert [set(np.unique(e)) for e in random_parts(p.tape_g)] == [{1.}, {0.}], "off until they are drawn"
    seen = []

    def spy(original):
        def call(p, *args):
            seen.append(random_parts(p.tape_g))
            return original(p, *args)
        return call
    list(gan.train(p, itertools.repeat(np.ones((4, 1))), Normal(), Momentum(p.D, .01), Momentum(G, .01),
                   np.random.default_rng(0), 2, discriminator_gradient=spy(gan.discriminator_gradient),
                   generator_gradient=spy(gan.generator_gradient)))
    assert len(seen) == 4
    for masks_of_pass, noise in seen:
        assert set(np.unique(masks_of_pass)) == {0., 2.} and len(np.unique(noise)) == noise.size
    for one, other in itertools.combinations(seen, 2):
        assert not any(np.array_equal(a, b) for a, b in zip(one, other))
