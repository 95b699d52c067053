"""Data sets and toy distributions: the functions that their modules share, and minibatches.

`mnist`, `cifar10` and `tfd` read files; `glyphs` renders digits, without a file. These four
modules return `Images`. `digits` chooses between MNIST and the rendered digits. `toy` has
distributions of known density. This module finds and downloads files, and draws minibatches.
When a module decides something for the user, such as to shuffle, it prints this once (`tell`).

All data are NumPy arrays on the host, whatever the backend is. Only `minibatches` works on the
device. This module does not train. Read no other module before it.
"""

import contextlib
import functools
import gzip
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npgan import backend as xp


class Images(NamedTuple):
    """Images in three splits: float32 pixels in [0, 1], (n, pixels), and uint8 labels (n,).

    `shape` is the shape of one image: (height, width) for grey images, (3, height, width) for
    colour images. A row of a colour image holds all red values, then all green, then all blue.
    """

    name: str
    shape: tuple
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray
    valid_labels: np.ndarray
    test_labels: np.ndarray


# --- Messages about data ----------------------------------------------------------------------


def escape(text, limit=500):
    """A text, for example a name or a path, with its control characters escaped.

    A text longer than `limit` loses its middle. Names and messages from files may hold any
    character, and a control sequence could change the user's terminal.
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}...{text[-half:]}"


@functools.cache
def tell(sentence):
    """Print a sentence, unless this process has printed it before. Ignores errors."""
    with contextlib.suppress(OSError, ValueError):      # a closed terminal, or one without this character
        print(sentence)


def by_name(what, *names):
    """Whether `what` is one of `names`, the names that --data takes besides paths.

    If the current folder has a file of this name too, prints how to choose the file.
    """
    if what in names and os.path.lexists(what):
        tell(f"--data {what}: this is read as a name, not as a path in the current folder; "
             f"for that, say --data {os.path.join('.', what)}")
    return what in names


def listed(folder):
    """The visible files and folders in a folder, sorted; [] if there is no such folder."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if not hidden(name))
    except OSError:
        return []


def contents(place, limit=5):
    """For messages: the first `limit` names in a directory, without hidden files."""
    try:
        names = sorted(os.listdir(place))
    except NotADirectoryError:
        return "it is a file, not a directory"
    except OSError as e:
        return f"it cannot be read: {e.strerror}"
    visible = [name for name in names if not hidden(name)]
    if not visible:
        return "it has only hidden files" if names else "it is empty"
    more = f" and {len(visible) - limit} more" if len(visible) > limit else ""
    return f"it has {', '.join(escape(name, 60) for name in visible[:limit])}{more}"


# --- Where data are ---------------------------------------------------------------------------


# Files that macOS, Windows and Synology make in a user's folders, in lower case.
SYSTEM_FILES = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir"}


def hidden(name):
    """Whether a file or folder of this name is not data but, for example, .DS_Store."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def cache(name):
    """The path of `name` in the user's cache; FileNotFoundError without a home directory."""
    import pooch

    try:
        path = Path(pooch.os_cache("npgan"), name)
    except RuntimeError:                # from platformdirs: there is no home directory
        path = Path()
    if not path.is_absolute():          # older versions of platformdirs return "~/.cache"
        raise FileNotFoundError("there is no home directory, so there is no cache")
    return path


def make_cache(folder):
    """Make this folder in the user's cache, or in a temporary folder, and return its path.

    The temporary folder is for a cache that cannot be written. In that case the function prints
    a sentence, and the process removes the folder when it ends.
    """
    path = None
    try:
        path = cache(folder)
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
        return path
    except OSError as e:
        temporary = Path(_temporary_folder().name, folder)
        tell(f"The cache cannot be written ({f'{path}: {e.strerror}' if path else e}). "
             f"So downloads go to {temporary}, and this process removes them when it ends.")
        return temporary


@functools.cache
def _temporary_folder():
    return tempfile.TemporaryDirectory(prefix="npgan-")


def npgan_data():
    """The path in the environment variable NPGAN_DATA, or None. No other function reads it."""
    return os.environ.get("NPGAN_DATA") or None


