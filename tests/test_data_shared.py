"""What the readers of data share: what they say, which files are none, and the cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npgan import data
from npgan.data import cifar10, glyphs, mnist

ROOT = Path(__file__).parents[1]


@pytest.fixture
def answered(offline, monkeypatch, serve):
    """Each file is one byte, 0, at all addresses. Returns the list of the addresses asked."""
    sha256 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    monkeypatch.setattr(mnist, "FILES", {name: (sha256, 0) for name in mnist.FILES})
    monkeypatch.setattr(cifar10, "SHA256", sha256)
    return serve(lambda url: b"\0")


@pytest.mark.parametrize("text, shown", [
    ("a b.png", "a b.png"), ("é漢", "é漢"), ("\x1b[31m\n", r"\x1b[31m\n"), ("\udce9\u202e", r"\udce9\u202e"),
    ("a" * 300 + "b" * 300, "a" * 250 + "..." + "b" * 250)])
def test_what_files_say_is_printed_without_control_characters_and_not_at_any_length(text, shown):
    assert data.escape(text) == shown
    shown.encode()


@pytest.mark.parametrize("name, hidden", [
    (".DS_Store", True), ("._x.png", True), ("__MACOSX", True), (".ipynb_checkpoints", True),
    ("Thumbs.db", True), ("thumbs.db", True), ("desktop.ini", True),
    ("x.png", False), ("a.b", False), ("person01", False)])
def test_what_file_managers_archivers_and_notebooks_leave_is_hidden(name, hidden):
    assert data.hidden(name) == hidden


def test_a_sentence_is_told_once_and_a_closed_terminal_ends_nothing(offline, capsys, monkeypatch):
    data.tell("twice")
    data.tell("twice")
    assert capsys.readouterr().out == "twice\n"
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        data.tell("into a broken pipe")
        monkeypatch.setattr(sys, "stdout", sys.__stdout__)
        with pytest.raises(OSError):
            broken.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


# The cache

def blocked(offline):
    """Put a file where the cache's folder should be, so that not even root can write there."""
    offline.parent.mkdir()
    offline.write_bytes(b"")


def test_a_cache_that_cannot_be_written_is_named_and_a_temporary_one_is_used(offline, answered, capsys):
    blocked(offline)
    folder = mnist.fetch()
    assert sorted(os.listdir(folder)) == sorted(f"{name}.gz" for name in mnist.FILES) and len(answered) == 4
    said = capsys.readouterr().out
    assert said.startswith(f"The cache cannot be written ({offline / 'mnist'}: ") and str(folder) in said
    assert cifar10.fetch().parent.parent == folder.parent


def test_a_full_disk_is_not_reported_as_a_failure_of_the_hosts(offline, monkeypatch, serve):
    def full(url):
        raise OSError(28, "No space left on device")

    asked = serve(full)
    with pytest.raises(OSError) as e:
        mnist.fetch()
    assert f"{offline / 'mnist'}: the download cannot be written: No space left on device" in str(e.value)
    assert "amazonaws.com" not in str(e.value) and len(asked) == 2


def test_without_a_home_directory_nothing_ends_in_a_traceback(offline, answered, monkeypatch, capsys):
    import pooch

    def homeless(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(pooch, "os_cache", homeless)
    assert mnist.find() is None and cifar10.find() is None
    monkeypatch.setattr(glyphs, "render", lambda seed, n: (np.zeros((n, 784), "u1"), np.zeros(n, "u1")))
    assert len(glyphs.load(n=70).train) == 50
    assert mnist.fetch().is_dir()
    said = capsys.readouterr().out
    assert said.count("there is no home directory, so there is no cache") == 2 and len(said.splitlines()) == 2


def test_the_temporary_folder_is_gone_when_the_process_has_ended(tmp_path):
    (tmp_path / "npgan").write_bytes(b"")
    code = "from npgan import data; p = data.make_cache('a'); p.mkdir(); print(p)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)})
    path = Path(done.stdout.splitlines()[-1])
    assert done.stdout.startswith("The cache cannot be written") and path.name == "a"
    assert not path.parent.exists() and path.parent.name.startswith("npgan-")
