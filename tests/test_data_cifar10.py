"""CIFAR-10: good and hostile batches and archives, where they are found, and normalisation.

No test uses a network.
"""

import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npgan.data import cifar10

NAMES = list(cifar10.FILES)
N = 10                                          # records to a batch in these tests, instead of 10,000
REAL_FORM = {"RECORDS": cifar10.RECORDS, "FILES": cifar10.FILES}
patient = settings(deadline=None)               # the machine may be busy
fewer = settings(deadline=None, max_examples=50)

try:
    REAL = cifar10.find(os.environ["NPGAN_DATA"])
except (KeyError, FileNotFoundError):
    REAL = None


def batch(rng, n=N):
    """Labels (n,), levels (n, 3, 32, 32), and the bytes of a batch that holds them."""
    labels, levels = rng.integers(10, size=n), rng.integers(256, size=(n, 3, 32, 32))
    content = b"".join(bytes([label]) + b"".join(bytes(row.tolist()) for channel in image for row in channel)
                       for label, image in zip(labels.tolist(), levels))        # value by value
    return labels, levels, content


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    return {name: batch(rng) for name in NAMES}


@pytest.fixture(scope="module")
def contents(batches):
    return {name: content for name, (_, _, content) in batches.items()}


@pytest.fixture(scope="module", autouse=True)
def small(contents):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "RECORDS", N)
        sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
        patch.setattr(cifar10, "FILES", sums)
        yield


@pytest.fixture(autouse=True)
def cache(offline):
    return offline / "cifar10"


