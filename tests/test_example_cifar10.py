"""examples/cifar10.py as a user runs it, on small batches in CIFAR-10's form.

What it writes, shows and refuses; how it stops and goes on.
"""

import csv
import functools
import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import programs
import pytest
from PIL import Image

import npgan
from npgan import backend, net
from npgan.conv import Conv2d, ConvTranspose2d, Reshape
from npgan.data import cifar10
from npgan.layers import Dropout, LeakyReLU, Linear, Maxout, ReLU, he
from npgan.optim import Adam, Momentum
from npgan.penalty import R1
from npgan.runs import checkpoint, images, plots

example = functools.partial(programs.load, "cifar10")
command = functools.partial(programs.command, "cifar10")
run_here = functools.partial(programs.run_here, "cifar10")
MODELS = "fully-connected", "convolutional"
FILES = ("checkpoint.npz", "curves.png", "figure2.png", "history.csv", "interpolation.png", "result.json",
         "samples.png", "training.gif")
N = 40                      # images in a batch: of two, 64 to train on


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two training batches and no test batch: coloured slopes, darker and paler ones."""
    folder, rng = tmp_path_factory.mktemp("small") / "slopes", np.random.default_rng(0)
    folder.mkdir()
    for i in (1, 2):
        y, x = np.mgrid[:32, :32] / 31 - .5
        a, b = rng.normal(0, 60, (N, 3, 1, 1)), rng.normal(0, 60, (N, 3, 1, 1))
        level = rng.uniform(80, 180, (N, 1, 1, 1))
        levels = np.clip(level + a * x + b * y, 0, 255).astype(np.uint8)
        records = np.column_stack([rng.integers(0, 10, N).astype(np.uint8), levels.reshape(N, -1)])
        (folder / f"data_batch_{i}.bin").write_bytes(records.tobytes())
    return str(folder)


def small_fully_connected(pixels, mean):
    G = [Linear(100, 8, he), ReLU(), Linear(8, pixels)]
    D = [Dropout(.8), Linear(pixels, 8), Maxout(2), Linear(4, 1)]
    return G, D


def small_convolutional(pixels, mean):
    G = [Linear(100, 4 * 8 * 8, he), ReLU(), Reshape((4, 8, 8)),
         ConvTranspose2d((4, 8, 8), 3, 8, stride=4, pad=2, tied=False)]
    D = [Conv2d((3, 32, 32), 4, 8, stride=4, pad=2), LeakyReLU(),
         Reshape((4 * 8 * 8,)), Linear(4 * 8 * 8, 1)]
    return G, D


SMALL = {"fully-connected": small_fully_connected, "convolutional": small_convolutional}


def main(*args, networks=SMALL, finish=False, **changes):
    """The status of the example, which runs in this process with small networks. The last
    pictures take time, so they are made only if finish=True. changes: to the presets.
    """
    module = example()
    for model, presets in module.PRESETS.items():
        for name, preset in presets.items():
            presets[name] = replace(preset, networks=networks[model], batch_size=32, **changes)
    with pytest.MonkeyPatch.context() as patch:
        if not finish:
            patch.setattr(images.Run, "finish", lambda run, state: None)
        return programs.call(module, *args, "--quiet")


def mnist():
    """examples/mnist.py, whose `train` cifar10.py calls."""
    return importlib.import_module("mnist")


def theta(out):
    return [backend.asnumpy(player.theta) for player in npgan.load(Path(out) / "checkpoint.npz")]


def samples_png(out):
    return (Path(out) / "samples.png").read_bytes()


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(theta(a), theta(b)))


@pytest.mark.parametrize("model", MODELS)
def test_a_run_writes_every_file_in_colour_and_says_which_model_it_was(data, tmp_path, capsys, model):
    assert main("--model", model, "--data", data, "--epochs", 2, "--out", tmp_path, finish=True) == 0
    for name in FILES:
        assert (tmp_path / name).stat().st_size > 0, name
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["epochs"], result["iterations"], result["batch_size"]) == (2, 4, 32)
    assert "parzen_ll" not in result
    assert result["dataset"].startswith("slopes (in CIFAR-10's form), 80 of 50,000 training images")
    with open(tmp_path / "history.csv") as f:
        assert [row["epoch"] for row in csv.DictReader(f)] == ["1", "2"]
    assert Image.open(tmp_path / "training.gif").n_frames == 2
    assert Image.open(tmp_path / "frames" / "0002.png").mode == "RGB"
    assert Image.open(tmp_path / "samples.png").size[0] == 2 * (10 * 34 + 2)
    out = capsys.readouterr().out
    assert f"{model}, preset quick" in out and "Parzen" not in out
    assert checkpoint.read(tmp_path / "checkpoint.npz")[0]["experiment"] == f"cifar10-{model}"


@pytest.mark.parametrize("model", MODELS)
def test_both_models_run_on_the_stand_in_device_and_to_the_same_bits(data, tmp_path, device, model):
    assert main("--model", model, "--data", data, "--epochs", 1, "--out", tmp_path / "device") == 0
    backend.use("numpy")
    main("--model", model, "--data", data, "--epochs", 1, "--out", tmp_path / "numpy")
    assert same(tmp_path / "device", tmp_path / "numpy")


def test_the_last_pictures_too_are_made_on_the_stand_in_device(data, tmp_path, device, no_figures):
    options = ("--model", "convolutional", "--data", data, "--epochs", 1)
    assert main(*options, "--out", tmp_path, finish=True) == 0
    assert json.loads((tmp_path / "result.json").read_text())["backend"] == "device"


def test_the_networks_see_normalised_images_and_pictures_show_them_at_the_training_sets_grey_and_contrast(
        data, tmp_path, monkeypatch, no_figures):
    seen, shown = [], {}

    def fit(players, x, *args, original=mnist().fit, **kwargs):
        seen.append(x)
        return original(players, x, *args, **kwargs)

    def sheet(path, images, *args, original=plots.sheet):
        shown[Path(path).name] = images
        original(path, images, *args)

    monkeypatch.setattr(mnist(), "fit", fit)
    monkeypatch.setattr(plots, "sheet", sheet)
    main("--data", data, "--epochs", 1, "--out", tmp_path, finish=True)
    pixels = cifar10.load(data).train.astype(float)
    centred = pixels - pixels.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(seen[0], 55 * centred / norms, atol=1e-4)
    natural = np.median(pixels.mean(axis=1)) + np.median(norms) * centred / norms
    beside = shown["figure2.png"].reshape(8, 7, -1)[:, 6]
    for image in beside:                            # a training image, with the contrast that all have
        assert np.abs(natural - image).max(axis=1).min() < 1e-4
    G, _ = npgan.load(tmp_path / "checkpoint.npz")
    z = np.random.default_rng((0, 0, 2)).standard_normal((100, 100), "float32")
    expected = np.median(pixels.mean(axis=1)) + np.median(norms) / 55 * G(z)
    np.testing.assert_allclose(shown["samples.png"], expected, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_resuming_ends_in_the_same_bits_with_the_quick_presets_optimizer_and_penalty(data, tmp_path, model):
    args = "--model", model, "--out", tmp_path / "parts"
    main("--model", model, "--data", data, "--epochs", 3, "--out", tmp_path / "whole")
    main(*args, "--data", data, "--epochs", 3, "--iterations", 3)
    main(*args, "--resume")
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert samples_png(tmp_path / "whole") == samples_png(tmp_path / "parts")


def test_a_preset_says_which_optimizer_steps_and_whether_there_is_a_penalty(data, tmp_path, monkeypatch):
    made, saved = [], []

    def players(*args, original=mnist().Players, **kwargs):
        made.append(original(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(mnist(), "Players", players)
    monkeypatch.setattr(checkpoint, "save", lambda path, sgd_g, sgd_d, about: saved.append((sgd_g, sgd_d)))
    for preset, optimizer, penalty in (("quick", Adam, R1), ("paper", Momentum, type(None))):
        main("--preset", preset, "--data", data, "--epochs", 1, "--out", tmp_path / preset)
        assert type(made[-1].penalty) is penalty
        assert [type(sgd) for sgd in saved[-1]] == [optimizer] * 2
        assert saved[-1][0].net is made[-1].G and saved[-1][1].net is made[-1].D


def test_the_penalty_of_a_preset_changes_what_d_learns(data, tmp_path):
    for name, extra in (("r1", {}), ("again", {}), ("none", {"r1": 0})):
        main("--data", data, "--epochs", 1, "--out", tmp_path / name, **extra)
    assert same(tmp_path / "r1", tmp_path / "again") and not same(tmp_path / "r1", tmp_path / "none")


def test_the_papers_players_have_the_published_shapes():
    """The shapes are those of the authors' two configurations."""
    module = example()
    G, D = module.paper_fully_connected(3072, None)
    assert [layer.args for layer in G if layer.parameters] == [(100, 8000), (8000, 8000), (8000, 3072)]
    assert net.shapes(D)[1:] == [(3072,), (8000,), (1600,), (1600,), (8000,), (1600,), (1600,), (1,)]
    assert [layer.args for layer in D if isinstance(layer, Dropout)] == [(.8,), (.5,), (.5,)]
    assert [layer.args for layer in D if isinstance(layer, Maxout)] == [(5,), (5,)]
    assert (net.size(G), net.size(D)) == (89_395_072, 37_393_601)
    G, D = module.paper_convolutional(3072, None)
    assert net.shapes(G) == [(100,), (8000,), (8000,), (8000,), (8000,), (80, 10, 10), (3, 32, 32)]
    assert G[-1].parameters == {"W": (5 * 3 * 5, 80), "b": (3, 32, 32)}, "no tied bias"
    assert [shape for layer, shape in zip(D, net.shapes(D)[1:]) if not isinstance(layer, Dropout)] == [
        (64, 32 + 1, 32 + 1), (32, 33, 33), (32, 16, 16), (64, 15, 15), (32, 15, 15), (32, 7, 7),
        (384, 9, 9), (192, 9, 9), (192, 5, 5), (4800,), (2500,), (500,), (1,)]
    assert [layer.args[0] for layer in D if isinstance(layer, Dropout)] == [.8, .5, .5, .5, .5]


