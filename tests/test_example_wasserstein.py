"""examples/wasserstein.py: the exact distance, critics, trainings, output and refusals."""

import functools
import itertools
import json
import math
import os

import numpy as np
import programs
import pytest
from PIL import Image

from npgan import backend, gan, metrics
from npgan.divergences import WASSERSTEIN
from npgan.layers import Linear, Tanh, constant
from npgan.net import Net
from npgan.optim import Adam
from npgan.penalty import GradientPenalty

example = functools.partial(programs.load, "wasserstein")
shell = functools.partial(programs.shell, "wasserstein")


def main(*args):
    return programs.call(example(M=32, WIDTH=8, SAMPLES=500), *args, "--quiet")


def cdf(x, mean=0., sd=1.):
    return np.array([.5 * math.erfc((mean - t) / (sd * math.sqrt(2))) for t in x])


def test_the_exact_distance_is_that_of_sorted_samples_and_the_area_between_the_distribution_functions():
    module = example()
    z = np.random.default_rng(0).standard_normal((2, 200_000, 1))
    assert metrics.wasserstein(z[0], module.MEAN + module.SD * z[1]) == pytest.approx(module.exact(), rel=.01)
    x = np.linspace(-14, 15, 6001)
    area = np.abs(cdf(x) - cdf(x, module.MEAN, module.SD)).sum() * (x[1] - x[0])
    assert area == pytest.approx(module.exact(), rel=1e-6)


@pytest.mark.parametrize("lam", [1., 10., 100.])
@pytest.mark.parametrize("floor", [-math.inf, 0], ids=["two-sided", "one-sided"])
def test_the_expected_v_belongs_to_the_slopes_that_no_others_beat(lam, floor):
    """V - P of the claimed D' against others: h is from erf, r from a million points x^."""
    module, rng = example(), np.random.default_rng(1)
    e, x = rng.random(10 ** 6), rng.standard_normal(10 ** 6)
    y = module.MEAN + module.SD * rng.standard_normal(10 ** 6)
    count, edges = np.histogram(e * x + (1 - e) * y, 120, (-5.5, 6.5))
    dx, centres = edges[1] - edges[0], (edges[1:] + edges[:-1]) / 2
    r, h = count / (10 ** 6 * dx), cdf(centres, module.MEAN, module.SD) - cdf(centres)

    def value(slope):
        return ((slope * h - lam * r * np.maximum(np.abs(slope) - 1, floor) ** 2) * dx).sum()

    best = np.sign(h) * (1 + np.abs(h) / (2 * lam * r))
    assert (best * h * dx).sum() == pytest.approx(module.penalised(lam), rel=.01)
    for size in (.003, .03, .3, 3):
        random = best + size * rng.standard_normal((20, len(best)))
        for other in (best + size, best - size, best * (1 + size), -best, *random):
            assert value(other) < value(best)


def test_a_penalised_critic_finds_its_v_and_it_is_near_the_distance():
    module = example(M=64, WIDTH=16)
    found = {}
    for how, lam in (("one-sided", 10.), ("raised", 30.)):
        *_, last = module.alone(module.Critic(how, lam), 0, 600)
        found[how] = last.V
        assert last.V == pytest.approx(module.penalised(lam), rel=.08)
    assert found["raised"] == pytest.approx(module.exact(), rel=.05)


def test_on_a_line_the_two_sided_penalty_keeps_a_wrong_slope_and_the_one_sided_lets_it_go():
    """D = w x with x = 1, G = -1: V = 2 w, and the best w is 1 + 1 / lam.

    The two-sided penalty has another maximum, at w = -1 + 1 / lam.
    """
    end = {}
    for make, w in itertools.product((GradientPenalty, example().OneSided), (-1., 1.)):
        D = Net([Linear(1, 1, constant(w))], "float64")
        G = Net([Linear(1, 1, constant(0), constant(-1))], "float64")
        p = gan.Players(G, D, 4, WASSERSTEIN, penalty=make(100.))
        adam = Adam(D, lambda t: .1 * .97 ** t, 0.)
        for _ in range(300):
            p.draw_masks_d(np.random.default_rng(0))
            gan.discriminator_gradient(p, np.ones((4, 1)), np.zeros((4, 1)))
            adam.ascend()
        end[make.__name__, w] = float(D.layers[0].W[0, 0])
    assert end == pytest.approx({("GradientPenalty", -1.): -.99, ("GradientPenalty", 1.): 1.01,
                                 ("OneSided", -1.): 1.01, ("OneSided", 1.): 1.01}, abs=1e-3)


