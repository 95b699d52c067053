"""examples/figure1.py, toy2d.py and modes.py, run briefly: what they write, say and refuse."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import programs
import pytest
from PIL import Image

from npgan import backend, metrics
from npgan.data import toy
from npgan.runs import plots

BRIEF = {"figure1": ("--iterations", 6, "--frames", 2), "toy2d": ("--iterations", 6, "--frames", 2),
         "modes": ("--iterations", 6, "--seeds", 1, "--workers", 1)}
FILES = {"figure1": {"figure1.png", "convergence.png", "figure1.gif", "figure1.html", "result.json"},
         "toy2d": {"toy2d.png", "toy2d.gif", "toy2d.html", "result.json"},
         "modes": {"modes.md", "modes.png", "ring.json", "grid.json", "ring.npy", "grid.npy"}}


def main(name, out, *args):
    module = programs.load(name)
    if name == "figure1":
        module.M, module.ALONE = 32, 16
    return programs.call(module, *BRIEF[name], "--quiet", "--out", out, *args)


@pytest.fixture
def no_film(monkeypatch):
    monkeypatch.setattr(plots, "movie", lambda *args, **kwargs: None)


@pytest.fixture
def no_pictures(no_film, monkeypatch):
    monkeypatch.setattr(plots, "save", lambda *args, **kwargs: None)


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", BRIEF)
def test_it_writes_what_it_says(name, tmp_path, capsys, monkeypatch):
    """The film of figure1.py has every fifth frame, to save time."""
    if name == "figure1":
        movie = plots.movie
        monkeypatch.setattr(plots, "movie", lambda path, draw, moments: movie(path, draw, moments[::5]))
    assert main(name, tmp_path) == 0
    assert set(os.listdir(tmp_path)) == {*FILES[name], ".lock"}
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(str(tmp_path)) and set(said.split(": ")[1].split()) <= FILES[name]
    for png in tmp_path.glob("*.png"):
        assert Image.open(png).size[0] > 800
    for gif in tmp_path.glob("*.gif"):
        assert Image.open(gif).n_frames >= 3
    for page in tmp_path.glob("*.html"):                    # it holds its pictures and asks for nothing
        text = page.read_text()
        assert text.count("data:image/png;base64") >= 3 and 'type="range"' in text
        assert "http" not in text.replace("http://www.w3.org", "") and "fa fa-" not in text


def test_a_picture_that_cannot_be_written_is_a_warning_and_an_earlier_run_is_kept(
        tmp_path, capsys, monkeypatch):
    def replace(source, path, replace=os.replace):
        if path.endswith(("toy2d.png", "toy2d.html")):
            raise PermissionError(13, "open in another program", path)
        replace(source, path)
    monkeypatch.setattr(os, "replace", replace)
    for seed in 0, 1:
        assert main("toy2d", tmp_path, "--seed", seed) == 0
    said = capsys.readouterr().err
    for file in "toy2d.png", "toy2d.html":
        assert said.count(f"Warning: {tmp_path / file} could not be drawn (cannot be written (open in") == 2
    folders = tmp_path / "earlier-1", tmp_path
    assert [read(folder / "result.json")["seed"] for folder in folders] == [0, 1]


@pytest.mark.parametrize("name, keys", [
    ("figure1", ("V", "sup_D_minus_half", "jsd")), ("toy2d", ("jsd_50x50",)), ("modes", ())])
def test_the_stand_in_device_reaches_the_same_figures(name, keys, tmp_path, device, no_pictures):
    assert main(name, tmp_path / "device") == 0 and device.counts["operations"] > 1000
    backend.use("numpy")
    assert main(name, tmp_path / "numpy") == 0
    file = "grid.json" if name == "modes" else "result.json"
    ours, theirs = read(tmp_path / "device" / file), read(tmp_path / "numpy" / file)
    for key in keys:
        assert ours[key] == pytest.approx(theirs[key], rel=1e-9, abs=0)
    for a, b in zip(ours.get("rows", ()), theirs.get("rows", ()), strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


@pytest.mark.parametrize("data", toy.ON_A_LINE)
def test_figure_1_draws_every_distribution_on_a_line(data, tmp_path, no_film):
    assert main("figure1", tmp_path, "--data", data) == 0 and (tmp_path / "figure1.png").exists()


@pytest.mark.parametrize("data", toy.IN_THE_PLANE)
def test_toy2d_trains_on_every_distribution_in_the_plane(data, tmp_path, no_film):
    assert main("toy2d", tmp_path, "--data", data, "--gamma", 0) == 0
    assert ("high_quality" in read(tmp_path / "result.json")) == (data in ("ring", "grid"))


def test_the_density_of_g_is_that_of_a_histogram_of_its_samples():
    """The density of a G that folds, against a million draws."""
    figure1 = programs.load("figure1")
    line = figure1.Line(toy.gaussian(), figure1.Uniform(1.))

    def G(z):
        return 2 * z ** 2 + z

    p_g = line.density_of_Gz(G(line.z))
    found, _ = np.histogram(G(np.random.default_rng(0).uniform(-1, 1, 10 ** 6)), line.edges)
    assert p_g.sum() * line.dx == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(p_g, found / 10 ** 6 / line.dx, rtol=.06, atol=.03)


def test_v_and_the_suprema_are_exact_where_d_and_g_are_known():
    """G = identity on U(-1, 1), D = 1/2 + a constant: V by hand, D* by hand."""
    figure1 = programs.load("figure1")
    from npgan.layers import Linear, constant
    from npgan.net import Net
    line = figure1.Line(toy.uniform(-1., 1., .01), figure1.Uniform(1.))
    G = Net([Linear(1, 1, constant(1), constant(0))])
    D = Net([Linear(1, 1, constant(0), constant(.5))])
    m = line.look(figure1.Players(G, D, 2), "", 0)
    y = 1 / (1 + np.exp(-.5))
    assert m.V - np.log(4) == pytest.approx(np.log(y) + np.log(1 - y), rel=1e-4)
    assert m.sup_half == pytest.approx(y - .5, rel=1e-5)
    assert np.abs(m.D_star[np.abs(line.x) < .9] - .5).max() < 2e-3


def test_modes_goes_on_where_it_was_and_refuses_other_settings(tmp_path, capsys):
    assert main("modes", tmp_path, "--data", "ring") == 0
    first = read(tmp_path / "ring.json")["rows"]
    assert main("modes", tmp_path, "--data", "ring", "--seeds", 2, "--resume") == 0
    rows = read(tmp_path / "ring.json")["rows"]
    assert rows[:1] == first and [row["seed"] for row in rows] == [0, 1]
    assert "npgan, 2 seeds" in capsys.readouterr().out
    with pytest.raises(ValueError, match="was made with .*give the same options"):
        main("modes", tmp_path, "--data", "ring", "--resume", "--gamma", .5)
    (tmp_path / "ring.json").write_text("{}")
    with pytest.raises(ValueError, match="ring.json: not a result of this example"):
        main("modes", tmp_path, "--data", "ring", "--resume")


def test_seeds_in_processes_are_the_seeds_in_this_one(tmp_path):
    """And the score is that of the saved samples by the protocol."""
    arguments = ("--data", "ring", "--iterations", 6, "--seeds", 2, "--quiet")
    run = programs.shell("modes", *arguments, "--workers", 2, "--out", tmp_path / "two")
    assert run.returncode == 0, run.stderr
    assert main("modes", tmp_path / "one", "--data", "ring", "--seeds", 2) == 0
    rows = [read(tmp_path / n / "ring.json")["rows"] for n in ("one", "two")]
    for a, b in zip(*rows, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    one, two = (np.load(tmp_path / n / "ring.npy") for n in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    ring = toy.ring()
    assert metrics.coverage(one, ring.modes, ring.sd)._asdict().items() <= rows[0][0].items()


def test_ctrl_c_keeps_the_seeds_that_are_done_and_leaves_no_process_behind(tmp_path):
    arguments = ["--data", "ring", "--iterations", "60", "--seeds", "200", "--workers", "2", "--quiet",
                 "--out", str(tmp_path)]
    command = programs.command("modes", *arguments)
    run = programs.started(command, tmp_path / "ring.json", start_new_session=True)
    os.killpg(run.pid, signal.SIGINT)                       # a terminal sends it to all its processes
    out, err = run.communicate(timeout=30)
    assert run.returncode == 130 and "the same command with --resume goes on" in out
    assert "Traceback" not in err
    assert 0 < len(read(tmp_path / "ring.json")["rows"]) < 200
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(run.pid, 0)                           # until none of them is left
            time.sleep(.1)


@pytest.mark.parametrize("name", BRIEF)
def test_another_objective_is_another_game(name, tmp_path, no_pictures):
    data = ("--data", "ring") if name == "modes" else ()
    games = {"gan": (), "hellinger": ("--objective", "hellinger"),
             "wasserstein": ("--objective", "wasserstein"), "minimax": ("--generator-loss", "minimax")}
    outcomes = []
    for game, options in games.items():
        out = tmp_path / game
        assert main(name, out, *data, *options) == 0
        result = read(out / "ring.json")["settings"] if data else read(out / "result.json")
        assert result["objective"] == ("gan" if game == "minimax" else game)
        outcomes.append(np.load(out / "ring.npy").tolist() if data else
                        result["jsd" if name == "figure1" else "jsd_50x50"])
    assert all(a != b for i, a in enumerate(outcomes) for b in outcomes[:i])


def test_a_game_that_diverges_ends_in_one_sentence_that_names_the_iteration_and_the_seed(tmp_path):
    run = programs.shell("modes", "--data", "ring", "--objective", "kl", "--gamma", "1e30",
                         "--iterations", 60, "--seeds", 1, "--out", tmp_path)
    assert run.returncode == 2 and "iteration 60 (ring, seed 0): the " in run.stderr
    assert "not finite" in run.stderr and "Traceback" not in run.stderr and "Warning" not in run.stderr


def test_packing_and_noise_take_part_in_modes(tmp_path, no_pictures):
    kept = []
    for i, more in enumerate(((), ("--pack", 2), ("--noise", .5), ("--gamma", 0))):
        assert main("modes", tmp_path / str(i), "--data", "ring", *more) == 0
        kept.append(np.load(tmp_path / str(i) / "ring.npy"))
    assert all(not np.array_equal(a, b) for i, a in enumerate(kept) for b in kept[:i])


@pytest.mark.parametrize("name, args, words", [
    ("figure1", ("--data", "moons"), "invalid choice: 'moons'"),
    ("figure1", ("--iterations", "0"), "'0' is not an integer >= 1"),
    ("figure1", ("--out", ""), '--out "": name a folder'),
    ("toy2d", ("--gamma", "nan"), "'nan' is not a number >= 0"),
    ("toy2d", ("--out", __file__), Path(__file__).name),
    ("modes", ("--pack", "3"), "--pack 3: m = 128 is not a multiple of it"),
    ("modes", ("--seeds", "x"), "'x' is not an integer >= 1")])
def test_what_cannot_be_done_ends_in_one_sentence_and_status_2(name, args, words, tmp_path):
    run = programs.run_here(name, "--out", tmp_path, *args)
    assert run.returncode == 2 and words in run.stderr and "Traceback" not in run.stderr


def test_live_says_so_where_there_is_no_display(tmp_path, monkeypatch, capsys, no_film):
    import matplotlib.pyplot
    monkeypatch.setattr(matplotlib.pyplot, "get_backend", lambda: "agg")
    assert main("toy2d", tmp_path, "--live") == 0
    assert "there is no display to open a window on" in capsys.readouterr().out
