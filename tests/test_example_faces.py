"""examples/faces.py as a user runs it, on small files in the form of the databases.

The published configuration, the two stages, the data and the log-likelihood, and what it says.
"""

import functools
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import programs
import pytest
from PIL import Image

import npgan
from npgan import backend, metrics
from npgan.data import tfd
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid, he
from npgan.net import Net
from npgan.optim import Adam
from npgan.runs import checkpoint, images, plots

run_here = functools.partial(programs.run_here, "faces")
shell = functools.partial(programs.shell, "faces")
FILES = ("checkpoint.npz", "curves.png", "figure2.png", "history.csv", "interpolation.png", "result.json",
         "samples.png", "training.gif")


def small_networks(pixels, mean):
    G = [Linear(100, 6, he), ReLU(), Linear(6, pixels, he), Sigmoid()]
    D = [Dropout(.8), Linear(pixels, 8, he), Maxout(2), Linear(4, 1, he)]
    return G, D


def small_new_layers():
    return [Linear(100, 5, he), ReLU(), Linear(5, 100, he)]


SMALL = dict(networks=small_networks, new_layers=small_new_layers, epochs=2, pretrain_epochs=2, batch_size=8)


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """A directory with 40 images of five people. 24 of them train."""
    folder, rng = tmp_path_factory.mktemp("faces") / "album", np.random.default_rng(0)
    for person in range(5):
        (folder / f"person{person}").mkdir(parents=True)
        for i in range(8):
            image = Image.fromarray(rng.integers(256, size=(6, 6), dtype=np.uint8))
            image.resize((48, 48)).save(folder / f"person{person}" / f"{i}.png")
    return str(folder)


@pytest.fixture
def database(tmp_path):
    """A file in the form of the Toronto Face Database, and its variables: 300 images, of which
    200 are unlabelled.
    """
    sio = pytest.importorskip("scipy.io", reason='needs SciPy (the extra "faces") for .mat files')
    rng = np.random.default_rng(0)
    folds = np.zeros((300, 5), np.uint8)
    for fold in range(5):
        folds[200:, fold] = rng.permutation(np.arange(100) % 5).clip(2) - 1
    variables = {"images": rng.integers(256, size=(300, 48, 48), dtype=np.uint8), "folds": folds,
                 "labs_ex": np.ones((300, 1), np.int16)}
    sio.savemat(tmp_path / tfd.TFD, variables)
    return tmp_path / tfd.TFD, variables


def example(small=True):
    module = programs.load("faces")
    if small:
        module.EPOCH = 0
        for name, preset in module.PRESETS.items():
            module.PRESETS[name] = replace(preset, **SMALL)
    return module


def main(*args, finish=False, stop=None, optimizer=None):
    """The status of the example, which runs in this process with small networks. The last
    pictures and scores take time, so they are made only if finish=True. optimizer: instead of
    the presets'.

    stop = (stage, epoch): Ctrl-C comes in this stage, after the checkpoint of this epoch. If
    epoch is "end", Ctrl-C comes when training is over.
    """
    module = example()
    if optimizer:
        for preset in module.PRESETS.values():
            preset.optimizer = optimizer

    def save(path, *args, original=checkpoint.save):
        original(path, *args)
        state = args[-1]["state"]
        if stop == (stage(path), state["epoch"]) and not state["iteration"]:
            os.kill(os.getpid(), signal.SIGINT)

    def end(run, state):
        if stop == (stage(run.path), "end"):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        if not finish:
            patch.setattr(images.Run, "finish", end)
            patch.setattr(plots, "write", lambda *args: None)
        return programs.call(module, *args, "--quiet")


def stage(path):
    return "pretrain" if Path(path).parent.name == "pretrain" else "train"


def arrays(out):
    return checkpoint.read(Path(out) / "checkpoint.npz")[1]


def same(a, b):
    """Whether two runs have the same arrays, in both stages."""
    pairs = ((arrays(a), arrays(b)), (arrays(a / "pretrain"), arrays(b / "pretrain")))
    return all(x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x) for x, y in pairs)


# --- The published configuration --------------------------------------------------------------


def shapes(layers):
    return [(type(layer).__name__, *layer.args) for layer in layers]


def draws(layer, name="W", columns=3):
    """Initial values of a parameter, for a few units only, because the networks are large."""
    n, *k = layer.parameters[name]
    return layer.initial[name](np.random.default_rng(0), (n, columns) if k else (n,))


