"""IDX files, good and hostile, and where the data set is found. No test uses a network."""

import gzip
import hashlib
import math
import os
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npgan.data import mnist

arrays = hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=7))
NAMES = list(mnist.FILES)
patient = settings(deadline=None)       # the machine may be busy

try:
    REAL = mnist.find(os.environ["NPGAN_DATA"])
except (KeyError, FileNotFoundError):
    REAL = None


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def refused(path):
    with pytest.raises(ValueError) as e:
        mnist.read_idx(path)
    assert str(path) in str(e.value) and "\n" not in str(e.value)
    return str(e.value)


def check(path, content):
    """Check that read_idx gives the file's array or a ValueError; return the array or None."""
    path.write_bytes(content)
    try:
        array = mnist.read_idx(path)
    except ValueError as e:
        assert str(path) in str(e)
        return None
    assert idx(array) == (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    return array


def write(directory, n=12, m=4, shape=(3, 5), seed=0, suffix=""):
    """Four files of a small random data set; the arrays in the order of mnist.FILES."""
    rng = np.random.default_rng(seed)
    parts = [rng.integers(256, size=s, dtype=np.uint8) for s in ((n, *shape), (n,), (m, *shape), (m,))]
    directory.mkdir(parents=True, exist_ok=True)
    for name, part in zip(NAMES, parts):
        (directory / (name + suffix)).write_bytes(gzip.compress(idx(part)) if suffix else idx(part))
    return parts


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "some-idx3-ubyte"


@pytest.fixture(autouse=True)
def cache(offline):
    return offline / "mnist"


# Reading one file

@patient
@given(arrays)
def test_what_is_written_is_read_back_plain_or_packed(path, array):
    for content in idx(array), gzip.compress(idx(array)):
        found = check(path, content)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, array, strict=True)


@patient
@given(st.binary(max_size=200) | st.binary(max_size=100).map(gzip.compress)
       | st.binary(max_size=60).map(b"\0\0\x08".__add__)
       | st.binary(max_size=60).map(b"\x1f\x8b\x08".__add__))
def test_arbitrary_bytes_are_an_array_or_a_value_error_that_names_the_file(path, content):
    check(path, content)


@patient
@given(st.data(), arrays, st.booleans(), st.booleans())
def test_a_changed_file_is_an_array_or_a_value_error_that_names_the_file(path, data, array, packed, within):
    content = bytearray(idx(array))
    for _ in range(data.draw(st.integers(1, 4))):
        if packed and not within and content[:2] != b"\x1f\x8b":
            content = bytearray(gzip.compress(content))
        where = st.integers(0, min(len(content), 40) - 1) | st.integers(0, len(content) - 1)
        content[data.draw(where)] = data.draw(st.integers(0, 255))
    check(path, bytes(gzip.compress(content) if packed and within else content))


@patient
@given(st.data(), arrays, st.booleans())
def test_a_file_cut_short_anywhere_is_refused(path, data, array, packed):
    content = gzip.compress(idx(array)) if packed else idx(array)
    path.write_bytes(content[:data.draw(st.integers(0, len(content) - 1))])
    refused(path)


@patient
@given(arrays, st.binary(min_size=1, max_size=9), st.booleans())
def test_trailing_bytes_are_refused(path, array, more, packed):
    path.write_bytes(gzip.compress(idx(array) + more) if packed else idx(array) + more)
    assert "more follow" in refused(path)


def test_garbage_after_the_gzip_data_is_refused(path):
    path.write_bytes(gzip.compress(idx(np.ones((2, 3), np.uint8))) + b"garbage")
    refused(path)


@pytest.mark.parametrize("content", [
    gzip.compress(b"", mtime=0) * 20_000, b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 20_000,
    b"\x1f\x8b\x08\x10" + bytes(6) + b"a" * 20_000], ids=["empty members", "a long name", "a long comment"])
def test_a_gzip_file_that_is_slow_to_unpack_is_refused(path, content):
    path.write_bytes(content + gzip.compress(idx(np.ones((2, 3), np.uint8))))
    assert "too many members, or too long a header" in refused(path)


def test_an_array_in_many_gzip_members_is_read(path):
    """Some programs that compress with several threads write such files."""
    array = np.random.default_rng(0).integers(256, size=(1000, 28, 28), dtype=np.uint8)
    content = idx(array)
    path.write_bytes(b"".join(gzip.compress(content[i:i + 1000]) for i in range(0, len(content), 1000)))
    np.testing.assert_array_equal(mnist.read_idx(path), array)


