"""Faces: the Toronto Face Database (TFD), or other faces in its place.

TFD_48x48.mat holds three arrays: the bytes `images` (n, 48, 48), `folds` (n, 5), and the facial
expressions `labs_ex` (n,), 1 to 7. A column of `folds` divides the images into four parts:
0 unlabelled, 1 train, 2 valid, 3 test.
Data: J. Susskind, A. Anderson, G. Hinton, "The Toronto Face Database", UTML TR 2010-001.

TFD is not public, so two kinds of other faces can stand in for it. One is the Olivetti faces
(AT&T Laboratories Cambridge, 1992-1994; 40 people, 10 images of each), in S. Roweis's file
olivettifaces.mat. The other is any directory of images. Stand-ins are made grey, cut to the
central square, and resized to 48 x 48 with Pillow's LANCZOS filter; transparent parts become
white. A seeded random generator draws the five folds of a stand-in. In each fold, all images of
a person are in the same part.

npgan/data/__init__.py has `Images`, which `load` returns. This module downloads nothing.
"""

import collections
import hashlib
import math
import os
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npgan.data import Images, capacity, contents, escape, hidden, locate, tell

SIZE, FOLDS = 48, 5
TFD, OLIVETTI = "TFD_48x48.mat", "olivettifaces.mat"
UNLABELLED, TRAIN, VALID, TEST = range(4)           # the codes in `folds`
COUNTS = 98_058, 4_178                              # the numbers of TFD's unlabelled and labelled images
OLIVETTI_CRC = 0xb0857f2f                           # CRC-32 of the 400 images
NUMERIC_CLASSES = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
NUMERIC_CLASSES |= {"single", "double"}             # MATLAB's names
NUMERIC_TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}    # the codes of numeric data in a .mat file
PARTS = TFD, f"tfd/{TFD}", f"TFD/{TFD}", OLIVETTI, f"olivetti/{OLIVETTI}"
SUFFIXES = {".png", ".jpg", ".jpeg", ".pgm"}
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}     # Pillow's, at most 8 bits a channel
MAX_PIXELS, MAX_SIDE = 1 << 26, 1 << 15             # in one image file
MAX_SCANS = 50                                      # in one JPEG file; a progressive JPEG has about 10
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # begins a segment of a JPEG; other codes have none
# The header of a PGM or PPM file. Its numbers are the width, the height and the largest level.
GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
PGM_HEADER = re.compile(rb"P[14](?:%b\d+){2}\s|P[2356](?:%b\d+){2}%b(\d+)\s" % (GAP, GAP, GAP))
MAX_TEXT, MAX_COMMENTS = 1 << 22, 100               # the bytes and comments of a PGM file in text form
MAX_SCALED = 1 << 20                                # the bytes of a binary one with levels not up to 255
MAX_VARIABLES = 1000                                # in one .mat file
SAVE = "load it in MATLAB and save it with the option -v7"
NUMBER_BYTES_4, SPARSE_4 = (8, 4, 4, 2, 2, 1), 2    # in format 4: bytes of a number by type; a kind of array
BYTE_ORDERS = {b"IM": "<", b"MI": ">"}              # in a .mat file
HEADER_BYTES = 4096                                 # of an array in a .mat file, or of a PGM file
ADVICE = ("it is not public, and its holders have it from Josh Susskind, University of Toronto, on request; "
          "put TFD_48x48.mat into a directory and pass it (--data DIR) or set NPGAN_DATA to it, "
          "or train on other faces: pass olivettifaces.mat (cs.nyu.edu/~roweis/data.html) "
          "or a directory of PNG, JPEG or PGM images")


class Faces(NamedTuple):
    """All images of a file or directory: bytes (n, 48, 48), folds (n, 5) and labels (n,)."""

    place: Path
    name: str
    images: np.ndarray
    folds: np.ndarray
    labels: np.ndarray


def find(data=None):
    """The .mat file that is `data` or is in `data`; if `data` is None, the one in NPGAN_DATA.

    If the directory `data` has images but no .mat file, returns `data`. Returns None if `data`
    is None and NPGAN_DATA has no .mat file. Raises FileNotFoundError if `data` has neither a
    .mat file nor an image.
    """
    if data is None:
        return locate(None, PARTS, Path.is_file)
    place = locate(data, (".", *PARTS), Path.is_file)
    place = place or locate(data, ["."], lambda folder: any(_picture_paths(folder)))
    if place is None:
        there = contents(os.path.expanduser(data))
        raise FileNotFoundError(f"{data}: neither {TFD} nor {OLIVETTI} nor a PNG, JPEG or PGM image is "
                                f"in this directory; {there}. "
                                f"The Toronto Face Database was not found: {ADVICE}")
    return place


