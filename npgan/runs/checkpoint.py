"""Checkpoints: one .npz file with the networks, the optimizers' memory, and JSON about the run.

Read net.py and optim.py first. Arrays have names such as G.0.W (a parameter), G.v.0.W
(momentum) and G.mean.0.W (the mean of the iterates). The entry `about` is a JSON text: the
layers of both networks, the number of updates, and what the caller adds. Nothing is pickled, so
no file can run code. A file is replaced as a whole: a crash leaves the old one.
"""

import contextlib
import json
import os

import numpy as np

from npgan import backend as xp
from npgan import conv
from npgan import layers as layer_types
from npgan.net import Net, size

FORMAT = "npgan checkpoint 1"
LAYERS = {name: kind for name, kind in (vars(layer_types) | vars(conv)).items()
          if isinstance(kind, type) and name not in ("Layer", "Affine", "Elementwise")}


# --- Files that are replaced as a whole -------------------------------------------------------


@contextlib.contextmanager
def replacing(path):
    """A temporary path to write to. At the end it replaces `path`; after an error it is
    removed.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, ".new-" + name)         # keeps the ending, which tells the format
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def write(path, text):
    """Write a text file."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.write(text)


# --- Checkpoints ------------------------------------------------------------------------------


def save(path, sgd_g, sgd_d, about):
    """Write both players, which their optimizers know, and the dictionary `about`."""
    about, arrays = {**about, "format": FORMAT}, {}
    for player, sgd in (("G", sgd_g), ("D", sgd_d)):
        about[player] = {"layers": architecture(sgd.net), "dtype": str(sgd.net.theta.dtype), "t": sgd.t}
        for key, flat in flat_vectors(player, sgd):
            arrays |= {f"{key}.{name}": a for name, a in sgd.net.named(xp.asnumpy(flat)).items()}
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with replacing(path) as temporary, open(temporary, "wb") as f:
        np.savez(f, about=text, **arrays)
        f.flush()
        os.fsync(f.fileno())


def restore(path, sgd_g, sgd_d):
    """Put a checkpoint back into both players and their optimizers. Returns its `about`.

    Raises OSError if the file cannot be opened, and ValueError, naming the file, if it is
    damaged or of another architecture. After an error nothing is changed.
    """
    about, arrays = read(path)
    pairs = []
    for player, sgd in (("G", sgd_g), ("D", sgd_d)):
        saved = about[player]["layers"]
        wanted = json.loads(json.dumps(architecture(sgd.net)))   # with lists for tuples
        if saved != wanted:
            raise ValueError(f"{path}: its {player} is {in_words(saved)}, but this run's is "
                             f"{in_words(wanted)}. Choose the checkpoint's settings, or another folder")
        for key, flat in flat_vectors(player, sgd):
            pairs += matched(path, key, sgd.net.named(flat), arrays)
    for view, a in pairs:
        view[...] = xp.asarray(a)
    sgd_g.t, sgd_d.t = about["G"]["t"], about["D"]["t"]
    return about


def load(path):
    """(G, D) of a checkpoint, ready for G(z) and D(x) on the active backend.

    D(x) is the logit; the probability is its sigmoid. If the run kept a mean of G's parameters
    (optim.Momentum.average), G has the mean, as in the run's pictures. Raises OSError if the
    file cannot be opened, and ValueError, naming the file, if it is foreign or damaged.
    """
    about, arrays = read(path)
    nets = []
    for player in "GD":
        try:
            layers = [LAYERS[name](*args) for name, *args in about[player]["layers"]]
            stored = sum(a.size for name, a in arrays.items() if is_parameter(name, player))
            if size(layers) != stored:              # compared before a wrong size asks for all memory
                raise ValueError(f"the layers of {player} have {size(layers)} parameters, "
                                 f"the file has {stored}")
            net = Net(layers, about[player]["dtype"])
        except (TypeError, ValueError, KeyError) as e:
            raise ValueError(f"{path}: not a checkpoint of npgan, or a damaged one ({e})") from e
        mean = f"{player}.mean"
        key = mean if any(name.startswith(mean) for name in arrays) else player
        for view, a in matched(path, key, net.named_parameters(), arrays):
            view[...] = xp.asarray(a)
        nets.append(net)
    return tuple(nets)


def read(path, arrays=True):
    """(about, {name: array}). Without `arrays` only `about` is read. Raises as `load` does."""
    with open(path, "rb") as f:
        try:
            with np.load(f, allow_pickle=False) as file:
                about = json.loads(file["about"].tobytes())
                check(about)
                return about, {name: file[name] for name in file.files if arrays and name != "about"}
        except Exception as e:                      # a damaged zip file can end in almost any error
            reason = f"{type(e).__name__}: {' '.join(str(e).split())}"
            raise ValueError(f"{path}: not a checkpoint of npgan, or a damaged one ({reason})") from e


def check(about):
    """Raises an error if `about` cannot be that of a checkpoint."""
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']!r}")
    for player in "GD":
        if about[player]["dtype"] not in ("float32", "float64"):
            raise ValueError(f"its {player} is of type {about[player]['dtype']}")
        if type(about[player]["t"]) is not int or about[player]["t"] < 0:
            raise ValueError(f"its {player} has made {about[player]['t']} updates")
        for name, *_ in about[player]["layers"]:
            if name not in LAYERS:
                raise ValueError(f"there is no layer {name!r}")


def architecture(net):
    """[["Linear", 100, 1200], ["ReLU"], ...]"""
    return [[type(layer).__name__, *layer.args] for layer in net.layers]


def in_words(layers):
    return " - ".join(f"{name}({', '.join(map(str, args))})" for name, *args in layers)


def flat_vectors(player, sgd):
    """[("G", theta), ("G.v", v), ...]: theta and the vectors that the optimizer keeps."""
    return [(player, sgd.net.theta), *((f"{player}.{slot}", getattr(sgd, slot)) for slot in sgd.slots)]


def is_parameter(name, player):
    """Whether an array is a parameter, such as G.0.W, and not of a slot, such as G.v.0.W."""
    return name.startswith(f"{player}.") and name.split(".")[1].isdigit()


def matched(path, key, views, arrays):
    """[(view, its array in the file), ...]. Raises ValueError if one is missing or does not
    fit.
    """
    pairs = []
    for name, view in views.items():
        a = arrays.get(f"{key}.{name}")
        if a is None or a.shape != view.shape or a.dtype != view.dtype:
            found = "it is missing" if a is None else f"it is {a.dtype} {a.shape}"
            raise ValueError(f"{path}: {key}.{name} should be {view.dtype} {view.shape}, but {found}")
        pairs.append((view, a))
    return pairs