def test_the_paper_preset_is_the_published_configuration():
    module = example(small=False)
    preset = module.PRESETS["paper"]
    mean = np.linspace(0, 1, 2304)
    G, D = preset.networks(2304, mean)
    assert shapes(G) == [("Linear", 100, 8000), ("ReLU",), ("Linear", 8000, 8000), ("Sigmoid",),
                         ("Linear", 8000, 2304), ("Sigmoid",)]
    assert shapes(D) == [("Dropout", .8), ("Linear", 2304, 6000), ("Maxout", 5), ("Dropout", .5),
                         ("Linear", 1200, 6000), ("Maxout", 5), ("Dropout", .5), ("Linear", 1200, 1)]
    new = preset.new_layers()
    assert shapes(new) == [("Linear", 100, 8000), ("ReLU",), ("Linear", 8000, 100), ("Sigmoid",)]
    for layer, r, b in ((G[0], .05, 0), (G[2], .05, -2), (new[0], .05, 0), (new[2], .05, -2),
                        (D[1], .005, 0), (D[4], .005, 0), (D[7], .005, 0)):
        W = draws(layer, columns=100)
        assert .98 * r < np.abs(W).max() <= r and abs(W.mean()) < .05 * r
        np.testing.assert_array_equal(draws(layer, "b"), np.full(layer.parameters["b"], b))
    p = np.clip(mean, 1e-7, 1 - 1e-7)
    np.testing.assert_allclose(draws(G[4], "b"), np.log(p / (1 - p)))
    assert (preset.pretrain_epochs, preset.epochs, preset.batch_size) == (50, 22, 100)
    assert (preset.lr, 2 * preset.lr_d, preset.r1, preset.update) == (.05, .05, 0, "simultaneous")
    z = np.empty((1000, 100), "float32")
    module.PRIOR(np.random.default_rng(0), z)
    assert abs(z.mean()) < .01 and abs(z.std() - 1) < .01 and np.abs(z).max() > 3


def test_each_output_unit_of_the_pretrained_generator_begins_with_exactly_100_normal_weights():
    G, _ = example(small=False).PRESETS["paper"].networks(2304, np.full(2304, .5))
    W = draws(G[4], columns=50)
    assert W.shape == (8000, 50) and (np.count_nonzero(W, axis=0) == 100).all()
    values = W[W != 0]
    assert abs(values.mean()) < .1 and abs(values.std() - 1) < .1


def test_the_papers_schedules_and_its_limit_hold_for_every_weight_matrix(xp):
    make = example(small=False).PRESETS["paper"].optimizer
    net = Net([Linear(50, 4, lambda rng, shape: rng.normal(0, 1, shape)), ReLU(), Linear(4, 3, he)])
    sgd, before = make(net, .05, 10), {name: xp.asnumpy(a) for name, a in net.named_parameters().items()}
    assert sgd.lr(0) == .05 and sgd.lr(10**9) == 1e-6
    assert sgd.lr(1) == pytest.approx(.05 / 1.000004, rel=1e-12)
    assert sgd.mu(0) == sgd.mu(9) == .5 and sgd.mu(249 * 10) == pytest.approx(.7) == sgd.mu(10**6)
    sgd.ascend()                                            # grad is 0: only the limit changes theta
    after = {name: xp.asnumpy(a) for name, a in net.named_parameters().items()}
    norms = np.linalg.norm(before["0.W"], axis=0)
    assert norms.min() > 1.9365
    np.testing.assert_allclose(after["0.W"], before["0.W"] * 1.9365 / norms, rtol=1e-5)
    norms = np.linalg.norm(before["2.W"], axis=0)
    np.testing.assert_allclose(after["2.W"], before["2.W"] * np.minimum(1, 1.9365 / norms), rtol=1e-5)


# --- The two stages ---------------------------------------------------------------------------