def test_the_papers_initial_ranges_rates_and_momentum_are_the_published_ones():
    module, rng = example(), np.random.default_rng(0)

    def ranges(layers):
        weights = [layer.initial["W"](rng, (100, 1000)) for layer in layers if layer.parameters]
        return [round(float(np.abs(W).max()), 3) for W in weights]

    G, D = module.PRESETS["fully-connected"]["paper"].networks(3072, None)
    assert ranges(G) == [.05, .05, .5] and ranges(D) == [.005] * 3
    G, D = module.PRESETS["convolutional"]["paper"].networks(3072, None)
    assert ranges(G) == [.05] * 3 and ranges(D) == [.005] * 5
    for model, m, lr in (("fully-connected", 100, .025), ("convolutional", 128, .004)):
        paper = module.PRESETS[model]["paper"]
        assert (paper.batch_size, paper.lr, paper.lr_d, paper.update) == (m, lr, lr / 2, "simultaneous")
        assert paper.r1 == 0
        sgd = paper.optimizer(net.Net([Linear(1, 1)]), lr, 400)
        assert (sgd.lr(0), sgd.mu(0)) == (lr, .5)
        assert sgd.mu(249 * 400) == pytest.approx(.7) and sgd.mu(10 ** 6) == pytest.approx(.7)
        assert sgd.lr(100) == pytest.approx(lr / 1.000004 ** 100) and sgd.lr(10 ** 7) == 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_the_quick_players_take_steps_and_begin_smooth(data, tmp_path, model):
    networks = {name: presets["quick"].networks for name, presets in example().PRESETS.items()}
    main("--model", model, "--data", data, "--iterations", 1, "--lr", 1e-9, "--out", tmp_path,
         networks=networks)
    G, D = npgan.load(tmp_path / "checkpoint.npz")
    assert any(isinstance(layer, Conv2d) for layer in D.layers) is (model == "convolutional")
    x = G(np.random.default_rng(0).standard_normal((50, 100), "float32")).reshape(50, 3, 32, 32)
    step = np.diff(x, axis=3)
    if model == "convolutional":
        # From one independent pixel to the next, the steps would be 1.4 times as large as x.
        assert .3 < x.std() < 2 and step.std() < .5 * x.std()
    else:
        assert x.std() < .3, "noise of a small fraction of the images' contrast"


