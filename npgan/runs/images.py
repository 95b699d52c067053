"""A whole experiment on images, from its options to its last picture: what examples/mnist.py, cifar10.py and faces.py have in common.

One folder holds all that a run makes: samples.png (refreshed every epoch), history.csv, checkpoint.npz, and at the end curves.png,
figure2.png, interpolation.png, training.gif and result.json.
"""

import argparse
import csv
import itertools
import json
import math
import os
import zlib
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from npgan import backend as xp
from npgan import metrics
from npgan.runs import checkpoint, fit, options, plots
from npgan.gan import Players
from npgan.net import Net
from npgan.divergences import OBJECTIVES
from npgan.optim import Decay, Momentum, Ramp


class Experiment(NamedTuple):
    """What an example says of its experiment.

    A preset is a dictionary: networks(pixels, mean of each) gives the layers of G and of D; optimizer(net, lr, updates an epoch) a
    player's optimizer; penalty(), if there is one, D's penalty; and the defaults of the options epochs, batch_size, lr, lr_d,
    parzen_every, update, and average (0 if it has none).
    """

    name: str                           # the example's, and the beginning of its default folder's
    presets: dict                       # by name
    load: Callable                      # load(data): Images, and the name by which every output calls them
    prior: Any                          # of z
    noise: int                          # length of z
    score: Optional[Callable] = None    # score(images, samples): the Parzen estimate of the history; None: there are pictures only
    scores: Optional[Callable] = None   # scores(images, samples): (entries of result.json, sentence), at the end
    data: tuple = ("auto",)             # the values of --data that are no path
    model: str = ""                     # where the example has several experiments: the value of its option --model
    normalise: Callable = lambda x: (x, lambda y: y)        # of pixels: what the networks train on, and how pictures show such examples
    stage: str = ""                     # where a run has several: the folder of this one within --out

    @property
    def folder(self):
        """The beginning of the default folder's name, and what a checkpoint says it is of."""
        return f"{self.name}-{self.model}" if self.model else self.name

    @property
    def command(self):
        return f"python examples/{self.name}.py" + f" --model {self.model}" * bool(self.model)


def paper_optimizer(net, lr, updates, project=None):
    """The authors' own: lr divided by 1.000004 after every update, down to 1e-6; mu from .5 in the first epoch to .7 in epoch 250."""
    return Momentum(net, Decay(lr, 1.000004, 1e-6), Ramp(updates, .5, .7, 250), project)


def add_options(parser, experiment, data):
    """The options of every experiment on images. An option that is not given stays out of the namespace."""
    positive, rate, presets = options.integer(1), options.positive, experiment.presets

    def by_preset(key):
        return ", ".join(f"{name}: {preset.get(key, 0):g}" for name, preset in presets.items())

    p = parser
    p.argument_default, p.formatter_class, p.allow_abbrev = argparse.SUPPRESS, argparse.RawDescriptionHelpFormatter, False
    p.epilog = (f"Go on with an interrupted run: {experiment.command} --resume --out DIR\n"
                "NPGAN_BACKEND=cupy runs it on an NVIDIA GPU; NPGAN_DATA=DIR says where the data are.")
    p.add_argument("--data", metavar="WHAT", help=data)
    p.add_argument("--preset", choices=presets, help="quick (default): small networks, trained in minutes on two CPU cores; "
                   "paper: the paper's networks and schedule")
    p.add_argument("--epochs", type=positive, metavar="N", help=f"epochs to reach in all, also when resuming ({by_preset('epochs')})")
    p.add_argument("--iterations", type=positive, metavar="N", help="stop at this many iterations in all, if that comes first")
    p.add_argument("--k", type=positive, help="steps of D for each step of G (default 1)")
    p.add_argument("--batch-size", type=positive, metavar="M", help=f"m, examples in a minibatch ({by_preset('batch_size')})")
    options.add(p, "--objective", "--generator-loss")
    p.add_argument("--update", choices=fit.UPDATES, help="algorithm1 (default of quick) alternates, with fresh noise for G; "
                   "simultaneous (default of paper) is the authors' own code: both players from one minibatch")
    p.add_argument("--lr", type=rate, metavar="RATE", help=f"learning rate of G ({by_preset('lr')})")
    p.add_argument("--lr-d", type=rate, metavar="RATE", help=f"learning rate of D (default: in proportion to G's, as {by_preset('lr_d')})")
    p.add_argument("--average", type=options.integer(0), metavar="N", help="show and score G with the mean of its parameters over about "
                   f"the last N updates, which training takes no notice of; 0: as it is ({by_preset('average')})")
    if experiment.score:
        p.add_argument("--parzen-every", type=options.integer(0), metavar="N",
                       help=f"Parzen log-likelihood every N epochs; 0: at the end only ({by_preset('parzen_every')})")
    p.add_argument("--seed", type=options.integer(0), metavar="N", help="seed of all random numbers (default 0)")
    p.add_argument("--dtype", choices=("float32", "float64"), help="default float32")
    p.add_argument("--out", metavar="DIR", help=f"where everything goes (default runs/{experiment.folder}-PRESET)")
    p.add_argument("--resume", action="store_true", help="go on from checkpoint.npz in DIR, with the settings it was made with")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return p