def test_both_stages_write_every_file_and_say_what_they_did(album, tmp_path, capsys):
    assert main("--data", album, "--out", tmp_path, "--pretrain-epochs", 1, finish=True) == 0
    for folder, epochs in ((tmp_path / "pretrain", 1), (tmp_path, 2)):
        for name in FILES:
            assert (folder / name).stat().st_size > 0, (folder, name)
        result = json.loads((folder / "result.json").read_text())
        assert (result["dataset"], result["epochs"], result["iterations"]) == ("album", epochs, 3 * epochs)
        for key in ("parzen_ll", "parzen_se", "parzen_real_data", "parzen_kmeans"):
            assert np.isfinite(result[key])
        counts = {"parzen_samples": 10_000, "parzen_real_data_n": 24, "parzen_kmeans_n": 12,
                  "parzen_folds": 1}
        assert counts.items() <= result.items()
        edges = metrics.SIGMAS[0], metrics.SIGMAS[-1]
        assert result["parzen_sigma_at_edge"] is any(sigma in edges for sigma in result["parzen_sigma"])
        assert (folder / "history.csv").read_text().count("\n") == epochs + 1
    out = capsys.readouterr().out
    assert out.index("album, pretrain, preset quick") < out.index("album, preset quick")
    assert "do not compare with the paper's 2057 +- 26" in out
    assert "over the test images of one fold" in out


def test_the_second_stage_begins_with_the_pretrained_layers_on_top_of_new_ones_and_with_a_fresh_d(
        album, tmp_path):
    seen = []

    def optimizer(net, lr, updates):
        seen.append({name: backend.asnumpy(a).copy() for name, a in net.named_parameters().items()})
        return Adam(net, lr)

    main("--data", album, "--out", tmp_path, optimizer=optimizer)
    D_first, _, D, G = seen
    pretrained = arrays(tmp_path / "pretrain")
    for l in (0, 2):
        for name in "Wb":
            np.testing.assert_array_equal(G[f"{l + 3}.{name}"], pretrained[f"G.{l}.{name}"])
    assert G["0.W"].shape == (100, 5) and G["2.W"].shape == (5, 100)
    assert all(np.array_equal(D[name], D_first[name]) for name in D)
    assert not np.array_equal(arrays(tmp_path)["G.3.W"], pretrained["G.0.W"]), "they are trained too"
    G, D = npgan.load(tmp_path / "checkpoint.npz")
    assert shapes(G.layers) == shapes([*small_new_layers(), *small_networks(2304, 0)[0]])
    assert G(np.zeros((2, 100), "float32")).shape == (2, 2304)


def test_the_example_runs_on_the_stand_in_device_and_to_the_same_bits(album, tmp_path, device):
    assert main("--data", album, "--iterations", 2, "--out", tmp_path / "device") == 0
    assert checkpoint.read(tmp_path / "device" / "checkpoint.npz")[0]["backend"] == "device"
    backend.use("numpy")
    main("--data", album, "--iterations", 2, "--out", tmp_path / "numpy")
    assert same(tmp_path / "device", tmp_path / "numpy")


def test_the_paper_presets_update_runs_on_the_stand_in_device(album, tmp_path, device):
    assert main("--data", album, "--iterations", 2, "--preset", "paper", "--out", tmp_path) == 0
    for folder in tmp_path / "pretrain", tmp_path:
        assert checkpoint.read(folder / "checkpoint.npz")[0]["state"]["iteration"] == 2
    G, D = npgan.load(tmp_path / "checkpoint.npz")
    for net in G, D:
        for name, W in net.named_parameters().items():
            assert not name.endswith(".W") or np.linalg.norm(backend.asnumpy(W), axis=0).max() <= 1.93651


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(album, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("other", 2)):
        main("--data", album, "--seed", seed, "--out", tmp_path / name)
    assert same(tmp_path / "a", tmp_path / "b") and not same(tmp_path / "a", tmp_path / "other")


@pytest.mark.parametrize("stop", [("pretrain", 1), ("pretrain", 2), ("pretrain", "end"),
                                  ("train", 1), ("train", 3), ("train", "end")])
def test_an_interrupted_run_goes_on_in_the_stage_it_was_in_to_the_same_bits(album, tmp_path, stop, capsys):
    options = ("--seed", 3, "--lr", .002, "--epochs", 3)
    main("--data", album, *options, "--out", tmp_path / "whole")
    assert main("--data", album, *options, "--out", tmp_path / "parts", stop=stop) == 130
    out = capsys.readouterr().out
    assert f"python examples/faces.py --resume --out {tmp_path / 'parts'}" in out
    assert ("Interrupted at epoch" in out and "everything until then is saved" in out) == (stop[1] != "end")
    assert main("--resume", "--out", tmp_path / "parts") == 0
    out = capsys.readouterr().out
    assert ("pretrain, preset" in out) == (stop[0] == "pretrain") and "album, preset quick" in out
    assert same(tmp_path / "whole", tmp_path / "parts")
    about = [checkpoint.read(tmp_path / "parts" / stage / "checkpoint.npz")[0] for stage in ("pretrain", "")]
    assert [a["state"]["epoch"] for a in about] == [2, 3]


