"""The rows of the table of objectives, against equation (1) and at the far ends of a."""

import math

import numpy as np
import pytest

from npgan.objectives import GAN, OBJECTIVES


def test_the_gan_row_is_equation_1(xp):
    a = np.linspace(-20, 20, 81)
    D = 1 / (1 + np.exp(-a))
    for f, expected in ((GAN.T, np.log(D)), (GAN.F, -np.log(1 - D)), (GAN.dT, 1 - D), (GAN.dF, D), (GAN.D, D)):
        np.testing.assert_allclose(xp.asnumpy(f(xp.asarray(a))), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("row", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_function_of_every_row_is_finite_for_every_logit(row, dtype):
    largest = float(np.finfo(dtype).max)
    a = np.array([-largest, -1e30, -1000, -100, -1, 0, 1, 100, 1000, 1e30, largest], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for f in (row.T, row.dT, row.F, row.dF, row.D):
            assert np.isfinite(f(a)).all() and f(a).dtype == dtype


def test_a_sure_discriminator_keeps_its_relative_precision():
    a = np.array([-100.])
    assert GAN.dF(a)[0] == pytest.approx(math.exp(-100), rel=1e-12)
    assert GAN.T(a)[0] == -100 and GAN.F(a)[0] == pytest.approx(math.exp(-100), rel=1e-12)


def test_t_increases_so_that_both_generator_losses_want_a_larger_a():
    a = np.linspace(-30, 30, 200)
    for row in OBJECTIVES.values():
        assert (np.diff(row.T(a)) > 0).all() and (row.dT(a) > 0).all() and (row.dF(a) > 0).all()
