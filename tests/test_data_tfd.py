"""The Toronto Face Database and its stand-ins: good and hostile files, folds, and messages."""

import io
import os
import shutil
import struct
import sys
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from npgan import data as shared
from npgan.data import tfd

patient = settings(deadline=None)       # the machine may be busy

try:
    REAL = tfd.find(os.environ["NPGAN_DATA"])
except (KeyError, FileNotFoundError):
    REAL = None


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    shared.tell.cache_clear()                             # what earlier tests have printed
    monkeypatch.delenv("NPGAN_DATA", raising=False)


@pytest.fixture(scope="module")
def sio():
    return pytest.importorskip("scipy.io", reason='SciPy is not installed: the extra "faces"')


def database(n=30, seed=0):
    """The variables of a small file in TFD's form. Each fold tests on other labelled images."""
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(n, 48, 48), dtype=np.uint8)
    labels = rng.integers(1, 8, size=n)
    labels[rng.permutation(n)[:n // 3]] = -1
    folds = np.zeros((n, 5), np.uint8)
    for fold in range(5):
        folds[labels > 0, fold] = rng.permutation(np.arange((labels > 0).sum()) % 5).clip(2) - 1
    return {"images": images, "folds": folds, "labs_ex": labels.astype(np.int16)[:, None],
            "labs_id": np.zeros((n, 1), np.int16)}


@pytest.fixture
def save(sio, tmp_path):
    """save(variables): the path of a .mat file that holds them."""
    def save(variables, name=tfd.TFD, **options):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        sio.savemat(tmp_path / name, variables, **options)
        return tmp_path / name
    return save


def olivetti(seed=0):
    """400 smooth images (64, 64), and `faces`: each column is one image, column by column."""
    coarse = np.random.default_rng(seed).integers(256, size=(400, 8, 8), dtype=np.uint8)
    smooth = (Image.fromarray(c).resize((64, 64), Image.Resampling.BICUBIC) for c in coarse)
    images = np.stack([np.asarray(image) for image in smooth])
    faces = np.zeros((4096, 400), np.uint8)
    for i, image in enumerate(images):
        faces[:, i] = [image[y, x] for x in range(64) for y in range(64)]
    return images, {"faces": faces}


def picture(i=0, size=(48, 48), colours=()):
    return Image.fromarray(np.random.default_rng(i).integers(80, 176, (size[1], size[0], *colours), np.uint8))


def album(folder, people, each=1, suffix=".png"):
    """Pictures person{p}/{i}.png, each of another grey."""
    for p in range(people):
        (folder / f"person{p:02}").mkdir(parents=True, exist_ok=True)
        for i in range(each):
            Image.new("L", (50, 50), p * each + i).save(folder / f"person{p:02}" / f"{i}{suffix}")
    return folder


def refused(call, path, error=ValueError):
    with pytest.raises(error) as e:
        call()
    assert str(path) in str(e.value) and "\n" not in str(e.value)
    return str(e.value)


# The database's own file

@pytest.mark.parametrize("options", [{}, {"do_compression": True}], ids=["plain", "compressed"])
@pytest.mark.parametrize("fold", range(5))
@pytest.mark.parametrize("train, codes", [("unlabelled", [0]), ("train", [1]), ("full", [1, 2])])
def test_a_folds_code_says_which_images_train_validate_and_test(save, fold, train, codes, options):
    file = database()
    d = tfd.load(save(file, **options), fold, train)
    assert (d.name, d.shape) == ("TFD_48x48", (48, 48))
    for x, labels, wanted in zip(d[2:5], d[5:], (codes, [2], [3])):
        rows = [i for i in range(30) if file["folds"][i, fold] in wanted]
        assert x.dtype == np.float32 and x.flags.c_contiguous and labels.dtype == np.uint8 and len(rows) > 0
        np.testing.assert_array_equal(x.reshape(-1, 48, 48), (file["images"][rows] / 255).astype("float32"))
        assert labels.tolist() == [max(0, file["labs_ex"][i, 0]) for i in rows]


def test_numbers_stored_as_doubles_and_labels_in_a_row_are_read_the_same(save):
    file = database()
    expected = tfd.load(save(file))
    doubles = {name: file[name].astype(float) for name in ("images", "folds")}
    found = tfd.load(save({**doubles, "labs_ex": file["labs_ex"].T}))
    for a, b in zip(found[2:], expected[2:]):
        np.testing.assert_array_equal(a, b, strict=True)


def test_a_file_of_another_name_is_known_by_what_is_in_it(save):
    assert tfd.load(save(database(), "mine.mat")).name == "mine"


def test_only_a_file_with_as_many_images_as_the_database_is_called_tfd(save, monkeypatch):
    monkeypatch.setattr(tfd, "COUNTS", (10, 20))
    assert tfd.load(save(database())).name == "tfd"
    assert tfd.load(save(database(33))).name == "TFD_48x48"


def test_without_unlabelled_images_those_of_the_fold_train(save):
    file = database()
    file["folds"][file["folds"] == 0] = 1
    for a, b in zip(tfd.load(save(file)), tfd.load(save(file), train="train")):
        np.testing.assert_array_equal(a, b)


def broken(**changes):
    return {**database(), **changes}


@pytest.mark.parametrize("variables, words", [
    ({"other": np.ones(3)}, "found 'other'"),
    ({"images": database()["images"]}, "found 'images'"),
    ({}, "no array"),
    (broken(images=np.zeros((30, 96, 96), np.uint8)), "shape (30, 96, 96), expected (30, 48, 48)"),
    (broken(images=np.zeros((30, 2304), np.uint8)), "shape (30, 2304), expected (30, 48, 48)"),
    (broken(folds=np.zeros((29, 5), np.uint8)), "shape (29, 5), expected (30, 5)"),
    (broken(labs_ex=np.zeros((31, 1))), "shape (31, 1), expected (30, 1)"),
    (broken(folds=np.full((30, 5), 4)), "folds does not hold"),
    (broken(folds=np.full((30, 5), -1)), "folds does not hold"),
    (broken(labs_ex=np.full((30, 1), 8)), "labs_ex does not hold"),
    (broken(labs_ex=np.full((30, 1), np.nan)), "labs_ex does not hold"),
    (broken(images=np.full((30, 48, 48), .5)), "images does not hold"),
    (broken(images=np.full((30, 48, 48), 256.)), "images does not hold"),
    (broken(images=np.full((30, 48, 48), 1j)), "images does not hold"),
    (broken(labs_ex="x" * 30), "found 'images', 'folds'"),
    ({"a" * 30: 1, "b" * 30: 2, "c" * 30: 3, "d" * 30: 4}, "'ccc"),
    (broken(images={"a": 1}), "found 'folds', 'labs_ex'"),
    (broken(folds=np.zeros((30, 5), np.uint8)), "fold 0 has no training images"),
    (broken(folds=np.ones((30, 5), np.uint8)), "fold 0 has no validation images"),
    (broken(folds=np.tile(np.uint8([[1], [2]]), (15, 5))), "fold 0 has no test images"),
    ({"faces": np.zeros((4096, 399), np.uint8)}, "shape (4096, 399), expected (4096, 400)"),
    ({"faces": np.full((4096, 400), 300)}, "faces does not hold"),
])
def test_a_file_of_another_content_is_refused_with_what_was_found(save, variables, words):
    path = save(variables)
    assert words in refused(lambda: tfd.load(path), path)


@patient
@given(st.data(), st.booleans())
def test_a_changed_or_shortened_file_is_images_or_a_value_error_that_names_it(
        sio, tmp_path_factory, data, packed):
    out = io.BytesIO()
    sio.savemat(out, database(10), do_compression=packed)
    content = bytearray(out.getvalue())
    places = [content.find(name) for name in (b"images", b"folds", b"labs_ex", b"MATLAB")]
    heads = st.sampled_from([i for i in places if i >= 0])
    for _ in range(data.draw(st.integers(1, 4))):
        near = heads.flatmap(lambda i: st.integers(max(0, i - 60), min(i + 40, len(content) - 1)))
        content[data.draw(near | st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))):]
    path = tmp_path_factory.mktemp("mat") / "x.mat"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")             # SciPy warns of doubtful files
        try:
            d = tfd.load(path)
        except ValueError as e:
            assert str(path) in str(e) and "\n" not in str(e)
        else:
            for x, labels in zip(d[2:5], d[5:]):
                assert x.shape == (len(labels), 2304) and 0 <= x.min() and x.max() <= 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("offset, value", [(-39, 8), (8, 0), (9, 1)],
                         ids=["complex, with no second part", "type 0", "type 258"])
