"""Sheets of images: every pixel where it belongs, grey or in colour. Films and titles."""

import numpy as np
import pytest
from PIL import Image

from npgan.runs import plots


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_a_grid_holds_each_image_in_its_place_channels_last_and_clipped(shape):
    images = np.random.default_rng(0).uniform(-.2, 1.2, (3, np.prod(shape))).astype("float32")
    sheet = plots.grid(images, shape, 2, gap=1)
    assert sheet.shape == (1 + 2 * 5, 1 + 2 * 6, *shape[:-2]) and sheet.dtype == np.uint8
    for image, (y, x) in zip(images, ((1, 1), (1, 7), (6, 1))):
        for i in range(4):
            for j in range(5):
                pixel = np.clip(image.reshape(-1, 4, 5)[:, i, j], 0, 1) * 255
                np.testing.assert_array_equal(sheet[y + i, x + j].ravel(), np.round(pixel))
    assert not sheet[6:, 6:].any() and not sheet[0].any(), "gaps and the missing image are black"


def test_a_film_leaves_out_a_frame_that_is_no_picture_and_says_so(tmp_path, capsys):
    frames = [tmp_path / f"{i}.png" for i in range(3)]
    for i, frame in enumerate(frames):
        plots.frame(str(frame), np.full((1, 20), i / 3, "float32"), (4, 5), 1)
    frames[1].write_bytes(b"")
    plots.film(str(tmp_path / "film.gif"), frames, ["one", "two", "three"])
    assert Image.open(tmp_path / "film.gif").n_frames == 2
    said = capsys.readouterr().err
    assert f"is made without {frames[1]}" in said and said.count("\n") == 1


@pytest.mark.parametrize("title", [r"a$\frac$b", "$", "a_b^c", r"\$ $x"])
def test_a_title_is_no_formula(tmp_path, title):
    row = {"epoch": 1, "V": 0., "D_x": .5, "D_Gz": .5, "norm_d": 1., "norm_g": 1.}
    plots.curves(str(tmp_path / "curves.png"), [row], title, 0.)
    assert (tmp_path / "curves.png").stat().st_size


def test_without_a_window_live_says_so(monkeypatch, capsys):
    import matplotlib
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setitem(matplotlib.rcParams, "backend", "module://not_here")
    assert plots.window("title") is None
    assert "--live: matplotlib cannot open a window (" in capsys.readouterr().out
