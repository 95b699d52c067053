"""The checker itself: it passes what is right, catches what is wrong, and keeps away from kinks."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import BACKENDS

from npgan import divergences, gan, gradcheck, layers, objectives


@pytest.mark.parametrize("xp", [backend for backend in BACKENDS if backend != "device"], indirect=True)
def test_every_row_of_the_table_is_within_tolerance(xp):
    rows = list(gradcheck.rows())
    assert len(rows) > 30
    assert [row for row in rows if not row[3] <= gradcheck.TOLERANCE] == []


def test_the_table_has_a_row_for_every_layer_objective_and_step():
    what = [row[0] for row in gradcheck.rows()]
    kinds = [value for value in vars(layers).values() if isinstance(value, type) and hasattr(value, "forward")]
    assert len(kinds) >= 8
    for kind in kinds:
        assert kind is layers.Affine or kind is layers.Elementwise or any(row.startswith(f"{kind.__name__}(") for row in what), kind
    for name in divergences.OBJECTIVES:
        for step in "D's step", "G's step, minimax", "G's step, non-saturating":
            assert any(row.startswith(f"{name}: {step}") for row in what), (name, step)


def worst():
    return max(row[3] for row in gradcheck.rows())


def off(f, factor=1 + 1e-5):
    return lambda *args: factor * f(*args)


@pytest.mark.parametrize("kind, name", [(kind, name) for kind in (layers.LeakyReLU, layers.Sigmoid, layers.Tanh, layers.Softplus)
                                        for name in ("slope", "curvature") if (kind, name) != (layers.LeakyReLU, "curvature")])
def test_a_derivative_that_is_wrong_by_one_part_in_100000_is_caught(kind, name, monkeypatch):
    monkeypatch.setattr(kind, name, off(getattr(kind, name)))
    assert worst() > gradcheck.TOLERANCE


def test_a_transposed_or_unscaled_or_forgotten_piece_is_caught(monkeypatch):
    def shifted(self, x, y, dy, dx, mask):
        dx[...] = dy                                                            # the mask forgotten

    def twice(self, x, y, dy, dx):
        self.split(dx)[...] = dy[:, None]                                       # every piece instead of the largest

    def outer(self, x, dy, dW):
        dW[...] = x.T @ dy / len(x)                                             # a mean where a sum belongs

    for kind, name, wrong in ((layers.Dropout, "backward", shifted), (layers.Maxout, "backward", twice), (layers.Linear, "outer", outer)):
        with monkeypatch.context() as m:
            m.setattr(kind, name, wrong)
            assert worst() > gradcheck.TOLERANCE, kind


def test_a_wrong_sign_or_scale_in_a_players_step_is_caught(monkeypatch):
    wrong = objectives.GAN._replace(dF=off(objectives.GAN.dF, -1))
    assert max(e for *_, e in gradcheck.check_steps(wrong)) > 1

    def unscaled(p):
        gan_backward(p)
        p.G.grad *= p.m
    gan_backward = gan.generator_backward
    monkeypatch.setattr(gan, "generator_backward", unscaled)
    assert max(e for *_, e in gradcheck.check_steps(objectives.GAN)) > .1


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


def test_the_command_prints_the_table_and_its_exit_status_tells_pass_from_fail():
    good = subprocess.run([sys.executable, "-m", "npgan.gradcheck"], capture_output=True, text=True)
    assert good.returncode == 0 and "all within 1e-07" in good.stdout and good.stderr == ""
    bad = subprocess.run([sys.executable, "-c", "import sys; from npgan import gradcheck, layers\n"
                          "layers.Tanh.slope = lambda self, y: 1 - y\nsys.exit(gradcheck.main())"], capture_output=True, text=True)
    assert bad.returncode == 1 and "FAIL" in bad.stdout
    unknown = subprocess.run([sys.executable, "-m", "npgan.gradcheck"], capture_output=True, text=True,
                             env={**os.environ, "NPGAN_BACKEND": "x"})
    assert unknown.returncode == 2 and unknown.stdout == "" and unknown.stderr.startswith('npgan.gradcheck: NPGAN_BACKEND: "x" is unknown')