def load(data=None, fold=0, train="unlabelled", seed=0):
    """Load one fold of the faces that `find(data)` finds, as `Images` of shape (48, 48).

    `train` chooses the training images: "unlabelled", the authors' choice; "train", the fold's
    training part; or "full", the fold's training and validation parts. Stand-ins have no
    unlabelled images, so for them "unlabelled" means "train". Their folds depend on `seed`.

    TFD's labels are the expressions 1 to 7, and 0 for unlabelled images. The labels of the
    Olivetti faces are the persons 0 to 39. Other images have the label 0. The name is "tfd",
    "olivetti", or the name of the file or directory. To load several folds, call `read` once
    and `split` for each fold. Raises FileNotFoundError if nothing is found, ImportError if a
    .mat file cannot be read because SciPy is missing, and ValueError for any other content.
    """
    _check_options(fold, train)
    return split(read(data, seed), fold, train)


def _check_options(fold, train):
    if fold not in range(FOLDS):
        raise ValueError(f"tfd: fold = {fold!r}, expected 0 to {FOLDS - 1}")
    if train not in ("unlabelled", "train", "full"):
        raise ValueError(f'tfd: train = {train!r}, expected "unlabelled", "train" or "full"')


def read(data=None, seed=0):
    """All images that `find(data)` finds, as `Faces`. Raises the errors that `load` raises."""
    place = find(data)
    if place is None:
        raise FileNotFoundError(f"The Toronto Face Database was not found: {ADVICE}")
    if place.is_file() and place.suffix.lower() in SUFFIXES:
        raise ValueError(f"{place}: this is one image; pass a directory of at least {FOLDS} images")
    return Faces(place, *(_read_directory(place, seed) if place.is_dir() else _read_mat(place, seed)))


def split(faces, fold=0, train="unlabelled"):
    """One fold of `Faces` as `Images`; see `load`. ValueError if a part has no images."""
    _check_options(fold, train)
    codes = faces.folds[:, fold]
    rows = [codes == code for code in range(4)]
    for code, part in (TRAIN, "training"), (VALID, "validation"), (TEST, "test"):
        if not rows[code].any():
            raise ValueError(f"{faces.place}: fold {fold} has no {part} images")
    if train == "full":
        rows[TRAIN] |= rows[VALID]
    elif train == "unlabelled" and rows[UNLABELLED].any():
        rows[TRAIN] = rows[UNLABELLED]
    splits = [np.divide(faces.images[r].reshape(-1, SIZE * SIZE), 255, dtype=np.float32) for r in rows[1:]]
    return Images(faces.name, (SIZE, SIZE), *splits, *(faces.labels[r] for r in rows[1:]))


# --- .mat files -------------------------------------------------------------------------------


