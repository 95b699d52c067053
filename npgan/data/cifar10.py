"""CIFAR-10: find, download, check, split and normalise its colour images.

This module reads the binary version of the data set, not the pickled one. A batch file holds
only records of 3,073 bytes. The first byte of a record is the label. Then come the red, the
green and the blue levels of a 32 x 32 image, row by row from the top.
Data: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

npgan/data/__init__.py has `Images`, which `load` returns: their pixels lie in [0, 1]. `gcn`
normalises images as the authors' code does.
"""

import gzip
import hashlib
import math
import os
import re
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from npgan.data import Images, contents, escape, gunzip, hidden, listed, locate, make_cache, retrieve, shuffle

SHAPE = 3, 32, 32
CLASSES = "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
# The published MD5 of each file: five batches of training images, one of test images.
FILES = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
RECORDS = 10_000                        # in each batch
RECORD_BYTES = 1 + math.prod(SHAPE)
ARCHIVE = "cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"       # of the archive
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
# Folders that the archive and other libraries make. Some browsers turn the .tar.gz into a .tar.
FOLDERS = (".", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin", "cifar-10", "CIFAR10",
           "CIFAR-10", "cifar-10-binary", "cifar-10-binary/cifar-10-batches-bin")
ARCHIVES = ARCHIVE, ARCHIVE.removesuffix(".gz")
CACHED = f"cifar10/{ARCHIVE}"
ADVICE = (f"fetch {URL} and pass it, or the directory it unpacks to (--data PATH), "
          "or set NPGAN_DATA to the directory that has it")


def find(data=None, partial=False):
    """The archive or the folder of batches: in `data`, or else in NPGAN_DATA or the cache.

    The archive, or a folder with all six batches, precedes a folder with some of the training
    batches. A folder with some is returned only if `data` is not None or `partial` is true.
    Returns None if `data` is None and nothing is found. Raises FileNotFoundError if `data` has
    no training batch.
    """
    archives = (f"{folder}/{name}" for name in ARCHIVES for folder in FOLDERS)
    place = locate(data, [*FOLDERS, *archives], _count, CACHED)
    if place and (partial or data is not None or _count(place) == len(FILES)):
        return place
    if data is None:
        return None
    pickled = [f"{folder}/data_batch_1" for folder in FOLDERS]
    pickled += "cifar-10-batches-py", "../cifar-10-batches-py", "cifar-10-python.tar.gz"
    hint = ", but the pickled version, which is not read" if locate(data, pickled, Path.exists) else ""
    raise FileNotFoundError(f"{data}: neither {ARCHIVE} nor any of data_batch_1.bin to data_batch_5.bin "
                            f"is in this directory{hint}; {contents(os.path.expanduser(data))}: {ADVICE}")


def _count(place):
    """The number of training batches; six for the archive or a folder with all six batches."""
    batches = _batch_files(place)
    complete = place.is_file() or set(FILES) <= set(batches)
    return len(FILES) if complete else len(_training(batches))


def _batch_files(folder):
    """{name: path} of the batches in a folder. A test_batch*.bin may replace test_batch.bin."""
    files = {file.name.lower(): file for file in listed(folder) if file.is_file()}
    found = {name: files[name] for name in FILES if name in files}
    if "test_batch.bin" not in found:
        parts = [file for name, file in files.items() if re.fullmatch(r"test_batch.*\.bin", name)]
        found |= {file.name: file for file in parts[:1]}
    return found


def _training(names):
    return [name for name in names if name.startswith("data_batch_")]


def fetch():
    """Download the archive into the user's cache and return its path, or raise OSError."""
    try:
        return retrieve(URL, SHA256, make_cache("cifar10") / ARCHIVE)
    except OSError as e:
        raise OSError(f"CIFAR-10 was not found, and {ARCHIVE} could not be downloaded ({e}): "
                      f"{_advice()}") from e


def _advice():
    folder = find(partial=True)
    if folder is None:
        return ADVICE
    return f"pass {folder} (--data DIR) to train on the batches that it has, or {ADVICE}"


