"""The ten wrong GANs of docs/break_it.py. For each fault, a check passes on the right code and
fails on the wrong code, and so does a test of this suite.
"""

import importlib.util
import inspect
import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, NamedTuple

import numpy as np
import pytest

from npgan import gan, layers, net

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "pages" / "break-it.md"


def load(path):
    """The module in this file, imported afresh."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


break_it = load(ROOT / "docs" / "break_it.py")
FAULTS = break_it.FAULTS
each_fault = pytest.mark.parametrize("name", FAULTS)


def changed(file, right, wrong):
    """A fault that has no picture."""
    return break_it.Fault("", file, right, wrong, None)


# --- The checks: functions of npgan that return an error, 0 or almost 0 if the code is right --


def largest(rows):
    """The largest relative error in a table of gradcheck."""
    return max(row[3] for row in rows)


def players_of(npgan, *dropout):
    """Small players in float64, with tanh layers, which have no kinks."""
    layers, rng = npgan.layers, np.random.default_rng(0)
    G = npgan.Net([layers.Linear(3, 5), layers.Tanh(), *dropout, layers.Linear(5, 2)], "float64", 0)
    D = npgan.Net([layers.Linear(2, 6), layers.Tanh(), layers.Linear(6, 1)], "float64", 1)
    return npgan.Players(G, D, 4), itertools.repeat(rng.standard_normal((4, 2)))


def check_steps(npgan):
    """gradcheck: the gradient of each player's step"""
    return largest(npgan.gradcheck.check_steps(npgan.objectives.GAN))


def check_new_d(npgan):
    """The gradient of G in Algorithm 1 itself is that of J at the D after its update."""
    players, examples = players_of(npgan)
    list(npgan.train(players, examples, npgan.Normal(), npgan.Momentum(players.D, 1.),
                     npgan.Momentum(players.G, 0.), np.random.default_rng(0), 1))
    gradient, z = players.G.grad.copy(), players.z.copy()

    def J():
        return players.objective.J(players.D(players.G(z)), players.generator_loss).mean()
    return npgan.gradcheck.error(J, players.G.theta, gradient)


def check_linear(npgan):
    """gradcheck: the gradient of a layer's weights"""
    return largest(npgan.gradcheck.check_layer(npgan.layers.Linear(6, 4), (6,), m=5))


def check_objective(npgan):
    """gradcheck: the slopes of T, F and J"""
    return largest(npgan.gradcheck.check_objective(npgan.objectives.GAN))


def check_sampling(npgan):
    """Equal z give equal samples."""
    players, _ = players_of(npgan, npgan.layers.Dropout(.5))
    samples = players.G(np.ones((20, 3)))
    return float(np.abs(samples - samples[0]).max())


def check_penalty(npgan):
    """gradcheck: the gradient of V - P"""
    return largest(npgan.gradcheck.check_penalty(npgan.penalty.GradientPenalty()))


def check_velocity(npgan):
    """v <- mu v + lr g: v = 0.9 + 1 after two updates with g = 1, lr = 1 and mu = 0.9"""
    net = npgan.Net([npgan.layers.Linear(1, 1)], "float64")
    sgd, net.grad[...] = npgan.Momentum(net, 1., .9), 1
    sgd.descend()
    sgd.descend()
    return float(np.abs(sgd.v / 1.9 - 1).max())


def check_slope(npgan):
    """The part of J's largest slope, 1, that is lost if D(G(z)) = 1e-6"""
    players, _ = players_of(npgan)
    players.D.layers[-1].W[...], players.D.layers[-1].b[...] = 0, np.log(1e-6)
    npgan.generator_gradient(players, np.zeros((4, 3)))
    return 1 + float(players.tape_fake.dx[-1].sum())


def check_independence(npgan):
    """The correlation of D's noise and G's noise in the same iteration"""
    players, examples = players_of(npgan)
    drawn = {"D": [], "G": []}

    def gradient_d(players, x, z):
        drawn["D"].append(z.copy())
        return npgan.discriminator_gradient(players, x, z)

    def gradient_g(players, z):
        drawn["G"].append(z.copy())
        npgan.generator_gradient(players, z)
    list(npgan.train(players, examples, npgan.Normal(), npgan.Momentum(players.D, .01),
                     npgan.Momentum(players.G, .01), np.random.default_rng(0), 200,
                     discriminator_gradient=gradient_d, generator_gradient=gradient_g))
    return abs(float(np.corrcoef(np.ravel(drawn["D"]), np.ravel(drawn["G"]))[0, 1]))


