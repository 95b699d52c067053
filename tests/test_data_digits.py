"""MNIST or the rendered digits: which one is loaded, its label, and what is said about it."""

import numpy as np
import pytest

from npgan.data import Images, digits


@pytest.fixture(autouse=True)
def no_download(offline, monkeypatch):
    """No rendering and no downloads: glyphs.load returns one image, and fetching fails."""
    def unreachable():
        raise OSError("MNIST could not be downloaded")

    rendered = Images("glyphs", (1, 1), *[np.zeros((1, 1), "float32")] * 3, *[np.zeros(1, np.uint8)] * 3)
    monkeypatch.setattr(digits.glyphs, "load", lambda: rendered)
    monkeypatch.setattr(digits.mnist, "fetch", unreachable)


@pytest.fixture
def folder(tmp_path):
    """A directory called glyphs with four IDX files that are not MNIST's."""
    (tmp_path / "glyphs").mkdir()
    for name in digits.mnist.FILES:
        sizes = (12, 3, 5) if "idx3" in name else (12,)
        header = bytes([0, 0, 8, len(sizes)]) + np.array(sizes, ">u4").tobytes()
        (tmp_path / "glyphs" / name).write_bytes(header + bytes(np.prod(sizes)))
    return tmp_path / "glyphs"


def test_the_rendered_digits_stand_in_only_for_auto_and_one_sentence_says_so(capsys):
    images, label = digits.load("auto")
    assert (images.name, label) == ("glyphs", "rendered digits")
    assert capsys.readouterr().out == ("MNIST could not be downloaded\n"
                                       "So this run trains on the rendered digits, not on MNIST.\n")
    for what in "mnist", "/nowhere":
        with pytest.raises(OSError):
            digits.load(what)
    assert digits.load("glyphs") == (images, label) and capsys.readouterr().out == ""


def test_a_directory_is_labelled_by_its_name_even_if_it_is_called_glyphs(folder):
    images, label = digits.load(str(folder))
    assert label == images.name == "glyphs, shuffled" and images.shape == (3, 5)


def test_npgan_data_without_the_files_is_mentioned_before_the_search_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NPGAN_DATA", str(tmp_path / "nowhere"))
    assert digits.load("auto")[1] == "rendered digits"
    words = f"NPGAN_DATA: {tmp_path / 'nowhere'}: there is no such file or directory; searching elsewhere"
    assert capsys.readouterr().out.startswith(words)


def test_npgan_data_may_lead_auto_to_other_images_but_not_mnist(folder, monkeypatch, capsys):
    monkeypatch.setenv("NPGAN_DATA", str(folder))
    assert digits.load("auto")[1] == "glyphs, shuffled"
    assert capsys.readouterr().out.startswith("glyphs: the order of these images is not a published one")
    with pytest.raises(ValueError, match='NPGAN_DATA has "glyphs, shuffled", not MNIST'):
        digits.load("mnist")


@pytest.mark.parametrize("what", ["mnist", "glyphs", "auto"])
def test_a_folder_with_the_name_of_a_data_set_is_not_taken_and_one_line_says_how_to_get_it(
        folder, monkeypatch, capsys, what):
    folder.rename(folder.parent / what)
    monkeypatch.chdir(folder.parent)
    if what == "mnist":
        with pytest.raises(OSError):
            digits.load(what)
    else:
        assert digits.load(what)[1] == "rendered digits"
    words = f"this is read as a name, not as a path in the current folder; for that, say --data ./{what}\n"
    assert capsys.readouterr().out.startswith(f"--data {what}: {words}")
    assert digits.load(f"./{what}")[0].shape == (3, 5)
