"""examples/lapgan.py as a user runs it, on small batches in CIFAR-10's form.

What it writes, shows and refuses; how it stops and goes on.
"""

import functools
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import programs
import pytest

import npgan
from npgan import backend, metrics, net, pyramid
from npgan.conv import Conv2d, Reshape
from npgan.data import cifar10
from npgan.layers import Dropout, LeakyReLU, Linear, Maxout, ReLU, he
from npgan.net import Net
from npgan.pyramid import AddCondition
from npgan.runs import checkpoint, images, mpi

example = functools.partial(programs.load, "lapgan", SAMPLES=120)
command = functools.partial(programs.command, "lapgan")
run_here = functools.partial(programs.run_here, "lapgan")
LEVELS = "8x8", "16x16", "32x32"
FILES = "children.png", "levels.png", "result.json", "samples.png"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """80 training images, 64 to train on, and 12 test images: coloured slopes."""
    folder, rng = tmp_path_factory.mktemp("small") / "slopes", np.random.default_rng(0)
    folder.mkdir()
    for name, n in (("data_batch_1", 80), ("test_batch_small", 12)):
        y, x = np.mgrid[:32, :32] / 31 - .5
        a, b = rng.normal(0, 60, (n, 3, 1, 1)), rng.normal(0, 60, (n, 3, 1, 1))
        pixels = np.clip(rng.uniform(80, 180, (n, 1, 1, 1)) + a * x + b * y, 0, 255).astype(np.uint8)
        records = np.column_stack([rng.integers(0, 10, n).astype(np.uint8), pixels.reshape(n, -1)])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return str(folder)


def small_coarse(size, classes):
    G = [Linear(100 + classes, 8, he), ReLU(), Linear(8, 192), AddCondition(0, classes)]
    return G, [Dropout(.8), Linear(192 + classes, 8, he), Maxout(2), Linear(4, 1)]