def check_shape(npgan):
    """1 if a minibatch of one example is taken for a minibatch of four, else 0"""
    players, examples = players_of(npgan)
    try:
        npgan.discriminator_gradient(players, next(examples)[:1], np.zeros((4, 3)))
    except ValueError:
        return 0.
    return 1.


class Check(NamedTuple):
    """A check and its limit; a test of this suite, and how to call it from its module t."""

    check: Callable
    limit: float
    test: str
    call: Callable


def oracle(t, test):
    """Call the test with the game of the oracle: equation 1 and the non-saturating loss."""
    test(inspect.unwrap(t.game)(SimpleNamespace(param=("gan", "non-saturating"))), 1)


def plain(t, test):
    """Call a test that takes no fixture."""
    test()


def with_backend(t, test):
    """Call a test that takes the fixture xp."""
    test(importlib.import_module("npgan.backend"))


ORACLE = "test_step.py::test_two_iterations_of_algorithm_1_follow_the_equation_of_the_objective_with_momentum"
CHECKS = {
    "overwritten": Check(check_steps, 1e-7, ORACLE, oracle),
    "stale-d": Check(check_new_d, 1e-7, ORACLE, oracle),
    "mean-twice": Check(
        check_linear, 1e-7,
        "test_step.py::test_the_gradient_of_a_minibatch_is_the_mean_of_the_gradients_of_its_examples",
        plain),
    "sign": Check(
        check_objective, 1e-7,
        "test_step.py::test_both_generator_losses_raise_the_logit_but_only_the_minimax_loss_saturates",
        plain),
    "dropout": Check(
        check_sampling, 0,
        "test_layers.py::test_calling_a_network_is_its_equation_without_dropout_and_gives_a_fresh_array",
        with_backend),
    "axis": Check(
        check_penalty, 1e-7,
        "test_penalty.py::test_of_a_linear_discriminator_both_penalties_are_their_formulas_in_w",
        with_backend),
    "momentum": Check(check_velocity, 1e-12, "test_optim.py::test_momentum_follows_its_schedules", plain),
    "saturating": Check(
        check_slope, .01, "test_break_it.py::test_by_default_g_has_the_loss_that_does_not_saturate",
        plain),
    "same-noise": Check(check_independence, .1, ORACLE, oracle),
    "broadcast": Check(
        check_shape, 0,
        "test_step.py::test_a_minibatch_of_another_shape_is_refused_with_both_shapes_and_changes_nothing",
        lambda t, test: test("x", lambda x: x[:1])),
}


# --- Right code passes, wrong code does not ---------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    """{name of a fault: (error of its check on the right code, on the wrong code)}"""
    with break_it.package() as npgan:
        right = {name: CHECKS[name].check(npgan) for name in FAULTS}
    wrong = {}
    for name, fault in FAULTS.items():
        with break_it.package(fault) as npgan:
            wrong[name] = CHECKS[name].check(npgan)
    return {name: (right[name], wrong[name]) for name in FAULTS}


def test_there_are_ten_faults_and_each_has_a_check():
    assert len(FAULTS) == 10 and CHECKS.keys() == FAULTS.keys()


@each_fault
def test_the_check_passes_on_the_right_code_and_fails_on_the_wrong_code(measured, name):
    right, wrong = measured[name]
    limit = CHECKS[name].limit
    assert right <= limit and wrong > max(limit, .1)


@each_fault
def test_a_test_of_this_suite_passes_on_the_right_code_and_fails_on_the_wrong_code(name):
    file, test = CHECKS[name].test.split("::")
    path = Path(__file__).parent / file

    def run():
        module = load(path)
        CHECKS[name].call(module, getattr(module, test))
    with break_it.package():
        run()
    with break_it.package(FAULTS[name]), pytest.raises((AssertionError, pytest.fail.Exception)):
        run()


def test_by_default_g_has_the_loss_that_does_not_saturate():
    G, D = net.Net([layers.Linear(1, 1)]), net.Net([layers.Linear(1, 1)])
    assert gan.Players(G, D, 1).generator_loss == "non-saturating"


def test_the_gradient_check_of_both_steps_sees_only_three_of_the_ten_faults():
    seen = []
    for name, fault in FAULTS.items():
        with break_it.package(fault) as npgan:
            if check_steps(npgan) > 1e-7:
                seen.append(name)
    assert seen == ["overwritten", "mean-twice", "sign"]


# --- The exercises of the page ----------------------------------------------------------------


