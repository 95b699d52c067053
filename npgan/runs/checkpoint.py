"""Checkpoints: one .npz file with the networks, the optimizers' vectors, and data on the run.

Read net.py and optim.py first. The arrays of the file have names such as G.0.W (a parameter),
G.v.0.W (momentum) and G.mean.0.W (the mean of the iterates). The entry `about` is a JSON text:
the layers and the number of updates of both networks, and what the caller adds. Nothing is
pickled, so reading a file never runs code from it. A new file is written under another name and
then replaces the old file, so a crash leaves the old file.

A file may come from another person and contain anything. Two functions here help to read such
files: `reading` names the file in each error, and `check` tests the entries of a dictionary.
"""

import contextlib
import glob
import json
import math
import os
import reprlib
import secrets
import zipfile

import numpy as np

from npgan import backend as xp
from npgan import conv, pyramid
from npgan import layers as layer_types
from npgan.data import escape
from npgan.net import Net, size

FORMAT = "npgan checkpoint 1"
MEMBERS, DEPTH = 10_000, 1000       # limits: the arrays of a file, and the layers of a network
LARGEST = 1 << 24                   # limit: the numbers in a layer's output for one example
LAYERS = {name: kind for name, kind in (vars(layer_types) | vars(conv) | vars(pyramid)).items()
          if isinstance(kind, type) and issubclass(kind, layer_types.Layer)
          and name not in ("Layer", "Affine", "Elementwise")}


# --- Files that are replaced as a whole -------------------------------------------------------


@contextlib.contextmanager
def replacing(path):
    """A context that gives a temporary path to write to. Its end moves the file to `path`.

    After an error the temporary file is removed, and the file at `path` is as before.
    The temporary name cannot be guessed, and the file is new, never a link. Its bytes are on
    the disk before it is moved. An OSError in the context names `path`.
    """
    directory, name = os.path.split(path)
    ending = os.path.splitext(name)[1]                          # by which the writers choose the format
    temporary = os.path.join(directory, f".new-{secrets.token_hex(8)}{ending}")
    try:
        try:
            open(temporary, "x").close()
            yield temporary
            with open(temporary, "rb+") as f:
                os.fsync(f.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    except OSError as e:
        kept = "; the old file is kept" if os.path.exists(path) else ""
        raise OSError(f"{path}: cannot be written ({e.strerror or e}){kept}") from e


def remove_leftovers(folder):
    """Remove the temporary files of killed processes. No other process may write there.

    The function leaves subfolders alone, because they may be the folders of other runs.
    """
    for name in glob.glob(f".new-{'[0-9a-f]' * 16}*", root_dir=folder):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, name))


