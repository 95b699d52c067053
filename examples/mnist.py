"""Train the adversarial nets of Goodfellow et al. 2014 on MNIST, or on rendered digits where MNIST cannot be had.

One folder holds all that a run makes: samples.png (refreshed every epoch), history.csv, checkpoint.npz, and at the end curves.png,
figure2.png, interpolation.png, training.gif and result.json.
"""

import argparse
import csv
import itertools
import json
import math
import os
import sys
import zlib

import numpy as np

from npgan import backend as xp
from npgan import checkpoint, metrics, plots, run
from npgan.data import glyphs, mnist
from npgan.gan import UPDATES, Players
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid, he, logit, uniform
from npgan.net import Net
from npgan.objectives import GENERATOR_LOSSES
from npgan.optim import Decay, Momentum, Ramp
from npgan.priors import Uniform

NOISE = 100


def quick(pixels, mean):
    """Smaller players with larger weights and rates than the paper's: they learn from the first epoch."""
    G = [Linear(NOISE, 320, he), ReLU(), Linear(320, 320, he), ReLU(), Linear(320, pixels, uniform(.1), logit(mean)), Sigmoid()]
    r = uniform(.04)
    D = [Dropout(.9), Linear(pixels, 480, r), Maxout(3), Dropout(.6), Linear(160, 480, r), Maxout(3), Dropout(.6), Linear(160, 1, r)]
    return G, D


def quick_schedules(lr, updates):
    """Both players' rates fall to a tenth over 24 epochs, and stay there; mu = .5."""
    return Ramp(updates, lr, lr / 10, 24), .5


def paper(pixels, mean):
    """The networks of the authors' published configuration."""
    r = uniform(.05)
    G = [Linear(NOISE, 1200, r), ReLU(), Linear(1200, 1200, r), ReLU(), Linear(1200, pixels, r, logit(mean)), Sigmoid()]
    r = uniform(.005)
    D = [Dropout(.8), Linear(pixels, 1200, r), Maxout(5), Dropout(.5), Linear(240, 1200, r), Maxout(5), Dropout(.5), Linear(240, 1, r)]
    return G, D


def paper_schedules(lr, updates):
    return Decay(lr, 1.000004, 1e-6), Ramp(updates, .5, .7, 250)


# Both at m = 100. The authors' D ascends half of V at rate .1: that is V at .05.
PRESETS = {
    "quick": dict(networks=quick, schedules=quick_schedules, epochs=24, lr=.3, lr_d=.1, parzen_every=0, update="algorithm1"),
    "paper": dict(networks=paper, schedules=paper_schedules, epochs=250, lr=.1, lr_d=.05, parzen_every=10, update="simultaneous"),
}


def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                argument_default=argparse.SUPPRESS, allow_abbrev=False,
                                epilog="Go on with an interrupted run: python examples/mnist.py --resume --out DIR\n"
                                "NPGAN_BACKEND=cupy runs it on an NVIDIA GPU; NPGAN_DATA=DIR says where MNIST is.")
    positive, rate = number(int, 1), number(float, 0, above=True)
    p.add_argument("--data", metavar="WHAT", help='"auto" (default): MNIST if it is found or can be downloaded, else the rendered digits; '
                   '"mnist": MNIST or nothing; "glyphs": the rendered digits; or a directory with four IDX files')
    p.add_argument("--preset", choices=PRESETS, help="quick (default): smaller networks of the same kind, minutes on two CPU cores; "
                   "paper: the paper's networks and schedule")
    p.add_argument("--epochs", type=positive, metavar="N", help="epochs to reach in all, also when resuming (quick: "
                   f"{PRESETS['quick']['epochs']}, paper: {PRESETS['paper']['epochs']})")
    p.add_argument("--iterations", type=positive, metavar="N", help="stop at this many iterations in all, if that comes first")
    p.add_argument("--k", type=positive, help="steps of D for each step of G (default 1)")
    p.add_argument("--batch-size", type=positive, metavar="M", help="m, examples in a minibatch (default 100)")
    p.add_argument("--generator-loss", choices=GENERATOR_LOSSES, help="G ascends log D(G(z)) (non-saturating, default) "
                   "or descends log(1 - D(G(z))) (minimax)")
    p.add_argument("--update", choices=UPDATES, help="algorithm1 (default of quick) alternates, with fresh noise for G; "
                   "simultaneous (default of paper) is the authors' own code: both players from one minibatch")
    p.add_argument("--lr", type=rate, metavar="RATE", help="learning rate of G (quick: .3, paper: .1)")
    p.add_argument("--lr-d", type=rate, metavar="RATE",
                   help="learning rate of D (default: 1/3 of G's for quick, 1/2 for paper)")
    p.add_argument("--parzen-every", type=number(int, 0), metavar="N", help="Parzen log-likelihood every N epochs; 0: at the end only "
                   "(quick: 0, paper: 10)")
    p.add_argument("--seed", type=number(int, 0), metavar="N", help="seed of all random numbers (default 0)")
    p.add_argument("--dtype", choices=("float32", "float64"), help="default float32")
    p.add_argument("--out", metavar="DIR", help="where everything goes (default runs/mnist-PRESET)")
    p.add_argument("--resume", action="store_true", help="go on from checkpoint.npz in DIR, with the settings it was made with")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return p


