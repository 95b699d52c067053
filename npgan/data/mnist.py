"""MNIST, or other grey images in the same form: find, download, check and split them.

An IDX file holds one array of unsigned bytes. Its first four bytes are 0 0 8 r, where r is the
number of axes. Then come the r sizes as big-endian 32-bit integers, and the array in C order.
The file may be compressed with gzip. Instead of four IDX files, one .npz file can hold the four
arrays, as Keras' mnist.npz does.
Format and data: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".

npgan/data/__init__.py has `Images`, which `load` returns. This module reads only arrays of
bytes. If it cannot find or download MNIST, it raises an error; digits.py then renders digits.
"""

import contextlib
import gzip
import math
import os
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from npgan.data import (
    Images,
    capacity,
    contents,
    escape,
    gunzip,
    listed,
    locate,
    make_cache,
    retrieve,
    shuffle,
    tell,
)

# For each file: the SHA-256 of the published .gz, and the CRC-32 of the array in it.
FILES = {
    "train-images-idx3-ubyte":
        ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 0xf3639b56),
    "train-labels-idx1-ubyte":
        ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 0xba07e8ef),
    "t10k-images-idx3-ubyte":
        ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 0xe4ca5f57),
    "t10k-labels-idx1-ubyte":
        ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 0xee8604d9),
}
IMAGES = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"       # required; the labels may be missing
# Also matches other spellings of the names, such as train-images.idx3-ubyte.
SPELLING = re.compile(r"(train|t10k|test)[-_. ](images|labels)[-_. ]idx([13])([-_. ]ubyte)?(\.gz)?", re.I)
# Folders that other libraries make, torchvision's MNIST/raw for example.
PARTS = (".", "mnist", "MNIST", "raw", "mnist/raw", "MNIST/raw", "MNIST_data", "mnist_data",
         "mnist.npz", "mnist/mnist.npz")
KERAS = dict(zip(("x_train", "y_train", "x_test", "y_test"), FILES))    # the arrays in mnist.npz
MIRRORS = "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
ADVICE = ("put its four files into a directory and pass it (--data DIR) or set NPGAN_DATA to it, "
          "or train on the rendered digits (--data glyphs), which need no file")


def read_idx(path):
    """The uint8 array in one IDX file, plain or compressed with gzip; the suffix is ignored.

    Raises ValueError for any other content, FileNotFoundError if the file does not exist.
    """
    with _open(path) as (file, max_bytes):
        shape = _read_header(path, file, max_bytes)
        return _read_content(path, file, shape)


def idx_shape(path):
    """The shape of the array in one IDX file, from its header. Raises what read_idx raises."""
    with _open(path) as (file, max_bytes):
        return _read_header(path, file, max_bytes)


@contextlib.contextmanager
def _open(path):
    """The unpacked stream of an IDX file, and the largest number of bytes to read from it."""
    try:
        with open(path, "rb") as file:
            size, compressed = os.fstat(file.fileno()).st_size, file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if compressed:
                yield gunzip(file), capacity(size)
            else:
                yield file, size
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ValueError(f"{path}: the gzip data is truncated or damaged ({escape(e)})") from e


def _read_header(path, file, max_bytes):
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"{path}: not an IDX file, which begins with the bytes 00 00 08: "
                         f"found {magic.hex(' ') or 'none'}")
    type_code, axes = magic[2:]
    if type_code != 8:
        raise ValueError(f"{path}: IDX type code 0x{type_code:02x} found, expected 0x08 (unsigned bytes)")
    if not 1 <= axes <= 64:
        raise ValueError(f"{path}: the IDX header announces {axes} axes, expected 1 to 64")
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise ValueError(f"{path}: the file ends within the IDX header: "
                         f"{len(header)} bytes of sizes found, expected {4 * axes}")
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    size, max_size = math.prod(shape), max_bytes - 4 - 4 * axes
    if size == 0:
        raise ValueError(f"{_announced(path, shape)}, expected sizes of at least 1")
    if size > max_size:
        advice = "; unpack the file with gunzip to read more" if isinstance(file, gzip.GzipFile) else ""
        raise ValueError(f"{_announced(path, shape)}, expected no more than the {max_size} "
                         f"that a file of this size can hold{advice}")
    return shape


def _announced(path, shape):
    return f"{path}: the IDX header announces {' x '.join(map(str, shape))} bytes"


