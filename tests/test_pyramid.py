"""The Laplacian pyramid, and training with conditions."""

import numpy as np
import pytest
from test_step import differences

from npgan import gan, gradcheck, pyramid
from npgan.conv import Conv2d, Reshape
from npgan.gan import Players
from npgan.layers import Dropout, Linear, Maxout, ReLU, Tanh
from npgan.net import Net
from npgan.objectives import GENERATOR_LOSSES
from npgan.penalty import R1
from npgan.priors import Uniform
from npgan.pyramid import AddCondition, ClassPlane, Conditions, one_hot

M, SIZE, CLASSES = 4, 4, 3


def randn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# --- The pyramid ------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_synthesis_is_the_inverse_of_analysis(xp, levels):
    x = randn(3, 2, 16, 24)
    levels_of_x = pyramid.analysis(xp.asarray(x), levels)
    assert [a.shape for a in levels_of_x] == [(3, 2, 16 >> k, 24 >> k) for k in [*range(levels), levels]]
    assert np.abs(xp.asnumpy(pyramid.synthesis(levels_of_x)) - x).max() < 1e-12


def test_down_is_the_mean_of_four_pixels():
    x = randn(2, 3, 4, 6)
    assert np.allclose(pyramid.down(x), x.reshape(2, 3, 2, 2, 3, 2).mean(axis=(3, 5)), atol=1e-14)


def test_up_is_bilinear_interpolation_between_the_centres_of_pixels():
    x = randn(1, 1, 5, 6)
    rows, columns = np.clip((np.arange(10) + .5) / 2 - .5, 0, 4), np.clip((np.arange(12) + .5) / 2 - .5, 0, 5)
    in_rows = np.stack([np.interp(columns, np.arange(6), row) for row in x[0, 0]])
    expected = np.stack([np.interp(rows, np.arange(5), column) for column in in_rows.T], axis=1)
    assert np.allclose(pyramid.up(x)[0, 0], expected, atol=1e-14)


def test_a_constant_image_has_no_details():
    details, top = pyramid.analysis(np.full((1, 3, 8, 8), .7), 1)
    assert np.abs(details).max() < 1e-15 and np.allclose(top, .7)


# --- The prior of a conditional generator -----------------------------------------------------


def test_each_row_of_the_prior_is_noise_and_a_random_condition(xp):
    conditions = randn(5, 2, 3, 3).astype("float32")
    z = xp.empty((4000, 3, 3, 3), "float32")
    Conditions(conditions, Uniform(1.))(xp.default_rng(1), z)
    z = xp.asnumpy(z)
    equal = (z[:, None, 1:] == conditions).all(axis=(2, 3, 4))                      # (rows, conditions)
    assert (equal.sum(axis=1) == 1).all() and (equal.sum(axis=0) > 700).all()
    noise = z[:, 0]
    assert abs(noise.mean()) < .02 and abs(noise.var() - 1 / 3) < .01 and np.abs(noise).max() <= 1
    assert abs(np.corrcoef(noise[:-1, 0, 0], noise[1:, 0, 0])[0, 1]) < .05


def test_the_prior_fills_noise_on_the_host_as_on_the_device(xp):
    prior, z = Conditions(randn(5, 2).astype("float32"), Uniform()), np.empty((6, 4), "float32")
    prior(np.random.default_rng(0), z)
    again = np.empty_like(z)
    prior(np.random.default_rng(0), again)
    assert np.array_equal(z, again) and all(row[2:] in prior.conditions for row in z)


# --- Gradients --------------------------------------------------------------------------------


def conditional_players(xp, loss="non-saturating", penalty=None, classes=True):
    """(players, x, z): players of one level, 4 x 4 pixels of 2 colours, and minibatches."""
    appended = int(classes)
    inputs, image = (1 + 2 + appended, SIZE, SIZE), (2 + appended, SIZE, SIZE)
    G = [Conv2d(inputs, 3, 3, pad=1), Tanh(), Conv2d((3, SIZE, SIZE), 2, 3, pad=1), AddCondition(2, appended)]
    D = [Conv2d(image, 6, 3), Maxout(2), Reshape((3 * 4,)), Dropout(.5), Linear(12, 1)]
    if classes:
        G, D = [ClassPlane(inputs, CLASSES), *G], [ClassPlane(image, CLASSES), *D]
    players = Players(Net(G, "float64", 1), Net(D, "float64", 2), M, generator_loss=loss, penalty=penalty)
    players.draw_masks_d(xp.default_rng(3))
    codes = one_hot(np.arange(M) % CLASSES, CLASSES, (SIZE, SIZE))[:, :appended]
    x = np.concatenate([randn(M, 2, SIZE, SIZE), codes], axis=1)
    z = np.concatenate([randn(M, 3, SIZE, SIZE, seed=1), codes[::-1]], axis=1)
    return players, xp.asarray(x), xp.asarray(z)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("loss", GENERATOR_LOSSES)
