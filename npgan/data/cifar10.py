"""CIFAR-10's colour images, from the binary version of the data set (never the pickled one), and global contrast normalisation.

A batch is a file of records of 3,073 bytes, and nothing else: a label, then the levels of red, of green and of blue, each 32 rows
of 32 from the top. So an image is (3, 32, 32), flat in a row of 3,072. Data: A. Krizhevsky, "Learning multiple layers of features
from tiny images", 2009.
"""

import gzip
import hashlib
import math
import os
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from npgan.data import Images, cache, retrieve

SHAPE = 3, 32, 32
CLASSES = "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
# Five batches to train on, one to test: the MD5 of each file as published. Each holds this many records.
FILES = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
RECORDS, RECORD = 10_000, 1 + math.prod(SHAPE)
ARCHIVE = "cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"       # of the archive
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
ADVICE = f"fetch {URL} and pass it, or the directory it unpacks to (--data PATH), or set NPGAN_DATA to the directory that has it"


def find(data=None, partial=False):
    """The archive, or the directory of batches: `data` itself or in it, else in NPGAN_DATA's directory, else in the user's cache.

    All six files, if any of these places has them; else, where `data` is given or `partial` is asked for, the directory with some
    of the five training batches. None where there is none; FileNotFoundError where `data` is given and has none.
    """
    given = data if data is not None else os.environ.get("NPGAN_DATA")
    place = Path(os.path.expanduser(given)) if given else None
    if data is not None and not (place and place.exists()):
        raise FileNotFoundError(f"{data or repr('')}: there is no such file or directory")
    folders = [place / part for part in ("", "cifar-10-batches-bin", "cifar10")] if place else []
    places = [place] if place and place.is_file() else [*folders, *(folder / ARCHIVE for folder in folders)]
    if data is None:
        places.append(cache("cifar10", ARCHIVE))
    for place in places:
        if place.is_file() or set(FILES) <= set(_files(place)):
            return place
    if partial or data is not None:
        best = max(folders, key=lambda folder: len(_training(folder)), default=None)
        if best is not None and _training(best):
            return best
    if data is None:
        return None
    pickled = any((folder / "data_batch_1").exists() or (folder.parent / "cifar-10-batches-py").exists() for folder in folders)
    raise FileNotFoundError(f"{data}: neither {ARCHIVE} nor any of data_batch_1.bin to data_batch_5.bin is in this directory"
                            f"{', but the pickled version, which is not read' if pickled else ''}: {ADVICE}")


def _files(folder):
    """The batches in a directory by name; for want of the whole test batch, a part of it (test_batch*.bin)."""
    found = {name: folder / name for name in FILES if (folder / name).is_file()}
    if "test_batch.bin" not in found:
        found |= {file.name: file for file in sorted(folder.glob("test_batch*.bin"))[:1] if file.is_file()}
    return found


def _training(names):
    names = _files(names) if isinstance(names, Path) else names
    return [name for name in names if name.startswith("data_batch_")]


def fetch():
    """Fetches the archive into the user's cache, and returns its path. OSError, saying what to do instead, where that fails."""
    try:
        return retrieve(URL, SHA256, cache("cifar10", ARCHIVE))
    except OSError as e:
        raise OSError(f"CIFAR-10 was not found, and {ARCHIVE} could not be downloaded ({e}): {_advice()}") from e


def _advice():
    some = find(partial=True)
    return f"pass {some} (--data DIR) to train on the batches that it has, or {ADVICE}" if some else ADVICE


def load(data=None, download=True, partial=False):
    """The images as `Images` of shape (3, 32, 32), pixels in [0, 1]: the last fifth of the training batches validates (40,000 + 10,000).

    From what `find(data, partial)` gives; else downloaded, or FileNotFoundError without `download`. A directory with some of the
    batches is taken where it is named by `data`, or with `partial`; then the name says how many images there are, and the test set
    may be empty. Named "cifar10" only if the files hold CIFAR-10's own bytes. ValueError, naming the file, for any other content.
    """
    place = find(data, partial)
    if place is None:
        if not download:
            raise FileNotFoundError(f"CIFAR-10 was not found: {_advice()}")
        place = fetch()
    batches = _unpack(place) if place.is_file() else {name: _read(file) for name, file in _files(place).items()}
    whole = set(FILES) <= set(batches)
    records = {name: _records(place / name, batch, whole) for name, batch in batches.items()}
    train = [records[name] for name in _training(records)]
    test = [records[name] for name in records if name not in _training(records)]
    pixels, labels = _join(train)
    test_pixels, test_labels = _join(test)
    if len(pixels) < 2:
        raise ValueError(f"{place}: 1 training image found, expected at least 2, to train on and to validate")
    name = "cifar10" if _published(batches) else f"{place.resolve().name} (in CIFAR-10's form)"
    if not whole:
        name += f", {len(pixels):,} of {5 * RECORDS:,} training images, {len(test_pixels):,} of {RECORDS:,} test images"
    cut = len(pixels) * 4 // 5
    return Images(name, SHAPE, pixels[:cut], pixels[cut:], test_pixels, labels[:cut], labels[cut:], test_labels)


