"""Data sets and toy distributions: what their modules share, and minibatches.

`mnist`, `cifar10` and `tfd` read files; `glyphs` renders digits that need no file. Each returns
`Images`. `digits` chooses between MNIST and the rendered digits. `toy` has distributions of
known density. This module says where a data set is, downloads files, and draws minibatches.
What a reader decides by itself, such as a shuffle, it prints once (`tell`).

All data are NumPy arrays on the host, whatever the backend is. Only `minibatches` works on the
device. Nothing here trains, and no other module has to be read before this one.
"""

import contextlib
import functools
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


# --- What is said about data ------------------------------------------------------------------


def escape(text, limit=500):
    """The text, a name or path for example, with control characters escaped.

    A text longer than `limit` loses its middle. Names and messages that come from files may
    hold anything: an escape sequence would change the user's terminal.
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}...{text[-half:]}"


@functools.cache
def tell(sentence):
    """Print a sentence, but only once in a process. If it cannot be printed, work goes on."""
    with contextlib.suppress(OSError, ValueError):      # a closed terminal, or a character that it lacks
        print(sentence)


def by_name(what, *names):
    """Whether `what` is in `names`, the data sets that --data knows by name.

    If there is a file or folder of this name too, one sentence says how to get it.
    """
    if what in names and os.path.lexists(what):
        tell(f"--data {what}: this means the name, not {what} in the current folder; "
             f"for that, say --data {os.path.join('.', what)}")
    return what in names


def listed(folder):
    """The visible files and folders in a folder, sorted; [] if there is no such folder."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if not hidden(name))
    except OSError:
        return []


def contents(place, limit=5):
    """What a directory has, for messages: its first names, without hidden files."""
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


# Besides names that begin with a dot. macOS, Windows and Synology leave these files.
LEFT_BEHIND = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir"}


def hidden(name):
    """Whether a file or folder of this name is no data.

    File managers, archivers and notebooks leave such files: .DS_Store, ._x.png, __MACOSX,
    .ipynb_checkpoints, Thumbs.db.
    """
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def cache(name):
    """The path of `name` in the user's cache.

    Raises FileNotFoundError if there is no home directory.
    """
    import pooch

    try:
        path = Path(pooch.os_cache("npgan"), name)
    except RuntimeError:                # of platformdirs
        path = Path()
    if not path.is_absolute():          # older ones return "~/.cache"
        raise FileNotFoundError("there is no home directory, so there is no cache")
    return path


def make_cache(folder):
    """This folder in the user's cache, or in a temporary folder if the cache cannot be written.

    In the second case, one sentence says so. The process removes the temporary folder when it
    ends.
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
    """The path in the environment variable NPGAN_DATA, or None. Only here is it read."""
    return os.environ.get("NPGAN_DATA") or None


def locate(data, parts, found, cached=None):
    """The place that has the most files of a data set, or None if no place has any.

    The places are the paths `parts` in `data`, or in NPGAN_DATA if `data` is None; "." is the
    path itself. Without `data`, the last place is `cached` in the user's cache. found(place)
    counts the wanted files. If two counts are equal, the first place is returned. Raises
    FileNotFoundError if `data` does not exist.
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
        with contextlib.suppress(OSError):          # a folder that cannot be read
            counts[place] = found(place)
    best = max(counts, key=counts.get, default=None)
    return best if best and counts[best] else None


def _unreachable(path):
    """Why this path leads nowhere, or None. `path` may be None."""
    missing = "there is no such file or directory"
    try:
        os.stat(path or "")
        return None
    except ValueError:                  # a null character
        return missing
    except OSError as e:
        if path and path.is_symlink():
            return f"this link leads to {escape(os.readlink(path))}, which cannot be reached: {e.strerror}"
        return missing if isinstance(e, (FileNotFoundError, NotADirectoryError)) else e.strerror


def retrieve(url, sha256, path):
    """Download `url` to `path` and return `path`.

    Waits at most 3 seconds for a connection and tries once. Raises OSError with the host's name
    if the download fails or if the bytes do not have this SHA-256. Raises OSError with the
    folder's name if the file cannot be written.
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
    """The most bytes to unpack from a file of `size` bytes: 16 times as many, or 128 MiB.

    Digits and faces shrink less than that. A file that shall fill the memory can unpack to
    1,032 times its size.
    """
    return max(1 << 27, 16 * size)


def shuffle(name, n):
    """A random order of n images, and the name of the data set that records the shuffle.

    A file may be sorted by class. Its first rows then lack whole classes. So a data set whose
    order is not a published one is shuffled before a part of it becomes the validation set.
    """
    tell(f"{name}: the order of these images is not a published one, so the training images are shuffled "
         "(seed 0) before the last of them become the validation set")
    return np.random.default_rng((0, 4)).permutation(n), f"{name}, shuffled"


def minibatches(x, m, seed, epoch):
    """Yield the minibatches (m, ...) of one epoch over the device array x.

    The order depends on (seed, epoch) only. The host draws the order, so that both backends see
    the same examples. The last len(x) % m examples of the order are left out.
    """
    order = np.random.default_rng((seed, epoch, 1)).permutation(len(x))
    order = xp.asarray(order[:len(x) // m * m].reshape(-1, m))
    for rows in order:
        yield xp.take(x, rows, axis=0)