def small_fine(size, classes):
    appended = int(classes > 0)
    G = [Conv2d((4 + appended, size, size), 3, 3, pad=1), AddCondition(3, appended)]
    D = [Conv2d((3 + appended, size, size), 4, 4, stride=4), LeakyReLU(), Reshape((size ** 2 // 4,)),
         Linear(size ** 2 // 4, 1)]
    return example().with_class_planes(G, D, size, classes)


def main(*args, finish=False, module=None, **changes):
    """The status of the example, which runs in this process with small networks. The last
    pictures take time, so they are made only if finish=True. changes: to the presets.
    """
    module = module or example()
    for size, presets in module.PRESETS.items():
        for name, preset in presets.items():
            small = small_coarse if size == 8 else small_fine
            presets[name] = replace(preset, networks=small, **{"epochs": 1, "batch_size": 32, **changes})
    with pytest.MonkeyPatch.context() as patch:
        if not finish:
            patch.setattr(images.Run, "finish", lambda run, state: None)
            patch.setattr(module, "finish", lambda *args: None)
        return programs.call(module, *args, "--quiet")


def theta(out):
    return [backend.asnumpy(player.theta) for player in npgan.load(Path(out) / "checkpoint.npz")]


def same(a, b):
    return all(np.array_equal(x, y) for level in LEVELS for x, y in zip(theta(a / level), theta(b / level)))


def config(out):
    return checkpoint.read(out / "checkpoint.npz")[0]["config"]


def level_of(data, size, conditional=False):
    """A Level of the example, with a Run that has not begun."""
    module, options = example(), ["--data", data, *["--conditional"] * conditional]
    args = module.parser().parse_args(options)
    run = module.level_run(args, {}, size, "unused")
    return module.Level(run, size, 10 if conditional else 0)


# --- A run ------------------------------------------------------------------------------------


def test_a_run_writes_every_file_and_scores_the_test_images(data, tmp_path, capsys):
    assert main("--conditional", "--data", data, "--out", tmp_path, finish=True) == 0
    names = [name for name in images.FILES if name != "best.npz"]
    for name in (*FILES, *(f"{level}/{name}" for level in LEVELS for name in names)):
        assert (tmp_path / name).stat().st_size > 0, name
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["experiment"] == "lapgan-conditional"
    assert list(result["levels"]) == list(LEVELS) and result["pyramid_images"] == 12
    assert all(level["iterations"] == 2 for level in result["levels"].values())
    assert np.isfinite([result["parzen_ll"], result["pyramid_ll"], result["pyramid_sd"]]).all()
    assert f"{result['parzen_ll']:.0f} +- " in capsys.readouterr().out


def test_a_run_on_the_stand_in_device_makes_the_same_bits(data, tmp_path, device, no_figures):
    options = "--data", data, "--conditional", "--out"
    assert main(*options, tmp_path / "device", finish=True) == 0
    backend.use("numpy")
    main(*options, tmp_path / "numpy")
    assert same(tmp_path / "device", tmp_path / "numpy")


def test_levels_that_are_trained_one_by_one_have_the_bits_of_a_run_of_all_levels(data, tmp_path, no_figures):
    main("--data", data, "--out", tmp_path / "all")
    for size in (32, 8, 16):
        main("--data", data, "--level", size, "--out", tmp_path / "single")
    assert same(tmp_path / "all", tmp_path / "single")
    assert main("--resume", "--data", data, "--out", tmp_path / "single", finish=True) == 0
    assert sorted(path.name for path in (tmp_path / "single").glob("*.*")) == [".lock", *FILES]


def test_without_test_images_there_are_no_scores(data, tmp_path, no_figures):
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches" / "data_batch_1.bin").write_bytes((Path(data) / "data_batch_1.bin").read_bytes())
    assert main("--data", tmp_path / "batches", "--out", tmp_path / "run", finish=True) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "pyramid_ll" not in result and "parzen_ll" not in result


def test_compare_scores_the_samples_of_a_run_of_cifar10(data, tmp_path, monkeypatch, no_figures):
    other = programs.load("cifar10")
    quick = other.PRESETS["fully-connected"]["quick"]
    other.PRESETS["fully-connected"]["quick"] = replace(
        quick, networks=lambda pixels, mean: ([Linear(100, pixels)], [Linear(pixels, 1)]), epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(images.Run, "finish", lambda run, state: None)
        programs.call(other, "--data", data, "--batch-size", 32, "--quiet", "--out", tmp_path / "other")
    main("--data", data, "--compare", tmp_path / "other", "--out", tmp_path / "run", finish=True)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["experiment"] == "lapgan"
    G, x = npgan.load(tmp_path / "other" / "checkpoint.npz")[0], cifar10.load(data)
    samples = G(np.random.default_rng(0).standard_normal((120, 100), "float32"))
    expected = metrics.parzen(samples, cifar10.gcn(x.valid), cifar10.gcn(x.test), example().SIGMAS)
    assert result["parzen_ll of cifar10-fully-connected"] == pytest.approx(expected.ll)


# --- Resuming ---------------------------------------------------------------------------------


def test_a_resumed_run_ends_in_the_same_bits_and_later_levels_keep_its_settings(data, tmp_path):
    options = "--data", data, "--preset", "paper", "--seed", 3, "--epochs", 2, "--lr", .001
    main(*options, "--out", tmp_path / "whole")
    main(*options, "--level", 8, "--iterations", 3, "--out", tmp_path / "parts")
    assert main("--resume", "--out", tmp_path / "parts") == 0
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert config(tmp_path / "parts" / "32x32") == config(tmp_path / "whole" / "32x32")


def test_ctrl_c_saves_everything_and_says_how_to_go_on(data, tmp_path):
    args = command("--data", data, "--conditional", "--out", tmp_path, "--batch-size", 8, "--epochs", 10_000)
    status, out, err = programs.interrupted(args, tmp_path / "8x8" / "checkpoint.npz")
    assert status == 130, err
    assert f"python examples/lapgan.py --conditional --resume --out {tmp_path}" in out
    assert "Traceback" not in err and not (tmp_path / "16x16").exists()
    assert npgan.load(tmp_path / "8x8" / "checkpoint.npz")


def test_a_new_run_sets_the_files_of_an_earlier_run_aside(data, tmp_path):
    (tmp_path / "levels.png").write_text("earlier")
    main("--data", data, "--out", tmp_path)
    assert (tmp_path / "earlier-1" / "levels.png").read_text() == "earlier"


# --- What G and D see -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("conditional", [False, True])
def test_a_row_holds_the_image_in_units_of_its_standard_deviation_and_its_class(data, size, conditional):
    level, x = level_of(data, size, conditional), cifar10.load(data)
    rows = level.run.images.train
    pixels = x.train.reshape(-1, 3, size, 32 // size, size, 32 // size)
    pixels = pixels.mean(axis=(3, 5))                                       # at this level, in [0, 1]
    np.testing.assert_allclose(level.show(rows), pixels.reshape(len(rows), -1), atol=1e-5)
    whole = x.train.reshape(-1, 3, 32 * 32)
    green = (pixels[:, 1] - whole[:, 1].mean()) / whole[:, 1].std()
    np.testing.assert_allclose(level.image(rows)[:, 1], green, atol=1e-4)
    if conditional:
        codes = rows[:, 3 * size * size:]
        assert np.array_equal(codes.argmax(axis=1), x.train_labels) and (codes.sum(axis=1) == 1).all()
        assert np.array_equal(level.labels(rows), x.train_labels)
    else:
        assert rows.shape[1] == 3 * size * size


@pytest.mark.parametrize("conditional", [False, True])
def test_the_condition_is_the_enlarged_smaller_image_of_a_training_image_and_its_class(data, conditional):
    level = level_of(data, 16, conditional)
    z = np.empty((20, 4 + conditional, 16, 16), "float32")
    level.run.prior(np.random.default_rng(0), z)
    x = level.run.images.train.reshape(-1, 3 + conditional, 16, 16)
    expected = np.concatenate([pyramid.up(pyramid.down(x[:, :3])), x[:, 3:]], axis=1)
    for given in z[:, 1:]:
        assert np.abs(expected - given).max(axis=(1, 2, 3)).min() < 1e-5


class Generated:
    """In place of a Run's G: it adds the noise to the enlarged image and appends the class."""

    def __init__(self, level):
        self.level = level

    def __call__(self, z):
        return np.concatenate([z[:, 1:4] + z[:, :1], z[:, 4:]], axis=1).reshape(len(z), -1)


def test_the_cascade_gives_each_level_the_enlarged_sample_and_the_class_of_the_level_below(data, monkeypatch):
    levels, noise = [level_of(data, size, conditional=True) for size in (8, 16, 32)], np.random.default_rng(0)
    for level in levels[1:]:
        monkeypatch.setattr(level.run, "noise", lambda n, stream, size=level.size: noise.normal(
            size=(n, 5, size, size)).astype("float32"))
        monkeypatch.setattr(level.run, "generate", Generated(level))
    rows = levels[0].run.images.train[:6]
    _, middle, last = example().cascade(levels, rows)
    details = levels[1].image(middle) - pyramid.up(levels[0].image(rows))
    assert np.abs(details[:, 0] - details[:, 2]).max() < 1e-5 and details.std() > .5    # the noise plane
    details = levels[2].image(last) - pyramid.up(levels[1].image(middle))
    assert np.abs(details[:, 0] - details[:, 2]).max() < 1e-5 and details.std() > .5
    assert np.array_equal(levels[2].labels(last), levels[0].labels(rows))


def test_the_pyramids_score_is_the_sum_of_the_parzen_estimates_of_its_levels(data, monkeypatch):
    levels, noise = [level_of(data, size) for size in (8, 16, 32)], np.random.default_rng(0)
    module = example(SIGMAS=(.7,))
    for level in levels[1:]:
        shape = 4, level.size, level.size
        monkeypatch.setattr(level.run, "noise", lambda n, stream, shape=shape: np.zeros((n, *shape)))
        monkeypatch.setattr(level.run, "generate", Generated(level))
    centres = noise.normal(size=(30, 192))
    monkeypatch.setattr(levels[0], "sample", lambda n: centres)
    found, x = module.pyramid_log_likelihoods(levels), cifar10.load(data)
    pyramids = [level.image(level.rows(x.test, x.test_labels)) for level in levels]
    expected = metrics.log_likelihoods(pyramids[0].reshape(12, -1), centres, [.7])[0]
    for smaller, image in zip(pyramids, pyramids[1:]):                      # one window, at h = 0
        h = (image - pyramid.up(smaller)).reshape(12, -1).astype(float)
        expected -= (h ** 2).sum(axis=1) / (2 * .7 ** 2) + h.shape[1] * np.log(.7 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found, expected, atol=.01)


# --- Networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("classes", [0, 10])
def test_the_networks_of_every_level_fit_together(preset, classes):
    for size, presets in example().PRESETS.items():
        G, D = presets[preset].networks(size, classes)
        end = (192 + classes,) if size == 8 else (3 + (classes > 0), size, size)
        assert net.shapes(G)[-1] == net.shapes(D)[0] == end and net.shapes(D)[-1] == (1,)
        assert net.shapes(G)[0] == ((100 + classes,) if size == 8 else (4 + (classes > 0), size, size))


def test_the_papers_players_have_the_published_shapes_ranges_rates_and_momentum():
    module, rng = example(), np.random.default_rng(0)
    G, D = module.paper_coarse(8, 0)
    assert net.shapes(G) == [(100,), (1200,), (1200,), (1200,), (1200,), (192,), (192,)]
    assert [layer.args for layer in D if layer.parameters] == [(192, 600), (600, 600), (600, 1)]
    for layers, sd in ((G, .05), (D, .005)):
        assert layers[0].initial["W"](rng, (100, 1000)).std() == pytest.approx(sd, rel=.02)
    G, D = module.paper_fine(32, 0)
    assert [shape[0] for shape in net.shapes(G)] == [4, 128, 128, 128, 128, 3, 3]
    assert [layer.kernel for layer in G + D if isinstance(layer, Conv2d)] == [7, 7, 5, 5, 5]
    assert net.shapes(D) == [(3, 32, 32), (128, 28, 28), (128, 28, 28), (128, 12, 12), (128, 12, 12),
                             (128 * 144,), (128 * 144,), (1,)]
    r = np.abs(G[0].initial["W"](rng, (100, 1000))).max()
    assert r == pytest.approx(1 / 14, rel=.01), "1 / sqrt(4 7 7)"
    for preset in (presets["paper"] for presets in module.PRESETS.values()):
        assert (preset.batch_size, preset.lr, preset.lr_d, preset.r1) == (64, .01, .005, 0)
        sgd = preset.optimizer(Net([Linear(1, 1)]), .01, 100)
        assert sgd.lr(99) == .01 and sgd.lr(250) == pytest.approx(.01 / 1.000004 ** 2)
        assert sgd.mu(99) == 0 and sgd.mu(100) == pytest.approx(.0008) and sgd.mu(10 ** 6) == .7


# --- What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("args, words", [
    (("--level", "12"), "invalid choice: 12"),
    (("--levels", "8"), "unrecognized arguments: --levels"),
    (("--data", "MISSING"), "missing: there is no such file or directory"),
    (("--resume",), "there is no"),
    (("--level", "16", "--resume"), "16x16"),
    (("--compare", "MISSING"), "missing"),
])
def test_a_wrong_option_gets_one_clear_message_and_status_2(tmp_path, args, words):
    done = run_here(*(tmp_path / "missing" if a == "MISSING" else a for a in args), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*/*")), "nothing was written"


def test_too_few_images_for_a_minibatch_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match="64 training examples do not make one epoch"):
        main("--data", data, "--batch-size", 65, "--out", tmp_path)


def test_a_run_of_the_other_kind_and_levels_of_other_images_are_refused(data, tmp_path, no_figures):
    main("--data", data, "--out", tmp_path / "run")
    words = "is a checkpoint of lapgan-8x8, but this run is lapgan-8x8-conditional"
    with pytest.raises(ValueError, match=words):
        main("--conditional", "--resume", "--out", tmp_path / "run")
    (tmp_path / "others").mkdir()
    half = (Path(data) / "data_batch_1.bin").read_bytes()[:40 * 3073]
    (tmp_path / "others" / "data_batch_1.bin").write_bytes(2 * half)
    (tmp_path / "run" / "16x16").rename(tmp_path / "16x16")
    main("--data", tmp_path / "others", "--level", 16, "--out", tmp_path / "run")
    with pytest.raises(ValueError, match="the levels were trained on different images"):
        main("--resume", "--out", tmp_path / "run", finish=True)
    with pytest.raises(ValueError, match="this is not the folder of a run of cifar10.py"):
        main("--compare", tmp_path / "run" / "8x8", "--out", tmp_path / "other")


def test_several_processes_train_one_level_and_not_all(data, tmp_path, monkeypatch):
    monkeypatch.setattr(mpi, "size", lambda: 2)
    with pytest.raises(ValueError, match="add --level 8, 16 or 32"):
        main("--data", data, "--out", tmp_path / "run")
    assert not os.listdir(tmp_path)


def test_help_tells_the_defaults_of_the_level():
    text = [re.sub(r"\s+", " ", run_here(*args, "--help").stdout) for args in ((), ("--level", "32"))]
    epochs = [example().PRESETS[size]["quick"].epochs for size in (8, 32)]
    for words, n in zip(text, epochs):
        assert f"quick: {n}, paper: 250" in words and "--conditional" in words
