"""Train the adversarial nets of Goodfellow et al. 2014 on MNIST, or on rendered digits where MNIST cannot be had.

One folder holds all that a run makes: samples.png (refreshed every epoch), history.csv, checkpoint.npz, and at the end curves.png,
figure2.png, interpolation.png, training.gif and result.json.
"""

import argparse
import csv
import json
import math
import os
import sys

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

# The paper's configuration is its authors' (see the README); its D ascends half of V, which is V itself at half of their rate .1.
PRESETS = {
    "quick": dict(epochs=24, batch_size=100, lr=.3, lr_d=.1, parzen_every=0, update="algorithm1"),
    "paper": dict(epochs=250, batch_size=100, lr=.1, lr_d=.05, parzen_every=10, update="simultaneous"),
}
NOISE = 100


def quick(pixels, mean):
    """Larger weights and rates than the paper's: small players learn with them from the first epoch."""
    G = [Linear(NOISE, 320, he), ReLU(), Linear(320, 320, he), ReLU(), Linear(320, pixels, uniform(.1), logit(mean)), Sigmoid()]
    r = uniform(.04)
    D = [Dropout(.9), Linear(pixels, 480, r), Maxout(3), Dropout(.6), Linear(160, 480, r), Maxout(3), Dropout(.6), Linear(160, 1, r)]
    return G, D


def quick_schedules(lr, updates):
    """Both players' rates fall to a tenth over 24 epochs; mu stays."""
    return Ramp(updates, lr, lr / 10, 24), .5


def paper(pixels, mean):
    r = uniform(.05)
    G = [Linear(NOISE, 1200, r), ReLU(), Linear(1200, 1200, r), ReLU(), Linear(1200, pixels, r, logit(mean)), Sigmoid()]
    r = uniform(.005)
    D = [Dropout(.8), Linear(pixels, 1200, r), Maxout(5), Dropout(.5), Linear(240, 1200, r), Maxout(5), Dropout(.5), Linear(240, 1, r)]
    return G, D


def paper_schedules(lr, updates):
    return Decay(lr, 1.000004, 1e-6), Ramp(updates, .5, .7, 250)


NETWORKS = {"quick": (quick, quick_schedules), "paper": (paper, paper_schedules)}


def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                argument_default=argparse.SUPPRESS, allow_abbrev=False)
    positive, rate = number(int, 1), number(float, 0, above=True)
    p.add_argument("--data", metavar="WHAT", help='"auto" (default): MNIST if it is found or can be downloaded, else the rendered digits; '
                   '"mnist": MNIST or nothing; "glyphs": the rendered digits; or a directory with four IDX files')
    p.add_argument("--preset", choices=PRESETS, help="quick (default): smaller networks of the same kind, minutes on two CPU cores; "
                   "paper: the paper's networks and schedule")
    p.add_argument("--epochs", type=positive, help="epochs to reach in all, also when resuming (quick: "
                   f"{PRESETS['quick']['epochs']}, paper: {PRESETS['paper']['epochs']})")
    p.add_argument("--iterations", type=positive, help="stop at this many iterations in all, if that comes first")
    p.add_argument("--k", type=positive, help="steps of D for each step of G (default 1)")
    p.add_argument("--batch-size", type=positive, metavar="M", help="m, examples in a minibatch (default 100)")
    p.add_argument("--generator-loss", choices=GENERATOR_LOSSES, help="G ascends log D(G(z)) (non-saturating, default) "
                   "or descends log(1 - D(G(z))) (minimax)")
    p.add_argument("--update", choices=UPDATES, help="algorithm1 (default) alternates, with fresh noise for G; simultaneous is "
                   "the authors' own code: both players from one minibatch")
    p.add_argument("--lr", type=rate, help="learning rate of G (quick: .3, paper: .1)")
    p.add_argument("--lr-d", type=rate, help="learning rate of D (default: in the preset's proportion to --lr, 1/3 or 1/2)")
    p.add_argument("--parzen-every", type=number(int, 0), metavar="N", help="Parzen log-likelihood every N epochs; 0: at the end only "
                   "(quick: 0, paper: 10)")
    p.add_argument("--seed", type=number(int, 0), help="of everything random (default 0)")
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
    """(configuration, where to, the checkpoint's `about` or None): defaults, then the checkpoint's settings, then what was given."""
    passing = {name: given.pop(name, None) for name in ("out", "resume", "quiet")}
    out = passing["out"] or f"runs/mnist-{given.get('preset', 'quick')}"
    path, about = os.path.join(out, "checkpoint.npz"), None
    config = {"data": "auto", "preset": "quick", "k": 1, "generator_loss": "non-saturating", "seed": 0,
              "dtype": "float32", "iterations": None}
    if passing["resume"]:
        if not os.path.exists(path):
            raise ValueError(f"--resume: there is no {path}; leave --resume out to begin, or name the run's folder with --out")
        about, _ = checkpoint.read(path)
        config |= about["config"]
        config["iterations"] = None
        for name, value in given.items():
            if name not in ("epochs", "iterations", "parzen_every", "data") and value != config[name]:
                raise ValueError(f"--{name.replace('_', '-')} {value}: {path} was made with {config[name]}; leave the option out "
                                 "to go on, or begin another run with another --out")
    config |= given
    preset = PRESETS[config["preset"]]
    config.setdefault("lr_d", config.get("lr", preset["lr"]) * preset["lr_d"] / preset["lr"])
    return {**preset, **config}, out, about, bool(passing["quiet"])


