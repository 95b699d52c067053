"""Rendered digits: they have MNIST's form, look handwritten and need no download.

A printed digit, thinned to a line, looks like the path of a pen. There is one path for each
digit in each of several fonts that come with matplotlib. For each path, a distance field d
holds the distance from every point to the path. The grey level of the pixel at u = (x, y) is

    image(u) = clip(1/2 + (w(u) - d(s(u))) / blur, 0, 1)
    s(u) = A u + b + sum_k c_k waves_k(u)

s(u) is the point of the field that appears at u. A and b turn, slant, stretch and shift the
digit, and the waves, products of cosines, bend it. w is half the width of the line: a constant
plus a sum of the same waves. blur is the width of the line's grey edge, in pixels. s_x, s_y and
w are linear in their coefficients. So one matrix product computes all three for all pixels of a
block of images.

npgan/data/__init__.py has `Images`, which `load` returns. Scores on these digits must not be
compared with scores on MNIST.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from npgan.data import Images, cache, escape, tell

VERSION = 1                     # in the name of the cached file; raise it if the pixels change
SIZE, BOX = 28, 20              # pixels: as in MNIST, a digit fits a 20 x 20 box in the middle of 28 x 28
POINTS_PER_PIXEL = 4            # of a distance field, along each axis
REACH = 4                       # pixels: the largest distance in a field; w is smaller everywhere

# Not all fonts of matplotlib have suitable digits. cmmi10 has old-style digits, which go below
# the line. cmex10 and cmsy10 have other symbols in place of digits. The Display, NonUni and Siz
# fonts have no digits, and LastResort has boxes. DejaVu Sans Mono has a dot in its 0. In cmti10
# the 3 looks like an 8 and the 7 like an n.
FONTS = ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold",
         "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-Bold",
         "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta",
         "cmb10", "cmr10", "cmss10", "cmtt10")
# In these fonts a bar | replaces the 1, because most people write a 1 as a single stroke.
BAR_FONTS = {"DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSerif-Bold", "STIXGeneral",
             "STIXGeneralBolIta"}


def outlines():
    """The printed digits as bool (fonts, 10, S, S) with S = SIZE * POINTS_PER_PIXEL.

    Each digit is as large as the 20 x 20 box allows.
    """
    import matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Contour
    from matplotlib.textpath import TextPath

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [file for file in (folder / f"{name}.ttf" for name in FONTS) if file.is_file()]
    if not fonts:
        raise FileNotFoundError(f"{folder}: matplotlib's fonts are missing, so no digits can be rendered; "
                                "reinstall matplotlib")
    S = SIZE * POINTS_PER_PIXEL
    axis = (np.arange(S) + 0.5) / POINTS_PER_PIXEL - SIZE / 2
    points = np.stack(np.meshgrid(axis, -axis), -1).reshape(-1, 2)      # a font's y axis points up
    ink = np.zeros((len(fonts), 10, len(points)), bool)
    for f, font in enumerate(fonts):
        for digit in range(10):
            character = "|" if digit == 1 and font.stem in BAR_FONTS else str(digit)
            path = TextPath((0, 0), character, size=100, prop=FontProperties(fname=font))
            low, high = path.vertices.min(0), path.vertices.max(0)
            for contour in path.to_polygons():
                contour = (contour - (low + high) / 2) * (BOX / (high - low).max())
                ink[f, digit] ^= Contour(contour).contains_points(points)     # xor: inner contours are holes
    return ink.reshape(len(fonts), 10, S, S)


def thin(ink):
    """Bool shapes (..., S, S) thinned to lines that are one point wide (Zhang and Suen, 1984).

    A connected shape becomes a connected line.
    """
    ink = ink.astype(np.uint8)
    while True:
        before = np.count_nonzero(ink)
        for side in range(2):
            ring = [np.roll(ink, shift, (-2, -1)) for shift in      # eight neighbours, clockwise from north
                    ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))]
            n, e, s, w = ring[::2]
            neighbours = sum(ring)
            crossings = sum((1 - a) & b for a, b in zip(ring, ring[1:] + ring[:1]))
            edge = ((n & e & s) | (e & s & w)) if side == 0 else ((n & e & w) | (n & s & w))
            ink &= ~((neighbours >= 2) & (neighbours <= 6) & (crossings == 1) & (edge == 0))
        if np.count_nonzero(ink) == before:
            return ink.astype(bool)


def distances(line):
    """The Euclidean distance, in pixels, of every point to the nearest point of `line`.

    line: bool (..., S, S). Distances above REACH become REACH. The minimum over both axes is
    taken along one axis after the other: min_dx (dx^2 + min_dy dy^2).
    """
    reach = REACH * POINTS_PER_PIXEL
    d = np.where(line, 0, np.float32(reach) ** 2)
    for axis in (-2, -1):
        nearest = d.copy()
        for step in range(1, reach):
            for shift in (step, -step):     # np.roll wraps around, but no line is this near to an edge
                np.minimum(nearest, np.roll(d, shift, axis) + np.float32(step * step), out=nearest)
        d = nearest
    return np.sqrt(d) / np.float32(POINTS_PER_PIXEL)


def strokes():
    """The distance fields (fonts, 10, S, S), and half of each path's width and height.

    Both halves, in pixels from the middle of the image, are in an array (fonts, 10, 2).
    """
    lines = thin(outlines())
    S = SIZE * POINTS_PER_PIXEL
    from_middle = np.abs(np.arange(S) + 0.5 - S / 2) / POINTS_PER_PIXEL
    return distances(lines), np.stack([(lines.any(axis) * from_middle).max(-1) for axis in (-2, -1)], -1)


def waves():
    """The maps x, y, 1 and K waves (3 + K, SIZE * SIZE), and the waves' frequencies (K,).

    s_x, s_y and w of an image are weighted sums of these maps.
    """
    t = (np.arange(SIZE) + 0.5) / SIZE
    x, y = np.meshgrid(t, t)
    pairs = [(i, j) for i in range(4) for j in range(4) if 2 <= i + j <= 4]
    maps = [SIZE * (x - 0.5), SIZE * (y - 0.5), np.ones_like(x)]
    maps += [np.cos(np.pi * i * x) * np.cos(np.pi * j * y) for i, j in pairs]
    return np.array(maps, "float32").reshape(len(maps), -1), np.array([np.hypot(i, j) for i, j in pairs])


def warps(rng, extent, frequencies):
    """Random coefficients (n, 3, 3 + K) of the maps of `waves`, for s_x, s_y and w of n images.

    extent (n, 2): half the width and half the height of each digit. A digit is first slanted
    and then scaled to fit the box, as in MNIST.
    """
    n = len(extent)

    def uniform(low, high):
        return rng.uniform(low, high, n)

    def normal(spread, *shape):
        return spread * rng.normal(size=(n, *shape)).clip(-2, 2)

    turn, slant, aspect = normal(0.12), 0.08 + normal(0.2), np.exp(0.12 + normal(0.15))
    c, s = np.cos(turn), np.sin(turn)
    # Turn, slant and stretch; fit to the box; invert, because s maps image points to the field.
    A = np.array([[c * aspect, -s - c * slant], [s * aspect, c - s * slant]]).transpose(2, 0, 1)
    A *= (uniform(0.83, 0.97) * BOX / 2 / (np.abs(A) @ extent[:, :, None]).max((1, 2)))[:, None, None]
    A = np.linalg.inv(A)
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
    S = SIZE * POINTS_PER_PIXEL
    edge = np.float32(S - 1.001)            # just before the last point, because interpolation reads the next
    maps, frequencies = waves()
    labels, font = rng.integers(10, size=n), rng.integers(len(fields), size=n)
    start = ((font * 10 + labels) * S * S).astype(np.intp)[:, None]
    coefficients = warps(rng, extents[font, labels], frequencies)
    blur = rng.uniform(1, 1.6, (n, 1)).astype("float32")
    fields, images = fields.ravel(), np.empty((n, SIZE * SIZE), np.uint8)
    for i in range(0, n, 100):
        rows = slice(i, i + 100)
        warped = coefficients[rows].reshape(-1, len(maps)) @ maps
        sx, sy, w = warped.reshape(-1, 3, SIZE * SIZE).transpose(1, 0, 2)
        sx, sy = (np.clip(s * POINTS_PER_PIXEL + np.float32(S / 2 - 0.5), 0, edge) for s in (sx, sy))
        x, y = sx.astype(np.intp), sy.astype(np.intp)
        index = start[rows] + y * S + x
        sx, sy = sx - x, sy - y
        above = fields.take(index) * (1 - sx) + fields.take(index + 1) * sx
        below = fields.take(index + S) * (1 - sx) + fields.take(index + S + 1) * sx
        d = above + sy * (below - above)
        images[rows] = np.clip(128 + (w - d) * (255 / blur[rows]), 0, 255)
    return images, labels.astype(np.uint8)


def load(seed=0, n=70000):
    """Load n rendered digits as `Images` named "glyphs". The same seed gives the same bits.

    As in MNIST, 5/7 of them are for training, 1/7 for validation and 1/7 for testing. The
    digits are read from the user's cache. If they are not there, or the file is damaged, they
    are rendered and written to the cache. Raises ValueError if n < 7, and FileNotFoundError if
    matplotlib's fonts are missing.
    """
    if n < 7:
        raise ValueError(f"glyphs.load: n = {n} is too few: three splits need at least 7 images")
    name = f"glyphs-version{VERSION}-seed{seed}-n{n}.npz"
    pixels, labels = _read_cached(name, n) or _write_cached(name, *render(seed, n))
    images = pixels.astype(np.float32)
    images /= 255
    test = n // 7
    splits = slice(n - 2 * test), slice(n - 2 * test, n - test), slice(n - test, n)
    return Images("glyphs", (SIZE, SIZE), *(images[s] for s in splits), *(labels[s] for s in splits))


def _read_cached(name, n):
    """The pixels and labels in the cached file, or None if it is missing or damaged."""
    try:
        with np.load(cache(name), allow_pickle=False) as file:
            if sum(member.file_size for member in file.zip.infolist()) > n * (SIZE * SIZE + 1) + 4096:
                return None                     # too large: do not unpack it
            pixels, labels = file["pixels"], file["labels"]
    except Exception:  # noqa: BLE001, a damaged archive can raise almost anything
        return None
    shapes = (n, SIZE * SIZE), (n,)
    sound = pixels.dtype == labels.dtype == np.uint8 and (pixels.shape, labels.shape) == shapes
    return (pixels, labels) if sound else None


def _write_cached(name, pixels, labels):
    """Write the pixels and labels to the cache, if possible, and return them."""
    try:
        path = cache(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(".tmp", path.name, path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, pixels=pixels, labels=labels)
            os.replace(temporary, path)         # in one step, so that no process reads an incomplete file
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as e:
        tell(f"The rendered digits cannot be kept for the next time ({escape(e)}).")
    return pixels, labels
