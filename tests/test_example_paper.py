"""examples/paper.py on folders of finished runs: what it draws, misses and refuses."""

import argparse
import json
import os
import subprocess

import numpy as np
import programs
import pytest
from PIL import Image

example = programs.load("paper")

COLOURS = {"mnist": (200, 10, 10), "faces": (10, 200, 10),
           "fully-connected": (10, 10, 200), "convolutional": (200, 200, 10)}


def a_run(folder, colour, seed=0, ll=None, scored=(), experiment="mnist"):
    folder.mkdir(parents=True)
    result = {"experiment": experiment, "stage": "", "dataset": "MNIST", "preset": "paper", "epochs": 3,
              "seed": seed, "batch_size": 100, "update": "simultaneous", "average": 500 if seed == 1 else 0,
              "iterations": 3, "seconds": .3}
    if ll is not None:
        result |= {"parzen_ll": ll, "parzen_se": 1.25, "parzen_real_data": 244.4, "parzen_kmeans": 335.1}
    (folder / "result.json").write_text(json.dumps(result))
    rows = [f"{epoch},{epoch},{epoch / 10},{dict(scored).get(epoch, '')}" for epoch in range(1, 4)]
    (folder / "history.csv").write_text("\n".join(["epoch,iterations,seconds,parzen_ll", *rows]) + "\n")
    for i, name in enumerate(("figure2.png", "interpolation.png")):
        Image.new("RGB", (300 + 100 * i, 200), tuple(c + i for c in colour)).save(folder / name)
    return str(folder)


def main(out, **options):
    args = example.parser().parse_args(["--out", str(out)])
    return example.main(argparse.Namespace(**{**vars(args), **options}))


def colours(path):
    return {colour for _, colour in Image.open(path).getcolors(1 << 20)}


def test_the_page_holds_all_sheets_and_the_table_both_published_and_measured_numbers(tmp_path, capsys):
    ll = {"mnist": 152.46, "faces": 2000.4}
    folders = {option.replace("-", "_"): a_run(tmp_path / option, colour, ll=ll.get(option),
                                               scored=[(3, 152.4)] if option == "mnist" else (),
                                               experiment=example.EXPERIMENTS[option].key)
               for option, colour in COLOURS.items()}
    assert main(tmp_path / "page", **{**folders, "mnist": [folders["mnist"]]}) == 0
    seen = colours(tmp_path / "page" / "paper.png")
    assert set(COLOURS.values()) <= seen and (201, 11, 11) in seen and (11, 201, 11) not in seen
    text = (tmp_path / "page" / "paper.md").read_text()
    assert "| Adversarial nets | 225 ± 2 | 2057 ± 26 |" in text
    # The faces' data are not TFD, so the table names the data.
    assert "| **npgan** | 152 ± 1.2 | 2000 ± 1.2 (MNIST) |" in text
    assert "| 244 | 244 |" in text and "| 335 | 335 |" in text
    assert "not run" not in text and text in capsys.readouterr().out
    assert (tmp_path / "page" / "parzen.png").exists()


def test_it_needs_no_backend(tmp_path):
    folder = a_run(tmp_path / "run", (9, 9, 9))
    done = programs.shell("paper", "--mnist", folder, "--out", tmp_path / "page", NPGAN_BACKEND="torch")
    assert done.returncode == 0 and (tmp_path / "page" / "paper.png").exists(), done.stderr


def test_several_seeds_are_a_mean_and_its_standard_error(tmp_path):
    folders = [a_run(tmp_path / str(seed), (9, 9, 9), seed, ll) for seed, ll in enumerate((220., 224., 231.))]
    assert main(tmp_path / "page", mnist=folders) == 0
    text = (tmp_path / "page" / "paper.md").read_text()
    mean, se = np.mean([220, 224, 231]), np.std([220, 224, 231], ddof=1) / 3 ** .5
    assert f"{mean:.0f} ± {se:.2g} (3 seeds)" in text
    assert "seed 2: 3 epochs, m = 100, simultaneous update, 231.0 ± 1.2 nats" in text
    assert ("seed 1: 3 epochs, m = 100, simultaneous update, G averaged over about 500 iterations, "
            "224.0 ± 1.2 nats") in text
    assert not (tmp_path / "page" / "parzen.png").exists()          # no run was scored while it trained