def test_the_one_sided_penalty_has_its_gradient():
    D = Net([Linear(2, 5), Tanh(), Linear(5, 1, constant(.9))], "float64", 3)
    p = gan.Players(Net([Linear(2, 2)], "float64", 1), D, 6, WASSERSTEIN, penalty=example().OneSided(.7))
    rng = np.random.default_rng(0)
    p.penalty.draw(rng)
    x, z = rng.standard_normal((2, 6, 2))
    V, _, _ = gan.discriminator_gradient(p, x, z)
    g = D.grad.copy()
    x_hat = p.penalty.tape.x[0].copy()

    def objective():
        W0, b0, W1, b1 = D.named_parameters().values()
        slope = (1 - np.tanh(x_hat @ W0 + b0) ** 2) * W1.T @ W0.T
        over = np.linalg.norm(slope, axis=1) - 1
        assert (over < 0).any() and (over > 0).any(), "both sides are met"
        a_x, a_Gz = ((np.tanh(y @ W0 + b0) @ W1 + b1).mean() for y in (x, p.G(z)))
        return a_x - a_Gz - .7 * np.mean(np.maximum(over, 0) ** 2)

    assert V - p.penalty.P == pytest.approx(objective(), rel=1e-12)
    for i in range(len(D.theta)):
        kept, h = D.theta[i], 1e-6
        D.theta[i] = kept + h
        above = objective()
        D.theta[i] = kept - h
        assert g[i] == pytest.approx((above - objective()) / (2 * h), rel=1e-6, abs=1e-8)
        D.theta[i] = kept


def test_no_critic_beats_its_slope_times_the_distance_and_a_clipped_one_stays_clipped():
    module = example(M=32, WIDTH=8, SAMPLES=2000)
    data = module.toy.ON_A_LINE["gaussian"]()
    for critic in map(module.Critic, ("two-sided", "one-sided", "clip"), (.1, 10., .2)):
        for moments in (list(module.alone(critic, 0, 60)), list(module.training(critic, data, 0, 20))):
            assert moments[0].iteration == 0 and len(moments) == moments[-1].iteration + 1
            assert all(m.V <= 1.01 * m.K * m.W for m in moments)
            assert len({m.V for m in moments}) == len(moments)
            assert critic.how != "clip" or max(m.K for m in moments) <= .2 ** 3 * 8 ** 2


def test_only_the_clipped_critic_has_the_published_warm_up():
    module, steps, counts = example(M=8, WIDTH=4, SAMPLES=50), [], {}

    def counted(*args):
        steps.append(0)
        return gan.discriminator_gradient(*args)

    module.train = functools.partial(gan.train, discriminator_gradient=counted)
    for how in ("two-sided", "one-sided", "clip"):
        steps.clear()
        list(module.training(module.Critic(how, .1), module.toy.ON_A_LINE["uniform"](), 0, 27))
        counts[how] = len(steps)
    assert counts == {"two-sided": 27 * 5, "one-sided": 27 * 5, "clip": 25 * 100 + 2 * 5}


