"""Data sets and toy distributions: what their modules share, and minibatches.

`mnist`, `cifar10` and `tfd` read files; `glyphs` renders digits that need no file. Each returns
`Images`. `digits` chooses between MNIST and the rendered digits. `toy` has distributions of
known density. This module says where a data set is, downloads files, and draws minibatches.

All data are NumPy arrays on the host, whatever the backend is. Only `minibatches` works on the
device. Nothing here trains, and no other module has to be read before this one.
"""

import os
import sys
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


def cache(name):
    """The path of `name` in the user's cache directory."""
    import pooch

    return Path(pooch.os_cache("npgan"), name)


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
    if data is not None and not (root and root.exists()):
        raise FileNotFoundError(f"{data or repr('')}: there is no such file or directory")
    places = [root / part for part in parts] if root else []
    if data is None and cached:
        places.append(cache(cached))
    best = max(places, key=found, default=None)
    return best if best and found(best) else None


def retrieve(url, sha256, path):
    """Download `url` to `path` and return `path`.

    Waits at most 3 seconds for a connection and tries once. Raises OSError, with the host's
    name, if the download fails or if the bytes do not have this SHA-256.
    """
    import pooch

    bar = sys.stderr is not None and sys.stderr.isatty()
    http = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=(3, 20))
    try:
        return Path(pooch.retrieve(url, sha256, path.name, path.parent, downloader=http))
    except (OSError, ValueError) as e:      # an OSError from requests; a ValueError if the SHA-256 differs
        reason = type(e).__name__ if isinstance(e, OSError) else "not the published bytes"
        raise OSError(f"{url.split('/')[2]}: {reason}") from e


def minibatches(x, m, seed, epoch):
    """Yield the minibatches (m, ...) of one epoch over the device array x.

    The order depends on (seed, epoch) only. The host draws the order, so that both backends see
    the same examples. The last len(x) % m examples of the order are left out.
    """
    order = np.random.default_rng((seed, epoch, 1)).permutation(len(x))
    order = xp.asarray(order[:len(x) // m * m].reshape(-1, m))
    for rows in order:
        yield xp.take(x, rows, axis=0)
