"""Real data sets and toy distributions: host NumPy arrays, whatever the backend; and their minibatches, on the device."""

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


def minibatches(x, m, seed, epoch):
    """The minibatches (m, ...) of one epoch over the device array x, in a fresh order that is a function of (seed, epoch).

    The order is drawn on the host, so that both backends see the same examples; what is left over at the end is dropped.
    """
    order = np.random.default_rng((seed, epoch, 1)).permutation(len(x))
    order = xp.asarray(order[:len(x) // m * m].reshape(-1, m))
    for rows in order:
        yield xp.take(x, rows, axis=0)