def test_both_players_gradients_are_those_of_central_differences(xp, loss, classes):
    players, x, z = conditional_players(xp, loss, classes=classes)

    def V():
        return gan.discriminator_gradient(players, x, z)[0]

    V()
    assert gradcheck.error(V, players.D.theta, players.D.grad) < gradcheck.TOLERANCE

    def J():
        players.G.forward(players.tape_g)
        players.D.forward(players.tape_fake)
        return players.objective.J(players.tape_fake.x[-1], loss).mean()

    gan.generator_gradient(players, z)
    assert gradcheck.error(J, players.G.theta, players.G.grad) < gradcheck.TOLERANCE


def test_the_gradient_with_a_penalty_is_that_of_central_differences(xp):
    penalty = R1(3.)
    players, x, z = conditional_players(xp, penalty=penalty)

    def V():
        return gan.discriminator_gradient(players, x, z)[0] - penalty.P

    V()
    assert gradcheck.error(V, players.D.theta, players.D.grad) < gradcheck.TOLERANCE


# The oracle: V and J of a fully connected level, in NumPy alone.

PIXELS, NOISE, UNITS = 6, 2, 5


def oracle_G(theta, z):
    """l + f(z, l, class), and the class, for rows z = [z, l, class]."""
    W0, b0, W1, b1 = theta
    details = np.tanh(z @ W0 + b0) @ W1 + b1
    return np.hstack([z[:, NOISE:NOISE + PIXELS] + details, z[:, NOISE + PIXELS:]])


def oracle_a(theta, x):
    W0, b0, W1, b1 = theta
    return (np.maximum(x @ W0 + b0, 0) @ W1 + b1)[:, 0]


def oracle_V(theta_d, theta_g, x, z):
    return (-np.log1p(np.exp(-oracle_a(theta_d, x))).mean()
            - np.log1p(np.exp(oracle_a(theta_d, oracle_G(theta_g, z)))).mean())


def oracle_J(loss, theta_d, theta_g, z):
    a = oracle_a(theta_d, oracle_G(theta_g, z))
    return {"non-saturating": np.log1p(np.exp(-a)).mean(), "minimax": -np.log1p(np.exp(a)).mean()}[loss]


def flat(arrays):
    return np.concatenate([a.ravel() for a in arrays])


@pytest.mark.parametrize("loss", GENERATOR_LOSSES)
def test_the_players_gradients_are_those_of_an_independent_oracle(xp, loss):
    seen = NOISE + PIXELS + CLASSES
    G = Net([Linear(seen, UNITS), Tanh(), Linear(UNITS, PIXELS), AddCondition(PIXELS, CLASSES)], "float64", 1)
    D = Net([Linear(PIXELS + CLASSES, UNITS), ReLU(), Linear(UNITS, 1)], "float64", 2)
    players = Players(G, D, M, generator_loss=loss)
    x, z = randn(M, PIXELS + CLASSES), randn(M, seen, seed=1)
    theta_g, theta_d = ([xp.asnumpy(a) for a in net.named_parameters().values()] for net in (G, D))
    gan.discriminator_gradient(players, xp.asarray(x), xp.asarray(z))
    expected = flat(differences(lambda theta: oracle_V(theta, theta_g, x, z), theta_d))
    assert np.allclose(xp.asnumpy(D.grad), expected, atol=1e-8)
    assert np.allclose(xp.asnumpy(players.Gz), oracle_G(theta_g, z), atol=1e-12)
    gan.generator_gradient(players, xp.asarray(z))
    expected = flat(differences(lambda theta: oracle_J(loss, theta_d, theta, z), theta_g))
    assert np.allclose(xp.asnumpy(G.grad), expected, atol=1e-8)


# --- The layers -------------------------------------------------------------------------------


def test_a_network_with_a_condition_gives_the_same_from_a_call_as_from_a_tape(xp):
    players, _, z = conditional_players(xp)
    gan.generator_gradient(players, z)
    assert np.array_equal(xp.asnumpy(players.G(z)), xp.asnumpy(players.Gz))


def test_a_level_without_low_pass_image_only_appends_the_class():
    G = Net([Linear(5, 4), AddCondition(0, 3)], "float64")
    z = randn(2, 5)
    assert np.allclose(G(z), np.hstack([z @ G.layers[0].W, z[:, 2:]]))


def test_the_class_plane_is_the_row_of_its_class():
    net = Net([ClassPlane((2, 2, 3), 4)], "float64")
    x = np.concatenate([randn(3, 1, 2, 3), one_hot([2, 0, 2], 4, (2, 3))], axis=1)
    y = net(x)
    assert np.array_equal(y[:, 0], x[:, 0])
    assert np.array_equal(y[:, 1].reshape(3, 6), net.layers[0].W[[2, 0, 2]])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"AddCondition\(2, 0\): adds 2 channels to 3"):
        Net([Linear(4, 3), AddCondition(2)])
    with pytest.raises(ValueError, match="a plane of 2 x 2 cannot hold 5 classes"):
        ClassPlane((3, 2, 2), 5)