def load(data=None, download=True, partial=False):
    """Load the data as `Images` of shape (3, 32, 32). The last fifth is for validation.

    CIFAR-10's 50,000 training images are split into 40,000 + 10,000, as in the authors' code,
    and the name is "cifar10". Other data are shuffled before they are split, and named after
    their file or directory. If batches are missing, the name tells the number of images, and
    the test set may be empty.

    The files are those that `find(data, partial)` finds. If it finds none, the archive is
    downloaded, or, if `download` is False, FileNotFoundError is raised. Raises ValueError for
    files with any other content.
    """
    place = find(data, partial)
    if place is None:
        if not download:
            raise FileNotFoundError(f"CIFAR-10 was not found: {_advice()}")
        place = fetch()
    if place.is_file():
        batches = _read_archive(place)
    else:
        batches = {name: _read_batch(file) for name, file in _batch_files(place).items()}
    complete = set(FILES) <= set(batches)
    records = {name: _parse_records(place / name, batch, complete) for name, batch in batches.items()}
    training = [records[name] for name in _training(records)]
    test = [records[name] for name in records if name not in _training(records)]
    n, n_test = (sum(map(len, parts)) for parts in (training, test))
    if n < 2:
        raise ValueError(f"{place}: 1 training image found, expected at least 2, to train on and to validate")
    published = _is_published(batches)
    name = "cifar10" if published else f"{escape(place.resolve().name, 60)} (in CIFAR-10's form)"
    if not complete:
        name += f", {n:,} of {5 * RECORDS:,} training images, {n_test:,} of {RECORDS:,} test images"
    order, name = (np.arange(n), name) if published else shuffle(name, n)
    pixels, labels = _join(training, order)
    test_pixels, test_labels = _join(test, np.arange(n_test))
    cut = len(pixels) * 4 // 5
    return Images(name, SHAPE, pixels[:cut], pixels[cut:], test_pixels,
                  labels[:cut], labels[cut:], test_labels)


def _read_batch(file):
    """The bytes of a batch file. A file that is too large raises ValueError and is not read."""
    size, max_bytes = file.stat().st_size, RECORDS * RECORD_BYTES
    if size > max_bytes:
        raise ValueError(f"{escape(file)}: {size:,} bytes found, "
                         f"expected {max_bytes:,} ({RECORDS:,} records)")
    return file.read_bytes()


def _parse_records(file, batch, complete):
    """The records (n, 3073) in the bytes of one batch; n = 10,000 if `complete`."""
    n, rest = divmod(len(batch), RECORD_BYTES)
    if rest or n == 0 or n > RECORDS or complete and n < RECORDS:
        expected = f"{RECORDS * RECORD_BYTES:,}"
        if not complete:
            expected = f"a multiple of {RECORD_BYTES:,} up to {expected}"
        raise ValueError(f"{escape(file)}: {len(batch):,} bytes found, expected {expected}: "
                         "the file is cut short, or is not a batch of CIFAR-10")
    records = np.frombuffer(batch, np.uint8).reshape(n, RECORD_BYTES)
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if len(wrong):
        raise ValueError(f"{escape(file)}: record {wrong[0]} has the label {records[wrong[0], 0]}, "
                         f"expected 0 to {len(CLASSES) - 1}")
    return records


def _join(parts, order):
    """The pixels (n, 3072) and labels (n,) of all records in `parts`, in the order `order`."""
    pixels = np.empty((len(order), RECORD_BYTES - 1), np.float32)
    labels, rows = np.empty(len(order), np.uint8), np.argsort(order)        # the new row of each record
    blocks = (part[i:i + 1000] for part in parts for i in range(0, len(part), 1000))
    for block in blocks:
        here, rows = rows[:len(block)], rows[len(block):]
        pixels[here] = np.divide(block[:, 1:], 255, dtype=np.float32)
        labels[here] = block[:, 0]
    return pixels, labels


