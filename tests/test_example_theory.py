"""examples/theory.py as a user runs it: what it writes, prints and refuses."""

import functools
import os
import re
import types

import programs
import pytest
from PIL import Image

from npgan import backend

shell = functools.partial(programs.shell, "theory")
PICTURES = ["proposition2.png", "theorems.png"]


def main(*args, pictures=True):
    module = programs.load("theory")
    if not pictures:
        module.plots = types.SimpleNamespace(save=lambda path, fig: None)
    return programs.call(module, *args)


def test_it_draws_two_pictures_and_prints_the_measured_rate_and_the_known_constants(tmp_path, capsys):
    assert main("--out", tmp_path / "new") == 0
    assert sorted(os.listdir(tmp_path / "new")) == [".lock", *PICTURES]
    for name in PICTURES:
        with Image.open(tmp_path / "new" / name) as picture:
            assert picture.width > 1000 and picture.height > 400
    printed = capsys.readouterr().out
    found = re.search(r"C\(G\) \+ log 4 by ([\d.]+); predicted: .* = ([\d.]+)\n", printed)
    measured, predicted = map(float, found.groups())
    assert predicted == .8556 and measured == pytest.approx(predicted, abs=2e-4)
    for constant in ("0.26474", "0.60203", "1.55040", "3.86281", "0.23526", "0.39797", "4.4641e-06",
                     "-log 4 = -1.386294"):
        assert constant in printed


def test_it_runs_on_the_stand_in_device_and_prints_the_same(tmp_path, device, capsys):
    assert main("--out", tmp_path, "--seed", 3) == 0 and device.counts["operations"] > 0
    on_device = capsys.readouterr().out
    backend.use("numpy")
    main("--out", tmp_path, "--seed", 3, pictures=False)
    assert capsys.readouterr().out == on_device
    main("--out", tmp_path, "--seed", 4, pictures=False)
    assert capsys.readouterr().out != on_device


@pytest.mark.parametrize("args, env, words", [
    (("--seed", "-1"), {}, "--seed: '-1' is not an integer >= 0"),
    (("--seed", "1.5"), {}, "argument --seed: '1.5' is not an integer >= 0"),
    (("--out", ""), {}, '--out "": name a folder'),
    (("--out", __file__), {}, __file__),
    ((), {"NPGAN_BACKEND": "torch"}, 'NPGAN_BACKEND: "torch" is unknown'),
])
def test_a_wrong_option_gets_one_clear_message_and_status_2(tmp_path, args, env, words):
    done = shell("--out", tmp_path, *args, **env)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_help_says_what_it_draws_and_names_every_option():
    done = shell("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("--out", "--seed", "runs/theory", *PICTURES))