def test_an_array_at_which_scipy_would_end_the_process_is_refused(sio, tmp_path, offset, value, packed):
    out = io.BytesIO()
    sio.savemat(out, database(10))
    content = bytearray(out.getvalue())
    content[content.find(b"images") + offset] = value
    if packed:                                          # compress the first element, `images`, only
        size, = struct.unpack_from("<I", content, 132)
        element = zlib.compress(content[128:136 + size])
        content[128:136 + size] = struct.pack("<2I", 15, len(element)) + element
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    assert "images does not hold what it should" in refused(lambda: tfd.load(path), path)


def array_4(numbers, name=b"faces\0", order="<", code=0, shape=None, is_complex=0):
    """An array in MATLAB's format 4, column by column. `code` says the type of its numbers."""
    rows, columns = shape or numbers.shape
    head = struct.pack(f"{order}5i", code, rows, columns, is_complex, len(name)) + name
    return head + np.ascontiguousarray(numbers.T).tobytes()


def test_olivetti_faces_in_format_4_are_read(sio, save):
    """MATLAB's save -v4 keeps matrices in this format."""
    faces = olivetti()[1]["faces"]
    expected = tfd.load(save({"faces": faces}))
    big = save({"other": 1.}, "x.mat")
    for content in (array_4(faces, code=50), array_4(faces.astype(">i2"), order=">", code=1030),
                    array_4(np.zeros((2, 3)), b"a\0") + array_4(faces.astype("<f8"))):
        big.write_bytes(content)
        assert np.array_equal(tfd.load(big).train, expected.train)
    sio.savemat(big, {"faces": faces}, format="4")
    assert np.array_equal(tfd.load(big).train, expected.train)
    sio.savemat(big, {"faces": faces[:, 1:]}, format="4")
    assert "(4096, 399), expected (4096, 400)" in refused(lambda: tfd.load(big), big)