def _read_content(path, file, shape):
    size = math.prod(shape)
    content = bytearray()               # grows with the content: a false size takes no memory
    while len(content) < size and (chunk := file.read(min(size - len(content), 1 << 20))):
        content += chunk
    if len(content) < size:
        raise ValueError(f"{_announced(path, shape)}, but only {len(content)} follow it")
    if file.read(1):                    # at its end, a gzip stream compares its checksum
        raise ValueError(f"{_announced(path, shape)}, but more follow it")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_folder(folder):
    """{published name: array} of the IDX files in a folder. ValueError if they do not fit."""
    files = _files(folder)
    _check_shapes(files, {name: idx_shape(file) for name, file in files.items()})
    return {name: read_idx(file) for name, file in files.items()}


def _files(folder):
    """{published name: path} of the files in a folder, in the order of FILES.

    If several files have one name, a plain file precedes a .gz, and the published spelling
    precedes others. A file may also be in a folder of its name, where some archivers put it.
    """
    found = {}
    for path in listed(folder):
        for file in listed(path) if _published_name(path) and path.is_dir() else [path]:
            if (name := _published_name(file)) and file.is_file():
                found.setdefault(name, []).append(file)
    return {name: min(found[name], key=lambda file: (file.suffix.lower() == ".gz", file.stem != name, file))
            for name in FILES if name in found}


def _published_name(path):
    """The published name that a file has in this or another spelling, or None."""
    if spelled := SPELLING.fullmatch(path.name):
        split, kind, axes = (part.lower() for part in spelled.groups()[:3])
        name = f"{split.replace('test', 't10k')}-{kind}-idx{axes}-ubyte"
        return name if name in FILES else None
    return None


def _is_npz(place):
    return place.suffix.lower() == ".npz" and place.is_file()