def write(folder, contents, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(contents[name])
    return folder


def tar(members, packed=True):
    """The bytes of an archive of (TarInfo or name, content) pairs."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member, content in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(out.getvalue(), 1, mtime=0) if packed else out.getvalue()


def published(contents, packed=True):
    """An archive in the order of the published one."""
    order = [NAMES[0], "batches.meta.txt", NAMES[2], NAMES[3], NAMES[5], "readme.html", NAMES[4], NAMES[1]]
    return tar([("cifar-10-batches-bin/" + name, contents.get(name, b"text")) for name in order], packed)


def refused(call, path, error=ValueError):
    with pytest.raises(error) as e:
        call()
    assert str(path) in str(e.value) and "\n" not in str(e.value)
    return str(e.value)


# A whole data set

@pytest.mark.parametrize("form", ["directory", "gzip", "tar"])
def test_pixels_are_bytes_over_255_by_channel_and_the_last_fifth_validates(tmp_path, batches, contents, form):
    place = tmp_path / "some name"
    if form == "directory":
        write(place, contents)
    else:
        place.write_bytes(published(contents, form == "gzip"))
    d = cifar10.load(place)
    assert (d.name, d.shape) == ("cifar10", (3, 32, 32))
    assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in d[2:5])
    assert all(a.dtype == np.uint8 for a in d[5:])
    labels, levels = (np.concatenate([batches[name][i] for name in NAMES[:5]]) for i in (0, 1))
    pixels = np.concatenate([d.train, d.valid]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(pixels, (levels / 255).astype("float32"))
    np.testing.assert_array_equal(np.concatenate([d.train_labels, d.valid_labels]), labels)
    assert len(d.train) == len(d.train_labels) == 4 * N and len(d.valid) == len(d.valid_labels) == N
    labels, levels, _ = batches["test_batch.bin"]
    np.testing.assert_array_equal(d.test.reshape(-1, 3, 32, 32), (levels / 255).astype("float32"))
    np.testing.assert_array_equal(d.test_labels, labels)


@pytest.mark.parametrize("changed", NAMES)
def test_only_the_published_bytes_are_called_cifar10(tmp_path, contents, changed):
    other = bytearray(contents[changed])
    other[-1] ^= 1
    folder = write(tmp_path / "mine", {**contents, changed: bytes(other)})
    assert cifar10.load(folder).name == "mine (in CIFAR-10's form), shuffled"


def test_batches_sorted_by_class_are_shuffled_before_the_split_and_one_line_says_so(tmp_path, capsys):
    contents = {name: b"".join(bytes([i // 5]) + bytes([i]) * 3072 for i in range(N * b, N * b + N))
                for b, name in enumerate(NAMES[:5])}                        # image i is of grey i
    d = cifar10.load(write(tmp_path / "mine", contents, NAMES[:5]))
    assert d.name.endswith("0 of 10 test images, shuffled") and (len(d.train), len(d.valid)) == (40, 10)
    greys = [np.round(x[:, -1] * 255).astype(int) for x in (d.train, d.valid)]
    assert sorted(np.concatenate(greys).tolist()) == list(range(50))
    np.testing.assert_array_equal(greys[0] // 5, d.train_labels)
    np.testing.assert_array_equal(greys[1] // 5, d.valid_labels)
    assert len(set(d.train_labels.tolist())) == 10 and len(set(d.valid_labels.tolist())) > 3
    assert capsys.readouterr().out.count("are shuffled (seed 0)") == 1


# Some of it

def test_a_directory_with_some_batches_is_taken_where_it_is_named_and_the_name_says_what_it_has(
        tmp_path, batches, contents):
    write(tmp_path / "some", contents, [NAMES[3], NAMES[1]])
    part = 4 * cifar10.RECORD_BYTES
    (tmp_path / "some" / "test_batch_first4.bin").write_bytes(contents["test_batch.bin"][:part])
    d = cifar10.load(tmp_path / "some")
    assert d.name == f"cifar10, {2 * N} of {5 * N} training images, 4 of {N} test images"
    assert [len(a) for a in d[2:]] == [2 * N * 4 // 5, 2 * N // 5, 4] * 2
    np.testing.assert_array_equal(np.concatenate([d.train_labels, d.valid_labels]),
                                  np.concatenate([batches[NAMES[1]][0], batches[NAMES[3]][0]]))
    np.testing.assert_array_equal(d.test_labels, batches["test_batch.bin"][0][:4])


def test_without_a_test_batch_the_test_set_is_empty(tmp_path, contents):
    d = cifar10.load(write(tmp_path, contents, NAMES[:1]))
    assert d.test.shape == (0, 3072) and d.test_labels.shape == (0,) and f"0 of {N} test images" in d.name


@pytest.mark.parametrize("n, cut", [(2, 1), (5, 4), (9, 7)])
def test_a_part_of_a_batch_is_taken_too(tmp_path, contents, n, cut):
    (tmp_path / NAMES[0]).write_bytes(contents[NAMES[0]][:n * cifar10.RECORD_BYTES])
    d = cifar10.load(tmp_path)
    assert (len(d.train), len(d.valid)) == (cut, n - cut)
    assert d.name.startswith(f"{tmp_path.name} (in CIFAR-10's form), {n} of")


def test_one_image_cannot_both_train_and_validate(tmp_path, contents):
    (tmp_path / NAMES[0]).write_bytes(contents[NAMES[0]][:cifar10.RECORD_BYTES])
    assert "at least 2" in refused(lambda: cifar10.load(tmp_path), tmp_path)


# Where it is found

@pytest.mark.parametrize("part", ["", "cifar-10-batches-bin", "cifar10", "CIFAR10",
                                  "cifar10/cifar-10-batches-bin"])
def test_batches_or_archive_are_found_in_a_directory_and_in_its_subdirectories(tmp_path, contents, part):
    folder = write(tmp_path / "a" / part, contents)
    assert cifar10.find(str(tmp_path / "a")) == folder
    (tmp_path / "b" / part).mkdir(parents=True)
    archive = tmp_path / "b" / part / cifar10.ARCHIVE
    archive.write_bytes(b"")
    assert cifar10.find(tmp_path / "b") == cifar10.find(archive) == archive


def test_a_named_place_comes_before_npgan_data_and_that_before_the_cache(
        tmp_path, cache, contents, monkeypatch):
    assert cifar10.find() is None
    cache.mkdir(parents=True)
    (cache / cifar10.ARCHIVE).write_bytes(b"")
    assert cifar10.find() == cache / cifar10.ARCHIVE
    monkeypatch.setenv("NPGAN_DATA", str(tmp_path / "env"))
    assert cifar10.find() == cache / cifar10.ARCHIVE
    write(tmp_path / "env" / "cifar10", contents)
    assert cifar10.find() == tmp_path / "env" / "cifar10"
    write(tmp_path / "named", contents, NAMES[:1])
    assert cifar10.find(tmp_path / "named") == tmp_path / "named"


def test_some_batches_in_npgan_data_are_taken_only_when_asked_for_and_then_after_all_six(
        tmp_path, cache, contents, monkeypatch):
    some = write(tmp_path / "env" / "cifar-10-batches-bin", contents, NAMES[:2])
    monkeypatch.setenv("NPGAN_DATA", str(tmp_path / "env"))
    assert cifar10.find() is None
    assert str(some) in refused(lambda: cifar10.load(download=False), "--data", FileNotFoundError)
    assert cifar10.find(partial=True) == some and len(cifar10.load(partial=True).train) == 2 * N * 4 // 5
    cache.mkdir(parents=True)
    (cache / cifar10.ARCHIVE).write_bytes(published(contents))
    assert cifar10.load(partial=True).name == "cifar10"


def test_a_named_directory_without_a_training_batch_is_refused(tmp_path, contents):
    write(tmp_path, contents, NAMES[5:])
    assert cifar10.URL in refused(lambda: cifar10.load(tmp_path), tmp_path, FileNotFoundError)
    for nowhere in (tmp_path / "nowhere", ""):
        said = refused(lambda: cifar10.load(nowhere), nowhere, FileNotFoundError)
        assert "no such file or directory" in said


def test_a_tar_file_that_a_browser_unpacked_and_names_in_capitals_are_found(tmp_path, contents):
    (tmp_path / "a").mkdir()
    archive = tmp_path / "a" / "cifar-10-binary.tar"
    archive.write_bytes(published(contents, packed=False))
    assert cifar10.find(tmp_path / "a") == archive and cifar10.load(archive).name == "cifar10"
    capitals = {name.upper(): content for name, content in contents.items()}
    write(tmp_path / "b", capitals, capitals)
    assert cifar10.load(tmp_path / "b").name == "cifar10"


def test_hidden_files_and_folders_are_no_batches(tmp_path, contents):
    folder = write(tmp_path / "a", contents, NAMES[:1])
    (folder / "._data_batch_2.bin").write_bytes(b"x")
    assert len(cifar10._batch_files(folder)) == 1
    hidden = "__MACOSX", ".ipynb_checkpoints", "a/.cache"
    copies = [(f"{folder}/data_batch_1.bin", b"x") for folder in hidden]
    (tmp_path / "x.tar").write_bytes(tar([*copies, *contents.items()], packed=False))
    assert cifar10.load(tmp_path / "x.tar").name == "cifar10"


def test_where_no_batch_is_found_the_message_says_what_is_there(tmp_path):
    (tmp_path / "cifar-100.bin").write_bytes(b"")
    (tmp_path / ".DS_Store").write_bytes(b"")
    said = refused(lambda: cifar10.find(tmp_path), tmp_path, FileNotFoundError)
    assert "; it has cifar-100.bin: fetch" in said


def test_the_pickled_version_is_named_and_not_read(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"\x80\x02}.")
    for place in folder, tmp_path:
        said = refused(lambda: cifar10.load(place), place, FileNotFoundError)
        assert "pickled version, which is not read" in said


# Hostile and damaged batches

@fewer
@given(st.integers(1, 3 * cifar10.RECORD_BYTES), st.booleans())
def test_a_batch_cut_short_is_refused(tmp_path_factory, contents, cut, complete):
    if not complete and cut % cifar10.RECORD_BYTES == 0:
        cut += 1                    # without all six files, a batch of fewer records is allowed
    folder = tmp_path_factory.mktemp("cut")
    write(folder, contents, NAMES if complete else NAMES[:2])
    (folder / NAMES[1]).write_bytes(contents[NAMES[1]][:-cut])
    assert "cut short" in refused(lambda: cifar10.load(folder), folder / NAMES[1])


@pytest.mark.parametrize("content, words", [(b"", "0 bytes found"), (b"\x80\x04}" * 99, "297 bytes found"),
                                            (bytes(3073 * (N + 1)), f"expected {3073 * N:,}")])
def test_other_content_is_refused_by_its_size(tmp_path, contents, content, words):
    write(tmp_path, {**contents, NAMES[2]: content})
    assert words in refused(lambda: cifar10.load(tmp_path), tmp_path / NAMES[2])


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path, contents):
    write(tmp_path, contents, NAMES[:1])
    with open(tmp_path / NAMES[1], "wb") as file:
        file.truncate(1 << 40)                  # a sparse terabyte, which takes no space
    refused(lambda: cifar10.load(tmp_path), tmp_path / NAMES[1])


@pytest.mark.parametrize("label", [10, 255])
def test_a_label_beyond_the_ten_is_refused_with_its_record(tmp_path, contents, label):
    wrong = bytearray(contents[NAMES[4]])
    wrong[3 * cifar10.RECORD_BYTES] = label
    write(tmp_path, {**contents, NAMES[4]: bytes(wrong)})
    assert f"record 3 has the label {label}" in refused(lambda: cifar10.load(tmp_path), tmp_path / NAMES[4])


# Hostile and damaged archives

@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return tmp_path_factory.mktemp("archive") / "some.tar.gz"


@fewer
@given(st.data(), st.booleans())
def test_an_archive_cut_short_is_refused(archive, contents, data, packed):
    content = published(contents, packed)
    needed = len(content) if packed else len(content.rstrip(b"\0"))     # a tar file ends in unused zeros
    archive.write_bytes(content[:data.draw(st.integers(0, needed - 1))])
    refused(lambda: cifar10.load(archive), archive)


@fewer
@given(st.data(), st.booleans())
def test_a_changed_archive_gives_six_batches_or_a_value_error_that_names_it(archive, contents, data, packed):
    content = bytearray(published(contents, packed))
    headers = [i for i in range(0, len(content), 512) if content[i:i + 5] == b"cifar"]
    if packed:
        where = st.integers(0, len(content) - 1)
    else:
        where = st.sampled_from(headers).flatmap(lambda i: st.integers(i, i + 511))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(where)] = data.draw(st.integers(0, 255))
    archive.write_bytes(content)
    try:
        found = cifar10._read_archive(archive)
    except ValueError as e:
        assert str(archive) in str(e)
    else:
        assert found == contents


@fewer
@given(st.binary(max_size=2000), st.booleans())
def test_arbitrary_bytes_are_no_archive(archive, content, packed):
    archive.write_bytes(gzip.compress(content) if packed else content)
    refused(lambda: cifar10.load(archive), archive)


@pytest.mark.parametrize("prefix", ["/", "../../", "", "a/b/../"])
def test_nothing_is_written_whatever_paths_an_archive_has(tmp_path, contents, prefix, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    (tmp_path / "x.tar.gz").write_bytes(tar([(prefix + name, content) for name, content in contents.items()]))
    before = sorted(tmp_path.rglob("*"))
    assert cifar10.load(tmp_path / "x.tar.gz").name == "cifar10"
    assert sorted(tmp_path.rglob("*")) == before and not any(Path(prefix, name).exists() for name in NAMES)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE,
                                  tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_what_is_no_regular_file_is_no_batch(tmp_path, contents, kind):
    link = tarfile.TarInfo(NAMES[2])
    link.type, link.linkname = kind, "/etc/hostname"
    members = [(link if name == NAMES[2] else name, content) for name, content in contents.items()]
    (tmp_path / "x.tar").write_bytes(tar(members))
    assert f"lacks {NAMES[2]}:" in refused(lambda: cifar10.load(tmp_path / "x.tar"), tmp_path / "x.tar")


def test_a_batch_that_is_there_twice_is_refused(tmp_path, contents):
    archive = tmp_path / "x.tar"
    archive.write_bytes(tar([*contents.items(), (NAMES[2], contents[NAMES[2]])]))
    assert f"{NAMES[2]} is in it twice" in refused(lambda: cifar10.load(archive), archive)


def test_an_archive_that_unpacks_without_end_is_refused_and_takes_no_memory(tmp_path, contents):
    huge = tarfile.TarInfo("zeros")
    huge.size = 1 << 35
    pax = tarfile.TarInfo("pax")
    pax.size, pax.type = 1 << 35, tarfile.XHDTYPE
    longer = tarfile.TarInfo(NAMES[0])
    longer.size = 1 << 35
    members = [(tarfile.TarInfo(f"{i}"), b"") for i in range(200)]
    name = tarfile.TarInfo("././@LongLink")                 # a member that holds the next member's name
    name.size, name.type = 1, tarfile.GNUTYPE_LONGNAME
    bombs = {"more than CIFAR-10": huge.tobuf(tarfile.GNU_FORMAT),
             "unpacks to": pax.tobuf(tarfile.GNU_FORMAT), "bytes": longer.tobuf(tarfile.GNU_FORMAT),
             "members": tar(members, packed=False),
             "too many members": b"",
             "recursion": (name.tobuf(tarfile.GNU_FORMAT) + bytes(512)) * 3000}
    zeros = gzip.compress(bytes(64 << 20), 1)
    tracemalloc.start()
    try:
        for words, head in bombs.items():
            empty = gzip.compress(b"") * (0 if head else 20_000)
            (tmp_path / "x.tar.gz").write_bytes(empty + gzip.compress(head) + zeros)
            assert words in refused(lambda: cifar10.load(tmp_path / "x.tar.gz"), tmp_path / "x.tar.gz")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_damaged_checksum_is_refused_though_it_comes_long_after_the_last_batch(archive, contents):
    content = bytearray(gzip.compress(published(contents, packed=False) + bytes(1 << 20), 1))
    archive.write_bytes(content)
    assert cifar10.load(archive).name == "cifar10"
    content[-6] ^= 1
    archive.write_bytes(content)
    refused(lambda: cifar10.load(archive), archive)


@pytest.mark.parametrize("eighth", range(1, 8))
def test_data_that_cannot_be_unpacked_from_somewhere_on_are_refused(archive, contents, eighth):
    content = published(contents)
    start = len(content) * eighth // 8
    archive.write_bytes(content[:start] + b"\xff" * (len(content) - start))
    refused(lambda: cifar10.load(archive), archive)


# Downloading

@pytest.fixture
def server(monkeypatch, contents, serve):
    """server(content): the address gives these bytes, or cannot be reached if they are None.

    Returns the list of the addresses asked.
    """
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(published(contents)).hexdigest())
    return lambda answer: serve(lambda url: answer)


def test_what_is_downloaded_is_kept_and_not_downloaded_again(cache, contents, server):
    asked = server(published(contents))
    for _ in range(2):
        assert cifar10.load().name == "cifar10"
    assert asked == [cifar10.URL] and os.listdir(cache) == [cifar10.ARCHIVE]


def test_another_archive_is_refused_and_not_kept(cache, contents, server):
    server(published(contents) + b"\0")
    assert "not the published bytes" in refused(cifar10.load, "--data PATH", OSError)
    assert os.listdir(cache) == []


def test_without_a_network_one_sentence_says_what_to_do(tmp_path, contents, server, monkeypatch):
    asked = server(None)
    assert "ConnectionError" in refused(cifar10.load, "--data PATH", OSError)
    some = write(tmp_path / "env", contents, NAMES[:1])
    monkeypatch.setenv("NPGAN_DATA", str(some))
    assert f"pass {some} (--data DIR)" in refused(cifar10.load, "--data PATH", OSError)
    assert len(asked) == 2


def test_without_download_nothing_is_fetched():
    assert cifar10.URL in refused(lambda: cifar10.load(download=False), "NPGAN_DATA", FileNotFoundError)


# Global contrast normalisation

levels = st.tuples(st.integers(1, 4), st.integers(2, 40), st.integers(0, 2**32),
                   st.sampled_from([1, 2, 17, 256]))


def images(n, d, seed, top, dtype="float32"):
    return (np.random.default_rng(seed).integers(top, size=(n, d)) / 255).astype(dtype)


@patient
@given(levels, st.sampled_from(["float32", "float64"]), st.sampled_from([55., 1., 3.5]))
def test_gcn_subtracts_the_mean_and_scales_to_the_norm_but_not_images_without_contrast(form, dtype, scale):
    x = images(*form, dtype)
    y = cifar10.gcn(x, scale)
    assert y.dtype == dtype and y.shape == x.shape
    for a, b in zip(x.astype("float64"), y):
        centred = a - sum(a.tolist()) / len(a)
        norm = sum(v * v for v in centred.tolist()) ** .5
        # The subtraction of the mean has an error of one rounding of a pixel, times the factor.
        if np.ptp(a) == 0:
            np.testing.assert_allclose(b, 0, atol=1e-6)
        else:
            atol = scale / norm * 1e-6 + scale * 1e-4
            np.testing.assert_allclose(b, centred * scale / norm, rtol=1e-4, atol=atol)


def test_the_least_contrast_that_bytes_can_have_is_normalised_and_rounding_is_not():
    x = np.full((2, 3072), np.float32(77 / 255))
    x[0, 5] = np.float32(78 / 255)
    y = cifar10.gcn(x)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), [55, 0], atol=1e-3)
    x += np.float32(1e-7) * np.random.default_rng(0).normal(size=x.shape).astype("float32")
    assert np.abs(cifar10.gcn(x)[1]).max() < 1e-5


@patient
@given(levels)
def test_ungcn_is_the_inverse_with_each_images_own_mean_and_norm(form):
    x = images(*form)
    mean, norm = cifar10.contrast(x)
    back = cifar10.ungcn(cifar10.gcn(x), mean, norm)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, x, atol=1e-6)


def test_more_images_than_one_block_are_normalised_each_by_itself():
    x = images(2100, 12, 0, 256)
    mean, norm = cifar10.contrast(x)
    np.testing.assert_allclose(mean[:, 0], x.mean(1), rtol=1e-6)
    np.testing.assert_allclose(norm[:, 0], x.std(1) * 12 ** .5, rtol=1e-5)


def test_in_place_gcn_writes_where_it_reads_and_gives_the_same():
    x = images(5, 3072, 0, 256)
    expected, kept = cifar10.gcn(x), x.copy()
    np.testing.assert_array_equal(x, kept)
    assert cifar10.gcn(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


def test_samples_are_shown_about_grey_with_the_largest_value_of_all_black_or_white():
    y = np.array([[0, 1, -4], [2, 0, 0]], "float32")
    expected = np.array([[.5, .625, 0], [.75, .5, .5]], "float32")
    np.testing.assert_array_equal(cifar10.ungcn(y), expected, strict=True)
    np.testing.assert_array_equal(cifar10.ungcn(0 * y), np.full((2, 3), .5, "float32"))
    np.testing.assert_allclose(cifar10.ungcn(y, .25, 11.), .25 + y / 5)
    assert cifar10.ungcn(y, .25, np.float64(11)).dtype == np.float32


# The real files

@pytest.mark.skipif(REAL is None, reason="NPGAN_DATA is not set or has no binary batches of CIFAR-10")
def test_the_real_files_are_cifar10(monkeypatch):
    for name, value in REAL_FORM.items():
        monkeypatch.setattr(cifar10, name, value)
    d = cifar10.load(REAL)
    n = len(d.train) + len(d.valid)
    some = f"cifar10, {n:,} of 50,000 training images"
    assert d.name == "cifar10" or d.name.startswith(some) and n >= 10_000
    assert d.train.min() == 0 and d.train.max() == 1 and len(d.train) == n * 4 // 5
    counts = np.bincount(np.concatenate([d.train_labels, d.valid_labels]), minlength=10)
    assert len(counts) == 10 and counts.min() > .9 * n / 10 and counts.max() < 1.1 * n / 10
    # Neighbours in a row, neighbours in a column and the colours of a pixel are alike. In any
    # other order of the bytes, one of the three would fail.
    x = d.train[:2000].reshape(-1, 3, 32, 32)
    steps = [float(np.abs(np.diff(x, axis=axis)).mean() / x.std()) for axis in (1, 2, 3)]
    assert max(steps[1:]) < .3 and steps[0] < .4, steps
    # The images are upright: light comes from above, and not from a side.
    above, left = x[:, :, :16].mean() - x[:, :, 16:].mean(), x[..., :16].mean() - x[..., 16:].mean()
    assert above > .02 and abs(left) < above / 4, (above, left)
    np.testing.assert_allclose(np.linalg.norm(cifar10.gcn(d.valid[:100]), axis=1), 55, rtol=1e-5)
    if (REAL / NAMES[0]).is_file():
        assert [cifar10.CLASSES[label] for label in d.train_labels[:4]] == ["frog", "truck", "truck", "deer"]
        x = d.train[5].reshape(3, 32, 32)                   # a red car
        assert x[0].mean() > 1.5 * x[1].mean() and x[0].mean() > 1.5 * x[2].mean()