def test_ctrl_c_saves_everything_says_how_to_go_on_and_exits_with_130(album, tmp_path):
    script = ("import sys; sys.path.insert(0, 'tests'); import test_example_faces as t; m = t.example(); "
              "m.options.run_program(m.parser(), m.main)")
    args = ("--quiet", "--data", album, "--out", str(tmp_path), "--pretrain-epochs", "99999")
    status, out, err = programs.interrupted(
        [sys.executable, "-c", script, *args], tmp_path / "pretrain" / "checkpoint.npz",
        cwd=programs.EXAMPLES.parent)
    assert status == 130 and "Traceback" not in err, err
    assert f"To continue: python examples/faces.py --resume --out {tmp_path}\n" in out
    assert npgan.load(tmp_path / "pretrain" / "checkpoint.npz") and not (tmp_path / "checkpoint.npz").exists()


def test_epochs_can_be_raised_in_both_stages_but_those_of_the_first_only_while_it_lasts(album, tmp_path):
    main("--data", album, "--out", tmp_path / "whole", "--epochs", 2, "--pretrain-epochs", 3)
    main("--data", album, "--out", tmp_path / "parts", stop=("pretrain", 1))
    assert main("--resume", "--out", tmp_path / "parts", "--pretrain-epochs", 3, "--epochs", 1) == 0
    main("--resume", "--out", tmp_path / "parts", "--epochs", 2)
    assert same(tmp_path / "whole", tmp_path / "parts")
    main("--data", album, "--out", tmp_path / "between", "--iterations", 100, stop=("pretrain", "end"))
    assert main("--resume", "--out", tmp_path / "between", "--epochs", 1) == 0
    about, _ = checkpoint.read(tmp_path / "between" / "checkpoint.npz")
    assert about["state"]["epoch"] == 1 and about["config"]["iterations"] is None
    with pytest.raises(ValueError, match="--pretrain-epochs 5: .*second stage"):
        main("--resume", "--out", tmp_path / "parts", "--pretrain-epochs", 5)
    with pytest.raises(ValueError, match="--seed 1: .*was made with 0"):
        main("--resume", "--out", tmp_path / "parts", "--seed", 1)


def test_a_pretraining_that_iterations_cut_short_is_finished_first(album, tmp_path):
    main("--data", album, "--out", tmp_path / "whole")
    main("--data", album, "--out", tmp_path / "parts", "--iterations", 2)
    assert main("--resume", "--out", tmp_path / "parts") == 0
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_a_second_run_in_one_folder_does_not_go_on_with_the_first_ones_second_stage(album, tmp_path):
    def killed(*folders):
        """Leave in folders of the run what a killed process leaves there."""
        for folder in folders:
            (tmp_path / "run" / folder / f".new-{'0' * 16}.png").touch()

    main("--data", album, "--out", tmp_path / "run")
    (tmp_path / "run" / "of the user").mkdir()
    killed("frames", "pretrain", "pretrain/frames", "of the user")
    first = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    assert main("--data", album, "--seed", 1, "--out", tmp_path / "run", stop=("pretrain", 1)) == 130
    killed("pretrain", "pretrain/frames")
    main("--resume", "--out", tmp_path / "run")
    assert [path.parent.name for path in (tmp_path / "run").rglob(".new-*")] == ["of the user"]
    assert (tmp_path / "run" / "earlier-1" / "checkpoint.npz").read_bytes() == first
    assert (tmp_path / "run" / "earlier-1" / "pretrain" / "checkpoint.npz").exists()
    main("--data", album, "--seed", 1, "--out", tmp_path / "whole")
    assert same(tmp_path / "run", tmp_path / "whole")


# --- The data and the log-likelihood ----------------------------------------------------------