def test_a_run_writes_its_picture_and_result_and_prints_the_same_numbers(tmp_path, capsys):
    out, module = tmp_path / "new", example()
    args = "--lam", 20, 5, 20, "--clip", .3, "--iterations", 3, "--data", "uniform"
    assert main(*args, "--out", out) == 0
    assert sorted(os.listdir(out)) == [".lock", "result.json", "wasserstein.png"]
    result, said = json.loads((out / "result.json").read_text()), capsys.readouterr().out
    penalised = [f"{how}, lam = {lam}" for lam in (20, 5) for how in ("two-sided", "raised", "one-sided")]
    assert list(result["pair"]) == [*penalised, "clip, c = 0.3"]
    assert list(result["trainings"]) == ["two-sided, lam = 0.1", "one-sided, lam = 20", "clip, c = 0.3"]
    for critic, row in result["pair"].items():
        assert row["V/W"] == pytest.approx(row["V"] / module.exact())
        assert row["V/KW"] == pytest.approx(row["V/W"] / row["K"])
        assert critic in said and f"{row['V']:8.4f}" in said
    assert result["pair"]["raised, lam = 5"]["expected"] == module.penalised(5) / module.exact()
    assert result["pair"]["clip, c = 0.3"]["expected"] is None
    for critic, row in result["trainings"].items():
        assert f"{critic:24} {row['W_first']:8.4f} {row['W_last']:8.4f} {row['V/W']:8.4f}" in said
        assert row["W_first"] == result["trainings"]["clip, c = 0.3"]["W_first"], "the same G at the start"
        t, V, K, W = zip(*result["curves"]["trainings"][critic])
        assert t == (0, 1, 2, 3) and (W[0], W[3]) == (row["W_first"], row["W_last"])
        ratios = sorted(v / w for v, w in zip(V[1:], W[1:]))
        dV, dW = (np.array(a[1:]) - np.mean(a[1:]) for a in (V, W))
        assert row["V/W"] == pytest.approx(ratios[1]) and row["K"] == sorted(K[1:])[1]
        assert row["V/KW"] == pytest.approx(sorted(v / k / w for v, k, w in zip(V[1:], K[1:], W[1:]))[1])
        correlation = (dV * dW).sum() / math.sqrt((dV * dV).sum() * (dW * dW).sum())
        assert row["correlation"] == pytest.approx(correlation)
    assert Image.open(out / "wasserstein.png").size > (1000, 400)


def test_the_whole_example_runs_on_the_stand_in_device_and_to_the_same_numbers(tmp_path, device):
    results = []
    for name in ("device", "numpy"):
        backend.use(device if name == "device" else name)
        assert main("--lam", 10, "--clip", .1, "--iterations", 1, "--seed", 3, "--out", tmp_path) == 0
        results.append(json.loads((tmp_path / "result.json").read_text()))
    a, b = results
    assert (a["backend"], b["backend"]) == ("device", "numpy")
    assert all(a[name] == b[name] for name in ("pair", "trainings", "seed"))
    assert a["trainings"]["clip, c = 0.1"]["correlation"] is None, "one moment has no correlation"


@pytest.mark.parametrize("args, words", [
    (("--lam", "0"), "--lam: '0' is not a number > 0"),
    (("--lam", "1", "inf"), "--lam: 'inf' is not a number > 0"),
    (("--clip", "-1"), "argument --clip: "),
    (("--clip",), "expected at least one argument"),
    (("--data", "ring"), "invalid choice: 'ring'"),
    (("--iterations", "0"), "--iterations: '0' is not an integer >= 1"),
    (("--out", ""), '--out "": name a folder'),
    (("--out", __file__), __file__),
])
def test_a_wrong_option_gets_one_clear_message_and_status_2(tmp_path, args, words):
    done = programs.run_here("wasserstein", "--out", tmp_path, "--quiet", *args)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_v_that_is_not_finite_ends_in_one_sentence_and_status_2(tmp_path):
    done = shell("--out", tmp_path, "--quiet", "--lam", "10", "--clip", "1e30", "--iterations", "1")
    assert done.returncode == 2 and "Traceback" not in done.stderr and "Warning" not in done.stderr
    assert "wasserstein.py: clip, c = 1e+30, iteration 0: V is not finite" in done.stderr
