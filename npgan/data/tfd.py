"""The Toronto Face Database, in the file that its holders have; and other faces in its form, for those who do not.

TFD_48x48.mat holds `images` (n, 48, 48), bytes; `folds` (n, 5), in each of five folds 0 unlabelled, 1 train, 2 valid, 3 test; and
the expression `labs_ex` (n,), 1 to 7. Data: J. Susskind, A. Anderson, G. Hinton, "The Toronto Face Database", UTML TR 2010-001.

What stands in for it, under a name of its own: the Olivetti faces (AT&T Laboratories Cambridge, 1992-1994; 40 people, 10 images
of each), from S. Roweis's olivettifaces.mat; or a directory of images. They are made grey, and cut to the central square and
brought to 48x48 by Pillow's LANCZOS filter. Their five folds are a function of a seed, and keep people apart.
"""

import math
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npgan.data import Images

SIZE, FOLDS = 48, 5
TFD, OLIVETTI = "TFD_48x48.mat", "olivettifaces.mat"
UNLABELLED, TRAIN, VALID, TEST = range(4)           # in `folds`
COUNTS = 98_058, 4_178                              # the database's unlabelled and labelled images
OLIVETTI_CRC = 0xb0857f2f                           # CRC-32 of the 400 images
KINDS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)} | {"single", "double"}    # MATLAB's names of numbers
NUMBERS = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}                  # and its codes of them in a file
SUFFIXES = {".png", ".jpg", ".jpeg", ".pgm"}
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}          # eight bits and fewer to a channel
MOST = 1 << 26                                      # pixels in one image
ADVICE = ("it is not public, and its holders have it from Josh Susskind, University of Toronto, on request; put TFD_48x48.mat into a "
          "directory and pass it (--data DIR) or set NPGAN_DATA to it, or train on other faces: pass olivettifaces.mat "
          "(cs.nyu.edu/~roweis/data.html) or a directory of PNG, JPEG or PGM images")


def find(data=None):
    """What load reads: the file `data`; else in the directory `data`, or NPGAN_DATA's, TFD_48x48.mat, olivettifaces.mat; else `data`.

    None where NPGAN_DATA is asked and has neither; FileNotFoundError where `data` is given and has neither, nor an image.
    """
    given = data if data is not None else os.environ.get("NPGAN_DATA")
    place = Path(os.path.expanduser(given)) if given else None
    if data is not None and not (place and place.exists()):
        raise FileNotFoundError(f"{data or repr('')}: there is no such file or directory")
    if data is not None and not place.is_dir():
        return place
    for part in (TFD, f"tfd/{TFD}", f"TFD/{TFD}", OLIVETTI, f"olivetti/{OLIVETTI}") if place else ():
        if (place / part).is_file():
            return place / part
    if data is None:
        return None
    if next(_pictures(place), None) is None:
        raise FileNotFoundError(f"{data}: neither {TFD} nor {OLIVETTI} nor a PNG, JPEG or PGM image is in this directory. "
                                f"The Toronto Face Database was not found: {ADVICE}")
    return place


class Faces(NamedTuple):
    """What `read` gives: bytes (n, 48, 48), and of each image its part in five folds (n, 5) and its label (n,)."""

    place: Path
    name: str
    images: np.ndarray
    folds: np.ndarray
    labels: np.ndarray


def load(data=None, fold=0, train="unlabelled", seed=0):
    """The faces as `Images` of shape (48, 48), pixels in [0, 1]; labels are the expression, 1 to 7, or 0 where none is given.

    `train` says which images train: "unlabelled", as in the authors' configurations; "train", the fold's own; or "full", these and
    those that validate. Stand-ins have no unlabelled images: there it means "train". `seed` makes the stand-ins' folds, each of
    which tests on another fifth of the people and validates on the next. Their labels: who it is (Olivetti, 0 to 39), else 0.

    Named "tfd" and "olivetti" only if the files are these, else after the file or directory. FileNotFoundError where nothing is
    found, with where to ask for the database; ImportError without SciPy, which reads .mat files; ValueError, naming the file, for
    any other content. `read` and `split` are its two halves, for whoever wants several folds.
    """
    _check(fold, train)
    return split(read(data, seed), fold, train)


def _check(fold, train):
    if fold not in range(FOLDS):
        raise ValueError(f"tfd: fold = {fold!r}, expected 0 to {FOLDS - 1}")
    if train not in ("unlabelled", "train", "full"):
        raise ValueError(f'tfd: train = {train!r}, expected "unlabelled", "train" or "full"')