def _read_mat(path, seed):
    """(name, images, folds, labels) from the file of TFD or of the Olivetti faces."""
    with open(path, "rb") as file:
        head = file.read(520)
        max_bytes = capacity(os.fstat(file.fileno()).st_size)
    if b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:]) or head.startswith(b"MATLAB 7.3"):
        raise ValueError(f"{path}: MATLAB's format 7.3, which is HDF5, is not read; {SAVE}")
    format_4 = 0 in head[:4]                    # the other formats begin with a text
    if not format_4 and head[126:128] not in BYTE_ORDERS:
        raise ValueError(f"{path}: not a .mat file of MATLAB's format 4, 5 or 7; "
                         f"if it has another format, {SAVE}")
    try:
        import scipy.io
    except ImportError as e:
        raise ImportError(f"{path}: SciPy, which reads .mat files, cannot be imported: "
                          f'install the extra "npgan[faces]" ({e})') from e
    unsafe = _call_scipy(path, _check_format_4 if format_4 else _unsafe_arrays, path)
    variables = _call_scipy(path, scipy.io.whosmat, path)
    shapes = {name: shape for name, shape, kind in variables if kind in NUMERIC_CLASSES}
    wanted = ["faces"] if "faces" in shapes else ["images", "folds", "labs_ex"]
    if not set(wanted) <= set(shapes):
        found = ", ".join(f"'{escape(name, 40)}'" for name in list(shapes)[:5])
        raise ValueError(f"{path}: neither {TFD}, whose variables are images, folds and labs_ex, "
                         f"nor {OLIVETTI}, whose variable is faces: "
                         f"found {found or 'no array'}")
    n = next(iter(shapes[wanted[0]]), 0)
    expected = {"faces": [(64 * 64, 400)], "images": [(n, SIZE, SIZE)], "folds": [(n, FOLDS)],
                "labs_ex": [(n, 1), (1, n), (n,)]}
    for name in wanted:
        if shapes[name] not in expected[name] or 8 * math.prod(shapes[name]) > max_bytes:
            raise ValueError(f"{path}: {name} has the shape {shapes[name]}, expected {expected[name][0]}, "
                             "within the size of the file")
    for name in wanted:
        if name in unsafe:
            raise ValueError(f"{path}: {name} does not hold what it should, whole numbers")
    arrays = _call_scipy(path, scipy.io.loadmat, path, variable_names=wanted)
    limits = [(0, 255), (UNLABELLED, TEST), (-1, 7)]
    faces, *rest = (_to_bytes(path, name, arrays.get(name), shapes[name], *limit)
                    for name, limit in zip(wanted, limits))
    if not rest:
        people = np.arange(400) // 10
        faces = faces.T.reshape(400, 64, 64).transpose(0, 2, 1)     # a column is one image, column by column
        known = zlib.crc32(np.ascontiguousarray(faces)) == OLIVETTI_CRC
        name = "olivetti" if known else escape(path.stem, 60)
        return _stand_in(name, _resize(faces), people, seed, people.astype(np.uint8))
    folds, labels = rest
    unlabelled = np.count_nonzero(folds[:, 0] == UNLABELLED)
    name = "tfd" if (unlabelled, n - unlabelled) == COUNTS else escape(path.stem, 60)
    return name, faces, folds, np.maximum(labels.reshape(n), 0).astype(np.uint8)


