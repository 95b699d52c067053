"""The rendered digits: their form, whether they can be read, and their cache."""

import pickle
import tracemalloc

import numpy as np
import pytest

from npgan.data import glyphs


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    return tmp_path / "npgan"


@pytest.fixture(scope="module")
def outlines():
    return glyphs.outlines()


@pytest.fixture(scope="module")
def rendered():
    return glyphs.render(0, 1400)


@pytest.fixture
def renders(monkeypatch):
    """Rendering replaced by noise that depends on the seed; the list of the calls."""
    calls = []

    def render(seed, n):
        calls.append((seed, n))
        rng = np.random.default_rng(seed)
        return rng.integers(256, size=(n, 784), dtype=np.uint8), rng.integers(10, size=n, dtype=np.uint8)

    monkeypatch.setattr(glyphs, "render", render)
    return calls


def equal(a, b):
    return a[:2] == b[:2] and all(np.array_equal(x, y) for x, y in zip(a[2:], b[2:]))


# The pictures

def test_the_same_seed_gives_the_same_bits_and_another_seed_others(rendered, outlines, monkeypatch):
    monkeypatch.setattr(glyphs, "outlines", lambda: outlines)        # `rendered` has outlines of its own
    again, other = glyphs.render(0, 1400), glyphs.render(1, 1400)
    assert np.array_equal(rendered[0], again[0]) and np.array_equal(rendered[1], again[1])
    assert (rendered[0] != other[0]).any(1).all()


def test_images_are_grey_bytes_and_labels_are_all_ten_digits_about_equally_often(rendered):
    pixels, labels = rendered
    assert pixels.shape == (1400, 784) and pixels.dtype == labels.dtype == np.uint8
    assert len(np.unique(pixels)) > 250
    counts = np.bincount(labels)
    assert len(counts) == 10 and counts.min() > 90 and counts.max() < 190


def test_every_digit_is_white_on_black_about_the_middle_and_none_is_cut_off(rendered):
    images = rendered[0].reshape(-1, 28, 28) / 255
    assert (images.max((1, 2)) > 0.8).all()
    ink = images.sum((1, 2))
    assert ink.min() > 10 and 80 < ink.mean() < 130 and ink.max() < 300        # of 784; MNIST's mean is 102
    for axis in 1, 2:
        centre = (images.sum(3 - axis) @ np.arange(28)) / ink
        assert np.abs(centre - 13.5).max() < 6 and np.abs(centre.mean() - 13.5) < 1
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
    # The edge of a line may touch the border, but the border cuts no line.
    assert (border.max(1) > 0).mean() < 0.01 and border.sum(1).max() < 4


def test_digits_can_be_read_and_yet_no_two_are_alike(rendered):
    pixels, labels = rendered[0] / np.float32(255), rendered[1]
    a, b = pixels[:1200], pixels[1200:]
    d2 = (a * a).sum(1) - 2 * b @ a.T + (b * b).sum(1)[:, None]
    assert (labels[:1200][d2.argmin(1)] == labels[1200:]).mean() > 0.9     # the nearest has this label
    assert d2.min() > 1


def test_weight_slant_and_width_vary_within_each_digit(rendered):
    u = np.arange(28) - 13.5
    for digit in range(10):
        images = rendered[0][rendered[1] == digit].reshape(-1, 28, 28) / 255
        ink = images.sum((1, 2))
        assert ink.std() / ink.mean() > 0.15
        x, y = images.sum(1) @ u / ink, images.sum(2) @ u / ink
        slant = (np.einsum("nij,i,j->n", images, u, u) / ink - x * y) / (images.sum(2) @ u ** 2 / ink - y * y)
        width = np.sqrt(images.sum(1) @ u ** 2 / ink - x * x)
        assert slant.std() > 0.1 and width.std() / width.mean() > 0.1


# Their making

def test_the_outlines_fill_their_box_and_leave_the_margin_free(outlines):
    margin = (glyphs.SIZE - glyphs.BOX) // 2 * glyphs.POINTS_PER_PIXEL
    rows, columns = outlines.any(-1), outlines.any(-2)
    for profile in rows, columns:
        assert not profile[..., :margin].any() and not profile[..., -margin:].any()
    longest = np.maximum(rows.sum(-1), columns.sum(-1))
    assert (longest >= glyphs.BOX * glyphs.POINTS_PER_PIXEL - 1).all()


def test_zeros_sixes_eights_and_nines_have_their_holes(outlines):
    middle = glyphs.SIZE * glyphs.POINTS_PER_PIXEL // 2
    for font in outlines:
        assert not font[0, middle, middle]                       # the middle of a 0 is a hole
        for digit, edges in (0, 4), (6, 3), (8, 4), (9, 3):      # at least so many, from top to bottom
            columns = font[digit][:, middle - 8:middle + 8].astype(int)
            assert (np.abs(np.diff(columns, axis=0)).sum(0) >= edges).any()


def test_thinning_gives_a_line_within_the_shape_that_joins_what_the_shape_joins():
    y, x = np.mgrid[:60, :60] - 29.5
    r = np.hypot(x, y)
    ring, bar = (r > 12) & (r < 24), (np.abs(y) < 5) & (np.abs(x) < 25)
    thin_ring, thin_bar = glyphs.thin(np.stack([ring, bar]))
    assert not (thin_ring & ~ring).any() and not (thin_bar & ~bar).any()
    assert (thin_bar.sum(0)[12:48] == 1).all()
    assert np.abs(r[thin_ring] - 18).max() < 3
    angles = np.sort(np.arctan2(y, x)[thin_ring])
    assert np.diff(angles).max() < 0.15                          # closed all around
    assert thin_ring.sum() < 2 * np.pi * 18