def place(experiment, given):
    """The folder of the run, --out or the default. Errors: as options.folder."""
    return options.folder(given.get("out", f"runs/{experiment.folder}-{given.get('preset', 'quick')}"), make=False)


def settings(experiment, given):
    """(configuration, --out, the checkpoint's `about` or None, quiet): defaults, then the checkpoint's settings, then what was given."""
    given, out = dict(given), place(experiment, given)
    _, resume, quiet = (given.pop(name, None) for name in ("out", "resume", "quiet"))
    path, about = os.path.join(out, experiment.stage, "checkpoint.npz"), None
    config = {"data": experiment.data[0], "preset": "quick", "k": 1, "objective": "gan", "generator_loss": "non-saturating", "seed": 0,
              "dtype": "float32"}
    if given.get("data", experiment.data[0]) not in experiment.data:
        given["data"] = os.path.abspath(os.path.expanduser(given["data"])) if given["data"] else ""
    if resume:
        if not os.path.exists(path):
            raise ValueError(f"--resume: there is no {path}; leave --resume out to begin, or name the run's folder with --out")
        about, _ = checkpoint.read(path, lambda name: False)                              # the arrays are restore's
        if not {"config", "label", "data", "backend", "state"} <= set(about) or not isinstance(about["config"], dict) \
                or about["config"].get("preset") not in experiment.presets or about["config"].get("objective", "gan") not in OBJECTIVES \
                or about.get("experiment", "mnist") != experiment.folder:
            of = about.get("experiment", "")
            raise ValueError(f"--resume: {path} is a checkpoint, but not one of " + (
                f"--model {experiment.model}: add --model {of[len(experiment.name) + 1:]}" if of.startswith(f"{experiment.name}-")
                else f"this example's{f': it is that of {of}' * bool(of)}"))
        config = {"objective": "gan", "average": 0, **about["config"], "iterations": None}         # the first checkpoints had neither
        for name, value in given.items():
            if not name.endswith("epochs") and name not in ("iterations", "parzen_every", "data") and value != config.get(name):
                raise ValueError(f"--{name.replace('_', '-')} {value}: {path} was made with {config.get(name)}; leave the option out "
                                 "to go on, or begin another run with another --out")
    config |= given
    preset = {name: value for name, value in experiment.presets[config["preset"]].items() if not callable(value)}
    config.setdefault("lr_d", config.get("lr", preset["lr"]) * preset["lr_d"] / preset["lr"])
    config = {"iterations": None, "average": 0, **preset, **config}
    if config["update"] == "simultaneous" and config["k"] != 1:
        raise ValueError(f"--k {config['k']}: the simultaneous update has k = 1; add --update algorithm1")
    return config, out, about, bool(quiet)