NOTHING = np.zeros((0, 0))


@pytest.mark.parametrize("content", [
    array_4(NOTHING, shape=(2**31 - 1, 2**31 - 1)),
    array_4(NOTHING, shape=(-5, 3)),
    array_4(NOTHING, shape=(-1, 5), name=b"a" * 20) + array_4(np.zeros((1, 1))),     # back to the first array
    array_4(NOTHING, shape=(4096, 400)),
    struct.pack("<5i", 0, 4096, 400, 0, 2**31 - 1) + b"faces\0",
    array_4(NOTHING, name=b""),
    array_4(np.zeros((4096, 400)), code=4000), array_4(np.zeros((4096, 400)), code=90),
    array_4(np.zeros((4096, 400)))[:-1], bytes(4),
    array_4(NOTHING, b"a\0") * 1001,
])
def test_a_damaged_file_in_format_4_is_refused(sio, tmp_path, content):
    (tmp_path / "x.mat").write_bytes(content)
    assert "damaged" in refused(lambda: tfd.load(tmp_path / "x.mat"), tmp_path / "x.mat")


@pytest.mark.parametrize("content", [
    array_4(np.zeros((4096, 800)), shape=(4096, 400), is_complex=1),
    array_4(np.full((4096, 400), 65.), code=1), array_4(np.array([[1., 1, 1], [4096, 400, 0]]), code=2),
    array_4(np.full((4096, 400), 65.), code=1) + array_4(np.zeros((4096, 400)))],
    ids=["complex", "text", "sparse", "first text, then numbers"])
def test_another_kind_of_array_in_format_4_is_refused(sio, tmp_path, content):
    (tmp_path / "x.mat").write_bytes(content)
    assert "faces" in refused(lambda: tfd.load(tmp_path / "x.mat"), tmp_path / "x.mat")


@patient
@given(st.data())
def test_a_changed_file_in_format_4_is_faces_or_a_value_error_that_names_it(sio, tmp_path_factory, data):
    content = bytearray(array_4(np.zeros((3, 5), "<i2"), b"a\0", code=30)
                        + array_4(np.zeros((4, 3)), b"b\0", code=data.draw(st.integers(0, 2)))
                        + array_4(np.zeros((4096, 400), np.uint8), code=50))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 250))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("mat") / "x.mat"
    path.write_bytes(content)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(tfd, "_resize", lambda images: images[:, 8:56, 8:56])         # to save seconds
        try:
            assert tfd._read_mat(path, 0)[1].shape == (400, 48, 48)
        except ValueError as e:
            assert str(path) in str(e) and "\n" not in str(e)


def test_an_error_of_the_disk_names_the_file(tmp_path):
    def fails():
        raise OSError(5, "Input/output error")

    assert "Input/output error" in refused(lambda: tfd._call_scipy(tmp_path, fails), tmp_path, OSError)