def _read_npz(path):
    """{published name: array} of the arrays in a file such as Keras' mnist.npz.

    An .npz file is a zip file, and each array in it begins with a header. All headers are
    checked before an array is unpacked. Raises ValueError if the file is damaged, or if the
    arrays do not fit together.
    """
    with open(path, "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
            found = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            members = {KERAS[array]: found[array] for array in KERAS if array in found}
            if not set(IMAGES) <= set(members):
                raise ValueError(f"expected the arrays {', '.join(KERAS)}, "
                                 f"found {', '.join(list(found)[:5]) or 'none'}")
            if {m.compress_type for m in members.values()} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise ValueError("it is compressed in another way than NumPy does it")
            size = sum(member.file_size for member in members.values())
            if size > (max_bytes := capacity(os.fstat(file.fileno()).st_size)):
                raise ValueError(f"it announces {size} bytes, expected no more than {max_bytes}")
            _check_shapes({name: array for array, name in KERAS.items()},
                          {name: _npy_shape(archive, member) for name, member in members.items()})
            arrays = {}
            for name, member in members.items():
                with archive.open(member) as stream:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
        except Exception as e:  # noqa: BLE001, a damaged zip file can raise almost anything
            reason = escape(e if type(e) is ValueError else f"{type(e).__name__}: {e}", 300)
            raise ValueError(f"{path}: not a file like Keras' mnist.npz, or damaged ({reason})") from e
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _npy_shape(archive, member):
    """The shape of the array in this member of an .npz file. It must hold unsigned bytes."""
    with archive.open(member) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError(f"{member.filename} is not in version 1.0 of NumPy's format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        announced = f"{member.filename} announces {' x '.join(map(str, shape))} numbers of type {dtype}"
        if dtype != np.uint8:
            raise ValueError(f"{announced}, expected uint8 (unsigned bytes)")
        if min(shape, default=1) < 1 or math.prod(shape) != member.file_size - stream.tell():
            raise ValueError(f"{announced}, but it has {member.file_size - stream.tell()} bytes")
        return shape


def _count(place):
    """The number of MNIST's files in a folder, plus four if both files of images are there.

    An .npz file counts as a folder with all four files.
    """
    if _is_npz(place):
        return 2 * len(FILES)
    files = _files(place)
    return len(files) + (len(FILES) if set(IMAGES) <= set(files) else 0)


def find(data=None):
    """The directory with the files: `data`, or else NPGAN_DATA or the user's cache.

    `data` or NPGAN_DATA may also have the files in a folder with one of the names in PARTS. The
    labels may be missing. If `data` or NPGAN_DATA is an .npz file, or has a mnist.npz, returns
    the path of this file. Returns None if `data` is None and no directory has the images.
    Raises FileNotFoundError if `data` lacks a file of images.
    """
    folder = locate(data, PARTS, _count, "mnist")
    if folder and _is_npz(folder):
        return folder
    present = _files(folder) if folder else {}
    missing = [name for name in IMAGES if name not in present]
    if missing and data is not None:
        place = folder or Path(os.path.expanduser(data))
        elsewhere = [f"; {escape(other)} has both: pass that" for below in listed(place)
                     for other in (below, below / "raw") if set(IMAGES) <= set(_files(other))][:1]
        raise FileNotFoundError(f"{place}: expected a directory with mnist.npz, or with the files of MNIST, "
                                f"plain or with .gz; missing: {', '.join(missing)}; "
                                f"{contents(place)}{''.join(elsewhere)}")
    return None if missing else folder


def fetch():
    """Download MNIST into the user's cache, or a temporary folder, and return its path.

    Each file comes from the first mirror that sends the published bytes. Raises OSError if no
    mirror does.
    """
    directory = make_cache("mnist")
    for name, (sha256, _) in FILES.items():
        failures = []
        for mirror in MIRRORS:
            try:
                retrieve(mirror + f"{name}.gz", sha256, directory / f"{name}.gz")
                break
            except OSError as e:
                failures.append(str(e))
                cause = e
        else:
            raise OSError(f"MNIST was not found, and {name}.gz could not be downloaded "
                          f"({'; '.join(dict.fromkeys(failures))}): {ADVICE}") from cause
    return directory


def load(data=None, download=True):
    """Load the data as `Images`. The last sixth of the training images is for validation.

    MNIST's 60,000 images are split into 50,000 + 10,000, as usual, and the name is "mnist".
    Other data are shuffled before they are split, and named after their directory or .npz file.

    The files are those that `find(data)` finds. If it finds none, they are downloaded, or, if
    `download` is False, FileNotFoundError is raised. Missing labels become 0. Raises ValueError
    if the files do not fit together.
    """
    place = find(data)
    if place is None:
        if not download:
            raise FileNotFoundError(f"MNIST was not found: {ADVICE}")
        place = fetch()
    arrays = _read_npz(place) if _is_npz(place) else _read_folder(place)
    name = _name(place, arrays)
    train, train_labels = _with_labels(name, "train", arrays)
    test, test_labels = _with_labels(name, "t10k", arrays)
    if name != "mnist":
        order, name = shuffle(name, len(train))
        train, train_labels = train[order], train_labels[order]
    cut = len(train) * 5 // 6
    pixels, test_pixels = _to_pixels(train), _to_pixels(test)
    return Images(name, train.shape[1:], pixels[:cut], pixels[cut:], test_pixels,
                  train_labels[:cut], train_labels[cut:], test_labels)


def _check_shapes(files, shapes):
    """Raise ValueError if the files do not fit together, as far as their headers tell."""
    for name, shape in shapes.items():
        axes, kind = (3, "images") if "idx3" in name else (1, "labels")
        if len(shape) != axes:
            raise ValueError(f"{files[name]}: {len(shape)} axes found, expected {axes}: {kind}")
    for name in IMAGES:
        labels = name.replace("images-idx3", "labels-idx1")
        if labels in shapes and shapes[labels][0] != shapes[name][0]:
            raise ValueError(f"{files[name]} has {shapes[name][0]} images, "
                             f"but {files[labels]} has {shapes[labels][0]} labels")
    train, test = (shapes[name] for name in IMAGES)
    if train[1:] != test[1:]:
        sizes = ["x".join(map(str, shape[1:])) for shape in (train, test)]
        files = [files[name] for name in IMAGES]
        raise ValueError(f"{files[0]} has images of {sizes[0]}, but {files[1]} has images of {sizes[1]}")
    if train[0] < 2:
        raise ValueError(f"{files[IMAGES[0]]}: 1 image found, expected at least 2, "
                         "to train on and to validate")


def _with_labels(name, split, arrays):
    """The images and labels of one split, "train" or "t10k" (the test set)."""
    images, labels = arrays[f"{split}-images-idx3-ubyte"], arrays.get(f"{split}-labels-idx1-ubyte")
    if labels is None:
        part = "training" if split == "train" else "test"
        tell(f"{name}: the {part} images have no labels, so their labels are 0; no training uses labels")
        labels = np.zeros(len(images), np.uint8)
    return images, labels


def _to_pixels(images):
    """Bytes (n, height, width) as float32 (n, height * width) in [0, 1]."""
    pixels = images.reshape(len(images), -1).astype(np.float32)
    pixels /= 255
    return pixels


def _name(place, arrays):
    """The data set's name: "mnist" for MNIST, with or without labels, or that of its place."""
    if all(zlib.crc32(array) == FILES[name][1] for name, array in arrays.items()):
        return "mnist"
    place = place.resolve()
    kind, name = ("npz", place.stem) if place.is_file() else ("idx", place.name)
    name = place.parent.name if name.lower() == "raw" else name
    usual = "", "mnist", "mnist_data"                   # other data may be in a folder mnist/
    return kind if name.lower() in usual else escape(name, 60)
