"""MNIST, or the rendered digits if MNIST is not available.

The examples on digits load them here, so that --data means the same in all of them. Read
mnist.py and glyphs.py first: they make the digits. This module only chooses between them and
prints why. A data set that the user names is never replaced.
"""

from npgan.data import by_name, glyphs, mnist, npgan_data, tell


def load(what="auto"):
    """The digits as `Images`, and the label that all output uses for them.

    "glyphs": the rendered digits. "mnist": MNIST, or an error. "auto": MNIST if it is found or
    can be downloaded, otherwise the rendered digits. Any other text is a directory with IDX
    files.
    """
    search = by_name(what, "auto", "mnist", "glyphs")
    if what == "glyphs":
        return glyphs.load(), "rendered digits"
    if search and npgan_data():
        try:
            mnist.find(npgan_data())
        except OSError as e:
            tell(f"NPGAN_DATA: {e}; looking further")
    try:
        images = mnist.load(None if search else what)
    except OSError as e:
        if what != "auto":
            raise
        tell(f"{e}\nSo this run trains on the rendered digits, not on MNIST.")
        return glyphs.load(), "rendered digits"
    if what == "mnist" and images.name != "mnist":
        raise ValueError(f"--data mnist: NPGAN_DATA leads not to MNIST but to {images.name}; "
                         "unset it, or say --data DIR to train on that")
    return images, "MNIST" if images.name == "mnist" else images.name
