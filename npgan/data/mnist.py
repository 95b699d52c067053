"""MNIST, or other grey images in the same four IDX files: find, download, check and split them.

An IDX file holds one array of unsigned bytes. Its first four bytes are 0 0 8 r, where r is the
number of axes. The r sizes follow as big-endian 32-bit integers, then the array in C order. The
file may be compressed with gzip.
Format and data: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".

npgan/data/__init__.py has `Images`, which `load` returns. This module reads no other IDX type,
and it does not fall back to other data if MNIST is missing: digits.py does.
"""

import gzip
import math
import os
import zlib

import numpy as np

from npgan.data import Images, cache, locate, retrieve

# The SHA-256 of each file as published, with gzip; the CRC-32 of its array. The order matters.
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
MIRRORS = "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
ADVICE = ("put its four files into a directory and pass it (--data DIR) or set NPGAN_DATA to it, "
          "or train on the rendered digits (--data glyphs), which need no file")


def read_idx(path):
    """The uint8 array in one IDX file, plain or compressed with gzip, whatever its suffix.

    Raises ValueError for any other content, FileNotFoundError if there is no such file.
    """
    try:
        with open(path, "rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            # Deflate makes data at most 1032 times smaller, so the file holds no more than
            # this.
            max_bytes = os.fstat(file.fileno()).st_size * (1032 if compressed else 1)
            return _parse_idx(path, gzip.GzipFile(fileobj=file) if compressed else file, max_bytes)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ValueError(f"{path}: the gzip data is truncated or damaged ({e})") from e


def _parse_idx(path, file, max_bytes):
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
    announced = f"{path}: the IDX header announces {' x '.join(map(str, shape))} bytes"
    if size == 0:
        raise ValueError(f"{announced}, expected sizes of at least 1")
    if size > max_size:
        raise ValueError(f"{announced}, expected no more than the {max_size} that this file can hold")
    content = bytearray()               # grows with the content, so a false size allocates nothing
    while len(content) < size and (chunk := file.read(min(size - len(content), 1 << 20))):
        content += chunk
    if len(content) < size:
        raise ValueError(f"{announced}, but only {len(content)} follow it")
    if file.read(1):                    # at its end, a gzip stream also compares the checksum
        raise ValueError(f"{announced}, but more follow it")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _files(folder):
    """{name: path} of the files in the folder. A plain file is preferred to a .gz."""
    suffixes = ".gz", ""            # the last one wins
    paths = ((name, folder / (name + suffix)) for name in FILES for suffix in suffixes)
    return {name: path for name, path in paths if path.is_file()}


def find(data=None):
    """The directory with the four files: `data`, else NPGAN_DATA, else the user's cache.

    The files may be in the folder mnist/ of `data` or NPGAN_DATA. Returns None if `data` is
    None and there is no such directory. Raises FileNotFoundError if `data` lacks a file.
    """
    folder = locate(data, (".", "mnist"), lambda folder: len(_files(folder)), "mnist")
    present = _files(folder) if folder else {}
    missing = [name for name in FILES if name not in present]
    if missing and data is not None:
        raise FileNotFoundError(f"{folder or data}: expected a directory with the four files of MNIST, "
                                f"plain or with .gz; missing: {', '.join(missing)}")
    return None if missing else folder


def fetch():
    """Download MNIST into the user's cache and return that directory.

    Each file comes from the first mirror that has the published bytes; OSError if none has.
    """
    directory = cache("mnist")
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
                          f"({'; '.join(failures)}): {ADVICE}") from cause
    return directory


def load(data=None, download=True):
    """The images as `Images`. The last sixth of the training file is for validation.

    For MNIST this is the usual split, 50,000 + 10,000 of 60,000, and the name is "mnist". Data
    with other bytes are named after their directory. The files are where `find(data)` finds
    them; otherwise they are downloaded, or FileNotFoundError is raised if `download` is False.
    Raises ValueError if the files do not fit together.
    """
    directory = find(data)
    if directory is None:
        if not download:
            raise FileNotFoundError(f"MNIST was not found: {ADVICE}")
        directory = fetch()
    files = list(_files(directory).values())
    train, train_labels, test, test_labels = arrays = [read_idx(file) for file in files]
    for file, array, axes in zip(files, arrays, (3, 1, 3, 1)):
        if array.ndim != axes:
            kind = "images" if axes == 3 else "labels"
            raise ValueError(f"{file}: {array.ndim} axes found, expected {axes}: {kind}")
    for i in 0, 2:
        if len(arrays[i]) != len(arrays[i + 1]):
            raise ValueError(f"{files[i]} has {len(arrays[i])} images, "
                             f"but {files[i + 1]} has {len(arrays[i + 1])} labels")
    if train.shape[1:] != test.shape[1:]:
        sizes = ["x".join(map(str, array.shape[1:])) for array in (train, test)]
        raise ValueError(f"{files[0]} has images of {sizes[0]}, but {files[2]} has images of {sizes[1]}")
    if len(train) < 2:
        raise ValueError(f"{files[0]}: 1 image found, expected at least 2, to train on and to validate")
    cut = len(train) * 5 // 6
    pixels, test_pixels = _to_pixels(train), _to_pixels(test)
    return Images(_name(directory, arrays), train.shape[1:], pixels[:cut], pixels[cut:], test_pixels,
                  train_labels[:cut], train_labels[cut:], test_labels)


def _to_pixels(images):
    """Bytes (n, height, width) as float32 (n, height * width) in [0, 1]."""
    pixels = images.reshape(len(images), -1).astype(np.float32)
    pixels /= 255
    return pixels


def _name(directory, arrays):
    if all(zlib.crc32(array) == crc for array, (_, crc) in zip(arrays, FILES.values())):
        return "mnist"
    name = directory.resolve().name
    return name if name and name.lower() != "mnist" else "idx"      # a folder mnist/ may hold other data