def read(data=None, seed=0):
    """The file or directory that `find` gives, as Faces. Errors: as load."""
    place = find(data)
    if place is None:
        raise FileNotFoundError(f"The Toronto Face Database was not found: {ADVICE}")
    return Faces(place, *(_directory(place, seed) if place.is_dir() else _mat(place, seed)))


def split(faces, fold=0, train="unlabelled"):
    """One fold of them, as load gives it. ValueError where a part of it is empty, or there is no such fold or part."""
    _check(fold, train)
    place, name, images, folds, labels = faces
    part = folds[:, fold]
    rows = [part == code for code in range(4)]
    for code, what in (TRAIN, "training"), (VALID, "validation"), (TEST, "test"):
        if not rows[code].any():
            raise ValueError(f"{place}: fold {fold} has no {what} images")
    if train == "full":
        rows[TRAIN] |= rows[VALID]
    elif train == "unlabelled" and rows[UNLABELLED].any():
        rows[TRAIN] = rows[UNLABELLED]
    splits = [np.divide(images[r].reshape(-1, SIZE * SIZE), 255, dtype=np.float32) for r in rows[1:]]
    return Images(name, (SIZE, SIZE), *splits, *(labels[r] for r in rows[1:]))


# --- .mat files -------------------------------------------------------------------------------------------------------------

def _mat(path, seed):
    """(name, images, folds, labels) of TFD_48x48.mat or olivettifaces.mat, by what is in the file."""
    with open(path, "rb") as file:
        head = file.read(520)
        most = os.fstat(file.fileno()).st_size * 1032           # bytes that a file of this size can hold, packed by deflate
    if b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:]) or head.startswith(b"MATLAB 7.3"):
        raise ValueError(f"{path}: MATLAB's format 7.3, which is HDF5, is not read; load it in MATLAB and save it with the option -v7")
    try:
        import scipy.io
    except ImportError as e:
        raise ImportError(f'{path}: SciPy, which reads .mat files, cannot be imported: install the extra "npgan[faces]" ({e})') from e
    shapes = _scipy(path, lambda: {name: shape for name, shape, kind in scipy.io.whosmat(path) if kind in KINDS})
    wanted = ["faces"] if "faces" in shapes else ["images", "folds", "labs_ex"]
    if not set(wanted) <= set(shapes):
        raise ValueError(f"{path}: neither {TFD}, whose variables are images, folds and labs_ex, nor {OLIVETTI}, whose is faces: "
                         f"found {', '.join(map(ascii, shapes))[:100] or 'no array'}")
    n = next(iter(shapes[wanted[0]]), 0)
    expected = {"faces": [(64 * 64, 400)], "images": [(n, SIZE, SIZE)], "folds": [(n, FOLDS)], "labs_ex": [(n, 1), (1, n), (n,)]}
    for name in wanted:
        if shapes[name] not in expected[name] or math.prod(shapes[name]) > most:
            raise ValueError(f"{path}: {name} has the shape {shapes[name]}, expected {expected[name][0]}, within the size of the file")
    for name in _scipy(path, lambda: list(_traps(path, wanted))):
        raise ValueError(f"{path}: {name} does not hold what it should, whole numbers")
    arrays = _scipy(path, lambda: scipy.io.loadmat(path, variable_names=wanted))
    faces, *rest = (_whole(path, name, arrays.get(name), shapes[name], *limits) for name, limits in
                    zip(wanted, [(0, 255), (UNLABELLED, TEST), (-1, 7)]))
    if not rest:
        people = np.arange(400) // 10
        faces = faces.T.reshape(400, 64, 64).transpose(0, 2, 1)                 # each column an image, itself column by column
        known = zlib.crc32(np.ascontiguousarray(faces)) == OLIVETTI_CRC
        return "olivetti" if known else path.stem, _small(faces), _folds(people, seed), people.astype(np.uint8)
    folds, labels = rest
    unlabelled = np.count_nonzero(folds[:, 0] == UNLABELLED)
    name = "tfd" if (unlabelled, n - unlabelled) == COUNTS else path.stem
    return name, faces, folds, np.maximum(labels.reshape(n), 0).astype(np.uint8)