def test_a_damaged_checksum_is_refused(path):
    content = bytearray(gzip.compress(idx(np.arange(100, dtype=np.uint8))))
    content[-6] ^= 1
    path.write_bytes(content)
    assert "gzip" in refused(path)


@pytest.mark.parametrize("content, words", [
    (b"", "found none"),
    (b"\x89PNG\r\n", "89 50 4e 47"),
    (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "type code 0x0d"),
    (b"\0\0\x08\0\x07", "0 axes"),
    (b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\x07", "255 axes"),
    (b"\0\0\x08\x03\0\0\0\x01\0\0", "6 bytes of sizes found, expected 12"),
    (b"\0\0\x08\x02\0\0\0\0\0\0\0\x05", "0 x 5 bytes"),
    (b"\0\0\x08\x01\0\0\0\x05abc", "5 bytes, expected no more than the 3"),
])
def test_the_message_says_what_was_found_and_what_was_expected(path, content, words):
    path.write_bytes(content)
    assert words in refused(path)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 3, (2**32 - 1,), (1000, 1000, 1000), (300, 1000, 1000)])
def test_absurd_sizes_are_refused_before_anything_of_that_size_is_allocated(path, sizes, packed):
    # The file holds a megabyte of noise. gzip might have compressed 300 MB to it, but only the
    # content that is there is allocated.
    noise = np.random.default_rng(0).bytes(1 << 20)
    content = bytes([0, 0, 8, len(sizes)]) + np.array(sizes, ">u4").tobytes() + noise
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        refused(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20 < math.prod(sizes)
    finally:
        tracemalloc.stop()


def test_a_missing_file_is_a_file_not_found_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such file"):
        mnist.read_idx(tmp_path / "nowhere")


# A data set of four files

@pytest.mark.parametrize("suffix", ["", ".gz"], ids=["plain", "gzip"])
@pytest.mark.parametrize("n, cut", [(12, 10), (2, 1), (61, 50)])
def test_the_last_sixth_of_the_training_file_validates_and_pixels_are_bytes_over_255(
        tmp_path, n, cut, suffix):
    train, labels, test, test_labels = write(tmp_path / "my digits", n, suffix=suffix)
    d = mnist.load(tmp_path / "my digits")
    assert (d.name, d.shape) == ("my digits, shuffled", (3, 5))
    order = np.random.default_rng((0, 4)).permutation(n)
    train, labels = train[order], labels[order]
    assert d.train.dtype == d.valid.dtype == d.test.dtype == np.float32
    np.testing.assert_array_equal(d.train, (train[:cut] / 255).reshape(cut, 15).astype("float32"))
    np.testing.assert_array_equal(d.valid, (train[cut:] / 255).reshape(n - cut, 15).astype("float32"))
    np.testing.assert_array_equal(d.test, (test / 255).reshape(4, 15).astype("float32"))
    for found, expected in zip(d[5:], (labels[:cut], labels[cut:], test_labels)):
        np.testing.assert_array_equal(found, expected, strict=True)


def test_plain_and_packed_files_may_be_mixed(tmp_path):
    parts = write(tmp_path)
    (tmp_path / NAMES[2]).rename(tmp_path / "other")
    (tmp_path / (NAMES[2] + ".gz")).write_bytes(gzip.compress(idx(parts[2])))
    assert len(mnist.load(tmp_path).test) == 4


@pytest.mark.parametrize("which, array, other", [
    (1, np.zeros(11, np.uint8), 0), (3, np.zeros(5, np.uint8), 2), (2, np.zeros((4, 5, 3), np.uint8), 0),
    (0, np.zeros((12, 15), np.uint8), 0), (1, np.zeros((12, 1), np.uint8), 1),
], ids=["too few labels", "too many test labels", "test images of another size", "images of two axes",
        "labels of two axes"])
def test_files_that_disagree_are_refused_by_name(tmp_path, which, array, other):
    write(tmp_path)
    (tmp_path / NAMES[which]).write_bytes(idx(array))
    with pytest.raises(ValueError) as e:
        mnist.load(tmp_path)
    assert str(tmp_path / NAMES[which]) in str(e.value) and str(tmp_path / NAMES[other]) in str(e.value)


def test_only_mnists_own_bytes_are_called_mnist(tmp_path, monkeypatch):
    parts = write(tmp_path / "mnist")
    assert mnist.load(tmp_path).name == "idx, shuffled"
    monkeypatch.setattr(mnist, "FILES", {name: ("", zlib.crc32(part)) for name, part in zip(NAMES, parts)})
    d = mnist.load(tmp_path)
    assert d.name == "mnist"
    pixels = np.concatenate([d.train, d.valid]).reshape(parts[0].shape)     # in the order of the file
    np.testing.assert_array_equal(pixels, (parts[0] / 255).astype("float32"))
    (tmp_path / "mnist" / NAMES[1]).unlink()
    assert mnist.load(tmp_path).name == "mnist"
    write(tmp_path / "mnist", seed=1)
    assert mnist.load(tmp_path).name == "idx, shuffled"


def sorted_by_class(folder, n=600):
    """A data set in which each image is of its label's grey, and the labels are in order."""
    labels = np.sort(np.arange(n, dtype=np.uint8) % 10)
    images = np.broadcast_to(labels[:, None, None], (n, 3, 5)).astype(np.uint8)
    folder.mkdir()
    for name, part in zip(NAMES, (images, labels, images, labels)):
        (folder / name).write_bytes(idx(part))


def test_a_file_sorted_by_class_is_shuffled_before_the_split_and_one_line_says_so(tmp_path, capsys):
    sorted_by_class(tmp_path / "sorted")
    d = mnist.load(tmp_path / "sorted")
    assert d.name == "sorted, shuffled"
    assert np.bincount(d.train_labels).min() > 30 and np.bincount(d.valid_labels, minlength=10).min() > 2
    for pixels, labels in (d.train, d.train_labels), (d.valid, d.valid_labels):
        np.testing.assert_array_equal(np.round(pixels[:, 0] * 255), labels)
    said = capsys.readouterr().out
    assert said.startswith("sorted: the order of these images is not a published one")
    assert said.count("\n") == 1
    again = mnist.load(tmp_path / "sorted")
    assert all(np.array_equal(a, b) for a, b in zip(d[2:], again[2:]))
    assert capsys.readouterr().out == ""


def test_labels_may_be_missing_and_one_line_says_so(tmp_path, capsys):
    write(tmp_path / "a")
    (tmp_path / "a" / NAMES[1]).unlink()
    d = mnist.load(tmp_path / "a")
    assert not d.train_labels.any() and len(d.train_labels) == 10 and d.test_labels.any()
    assert "a: the training images have no labels, so their labels are 0" in capsys.readouterr().out


def test_headers_that_do_not_fit_are_refused_before_any_content_is_read(tmp_path, monkeypatch):
    write(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(idx(np.zeros(11, np.uint8)))
    monkeypatch.setattr(mnist, "_read_content", lambda *args: pytest.fail("content was read"))
    with pytest.raises(ValueError, match="12 images.*11 labels"):
        mnist.load(tmp_path)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_with_what_to_do(tmp_path):
    write(tmp_path, n=300_000, shape=(1, 1), suffix=".gz")
    header = bytes([0, 0, 8, 3]) + np.array((300_000, 100, 100), ">u4").tobytes()
    pack = zlib.compressobj(wbits=31, level=1)
    zeros = (pack.compress(bytes(1 << 20)) for _ in range(50))
    content = b"".join([pack.compress(header), *zeros, pack.flush()])
    for name in NAMES[0], NAMES[2]:
        (tmp_path / f"{name}.gz").write_bytes(content)
    (tmp_path / f"{NAMES[3]}.gz").unlink()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="300000 x 100 x 100 bytes, expected no more than.*gunzip"):
            mnist.load(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# A data set in one .npz file

def npz(path, parts, method=zipfile.ZIP_DEFLATED, **others):
    """Write the arrays `parts`, in the order of mnist.FILES, as Keras' mnist.npz holds them."""
    arrays = dict(zip(mnist.KERAS, parts)) | others
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_npz_file_is_read_as_idx_files_with_the_same_arrays(tmp_path, method):
    parts = write(tmp_path / "a")
    expected = mnist.load(tmp_path / "a")
    parts[0] = np.asfortranarray(parts[0])
    found = mnist.load(npz(tmp_path / "b" / "a.npz", parts, method))
    assert found[:2] == expected[:2]
    for a, b in zip(found[2:], expected[2:]):
        np.testing.assert_array_equal(a, b, strict=True)


def test_mnists_own_bytes_in_an_npz_file_keep_the_official_split(tmp_path, monkeypatch):
    parts = write(tmp_path / "a")
    path = npz(tmp_path / "mnist.npz", parts)
    assert mnist.load(path).name == "npz, shuffled"
    monkeypatch.setattr(mnist, "FILES", {name: ("", zlib.crc32(part)) for name, part in zip(NAMES, parts)})
    d = mnist.load(path)
    assert d.name == "mnist"
    pixels = np.concatenate([d.train, d.valid]) * 255
    np.testing.assert_array_equal(np.round(pixels), parts[0].reshape(12, -1))


def test_an_npz_file_is_found_where_no_idx_files_are(tmp_path, cache, monkeypatch):
    parts = write(tmp_path / "idx")
    path = npz(tmp_path / "data" / "mnist.npz", parts)
    npz(tmp_path / "data" / "another.npz", parts)
    assert mnist.find(path) == mnist.find(path.parent) == path
    write(cache, n=3)
    for place in path, path.parent:
        monkeypatch.setenv("NPGAN_DATA", str(place))
        assert mnist.find() == path
    write(path.parent / "MNIST" / "raw")
    assert mnist.find(path.parent) == path.parent / "MNIST" / "raw"
    npz(tmp_path / "other" / "mnist" / "mnist.npz", parts)
    assert mnist.load(tmp_path / "other").name == "npz, shuffled"


def test_labels_may_be_missing_in_an_npz_file(tmp_path, capsys):
    train, labels, test, _ = write(tmp_path)
    path = npz(tmp_path / "a.npz", (), x_train=train, y_train=labels, x_test=test, more=np.zeros(2))
    d = mnist.load(path)
    assert d.train_labels.any() and not d.test_labels.any()
    assert "a: the test images have no labels, so their labels are 0" in capsys.readouterr().out


def npz_refused(path):
    with pytest.raises(ValueError) as e:
        mnist.load(path)
    assert type(e.value) is ValueError
    assert str(path) in str(e.value) and str(e.value).isprintable() and len(str(e.value)) < 600
    return str(e.value)


@pytest.mark.parametrize("words, changes, method", [
    ("found arr_0", dict.fromkeys(mnist.KERAS) | {"arr_0": np.zeros(3, np.uint8)}, zipfile.ZIP_STORED),
    ("12 images, but y_train has 11 labels", {"y_train": np.zeros(11, np.uint8)}, zipfile.ZIP_STORED),
    ("x_test has images of 3x4", {"x_test": np.zeros((4, 3, 4), np.uint8)}, zipfile.ZIP_STORED),
    ("x_train: 2 axes", {"x_train": np.zeros((12, 3), np.uint8)}, zipfile.ZIP_STORED),
    ("float32, expected uint8", {"x_train": np.zeros((12, 3, 5), np.float32)}, zipfile.ZIP_STORED),
    ("object, expected uint8", {"y_test": np.array([None])}, zipfile.ZIP_STORED),
    ("0 x 3 x 5", {"x_test": np.zeros((0, 3, 5), np.uint8)}, zipfile.ZIP_STORED),
    ("in another way", {}, zipfile.ZIP_LZMA), ("in another way", {}, zipfile.ZIP_BZIP2)])
def test_another_npz_file_is_refused_in_one_sentence(tmp_path, words, changes, method):
    arrays = dict(zip(mnist.KERAS, write(tmp_path))) | changes
    path = npz(tmp_path / "x.npz", (), method, **{k: a for k, a in arrays.items() if a is not None})
    assert words in npz_refused(path)


@patient
@given(st.data())
def test_a_damaged_npz_file_is_refused_or_has_the_same_arrays(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    content = bytearray(npz(path, write(path.parent)).read_bytes())
    expected = mnist.load(path)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[:data.draw(st.sampled_from([None, data.draw(st.integers(0, len(content)))]))])
    try:
        found = mnist.load(path)
    except ValueError:
        npz_refused(path)
    else:
        assert all(np.array_equal(a, b) for a, b in zip(found[2:5], expected[2:5]))


@pytest.mark.parametrize("words, shape", [("it announces", (1000, 1000, 300)), ("but it has", (10**6,) * 3)])
def test_nothing_of_an_npz_file_is_unpacked_that_the_headers_refuse(tmp_path, words, shape):
    parts, path = write(tmp_path), tmp_path / "x.npz"
    with zipfile.ZipFile(npz(path, parts[:1]), "a", zipfile.ZIP_DEFLATED, compresslevel=1) as a:
        with a.open("x_test.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for _ in range(300 if words == "it announces" else 100):
                member.write(bytes(1_000_000))
    tracemalloc.start()
    try:
        assert words in npz_refused(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# Where it is found

@pytest.mark.parametrize("spelling", [
    "train-images.idx3-ubyte", "train-images.idx3-ubyte.gz", "train_images_idx3_ubyte", "train-images.idx3",
    "TRAIN-IMAGES-IDX3-UBYTE", "Train-Images.idx3-ubyte.GZ",
    "train-images-idx3-ubyte/train-images-idx3-ubyte", "train-images-idx3-ubyte/train-images.idx3-ubyte"])
def test_the_usual_spellings_of_a_file_are_found(tmp_path, spelling):
    parts = write(tmp_path)
    (tmp_path / NAMES[0]).unlink()
    path = tmp_path / spelling
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(idx(parts[0]))
    assert mnist.find(tmp_path) == tmp_path
    assert len(mnist.load(tmp_path).train) == 10


def test_the_published_spelling_comes_first_and_plain_before_packed_and_hidden_files_are_none(tmp_path):
    write(tmp_path)
    write(tmp_path, suffix=".gz")
    for other in "train-images.idx3-ubyte", "._train-images-idx3-ubyte", ".train-images-idx3-ubyte":
        (tmp_path / other).write_bytes(b"")
    (tmp_path / "__MACOSX").mkdir()
    assert mnist._files(tmp_path) == {name: tmp_path / name for name in NAMES}
    (tmp_path / NAMES[0]).unlink()
    (tmp_path / f"{NAMES[0]}.gz").unlink()
    (tmp_path / "train-images.idx3-ubyte").unlink()
    assert NAMES[0] not in mnist._files(tmp_path)


@pytest.mark.parametrize("part, name", [("MNIST/raw", "idx"), ("raw", "data"), ("mnist/raw", "idx"),
                                        ("MNIST_data", "idx"), ("MNIST", "idx")])
def test_the_usual_layouts_are_found(tmp_path, part, name):
    write(tmp_path / "data" / part)
    assert mnist.find(tmp_path / "data") == tmp_path / "data" / part
    assert mnist.load(tmp_path / "data").name == f"{name}, shuffled"


def test_where_nothing_fits_the_message_says_what_is_there_and_where_the_files_are(tmp_path):
    def said(place):
        with pytest.raises(FileNotFoundError) as e:
            mnist.load(place)
        assert "\n" not in str(e.value) and "\x1b" not in str(e.value)
        return str(e.value)

    (tmp_path / "empty").mkdir()
    assert "it is empty" in said(tmp_path / "empty")
    (tmp_path / "empty" / ".DS_Store").write_bytes(b"")
    assert "only hidden files" in said(tmp_path / "empty")
    for name in ("other.npz", "bad\x1b[31m\n", "x" * 200, *"abcdefg"):
        (tmp_path / "empty" / name).write_bytes(b"")
    words = said(tmp_path / "empty")
    assert "it has a, b, bad\\x1b[31m\\n, c, d and 5 more" in words and NAMES[0] in words
    write(tmp_path / "sets" / "FashionMNIST" / "raw")
    assert f"{tmp_path / 'sets' / 'FashionMNIST' / 'raw'} has both: pass that" in said(tmp_path / "sets")
    file = tmp_path / "sets" / "FashionMNIST" / "raw" / NAMES[0]
    assert "it is a file, not a directory" in said(file) and "no such" not in said(file)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert f"this link leads to {tmp_path / 'nowhere'}" in said(tmp_path / "link")



def test_a_directory_or_its_mnist_subdirectory_is_found(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b" / "mnist")
    assert mnist.find(tmp_path / "a") == tmp_path / "a"
    assert mnist.find(str(tmp_path / "b")) == tmp_path / "b" / "mnist"


def test_a_named_directory_comes_before_npgan_data_and_that_before_the_cache(tmp_path, cache, monkeypatch):
    assert mnist.find() is None
    write(cache)
    assert mnist.find() == cache
    monkeypatch.setenv("NPGAN_DATA", str(tmp_path / "env"))
    assert mnist.find() == cache
    write(tmp_path / "env" / "mnist")
    assert mnist.find() == tmp_path / "env" / "mnist"
    write(tmp_path / "named")
    assert mnist.find(tmp_path / "named") == tmp_path / "named"


def test_a_named_directory_without_both_files_of_images_is_an_error_that_names_what_is_missing(
        tmp_path, cache, monkeypatch):
    write(cache)
    write(tmp_path / "env")
    folder = tmp_path / "named" / "mnist"
    write(folder)
    (folder / NAMES[0]).unlink()
    monkeypatch.setenv("NPGAN_DATA", str(tmp_path / "env"))
    with pytest.raises(FileNotFoundError) as e:
        mnist.load(tmp_path / "named")
    assert str(e.value).startswith(f"{folder}: expected a directory")
    assert f"missing: {NAMES[0]}; it has t10k" in str(e.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mnist.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="^'': there is no such file or directory$"):
        mnist.load("")


def test_a_place_with_both_files_of_images_comes_before_one_with_more_files(tmp_path, cache, monkeypatch):
    write(tmp_path)
    (tmp_path / NAMES[0]).unlink()
    write(cache)
    for labels in NAMES[1], NAMES[3]:
        (cache / labels).unlink()
    monkeypatch.setenv("NPGAN_DATA", str(tmp_path))
    assert mnist.find() == cache


def test_without_download_nothing_is_fetched_and_the_message_says_what_to_do():
    with pytest.raises(FileNotFoundError, match="--data DIR.*NPGAN_DATA.*rendered digits"):
        mnist.load(download=False)


# Downloading, from mirrors that are directories here

@pytest.fixture
def mirrors(tmp_path, monkeypatch, serve):
    """mirrors(first, second): each mirror is a directory, or None if it cannot be reached.

    Returns the list of the addresses asked.
    """
    def mirrors(*directories):
        def answer(url):
            base, _, name = url.rpartition("/")
            directory = directories[mnist.MIRRORS.index(base + "/")]
            return directory and (directory / name).read_bytes()

        return serve(answer)

    parts = write(tmp_path / "good", suffix=".gz")
    write(tmp_path / "wrong", suffix=".gz", seed=1)
    monkeypatch.setattr(mnist, "FILES", {
        name: (hashlib.sha256((tmp_path / "good" / f"{name}.gz").read_bytes()).hexdigest(), zlib.crc32(part))
        for name, part in zip(NAMES, parts)})
    return mirrors


def test_what_is_downloaded_is_kept_and_not_downloaded_again(tmp_path, cache, mirrors):
    asked = mirrors(tmp_path / "good", tmp_path / "wrong")
    assert mnist.load().name == "mnist"
    assert asked == [mnist.MIRRORS[0] + f"{name}.gz" for name in NAMES]
    assert sorted(os.listdir(cache)) == sorted(f"{name}.gz" for name in NAMES)
    assert mnist.load().name == "mnist" and len(asked) == 4


@pytest.mark.parametrize("first", [None, "wrong"])
def test_the_second_mirror_is_tried_where_the_first_fails_or_gives_another_file(tmp_path, mirrors, first):
    asked = mirrors(first and tmp_path / first, tmp_path / "good")
    assert mnist.load().name == "mnist"
    assert len(asked) == 8


def test_a_file_with_another_hash_is_refused_and_not_kept(tmp_path, cache, mirrors):
    asked = mirrors(tmp_path / "wrong", tmp_path / "wrong")
    with pytest.raises(OSError, match="not the published bytes.*--data DIR"):
        mnist.load()
    assert len(asked) == 2 and os.listdir(cache) == []


def test_without_a_network_each_mirror_is_asked_once_and_one_sentence_says_what_to_do(mirrors):
    asked = mirrors(None, None)
    with pytest.raises(OSError, match="ConnectionError.*--data DIR.*NPGAN_DATA.*rendered digits") as e:
        mnist.load()
    assert len(asked) == 2 and "\n" not in str(e.value)


# The real files

@pytest.mark.skipif(REAL is None, reason="NPGAN_DATA is not set or does not have MNIST's four files")
def test_the_real_files_are_mnist():
    d = mnist.load(REAL)
    assert (d.name, d.shape) == ("mnist", (28, 28))
    assert [len(a) for a in d[2:]] == [50000, 10000, 10000] * 2
    assert all(a.min() == 0 and a.max() == 1 for a in d[2:5])
    assert d.train_labels[:5].tolist() == [5, 0, 4, 1, 9] and d.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    for file, (sha256, _) in mnist.FILES.items():
        packed = mnist.find(REAL) / f"{file}.gz"
        assert not packed.is_file() or hashlib.sha256(packed.read_bytes()).hexdigest() == sha256
