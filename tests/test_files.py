"""How files are written, and files of other people: bombs, wrong types, parts of two runs."""

import contextlib
import copy
import io
import json
import math
import os
import stat
import tracemalloc
import zipfile

import numpy as np
import programs
import pytest
from test_checkpoint import optimizers
from test_example_mnist import data  # noqa: F401, a fixture
from test_example_paper import a_run

import npgan
from npgan.conv import ConvTranspose2d, Reshape
from npgan.layers import Linear
from npgan.net import Net
from npgan.optim import Momentum
from npgan.runs import checkpoint, images, options

WRONG = [None, "", "x", [], {}, -1, 0, 7, .5, math.inf, math.nan, 10 ** 400, True,
         "x" * 20_000, "\x1b[2J", [[]], ...]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, *optimizers(), {})
    return path


def changed(value, where=()):
    """Copies of a value from JSON, each with one entry that is wrong or left out (...)."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        for wrong in WRONG:
            other = value.copy()
            other[key] = wrong
            if wrong is ...:
                del other[key]
            yield f"{(*where, key)}: {str(wrong)[:20]}", other
        for name, inner in changed(value[key], (*where, key)):
            other = value.copy()
            other[key] = inner
            yield name, other


def is_refused(path, use):
    """Whether use() refuses the file, in one sentence that names it. All other errors fail."""
    try:
        use()
        return False
    except ValueError as e:
        assert type(e) is ValueError and str(path) in str(e) and str(e).isprintable() and len(str(e)) < 1000
        return True


# --- Writing ----------------------------------------------------------------------------------


def test_no_link_in_the_folder_is_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".new-result.json").symlink_to(victim)
    checkpoint.write(tmp_path / "result.json", "{}")
    assert victim.read_text() == "mine" and not (tmp_path / "result.json").is_symlink()


def test_two_writers_have_two_temporary_files_and_leave_none(tmp_path):
    path = str(tmp_path / "a.png")
    with checkpoint.replacing(path) as one, checkpoint.replacing(path) as two:
        assert one != two and one.endswith(".png") and os.path.dirname(one) == str(tmp_path)
        for name in (one, two):
            with open(name, "w") as f:
                f.write(name)
    assert os.listdir(tmp_path) == ["a.png"] and open(path).read() == one


def test_the_result_has_the_mode_of_the_umask_and_was_flushed_before_its_name(tmp_path, monkeypatch):
    seen, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda f: (seen.append(os.listdir(tmp_path)), fsync(f)))
    before = os.umask(0o027)
    try:
        checkpoint.write(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
    assert len(seen) == 1 and "a.txt" not in seen[0]


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    with checkpoint.replacing(tmp_path / "a.npz") as temporary:
        left = temporary + ".npz"
        os.link(temporary, left)
    (tmp_path / ".new-mine").touch()
    options.folder(str(tmp_path))
    assert set(os.listdir(tmp_path)) - {".lock"} == {"a.npz", ".new-mine"}


def test_a_full_disk_is_one_sentence_with_the_path_and_what_is_left(path, monkeypatch):
    def full(f, **arrays):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError) as e:
        checkpoint.save(path, *optimizers(), {})
    assert str(e.value) == f"{path}: cannot be written (No space left on device); the old file is kept"
    with pytest.raises(OSError) as e:
        checkpoint.write(path.parent / "none" / "a.json", "")
    assert str(e.value) == f"{path.parent}/none/a.json: cannot be written (No such file or directory)"


# --- Checkpoints ------------------------------------------------------------------------------


def peak(use):
    tracemalloc.start()
    try:
        use()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def packed(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)


def members_of(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_nothing_is_unpacked_that_no_checkpoint_needs(path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (67108864,), }"
    bomb = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(1 << 26)
    for name in ("G.9.npy", "about.npy"):
        packed(path, {**members_of(path), name: bomb}, zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 100_000
        assert peak(lambda: is_refused(path, lambda: npgan.load(path))) < 1 << 24
        checkpoint.save(path, *optimizers(), {})


def test_a_directory_that_promises_more_than_the_file_has_is_refused(path):
    members = members_of(path)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
        file.infolist()[-1].file_size = 1 << 40
    assert is_refused(path, lambda: npgan.load(path))
    packed(path, {**members, **{f"{i}.npy": b"" for i in range(10_000)}})
    assert is_refused(path, lambda: npgan.load(path))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\1\0\0\0"])
def test_a_member_that_is_no_array_is_refused(path, content):
    for name in ("G.0.W.npy", "about.npy"):
        packed(path, {**members_of(path), name: content})
        for use in (npgan.load, lambda path: checkpoint.restore(path, *optimizers())):
            assert is_refused(path, lambda: use(path))
        checkpoint.save(path, *optimizers(), {})


def with_about(path, members, about):
    """Write a checkpoint of these members with another `about`."""
    content = io.BytesIO()
    np.save(content, np.frombuffer(json.dumps(about).encode(), np.uint8))
    packed(path, {**members, "about.npy": content.getvalue()})


def test_layers_that_make_too_much_of_an_example_are_refused(path):
    G = Net([Linear(3, 4), Reshape((1, 2, 2)), ConvTranspose2d((1, 2, 2), 1, 5, 1)])
    checkpoint.save(path, Momentum(G, .1), optimizers()[1], {})
    about = checkpoint.read(path)[0]
    about["G"]["layers"][2][4] = 9999
    with_about(path, members_of(path), about)
    assert is_refused(path, lambda: npgan.load(path))


def test_a_changed_entry_in_a_checkpoint_is_refused_or_makes_no_difference(path):
    about, members, refused, sgd = checkpoint.read(path)[0], members_of(path), 0, optimizers()
    for name, wrong in changed(about):
        with_about(path, members, wrong)
        refused += is_refused(path, lambda: npgan.load(path))
        is_refused(path, lambda: checkpoint.restore(path, *sgd))
    assert refused > 300


def test_a_changed_checkpoint_of_a_run_is_refused_by_resume_or_goes_on(data, tmp_path, monkeypatch):  # noqa: F811
    module = programs.load("mnist")
    small = [Linear(100, 30)], [Linear(30, 1)]
    monkeypatch.setattr(module.PRESETS["quick"], "networks", lambda pixels, mean: map(copy.deepcopy, small))
    monkeypatch.setattr(images.Run, "finish", lambda run, state: None)

    def main(*args):
        with contextlib.redirect_stdout(io.StringIO()):
            return programs.call(module, "--out", tmp_path, "--epochs", 1, "--quiet", *args)

    assert main("--data", data, "--k", 2, "--batch-size", 50) == main("--resume") == 0
    path, refused = tmp_path / "checkpoint.npz", 0
    about, members = checkpoint.read(path)[0], members_of(path)
    players = {key: about.pop(key) for key in ("G", "D", "format")}
    for name, wrong in changed(about):
        with_about(path, members, players | wrong)
        try:
            assert main("--resume") == 0, name
        except (ValueError, OSError) as e:          # what --data, --k or m says is checked as an option is
            assert type(e) is ValueError and str(path) in str(e) or "data" in name or "'k'" in name or (
                "batch_size" in name), name
            refused += 1
    assert refused > 200


def test_a_first_stage_of_other_networks_is_refused(path):
    faces = programs.load("faces")
    assert is_refused(path, lambda: faces.begin_with([Linear(3, 9)], path))
    assert is_refused(path, lambda: faces.begin_with([Linear(3, 4), Linear(4, 5)], path))
    assert not is_refused(path, lambda: faces.begin_with([Linear(3, 4)], path))


# --- Results ----------------------------------------------------------------------------------


def test_a_changed_result_is_refused_by_paper_py_or_drawn(tmp_path):
    paper = programs.load("paper")
    folder = a_run(tmp_path / "run", (9, 9, 9), ll=1.)
    path = tmp_path / "run" / "result.json"
    good, refused = json.loads(path.read_text()), 0
    for name, wrong in [*changed(good), ("all", []), ("all", None), ("all", 3)]:
        path.write_text(json.dumps(wrong))

        def page():
            found = paper.finished_run(folder, "mnist")
            return found and paper.table([found], [])
        try:
            page()
        except ValueError as e:
            assert str(path.parent) in str(e) and str(e).isprintable(), name
            refused += 1
    assert refused > 150


def test_a_result_and_a_history_of_two_runs_are_refused(tmp_path):
    paper = programs.load("paper")
    folders = [a_run(tmp_path / str(i), (9, 9, 9), ll=1.) for i in range(2)]
    history = tmp_path / "0" / "history.csv"
    history.write_text(history.read_text().replace("0.3", "0.31"))
    assert is_refused(history, lambda: paper.finished_run(folders[0], "mnist"))
    assert not is_refused(history, lambda: paper.finished_run(folders[1], "mnist"))


def test_a_picture_too_large_for_the_page_is_refused_before_it_is_unpacked(tmp_path):
    paper = programs.load("paper")
    folder = a_run(tmp_path / "run", (9, 9, 9))
    path = tmp_path / "run" / "figure2.png"
    paper.plots.Image.new("1", (1, 5000)).save(path)
    runs = {"mnist": [{"folder": folder}]}
    assert is_refused(path, lambda: paper.panel("", "mnist", runs, "figure2.png", "paper"))


def test_the_command_for_a_missing_run_can_be_pasted(tmp_path):
    paper = programs.load("paper")
    with pytest.raises(ValueError, match="--out 'my runs/a'$"):
        paper.finished_runs("mnist", ["my runs/a"], "paper")


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """The module modes, and a folder with two of its seeds."""
    modes, out = programs.load("modes", M=8, SAMPLES=50), tmp_path_factory.mktemp("ring")
    assert programs.call(modes, *RING, "--out", out) == 0
    return modes, out


RING = "--data", "ring", "--iterations", 2, "--seeds", 2, "--workers", 1, "--quiet"


def test_a_changed_ring_json_is_refused_or_goes_on(ring, tmp_path):
    modes, out = ring
    path, args = tmp_path / "ring.json", modes.parser().parse_args([*map(str, RING), "--out", str(tmp_path)])
    settings, refused = modes.settings_of("ring", args), 0
    for name, wrong in [*changed(json.loads((out / "ring.json").read_text())), ("all", []), ("all", 3)]:
        path.write_text(json.dumps(wrong))

        def go_on():
            rows = {"ring": modes.kept_rows(str(tmp_path), "ring", settings)}
            return rows["ring"] and modes.table(rows) + modes.summary(rows["ring"][0])
        refused += is_refused(path, go_on)
    assert refused > 200


@pytest.mark.parametrize("content", [None, b"", b"hello", b"PK\3\4"])
def test_samples_of_another_run_are_not_drawn(ring, tmp_path, content):
    modes, out = ring
    (tmp_path / "ring.json").write_bytes((out / "ring.json").read_bytes())
    path = tmp_path / "ring.npy"
    if content is None:
        np.save(path, np.load(out / "ring.npy") + 1)
    else:
        path.write_bytes(content)
    assert is_refused(path, lambda: programs.call(modes, *RING, "--resume", "--out", tmp_path))


def test_a_changed_curves_json_is_refused_or_goes_on(tmp_path, recwarn):
    module = programs.load("principled_methods", MOMENTS=2, BATCHES=2)
    path = tmp_path / "curves.json"
    settings = {"data": 1, "seed": 0, "iterations": 3, "batch_size": 5}
    curve = {**settings, "epochs": 1, "noise": 0., "iteration": [0, 1, 3],
             **{what: [[.1, .2]] * 3 for what in module.CURVES}}
    refused = 0
    for name, wrong in [*changed([curve]), ("all", {}), ("all", 3)]:
        path.write_text(json.dumps(wrong))

        def go_on():
            for kept in module.kept_curves(str(path), settings).values():
                module.sentence(module.numbers(kept))
        refused += is_refused(path, go_on)
    assert refused > 200