def _read(file):
    size, most = file.stat().st_size, RECORDS * RECORD
    if size > most:
        raise ValueError(f"{file}: {size:,} bytes found, expected {most:,}, which are {RECORDS:,} records")
    return file.read_bytes()


def _records(file, batch, whole):
    """The records (n, 3073) in the bytes of one batch; in a `whole` data set there are 10,000."""
    n, rest = divmod(len(batch), RECORD)
    if rest or n == 0 or n > RECORDS or whole and n < RECORDS:
        expected = f"{RECORDS * RECORD:,}" if whole else f"a multiple of {RECORD:,} up to {RECORDS * RECORD:,}"
        raise ValueError(f"{file}: {len(batch):,} bytes found, expected {expected}: the file is cut short, or is no batch of CIFAR-10's")
    records = np.frombuffer(batch, np.uint8).reshape(n, RECORD)
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if len(wrong):
        raise ValueError(f"{file}: record {wrong[0]} has the label {records[wrong[0], 0]}, expected 0 to {len(CLASSES) - 1}")
    return records


def _join(parts):
    """Pixels (n, 3072) and labels (n,) of several batches' records."""
    ends = np.cumsum([0] + [len(part) for part in parts])
    pixels, labels = np.empty((ends[-1], RECORD - 1), np.float32), np.empty(ends[-1], np.uint8)
    for part, start, end in zip(parts, ends, ends[1:]):
        np.divide(part[:, 1:], 255, out=pixels[start:end], dtype=np.float32)
        labels[start:end] = part[:, 0]
    return pixels, labels


def _published(batches):
    """Whether each file that has a published sum agrees with it; a part of the test batch has none."""
    return all(hashlib.md5(batch, usedforsecurity=False).hexdigest() == FILES[name] for name, batch in batches.items() if name in FILES)


class _Bounded:
    """A stream that may give so many bytes and no more: a few bytes, packed twice, unpack to any number."""

    def __init__(self, stream, left):
        self.stream, self.left = stream, left

    def read(self, size):
        chunk = self.stream.read(size)
        self.left -= len(chunk)
        if self.left < 0:
            raise ValueError("it unpacks to more than CIFAR-10")
        return chunk


def _unpack(archive):
    """The six batches by name in the archive, plain or packed with gzip: members known by name and size, read and never written."""
    batches, most = {}, RECORDS * RECORD
    with open(archive, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = _Bounded(gzip.GzipFile(fileobj=file) if packed else file, most * len(FILES) + (16 << 20))
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16) as tar:
                for _ in range(100):
                    if (member := tar.next()) is None:
                        break
                    name = PurePosixPath(member.name).name
                    if name in FILES and member.isreg():
                        if name in batches or not 0 <= member.size <= most:
                            raise ValueError(f"{name} is in it {'twice' if name in batches else f'with {member.size:,} bytes'}")
                        batches[name] = tar.extractfile(member).read()
                else:
                    raise ValueError("it has more than 100 members")
            while stream.read(1 << 16):        # to the end, where gzip compares its checksum
                pass
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as e:
            raise ValueError(f"{archive}: not CIFAR-10's archive, or damaged ({e}): {ADVICE}") from e
    missing = [name for name in FILES if name not in batches]
    if missing:
        raise ValueError(f"{archive}: this archive lacks {', '.join(missing)}: {ADVICE}")
    return {name: batches[name] for name in FILES}


# --- Global contrast normalisation: the form in which the paper's networks see the images -----------------------------------

SCALE = 55.     # the authors'


def contrast(x, scale=SCALE):
    """Each image's mean and its norm about that mean, both (n, 1), of images x (n, d) in [0, 1].

    The norm of an image of nearly no contrast, less than one pixel's one level of 255 makes, is given as `scale`: gcn leaves it alone.
    """
    mean = x.mean(axis=1, keepdims=True)
    norm = np.empty_like(mean)
    for rows in range(0, len(x), 1000):
        centred = x[rows:rows + 1000] - mean[rows:rows + 1000]
        norm[rows:rows + 1000, 0] = np.sqrt(np.vecdot(centred, centred))
    norm[norm < 1e-3] = scale
    return mean, norm


def gcn(x, scale=SCALE, out=None):
    """y = scale (x - mean) / norm: images x (n, d) of mean 0 and norm `scale` (the authors' configuration: 55). In place with out=x."""
    mean, norm = contrast(x, scale)
    out = np.subtract(x, mean, out=out)
    out *= scale / norm
    return out


def ungcn(y, mean=.5, norm=None, scale=SCALE):
    """x = mean + norm y / scale: from normalised images to pixels, the inverse of gcn with the mean and norm of contrast(x).

    Generated samples have no mean and norm of their own. Left out, they are what the authors' figure has: 1/2 grey stands for 0, and
    the largest |y| of all images given is black or white. So pass the samples and the training images beside them together. A norm
    of your own, as the median of the training set's, shows more contrast; what then leaves [0, 1] is to be clipped, as plots do.
    """
    if norm is None:
        norm = scale / 2 / (np.abs(y).max(initial=0) or 1)
    return mean + y * np.asarray(norm / scale, y.dtype)