def compressed(head, zeros):
    """A .mat file of one compressed array: `head`, then `zeros` megabytes of zeros."""
    pack = zlib.compressobj(1)
    body = pack.compress(head) + b"".join(pack.compress(bytes(1 << 20)) for _ in range(zeros)) + pack.flush()
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + struct.pack("<2I", 15, len(body)) + body


def array_header(name_length, data_length, shape=(4096, 400)):
    head = struct.pack("<2I", 14, 64 + data_length) + struct.pack("<4I", 6, 8, 9, 0)
    head += struct.pack("<2I2i", 5, 8, *shape) + struct.pack("<2I", 1, name_length)
    return head + b"faces\0\0\0" + struct.pack("<2I", 2, data_length)


@pytest.mark.parametrize("head, words", [
    (array_header(300 << 20, 0), "damaged"), (array_header(5, 300 << 20), "faces does not hold"),
    (array_header(5, 300 << 20, (1 << 20, 300)), "within the size of the file"),
], ids=["name", "content", "shape"])
def test_a_small_mat_file_that_unpacks_to_hundreds_of_megabytes_is_refused_first(sio, tmp_path, head, words):
    (tmp_path / "x.mat").write_bytes(compressed(head, 300))
    assert (tmp_path / "x.mat").stat().st_size < 2 << 20
    tracemalloc.start()
    try:
        assert words in refused(lambda: tfd.load(tmp_path / "x.mat"), tmp_path / "x.mat")
        assert tracemalloc.get_traced_memory()[1] < 160 << 20       # SciPy unpacks a block of 128 KiB at once
    finally:
        tracemalloc.stop()


