"""The toy distributions: samples follow the density; the modes are those of the protocol."""

import itertools

import numpy as np
import pytest

from npgan import metrics
from npgan.data import toy

TOYS = {**toy.ON_A_LINE, **toy.IN_THE_PLANE}


@pytest.mark.parametrize("name", TOYS)
def test_samples_are_a_function_of_the_seed_in_float32_inside_the_extent(name):
    data = TOYS[name]()
    x = data.sample(5000, 3)
    assert x.dtype == np.float32 and x.shape == (5000, 1 if name in toy.ON_A_LINE else 2)
    np.testing.assert_array_equal(x, TOYS[name]().sample(5000, 3))
    assert (x != data.sample(5000, 4)).any()
    assert data.extent[0] < x.min() and x.max() < data.extent[1]
    assert data.name == name and data.weights.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", TOYS)
def test_the_density_integrates_to_one_and_gives_each_cell_its_share_of_the_samples(name):
    """The number of samples in a cell of a coarse grid is binomial.

    Its probability is the integral of the density over the cell.
    """
    data = TOYS[name]()
    d, (low, high) = data.centres.shape[1], data.extent
    fine, cells, n = (4000, 40, 100_000) if d == 1 else (120, 12, 100_000)
    x, shift = data.sample(n, 0), 0
    if name in ("ring", "grid"):                    # these modes are narrow: the grid covers one of them
        shift, low, high = data.centres[3], -6 * data.sd, 6 * data.sd
        x = x - shift
    axis = low + (np.arange(fine) + .5) / fine * (high - low)
    points = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)
    p = data.density(points + shift).reshape([fine] * d) * ((high - low) / fine) ** d
    assert p.sum() == pytest.approx(1 / len(data.modes) if name in ("ring", "grid") else 1, rel=2e-3)
    expected = n * p.reshape([cells, fine // cells] * d).sum(axis=tuple(range(1, 2 * d, 2)))
    found, _ = np.histogramdd(x, [np.linspace(low, high, cells + 1)] * d)
    assert np.abs(found - expected).max() <= 5 * np.sqrt(expected.max()) + .02 * expected.max()
    assert (np.abs(found - expected) <= 6 * np.sqrt(expected + 4) + .02 * expected).all()


def test_the_modes_are_those_of_the_published_protocol():
    ring, grid = toy.ring(), toy.grid()
    assert len(np.unique(np.round(ring.modes, 9), axis=0)) == 8
    assert ring.sd == .01 and ring.modes[0] == pytest.approx((1, 0))
    np.testing.assert_allclose(np.linalg.norm(ring.modes, axis=1), 1)
    lattice = itertools.product((-4, -2, 0, 2, 4), repeat=2)
    assert sorted(map(tuple, grid.modes)) == sorted(lattice) and grid.sd == .05
    for data, modes in ((ring, 8), (grid, 25)):
        covered = metrics.coverage(data.sample(20_000, 0), data.modes, data.sd)
        assert covered.modes == modes and covered.reverse_kl < .002
        assert covered.high_quality == pytest.approx(1 - np.exp(-4.5), abs=.004)
    assert all(TOYS[name]().modes is None for name in ("uniform", "line", "moons", "spiral", "swiss-roll"))


def test_endless_minibatches_go_through_the_examples_epoch_after_epoch_in_new_orders(xp):
    x = xp.asarray(np.arange(10.)[:, None])
    stream = toy.endless(x, 4, 0)
    seen = [xp.asnumpy(next(stream)).ravel() for _ in range(6)]
    for epoch in (seen[:2], seen[2:4], seen[4:]):
        assert len(set(np.concatenate(epoch))) == 8
    assert not np.array_equal(seen[:2], seen[2:4])
    again = toy.endless(x, 4, 0)
    np.testing.assert_array_equal(seen, [xp.asnumpy(next(again)).ravel() for _ in range(6)])


def test_more_in_a_minibatch_than_there_are_examples_is_an_error_and_not_a_search_without_end(xp):
    with pytest.raises(ValueError, match="^m = 5: 3 examples do not make one minibatch$"):
        next(toy.endless(xp.zeros((3, 2)), 5, 0))