def main(experiment, given):
    """The run that the options ask for, begun or resumed; the exit status, 130 where it was interrupted. Errors: ValueError, OSError, and
    FloatingPointError naming the last good checkpoint."""
    config, out, about, quiet = settings(experiment, given)
    again = f"{experiment.command} --resume --out {out}"
    out = os.path.join(out, experiment.stage) if experiment.stage else out
    images, label = experiment.load(config["data"])
    data = zlib.crc32(np.ascontiguousarray(images.train))
    train, show = experiment.normalise(images.train)
    images = images._replace(train=train)
    if about and about["data"] != data:
        raise ValueError(f"--resume: {out} was trained on {about['label']}, and --data {config['data']} ({label}) is not the same data")
    if about and about["backend"] != xp.name():
        print(f"{out} was begun on {about['backend']}: on {xp.name()} the random streams differ, and so will the bits")
    per_epoch = len(images.train) // (config["batch_size"] * config["k"])           # iterations
    if not per_epoch:
        raise ValueError(f"--batch-size {config['batch_size']} --k {config['k']}: {len(images.train)} training examples do not make "
                         "one epoch")

    os.makedirs(os.path.join(out, "frames"), exist_ok=True)
    preset = experiment.presets[config["preset"]]
    layers = preset["networks"](images.train.shape[1], images.train.mean(axis=0))
    G, D = (Net(net, config["dtype"], 2 * config["seed"] + i) for i, net in enumerate(layers))
    p = Players(G, D, config["batch_size"], OBJECTIVES[config["objective"]], config["generator_loss"],
                penalty=preset["penalty"]() if "penalty" in preset else None)
    sgd_d = preset["optimizer"](D, config["lr_d"], per_epoch * config["k"])
    sgd_g = preset["optimizer"](G, config["lr"], per_epoch)
    if config["average"]:
        sgd_g.average(config["average"])
    state, path = fit.State(), os.path.join(out, "checkpoint.npz")
    if about:
        checkpoint.restore(path, sgd_g, sgd_d)
        state = fit.State.of(path, about["state"])
    else:
        print(f"G\n{G}\nD\n{D}")
    objective = config["objective"] if config["objective"] != "gan" else ""
    title = ", ".join(filter(None, (label, experiment.model, experiment.stage, f"preset {config['preset']}", objective)))
    limit = f", to stop at iteration {config['iterations']}" if config["iterations"] else ""
    print(f"{title}, {xp.name()} {config['dtype']}: {state.epoch} epochs done of {config['epochs']} in all, "
          f"{per_epoch} iterations each{limit}. Watch {os.path.join(out, 'samples.png')}"
          + f" (of G averaged over about the last {config['average']} iterations)" * bool(config["average"]))
    if state.epoch * per_epoch + state.iteration >= min(config["epochs"] * per_epoch, config["iterations"] or math.inf):
        print("So nothing is left to train: the last pictures and scores again.")

    def noise(n, stream):
        """z (n, noise) drawn on the host: the same on both backends."""
        z = np.empty((n, experiment.noise), config["dtype"])
        experiment.prior(np.random.default_rng((config["seed"], stream, 2)), z)
        return z

    def generate(z):
        with sgd_g.averaged():
            parts = [xp.asnumpy(G(xp.asarray(z[i:i + 1000]))) for i in range(0, len(z), 1000)]      # wide networks' tapes are large
        return np.concatenate(parts).astype("float32", copy=False).reshape(len(z), -1)

    fixed, saved = noise(100, 0), bool(about)
    try:
        for state in fit.fit(p, xp.asarray(np.asarray(images.train, config["dtype"]).reshape(-1, *D.shapes[0])), experiment.prior,
                             sgd_d, sgd_g, state, seed=config["seed"], epochs=config["epochs"], iterations=config["iterations"],
                             k=config["k"], update=config["update"], quiet=quiet):
            if experiment.score and config["parzen_every"] and not state.iteration and state.epoch % config["parzen_every"] == 0:
                state.history[-1]["parzen_ll"] = experiment.score(images, generate(noise(10_000, 1)))
            samples = show(generate(fixed))
            plots.sheet(os.path.join(out, "samples.png"), samples, images.shape, 10, f"{title}, {moment(state)}")
            if not state.iteration:
                plots.frame(os.path.join(out, "frames", f"{state.epoch:04}.png"), samples, images.shape, 10)
            write_history(os.path.join(out, "history.csv"), state, per_epoch)
            if not saved:
                keep(path)
            checkpoint.save(path, sgd_g, sgd_d, {"experiment": experiment.folder, "label": label, "data": data, "backend": xp.name(),
                                                 "config": config, "state": {**vars(state), "interrupted": False}})
            saved = True
    except FloatingPointError as e:
        good = f"the last good checkpoint is {path}" if saved else "no checkpoint was written yet"
        raise FloatingPointError(f"{e}; {good}. Begin again with a smaller --lr") from e
    except KeyboardInterrupt:
        print(f"Interrupted. {again} goes on from the last checkpoint." if saved else "Interrupted before the first checkpoint.")
        return 130
    if state.interrupted:
        print(f"Interrupted at {moment(state)}, and all of it is saved. To go on: {again}")
        return 130
    try:
        finish(experiment, out, title, config, label, images, show, state, per_epoch, noise, generate)
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


def moment(state):
    return f"epoch {state.epoch}" + f" and {state.iteration} iterations" * bool(state.iteration)


