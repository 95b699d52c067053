"""MNIST, and any data set of grey images in the same four IDX files: read, checked, split.

An IDX file is, in bytes, 0 0 8 r (unsigned bytes in an array of r axes), the r sizes as big-endian 32-bit integers, and the
array in C order; it may be packed with gzip. Format and data: Y. LeCun, C. Cortes, C. Burges, "The MNIST database".
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from npgan.data import Images, cache, retrieve

# In this order everywhere: the SHA-256 of the packed file as published, and the CRC-32 of the array in it.
FILES = {
    "train-images-idx3-ubyte": ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 0xf3639b56),
    "train-labels-idx1-ubyte": ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 0xba07e8ef),
    "t10k-images-idx3-ubyte": ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 0xe4ca5f57),
    "t10k-labels-idx1-ubyte": ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 0xee8604d9),
}
MIRRORS = "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
ADVICE = ("put its four files into a directory and pass it (--data DIR) or set NPGAN_DATA to it, "
          "or train on the rendered digits (--data glyphs), which need no file")


def read_idx(path):
    """The array in one IDX file of unsigned bytes, packed with gzip or not, whatever its name says.

    ValueError, naming the file, what was found and what was expected, for any other content; FileNotFoundError without the file.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            # Deflate packs at most 1032 bytes into one: no file can hold more than this, whatever sizes its header announces.
            most = os.fstat(file.fileno()).st_size * (1032 if packed else 1)
            return _parse(path, gzip.GzipFile(fileobj=file) if packed else file, most)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ValueError(f"{path}: the gzip data is truncated or damaged ({e})") from e


def _parse(path, file, most):
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"{path}: not an IDX file, which begins with the bytes 00 00 08: found {magic.hex(' ') or 'none'}")
    kind, axes = magic[2:]
    if kind != 8:
        raise ValueError(f"{path}: IDX type code 0x{kind:02x} found, expected 0x08 (unsigned bytes)")
    if not 1 <= axes <= 64:
        raise ValueError(f"{path}: the IDX header announces {axes} axes, expected 1 to 64")
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise ValueError(f"{path}: the file ends within the IDX header: {len(header)} bytes of sizes found, expected {4 * axes}")
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    size, found = math.prod(shape), bytearray()
    announced = f"the IDX header announces {' x '.join(map(str, shape))} bytes"
    if size == 0:
        raise ValueError(f"{path}: {announced}, expected sizes of at least 1")
    if size > most - 4 - 4 * axes:
        raise ValueError(f"{path}: {announced}, expected no more than the {most - 4 - 4 * axes} that a file of this size can hold")
    while len(found) < size and (chunk := file.read(min(size - len(found), 1 << 20))):     # so that only what is there is allocated
        found += chunk
    if len(found) < size:
        raise ValueError(f"{path}: {announced}, but only {len(found)} follow it")
    if file.read(1):         # at the end, gzip also compares its checksum
        raise ValueError(f"{path}: {announced}, but more follow it")
    return np.frombuffer(found, np.uint8).reshape(shape)


def find(data=None):
    """The directory with the four files: `data`, else NPGAN_DATA's, else the user's cache; of the first two, itself or its mnist/.

    None where there is none; FileNotFoundError where `data` is given and lacks a file. Only here is the environment read.
    """
    given = data if data is not None else os.environ.get("NPGAN_DATA")
    if data is not None and not (data and Path(os.path.expanduser(data)).is_dir()):
        raise FileNotFoundError(f"{data or repr('')}: there is no such directory")
    places = [Path(os.path.expanduser(given), part) for part in ("", "mnist")] if given else []
    if data is None:
        places.append(cache("mnist"))
    for place in places:
        if not _missing(place):
            return place
    if data is None:
        return None
    best = min(places, key=lambda place: len(_missing(place)))
    raise FileNotFoundError(f"{best}: this directory lacks {', '.join(_missing(best))} (plain or with .gz)")


def _file(directory, name):
    return next((file for file in (directory / name, directory / f"{name}.gz") if file.is_file()), None)


def _missing(directory):
    return [name for name in FILES if _file(directory, name) is None]


def fetch():
    """Fetches MNIST into the user's cache, from the first mirror that gives the published bytes, and returns that directory.

    OSError, saying what to do instead, where none does. Gives up soon: 3 seconds to connect to an address, no second try.
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
            raise OSError(f"MNIST was not found, and {name}.gz could not be downloaded ({'; '.join(failures)}): {ADVICE}") from cause
    return directory


def load(data=None, download=True):
    """The images as `Images`, with the official split: the last sixth of the training file validates (60,000 = 50,000 + 10,000).

    From the directory that `find(data)` gives; else downloaded, or FileNotFoundError without `download`. Named "mnist" only if
    the four files hold MNIST's own bytes, otherwise after their directory. ValueError, naming the files, where they disagree.
    """
    directory = find(data)
    if directory is None:
        if not download:
            raise FileNotFoundError(f"MNIST was not found: {ADVICE}")
        directory = fetch()
    files = [_file(directory, name) for name in FILES]
    train, train_labels, test, test_labels = arrays = [read_idx(file) for file in files]
    for file, array, axes in zip(files, arrays, (3, 1, 3, 1)):
        if array.ndim != axes:
            raise ValueError(f"{file}: {array.ndim} axes found, expected {axes}: {'images' if axes == 3 else 'labels'}")
    for i in 0, 2:
        if len(arrays[i]) != len(arrays[i + 1]):
            raise ValueError(f"{files[i]} has {len(arrays[i])} images, but {files[i + 1]} has {len(arrays[i + 1])} labels")
    if train.shape[1:] != test.shape[1:]:
        sizes = ["x".join(map(str, a.shape[1:])) for a in (train, test)]
        raise ValueError(f"{files[0]} has images of {sizes[0]}, but {files[2]} has images of {sizes[1]}")
    if len(train) < 2:
        raise ValueError(f"{files[0]}: 1 image found, expected at least 2, to train on and to validate")
    cut = len(train) * 5 // 6
    pixels, test_pixels = _unit(train), _unit(test)
    return Images(_name(directory, arrays), train.shape[1:], pixels[:cut], pixels[cut:], test_pixels,
                  train_labels[:cut], train_labels[cut:], test_labels)


def _unit(levels):
    pixels = levels.reshape(len(levels), -1).astype(np.float32)
    pixels /= 255
    return pixels


def _name(directory, arrays):
    if all(zlib.crc32(array) == crc for array, (_, crc) in zip(arrays, FILES.values())):
        return "mnist"
    name = directory.resolve().name
    return name if name and name.lower() != "mnist" else "idx"       # Fashion-MNIST in a folder called mnist is not MNIST
