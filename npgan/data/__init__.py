"""Real data sets and toy distributions: host NumPy arrays, whatever the backend; and their minibatches, on the device."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npgan import backend as xp


class Images(NamedTuple):
    """Images in three splits. Pixels are float32 in [0, 1], one image a row: (n, height * width). Labels are uint8 (n,).

    `shape` is (height, width), or for colour images (3, height, width): a row is then all of red, of green, of blue.
    """

    name: str
    shape: tuple
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray
    valid_labels: np.ndarray
    test_labels: np.ndarray


def cache(*parts):
    """A path in the user's cache."""
    import pooch

    return Path(pooch.os_cache("npgan"), *parts)


def retrieve(url, sha256, path):
    """Fetches a file to `path`, and returns it. OSError, naming the host, where it does not give the published bytes.

    Gives up soon: 3 seconds to connect to an address, no second try.
    """
    import pooch

    bar = sys.stderr is not None and sys.stderr.isatty()
    http = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=(3, 20))
    try:
        return Path(pooch.retrieve(url, sha256, path.name, path.parent, downloader=http))
    except (OSError, ValueError) as e:      # requests' exceptions are OSErrors; pooch's ValueError is another SHA-256
        reason = type(e).__name__ if isinstance(e, OSError) else "not the published bytes"
        raise OSError(f"{url.split('/')[2]}: {reason}") from e


def minibatches(x, m, seed, epoch):
    """The minibatches (m, ...) of one epoch over the device array x, in a fresh order that is a function of (seed, epoch).

    The order is drawn on the host, so that both backends see the same examples; what is left over at the end is dropped.
    """
    order = np.random.default_rng((seed, epoch, 1)).permutation(len(x))
    order = xp.asarray(order[:len(x) // m * m].reshape(-1, m))
    for rows in order:
        yield xp.take(x, rows, axis=0)