def test_distances_are_euclidean_up_to_the_reach():
    rng = np.random.default_rng(0)
    reach, S = glyphs.REACH * glyphs.POINTS_PER_PIXEL, 60
    line = np.zeros((S, S), bool)
    line[tuple(rng.integers(reach, S - reach, (2, 5)))] = True
    points = np.argwhere(line)
    grid = np.stack(np.mgrid[:S, :S], -1)
    exact = np.sqrt(((grid[:, :, None] - points) ** 2).sum(-1)).min(-1) / glyphs.POINTS_PER_PIXEL
    np.testing.assert_allclose(glyphs.distances(line), np.minimum(exact, glyphs.REACH), rtol=1e-6)


# Loading and the cache

def test_loaded_digits_have_mnists_splits_and_form(renders):
    d = glyphs.load(n=140)
    assert (d.name, d.shape) == ("glyphs", (28, 28))
    assert [a.shape for a in d[2:]] == [(100, 784), (20, 784), (20, 784), (100,), (20,), (20,)]
    assert [a.dtype for a in d[2:]] == [np.float32] * 3 + [np.uint8] * 3
    pixels, labels = glyphs.render(0, 140)
    assert np.array_equal(np.concatenate(d[2:5]), (pixels / 255).astype("float32"))
    assert np.array_equal(np.concatenate(d[5:]), labels)


@pytest.mark.parametrize("n, parts", [(7, (5, 1, 1)), (100, (72, 14, 14)), (70000, (50000, 10000, 10000))])
def test_five_sevenths_train_and_one_each_validates_and_tests(monkeypatch, n, parts):
    monkeypatch.setattr(glyphs, "SIZE", 1)
    monkeypatch.setattr(glyphs, "render", lambda seed, n: (np.zeros((n, 1), np.uint8), np.zeros(n, np.uint8)))
    d = glyphs.load(n=n)
    assert tuple(map(len, d[2:5])) == tuple(map(len, d[5:])) == parts


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="n = 6"):
        glyphs.load(n=6)


def test_digits_are_rendered_once_for_each_seed_number_and_version(cache, renders, monkeypatch):
    a = glyphs.load(0, 20)
    assert equal(glyphs.load(0, 20), a) and renders == [(0, 20)]
    assert not equal(glyphs.load(1, 20), a)
    glyphs.load(0, 30)
    monkeypatch.setattr(glyphs, "VERSION", glyphs.VERSION + 1)
    glyphs.load(0, 20)
    assert renders == [(0, 20), (1, 20), (0, 30), (0, 20)]
    assert len(list(cache.iterdir())) == 4 and all(file.suffix == ".npz" for file in cache.iterdir())


def damage(file, how):
    content = bytearray(file.read_bytes())
    if how == "empty":
        content = b""
    elif how == "cut short":
        content = content[:len(content) // 2]
    elif how == "one bit flipped":
        content[len(content) // 3] ^= 4
    elif how == "foreign":
        content = b"no archive at all"
    elif how == "pickled":
        content = pickle.dumps({"pixels": 1})
    file.write_bytes(content)
    if how == "another shape":
        np.savez(file, pixels=np.zeros((20, 783), np.uint8), labels=np.zeros(20, np.uint8))
    elif how == "another type":
        np.savez(file, pixels=np.zeros((20, 784), np.float32), labels=np.zeros(20, np.uint8))
    elif how == "other names":
        np.savez(file, images=np.zeros((20, 784), np.uint8))
    elif how == "objects":
        np.savez(file, pixels=np.array([None] * 20), labels=np.zeros(20, np.uint8), allow_pickle=True)


@pytest.mark.parametrize("how", ["empty", "cut short", "one bit flipped", "foreign", "pickled",
                                 "another shape", "another type", "other names", "objects"])
def test_a_damaged_cache_is_rendered_again_and_mended(cache, renders, how):
    a = glyphs.load(0, 20)
    file, = cache.iterdir()
    damage(file, how)
    assert equal(glyphs.load(0, 20), a) and len(renders) == 2
    assert equal(glyphs.load(0, 20), a) and len(renders) == 2


def test_a_cached_file_that_unpacks_to_more_is_not_unpacked(cache, renders):
    a = glyphs.load(0, 20)
    file, = cache.iterdir()
    np.savez_compressed(file, pixels=np.zeros((64 << 10, 1 << 10), np.uint8), labels=a.train_labels)
    tracemalloc.start()
    try:
        assert equal(glyphs.load(0, 20), a) and len(renders) == 2
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_cache_that_cannot_be_written_is_no_error_and_one_line_says_so(cache, renders, capsys):
    cache.write_bytes(b"a file where the directory should be")
    assert equal(glyphs.load(0, 20), glyphs.load(0, 20)) and len(renders) == 2
    said = capsys.readouterr().out
    assert said.startswith("The rendered digits cannot be kept for the next time (") and said.count("\n") == 1


def test_a_write_that_fails_midway_leaves_nothing_behind(cache, renders, monkeypatch):
    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    glyphs.load(0, 20)
    assert list(cache.iterdir()) == []
