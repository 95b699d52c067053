"""Rendered digits: 28x28 grey handwriting-like digits that need no download, in MNIST's form.

The pen's path of a printed digit is its outline thinned to a line, one path for each digit of each font that matplotlib
ships. A field holds every point's distance d to that path, and an image is one look-up in it along warped coordinates,

    image(u) = clip(1/2 + (w(u) - d(s(u))) / blur, 0, 1),     s(u) = A u + b + sum_k c_k waves_k(u),     u = (x, y)

where A and b turn, slant, stretch and shift the digit, the waves bend it, and w, half the width of the pen's line, swells
along it in the same way. So the three maps s_x, s_y and w of all pixels are one matrix product a minibatch of images.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from npgan.data import Images, cache

VERSION = 1          # of the pictures: part of the cached file's name, to be raised with every change that alters a pixel
SIZE, BOX = 28, 20   # MNIST's: a digit fits a box of 20x20 pixels amid 28x28
FINE = 4             # points of a distance field to a pixel, along each axis
REACH = 4            # pixels: distances are exact up to here, beyond the edge of the widest line

# Text fonts with upright or slanted lining digits. Left out of those that matplotlib ships: cmmi10 (old-style digits, which sink
# below the line), cmex10 and cmsy10 (other symbols stand in the digits' places), the Display, NonUni and Siz fonts (no digits),
# LastResort (boxes), DejaVu Sans Mono (its zero has a dot in it) and cmti10 (its 3 curls into an 8, its 7 looks like an n).
FONTS = ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-Bold",
         "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta", "cmb10", "cmr10", "cmss10", "cmtt10")
# With these the 1 is written as most hands write it, a plain stroke: the bar |.
STICKS = {"DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSerif-Bold", "STIXGeneral", "STIXGeneralBolIta"}


def outlines():
    """The printed digits (fonts, 10, S, S) as bool, S = SIZE * FINE: each as large as its box allows, amid a margin."""
    import matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Contour
    from matplotlib.textpath import TextPath

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [file for file in (folder / f"{name}.ttf" for name in FONTS) if file.is_file()]
    if not fonts:
        raise FileNotFoundError(f"{folder}: none of the fonts that matplotlib ships is there to render digits from; reinstall matplotlib")
    axis = (np.arange(SIZE * FINE) + 0.5) / FINE - SIZE / 2
    points = np.stack(np.meshgrid(axis, -axis), -1).reshape(-1, 2)      # a font's y axis points up
    ink = np.zeros((len(fonts), 10, len(points)), bool)
    for f, font in enumerate(fonts):
        for digit in range(10):
            character = "|" if digit == 1 and font.stem in STICKS else str(digit)
            path = TextPath((0, 0), character, size=100, prop=FontProperties(fname=font))
            low, high = path.vertices.min(0), path.vertices.max(0)
            for contour in path.to_polygons():
                contour = (contour - (low + high) / 2) * (BOX / (high - low).max())
                ink[f, digit] ^= Contour(contour).contains_points(points)     # even-odd: what lies in a hole is out
    return ink.reshape(len(fonts), 10, SIZE * FINE, SIZE * FINE)


def thin(ink):
    """Bool shapes (..., S, S) thinned to lines of one point's width, joined as the shapes are (Zhang and Suen, 1984)."""
    ink = ink.astype(np.uint8)
    while True:
        before = np.count_nonzero(ink)
        for side in range(2):
            ring = [np.roll(ink, shift, (-2, -1)) for shift in      # the eight neighbours, clockwise from the north
                    ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))]
            n, e, s, w = ring[::2]
            neighbours = sum(ring)
            crossings = sum((1 - a) & b for a, b in zip(ring, ring[1:] + ring[:1]))
            edge = ((n & e & s) | (e & s & w)) if side == 0 else ((n & e & w) | (n & s & w))
            ink &= ~((neighbours >= 2) & (neighbours <= 6) & (crossings == 1) & (edge == 0))
        if np.count_nonzero(ink) == before:
            return ink.astype(bool)


def distances(line):
    """The Euclidean distance, in pixels and no farther than REACH, of every point of (..., S, S) to the nearest point of `line`."""
    far = REACH * FINE
    d = np.where(line, 0, np.float32(far) ** 2)
    for axis in (-2, -1):                  # min over dy of dy^2 + min over dx of dx^2: one axis after the other
        nearest = d.copy()
        for step in range(1, far):
            for shift in (step, -step):    # np.roll wraps around, but no line is within REACH of the margin's edge
                np.minimum(nearest, np.roll(d, shift, axis) + np.float32(step * step), out=nearest)
        d = nearest
    return np.sqrt(d) / np.float32(FINE)


def strokes():
    """What all images are rendered from: distance fields (fonts, 10, S, S), and half of each path's width and height (fonts, 10, 2)."""
    lines = thin(outlines())
    reach = np.abs(np.arange(SIZE * FINE) + 0.5 - SIZE * FINE / 2) / FINE
    return distances(lines), np.stack([(lines.any(axis) * reach).max(-1) for axis in (-2, -1)], -1)


