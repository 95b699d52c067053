"""examples/mnist.py as a user runs it, on a small data set in IDX form.

What it writes, says and refuses; how it stops and goes on.
"""

import csv
import functools
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import programs
import pytest
from PIL import Image

import npgan
from npgan import backend
from npgan.layers import Linear
from npgan.net import Net
from npgan.optim import Momentum
from npgan.runs import checkpoint, images

example = functools.partial(programs.load, "mnist")
command = functools.partial(programs.command, "mnist")
shell = functools.partial(programs.shell, "mnist")
run_here = functools.partial(programs.run_here, "mnist")
FILES = ("checkpoint.npz", "curves.png", "figure2.png", "history.csv", "interpolation.png", "result.json",
         "samples.png", "training.gif")
FIGURES = {"seconds", "seconds_per_iteration", "parzen_ll", "parzen_se", "parzen_sigma", "parzen_real_data",
           "parzen_kmeans", "parzen_sigma_at_edge", "parzen_samples", "parzen_real_data_n", "parzen_kmeans_n"}
KEYS = FIGURES | {"dataset", "preset", "backend", "dtype", "seed", "epochs", "iterations", "k", "objective",
                  "generator_loss", "average"}


def idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    with gzip.open(path, "wb", compresslevel=1) as f:
        f.write(header + array.tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A directory with images of 6 x 5. 200 of them train: 3 iterations an epoch at m = 64."""
    folder, rng = tmp_path_factory.mktemp("small") / "blobs", np.random.default_rng(0)
    folder.mkdir()
    for split, n in (("train", 240), ("t10k", 40)):
        labels = rng.integers(0, 10, n).astype(np.uint8)
        images = (rng.random((n, 6, 5)) * 25 * labels[:, None, None]).astype(np.uint8)
        idx(folder / f"{split}-images-idx3-ubyte.gz", images)
        idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    return str(folder)


def main(*args, finish=False):
    """The status of the example, which runs in this process. The last pictures and scores take
    time, so they are made only if finish=True.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not finish:
            patch.setattr(images.Run, "finish", lambda run, state: None)
        return programs.call(example(), *args, "--quiet")


def arrays(out):
    return checkpoint.read(Path(out) / "checkpoint.npz")[1]


def result(out):
    """result.json without the times."""
    entries = json.loads((Path(out) / "result.json").read_text())
    return {name: value for name, value in entries.items() if "seconds" not in name}


def samples_png(out):
    return (Path(out) / "samples.png").read_bytes()


def same(a, b):
    a, b = arrays(a), arrays(b)
    return set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_run_writes_every_file_and_says_what_it_did(data, tmp_path, capsys):
    assert main("--data", data, "--epochs", 3, "--out", tmp_path, "--parzen-every", 2, finish=True) == 0
    for name in FILES:
        assert (tmp_path / name).stat().st_size > 0, name
    entries = json.loads((tmp_path / "result.json").read_text())
    assert KEYS <= set(entries)
    counts = entries["epochs"], entries["iterations"], entries["k"]
    assert entries["dataset"] == "blobs, shuffled" and counts == (3, 9, 1)
    assert all(np.isfinite(entries[key]) for key in FIGURES)
    with open(tmp_path / "history.csv") as f:
        rows = list(csv.DictReader(f))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["parzen_ll"] and not rows[2]["parzen_ll"]
    film = Image.open(tmp_path / "training.gif")
    assert film.n_frames == 3
    assert Image.open(tmp_path / "samples.png").size[0] == (64 // 5) * (10 * 7 + 2)       # 5 x 5 pixels
    out = capsys.readouterr().out
    assert "blobs, shuffled, preset quick" in out and "Parzen log-likelihood" in out
    assert set(os.listdir(tmp_path)) == {*FILES, "best.npz", "frames", ".lock"}, "no temporary files are left"
    assert entries["parzen_samples"] == 10_000
    assert (entries["parzen_real_data_n"], entries["parzen_kmeans_n"]) == (200, 100)
    assert "with 200 real training images as samples" in out and "with 100 k-means centres" in out


def test_figure_2_shows_nearest_examples_and_figure_3_goes_along_straight_lines(data, tmp_path, monkeypatch):
    def sheet(run, name, x, *args, original=images.Run.sheet, **more):
        drawn[name] = run.images.train, x
        original(run, name, x, *args, **more)

    def generate(run, z, original=images.Run.generate):
        asked.append(z)
        return original(run, z)
    drawn, asked = {}, []
    monkeypatch.setattr(images.Run, "sheet", sheet)
    monkeypatch.setattr(images.Run, "generate", generate)
    main("--data", data, "--epochs", 1, "--out", tmp_path, finish=True)

    train, x = drawn["figure2.png"]
    for row in x.reshape(8, 7, -1):
        distances = np.square(train - row[5]).sum(axis=1)
        assert np.square(row[6] - row[5]).sum() == pytest.approx(distances.min(), rel=1e-5)
    z = next(z for z in asked if len(z) == 8 * 12).reshape(8, 12, -1)
    assert np.abs(np.diff(z, 2, axis=1)).max() < 1e-5
    assert len(np.unique(z[:, [0, 11]].reshape(16, -1), axis=0)) == 16


def test_the_whole_example_runs_on_the_stand_in_device_and_to_the_same_bits(data, tmp_path, device):
    assert main("--data", data, "--epochs", 2, "--out", tmp_path / "device", finish=True) == 0
    assert json.loads((tmp_path / "device" / "result.json").read_text())["backend"] == "device"
    backend.use("numpy")
    main("--data", data, "--epochs", 2, "--out", tmp_path / "numpy", finish=True)
    assert same(tmp_path / "device", tmp_path / "numpy")


def test_the_same_seed_gives_the_same_bits_and_options_change_them(data, tmp_path):
    def run(name, *options):
        main("--data", data, "--iterations", 3, "--batch-size", 50, "--out", tmp_path / name, *options)

    run("a")
    run("b")
    assert same(tmp_path / "a", tmp_path / "b")
    for option, value in (("--seed", 1), ("--generator-loss", "minimax"), ("--k", 2), ("--lr", .01),
                          ("--update", "simultaneous"), ("--objective", "total-variation")):
        run(option, option, value)
        assert not same(tmp_path / "a", tmp_path / option), option


def test_resuming_ends_in_the_same_bits_and_takes_the_settings_from_the_checkpoint(data, tmp_path, capsys):
    settings = ("--data", data, "--epochs", 5, "--seed", 3, "--lr", .05)
    main(*settings, "--out", tmp_path / "whole", finish=True)
    main(*settings, "--out", tmp_path / "parts", "--iterations", 4)
    main("--out", tmp_path / "parts", "--resume", "--iterations", 10)
    capsys.readouterr()
    main("--out", tmp_path / "parts", "--resume", finish=True)
    assert "3 epochs done of 5 in all" in capsys.readouterr().out
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert result(tmp_path / "whole") == result(tmp_path / "parts")
    assert samples_png(tmp_path / "whole") == samples_png(tmp_path / "parts")


def test_the_mean_is_shown_and_training_takes_no_notice_of_it(data, tmp_path, capsys):
    for n in (0, 30):
        main("--data", data, "--epochs", 7, "--average", n, "--out", tmp_path / str(n))
    without, kept = arrays(tmp_path / "0"), arrays(tmp_path / "30")
    assert all(np.array_equal(a, kept[name]) for name, a in without.items())
    assert {name[:6] for name in set(kept) - set(without)} == {"G.mean"}
    assert not np.array_equal(kept["G.mean.0.W"], kept["G.0.W"])
    assert samples_png(tmp_path / "0") != samples_png(tmp_path / "30")
    with pytest.raises(ValueError, match="--average 30: .* was made with 0"):
        main("--resume", "--average", 30, "--out", tmp_path / "0")


def test_the_objective_is_kept_when_resuming(data, tmp_path, capsys):
    main("--data", data, "--epochs", 4, "--out", tmp_path / "whole", "--objective", "pearson")
    main("--data", data, "--epochs", 2, "--out", tmp_path / "parts", "--objective", "pearson")
    capsys.readouterr()
    main("--out", tmp_path / "parts", "--resume", "--epochs", 4, finish=True)
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert "blobs, shuffled, preset quick, pearson, numpy" in capsys.readouterr().out
    assert result(tmp_path / "parts")["objective"] == "pearson"
    with pytest.raises(ValueError, match="--objective kl: .* was made with pearson"):
        main("--out", tmp_path / "parts", "--resume", "--objective", "kl")


def test_epochs_can_be_raised_when_resuming_but_nothing_that_changes_the_run(data, tmp_path):
    main("--data", data, "--epochs", 2, "--out", tmp_path / "a")
    main("--out", tmp_path / "a", "--resume", "--epochs", 4)
    main("--data", data, "--epochs", 4, "--out", tmp_path / "b")
    assert same(tmp_path / "a", tmp_path / "b")
    for option, value in (("--seed", 1), ("--k", 2), ("--lr", .5), ("--preset", "paper"),
                          ("--dtype", "float64"), ("--batch-size", 7)):
        with pytest.raises(ValueError, match=f"{option} .*was made with"):
            main("--out", tmp_path / "a", "--resume", option, value)


def test_a_run_killed_at_a_random_moment_resumes_to_the_same_bits(data, tmp_path):
    args = ("--data", data, "--out", tmp_path / "killed", "--quiet")
    checkpoint = tmp_path / "killed" / "checkpoint.npz"
    running = programs.started(command(*args, "--epochs", 10_000), checkpoint)
    time.sleep(random.random())
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert checkpoint.exists(), running.stderr.read()
    with np.load(checkpoint) as f:
        epochs = json.loads(f["about"].tobytes())["state"]["epoch"] + 2
    done = shell("--out", tmp_path / "killed", "--resume", "--epochs", epochs, "--quiet")
    assert done.returncode == 0, done.stderr
    done = shell(*args[:2], "--out", tmp_path / "whole", "--quiet", "--epochs", epochs)
    assert done.returncode == 0, done.stderr
    assert same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_saves_everything_says_how_to_go_on_and_exits_with_130(data, tmp_path, number):
    out = tmp_path / "my runs"
    args = command("--data", data, "--out", out, "--epochs", 10_000, "--iterations", 1_000_000)
    status, said, err = programs.interrupted(args, out / "checkpoint.npz", number)
    assert status == 130, err
    assert f"To continue: python examples/mnist.py --resume --out '{out}' --iterations 1000000\n" in said
    assert "Traceback" not in err
    assert npgan.load(out / "checkpoint.npz")


def test_a_run_whose_streams_are_gone_ends_with_its_results(data, tmp_path):
    """Nobody reads its output. Its errors go to a full disk. A notebook left its backend."""
    args = command("--data", data, "--out", tmp_path / "run", "--epochs", 1)
    environment = {**os.environ, "MPLBACKEND": "module://of_a_notebook", "OPENBLAS_NUM_THREADS": "1"}
    end, start = os.pipe()
    os.close(end)
    with open("/dev/full", "w") as full:
        run = subprocess.run(args, stdout=start, stderr=full, env=environment)
    os.close(start)
    assert run.returncode == 0 and result(tmp_path / "run")["epochs"] == 1


def test_a_picture_or_table_that_cannot_be_written_is_one_warning_and_is_made_again(
        data, tmp_path, capsys, monkeypatch):
    locked = {"samples.png", "history.csv", "training.gif", "best.npz"}

    def replace(source, path, replace=os.replace):
        if os.path.basename(path) in locked:
            raise PermissionError(13, "open in another program", str(path))
        replace(source, path)
    monkeypatch.setattr(os, "replace", replace)
    settings = ("--epochs", 3, "--parzen-every", 1, "--out", tmp_path)
    assert main("--data", data, *settings, finish=True) == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == len(locked) == said.err.count("open in another program")
    for name in locked:
        assert f"Warning: {tmp_path / name} could not be written" in said.err
        assert name not in said.out.splitlines()[-1] and not (tmp_path / name).exists()
    about, _ = checkpoint.read(tmp_path / "checkpoint.npz")
    assert result(tmp_path)["epochs"] == about["state"]["epoch"] == 3
    locked.clear()
    assert main("--resume", "--out", tmp_path, finish=True) == 0
    assert all((tmp_path / name).stat().st_size for name in FILES)


def test_a_checkpoint_that_cannot_be_written_ends_the_run_and_names_the_last_good_one(
        data, tmp_path, monkeypatch):
    def save(path, sgd_g, sgd_d, about, original=checkpoint.save):
        if about["state"]["epoch"] == 2:
            raise OSError(28, "No space left on device")
        original(path, sgd_g, sgd_d, about)
    monkeypatch.setattr(checkpoint, "save", save)
    words = "No space.*To continue from the last checkpoint: .* --resume"
    with pytest.raises(OSError, match=words):
        main("--data", data, "--out", tmp_path)
    assert checkpoint.read(tmp_path / "checkpoint.npz")[0]["state"]["epoch"] == 1


@pytest.mark.parametrize("name", [r"a$\frac$b", os.fsdecode(b"caf\xe9")])
def test_any_name_of_a_folder_can_stand_in_titles(data, tmp_path, name, capsys):
    shutil.copytree(data, tmp_path / name)
    assert main("--data", tmp_path / name, "--epochs", 1, "--out", tmp_path / "run", finish=True) == 0
    assert (tmp_path / "run" / "curves.png").stat().st_size and "Warning" not in capsys.readouterr().err


def test_the_epoch_that_scores_highest_is_kept_with_its_score(data, tmp_path, capsys):
    def run(scores, *args):
        module = example(parzen_ll=lambda images, samples: next(scores),
                         parzen_scores=lambda images, samples: ({"parzen_ll": next(scores)}, "\n"))
        assert programs.call(module, *args, "--out", tmp_path / "run", "--quiet") == 0

    run(iter([1., 3., 2., 2.]), "--data", data, "--epochs", 3, "--parzen-every", 1)
    main("--data", data, "--epochs", 2, "--out", tmp_path / "two")
    entries, (about, best) = result(tmp_path / "run"), checkpoint.read(tmp_path / "run" / "best.npz")
    assert (entries["best_epoch"], entries["best_parzen_ll"], entries["parzen_ll"]) == (2, 3., 2.)
    assert (about["epoch"], about["parzen_ll"]) == (2, 3.) and npgan.load(tmp_path / "run" / "best.npz")
    assert all(np.array_equal(a, best[name]) for name, a in arrays(tmp_path / "two").items())
    run(iter([4.]), "--resume", "--parzen-every", 10, "--epochs", 4)            # the end is the best
    entries, (about, _) = result(tmp_path / "run"), checkpoint.read(tmp_path / "run" / "best.npz")
    assert (entries["best_epoch"], about["epoch"], about["parzen_ll"]) == (4, 4, 4.)
    run(iter([3.5, 3.5]), "--resume", "--parzen-every", 1, "--epochs", 5)
    assert result(tmp_path / "run")["best_epoch"] == 4


def test_a_second_run_in_one_folder_moves_the_whole_first_one_aside(data, tmp_path, capsys):
    kept, new = tmp_path / "earlier-1" / "checkpoint.npz", tmp_path / "checkpoint.npz"
    main("--data", data, "--epochs", 2, "--out", tmp_path, finish=True)
    first, files = new.read_bytes(), {*os.listdir(tmp_path)} - {".lock"}
    main("--data", data, "--epochs", 1, "--seed", 1, "--out", tmp_path)
    assert kept.read_bytes() == first and {*os.listdir(kept.parent)} == files
    assert not (tmp_path / "result.json").exists() and os.listdir(tmp_path / "frames") == ["0001.png"]
    moved = f"There was already a run in {tmp_path}: its files are now in {kept.parent}"
    assert moved in capsys.readouterr().out
    second = new.read_bytes()
    for wrong in (("--batch-size", 5000), ("--update", "simultaneous", "--k", 2)):
        with pytest.raises(ValueError):
            main("--data", data, "--out", tmp_path, *wrong)
    assert new.read_bytes() == second, "a command that is refused moves nothing"
    main("--data", data, "--epochs", 1, "--out", tmp_path)
    assert kept.read_bytes() == first
    assert (tmp_path / "earlier-2" / "checkpoint.npz").read_bytes() == second


def test_a_finished_run_resumed_trains_nothing_and_says_so(data, tmp_path, capsys):
    main("--data", data, "--epochs", 2, "--out", tmp_path)
    before = arrays(tmp_path)
    main("--out", tmp_path, "--resume", "--epochs", 1)
    assert "The training is complete." in capsys.readouterr().out
    assert all(np.array_equal(a, before[name]) for name, a in arrays(tmp_path).items())


def test_a_stop_within_an_epoch_leaves_the_films_frames_as_they_were(data, tmp_path):
    main("--data", data, "--epochs", 3, "--iterations", 3, "--out", tmp_path)
    assert os.listdir(tmp_path / "frames") == ["0001.png"]
    main("--data", data, "--epochs", 1, "--out", tmp_path / "one")
    stopped, complete = (folder / "frames" / "0001.png" for folder in (tmp_path, tmp_path / "one"))
    assert stopped.read_bytes() == complete.read_bytes()


def test_resuming_on_other_data_of_the_same_name_is_refused(data, tmp_path):
    main("--data", data, "--epochs", 1, "--out", tmp_path / "run")
    other = tmp_path / Path(data).name
    shutil.copytree(data, other)
    idx(other / "train-images-idx3-ubyte.gz", np.zeros((240, 6, 5), np.uint8))
    with pytest.raises(ValueError, match="not the same data"):
        main("--data", other, "--resume", "--out", tmp_path / "run")


def test_insisting_on_mnist_refuses_what_is_not_mnist(data, tmp_path, monkeypatch):
    monkeypatch.setenv("NPGAN_DATA", data)
    with pytest.raises(ValueError, match='NPGAN_DATA has "blobs, shuffled", not MNIST'):
        main("--data", "mnist", "--out", tmp_path)


def test_a_checkpoint_of_something_else_is_refused_when_resuming(tmp_path):
    sgd = [Momentum(Net([Linear(n, k)]), .1) for n, k in ((2, 3), (3, 1))]
    checkpoint.save(tmp_path / "checkpoint.npz", *sgd, {})
    with pytest.raises(ValueError, match="is a checkpoint of something else, but this run is mnist"):
        main("--resume", "--out", tmp_path)


def test_a_value_that_is_not_finite_ends_with_one_sentence_and_status_2(data, tmp_path):
    done = shell("--data", data, "--epochs", 60, "--lr", 1e30, "--lr-d", 1e30, "--out", tmp_path, "--quiet")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "not finite; no checkpoint was written yet" in done.stderr and done.stderr.count("\n") == 1


def test_a_value_that_is_not_finite_names_iteration_player_and_last_good_checkpoint(
        data, tmp_path, monkeypatch):
    def save_then_poison(path, sgd_g, sgd_d, about, original=images.checkpoint.save):
        original(path, sgd_g, sgd_d, about)
        sgd_g.net.theta[0] = np.nan
    monkeypatch.setattr(images.checkpoint, "save", save_then_poison)
    words = r"iteration 4 \(epoch 2\): the generator's output .*last good checkpoint is .*checkpoint.npz"
    with pytest.raises(FloatingPointError, match=words):
        main("--data", data, "--epochs", 5, "--out", tmp_path)
    assert all(np.isfinite(a).all() for a in arrays(tmp_path).values())


@pytest.mark.parametrize("args, words", [
    (("--lrr", "1"), "unrecognized arguments: --lrr"),
    (("--lr", "-1"), "--lr: '-1' is not a number > 0"),
    (("--lr", "nan"), "--lr: 'nan' is not a number > 0"),
    (("--epochs", "0"), "--epochs: '0' is not an integer >= 1"),
    (("--k", "1.5"), "--k: '1.5' is not an integer >= 1"),
    (("--preset", "big"), "invalid choice: 'big'"),
    (("--objective", "hinge"), "invalid choice: 'hinge' (choose from"),
    (("--update", "simultaneous", "--k", "2", "--data", "DATA"), "--k 2: the simultaneous update has k = 1"),
    (("--data", "MISSING"), "missing: there is no such file"),
    (("--batch-size", "1000", "--data", "DATA"), "200 training examples do not make one epoch"),
    (("--resume",), "there is no"),
])
def test_a_wrong_option_gets_one_clear_message_and_status_2(data, tmp_path, args, words):
    places = {"DATA": data, "MISSING": tmp_path / "missing"}
    done = run_here(*(places.get(a, a) for a in args), "--out", tmp_path)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_a_damaged_checkpoint_is_named_when_resuming(data, tmp_path):
    main("--data", data, "--epochs", 1, "--out", tmp_path)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:1000])
    done = run_here("--out", tmp_path, "--resume")
    assert done.returncode == 2 and str(path) in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_backend_is_one_sentence_and_status_2(data, tmp_path):
    done = shell("--data", data, "--out", tmp_path / "run", NPGAN_BACKEND="torch")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert 'NPGAN_BACKEND: "torch" is unknown' in done.stderr
    assert not (tmp_path / "run").exists() and done.stdout == "", "nothing is read or made before"


