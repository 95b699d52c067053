"""examples/principled_methods.py on a small data set: D, G's gradients, resuming, refusals."""

import functools
import json
import os
from pathlib import Path

import numpy as np
import programs
import pytest
from PIL import Image

from npgan import backend
from npgan.data import Images
from npgan.layers import Linear, Maxout, ReLU, Sigmoid, Tanh, logit, uniform
from npgan.net import Net
from npgan.optim import Momentum
from npgan.runs import checkpoint

command = functools.partial(programs.command, "principled_methods")
FILES = ["GAN.npz", "curves.json", "discriminator.png", "generator-1.npz", "generator-3.npz", "minimax.png",
         "nonsaturating.png", "result.json"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """600 images of 4 x 3, each black or white. 500 of them train: five iterations an epoch."""
    folder, rng = tmp_path_factory.mktemp("small") / "blobs", np.random.default_rng(0)
    folder.mkdir()
    for split, n in (("train", 600), ("t10k", 10)):
        images = 255 * rng.integers(0, 2, (n, 1, 1)) * np.ones((4, 3))
        for kind, array in (("images-idx3", images), ("labels-idx1", np.zeros(n))):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(k.to_bytes(4, "big") for k in array.shape)
            (folder / f"{split}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    return str(folder)


def example(**constants):
    return programs.load("principled_methods", **{"MOMENTS": 4, "BATCHES": 3} | constants)


def main(*args, module=None, pictures=False):
    module = module or example()
    if not pictures:
        module.figure = lambda *args: None
    return programs.call(module, *args, "--quiet")


def read(out, name):
    return json.loads((Path(out) / name).read_text())


def test_d_becomes_perfect_and_the_gradients_vanish_or_grow_but_not_with_noise(data, tmp_path, capsys):
    def small_networks(pixels, mean):
        return ([Linear(100, 100), ReLU(), Linear(100, pixels, uniform(.05), logit(mean)), Sigmoid()],
                [Linear(pixels, 30), Maxout(3), Linear(10, 1)])

    module = example(LR_NEW=.005, MOMENTS=7, BATCHES=2, paper_networks=small_networks)
    args = "--data", data, "--epochs", 3, 1, 3, "--iterations", 80, "--noise", 3, "--out", tmp_path
    assert main(*args, module=module, pictures=True) == 0
    assert sorted(os.listdir(tmp_path)) == [".lock", *FILES]
    curves, result = read(tmp_path, "curves.json"), read(tmp_path, "result.json")
    said = capsys.readouterr().out
    assert [(c["epochs"], c["noise"]) for c in result["curves"]] == [(1, 0), (3, 0), (1, 3), (3, 3)]
    for c, curve in zip(result["curves"], curves):
        assert (c["epochs"], c["noise"]) == (curve["epochs"], curve["noise"])
        names = "accuracy", "minimax", "non-saturating"
        accuracy, minimax, log_d = (np.array(curve[name]) for name in names)
        assert accuracy.shape == minimax.shape == log_d.shape == (len(curve["iteration"]), 2)
        assert curve["iteration"][0] == 0 and curve["iteration"][-1] == 80
        magnitudes = np.log10(minimax[-1].mean()) - np.log10(minimax[0].mean())
        assert c["minimax_orders_of_magnitude"] == pytest.approx(magnitudes)
        assert c["nonsaturating_growth"] == pytest.approx(log_d[-1].mean() / log_d[0].mean())
        perfect = [i for i, right in zip(curve["iteration"], accuracy) if (right == 1).all()]
        if c["noise"]:
            assert not perfect and c["iterations_to_accuracy_1"] is None and c["accuracy"] < .8
            assert c["minimax_orders_of_magnitude"] > -1 and c["nonsaturating_growth"] < 4
        else:
            assert c["iterations_to_accuracy_1"] == perfect[0] and c["accuracy"] > .99
            assert minimax[-1].mean() < minimax.mean(axis=1).max() / 3 and c["nonsaturating_growth"] > 20
            assert c["nonsaturating_sd_growth"] == pytest.approx(log_d[-1].std() / log_d[0].std())
            assert log_d[-1].std() > log_d[0].std()
    first = result["curves"][0]["iterations_to_accuracy_1"]
    assert "blobs" in said and f"accuracy 1 at iteration {first}" in said
    for name in FILES:
        if name.endswith("png"):
            assert Image.open(tmp_path / name).size > (1000, 400)


def tiny(module):
    """The module with networks that are small enough for finite differences."""
    def players(x, seed):
        G = Net([Linear(2, 3), Tanh(), Linear(3, x.shape[1])], seed=(seed, 0))
        D = module.discriminator(x.shape[1], (seed, 1))
        return G, D, Momentum(G, .1), Momentum(D, .1)

    module.players = players
    def discriminator(n, seed, first=()):
        return Net([*first, Linear(n, 4), Tanh(), Linear(4, 1)], seed=seed)

    module.discriminator = discriminator
    return module


def test_the_curves_last_point_is_what_the_equations_give_at_the_frozen_g_and_the_last_d(xp, data, tmp_path):
    module = tiny(example(BATCHES=2))
    original, loaded, first, seen = module.look, module.load, {}, {}

    def load(what):
        name, x, unseen = loaded(what)
        return name, x, unseen / 2

    def look(p, *args):
        values = original(p, *args)
        noise = [extra[0] for extra in p.tape_d.extra if extra]
        seen[bool(noise)] = [xp.asnumpy(a).astype(float) for a in (p.x, p.z, p.G.theta, p.D.theta, *noise)]
        first.setdefault(bool(noise), seen[bool(noise)][3])
        return values

    module.load, module.look = load, look
    args = "--data", data, "--epochs", 2, "--iterations", 20, "--noise", .5
    main(*args, "--out", tmp_path, module=module)
    with np.load(tmp_path / "generator-2.npz") as f:
        saved = np.concatenate([f[f"G.{name}"].ravel() for name in ("0.W", "0.b", "2.W", "2.b")])
    for curve in read(tmp_path, "curves.json"):
        x, z, theta, theta_d, *e = seen[curve["noise"] > 0]
        fresh = xp.asnumpy(module.discriminator(12, (0, 2)).theta)
        np.testing.assert_array_equal(theta, saved, "G is frozen")
        np.testing.assert_array_equal(first[curve["noise"] > 0], fresh, "D begins anew")
        assert set(np.unique(x)) == {0, .5}, "D was not trained on them"
        e = e[0] if e else np.zeros((200, 12))
        assert e.std() == pytest.approx(curve["noise"], rel=.1)

        def two_layers(theta, x, n, hidden, k):
            W, b, U, c = np.split(theta, np.cumsum([n * hidden, hidden, hidden * k]))
            return np.tanh(x @ W.reshape(n, hidden) + b) @ U.reshape(hidden, k) + c

        def D(x, e):
            return 1 / (1 + np.exp(-two_layers(theta_d, x + e, 12, 4, 1)))

        def gradient(J):
            steps = 1e-5 * np.eye(len(theta))
            return [(J(theta + h) - J(theta - h)) / 2e-5 for h in steps]

        def D_Gz(theta):
            return D(two_layers(theta, z, 2, 3, 12), e[100:])

        last, D_x = {name: curve[name][-1][-1] for name in module.CURVES}, D(x, e[:100])
        accuracy = ((D_x > .5).mean() + (D_Gz(theta) < .5).mean()) / 2
        minimax = gradient(lambda t: np.log(1 - D_Gz(t)).mean())
        log_d = gradient(lambda t: -np.log(D_Gz(t)).mean())
        assert last["cost"] == pytest.approx(-np.log(D_x).mean() - np.log(1 - D_Gz(theta)).mean(), rel=1e-4)
        assert last["accuracy"] == pytest.approx(accuracy, abs=.006)
        assert last["minimax"] == pytest.approx(np.linalg.norm(minimax), rel=1e-3)
        assert last["non-saturating"] == pytest.approx(np.linalg.norm(log_d), rel=1e-3)


def test_a_gradient_too_small_for_its_square_in_float32_still_has_its_norm():
    module = tiny(example())
    G, D = module.players(np.zeros((1, 2)), 0)[0], module.discriminator(2, 0)
    D.layers[-1].b[...] = -60                               # D(G(z)) is about e^-60
    p, examples = module.Players(G, D, 10), iter([np.zeros((10, 2), "float32")] * 3)
    values = module.look(p, examples, module.Uniform(), backend.default_rng(0))
    assert (values[:, 2] > 1e-30).all() and (values[:, 2] < 1e-22).all() and (values[:, 3] > 1e-3).all()


def test_every_minibatch_is_looked_at_through_noise_of_its_own():
    module = tiny(example())
    G, *_ = module.players(np.zeros((1, 2)), 0)
    p = module.Players(G, module.discriminator(2, 0, [module.Noise(1.)]), 10)

    def always_the_same(rng, z):
        z[...] = 1

    examples = iter([np.zeros((10, 2), "float32")] * 3)
    values = module.look(p, examples, always_the_same, backend.default_rng(0))
    assert all(len(set(column)) == 3 for column in values[:, [0, 2, 3]].T.tolist())


def test_the_whole_example_runs_on_the_stand_in_device_and_to_the_same_numbers(data, tmp_path, device):
    args = ("--data", data, "--epochs", 1, "--iterations", 3)
    assert main(*args, "--out", tmp_path / "device") == 0
    assert read(tmp_path / "device", "result.json")["backend"] == "device"
    backend.use("numpy")
    main(*args, "--out", tmp_path / "numpy")
    assert read(tmp_path / "device", "curves.json") == read(tmp_path / "numpy", "curves.json")


def test_points_of_the_plane_and_other_seeds_give_other_curves(tmp_path):
    module = example()
    original, args = module.load, ("--data", "ring", "--epochs", 1, "--iterations", 2)
    module.load = lambda what: [part if isinstance(part, str) else part[:200] for part in original(what)]
    for seed in 0, 1:
        assert main(*args, "--seed", seed, "--out", tmp_path / str(seed), module=module) == 0
    a, b = (read(tmp_path / str(seed), "curves.json") for seed in (0, 1))
    assert [c["noise"] for c in a] == [0, .2] and a[0]["cost"] != b[0]["cost"]


def test_an_interrupted_run_keeps_what_is_complete_and_ends_in_the_same_numbers(data, tmp_path, capsys):
    args, module = ("--data", data, "--epochs", 1, 2, "--iterations", 4), tiny(example(MOMENTS=2))
    main(*args, "--out", tmp_path / "whole", module=module)
    original, begun, out = module.train_new_discriminator, [], tmp_path / "parts"

    def interrupted(players, *args):
        begun.append(players)
        for i, seen in original(players, *args):
            if len(begun) == 3 and i == 4:
                raise KeyboardInterrupt
            yield i, seen

    def times():
        return [(out / name).stat().st_mtime_ns for name in ("GAN.npz", "generator-1.npz", "generator-2.npz")]

    module.train_new_discriminator = interrupted
    capsys.readouterr()
    assert main(*args, "--out", out, module=module) == 130
    assert "Interrupted. What is complete is kept" in capsys.readouterr().out
    assert len(read(out, "curves.json")) == 2
    before = times()
    assert main(*args, "--out", out, "--resume", module=module) == 0
    assert len(begun) == 3 + 2, "two curves were left"
    assert before == times(), "no GAN was trained again"
    assert read(out, "curves.json") == read(tmp_path / "whole", "curves.json")
    assert main(*args, "--out", out, "--resume", module=module) == 0
    assert len(begun) == 5, "nothing was left"
    main(*args, "--out", out, "--resume", "--noise", 3, module=module)
    assert len(begun) == 7, "new curves with noise, and none without"
    main(*args, "--out", out, "--resume", "--iterations", 5, module=module)
    assert len(begun) == 11 and {c["iterations"] for c in read(out, "curves.json")} == {5}
    main(*args, "--out", out, module=module)
    assert len(begun) == 15, "without --resume all begins anew"


def test_ctrl_c_while_the_gan_is_trained_saves_it_says_so_in_one_sentence_and_exits_with_130(data, tmp_path):
    arguments = command("--data", data, "--out", tmp_path, "--epochs", 100_000, "--quiet")
    status, out, err = programs.interrupted(arguments, tmp_path / "GAN.npz")
    assert status == 130 and err == ""
    assert out.splitlines()[-1].startswith("Interrupted. What is complete is kept")
    state = checkpoint.read(tmp_path / "GAN.npz")[0]["state"]
    done = state["epoch"] * 5 + state["iteration"]
    assert done > 0
    epochs = state["epoch"] + 1
    main("--data", data, "--out", tmp_path, "--epochs", epochs, "--iterations", 1, "--resume")
    main("--data", data, "--out", tmp_path / "whole", "--epochs", epochs, "--iterations", 1)
    assert read(tmp_path, "curves.json") == read(tmp_path / "whole", "curves.json"), "the same bits"


def test_what_was_made_on_other_data_or_another_seed_is_not_gone_on_with(data, tmp_path):
    args = ("--data", data, "--iterations", 1, "--out", tmp_path, "--resume")
    module = tiny(example())
    main(*args, "--epochs", 2, module=module)
    main(*args, "--epochs", 2, 3, module=module)
    past = "--epochs 1: .* is at epoch 3 already, and G of epoch 1 was not kept; leave --resume out"
    with pytest.raises(ValueError, match=past):
        main(*args, "--epochs", 1, 4, module=module)
    assert checkpoint.read(tmp_path / "GAN.npz")[0]["state"]["epoch"] == 3, "before anything is trained"
    with pytest.raises(ValueError, match="GAN.npz was made on other data or with another --seed"):
        main(*args, "--seed", 1, module=module)
    main(*args[:-1], "--seed", 1, "--epochs", 3, module=module)
    (tmp_path / "earlier-1" / "generator-2.npz").rename(tmp_path / "generator-2.npz")       # of seed 0
    with pytest.raises(ValueError, match="generator-2.npz was made on other data or with another --seed"):
        main(*args, "--seed", 1, "--epochs", 2, 3, module=module)
    (tmp_path / "curves.json").write_text('[{"epochs": 2}]x')
    with pytest.raises(ValueError, match="curves.json: not a result of this example, or a damaged one"):
        main(*args, "--seed", 1, "--epochs", 3, module=module)
    sgd = [Momentum(Net([Linear(2, 2)]), .1), Momentum(Net([Linear(2, 1)]), .1)]
    checkpoint.save(tmp_path / "GAN.npz", *sgd, {})
    (tmp_path / "curves.json").write_text("[]")
    with pytest.raises(ValueError, match="GAN.npz was made on other data"):
        main(*args, "--seed", 1, "--epochs", 3, module=module)


def test_a_value_that_is_not_finite_names_the_new_d_and_its_iteration(data, tmp_path):
    module, args = example(), ("--data", data, "--epochs", 1, "--out", tmp_path)
    main(*args, "--iterations", 1, module=module)
    module.LR_NEW = 1e30
    words = r"G of epoch 1, noise 0: the new D's iteration \d is not finite"
    with pytest.raises(FloatingPointError, match=words):
        main(*args, "--iterations", 4, "--resume", module=module)


@pytest.mark.parametrize("args, words", [
    (("--epochs",), "expected at least one argument"),
    (("--epochs", "0"), "--epochs: '0' is not an integer >= 1"),
    (("--noise", "0"), "--noise: '0' is not a number > 0"),
    (("--iterations", "x"), "--iterations: 'x' is not an integer >= 1"),
    (("--out", ""), '--out "": name a folder'),
    (("--data", "/nowhere"), "/nowhere: there is no such file or directory"),
])
def test_a_wrong_option_gets_one_clear_message_and_status_2(args, words, tmp_path):
    done = programs.run_here("principled_methods", "--out", tmp_path, *args)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_data_that_make_no_minibatch_or_are_not_what_was_asked_for_are_refused(data, tmp_path, monkeypatch):
    module = example(M=101)
    words = "500 examples to train on and 100 to look at, but a minibatch is 101"
    with pytest.raises(ValueError, match=words):
        main("--data", data, "--out", tmp_path, module=module)
    monkeypatch.setenv("NPGAN_DATA", data)
    with pytest.raises(ValueError, match='NPGAN_DATA has "blobs, shuffled", not MNIST'):
        main("--data", "mnist", "--out", tmp_path)


def test_auto_falls_back_to_the_rendered_digits_and_says_so(monkeypatch, capsys):
    module = example()
    images = Images("glyphs", (1, 1), *[np.zeros((1, 1), "float32")] * 3, *[np.zeros(1, np.uint8)] * 3)
    monkeypatch.setattr(module.digits.glyphs, "load", lambda: images)

    def nowhere(data):
        raise FileNotFoundError("MNIST was not found")

    monkeypatch.setattr(module.digits.mnist, "load", nowhere)
    assert module.load("auto")[0] == module.load("glyphs")[0] == "rendered digits"
    said = "MNIST was not found\nSo this run trains on the rendered digits, not on MNIST."
    assert said in capsys.readouterr().out
    for what in ("mnist", "/nowhere"):
        with pytest.raises(FileNotFoundError):
            module.load(what)