def waves():
    """The fixed maps (3 + K, SIZE * SIZE) that every warp is a sum of: x, y, 1 and K smooth waves; and the K waves' frequencies (K,)."""
    t = (np.arange(SIZE) + 0.5) / SIZE
    x, y = np.meshgrid(t, t)
    pairs = [(i, j) for i in range(4) for j in range(4) if 2 <= i + j <= 4]
    maps = [SIZE * (x - 0.5), SIZE * (y - 0.5), np.ones_like(x)] + [np.cos(np.pi * i * x) * np.cos(np.pi * j * y) for i, j in pairs]
    return np.array(maps, "float32").reshape(len(maps), -1), np.array([np.hypot(i, j) for i, j in pairs])


def warps(rng, extent, frequencies):
    """Random coefficients (n, 3, 3 + K) of the maps s_x, s_y and w of n images over `waves()`.

    extent (n, 2): half the width and height of each digit. As in MNIST, a digit is slanted first and fitted to its box then.
    """
    n = len(extent)

    def uniform(low, high):
        return rng.uniform(low, high, n)

    def normal(spread, *shape):
        return spread * rng.normal(size=(n, *shape)).clip(-2, 2)

    turn, slant, aspect = normal(0.12), 0.08 + normal(0.2), np.exp(0.12 + normal(0.15))
    c, s = np.cos(turn), np.sin(turn)
    A = np.array([[c * aspect, -s - c * slant], [s * aspect, c - s * slant]]).transpose(2, 0, 1)      # turn, slant, stretch
    A *= (uniform(0.83, 0.97) * BOX / 2 / (np.abs(A) @ extent[:, :, None]).max((1, 2)))[:, None, None]   # fit
    A = np.linalg.inv(A)                                                                              # from image to field
    out = np.zeros((n, 3, 3 + len(frequencies)), "float32")
    out[:, :2, :2] = A
    out[:, :2, 2] = normal(0.4, 2)
    out[:, :2, 3:] = normal(1.5, 2, len(frequencies)) / frequencies ** 2
    out[:, 2, 2] = uniform(0.75, 1.6)
    out[:, 2, 3:] = normal(0.15, len(frequencies)) / frequencies
    return out


def render(seed, n):
    """n random digits: uint8 pixels (n, SIZE * SIZE), white on black, and labels (n,)."""
    rng = np.random.default_rng(seed)
    fields, extents = strokes()
    S, edge = SIZE * FINE, np.float32(SIZE * FINE - 1.001)      # just short of the last point, so that a next one is there
    maps, frequencies = waves()
    labels, font = rng.integers(10, size=n), rng.integers(len(fields), size=n)
    start = ((font * 10 + labels) * S * S).astype(np.intp)[:, None]
    coefficients = warps(rng, extents[font, labels], frequencies)
    blur = rng.uniform(1, 1.6, (n, 1)).astype("float32")
    fields, images = fields.ravel(), np.empty((n, SIZE * SIZE), np.uint8)
    for i in range(0, n, 100):
        rows = slice(i, i + 100)
        sx, sy, w = (coefficients[rows].reshape(-1, len(maps)) @ maps).reshape(-1, 3, SIZE * SIZE).transpose(1, 0, 2)
        sx, sy = (np.clip(s * FINE + np.float32(S / 2 - 0.5), 0, edge) for s in (sx, sy))
        x, y = sx.astype(np.intp), sy.astype(np.intp)
        at = start[rows] + y * S + x
        sx, sy = sx - x, sy - y
        top = fields.take(at) * (1 - sx) + fields.take(at + 1) * sx
        low = fields.take(at + S) * (1 - sx) + fields.take(at + S + 1) * sx
        d = top + sy * (low - top)
        images[rows] = np.clip(128 + (w - d) * (255 / blur[rows]), 0, 255)
    return images, labels.astype(np.uint8)


def load(seed=0, n=70000):
    """n rendered digits as `Images`, named "glyphs": five sevenths to train on, one to validate and one to test, as MNIST has them.

    The same seed gives the same bits. Rendered once, then kept in the user's cache; where that cannot be written, or what it
    holds is damaged, they are rendered again. ValueError for fewer than 7; FileNotFoundError where matplotlib lacks its fonts.
    """
    if n < 7:
        raise ValueError(f"glyphs.load: n = {n} is too few: three splits need at least 7 images")
    path = cache(f"glyphs-version{VERSION}-seed{seed}-n{n}.npz")
    pixels, labels = _read(path, n) or _write(path, *render(seed, n))
    images = pixels.astype(np.float32)
    images /= 255
    test = n // 7
    splits = slice(n - 2 * test), slice(n - 2 * test, n - test), slice(n - test, n)
    return Images("glyphs", (SIZE, SIZE), *(images[s] for s in splits), *(labels[s] for s in splits))


def _read(cache, n):
    try:
        with np.load(cache, allow_pickle=False) as file:
            pixels, labels = file["pixels"], file["labels"]
    except Exception:  # noqa: BLE001, a damaged archive fails in many ways, and the cure for all of them is to render again
        return None
    sound = pixels.dtype == labels.dtype == np.uint8 and pixels.shape == (n, SIZE * SIZE) and labels.shape == (n,)
    return (pixels, labels) if sound else None


def _write(cache, pixels, labels):
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(".tmp", cache.name, cache.parent)      # renamed when whole: no reader meets half a file
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, pixels=pixels, labels=labels)
            os.replace(temporary, cache)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError:
        pass                 # a cache that cannot be written costs the next call a few seconds and nothing else
    return pixels, labels