def _check_format_4(path):
    """Raise ValueError unless all arrays in a file of MATLAB's format 4 end within the file.

    From a wrong size, SciPy would go back to an earlier array, and read without end. Returns an
    empty set, the arrays that are not safe to read.

    An array begins with five integers. The first is 1000 if the file is big-endian, plus 10
    times the type of the numbers, plus the kind of the array. The others are its two sizes,
    whether it is complex, and the length of its name.
    """
    with open(path, "rb") as file:
        order = "<" if 0 <= struct.unpack("<i", file.read(4))[0] <= 5000 else ">"
        start, end = 0, os.fstat(file.fileno()).st_size
        for _ in range(MAX_VARIABLES):
            file.seek(start)
            code, rows, columns, is_complex, name_length = struct.unpack(f"{order}5i", file.read(20))
            if not 0 <= code < 2000 or min(rows, columns) < 0 or not 0 < name_length <= HEADER_BYTES:
                raise ValueError("the header of an array is damaged")
            parts = 2 if is_complex == 1 and code % 10 != SPARSE_4 else 1
            start += 20 + name_length + NUMBER_BYTES_4[code // 10 % 10] * rows * columns * parts
            if start > end:
                raise ValueError("the file is cut short")
            if start == end:
                return set()
        raise ValueError(f"more than {MAX_VARIABLES} variables")


def _unsafe_arrays(path):
    """The names of arrays that are complex, of an unknown type, or longer than their shape.

    Such an array can make SciPy's reader crash or fill the memory. In MATLAB's format 5, an
    element is a type, a size and a content. The content of an array begins with three elements:
    flags, sizes and name. Raises ValueError if these three are too long.
    """
    unsafe, elements = set(), 0
    with open(path, "rb") as file:
        order = BYTE_ORDERS[file.read(128)[126:]]
        while len(tag := file.read(8)) == 8:
            element_type, size = struct.unpack(order + "2I", tag)
            start = file.tell()
            content = file.read(min(size, HEADER_BYTES))
            if element_type == 15:                                      # a compressed element
                content = zlib.decompressobj().decompress(content, HEADER_BYTES)[8:]
            file.seek(start + size)
            if (elements := elements + 1) > MAX_VARIABLES:
                raise ValueError(f"more than {MAX_VARIABLES} variables")
            parts, offset = [], 0
            while len(parts) < 3 and len(content) >= offset + 8:
                begin, length, _ = _element(order, content, offset)
                if begin + length > HEADER_BYTES:
                    raise ValueError("the header of an array is too long")
                parts.append(content[begin:begin + length])
                offset += 8 if begin == offset + 4 else 8 + -(-length // 8) * 8
            if len(parts) == 3:
                flags, = struct.unpack_from(order + "I", parts[0])
                sizes = struct.unpack(f"{order}{len(parts[1]) // 4}i", parts[1][:len(parts[1]) // 4 * 4])
                _, length, kind = _element(order, content, offset)
                if flags & 0x800 or kind not in NUMERIC_TYPES or length > 8 * math.prod(sizes):
                    unsafe.add(parts[2].decode("latin-1"))
    return unsafe


def _element(order, content, offset):
    """The element at this offset, as (offset of its content, length of its content, type)."""
    kind, length = struct.unpack_from(order + "2I", content, offset)
    if kind >> 16:                                                      # up to 4 bytes, in the tag itself
        return offset + 4, kind >> 16, kind & 0xFFFF
    return offset + 8, length, kind


def _call_scipy(path, function, *args, **options):
    """Call function(*args, **options), and raise ValueError if the file is damaged."""
    try:
        return function(*args, **options)
    except OSError as e:
        if e.errno:             # an error of the disk; SciPy's OSError for a file cut short has no errno
            raise OSError(e.errno, e.strerror, str(path)) from e
        cause = e
    except Exception as e:      # noqa: BLE001, a damaged file can raise almost anything
        cause = e
    raise ValueError(f"{path}: not a .mat file, or damaged ({type(cause).__name__})") from cause


def _to_bytes(path, name, array, shape, low, high):
    """The variable as uint8, or int8 if low < 0. It must hold integers from low to high."""
    sound = (isinstance(array, np.ndarray) and array.shape == shape and array.size
             and array.dtype.kind in "uif" and array.min() >= low and array.max() <= high
             and (array.dtype.kind != "f" or np.all(array == np.trunc(array))))
    if not sound:
        raise ValueError(f"{path}: {name} does not hold what it should, whole numbers from {low} to {high}")
    return array.astype(np.int8 if low < 0 else np.uint8, copy=False)


# --- Stand-ins --------------------------------------------------------------------------------


def _stand_in(name, images, people, seed, labels):
    """(name, images, folds, labels) of a stand-in. Warns of images in two parts of a fold.

    All images of a person are in one part, but the folders of two people may hold copies of one
    image. In that case, prints how many images have such a copy.
    """
    folds, parts = _make_folds(people, seed), collections.defaultdict(set)
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    for digest, fold in zip(digests, folds):
        parts[digest].add(fold.tobytes())
    if copies := sum(len(parts[digest]) > 1 for digest in digests):
        tell(f"{name}: {copies} of {len(images)} images have an identical copy in another part of some "
             "fold, so a test image can be a training image too; remove the copies")
    return name, images, folds, labels


def _make_folds(people, seed):
    """Folds (n, 5) with TFD's codes, for images of the persons `people` (n,).

    The people are divided at random into fifths. In fold f, fifth f is for testing and the next
    fifth for validation.
    """
    people, person = np.unique(people, return_inverse=True)
    fifth = np.random.default_rng((seed, 3)).permutation(len(people))[person] % FOLDS
    columns = [np.select([fifth == f, fifth == (f + 1) % FOLDS], [TEST, VALID], TRAIN) for f in range(FOLDS)]
    return np.stack(columns, axis=1)


def _resize(images):
    """Bytes (n, height, width) as bytes (n, 48, 48)."""
    from PIL import Image

    return np.stack([_grey_square(Image.fromarray(np.ascontiguousarray(image))) for image in images])


def _grey_square(picture):
    """A Pillow image as bytes (48, 48): upright, grey, the central square only."""
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(picture, in_place=True)
    grey = _grey_on_white(picture)
    return np.asarray(ImageOps.fit(grey, (SIZE, SIZE), Image.Resampling.LANCZOS))


def _grey_on_white(picture):
    """A Pillow image in grey. Transparent parts may have any colour; they become white."""
    from PIL import Image

    grey = picture.convert("L")
    if picture.mode[-1] != "A" and "transparency" not in picture.info:
        return grey
    picture = picture.convert("RGBA")
    alpha = picture.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return grey
    tell("Transparent parts of pictures are made white")
    return Image.composite(picture.convert("L"), Image.new("L", picture.size, 255), alpha)


def _picture_paths(directory):
    """Yield the files in a directory, at any depth, that have the suffix of an image."""
    return (path for path in _visible_files(directory) if path.suffix.lower() in SUFFIXES and path.is_file())


def _visible_files(directory):
    """Yield the visible files in a directory, at any depth, and links to folders."""
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if not hidden(name)]
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        yield from (Path(folder, name) for name in links + files if not hidden(name))


def _kind(path):
    """For messages: the kind of a file that is not read."""
    return "linked folders" if path.is_dir() else path.suffix.lower() or "without suffix"


def _read_directory(directory, seed):
    """(name, images, folds, labels) of the images in a directory, at any depth.

    Each folder counts as one person. If fewer than five folders have images, each image counts
    as one person.
    """
    name, paths = escape(directory.resolve().name, 60) or "faces", sorted(_picture_paths(directory))
    others = collections.Counter(_kind(path) for path in set(_visible_files(directory)).difference(paths))
    left_out = ", ".join(f"{n} {escape(kind, 20)}" for kind, n in others.most_common(8))
    if len(paths) < FOLDS:
        rest = f", not {left_out}" if left_out else ""
        raise ValueError(f"{directory}: {len(paths)} images found, expected at least {FOLDS}, "
                         f"one for each fold; only PNG, JPEG and PGM images are read{rest}")
    if left_out:
        tell(f"{name}: only PNG, JPEG and PGM images are read, "
             f"so {others.total()} files are left out: {left_out}")
    people = [str(path.parent) for path in paths]
    if len(set(people)) < FOLDS:
        people = range(len(paths))
    images = np.stack([_read_picture(path) for path in paths])
    return _stand_in(name, images, people, seed, np.zeros(len(paths), np.uint8))


def _read_picture(path):
    """One image file as bytes (48, 48). ValueError if it is no image, damaged or too large."""
    from PIL import Image

    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            if slow := _slow_to_read(file):
                raise ValueError(slow)
            with Image.open(file, formats=("PNG", "JPEG", "PPM")) as picture:   # reads the header only
                if picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_SIDE:
                    raise ValueError(f"{picture.width} x {picture.height} pixels, expected at most "
                                     f"{MAX_PIXELS:,}, and at most {MAX_SIDE:,} on a side")
                if picture.mode not in MODES:
                    raise ValueError("pixels of more than 8 bits, "
                                     f"Pillow's mode {picture.mode}; save it with 8 bits")
                return _grey_square(picture)
        except Exception as e:  # noqa: BLE001, a damaged image can raise almost anything
            reason = escape(" ".join(str(e).split()), 200) or type(e).__name__
            raise ValueError(f"{escape(path)}: not a PNG, JPEG or PGM image that can be read ({reason}); "
                             "remove or repair it") from e


def _slow_to_read(file):
    """The reason why Pillow would need very long to read this file, or None if it would not.

    Pillow reads these parts of a PGM file in Python: the header, levels in text form, and
    levels that are not up to 255.
    """
    head = file.read(HEADER_BYTES)
    if head.startswith(b"P"):
        if not (header := PGM_HEADER.match(head)):
            return f"a PGM header that is damaged, or longer than {HEADER_BYTES:,} bytes"
        size, text = os.fstat(file.fileno()).st_size, head[:2] in (b"P1", b"P2", b"P3")
        if text and size > MAX_TEXT:
            return f"more than {MAX_TEXT:,} bytes of text; save it as binary PGM"
        if text and (head + file.read()).count(b"#") > MAX_COMMENTS:
            return f"more than {MAX_COMMENTS} comments"
        if not text and int(header[1] or 255) != 255 and size > MAX_SCALED:
            return f"more than {MAX_SCALED:,} bytes of levels up to {int(header[1])}; save them up to 255"
    elif head.startswith(b"\xff\xd8") and _scans(head + file.read()) > MAX_SCANS:       # a JPEG
        return f"more than {MAX_SCANS} scans"
    file.seek(0)
    return None


def _scans(jpeg):
    """The number of scans in a JPEG file. Each scan is a pass over the whole image."""
    scans, offset = 0, 2
    while (marker := MARKER.search(jpeg, offset)) and marker[0] != b"\xff\xd9" and scans <= MAX_SCANS:
        scans += marker[0] == b"\xff\xda"
        offset = marker.end() + int.from_bytes(jpeg[marker.end():marker.end() + 2], "big")
    return scans