def write(path, text):
    """Write a text file."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.write(text)


# --- Files that may contain anything ----------------------------------------------------------


@contextlib.contextmanager
def reading(path, what="a checkpoint of npgan", advice=""):
    """A context that turns each error into a ValueError that names the file.

    If the file cannot be opened, the error stays an OSError.
    what: what the file should be     advice: text to add at the end of the message
    """
    try:
        yield
    except Exception as e:                          # a damaged file can end in almost any error
        if isinstance(e, OSError) and e.filename is not None:
            raise type(e)(f"{path}: {e.strerror}{advice}") from e
        reason = str(e) if type(e) is ValueError else f"{type(e).__name__}: {e}"
        raise ValueError(f"{path}: not {what}, or a damaged one ({escape(reason, 300)}){advice}") from e


def read_json(path):
    """The value in a JSON file. Call this function in `reading`, and `check` the value."""
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def check(value, kinds, where=""):
    """Raise ValueError unless `value` is a dictionary that has the entries `kinds`.

    kinds: {name: function of the entry that returns whether the entry is valid}
    where: the place of the dictionary in its file, for the message
    The dictionary may have further entries.
    """
    if type(value) is not dict:
        raise ValueError(f"{where or 'it'} is not a dictionary")
    for name, accepts in kinds.items():
        if name not in value:
            raise ValueError(f"{where}{name} is missing")
        if not accepts(value[name]):
            raise ValueError(f"{where}{name} is {escape(reprlib.repr(value[name]))}")


def natural(x):
    """Whether x is an integer >= 0. A bool does not count as an integer."""
    return type(x) is int and x >= 0


def count(x):
    """Whether x is an integer >= 0 that a float can represent exactly."""
    return natural(x) and x < 1 << 53


def positive_count(x):
    return count(x) and x > 0


def number(x):
    """Whether x is a finite number."""
    return type(x) in (int, float) and abs(x) < 1e300


def positive(x):
    return number(x) and x > 0


def short_text(x):
    return type(x) is str and len(x) <= 10_000


def flag(x):
    return type(x) is bool


def one_of(choices):
    """The function of x that returns whether x is one of these texts."""
    return lambda x: type(x) is str and x in choices


def list_of(accepts):
    """The function of x that returns whether x is a list of items that `accepts` accepts."""
    return lambda x: type(x) is list and all(map(accepts, x))


# --- Checkpoints ------------------------------------------------------------------------------


def save(path, sgd_g, sgd_d, about):
    """Write a checkpoint: both optimizers, their networks, and the dictionary `about`."""
    about, arrays = {**about, "format": FORMAT}, {}
    for player, sgd in (("G", sgd_g), ("D", sgd_d)):
        about[player] = {"layers": architecture(sgd.net), "dtype": str(sgd.net.theta.dtype), "t": sgd.t}
        for key, flat in flat_vectors(player, sgd):
            arrays |= {f"{key}.{name}": a for name, a in sgd.net.named(xp.asnumpy(flat)).items()}
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with replacing(path) as temporary, open(temporary, "wb") as f:
        np.savez(f, about=text, **arrays)


def restore(path, sgd_g, sgd_d):
    """Copy a checkpoint into both optimizers and their networks. Returns its `about`.

    Raises OSError if the file cannot be opened, and ValueError, naming the file, if it is
    damaged or has other networks. After an error nothing is changed.
    """
    about, arrays = read(path)
    pairs = []
    for player, sgd in (("G", sgd_g), ("D", sgd_d)):
        saved = about[player]["layers"]
        wanted = json.loads(json.dumps(architecture(sgd.net)))   # lists instead of tuples
        if saved != wanted:
            raise ValueError(f"{path}: its {player} is {escape(in_words(saved))}, but this run's is "
                             f"{in_words(wanted)}. Take the checkpoint's settings, or another folder")
        for key, flat in flat_vectors(player, sgd):
            pairs += matched(path, key, sgd.net.named(flat), arrays)
    for view, a in pairs:
        view[...] = xp.asarray(a)
    sgd_g.t, sgd_d.t = about["G"]["t"], about["D"]["t"]
    return about


def load(path):
    """The networks (G, D) of a checkpoint, for G(z) and D(x) on the active backend.

    D(x) is the logit; its sigmoid is the probability of "real" for the objective "gan". If the
    run kept the mean of G's parameters (optim.Momentum.average), G has the mean, as in the
    run's pictures. Raises OSError if the file cannot be opened, and ValueError, naming the
    file, if it is damaged or not a checkpoint.
    """
    about, arrays = read(path)
    nets = []
    for player in "GD":
        with reading(path):
            layers = [LAYERS[name](*args) for name, *args in about[player]["layers"]]
            stored = sum(a.size for name, a in arrays.items() if is_parameter(name, player))
            if size(layers) != stored:              # a wrong size could need all memory
                raise ValueError(f"the layers of {player} have {size(layers)} parameters, "
                                 f"the file has {stored}")
            net = Net(layers, about[player]["dtype"])
            if max(map(math.prod, net.shapes)) > LARGEST:
                raise ValueError(f"the layers of {player} have too large an output for one example")
        mean = f"{player}.mean"
        key = mean if any(name.startswith(mean) for name in arrays) else player
        for view, a in matched(path, key, net.named_parameters(), arrays):
            view[...] = xp.asarray(a)
        nets.append(net)
    return tuple(nets)


def read(path, arrays=True):
    """(about, {name: array}) of a checkpoint. Raises the errors of `load`.

    arrays=False: read only `about`; the second result is {}.
    A checkpoint is a zip file whose parts are not compressed, so its arrays need no more memory
    than the file has bytes. This is tested before an array is read.
    """
    with reading(path), open(path, "rb") as f, zipfile.ZipFile(f) as file:
        members = {member.filename: member for member in file.infolist()}
        if not len(members) == len(file.infolist()) <= MEMBERS:
            raise ValueError("it has too many arrays, or two of the same name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise ValueError("it is compressed")
        if sum(member.file_size for member in members.values()) > os.fstat(f.fileno()).st_size:
            raise ValueError("its parts overlap")
        about = json.loads(array(file, "about.npy").tobytes())
        check(about, {"format": one_of([FORMAT])})
        for player in "GD":
            check(about.get(player), PLAYER, f"{player}.")
        names = [name for name in members if arrays and name != "about.npy"]
        return about, {name.removesuffix(".npy"): array(file, name) for name in names}


def array(file, name):
    """The array in this member of a zip file.

    If the header names a larger array than the member has bytes for, NumPy raises ValueError.
    """
    with file.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def are_layers(x):
    """Whether x has the form that `architecture` returns."""
    return type(x) is list and len(x) <= DEPTH and all(map(is_layer, x))


def is_layer(x):
    return type(x) is list and 0 < len(x) < 10 and one_of(LAYERS)(x[0]) and all(map(is_argument, x[1:]))


def is_argument(x):
    return flag(x) or number(x) or list_of(count)(x) and len(x) < 10


PLAYER = {"layers": are_layers, "dtype": one_of(["float32", "float64"]), "t": count}


def architecture(net):
    """The layers of a network as lists: [["Linear", 100, 1200], ["ReLU"], ...]"""
    return [[type(layer).__name__, *layer.args] for layer in net.layers]


def in_words(layers):
    return " - ".join(f"{name}({', '.join(map(str, args))})" for name, *args in layers)


def flat_vectors(player, sgd):
    """[("G", theta), ("G.v", v), ...]: theta and the optimizer's vectors, with their keys."""
    return [(player, sgd.net.theta), *((f"{player}.{slot}", getattr(sgd, slot)) for slot in sgd.slots)]


def is_parameter(name, player):
    """Whether this name is of a parameter, as G.0.W is, not of a slot, as G.v.0.W is."""
    return name.startswith(f"{player}.") and name.split(".")[1].isdigit()


def matched(path, key, views, arrays):
    """[(view, its array in the file), ...] for the views {name: view}.

    Raises ValueError if an array is missing, or differs from its view in shape or dtype.
    """
    pairs = []
    for name, view in views.items():
        a = arrays.get(f"{key}.{name}")
        if a is None or a.shape != view.shape or a.dtype != view.dtype:
            found = "it is missing" if a is None else f"it is {a.dtype} {a.shape}"
            raise ValueError(f"{path}: {key}.{name} should be {view.dtype} {view.shape}, but {found}")
        pairs.append((view, a))
    return pairs
