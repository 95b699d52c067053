"""Checkpoints: every parameter and its optimizer's memory by name in one .npz file, with what surrounds them as JSON. Never pickle."""

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


@contextlib.contextmanager
def replacing(path):
    """A temporary name beside `path` to write to; renamed to `path` at the end, and removed if anything goes wrong before it."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, ".new-" + name)              # the end of the name tells writers the format
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def write(path, text):
    """A text file, all at once or not at all."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.write(text)


def save(path, sgd_g, sgd_d, about):
    """Write G and D, given by their optimizers, and the JSON-able dictionary `about`, all at once or not at all."""
    about, arrays = {**about, "format": FORMAT}, {}
    for player, sgd in (("G", sgd_g), ("D", sgd_d)):
        about[player] = {"layers": architecture(sgd.net), "dtype": str(sgd.net.theta.dtype), "t": sgd.t}
        for key, flat in ((player, sgd.net.theta), *((f"{player}.{slot}", getattr(sgd, slot)) for slot in sgd.slots)):
            arrays |= {f"{key}.{name}": view for name, view in sgd.net.named(xp.asnumpy(flat)).items()}
    with replacing(path) as temporary:
        with open(temporary, "wb") as f:
            np.savez(f, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
            f.flush()
            os.fsync(f.fileno())


def architecture(net):
    return [[type(layer).__name__, *layer.args] for layer in net.layers]


def read(path, wanted=lambda name: True):
    """(about, arrays) of a checkpoint; of the arrays only the `wanted` are read. OSError if it cannot be opened, ValueError naming it if
    it is foreign or damaged."""
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as f:
                about = json.loads(f["about"].tobytes())
                arrays = {name: f[name] for name in f.files if name != "about" and wanted(name)}
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
            for player in "GD":
                if about[player]["dtype"] not in ("float32", "float64"):
                    raise ValueError(f"its {player} is of type {about[player]['dtype']}")
                if type(about[player]["t"]) is not int or about[player]["t"] < 0:
                    raise ValueError(f"its {player} has made {about[player]['t']} updates")
                for name, *args in about[player]["layers"]:
                    if name not in LAYERS:
                        raise ValueError(f"there is no layer {name!r}")
        except Exception as e:      # a damaged zip file can end in almost anything
            raise ValueError(f"{path}: not a checkpoint of npgan, or a damaged one ({type(e).__name__}: {' '.join(str(e).split())})") from e
    return about, arrays


def fitting(path, net, flat, arrays, key):
    """[(view of the flat vector of the network, its array `key`.<name>), ...]; ValueError naming the first that does not fit."""
    pairs = []
    for name, view in net.named(flat).items():
        a = arrays.get(f"{key}.{name}")
        if a is None or a.shape != view.shape or a.dtype != view.dtype:
            found = "it is missing" if a is None else f"it is {a.dtype} {a.shape}"
            raise ValueError(f"{path}: {key}.{name} should be {view.dtype} {view.shape}, but {found}")
        pairs.append((view, a))
    return pairs


def restore(path, sgd_g, sgd_d):
    """Put a checkpoint of the same architecture back into the players and their optimizers, or nothing of it; returns its `about`.

    OSError if the file cannot be opened, ValueError naming it if it is foreign or damaged or of another architecture.
    """
    about, arrays = read(path)
    pairs = []
    for player, sgd in (("G", sgd_g), ("D", sgd_d)):
        theirs, ours = about[player]["layers"], json.loads(json.dumps(architecture(sgd.net)))
        if theirs != ours:
            raise ValueError(f"{path}: its {player} is {describe(theirs)}, but this run's is {describe(ours)}: "
                             "choose the settings it was made with, or start afresh elsewhere")
        pairs += fitting(path, sgd.net, sgd.net.theta, arrays, player)
        for slot in sgd.slots:
            pairs += fitting(path, sgd.net, getattr(sgd, slot), arrays, f"{player}.{slot}")
    for view, a in pairs:
        view[...] = xp.asarray(a)
    sgd_g.t, sgd_d.t = about["G"]["t"], about["D"]["t"]
    return about


def describe(layers):
    return " - ".join(f"{name}({', '.join(map(str, args))})" for name, *args in layers)


def load(path):
    """(G, D) of a checkpoint, ready for G(z) and D(x) on the active backend; D(x) is the logit: D says sigmoid of it.

    A G whose mean was kept (optim.Momentum.average) has that for its parameters: it is the one that the pictures show.
    OSError if the file cannot be opened, ValueError naming it if it is foreign or damaged.
    """
    about, arrays = read(path)
    nets = []
    for player in "GD":
        try:
            layers = [LAYERS[name](*args) for name, *args in about[player]["layers"]]
            stored = sum(a.size for name, a in arrays.items() if name[:2] == player + "." and name[2:3].isdigit())    # G.0.W, not G.v.0.W
            if size(layers) != stored:
                raise ValueError(f"the layers of {player} have {size(layers)} parameters, the file has {stored}")
            net = Net(layers, about[player]["dtype"])
        except (TypeError, ValueError, KeyError) as e:
            raise ValueError(f"{path}: not a checkpoint of npgan, or a damaged one ({e})") from e
        mean = f"{player}.mean" if any(name.startswith(f"{player}.mean.") for name in arrays) else player
        for view, a in fitting(path, net, net.theta, arrays, mean):
            view[...] = xp.asarray(a)
        nets.append(net)
    return tuple(nets)