def test_default_folders_are_those_of_the_preset_and_the_page_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / "runs" / "cifar10-convolutional-quick-seed0", (1, 2, 3),
          experiment="cifar10-convolutional")
    captions, captioned = [], example.plots.captioned

    def record(picture, caption, size):
        captions.append(caption)
        return captioned(picture, caption, size)

    monkeypatch.setattr(example.plots, "captioned", record)
    assert main("page", preset="quick") == 0
    assert (1, 2, 3) in colours("page/paper.png")
    assert "not run | not run" in (tmp_path / "page" / "paper.md").read_text()
    missing = [caption for caption in captions if "no finished run; python examples/" in caption]
    assert len(missing) == 4                                        # (a), (b), (c) and Figure 3
    with pytest.raises(ValueError, match="no finished run of preset paper was found; make one"):
        main("page")


@pytest.mark.parametrize("file, content, message", [
    ("result.json", "{", "result.json: not the result"),
    ("result.json", "[1]", "result.json: not the result"),
    ("result.json", '{"seed": 0}', "result.json: not the result"),
    ("history.csv", "a,b\n1,2\n", "history.csv: not the history of the run"),
    ("history.csv", "epoch,iterations,seconds,parzen_ll\n3,3,0.3,x\n", "history.csv: not the history"),
    ("history.csv", "epoch,iterations,seconds,parzen_ll\n3,3,0.4,1\n", "no row of 3 iterations in 0.3 s"),
    ("history.csv", None, "history.csv: No such file or directory"),
    ("figure2.png", "no picture", "figure2.png: not the run's picture"),
    ("interpolation.png", None, "interpolation.png: No such file or directory")])
def test_a_damaged_run_is_named_with_what_to_do(tmp_path, file, content, message):
    folder = a_run(tmp_path / "run", (9, 9, 9), ll=1.)
    (tmp_path / "run" / file).unlink()
    if content is not None:
        (tmp_path / "run" / file).write_text(content)
    with pytest.raises((ValueError, OSError), match=f"{message}.*make it again with --resume"):
        main(tmp_path / "page", mnist=[folder])


def test_another_experiments_run_and_a_stage_before_the_last_are_refused(tmp_path):
    folder = a_run(tmp_path / "run", (9, 9, 9), ll=1.)
    path = tmp_path / "run" / "result.json"
    result = json.loads(path.read_text())
    for experiment, stage, message in (
            ("mnist", "", "this is a run of mnist, not of faces"),
            ("faces", "pretrain", "this is a run of faces pretrain, not of faces")):
        path.write_text(json.dumps({**result, "experiment": experiment, "stage": stage}))
        with pytest.raises(ValueError, match=f"--faces .*{message}"):
            main(tmp_path / "page", faces=folder)


def test_a_run_without_a_score_stands_beside_one_with_it_and_large_errors_are_whole_numbers(tmp_path):
    folders = [a_run(tmp_path / "none", (9, 9, 9)), a_run(tmp_path / "scored", (9, 9, 9), ll=2000.)]
    path = tmp_path / "scored" / "result.json"
    path.write_text(path.read_text().replace("1.25", "123.4"))
    assert main(tmp_path / "page", mnist=folders) == 0
    assert "| **npgan** | 2000 ± 123 |" in (tmp_path / "page" / "paper.md").read_text()


def test_a_folder_without_a_run_and_a_wrong_flag_are_one_sentence_and_status_2(tmp_path):
    for options, message in (
            (["--faces", tmp_path / "none"],
             "there is no result.json, so the run is not finished; make one with python"),
            (["--preset", "tiny"], "invalid choice"),
            (["--out", ""], "paper.py: no finished run of preset paper")):
        command = programs.command("paper", *options)
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert run.returncode == 2 and message in run.stderr and "Traceback" not in run.stderr
    assert os.listdir(tmp_path) == []