@patient
@given(st.binary(max_size=300)
       | st.binary(max_size=300).map((b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM").__add__))
def test_arbitrary_bytes_are_no_mat_file(sio, tmp_path_factory, content):
    path = tmp_path_factory.mktemp("mat") / "x.mat"
    path.write_bytes(content)
    refused(lambda: tfd.load(path), path)


@pytest.mark.parametrize("content", [
    b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(100),
    b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_format_7_3_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / tfd.TFD).write_bytes(content)
    assert "-v7" in refused(lambda: tfd.load(tmp_path), tmp_path / tfd.TFD)


def test_sizes_that_the_file_cannot_hold_are_refused_before_anything_of_that_size_is_allocated(sio, tmp_path):
    out = io.BytesIO()
    sio.savemat(out, database(10))
    content = out.getvalue().replace(struct.pack("<3i", 10, 48, 48), struct.pack("<3i", 10**6, 48, 48))
    (tmp_path / "x.mat").write_bytes(content)
    tracemalloc.start()
    try:
        assert "(1000000, 48, 48)" in refused(lambda: tfd.load(tmp_path / "x.mat"), tmp_path / "x.mat")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_without_scipy_one_sentence_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / tfd.TFD).write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM")
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert "npgan[faces]" in refused(lambda: tfd.load(tmp_path), tmp_path / tfd.TFD, ImportError)
    assert tfd.load(album(tmp_path / "album", 5)).name == "album"               # images need none


# The Olivetti faces

def test_olivetti_images_are_upright_and_scaled_down_and_labelled_by_person(save):
    images, variables = olivetti()
    d = tfd.load(save(variables, tfd.OLIVETTI))
    assert (d.name, d.shape) == ("olivettifaces", (48, 48))
    rows = np.argsort(np.concatenate(d[5:]), kind="stable")            # the order within a person is kept
    found = np.concatenate(d[2:5])[rows].reshape(-1, 48, 48)
    # A block of 4x4 pixels in 64x64 and one of 3x3 in 48x48 cover the same part of the face.
    before = images.reshape(400, 16, 4, 16, 4).mean((2, 4)) / 255
    after = found.reshape(400, 16, 3, 16, 3).mean((2, 4))
    np.testing.assert_allclose(after[:, 1:-1, 1:-1], before[:, 1:-1, 1:-1], atol=.03)
    assert np.abs(after - before.transpose(0, 2, 1)).max() > .3


@patient
@given(st.integers(0, 2**32), st.integers(5, 60), st.integers(0, 100))
def test_folds_keep_people_apart_and_test_on_each_person_once(seed, n, more):
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.concatenate([np.arange(n), rng.integers(n, size=more)]))
    folds = tfd._make_folds(people, seed)
    assert folds.shape == (n + more, 5)
    parts = [{code: set(people[folds[:, fold] == code].tolist()) for code in (1, 2, 3)} for fold in range(5)]
    for part in parts:
        assert sum(map(len, part.values())) == n == len(part[1] | part[2] | part[3])
        assert n // 5 <= min(len(part[2]), len(part[3])) and max(len(part[2]), len(part[3])) <= -(-n // 5)
    for code in 2, 3:
        assert sorted(p for part in parts for p in part[code]) == list(range(n))
    np.testing.assert_array_equal(tfd._make_folds(people, seed), folds)


def test_the_olivetti_folds_are_of_eight_people_each_and_a_function_of_the_seed(save):
    path = save(olivetti()[1], tfd.OLIVETTI)
    tested = []
    for fold, train, seed in (0, "train", 0), (1, "full", 0), (0, "train", 1):
        d = tfd.load(path, fold, train, seed)
        people = [set(labels.tolist()) for labels in d[5:]]
        sizes = [320 if train == "full" else 240, 80, 80]
        assert [len(x) for x in d[2:5]] == [10 * len(p) for p in people] == sizes
        assert (people[1] <= people[0]) == (train == "full") and not people[2] & (people[0] | people[1])
        tested.append(people[2])
    assert not tested[0] & tested[1] and tested[0] != tested[2]


def test_only_the_olivetti_images_are_called_olivetti(save, monkeypatch):
    images, variables = olivetti()
    monkeypatch.setattr(tfd, "OLIVETTI_CRC", zlib.crc32(images.tobytes()))
    assert tfd.load(save(variables, tfd.OLIVETTI)).name == "olivetti"
    assert tfd.load(save(olivetti(1)[1], tfd.OLIVETTI)).name == "olivettifaces"


# A directory of images

@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg", ".pgm"])
def test_a_directory_of_images_is_split_by_folders_as_by_people(tmp_path, suffix):
    album(tmp_path / "some faces", 10, 3, suffix)
    (tmp_path / "some faces" / "person03" / "notes.txt").write_text("no image")
    (tmp_path / "some faces" / "a directory.png").mkdir()
    d = tfd.load(tmp_path / "some faces", 2)
    assert (d.name, d.shape) == ("some faces", (48, 48)) and [len(x) for x in d[2:5]] == [18, 6, 6]
    greys = [np.round(x[:, 0] * 255).astype(int) for x in d[2:5]]           # all pixels are 3 * person + i
    assert sorted(np.concatenate(greys).tolist()) == list(range(30))
    people = [set((grey // 3).tolist()) for grey in greys]
    assert [len(p) for p in people] == [6, 2, 2] and not any(labels.any() for labels in d[5:])


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "person03/.ipynb_checkpoints", ".a/x"])
def test_hidden_files_and_folders_are_no_images(tmp_path, capsys, name):
    expected = tfd.load(album(tmp_path / "faces", 6, 2))
    (tmp_path / "faces" / name).mkdir(parents=True)
    for i, path in enumerate(sorted((tmp_path / "faces").glob("person*/*.png"))):
        (tmp_path / "faces" / name / f"{i}-checkpoint.png").write_bytes(path.read_bytes())
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for path in "desktop.ini", "person01/Thumbs.db":
        (tmp_path / "faces" / path).write_bytes(b"")
    for a, b in zip(tfd.load(tmp_path / "faces")[2:], expected[2:]):
        np.testing.assert_array_equal(a, b)
    assert capsys.readouterr().out == ""
    hidden = album(tmp_path / ".hidden", 5)
    assert tfd.load(hidden).name == ".hidden"                       # but the user named this one


def test_an_image_in_two_persons_folders_is_counted_and_one_sentence_warns(tmp_path, capsys):
    album(tmp_path / "faces", 6, 2)
    shutil.copy(tmp_path / "faces" / "person00" / "0.png", tmp_path / "faces" / "person00" / "copy.png")
    tfd.load(tmp_path / "faces")
    assert capsys.readouterr().out == ""                # a copy in the same folder is in the same part
    shutil.copytree(tmp_path / "faces" / "person01", tmp_path / "faces" / "copies")
    for _ in range(2):
        assert len(tfd.read(tmp_path / "faces").images) == 15
    assert capsys.readouterr().out == (
        "faces: 4 of 15 images have an identical copy in another part of some fold, "
        "so a test image can be a training image too; remove the copies\n")


def test_files_that_are_not_read_are_counted_and_named(tmp_path, capsys):
    album(tmp_path / "faces", 5)
    for i in range(3):
        (tmp_path / "faces" / "person01" / f"{i}.WEBP").write_bytes(b"")
    (tmp_path / "faces" / "subject01.happy\x1b[31m").write_bytes(b"")
    (tmp_path / "faces" / "README").write_bytes(b"")
    (tmp_path / "more").mkdir()
    (tmp_path / "faces" / "more").symlink_to(tmp_path / "more")
    assert len(tfd.read(tmp_path / "faces").images) == 5
    said = capsys.readouterr().out
    assert said.startswith("faces: only PNG, JPEG and PGM images are read, so 6 files are left out: 3 .webp,")
    assert "1 without suffix" in said and "1 .happy\\x1b[31m" in said and "1 linked folders" in said
    (tmp_path / "faces" / "person00" / "0.png").unlink()
    assert "4 images found" in (said := refused(lambda: tfd.load(tmp_path / "faces"), tmp_path / "faces"))
    assert "not 3 .webp" in said


def test_where_no_image_is_found_the_message_says_what_is_there_and_a_single_image_is_no_directory(tmp_path):
    (tmp_path / "a.webp").write_bytes(b"")
    assert "; it has a.webp." in refused(lambda: tfd.find(tmp_path), tmp_path, FileNotFoundError)
    picture().save(tmp_path / "x.png")
    said = refused(lambda: tfd.load(tmp_path / "x.png"), tmp_path / "x.png")
    assert "this is one image; pass a directory" in said


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
def test_transparent_parts_are_white_whatever_they_hide_and_one_sentence_says_so(tmp_path, capsys, mode):
    hidden = np.zeros((48, 48, 4), np.uint8)
    hidden[:24] = 0, 255, 0, 0                                      # green, but transparent
    hidden[24:] = 90, 90, 90, 255
    options = {}
    if mode in ("RGBA", "LA"):
        image = Image.fromarray(hidden).convert(mode)
    elif mode == "PA":
        image = Image.fromarray(hidden).convert("RGB").quantize(2)
        image = image.convert("RGBA")
        image.putalpha(Image.fromarray(hidden[:, :, 3]))
    elif mode == "P":
        image = Image.fromarray(np.repeat(np.uint8([0, 1]), 24)[:, None].repeat(48, 1)).convert("P")
        image.putpalette([0, 255, 0, 90, 90, 90])
        options = {"transparency": 0}
    else:
        image = Image.fromarray(hidden[:, :, :3]).convert(mode)
        options = {"transparency": image.getpixel((0, 0))}
    image.save(tmp_path / "x.png", **options)
    found = tfd._read_picture(tmp_path / "x.png")
    assert (found[:24] == 255).all() and (found[24:] == 90).all()
    assert capsys.readouterr().out == "Transparent parts of pictures are made white\n"
    hidden[:, :, 3] = 255
    Image.fromarray(hidden).save(tmp_path / "y.png")
    Image.fromarray(hidden[:, :, :3]).save(tmp_path / "z.png")
    np.testing.assert_array_equal(*(tfd._read_picture(tmp_path / name) for name in ("y.png", "z.png")))


def test_with_fewer_than_five_folders_each_image_is_a_person(tmp_path):
    album(tmp_path, 2, 5)
    assert [len(x) for x in tfd.load(tmp_path)[2:5]] == [6, 2, 2]


def test_fewer_than_five_images_are_refused(tmp_path):
    assert "4 images found, expected at least 5" in refused(lambda: tfd.load(album(tmp_path, 4)), tmp_path)


@pytest.mark.parametrize("size, box", [((96, 60), (18, 0, 78, 60)), ((60, 96), (0, 18, 60, 78)),
                                       ((48, 48), (0, 0, 48, 48)), ((7, 7), (0, 0, 7, 7))])
def test_the_central_square_is_kept_and_made_grey(tmp_path, size, box):
    image = picture(0, size, (3,))
    image.save(tmp_path / "x.png")
    red, green, blue = np.asarray(image).astype(float).transpose(2, 0, 1)
    grey = .299 * red + .587 * green + .114 * blue                              # ITU-R BT.601's luma
    expected = Image.fromarray(grey.astype("float32")).crop(box).resize((48, 48), Image.Resampling.LANCZOS)
    inner = np.s_[3:-3, 3:-3]                   # at the edge, the filter reaches beyond the square
    found = tfd._read_picture(tmp_path / "x.png")
    np.testing.assert_allclose(found[inner], np.asarray(expected)[inner], atol=2)


def test_an_image_is_turned_upright_as_its_camera_noted(tmp_path):
    image = picture()
    exif = Image.Exif()
    exif[0x0112] = 6                                                        # row 0 is the right-hand side
    image.save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(tfd._read_picture(tmp_path / "x.png"), np.rot90(np.asarray(image), -1))


def encoded(form):
    out = io.BytesIO()
    picture(3, (20, 20)).save(out, form)
    return out.getvalue()


@patient
@given(st.data(), st.sampled_from(["PNG", "JPEG", "PPM"]))
def test_a_changed_or_shortened_image_is_an_image_or_a_value_error_that_names_it(
        tmp_path_factory, data, form):
    content = bytearray(encoded(form))
    for _ in range(data.draw(st.integers(1, 4))):
        where = st.integers(0, min(60, len(content) - 1)) | st.integers(0, len(content) - 1)
        content[data.draw(where)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))):]
    path = tmp_path_factory.mktemp("image") / "x.png"
    path.write_bytes(content)
    try:
        found = tfd._read_picture(path)
    except ValueError as e:
        assert str(path) in str(e) and "\n" not in str(e)
    else:
        assert found.shape == (48, 48) and found.dtype == np.uint8


