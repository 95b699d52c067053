"""The pictures of a run. Sheets of images are drawn with Pillow, which is quick enough for every epoch; all else with matplotlib."""

import re

import numpy as np

from npgan.runs.checkpoint import replacing

INK, MARK = 255, (255, 208, 0)       # of captions, and of what is marked in a sheet
FRAME = 11, 5.5                      # of a film and of a live window, in inches


def tile(images, shape, columns, gap=2):
    """Images (n, height * width), or (n, 3 * height * width) of `shape` (3, height, width), in [0, 1] as one picture, uint8."""
    *colours, h, w = shape
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * (h + gap) + gap, columns * (w + gap) + gap, *colours), np.uint8)
    for i, image in enumerate(np.clip(images, 0, 1)):
        y, x = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        pixels = np.round(image.reshape(shape) * 255)
        sheet[y:y + h, x:x + w] = np.moveaxis(pixels, 0, -1) if colours else pixels
    return sheet


def sheet(path, images, shape, columns, caption, marked=()):
    """A PNG of images in rows, small ones at twice their size, the caption above; `marked` columns are framed in yellow."""
    from PIL import Image, ImageDraw
    picture, zoom = Image.fromarray(tile(images, shape, columns)).convert("RGB"), 2 if shape[-1] <= 48 else 1
    picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    for c in marked:
        left = c * (shape[-1] + 2) * zoom
        draw.rectangle((left, 0, left + (shape[-1] + 2) * zoom + 2 * zoom - 1, picture.height - 1), outline=MARK, width=2 * zoom)
    write(path, captioned(picture, caption, 15))


def frame(path, images, shape, columns):
    """The same images for the film: small, without a caption."""
    from PIL import Image
    write(path, Image.fromarray(tile(images, shape, columns)))


def captioned(picture, caption, size):
    """The picture below lines of text that are wrapped to its width."""
    from PIL import Image, ImageDraw, ImageFont
    font = ImageFont.load_default(size)
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= picture.width - 12 else [*lines, word]
    top = len(lines) * (size + 5) + 6
    page = Image.new(picture.mode, (picture.width, picture.height + top))
    page.paste(picture, (0, top))
    ImageDraw.Draw(page).multiline_text((6, 3), "\n".join(lines), fill=INK if picture.mode == "L" else (INK,) * 3, font=font, spacing=3)
    return page


def write(path, picture, **options):
    with replacing(path) as temporary:
        picture.save(temporary, **options)


def film(path, frames, captions, ms=120):
    """A GIF of PNG files, one caption each; the last frame stays."""
    from PIL import Image
    pages = [captioned(Image.open(frame), caption, 13) for frame, caption in zip(frames, captions)]
    write(path, pages[0], save_all=True, append_images=pages[1:], duration=[ms] * (len(pages) - 1) + [3000], loop=0, optimize=True)


def curves(path, history, title, best=-np.log(4)):
    """V against its value at p_g = p_data, D(x) and D(G(z)) against 1/2, both players' gradient norms, and the Parzen estimates if any,
    against epochs."""
    from matplotlib.figure import Figure
    column = {name: np.array([row.get(name, np.nan) for row in history], float)
              for name in ("epoch", "V", "D_x", "D_Gz", "norm_d", "norm_g", "parzen_ll")}
    scored = np.isfinite(column["parzen_ll"])
    panels = 4 if scored.any() else 3
    fig = Figure((4 * panels, 3.6), layout="constrained")
    axes = fig.subplots(1, panels)
    style = {"marker": ".", "markersize": 4} if len(history) < 60 else {}
    axes[0].plot(column["epoch"], column["V"], label="V(D, G)", **style)
    axes[0].axhline(best, color="k", ls=":", label=f"{'-log 4' if best == -np.log(4) else f'{best:g}'}: p_g = p_data, D optimal")
    axes[0].set_ylabel("nats")
    axes[1].plot(column["epoch"], column["D_x"], label="mean D(x)", **style)
    axes[1].plot(column["epoch"], column["D_Gz"], label="mean D(G(z))", **style)
    axes[1].axhline(.5, color="k", ls=":", label="1/2")
    axes[1].set_ylim(0, 1)
    axes[2].semilogy(column["epoch"], column["norm_d"], label="|grad of V|, D's parameters", **style)
    axes[2].semilogy(column["epoch"], column["norm_g"], label="|grad of G's loss|, G's parameters", **style)
    if scored.any():
        axes[3].plot(column["epoch"][scored], column["parzen_ll"][scored], marker=".", label="Parzen log-likelihood, test set")
        axes[3].set_ylabel("nats")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.legend(fontsize=8)
        axis.grid(alpha=.3)
    fig.suptitle(title)
    save(path, fig)


def save(path, fig, dpi=110):
    with replacing(path) as temporary:
        fig.savefig(temporary, dpi=dpi)


def movie(path, draw, moments, ms=120):
    """What draw(fig, moment) puts on a figure, one frame each, as PATH.gif and as PATH.html: one page, pictures included, with a slider."""
    from matplotlib import rc_context
    from matplotlib.animation import HTMLWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image
    fig = Figure(FRAME, dpi=80)
    canvas = FigureCanvasAgg(fig)
    pages, writer = [], HTMLWriter(1000 / ms, embed_frames=True, default_mode="once")
    with replacing(path + ".html") as temporary:
        with rc_context({"animation.embed_limit": 200}), writer.saving(fig, temporary, fig.dpi):
            for moment in moments:
                draw(fig, moment)
                writer.grab_frame()                                             # draws; the canvas still holds it
                pages.append(Image.fromarray(np.array(canvas.buffer_rgba())[..., :3]).quantize(64, dither=Image.Dither.NONE))
        self_contained(temporary)
    write(path + ".gif", pages[0], save_all=True, append_images=pages[1:], duration=[ms] * (len(pages) - 1) + [3000], loop=0, optimize=True)


ICONS = {"minus": "&minus;", "fast-backward": "|&lt;&lt;", "step-backward": "|&lt;", "play fa-flip-horizontal": "&#9664;", "pause": "||",
         "play": "&#9654;", "step-forward": "&gt;|", "fast-forward": "&gt;&gt;|", "plus": "+"}


def self_contained(path):
    """matplotlib's page fetches the signs on its buttons from the network: they become characters, and the page needs nothing else."""
    with open(path, encoding="utf-8") as f:
        text = re.sub(r'<link rel="stylesheet"\s[^>]*>', "", f.read())
    for icon, sign in ICONS.items():
        text = text.replace(f'<i class="fa fa-{icon}"></i>', sign)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def window(title):
    """A figure in a window of its own, for --live; None, and a sentence that says so, where there is no display."""
    import matplotlib.pyplot as plt
    if plt.get_backend().lower() in ("agg", "pdf", "ps", "svg", "cairo", "template"):
        print(f"--live: there is no display to open a window on (matplotlib's backend is {plt.get_backend()}); the film will show the same")
        return None
    plt.ion()
    return plt.figure(title, FRAME)


def show(fig, draw):
    """Draw on a live figure, and let its window breathe; nothing once the window has been closed."""
    import matplotlib.pyplot as plt
    if plt.fignum_exists(fig.number):
        draw(fig)
        fig.canvas.draw_idle()
        plt.pause(.001)