def _is_published(batches):
    """Whether all batches have their published MD5. A part of the test batch is not checked."""
    return all(hashlib.md5(batch, usedforsecurity=False).hexdigest() == FILES[name]
               for name, batch in batches.items() if name in FILES)


class _LimitedReader:
    """A stream that raises ValueError after `left` bytes, to limit what an archive unpacks."""

    def __init__(self, stream, left):
        self.stream, self.left = stream, left

    def read(self, size):
        chunk = self.stream.read(size)
        self.left -= len(chunk)
        if self.left < 0:
            raise ValueError("it unpacks to more than CIFAR-10")
        return chunk


def _read_archive(archive):
    """{name: bytes} of the six batches in the archive, a tar file, plain or with gzip.

    Members are chosen by name and size, and read into memory. Nothing is written to the disk.
    """
    batches, max_bytes = {}, RECORDS * RECORD_BYTES
    with open(archive, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gunzip(file) if compressed else file
        stream = _LimitedReader(stream, max_bytes * len(FILES) + (16 << 20))
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16) as tar:
                for _ in range(100):
                    if (member := tar.next()) is None:
                        break
                    path = PurePosixPath(member.name)
                    name, folders = path.name, [part for part in path.parts if part != ".."]
                    if name not in FILES or not member.isreg() or any(map(hidden, folders)):
                        continue
                    if name in batches:
                        raise ValueError(f"{name} is in it twice")
                    if not 0 <= member.size <= max_bytes:
                        raise ValueError(f"{name} is in it with {member.size:,} bytes")
                    batches[name] = tar.extractfile(member).read()
                else:
                    raise ValueError("it has more than 100 members")
            while stream.read(1 << 16):         # to the end, where gzip checks its checksum
                pass
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as e:
            reason = escape(e, 200)
            raise ValueError(f"{archive}: not CIFAR-10's archive, or damaged ({reason}): {ADVICE}") from e
    missing = [name for name in FILES if name not in batches]
    if missing:
        raise ValueError(f"{archive}: this archive lacks {', '.join(missing)}: {ADVICE}")
    return {name: batches[name] for name in FILES}


# --- Global contrast normalisation, as the authors' code does it for CIFAR-10 -----------------

SCALE = 55.     # the authors' value


def contrast(x, scale=SCALE):
    """The mean of each image and the norm of image - mean, both (n, 1), for images x (n, d).

    A norm below 1e-3 is replaced by `scale`, so gcn does not amplify rounding errors. If only
    one pixel differs from the others, by 1/255, the norm is already larger than 1e-3.
    """
    mean = x.mean(axis=1, keepdims=True)
    norm = np.empty_like(mean)
    for start in range(0, len(x), 1000):
        rows = slice(start, start + 1000)
        centred = x[rows] - mean[rows]
        norm[rows, 0] = np.sqrt(np.vecdot(centred, centred))
    norm[norm < 1e-3] = scale
    return mean, norm


def gcn(x, scale=SCALE, out=None):
    """y = scale (x - mean) / norm: images of mean 0 and norm `scale`, from images x (n, d).

    If `out` is an array, y is written into it; `out` may be x.
    """
    mean, norm = contrast(x, scale)
    out = np.subtract(x, mean, out=out)
    out *= scale / norm
    return out


def ungcn(y, mean=.5, norm=None, scale=SCALE):
    """x = mean + norm y / scale: pixels from normalised images y (n, d).

    With the mean and norm that contrast(x) returns, ungcn is the inverse of gcn. For generated
    samples no mean and norm are known. The defaults show them as the authors' figure does: 0 is
    mid-grey, and the largest |y| of all images in the call is black or white. So pass samples
    and the training images beside them in one call. The median norm of the training set gives
    more contrast, but some values beyond [0, 1], which must be clipped.
    """
    if norm is None:
        norm = scale / 2 / (np.abs(y).max(initial=0) or 1)
    return mean + y * np.asarray(norm / scale, y.dtype)