def write_history(path, state, per_epoch):
    """One row per epoch; an epoch that has only begun has its row too."""
    rows = state.history + ([state.row(per_epoch)] if state.iteration else [])
    with checkpoint.replacing(path) as temporary, open(temporary, "w", newline="") as f:
        writer = csv.DictWriter(f, [name for name in rows[0] if name != "parzen_ll"] + ["parzen_ll"])
        writer.writeheader()
        writer.writerows(rows)


def finish(experiment, out, title, config, label, images, show, state, per_epoch, noise, generate):
    """The pictures and the figures that belong to the end of a run."""
    def file(name):
        return os.path.join(out, name)

    now = f"{title}, {moment(state)}"
    plots.curves(file("curves.png"), state.history or [state.row(per_epoch)], now, OBJECTIVES[config["objective"]].optimal_value)
    frames = {epoch: file(f"frames/{epoch:04}.png") for epoch in range(1, state.epoch + 1)}
    frames = {epoch: name for epoch, name in frames.items() if os.path.exists(name)}
    if frames:
        chosen = [list(frames)[round(i)] for i in np.linspace(0, len(frames) - 1, min(len(frames), 60))]
        plots.film(file("training.gif"), [frames[epoch] for epoch in chosen], [f"{title}, epoch {epoch}" for epoch in chosen])

    samples = generate(noise(48, 2))
    beside = samples[5::6]                                            # the paper: nearest to the sample beside it
    nearest = images.train[xp.asnumpy(metrics.nearest(beside, images.train))]
    rows = np.concatenate([samples.reshape(8, 6, -1), nearest[:, None]], axis=1).reshape(56, -1)
    plots.sheet(file("figure2.png"), show(rows), images.shape, 7,
                f"{now}: samples; in yellow the training example nearest to the sample on its left", marked=(6,))

    ends, steps = noise(16, 3).reshape(8, 2, 1, -1), np.linspace(0, 1, 12, dtype=config["dtype"])[:, None]
    lines = (1 - steps) * ends[:, 0] + steps * ends[:, 1]             # (8, 12, noise): straight lines in z space
    plots.sheet(file("interpolation.png"), show(generate(lines.reshape(96, -1))), images.shape, 12,
                f"{now}: along straight lines between two points of z space")

    scores, sentence = {}, ""
    if experiment.scores:
        print("Parzen log-likelihoods, and the two anchors ...")
        scores, sentence = experiment.scores(images, generate(noise(10_000, 1)))
    total = state.epoch * per_epoch + state.iteration
    result = {"experiment": experiment.folder, "stage": experiment.stage, "dataset": label, "preset": config["preset"],
              "backend": xp.name(), "dtype": config["dtype"], "seed": config["seed"],
              "epochs": state.epoch, "iterations": total, "k": config["k"], "batch_size": config["batch_size"],
              "objective": config["objective"], "generator_loss": config["generator_loss"], "update": config["update"],
              "lr": config["lr"], "lr_d": config["lr_d"], "average": config["average"],
              "seconds": state.seconds, "seconds_per_iteration": state.seconds / total, **scores}
    checkpoint.write(file("result.json"), json.dumps(result, indent=1))
    print(f"{now}: {total} iterations in {state.seconds:.0f} s, {1000 * result['seconds_per_iteration']:.1f} ms each\n{sentence}"
          f"{out}: samples.png figure2.png interpolation.png curves.png {'training.gif ' * bool(frames)}history.csv result.json "
          "checkpoint.npz")


def parzen_ll(images, samples):
    """The Parzen log-likelihood of the test set, in nats."""
    return metrics.parzen(samples, images.valid, images.test).ll


def parzen_scores(images, samples):
    """The same with its standard error and sigma, beside the two anchors: entries of result.json, and a sentence."""
    ours = metrics.parzen(samples, images.valid, images.test)
    anchors = metrics.anchors(images.train, images.valid, images.test, n=min(10_000, len(images.train)))
    return ({"parzen_ll": ours.ll, "parzen_se": ours.se, "parzen_sigma": ours.sigma, "parzen_real_data": anchors.real.ll,
             "parzen_kmeans": anchors.kmeans.ll},
            f"Parzen log-likelihood of the test set: {ours.ll:.0f} +- {ours.se:.1f} nats (sigma {ours.sigma:.3f})\n"
            f"  the same of real training images as samples: {anchors.real.ll:.0f}; of k-means centres: {anchors.kmeans.ll:.0f}\n")