def locate(data, parts, found, cached=None):
    """The place that has the most files of a data set, or None if no place has any.

    The places are the relative paths `parts` in `data`, or in NPGAN_DATA if `data` is None;
    the part "." is `data` itself. If `data` is None, the last place is `cached` in the user's
    cache. found(place) counts the files of the data set there. Of places with equal counts, the
    first is returned. Raises FileNotFoundError if `data` does not exist.
    """
    root = npgan_data() if data is None else data
    root = Path(os.path.expanduser(root)) if root else None
    if data is not None and (problem := _unreachable(root)):
        raise FileNotFoundError(f"{data or repr('')}: {problem}")
    places = [root / part for part in parts] if root else []
    if data is None and cached:
        with contextlib.suppress(OSError):
            places.append(cache(cached))
    counts = {place: 0 for place in places}
    for place in places:
        with contextlib.suppress(OSError):          # a folder that cannot be read has no files
            counts[place] = found(place)
    best = max(counts, key=counts.get, default=None)
    return best if best and counts[best] else None


def _unreachable(path):
    """Why no file or directory can be reached at this path, or None if one can."""
    missing = "there is no such file or directory"
    try:
        os.stat(path or "")
        return None
    except ValueError:                  # the path holds a null character
        return missing
    except OSError as e:
        if path and path.is_symlink():
            return f"this link leads to {escape(os.readlink(path))}, which cannot be reached: {e.strerror}"
        return missing if isinstance(e, (FileNotFoundError, NotADirectoryError)) else e.strerror


def retrieve(url, sha256, path):
    """Download `url` to `path` and return `path`.

    Tries once, and waits at most 3 seconds for the connection. Raises OSError with the host's
    name if the download fails or the bytes have another SHA-256, and OSError with the folder's
    name if the file cannot be written.
    """
    import pooch

    bar = sys.stderr is not None and sys.stderr.isatty()
    http = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=(3, 20))
    try:
        return Path(pooch.retrieve(url, sha256, path.name, path.parent, downloader=http))
    except (OSError, ValueError) as e:      # an OSError from requests; a ValueError if the SHA-256 differs
        if isinstance(e, OSError) and e.errno and not isinstance(e, (ConnectionError, TimeoutError)):
            raise OSError(f"{path.parent}: the download cannot be written: {e.strerror}") from e
        reason = type(e).__name__ if isinstance(e, OSError) else "not the published bytes"
        raise OSError(f"{url.split('/')[2]}: {reason}") from e


def capacity(size):
    """The most bytes to unpack from a file of `size` bytes: 16 times as many, at least 128 MiB.

    Compressed digits and faces need less. A file that is made to fill the memory can unpack to
    1,032 times its size.
    """
    return max(1 << 27, 16 * size)


def gunzip(file):
    """The unpacked stream of an open gzip file. Reading raises BadGzipFile for a slow file.

    A gzip file consists of members, usually one. For each member, and for each byte of the
    file name in it, GzipFile does a step in Python. Some files need millions of these steps.
    """
    return gzip.GzipFile(fileobj=_CountedFile(file))


class _CountedFile:
    """A gzip file that counts the steps of GzipFile: reads, and beginnings of members."""

    def __init__(self, file):
        self.file, self.steps = file, 0
        self.max_steps = 10_000 + os.fstat(file.fileno()).st_size // 1000

    def read(self, size):
        chunk = self.file.read(size)
        self.steps += 1 + chunk.count(b"\x1f\x8b\x08")
        if self.steps > self.max_steps:
            raise gzip.BadGzipFile("too many members, or too long a header")
        return chunk


def shuffle(name, n):
    """A random order of n images, and the name of the data set with ", shuffled" added.

    A file may be sorted by class. A part of its rows then lacks some classes. So data in an
    order that is not a published one are shuffled before they are split. Prints this.
    """
    tell(f"{name}: the order of these images is not a published one, so the training images are shuffled "
         "(seed 0) before the last of them become the validation set")
    return np.random.default_rng((0, 4)).permutation(n), f"{name}, shuffled"


def minibatches(x, m, seed, epoch):
    """Yield the minibatches (m, ...) of one epoch over the device array x.

    The order depends on (seed, epoch) only. It is drawn with NumPy on the host, so that both
    backends use the same examples. The last len(x) % m examples of the order are left out.
    """
    order = np.random.default_rng((seed, epoch, 1)).permutation(len(x))
    order = xp.asarray(order[:len(x) // m * m].reshape(-1, m))
    for rows in order:
        yield xp.take(x, rows, axis=0)
