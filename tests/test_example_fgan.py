"""examples/fgan.py: the minima by quadrature, short trainings, what it writes and refuses."""

import functools
import json
import os

import numpy as np
import programs
import pytest
from PIL import Image

from npgan import backend
from npgan.divergences import OBJECTIVES
from npgan.layers import Linear, Tanh, uniform
from npgan.net import Net

example = functools.partial(programs.load, "fgan")
shell = functools.partial(programs.shell, "fgan")
FILES = ["fgan.png", "result.json", "tables.md"]


def main(*args):
    return programs.call(example(), *args, "--workers", 1, "--quiet")


def test_the_minima_by_quadrature_are_the_papers(xp):
    module = example()
    for name, paper in module.PAPER.items():
        np.testing.assert_allclose(module.optimum(name), [at_minimum for at_minimum, _ in paper], atol=6e-4)
    mean, second = .33 * -1 + .67 * 2, .33 * (1 + .065) + .67 * (4 + 2.0025)
    moments = mean, (second - mean ** 2) ** .5
    assert module.optimum("kl")[1:] == pytest.approx(moments, abs=1e-4), "kl keeps the moments"


def test_minibatches_are_of_the_mixture(xp):
    module = example()
    examples = module.mixture(xp.default_rng(0))
    batches = [xp.asnumpy(next(examples)) for _ in range(100)]
    assert {(b.shape, b.dtype.name) for b in batches} == {((module.M, 1), "float32")}
    x = np.concatenate(batches).ravel()
    edges = np.array([-3, -1.2, -1, -.8, 0, 1, 2, 3, 5])
    expected = [np.sum(module.P[module.X <= edge]) * (module.X[1] - module.X[0]) for edge in edges]
    np.testing.assert_allclose([np.mean(x <= edge) for edge in edges], expected, atol=.008)


def test_the_bound_by_quadrature_is_v_on_a_large_sample(xp):
    module, row = example(), OBJECTIVES["pearson"]
    D = Net([Linear(1, 5, uniform(1.)), Tanh(), Linear(5, 1, uniform(2.))], seed=3)
    rng, examples = np.random.default_rng(0), module.mixture(xp.default_rng(0))
    x = np.concatenate([xp.asnumpy(next(examples)) for _ in range(200)])
    Gz = -1 + 2 * rng.standard_normal(x.shape)
    T, F = (xp.asnumpy(f(D(xp.asarray(y.astype("float32"))))) for f, y in ((row.T, x), (row.F, Gz)))
    assert T.std() > .3 and F.std() > .3
    assert module.bound(row, D, -1., 2.) == pytest.approx(T.mean() - F.mean(), abs=.01)


def test_a_training_moves_g_towards_the_minimum_and_its_v_is_below_the_divergence_there():
    module = example()
    V, mu, sigma = module.learn(("kl", 0, 200))
    assert abs(mu - 1.01) < .5 and abs(sigma - 1.83) < .5, "it starts at 0 and 1"
    assert .1 < V < module.divergence("kl", mu, sigma) + 1e-6


def test_a_run_writes_its_tables_picture_and_result(tmp_path, capsys):
    names = "pearson", "total-variation", "pearson"
    assert main("--divergence", *names, "--seeds", 2, "--iterations", 8, "--out", tmp_path) == 0
    assert sorted(os.listdir(tmp_path)) == [".lock", *FILES]
    said, tables = capsys.readouterr().out, (tmp_path / "tables.md").read_text()
    assert "4 trainings of 8 iterations" in said and tables in said and "quoted from memory" in tables
    assert "| 0.6458 |" in tables, "the minimum by quadrature"
    assert "| 0.6457 | 0.6379 |" in tables, "the paper's two numbers"
    result = json.loads((tmp_path / "result.json").read_text())
    found = result["divergences"]
    assert list(found) == ["pearson", "total-variation"] and result["seeds"] == 2
    learned = found["pearson"]["learned"]
    assert all(len(set(values)) == 2 for values in learned.values()), "two seeds, two results"
    expected = example().divergence("total-variation", np.mean(learned["mu"]), np.mean(learned["sigma"]))
    assert found["pearson"]["D_f_by"]["total-variation"] == pytest.approx(expected)
    rows = [row.split("|")[2:-1] for row in tables.split("| fitted with")[1].splitlines()[2:]]
    smallest = {f: min(found, key=lambda q: found[q]["D_f_by"][f]) for f in found}
    bold = [["**" in cell for cell in row] for row in rows]
    assert bold == [[q == smallest[f] for f in found] for q in found]
    assert Image.open(tmp_path / "fgan.png").size > (1000, 400)


def test_the_whole_example_runs_on_the_stand_in_device_and_to_the_same_numbers(tmp_path, device):
    args = ("--divergence", "jeffrey", "reverse-kl", "--seeds", 1, "--iterations", 6)
    assert main(*args, "--out", tmp_path / "device") == 0
    backend.use("numpy")
    main(*args, "--out", tmp_path / "numpy")
    a, b = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("device", "numpy"))
    assert a["backend"] == "device" and a["divergences"] == b["divergences"]


def test_processes_side_by_side_find_what_one_process_finds(tmp_path):
    args = ("--divergence", "kl", "alpha", "--seeds", 1, "--iterations", 5)
    done = shell(*args, "--workers", 2, "--out", tmp_path / "two", "--quiet")
    assert done.returncode == 0 and done.stderr == "" and "2 at a time" in done.stdout
    main(*args, "--out", tmp_path / "one")
    two, one = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("two", "one"))
    assert two["divergences"] == one["divergences"]


def test_a_value_that_is_not_finite_names_divergence_seed_and_iteration(monkeypatch):
    module = example()
    monkeypatch.setattr(module, "LR_D", 1e4)
    with pytest.raises(FloatingPointError, match=r"^iteration 2 \(kl, seed 3\): the .* is not finite$"):
        module.learn(("kl", 3, 5))


@pytest.mark.parametrize("args, words", [
    (("--divergence", "hinge"), "invalid choice: 'hinge' (choose from"),
    (("--divergence", "wasserstein"), "invalid choice: 'wasserstein'"),
    (("--divergence",), "expected at least one argument"),
    (("--seeds", "0"), "--seeds: '0' is not an integer >= 1"),
    (("--iterations", "1.5"), "--iterations: '1.5' is not an integer >= 1"),
    (("--out", ""), '--out "": name a folder'),
    (("--out", __file__, "--workers", "1"), __file__),
])
def test_a_wrong_option_gets_one_clear_message_and_status_2(args, words):
    done = programs.run_here("fgan", *args)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