def test_a_sign_that_is_wrong_in_J_and_in_dJ_passes_the_gradient_check():
    test = CHECKS["sign"].test.split("::")[1]
    fault = changed("objectives.py", 'return F if loss == "minimax" else T',
                    'return (lambda a: -F(a)) if loss == "minimax" else (lambda a: -T(a))')
    with break_it.package(fault) as npgan:
        assert max(check_objective(npgan), check_steps(npgan)) <= 1e-7
        with pytest.raises(AssertionError):
            getattr(load(Path(__file__).parent / "test_step.py"), test)()


@pytest.mark.parametrize("m, n, passes", [(5, 6, False), (5, 5, True), (6, 5, False)])
def test_a_norm_over_the_wrong_axis_passes_the_gradient_check_if_m_is_the_length_of_x(m, n, passes):
    with break_it.package(FAULTS["axis"]) as npgan:
        rng, Linear = np.random.default_rng(0), npgan.layers.Linear
        G = npgan.Net([Linear(3, n)], "float64", 0)
        D = npgan.Net([Linear(n, 7), npgan.layers.Tanh(), Linear(7, 1)], "float64", 1)
        players = npgan.Players(G, D, m, penalty=npgan.penalty.GradientPenalty())
        players.draw_masks_d(rng)
        x, z = rng.random((m, n)), rng.random((m, 3))

        def V_minus_P():
            return npgan.discriminator_gradient(players, x, z)[0] - players.penalty.P
        V_minus_P()
        error = npgan.gradcheck.error(V_minus_P, D.theta, D.grad)
    assert error <= 1e-7 if passes else error > .1


@pytest.mark.parametrize("layer, passes", [("ReLU", True), ("LeakyReLU", True), ("Tanh", False)])
def test_one_tape_for_x_and_u_of_the_penalty_is_right_only_if_d_is_piecewise_linear(layer, passes):
    with break_it.package(changed("penalty.py", "self.tape = D.tape(m)", "self.tape = self.tape_u")) as npgan:
        t, kind = load(Path(__file__).parent / "test_penalty.py"), getattr(npgan.layers, layer)
        error = t.penalty_error(t.discriminator([kind, kind], [4, 5]), npgan.penalty.GradientPenalty(), 5)
    assert error <= 1e-7 if passes else error > .1


# --- The program and the page -----------------------------------------------------------------


def test_a_right_line_that_the_source_does_not_have_once_is_an_error_that_quotes_it():
    for right, found in (("x = 1", 0), ("for i in range(iterations):", 2)):
        with pytest.raises(ValueError, match=rf"^npgan/gan.py: one line .*{re.escape(right)}.* {found} do$"):
            with break_it.package(changed("gan.py", right, "pass")):
                pass


def test_after_a_wrong_copy_the_package_is_the_same_as_before():
    before = break_it.npgan_modules()
    with pytest.raises(KeyError), break_it.package(FAULTS["sign"]) as npgan:
        assert npgan.gan is not gan
        raise KeyError
    after = break_it.npgan_modules()
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)


def test_the_program_draws_the_faults_named_and_refuses_other_names(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(break_it, "PICTURES", tmp_path / "pictures")
    break_it.main(["stale-d"])
    assert capsys.readouterr().out == "break-stale-d.png\n"
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["break-stale-d.png"]
    with pytest.raises(SystemExit) as exit:
        break_it.main(["stale-d", "stale"])
    assert exit.value.code == 2 and "no fault stale: take some of overwritten, " in capsys.readouterr().err


@pytest.mark.parametrize("name, right, wrong", [
    ("stale-d", (.7, 1.1), (-.2, 2.8)), ("sign", (.9, 1.1), (3000, 20_000)),
    ("axis", (3.2, 3.7), (.6, 1.)), ("momentum", (-.8, -.65), (-1.05, -.9))])
def test_the_curves_of_the_pictures_end_where_the_page_says(name, right, wrong):
    for fault, (low, high) in ((None, right), (FAULTS[name], wrong)):
        with break_it.package(fault) as npgan:
            end = np.array(FAULTS[name].symptom(npgan).values[-12:])
        assert low <= end.min() and end.max() <= high


def test_the_page_shows_each_change_with_its_picture_and_what_its_check_measures(measured):
    page = PAGE.read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()
            if line.startswith("| ")][1:]
    assert len(rows) == 10
    for (name, fault), (number, title, _, right, wrong) in zip(FAULTS.items(), rows):
        assert f"```diff\n- {fault.right}\n+ {fault.wrong}\n```" in page
        assert f"](pictures/break-{name}.png)" in page
        assert f"\n## {number}. {title}\n" in page and title == fault.title
        assert f"`tests/{CHECKS[name].test}`" in page
        assert float(right) <= CHECKS[name].limit
        assert float(wrong) == pytest.approx(measured[name][1], rel=.05)