def test_help_explains_every_option_and_gives_the_defaults():
    done = run_here("--help")
    assert done.returncode == 0
    said = "".join(done.stdout.split())
    for option in ("--data", "--preset", "--epochs", "--iterations", "--k", "--batch-size", "--objective",
                   "--generator-loss", "--update", "--lr", "--seed", "--out", "--resume", "--dtype"):
        assert option in said
    for action in example().parser()._actions:
        assert "".join(action.help.split()) in said and action.option_strings[-1] in said, action
    assert "epochsinall,thosebeforea--resumeincluded(quick:8,paper:250)" in said
    assert "(default0)" in said


def test_without_mnist_auto_says_so_and_labels_everything_as_rendered_digits(tmp_path, monkeypatch, capsys):
    module = example()

    def missing(*args, **kwargs):
        raise OSError("MNIST is not here")
    few = module.digits.glyphs.load(n=700)
    monkeypatch.setattr(module.digits.mnist, "load", missing)
    monkeypatch.setattr(module.digits.glyphs, "load", lambda: few)
    programs.call(module, "--epochs", 1, "--out", tmp_path, "--quiet")
    assert "trains on the rendered digits, not on MNIST" in capsys.readouterr().out
    assert result(tmp_path)["dataset"] == "rendered digits"
    with pytest.raises(OSError, match="MNIST is not here"):
        programs.call(module, "--data", "mnist", "--out", tmp_path)