def _traps(path, wanted):
    """The wanted arrays that say their numbers are complex, or of no known type: there SciPy's reader can end the process."""
    with open(path, "rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])          # of MATLAB 5; 4 has none, and no such trap
        while order and len(tag := file.read(8)) == 8:
            packed, size = struct.unpack(order + "2I", tag)
            start = file.tell()
            element = file.read(min(size, 4096))
            if packed == 15:
                element = zlib.decompressobj().decompress(element, 4096)[8:]
            file.seek(start + size)
            parts, at = [], 0
            while len(parts) < 3 and len(element) >= at + 8:                # flags, dimensions, name: each a type, a size, and its bytes
                kind, n = struct.unpack_from(order + "2I", element, at)
                at += 4 if kind >> 16 else 8                                # up to four bytes lie within the eight
                n = kind >> 16 or n
                parts.append(element[at:at + n])
                at += 4 if kind >> 16 else -(-n // 8) * 8
            if len(parts) == 3 and parts[2].decode("latin-1") in wanted and (
                    struct.unpack_from(order + "I", parts[0])[0] & 0x800
                    or struct.unpack_from(order + "I", element, at)[0] & 0xFFFF not in NUMBERS):
                yield parts[2].decode("latin-1")


def _scipy(path, read):
    try:
        return read()
    except OSError as e:
        if e.errno:             # the disk's; others are SciPy's words for a file that ends too soon
            raise
        cause = e
    except Exception as e:      # noqa: BLE001, a damaged file can end in almost anything
        cause = e
    raise ValueError(f"{path}: not a .mat file, or damaged ({type(cause).__name__})") from cause


def _whole(path, name, array, shape, low, high):
    """The variable as bytes, signed if it may be negative, if it holds what it should: whole numbers from low to high."""
    sound = isinstance(array, np.ndarray) and array.shape == shape and array.size and array.dtype.kind in "uif" \
        and array.min() >= low and array.max() <= high and (array.dtype.kind != "f" or np.all(array == np.trunc(array)))
    if not sound:
        raise ValueError(f"{path}: {name} does not hold what it should, whole numbers from {low} to {high}")
    return array.astype(np.int8 if low < 0 else np.uint8, copy=False)


# --- Stand-ins --------------------------------------------------------------------------------------------------------------

def _folds(people, seed):
    """Folds (n, 5) by TFD's code for images of `people` (n,): each tests on another fifth of the people, and validates on the next."""
    people, person = np.unique(people, return_inverse=True)
    fifth = np.random.default_rng((seed, 3)).permutation(len(people))[person] % FOLDS
    return np.stack([np.select([fifth == f, fifth == (f + 1) % FOLDS], [TEST, VALID], TRAIN) for f in range(FOLDS)], axis=1)


def _small(images):
    from PIL import Image

    return np.stack([_square(Image.fromarray(np.ascontiguousarray(image))) for image in images])


def _square(picture):
    """A Pillow image as bytes (48, 48): upright, grey, its central square."""
    from PIL import Image, ImageOps

    grey = ImageOps.exif_transpose(picture).convert("L")
    return np.asarray(ImageOps.fit(grey, (SIZE, SIZE), Image.Resampling.LANCZOS))


def _pictures(directory):
    """The files below a directory that are images by their names."""
    for folder, _, files in os.walk(directory):
        for file in files:
            if os.path.splitext(file)[1].lower() in SUFFIXES and os.path.isfile(os.path.join(folder, file)):
                yield Path(folder, file)


def _directory(directory, seed):
    """(name, images, folds, labels) of the images below a directory. Each folder is one person, where five or more have images."""
    paths = sorted(_pictures(directory))
    if len(paths) < FOLDS:
        raise ValueError(f"{directory}: {len(paths)} images found, expected at least {FOLDS}, one for each fold")
    people = [str(path.parent) for path in paths]
    if len(set(people)) < FOLDS:
        people = range(len(paths))
    images = np.stack([_picture(path) for path in paths])
    return directory.resolve().name or "faces", images, _folds(people, seed), np.zeros(len(paths), np.uint8)


def _picture(path):
    """One image file as bytes (48, 48). ValueError, naming the file, for one that is no image, is damaged or is absurdly large."""
    from PIL import Image

    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=("PNG", "JPEG", "PPM")) as picture:       # reads the header; the pixels are read below
                if picture.width * picture.height > MOST:
                    raise ValueError(f"{picture.width} x {picture.height} pixels, and no more than {MOST:,} are read")
                if picture.mode not in MODES:
                    raise ValueError(f"pixels of more than 8 bits, Pillow's mode {picture.mode}; save it with 8")
                return _square(picture)
        except Exception as e:  # noqa: BLE001, a damaged image can end in almost anything
            raise ValueError(f"{path}: not a PNG, JPEG or PGM image that can be read ({_line(e)}); take it away or repair it") from e


def _line(e):
    return " ".join(str(e).split())[:200] or type(e).__name__
