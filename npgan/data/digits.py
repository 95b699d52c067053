"""MNIST, or the rendered digits if MNIST is not available.

All examples that train on digits call `load`, so the option --data means the same in each. Read
mnist.py, which reads MNIST, and glyphs.py, which renders digits, first. If the user does not
name a data set, this module chooses one of the two, and prints why if it is not MNIST. A choice
of the user is never replaced.
"""

from npgan.data import by_name, glyphs, mnist, npgan_data, tell


def load(what="auto"):
    """Load the digits as `Images`. Returns them and the name that all output uses for them.

    "glyphs": the rendered digits. "mnist": MNIST, or an error. "auto": MNIST if it is found or
    can be downloaded, otherwise the rendered digits. Any other text is the path of a directory
    with IDX files, or of a file such as Keras' mnist.npz.
    """
    search = by_name(what, "auto", "mnist", "glyphs")
    if what == "glyphs":
        return glyphs.load(), "rendered digits"
    if search and npgan_data():
        try:
            mnist.find(npgan_data())
        except OSError as e:
            tell(f"NPGAN_DATA: {e}; searching elsewhere")
    try:
        images = mnist.load(None if search else what)
    except OSError as e:
        if what != "auto":
            raise
        tell(f"{e}\nSo this run trains on the rendered digits, not on MNIST.")
        return glyphs.load(), "rendered digits"
    if what == "mnist" and images.name != "mnist":
        raise ValueError(f'--data mnist: NPGAN_DATA has "{images.name}", not MNIST; '
                         "unset NPGAN_DATA, or say --data DIR to train on these images")
    return images, "MNIST" if images.name == "mnist" else images.name