@pytest.mark.parametrize("form", ["PNG", "PPM"])
def test_an_image_without_its_second_half_is_refused(tmp_path, form):
    content = encoded(form)
    (tmp_path / "x.png").write_bytes(content[:len(content) // 2])
    refused(lambda: tfd._read_picture(tmp_path / "x.png"), tmp_path / "x.png")


def test_what_is_no_image_is_refused_by_name_and_so_are_other_formats(tmp_path):
    album(tmp_path, 6)
    bad = tmp_path / "person03" / "1.png"
    gif = io.BytesIO()
    picture().save(gif, "GIF")
    for content in b"", b"#!/bin/sh\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", gif.getvalue():
        bad.write_bytes(content)
        assert "remove or repair it" in refused(lambda: tfd.load(tmp_path), bad)


def test_more_than_eight_bits_are_refused_rather_than_cut(tmp_path):
    Image.fromarray(np.full((48, 48), 30000, np.uint16)).save(tmp_path / "x.png")
    assert "8 bits" in refused(lambda: tfd._read_picture(tmp_path / "x.png"), tmp_path / "x.png")


def png(width, height):
    """A PNG whose header says width x height of 8-bit grey, with a megabyte of zeros in it."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)) \
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9000, 9000), (20000, 5000), (60000, 60000), (2**31 - 1, 2**31 - 1),
                                  (1, 60_000_000), (40_000, 1)])
@pytest.mark.parametrize("make", [png, lambda w, h: b"P5 %d %d 255\n" % (w, h) + bytes(1 << 20)],
                         ids=["PNG", "PGM"])
def test_images_of_absurd_size_are_refused_before_they_are_unpacked(tmp_path, make, size):
    (tmp_path / "x.png").write_bytes(make(*size))
    tracemalloc.start()
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            assert "pixels" in refused(lambda: tfd._read_picture(tmp_path / "x.png"), tmp_path / "x.png")
        assert not heard
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_jpeg_of_a_thousand_scans_and_a_large_image_in_text_are_refused_unread(tmp_path, monkeypatch):
    out = io.BytesIO()
    picture(0, (64, 64), (3,)).save(out, "JPEG", progressive=True)
    content = out.getvalue()
    path = tmp_path / "x.jpg"
    path.write_bytes(content + b"\xff\xda\0\2" * 1000)           # a film may follow the image
    assert tfd._read_picture(path).shape == (48, 48) and 1 < tfd._scans(content) < tfd.MAX_SCANS
    scan = content[content.rfind(b"\xff\xda"):-2]
    text = b"P2 2000 1200 255\n" + b"1 " * 2_400_000
    scans = content[:-2] + scan * 1000 + content[-2:]
    for bad, words in (scans, "more than 50 scans"), (text, "as binary PGM"):
        path.write_bytes(bad)
        with monkeypatch.context() as patch:
            patch.setattr(tfd, "_grey_square", lambda picture: pytest.fail("it was unpacked"))
            assert words in refused(lambda: tfd._read_picture(path), path)


@pytest.mark.parametrize("content, words", [
    (b"P5 #" + b"a" * 5000 + b"\n3 3 255\n" + bytes(9), "longer than 4,096 bytes"),
    (b"P5 3 3 #" + b"a" * 5000 + b"\n255\n" + bytes(9), "longer than 4,096 bytes"),
    (b"P5" + b" " * 5000 + b"3 3 255\n" + bytes(9), "longer than 4,096 bytes"),
    (b"P2 3 3 255\n" + b"#\n" * 101 + b"1 " * 9, "more than 100 comments"),
    (b"P5 1100 1000 100\n" + bytes(1_100_000), "levels up to 100"),
])
def test_a_pgm_file_that_pillow_would_read_for_long_is_refused_unread(tmp_path, monkeypatch, content, words):
    from PIL import PpmImagePlugin
    (tmp_path / "x.pgm").write_bytes(content)
    monkeypatch.setattr(PpmImagePlugin.PpmImageFile, "_open", lambda self: pytest.fail("it was opened"))
    assert words in refused(lambda: tfd._read_picture(tmp_path / "x.pgm"), tmp_path / "x.pgm")


@pytest.mark.parametrize("content", [
    b"P5\n# by an editor\n3 3\n255\n" + bytes(range(9)),
    b"P5 3 # width\n3 100\n" + bytes(range(9)),
    b"P6\r\n3\t3\n0255 " + bytes(range(27)),
    b"P4\n3 3\n\1\2\3", b"P1 #\n#\n3 3\n1 0 1 0 1 0 1 0 1", b"P2 3 3 9\n1 2 3 # one row\n4 5 6 7 8 9\n",
    b"P3 1 1 255\n1 2 3\n"])
def test_small_files_of_the_pgm_family_are_read(tmp_path, content):
    (tmp_path / "x.pgm").write_bytes(content)
    assert tfd._read_picture(tmp_path / "x.pgm").shape == (48, 48)


# Where it is found

def test_the_database_comes_before_the_olivetti_faces_and_these_before_images(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tfd.find(tmp_path / "nowhere")
    assert "Susskind" in refused(lambda: tfd.find(tmp_path), tmp_path, FileNotFoundError)
    monkeypatch.setenv("NPGAN_DATA", str(tmp_path))
    album(tmp_path, 5)
    assert tfd.find(tmp_path) == tmp_path and tfd.find() is None            # images only in a named directory
    for part in ("olivetti/olivettifaces.mat", "olivettifaces.mat",
                 "TFD/TFD_48x48.mat", "tfd/TFD_48x48.mat", "TFD_48x48.mat"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_bytes(b"")
        assert tfd.find() == tfd.find(str(tmp_path)) == tfd.find(tmp_path / part) == tmp_path / part


def test_without_the_database_one_sentence_says_whom_to_ask_and_what_else_will_do(tmp_path, monkeypatch):
    words = "not public.*Susskind.*on request.*--data DIR.*NPGAN_DATA.*olivettifaces.mat.*directory of PNG"
    with pytest.raises(FileNotFoundError, match=words):
        tfd.load()
    monkeypatch.setenv("NPGAN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=words):
        tfd.load()
    refused(lambda: tfd.load(""), "''", FileNotFoundError)


@pytest.mark.parametrize("fold, train, words", [
    (5, "train", "fold = 5"), (-1, "train", "fold = -1"), (0, "test", "train = 'test'")])
def test_a_fold_or_part_that_is_not_there_is_refused(fold, train, words):
    refused(lambda: tfd.load(fold=fold, train=train), words)


# The real files

@pytest.mark.skipif(REAL is None, reason="NPGAN_DATA is not set or has neither of the .mat files")
def test_the_real_files_are_faces(sio):
    d = tfd.load(REAL)
    assert d.name in ("tfd", "olivetti") and d.shape == (48, 48)
    if d.name == "olivetti":
        assert [len(x) for x in d[2:5]] == [240, 80, 80]
    mean = np.concatenate(d[2:5]).mean(0).reshape(48, 48)
    # A face resembles its mirror image, but not itself upside down or transposed. The eyes are
    # darker than the cheeks.
    mirrored, flipped, transposed = (np.corrcoef(mean.ravel(), other.ravel())[0, 1]
                                     for other in (mean[:, ::-1], mean[::-1], mean.T))
    assert mirrored > .9 and flipped < .5 and transposed < .8
    assert mean[:24].min(axis=0).mean() < mean[24:40].min(axis=0).mean()
