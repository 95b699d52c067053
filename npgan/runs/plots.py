"""The pictures of a run: sheets of images, curves, films, a window.

Pillow draws the images; this is quick enough for every epoch. matplotlib draws the curves and
other figures, and is imported only when the first figure is drawn. The examples draw their own
figures and write them with `save` and `movie`. A complete new file replaces the old one, so a
viewer never reads half a file.
"""

import contextlib
import os
import re
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from npgan.runs.checkpoint import replacing

YELLOW = 255, 208, 0
FRAME = 11, 5.5                      # size of a movie and of a window, in inches
GAP = 2                              # pixels between the images of a sheet


# --- Images -----------------------------------------------------------------------------------


def grid(images, shape, columns, gap=GAP):
    """All images in one array of bytes, row by row. Pixels are clipped to [0, 1].

    images: (n, height * width) for shape (height, width), or (n, 3 * height * width) for
    shape (3, height, width)
    """
    *colours, h, w = shape
    rows = -(-len(images) // columns)
    page = np.zeros((rows * (h + gap) + gap, columns * (w + gap) + gap, *colours), np.uint8)
    for i, image in enumerate(np.clip(images, 0, 1)):
        y, x = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        pixels = np.round(image.reshape(shape) * 255)
        page[y:y + h, x:x + w] = np.moveaxis(pixels, 0, -1) if colours else pixels
    return page


def sheet(path, images, shape, columns, caption, marked=()):
    """Write a PNG with images in rows below a caption.

    images, shape: as in `grid`     marked: the numbers of the columns that get a yellow frame
    An image of 33 to 48 pixels in width is drawn at twice its size, a smaller one at about 64.
    """
    zoom = max(2, 64 // shape[-1]) if shape[-1] <= 48 else 1
    picture = Image.fromarray(grid(images, shape, columns)).convert("RGB")
    picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
    draw, width = ImageDraw.Draw(picture), (shape[-1] + GAP) * zoom
    for column in marked:
        left, right = column * width, (column + 1) * width + GAP * zoom - 1
        draw.rectangle((left, 0, right, picture.height - 1), outline=YELLOW, width=GAP * zoom)
    write(path, captioned(picture, caption, 15))


def frame(path, images, shape, columns):
    """Write images as a frame for `film`: at their own size, without a caption."""
    write(path, Image.fromarray(grid(images, shape, columns)))


def film(path, frames, captions):
    """Write a GIF from PNG files, each with its caption.

    A file that cannot be read is left out, with a warning.
    """
    pages = []
    for frame, caption in zip(frames, captions):
        try:
            pages.append(captioned(Image.open(frame), caption, 13))
        except OSError as e:
            print(f"Warning: {path} is made without {frame} ({e})", file=sys.stderr)
    if pages:
        write_gif(path, pages)


def captioned(picture, caption, size):
    """A new picture: the caption, in lines that fit the width, and the picture below it."""
    font, lines = ImageFont.load_default(size), [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= picture.width - 12:
            lines[-1] = longer
        else:
            lines.append(word)
    top = len(lines) * (size + 5) + 6
    page = Image.new(picture.mode, (picture.width, picture.height + top))
    page.paste(picture, (0, top))
    ImageDraw.Draw(page).multiline_text((6, 3), "\n".join(lines), fill="white", font=font, spacing=3)
    return page


def write(path, picture, **options):
    """Write a Pillow picture. options: arguments of Image.save for the file format"""
    with replacing(path) as temporary:
        picture.save(temporary, **options)


def write_gif(path, pages, ms=120):
    """Write a GIF that shows each page for `ms` milliseconds, and the last for 3 seconds."""
    write(path, pages[0], save_all=True, append_images=pages[1:], loop=0, optimize=True,
          duration=[ms] * (len(pages) - 1) + [3000])


# --- Figures ----------------------------------------------------------------------------------


def curves(path, history, title, best):
    """Plot the rows of the history against epochs.

    The first panel shows V, and as a line its value `best` at p_g = p_data with the optimal D.
    The next panels show the means of D(x) and D(G(z)), the norms of both gradients, and the
    Parzen log-likelihoods, if the history has some.
    """
    from matplotlib.figure import Figure
    column = {name: np.array([row.get(name, np.nan) for row in history], float)
              for name in ("epoch", "V", "D_x", "D_Gz", "norm_d", "norm_g", "parzen_ll")}
    scored, epoch = np.isfinite(column["parzen_ll"]), column["epoch"]
    style = {"marker": ".", "markersize": 4} if len(history) < 60 else {}
    best_name = "-log 4" if best == -np.log(4) else f"{best:g}"

    panels = 4 if scored.any() else 3
    fig = Figure((4 * panels, 3.6), layout="constrained")
    axes = fig.subplots(1, panels)
    axes[0].plot(epoch, column["V"], label="V(D, G)", **style)
    axes[0].axhline(best, color="k", ls=":", label=f"{best_name}: p_g = p_data, D optimal")
    axes[0].set_ylabel("nats")
    axes[1].plot(epoch, column["D_x"], label="mean D(x)", **style)
    axes[1].plot(epoch, column["D_Gz"], label="mean D(G(z))", **style)
    axes[1].axhline(.5, color="k", ls=":", label="1/2")
    axes[1].set_ylim(0, 1)
    axes[2].semilogy(epoch, column["norm_d"], label="|grad of V|, D's parameters", **style)
    axes[2].semilogy(epoch, column["norm_g"], label="|grad of G's loss|, G's parameters", **style)
    if scored.any():
        axes[3].plot(epoch[scored], column["parzen_ll"][scored], marker=".",
                     label="Parzen log-likelihood, test set")
        axes[3].set_ylabel("nats")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.legend(fontsize=8)
        axis.grid(alpha=.3)
    fig.suptitle(plain(title))
    save(path, fig)


def plain(text):
    """The text with each $ escaped: matplotlib reads what is between two $ as a formula."""
    return text.replace("$", r"\$")


@contextlib.contextmanager
def attempt(path):
    """A context that draws a picture. An error in it becomes a warning; the program continues.
    """
    try:
        yield
    except Exception as e:                          # of matplotlib or the file system
        reason = " ".join(str(e).removeprefix(f"{path}: ").split()) or type(e).__name__
        print(f"Warning: {path} could not be drawn ({reason})", file=sys.stderr)


def save(path, fig, dpi=110):
    """Write a matplotlib figure. If that fails, print a warning."""
    with attempt(path), replacing(path) as temporary:
        fig.savefig(temporary, dpi=dpi)


def movie(path, draw, moments, ms=120):
    """Write a movie as PATH.gif and as the page PATH.html, with one frame for each moment.

    draw(fig, moment) draws a frame. The page has a slider, and it contains its pictures. If a
    file cannot be written, a warning is printed.
    """
    from matplotlib import rc_context
    from matplotlib.animation import HTMLWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    fig = Figure(FRAME, dpi=80)
    canvas = FigureCanvasAgg(fig)
    pages, writer = [], HTMLWriter(1000 / ms, embed_frames=True, default_mode="once")
    with attempt(path + ".html"), replacing(path + ".html") as temporary:
        with rc_context({"animation.embed_limit": 200}), writer.saving(fig, temporary, fig.dpi):
            for moment in moments:
                draw(fig, moment)
                writer.grab_frame()                             # draws on the canvas
                page = Image.fromarray(np.array(canvas.buffer_rgba())[..., :3])
                pages.append(page.quantize(64, dither=Image.Dither.NONE))
        make_self_contained(temporary)
    with attempt(path + ".gif"):
        write_gif(path + ".gif", pages, ms)


ICONS = {"minus": "&minus;", "fast-backward": "|&lt;&lt;", "step-backward": "|&lt;",
         "play fa-flip-horizontal": "&#9664;", "pause": "||", "play": "&#9654;",
         "step-forward": "&gt;|", "fast-forward": "&gt;&gt;|", "plus": "+"}


def make_self_contained(path):
    """Replace the icons of matplotlib's page by characters, as it would download the icons."""
    with open(path, encoding="utf-8") as f:
        text = re.sub(r'<link rel="stylesheet"\s[^>]*>', "", f.read())
    for icon, sign in ICONS.items():
        text = text.replace(f'<i class="fa fa-{icon}"></i>', sign)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


# --- A window, for --live ---------------------------------------------------------------------


def window(title):
    """A new figure in a window. Without a display, prints a sentence and returns None."""
    try:
        import matplotlib.pyplot as plt
        plt.switch_backend(plt.rcParams["backend"])
    except (ImportError, ValueError) as e:
        os.environ["MPLBACKEND"] = "agg"            # can still write files
        print(f"--live: matplotlib cannot open a window ({e}); the film will show the same")
        return None
    if plt.get_backend().lower() in ("agg", "pdf", "ps", "svg", "cairo", "template"):
        print("--live: there is no display to open a window on (matplotlib's backend is "
              f"{plt.get_backend()}); the film will show the same")
        return None
    plt.ion()
    return plt.figure(title, FRAME)


def show(fig, draw):
    """Call draw(fig) and update the window, unless the user has closed the window."""
    import matplotlib.pyplot as plt
    if plt.fignum_exists(fig.number):
        draw(fig)
        fig.canvas.draw_idle()
        plt.pause(.001)                             # the window needs this to redraw itself
