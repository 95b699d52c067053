"""The checker itself: right gradients pass, wrong ones are caught, and kinks are avoided."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import BACKENDS

from npgan import divergences, gan, gradcheck, layers, objectives


@functools.cache
def table():
    """All rows with NumPy."""
    return list(gradcheck.rows())


@pytest.mark.parametrize("xp", [backend for backend in BACKENDS if backend != "device"], indirect=True)
def test_every_row_of_the_table_is_within_tolerance(xp, monkeypatch):
    if xp.name() == "compiled":
        monkeypatch.setattr(gradcheck, "DIRECTIONS", 1)         # the stand-in is slow
    rows = table() if xp.name() == "numpy" else list(gradcheck.rows())
    assert len(rows) > 30
    assert [row for row in rows if not row[3] <= gradcheck.TOLERANCE] == []


def test_the_table_has_a_row_for_every_layer_objective_and_step():
    what = [row[0] for row in table()]
    kinds = {kind for kind in vars(layers).values() if isinstance(kind, type) and hasattr(kind, "forward")}
    assert len(kinds) >= 8
    for kind in kinds - {layers.Affine, layers.Elementwise}:
        assert any(row.startswith(f"{kind.__name__}(") for row in what), kind
    for name in [*divergences.OBJECTIVES, "gan, noisy G"]:
        for step in "D's step", "G's step, minimax", "G's step, non-saturating":
            assert any(row.startswith(f"{name}: {step}") for row in what), (name, step)


def test_the_noisy_generators_noise_and_masks_are_drawn():
    players, *_ = gradcheck.game(objectives.GAN, "minimax", noisy=True)
    noise, mask = (players.tape_g.extra[l][0] for l in (0, 3))
    assert np.unique(noise).size == noise.size and set(np.unique(mask)) == {0, 2}


def caught(rows):
    """Whether a row is above the tolerance. The table stops at the first."""
    return any(not row[3] <= gradcheck.TOLERANCE for row in rows)


def off(f, factor=1 + 1e-5):
    return lambda *args: factor * f(*args)


@pytest.mark.parametrize("kind, name", [
    (layers.LeakyReLU, "slope"), (layers.Sigmoid, "slope"), (layers.Sigmoid, "curvature"),
    (layers.Tanh, "slope"), (layers.Tanh, "curvature"),
    (layers.Softplus, "slope"), (layers.Softplus, "curvature")])
def test_a_derivative_that_is_wrong_by_one_part_in_100000_is_caught(kind, name, monkeypatch):
    monkeypatch.setattr(kind, name, off(getattr(kind, name)))
    assert caught(gradcheck.rows())


def without_mask(self, x, y, dy, dx, mask):
    dx[...] = dy


def to_every_piece(self, x, y, dy, dx):
    self.split(dx)[...] = dy[:, None]


def mean_instead_of_sum(self, x, dy, dW):
    dW[...] = x.T @ dy / len(x)


@pytest.mark.parametrize("kind, name, wrong", [
    (layers.Dropout, "backward", without_mask), (layers.Maxout, "backward", to_every_piece),
    (layers.Linear, "outer", mean_instead_of_sum)])
def test_a_misdirected_or_unscaled_or_forgotten_piece_is_caught(kind, name, wrong, monkeypatch):
    monkeypatch.setattr(kind, name, wrong)
    assert caught(gradcheck.rows())


def test_a_wrong_sign_or_scale_in_a_players_step_is_caught(monkeypatch):
    wrong = objectives.GAN._replace(dF=off(objectives.GAN.dF, -1))
    assert max(row[3] for row in gradcheck.check_steps(wrong)) > 1

    def unscaled(players):
        right(players)
        players.G.grad *= players.m
    right = gan.generator_backward
    monkeypatch.setattr(gan, "generator_backward", unscaled)
    assert max(row[3] for row in gradcheck.check_steps(objectives.GAN)) > .1


def test_a_generator_whose_dropout_is_ignored_on_the_way_back_is_caught(monkeypatch):
    def ignoring(players):
        mask, = players.tape_g.extra[3]
        kept = mask.copy()
        mask[...] = 1
        right(players)
        mask[...] = kept
    right = gan.generator_backward
    monkeypatch.setattr(gan, "generator_backward", ignoring)
    errors = {what: e for what, _, _, e in gradcheck.check_steps(objectives.GAN, noisy=True)}
    assert errors.pop("gan, noisy G: D's step") <= gradcheck.TOLERANCE
    assert len(errors) == 4 and min(errors.values()) > .01


def test_a_gradient_that_is_zero_or_not_a_number_is_caught():
    x = np.ones(3)
    assert gradcheck.error(lambda: (x ** 3).sum(), x, np.zeros(3)) >= 1
    assert gradcheck.error(lambda: (x ** 3).sum(), x, np.full(3, np.nan)) == np.inf


def test_a_kink_on_the_way_is_noticed_whether_at_the_point_or_beside_it():
    for x0 in (0., 3e-5, -7e-5):
        x = np.array([x0])
        with pytest.raises(gradcheck.Kink):
            gradcheck.slope(lambda: np.abs(x).sum(), x, np.ones(1))
        assert x[0] == x0
    x = np.array([1.])
    assert gradcheck.slope(lambda: np.abs(x).sum(), x, np.ones(1)) == pytest.approx(1)


def test_where_every_direction_meets_a_kink_the_error_says_so():
    x = np.zeros(4)
    with pytest.raises(ValueError, match="kink"):
        gradcheck.error(lambda: np.abs(x).sum(), x, np.zeros(4))


def test_the_point_is_put_back_even_if_the_function_fails():
    x = np.arange(3.)
    with pytest.raises(ZeroDivisionError):
        gradcheck.slope(lambda: 1 / 0, x, np.ones(3))
    np.testing.assert_array_equal(x, np.arange(3.))


def test_the_command_prints_the_table_and_its_exit_status_tells_pass_from_fail(monkeypatch, capsys):
    def command(**env):
        return subprocess.run([sys.executable, "-m", "npgan.gradcheck"], capture_output=True, text=True,
                              env={**os.environ, **env})
    good, unknown = command(), command(NPGAN_BACKEND="x")
    assert good.returncode == 0 and "all within 1e-07" in good.stdout and good.stderr == ""
    assert unknown.returncode == 2 and unknown.stdout == ""
    assert unknown.stderr.startswith('npgan.gradcheck: NPGAN_BACKEND: "x" is unknown')
    monkeypatch.setattr(layers.Tanh, "slope", lambda self, y: 1 - y)
    assert gradcheck.main() == 1 and "FAIL" in capsys.readouterr().out
