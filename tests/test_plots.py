"""Sheets of images: every pixel where it belongs, grey or in colour."""

import numpy as np
import pytest

from npgan.runs import plots


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_a_grid_holds_each_image_in_its_place_channels_last_and_clipped(shape):
    images = np.random.default_rng(0).uniform(-.2, 1.2, (3, np.prod(shape))).astype("float32")
    sheet = plots.grid(images, shape, 2, gap=1)
    assert sheet.shape == (1 + 2 * 5, 1 + 2 * 6, *shape[:-2]) and sheet.dtype == np.uint8
    for image, (y, x) in zip(images, ((1, 1), (1, 7), (6, 1))):
        for i in range(4):
            for j in range(5):
                pixel = np.clip(image.reshape(-1, 4, 5)[:, i, j], 0, 1) * 255
                np.testing.assert_array_equal(sheet[y + i, x + j].ravel(), np.round(pixel))
    assert not sheet[6:, 6:].any() and not sheet[0].any(), "gaps and the missing image are black"
