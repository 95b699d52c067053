"""benchmarks/*.py as a user runs them: their help, one sentence without the extra "bench", and
small races with it.
"""

import importlib
import importlib.util
import json
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from npgan import backend, cuda, gan, kernels, layers

FOLDER = Path(__file__).parents[1] / "benchmarks"
EXTRA = ["sklearn", "sklearn.neighbors", "torch"]
PACKAGES = {"torch": "PyTorch", "sklearn": "scikit-learn"}
RACES = ["conv", "mpi", "parzen", "step", "toy"]               # these need the extra
NUMBERS = {"ours_ms", "torch_eager_ms", "floor_ms", "floor_of_torch_ms", "ratio_eager", "ratio_floor"}


def needs(module):
    """Import the module, or skip the test. pytest reports all skips of this line together."""
    return pytest.importorskip(module, reason=f"{PACKAGES[module]} is not installed")


@pytest.fixture
def script(monkeypatch):
    """script("step") is a benchmark as a module."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def main(script, capsys):
    """main("step", option, ...) is what the benchmark prints as JSON."""
    def main(name, *args):
        module = script(name)
        assert module.main(module.parser().parse_args([*map(str, args), "--json", "--threads", "1"])) == 0
        return json.loads(capsys.readouterr().out)
    return main


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "race"))
@pytest.mark.usefixtures("script")
def test_help_needs_no_extra_and_a_race_without_it_is_one_sentence(name, monkeypatch, capsys):
    def command(*args):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *args])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()
    for module in EXTRA:
        monkeypatch.setitem(sys.modules, module, None)              # then its import fails
    status, out, err = command("--help")
    assert status == 0 and "--threads" in out and not err
    if name in RACES:
        status, out, err = command()
        assert status == 2 and err.endswith('install the extra "bench"\n') and len(err.splitlines()) == 1


def test_racers_take_turns_and_only_settled_calls_of_rounds_after_the_first_count(script, monkeypatch):
    race, calls, cost = script("race"), [], {"a": 30., "b": 250.}
    monkeypatch.setattr(race, "clock", lambda: lambda call: cost[call()])
    racers = {name: lambda name=name: calls.append(name) or name for name in cost}
    assert race.race(racers, 2) == {"a": [30.] * 8, "b": [250.] * 2}
    assert calls == (["a"] * 8 + ["b"] * 2) * 3             # 4 x 30 ms until 100 have passed, as many again


def test_the_summary_is_medians_and_quartiles(script):
    result = script("race").summary({"ours": [4., 1., 2., 3., 5.]})
    assert result == {"ours_ms": 3, "ours_quartiles": [1.5, 4.5]}


def test_threads_are_pinned_within_and_given_back(script):
    torch = needs("torch")

    def counts():
        return [torch.get_num_threads(), *(pool["num_threads"] for pool in threadpoolctl.threadpool_info())]

    torch.set_num_threads(2)
    before = counts()
    with script("race").pinned(3) as threads:
        assert "torch" in threads and set(threads.values()) == set(counts()) == {3}
    assert counts() == before


def test_a_race_on_toy_data_reports_its_numbers_and_the_two_gradients_agree(main, script, monkeypatch):
    torch = needs("torch")
    monkeypatch.setattr(script("race"), "SETTLE", 10)
    result = main("step", "--preset", "toy", "--k", 2, "--rounds", 2, "--no-compile")
    assert NUMBERS <= result.keys() and result["m"] == 64 and result["k"] == 2
    assert torch.__version__ in result["machine"]
    assert result["ratio_eager"] == pytest.approx(result["torch_eager_ms"] / result["ours_ms"])
    assert result["ratio_floor"] == pytest.approx(result["ours_ms"] / result["floor_ms"])
    assert set(result["threads"].values()) == {1} and 0 < result["difference"] < 1e-5


@pytest.mark.parametrize("preset", ["quick", "toy"])
@pytest.mark.parametrize("layer, wrong", [
    (layers.Maxout, "backward"), (layers.ReLU, "backward"), (layers.Linear, "gradient"),
    (layers.Dropout, "backward"), (None, "")])
def test_a_wrong_gradient_is_caught_before_the_race(script, monkeypatch, preset, layer, wrong):
    needs("torch")
    step = script("step")
    players, data, _ = step.ours(step.PRESETS[preset][0](), 20)
    theirs = step.Torch(players, data)
    if layer:
        right = getattr(layer, wrong)

        def slip(self, x, *args):
            right(self, x, *args)
            written = self.dW if wrong == "gradient" else args[2]
            written[:, 0] *= 1.1
        monkeypatch.setattr(layer, wrong, slip)
    has_layer = any(type(other) is layer for net in (players.G, players.D) for other in net.layers)
    assert (step.agree(players, theirs, data) > 1e-4) == has_layer


@pytest.mark.parametrize("player, function", [("D", "discriminator_gradient"), ("G", "generator_gradient")])
def test_a_wrong_gradient_of_one_player_is_caught(script, monkeypatch, player, function):
    needs("torch")
    step = script("step")
    players, data, _ = step.ours(step.toy(), 20)
    right = getattr(step, function)

    def slip(players, *args):
        right(players, *args)
        getattr(players, player).grad[:] *= 1.001
    monkeypatch.setattr(step, function, slip)
    assert step.agree(players, step.Torch(players, data), data) == pytest.approx(.001, rel=.01)


def test_gradients_that_differ_are_no_race(script, monkeypatch):
    for difference in (1e-3, float("nan")):
        with pytest.raises(ValueError, match="^the gradients differ by .*, so a race would mean nothing$"):
            script("race").check_agreement("the gradients", difference, 1e-4)
    script("race").check_agreement("the gradients", 9e-5, 1e-4)


def test_step_compares_the_gradients_before_it_races(script, monkeypatch):
    needs("torch")
    step = script("step")
    monkeypatch.setattr(step, "agree", lambda *args: float("nan"))
    with pytest.raises(ValueError, match="^the gradients of npgan and PyTorch differ by nan, so a race"):
        step.main(step.parser().parse_args(["--preset", "toy"]))


def test_the_floor_is_the_products_of_an_iteration(script, monkeypatch):
    """In multiply-adds, by hand. k times: G up; D up, dW, and dx without the first layer's.
    Then once: both up; D's dx; G's dW, and dx without the first layer's.
    """
    step = script("step")
    players, _, iteration = step.ours(step.PRESETS["quick"][0](), 10, k=2)
    done = []

    def dot(a, b, out):
        done.append(a.shape[0] * a.shape[1] * b.shape[1])
        np.dot(a, b, out=out)
    with monkeypatch.context() as patch:
        patch.setattr(backend, "dot", dot, raising=False)
        step.floor(players, 2)()
    g, d = 100 * 320 + 320 * 320 + 320 * 784, 784 * 480 + 160 * 480 + 160
    g_but_first, d_but_first = g - 100 * 320, d - 784 * 480
    expected = 2 * (10 * g + 20 * (2 * d + d_but_first)) + 10 * (2 * g + g_but_first + 2 * d)
    assert sum(done) == expected
    done.clear()
    with kernels.product_by(dot):
        iteration()
    assert sum(done) == expected, "the products of `train` too"


def test_the_iteration_is_recorded_where_the_user_asks_for_cuda_graphs(script, monkeypatch):
    step, called = script("step"), []

    def recorded(*args):
        called.append("recorded")
        return gan.train(*args)
    monkeypatch.setattr(cuda, "recorded_updates", lambda: {"algorithm1": recorded})
    for asked in (False, True):
        monkeypatch.setattr(step.options, "cuda_graphs", lambda: asked)
        step.ours(step.toy(8), 4)[2]()
        assert called == (["recorded"] if asked else [])


def test_the_floor_of_torch_is_the_same_products(script):
    torch = needs("torch")
    step = script("step")
    players, _, _ = step.ours(step.toy(16), 10)
    written = []
    for library in None, torch:
        players.G.grad[:] = players.D.grad[:] = 0
        step.floor(players, 2, library)()
        written.append(np.concatenate([players.G.grad, players.D.grad]))
    assert written[0].any()
    np.testing.assert_allclose(written[1], written[0], rtol=1e-4, atol=1e-4)


def test_convolutions_race_and_agree(main, script, monkeypatch):
    needs("torch")
    monkeypatch.setattr(script("race"), "SETTLE", 1)
    result = main("conv", "--batch-size", 1, "--rounds", 2)
    assert len(result["layers"]) == 7 and max(row["difference"] for row in result["layers"]) < 1e-5
    assert result["ratio_eager"] == pytest.approx(result["torch_eager_ms"] / result["ours_ms"])


def test_parzen_races_and_agrees_with_scikit_learn(main, script, monkeypatch):
    needs("sklearn")
    monkeypatch.setattr(script("race"), "SETTLE", 1)
    parzen = script("parzen")
    rng = np.random.default_rng(0)
    test, train = rng.random((30, 784), "float32"), rng.random((150, 784), "float32")
    digits = types.SimpleNamespace(test=test, train=train)
    monkeypatch.setattr(parzen.glyphs, "load", lambda n: digits)
    result = main("parzen", "--n", 30, "--scikit", 10, "--rounds", 2)
    assert result["difference"] < .05
    assert result["ratio_sklearn"] == pytest.approx(result["sklearn_ms"] / result["ours_ms"])


def test_ranks_race_beside_gloo(main):
    needs("torch")
    if not importlib.util.find_spec("mpi4py"):
        pytest.skip("mpi4py is not installed")
    result = main("mpi", "--preset", "toy", "--rounds", 2, "--calls", 1)
    assert list(result["measured"]) == ["1", "2"] and result["bytes"] == 4 * (8577 + 8642)
    names = "ours", "all-reduce", "gloo", "gloo all-reduce"
    assert all(result["measured"]["2"][name] > 0 for name in names)


def test_the_projection_for_many_ranks_is_its_formula(script):
    """64 ranks; 10 ms in one process, 2 of them fixed; 252 messages of 50 us; 8 MB."""
    row = script("mpi").projection(10, 6, 8e6, 50e-6, 1e9)[1]
    ring = 12.6 + 15.75
    assert row == pytest.approx({
        "ranks": 64, "ring_ms": ring, "weak_ms": 10 + ring, "weak_efficiency": 10 / (10 + ring),
        "strong_ms": 2 + 8 / 64 + ring, "strong_efficiency": 10 / 64 / (2 + 8 / 64 + ring)})


def test_a_file_of_8_gb_is_trained_on_in_flat_memory(main, script, monkeypatch):
    monkeypatch.setattr(script("memory"), "ITERATIONS", [20, 120])
    first, *_, last = main("memory", "memmap")["memmap_MiB"].values()
    assert 20 < first and last < first + 20         # a mapping that is kept would take hundreds of MiB more


def test_growth_is_drawn_and_reported(main, script, monkeypatch, tmp_path):
    monkeypatch.setattr(script("race"), "SETTLE", 1)
    monkeypatch.setattr(script("memory"), "SIZES", {"m": [2, 4], "width": [10, 20]})
    result = main("memory", "growth", "--rounds", 2, "--plot", tmp_path / "growth.png")
    assert [list(rows) for rows in result["growth"].values()] == [["2", "4"], ["10", "20"]]
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_importing_npgan_is_quick(main, script, monkeypatch):
    monkeypatch.setattr(script("memory"), "IMPORTS", 3)
    assert 0 < main("memory", "import")["import_ms"] < 50


def test_all_parts_of_memory_are_the_default_and_others_are_refused(script):
    assert script("memory").parser().parse_args([]).parts == []
    with pytest.raises(SystemExit):
        script("memory").parser().parse_args(["speed"])