def load(what):
    """The images, and the name by which every output calls them."""
    if what == "glyphs":
        return glyphs.load(), "rendered digits"
    try:
        images = mnist.load(None if what in ("auto", "mnist") else what)
    except OSError as e:
        if what != "auto":
            raise
        print(f"{e}\nSo this run trains on the rendered digits, not on MNIST.")
        return glyphs.load(), "rendered digits"
    return images, "MNIST" if images.name == "mnist" else images.name


def main(given):
    config, out, about, quiet = settings(given)
    images, label = load(config["data"])
    if about and about["label"] != label:
        raise ValueError(f"--resume: the run in {out} was trained on {about['label']}, but --data {config['data']} is {label}")
    os.makedirs(os.path.join(out, "frames"), exist_ok=True)
    path = os.path.join(out, "checkpoint.npz")
    if not about and os.path.exists(path):
        os.replace(path, os.path.join(out, "checkpoint.previous.npz"))
        print(f"{out} held a run already: its checkpoint is now checkpoint.previous.npz (--resume goes on with a run)")

    networks, schedules = NETWORKS[config["preset"]]
    layers = networks(images.train.shape[1], images.train.mean(axis=0))
    G, D = (Net(net, config["dtype"], config["seed"] + i) for i, net in enumerate(layers))
    p = Players(G, D, config["batch_size"], generator_loss=config["generator_loss"])
    iterations = len(images.train) // (p.m * config["k"])           # of an epoch
    sgd_d = Momentum(D, *schedules(config["lr_d"], iterations * config["k"]))
    sgd_g = Momentum(G, *schedules(config["lr"], iterations))
    prior, state = Uniform(), run.State()
    if about:
        checkpoint.restore(path, sgd_g, sgd_d)
        state = run.State(**about["state"])
    else:
        print(f"G\n{G}\nD\n{D}")
    title = f"{label}, preset {config['preset']}"
    print(f"{title}, {xp.name()} {config['dtype']}: from epoch {state.epoch} to epoch {config['epochs']}, {iterations} iterations each. "
          f"Watch {os.path.join(out, 'samples.png')}")

    def noise(n, stream):
        """z (n, NOISE) drawn on the host: the same on both backends."""
        return np.random.default_rng((config["seed"], stream, 2)).uniform(-prior.r, prior.r, (n, NOISE))

    def generate(z):
        return xp.asnumpy(G(xp.asarray(z.astype(config["dtype"])))).astype("float32", copy=False)

    def parzen():
        return metrics.parzen(generate(noise(10_000, 1)), images.valid, images.test)

    fixed = noise(100, 0)
    try:
        for state in run.fit(p, xp.asarray(images.train.astype(config["dtype"])), prior, sgd_d, sgd_g, state, seed=config["seed"],
                             epochs=config["epochs"], iterations=config["iterations"], k=config["k"], update=config["update"], quiet=quiet):
            if config["parzen_every"] and not state.iteration and state.epoch % config["parzen_every"] == 0:
                state.history[-1]["parzen_ll"] = parzen().ll
            checkpoint.save(path, sgd_g, sgd_d, {"label": label, "config": config, "state": {**vars(state), "interrupted": False}})
            samples = generate(fixed)
            now = f"epoch {state.epoch}" + (f" and {state.iteration} iterations" if state.iteration else "")
            plots.sheet(os.path.join(out, "samples.png"), samples, images.shape, 10, f"{title}, {now}")
            plots.frame(os.path.join(out, "frames", f"{state.epoch:04}.png"), samples, images.shape, 10)
            write_history(os.path.join(out, "history.csv"), state, iterations)
    except FloatingPointError as e:
        good = path if os.path.exists(path) else "none yet"
        raise FloatingPointError(f"{e}; the last good checkpoint: {good}. Try a smaller --lr") from e
    if state.interrupted:
        print(f"Interrupted at {now}: all of it is in {path}; --resume goes on from there.")
        return 130
    finish(out, f"{title}, epoch {state.epoch}", config, label, images, state, iterations, G, prior, noise, generate, parzen)
    return 0


def write_history(path, state, iterations):
    """One row per epoch; an epoch that has only begun has its row too."""
    rows = state.history + ([state.row(iterations)] if state.iteration else [])
    with checkpoint.replacing(path) as temporary, open(temporary, "w", newline="") as f:
        writer = csv.DictWriter(f, [*rows[0], *({"parzen_ll"} - set(rows[0]))])
        writer.writeheader()
        writer.writerows(rows)


def finish(out, title, config, label, images, state, iterations, G, prior, noise, generate, parzen):
    """The pictures and the figures that belong to the end of a run."""
    def file(name):
        return os.path.join(out, name)

    plots.curves(file("curves.png"), state.history or [state.row(iterations)], title)
    frames = [epoch for epoch in range(1, state.epoch + 1) if os.path.exists(file(f"frames/{epoch:04}.png"))]
    frames = [frames[i] for i in sorted({round(i) for i in np.linspace(0, len(frames) - 1, min(len(frames), 60))})]
    if frames:
        plots.film(file("training.gif"), [file(f"frames/{epoch:04}.png") for epoch in frames], [f"{label}, epoch {e}" for e in frames])

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
    ours, anchors = parzen(), metrics.anchors(images.train, images.valid, images.test, n=min(10_000, len(images.train)))
    total = state.epoch * iterations + state.iteration
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
          f"{out}: samples.png figure2.png interpolation.png curves.png training.gif history.csv result.json checkpoint.npz")


if __name__ == "__main__":
    arguments = parser().parse_args()
    try:
        sys.exit(main(vars(arguments)))
    except (ValueError, OSError, ImportError, FloatingPointError) as e:
        print(f"{os.path.basename(__file__)}: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted; --resume goes on from the last checkpoint.", file=sys.stderr)
        sys.exit(130)