def number(kind, least, above=False):
    """An argparse type: a finite number of this kind, >= least, or > least."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (least < value < math.inf if above else least <= value < math.inf):
            what = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} {'>' if above else '>='} {least}")
        return value
    return parse


def settings(given):
    """(configuration, folder, the checkpoint's `about` or None, quiet): defaults, then the checkpoint's settings, then what was given."""
    out, resume, quiet = (given.pop(name, None) for name in ("out", "resume", "quiet"))
    if out == "":
        raise ValueError('--out "": name a folder')
    out = out or f"runs/mnist-{given.get('preset', 'quick')}"
    path, about = os.path.join(out, "checkpoint.npz"), None
    config = {"data": "auto", "preset": "quick", "batch_size": 100, "k": 1, "generator_loss": "non-saturating", "seed": 0,
              "dtype": "float32"}
    if given.get("data", "auto") not in ("auto", "mnist", "glyphs"):
        given["data"] = os.path.abspath(given["data"]) if given["data"] else ""
    if resume:
        if not os.path.exists(path):
            raise ValueError(f"--resume: there is no {path}; leave --resume out to begin, or name the run's folder with --out")
        about, _ = checkpoint.read(path)
        if not {"config", "label", "data", "backend", "state"} <= set(about) or about["config"].get("preset") not in PRESETS:
            raise ValueError(f"--resume: {path} is a checkpoint, but not one of this example's")
        config = {**about["config"], "iterations": None}
        for name, value in given.items():
            if name not in ("epochs", "iterations", "parzen_every", "data") and value != config[name]:
                raise ValueError(f"--{name.replace('_', '-')} {value}: {path} was made with {config[name]}; leave the option out "
                                 "to go on, or begin another run with another --out")
    config |= given
    preset = {name: value for name, value in PRESETS[config["preset"]].items() if not callable(value)}
    config.setdefault("lr_d", config.get("lr", preset["lr"]) * preset["lr_d"] / preset["lr"])
    config = {"iterations": None, **preset, **config}
    if config["update"] == "simultaneous" and config["k"] != 1:
        raise ValueError(f"--k {config['k']}: the simultaneous update has k = 1; add --update algorithm1")
    return config, out, about, bool(quiet)


def load(what):
    """The images, and the name by which every output calls them."""
    if what == "glyphs":
        return glyphs.load(), "rendered digits"
    somewhere = what in ("auto", "mnist")
    try:
        if somewhere and os.environ.get("NPGAN_DATA"):
            mnist.find(os.environ["NPGAN_DATA"])
    except OSError as e:
        print(f"NPGAN_DATA: {e}; looking further")
    try:
        images = mnist.load(None if somewhere else what)
    except OSError as e:
        if what != "auto":
            raise
        print(f"{e}\nSo this run trains on the rendered digits, not on MNIST.")
        return glyphs.load(), "rendered digits"
    if what == "mnist" and images.name != "mnist":
        raise ValueError(f"--data mnist: NPGAN_DATA leads not to MNIST but to {images.name}; unset it, or say --data DIR to train on that")
    return images, "MNIST" if images.name == "mnist" else images.name


def main(given):
    config, out, about, quiet = settings(given)
    os.makedirs(os.path.join(out, "frames"), exist_ok=True)
    images, label = load(config["data"])
    data = zlib.crc32(np.ascontiguousarray(images.train))
    if about and about["data"] != data:
        raise ValueError(f"--resume: {out} was trained on {about['label']}, and --data {config['data']} ({label}) is not the same data")
    if about and about["backend"] != xp.name():
        print(f"{out} was begun on {about['backend']}: on {xp.name()} the random streams differ, and so will the bits")
    per_epoch = len(images.train) // (config["batch_size"] * config["k"])           # iterations
    if not per_epoch:
        raise ValueError(f"--batch-size {config['batch_size']} --k {config['k']}: {len(images.train)} training examples do not make "
                         "one epoch")

    preset = PRESETS[config["preset"]]
    layers = preset["networks"](images.train.shape[1], images.train.mean(axis=0))
    G, D = (Net(net, config["dtype"], 2 * config["seed"] + i) for i, net in enumerate(layers))
    p = Players(G, D, config["batch_size"], generator_loss=config["generator_loss"])
    sgd_d = Momentum(D, *preset["schedules"](config["lr_d"], per_epoch * config["k"]))
    sgd_g = Momentum(G, *preset["schedules"](config["lr"], per_epoch))
    prior, state, path = Uniform(), run.State(), os.path.join(out, "checkpoint.npz")
    if about:
        checkpoint.restore(path, sgd_g, sgd_d)
        state = run.State(**about["state"])
    else:
        print(f"G\n{G}\nD\n{D}")
    title, again = f"{label}, preset {config['preset']}", f"python examples/mnist.py --resume --out {out}"
    limit = f", to stop at iteration {config['iterations']}" if config["iterations"] else ""
    print(f"{title}, {xp.name()} {config['dtype']}: {state.epoch} epochs done of {config['epochs']} in all, "
          f"{per_epoch} iterations each{limit}. Watch {os.path.join(out, 'samples.png')}")
    if state.epoch * per_epoch + state.iteration >= min(config["epochs"] * per_epoch, config["iterations"] or math.inf):
        print("So nothing is left to train: the last pictures and scores again.")

    def noise(n, stream):
        """z (n, NOISE) drawn on the host: the same on both backends."""
        return np.random.default_rng((config["seed"], stream, 2)).uniform(-prior.r, prior.r, (n, NOISE))

    def generate(z):
        return xp.asnumpy(G(xp.asarray(z.astype(config["dtype"])))).astype("float32", copy=False)

    def parzen():
        return metrics.parzen(generate(noise(10_000, 1)), images.valid, images.test)

    fixed, saved = noise(100, 0), bool(about)
    try:
        for state in run.fit(p, xp.asarray(images.train.astype(config["dtype"])), prior, sgd_d, sgd_g, state, seed=config["seed"],
                             epochs=config["epochs"], iterations=config["iterations"], k=config["k"], update=config["update"], quiet=quiet):
            if config["parzen_every"] and not state.iteration and state.epoch % config["parzen_every"] == 0:
                state.history[-1]["parzen_ll"] = parzen().ll
            samples, now = generate(fixed), f"epoch {state.epoch}" + (f" and {state.iteration} iterations" if state.iteration else "")
            plots.sheet(os.path.join(out, "samples.png"), samples, images.shape, 10, f"{title}, {now}")
            if not state.iteration:
                plots.frame(os.path.join(out, "frames", f"{state.epoch:04}.png"), samples, images.shape, 10)
            write_history(os.path.join(out, "history.csv"), state, per_epoch)
            if not saved:
                keep(path)
            checkpoint.save(path, sgd_g, sgd_d, {"label": label, "data": data, "backend": xp.name(), "config": config,
                                                 "state": {**vars(state), "interrupted": False}})
            saved = True
    except FloatingPointError as e:
        good = f"the last good checkpoint is {path}" if saved else "no checkpoint was written yet"
        raise FloatingPointError(f"{e}; {good}. Begin again with a smaller --lr") from e
    except KeyboardInterrupt:
        print(f"Interrupted. {again} goes on from the last checkpoint." if saved else "Interrupted before the first checkpoint.")
        return 130
    if state.interrupted:
        print(f"Interrupted at {now}, and all of it is saved. To go on: {again}")
        return 130
    try:
        finish(out, f"{title}, epoch {state.epoch}", config, label, images, state, per_epoch, noise, generate, parzen)
    except KeyboardInterrupt:
        print(f"Interrupted after the training. For the last pictures and scores: {again}")
        return 130
    return 0


def keep(path):
    """An earlier run's checkpoint is never written over."""
    if os.path.exists(path):
        names = (f"{path[:-4]}.{i}.npz" for i in itertools.count(1))
        kept = next(name for name in names if not os.path.exists(name))
        os.replace(path, kept)
        print(f"There was a run in this folder already: its checkpoint is now {kept} (--resume would have gone on with it)")


def write_history(path, state, per_epoch):
    """One row per epoch; an epoch that has only begun has its row too."""
    rows = state.history + ([state.row(per_epoch)] if state.iteration else [])
    with checkpoint.replacing(path) as temporary, open(temporary, "w", newline="") as f:
        writer = csv.DictWriter(f, [name for name in rows[0] if name != "parzen_ll"] + ["parzen_ll"])
        writer.writeheader()
        writer.writerows(rows)


def finish(out, title, config, label, images, state, per_epoch, noise, generate, parzen):
    """The pictures and the figures that belong to the end of a run."""
    def file(name):
        return os.path.join(out, name)

    plots.curves(file("curves.png"), state.history or [state.row(per_epoch)], title)
    frames = {epoch: file(f"frames/{epoch:04}.png") for epoch in range(1, state.epoch + 1)}
    frames = {epoch: name for epoch, name in frames.items() if os.path.exists(name)}
    if frames:
        chosen = [list(frames)[round(i)] for i in np.linspace(0, len(frames) - 1, min(len(frames), 60))]
        plots.film(file("training.gif"), [frames[epoch] for epoch in chosen], [f"{label}, epoch {epoch}" for epoch in chosen])

    samples = generate(noise(48, 2))
    beside = samples[5::6]                                            # the paper: nearest to the sample beside it
    nearest = images.train[xp.asnumpy(metrics.nearest(beside, images.train))]
    rows = np.concatenate([samples.reshape(8, 6, -1), nearest[:, None]], axis=1).reshape(56, -1)
    plots.sheet(file("figure2.png"), rows, images.shape, 7,
                f"{title}: samples; in yellow the training example nearest to the sample on its left", marked=(6,))

    ends, steps = noise(16, 3).reshape(8, 2, 1, NOISE), np.linspace(0, 1, 12)[:, None]
    lines = (1 - steps) * ends[:, 0] + steps * ends[:, 1]             # (8, 12, NOISE): straight lines in z space
    plots.sheet(file("interpolation.png"), generate(lines.reshape(-1, NOISE)), images.shape, 12,
                f"{title}: along straight lines between two points of z space")

    print("Parzen log-likelihoods, and the two anchors ...")
    ours = parzen()
    anchors = metrics.anchors(images.train, images.valid, images.test, n=min(10_000, len(images.train)))
    total = state.epoch * per_epoch + state.iteration
    result = {"dataset": label, "preset": config["preset"], "backend": xp.name(), "dtype": config["dtype"], "seed": config["seed"],
              "epochs": state.epoch, "iterations": total, "k": config["k"], "batch_size": config["batch_size"],
              "generator_loss": config["generator_loss"], "update": config["update"], "lr": config["lr"], "lr_d": config["lr_d"],
              "seconds": state.seconds, "seconds_per_iteration": state.seconds / total,
              "parzen_ll": ours.ll, "parzen_se": ours.se, "parzen_sigma": ours.sigma,
              "parzen_real_data": anchors.real.ll, "parzen_kmeans": anchors.kmeans.ll}
    with checkpoint.replacing(file("result.json")) as temporary, open(temporary, "w") as f:
        json.dump(result, f, indent=1)
    print(f"{title}: {total} iterations in {state.seconds:.0f} s, {1000 * result['seconds_per_iteration']:.1f} ms each\n"
          f"Parzen log-likelihood of the test set: {ours.ll:.0f} +- {ours.se:.1f} nats (sigma {ours.sigma:.3f})\n"
          f"  the same of real training images as samples: {anchors.real.ll:.0f}; of k-means centres: {anchors.kmeans.ll:.0f}\n"
          f"{out}: samples.png figure2.png interpolation.png curves.png {'training.gif ' * bool(frames)}history.csv result.json "
          "checkpoint.npz")


if __name__ == "__main__":
    arguments = parser().parse_args()
    try:
        sys.exit(main(vars(arguments)))
    except (ValueError, OSError, ImportError, FloatingPointError) as e:
        print(f"{os.path.basename(__file__)}: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