def test_ctrl_c_saves_everything_and_names_the_model_in_how_to_go_on(data, tmp_path):
    args = command("--model", "convolutional", "--data", data, "--out", tmp_path,
                   "--batch-size", 8, "--epochs", 10_000)
    status, out, err = programs.interrupted(args, tmp_path / "checkpoint.npz")
    assert status == 130, err
    assert f"python examples/cifar10.py --model convolutional --resume --out {tmp_path}" in out
    assert "Traceback" not in err
    assert npgan.load(tmp_path / "checkpoint.npz")


def test_a_checkpoint_of_the_other_model_is_refused_by_its_name(data, tmp_path):
    main("--model", "convolutional", "--data", data, "--epochs", 1, "--out", tmp_path)
    words = "is a checkpoint of cifar10-convolutional, but this run is cifar10-fully-connected"
    with pytest.raises(ValueError, match=words):
        main("--resume", "--out", tmp_path)


def test_part_of_the_published_images_is_still_named_cifar_10(data, monkeypatch):
    module = example()
    images = cifar10.load(data)
    for name, label in (("cifar10", "CIFAR-10"),
                        ("cifar10, 20,000 of 50,000 images", "CIFAR-10, 20,000 of 50,000 images"),
                        ("cifar10 (in CIFAR-10's form)", "cifar10 (in CIFAR-10's form)")):
        monkeypatch.setattr(module.cifar10, "load", lambda *args, **kwargs: images._replace(name=name))
        assert module.load("auto")[1] == label


@pytest.mark.parametrize("args, words", [
    (("--model", "deep"), "invalid choice: 'deep'"),
    (("--lrr", "1"), "unrecognized arguments: --lrr"),
    (("--data", "MISSING"), "missing: there is no such file or directory"),
    (("--model", "convolutional", "--resume"), "there is no"),
])
def test_a_wrong_option_gets_one_clear_message_and_status_2(tmp_path, args, words):
    done = run_here(*(tmp_path / "missing" if a == "MISSING" else a for a in args), "--out", tmp_path)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_help_tells_the_defaults_of_the_model_and_no_option_that_makes_no_sense_here():
    fully_connected = example().parser().format_help()
    convolutional = run_here("--model", "convolutional", "--help").stdout
    for model, paper, text in (("fully-connected", "paper: 100", fully_connected),
                               ("convolutional", "paper: 128", convolutional)):
        words = " ".join(text.split())
        assert paper in words and "parzen" not in words.lower()
        assert f"python examples/cifar10.py --model {model} --resume --out DIR" in words
        assert f"runs/cifar10-{model}-PRESET-seedN" in "".join(text.split())