def test_the_database_trains_on_its_unlabelled_images_and_the_estimate_is_over_its_five_folds(
        database, tmp_path, xp):
    path, variables = database
    module, pixels = example(), variables["images"].reshape(300, -1) / 255
    images, label = module.load(str(path))
    assert label == "TFD_48x48" and np.allclose(images.train, pixels[:200])
    for fold in range(5):
        np.testing.assert_allclose(images.valid[fold], pixels[variables["folds"][:, fold] == 2], rtol=1e-6)
        np.testing.assert_allclose(images.test[fold], pixels[variables["folds"][:, fold] == 3], rtol=1e-6)
    samples = np.random.default_rng(1).random((50, 2304)).astype("float32")
    found, sentence = module.scores(images, samples)

    def expected(samples):
        folds = [metrics.parzen(samples, v, t) for v, t in zip(images.valid, images.test)]
        ll = [fold.ll for fold in folds]
        return np.mean(ll), np.sqrt(np.sum((ll - np.mean(ll)) ** 2) / (4 * 5)), [fold.sigma for fold in folds]
    ll, se, sigmas = expected(samples)
    assert (found["parzen_ll"], found["parzen_se"]) == pytest.approx((ll, se))
    assert found["parzen_sigma"] == sigmas
    assert found["parzen_folds"] == 5 and module.score(images, samples) == pytest.approx(ll)
    ll, se, _ = expected(images.train)
    assert (found["parzen_real_data"], found["parzen_real_data_se"]) == pytest.approx((ll, se))
    ll, se, _ = expected(metrics.kmeans(images.train, 100, 1))
    assert (found["parzen_kmeans"], found["parzen_kmeans_se"]) == pytest.approx((ll, se))
    assert "over 5 folds" in sentence and "do not compare" in sentence
    sentence = module.scores(images._replace(name="tfd"), samples)[1]
    assert "do not compare" not in sentence
    assert main("--data", path, "--iterations", 2, "--out", tmp_path / "run") == 0


def test_other_faces_are_scored_on_other_people_and_few_images_are_mirrored_and_repeated(album):
    module = example()
    module.EPOCH = 100
    images, label = module.load(album)
    album_images = tfd.load(album)
    assert label == "album" and len(images.valid) == len(images.test) == 1
    mirrored = album_images.train.reshape(24, 48, 48)[..., ::-1].reshape(24, 2304)
    twice = np.concatenate([album_images.train, mirrored] * 2)
    np.testing.assert_array_equal(images.train, twice)
    np.testing.assert_array_equal(images.test[0], album_images.test)
    samples = album_images.valid + .01
    found, _ = module.scores(images, samples)
    one = metrics.parzen(samples, album_images.valid, album_images.test)
    assert (found["parzen_ll"], found["parzen_se"], found["parzen_sigma"]) == (one.ll, one.se, [one.sigma])
    ll = metrics.parzen(album_images.train, album_images.valid, album_images.test).ll
    assert found["parzen_real_data"] == pytest.approx(ll, rel=1e-5)


@pytest.mark.parametrize("args, words", [
    (("--lrr", "1"), "unrecognized arguments: --lrr"),
    (("--pretrain-epochs", "0"), "--pretrain-epochs: '0' is not an integer >= 1"),
    (("--data", "MISSING"), "missing: there is no such file"),
    ((), "Susskind"),
    (("--resume",), "pretrain/checkpoint.npz; leave --resume out"),
    (("--data", "ALBUM", "--batch-size", "20000"), "do not make one epoch"),
])
def test_a_wrong_option_or_missing_file_gets_one_clear_message_and_status_2(album, tmp_path, args, words):
    places = {"ALBUM": album, "MISSING": tmp_path / "missing"}
    done = run_here(*(places.get(a, a) for a in args), "--out", tmp_path)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_without_scipy_one_sentence_names_the_extra(tmp_path):
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").write_text("raise ImportError('not here')")
    (tmp_path / tfd.TFD).write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM")
    path = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = shell("--data", tmp_path, "--out", tmp_path / "run", PYTHONPATH=path)
    assert done.returncode == 2 and "npgan[faces]" in done.stderr and done.stderr.count("\n") == 1


def test_help_names_both_stages_epochs_and_where_to_ask_for_the_database():
    done = run_here("--help")
    said = " ".join(done.stdout.split())
    assert done.returncode == 0
    assert "--pretrain-epochs N" in said and "Susskind" in said
    assert "those before a --resume included" in said
