"""What surrounds a training on images: options, the folder of a run, pictures, scores.

Read examples/mnist.py first. It makes the players, trains them, and uses the classes and
functions of this module, as cifar10.py and faces.py do. This module does not train: the loop is
in fit.py, and the algorithm in gan.py. A run writes into its folder

    after each epoch           checkpoint.npz, samples.png, history.csv, a frame of the film
    after each scored epoch    best.npz, unless an earlier epoch scored as high
    at the end                 curves.png, figure2.png, interpolation.png, training.gif,
                               result.json
"""

import argparse
import contextlib
import csv
import json
import os
import shlex
import sys
import zlib
from dataclasses import dataclass
from typing import Callable

import numpy as np

from npgan import backend as xp
from npgan import metrics
from npgan.data import escape
from npgan.divergences import OBJECTIVES
from npgan.objectives import GENERATOR_LOSSES
from npgan.runs import checkpoint, mpi, options, plots
from npgan.runs.checkpoint import count, natural, number, one_of, positive, positive_count, short_text
from npgan.runs.fit import UPDATES, State, interruptible, iterations_per_epoch

FILES = ("result.json", "checkpoint.npz", "best.npz", "history.csv", "samples.png", "figure2.png",
         "interpolation.png", "curves.png", "training.gif", "frames")


@dataclass
class Preset:
    """An experiment's networks and optimizer, and the defaults of its options."""

    networks: Callable          # networks(pixels, mean image): the layers of G and the layers of D
    optimizer: Callable         # optimizer(net, lr, updates in an epoch): see optim.py
    epochs: int
    batch_size: int
    lr: float
    lr_d: float
    update: str                 # a key of fit.UPDATES
    r1: float = 0.              # weight of the penalty R1 on D; 0: none
    average: int = 0
    parzen_every: int = 0

    OPTIONS = "epochs", "batch_size", "lr", "lr_d", "update", "average", "parzen_every"

    def defaults(self):
        """The options that depend on the preset, with their values: {option: value}."""
        return {name: getattr(self, name) for name in self.OPTIONS}


# --- Options ----------------------------------------------------------------------------------


COMMON = {"data": "auto", "preset": "quick", "k": 1, "objective": "gan", "generator_loss": "non-saturating",
          "seed": 0, "dtype": "float32", "iterations": None}                # the defaults in every preset
MAY_CHANGE = "epochs", "pretrain_epochs", "iterations", "parzen_every", "data"          # when resuming


def parser(description, name, presets, data, known=("auto",), model=""):
    """A parser with the options that all experiments on images have.

    name, model: as in Run
    data: the help text of --data
    known: the values of --data that are not paths

    An option that the user leaves out has no entry in the parsed arguments. Run fills it in.
    """
    def by_preset(option):
        return ", ".join(f"{key}: {getattr(preset, option):g}" for key, preset in presets.items())

    def known_or_path(text):
        return text if text in known or not text else os.path.abspath(os.path.expanduser(text))

    at_least_1, at_least_0 = options.integer(1), options.integer(0)
    p = options.parser(
        description, f"To continue an interrupted run: {command(name, model)} --resume --out DIR\n"
        "Environment: NPGAN_BACKEND=cupy trains on an NVIDIA GPU; NPGAN_DATA=DIR is the folder of the data.",
        argument_default=argparse.SUPPRESS)
    p.add_argument("--data", type=known_or_path, metavar="WHAT", help=data)
    p.add_argument("--preset", choices=presets,
                   help="quick (default): small networks, trained in minutes on two CPU cores; "
                        "paper: the networks and schedules of the authors' code")
    p.add_argument("--epochs", type=at_least_1, metavar="N",
                   help="epochs in all, those before a --resume included "
                        f"({by_preset('epochs')})")
    options.add(p, "--iterations", help="stop after N iterations in all, if --epochs is not reached before")
    p.add_argument("--k", type=at_least_1, help="steps of D for each step of G (default 1)")
    p.add_argument("--batch-size", type=at_least_1, metavar="M",
                   help=f"m, examples in a minibatch ({by_preset('batch_size')})")
    options.add(p, "--objective", "--generator-loss")
    p.add_argument("--update", choices=UPDATES,
                   help="algorithm1 (default of quick): D's step, then G's step with fresh noise; "
                        "simultaneous (default of paper): both steps from one minibatch, as in the "
                        "authors' code")
    p.add_argument("--lr", type=options.positive, metavar="RATE",
                   help=f"learning rate of G ({by_preset('lr')})")
    p.add_argument("--lr-d", type=options.positive, metavar="RATE",
                   help=f"learning rate of D ({by_preset('lr_d')}; with --lr, "
                        "it changes in the same proportion)")
    p.add_argument("--average", type=at_least_0, metavar="N",
                   help="for pictures and scores, G has the mean of its parameters over about the last N "
                        f"updates; 0: its last parameters; no effect on training ({by_preset('average')})")
    if any(preset.parzen_every for preset in presets.values()):
        p.add_argument("--parzen-every", type=at_least_0, metavar="N",
                       help="estimate the Parzen log-likelihood every N epochs; 0: only at the end "
                            f"({by_preset('parzen_every')})")
    options.add(p, "--seed")
    p.add_argument("--dtype", choices=("float32", "float64"), help="default float32")
    default = default_folder(name, model, "PRESET", "N")
    options.add(p, "--out", help=f"the folder for all files of the run (default {default})")
    options.add(p, "--resume", help="continue the run in DIR from its checkpoint.npz, with its settings")
    options.add(p, "--quiet")
    return p


def command(name, model):
    return f"python examples/{name}.py" + (f" --model {model}" if model else "")


def to_resume(command, out, iterations):
    """The command line that continues a run in the folder `out`, to the same last iteration."""
    limit = f" --iterations {iterations}" if iterations else ""
    return f"{command} --resume --out {shlex.quote(out)}{limit}"


def default_folder(name, model, preset, seed):
    return f"runs/{name}-{model}-{preset}-seed{seed}" if model else f"runs/{name}-{preset}-seed{seed}"


# --- A run ------------------------------------------------------------------------------------


class Run:
    """One training on images: its settings, its folder, and its printed lines.

    settings    the value of each option
    preset      the networks and the optimizer
    images      the data, after `load`
    per_epoch   iterations in an epoch, after `load`
    m           examples of a minibatch that this process draws: all of them, or under MPI
                (mpi.py) an equal part
    share       the slice of images.train that this process trains on, after `load`
    epochs      epochs of the whole run
    show        show(x): the pixels in [0, 1] of images x that are scaled as D sees them
    status      the exit status of the program
    where       when Ctrl-C arrived, for the sentence that is printed then
    missing     the files that could not be written
    folder      --out

    name: the name of the example     model: the value of its option --model, if it has one
    stage: if this is the first of two runs, its folder within --out
    parzen_ll(images, samples): the log-likelihood for the history
    scores(images, samples): entries of result.json, and a sentence to print

    A Run is a context. Ctrl-C within the context prints a sentence and sets status = 130.
    A FloatingPointError gets the path of the last good checkpoint added to its message. An
    OSError gets the command that continues from this checkpoint.
    """

    def __init__(self, name, presets, args, prior, parzen_ll=None, scores=None, model="", stage=""):
        args = vars(args)
        default = default_folder(name, model, args.get("preset", COMMON["preset"]), args.get("seed", 0))
        out = args.get("out", default)
        self.folder = options.folder(out, make=False)
        self.out = os.path.join(out, stage) if stage else out
        self.path = os.path.join(self.out, "checkpoint.npz")
        self.experiment, self.model, self.stage = f"{name}-{model}" if model else name, model, stage
        self.prior, self.parzen_ll, self.scores = prior, parzen_ll, scores
        self.show = lambda x: x

        self.about, self.state, self.where = None, State(), "before the first checkpoint"
        if args.get("resume"):
            self.about = read_about(self.path, self.experiment)
            self.state, self.where = State.of(self.path, self.about.get("state")), "after the last checkpoint"
        self.settings = argparse.Namespace(**find_settings(presets, args, self.about, self.path))
        self.resume_command = to_resume(command(name, model), out, self.settings.iterations)
        self.preset, self.epochs = presets[self.settings.preset], self.settings.epochs
        self.quiet, self.status, self.saved = args.get("quiet", False), 0, bool(self.about)
        self.missing, self.warned, self.title = set(), False, ""
        mpi.start()
        self.m = mpi.part_of_minibatch(self.settings.batch_size)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        options.locks.clear()
        if self.title and self.saved and issubclass(kind or object, OSError):       # after `start`
            raise OSError(f"{error}. To continue from the last checkpoint: {self.resume_command}") from error
        if kind is FloatingPointError:
            saved = f"the last good checkpoint is {self.path}"
            good = saved if self.saved else "no checkpoint was written yet"
            raise FloatingPointError(f"{error}; {good}. Begin again with a smaller --lr") from error
        if kind is KeyboardInterrupt:
            advice = f" To continue: {self.resume_command}" if self.saved else ""
            print(f"Interrupted {self.where}.{advice}")
            self.status = 130
            return True                                 # the exception ends here

    def load(self, load):
        """Call load(--data), which gives the images and their label. Returns the images.

        Raises ValueError if the checkpoint was trained on other images, or if they are too few.
        """
        settings, about = self.settings, self.about
        self.images, label = load(settings.data)
        self.label = label.encode(errors="backslashreplace").decode()       # a label may not be valid UTF-8
        self.checksum = zlib.crc32(np.ascontiguousarray(self.images.train))
        if about and about["data"] != self.checksum:
            raise ValueError(f"--resume: {self.out} was trained on {about['label']}, but --data "
                             f"{settings.data} ({self.label}) is not the same data")
        if about and about["backend"] != xp.name():
            print(f"{self.out} was begun on {about['backend']}. {xp.name()} draws other random numbers, so "
                  "the result differs from that of a run on one backend.")
        if about and about["ranks"] != mpi.size():
            print(f"{self.out} was last trained in {about['ranks']} process(es). {mpi.size()} draw other "
                  "random numbers, so the result differs from that of a run with one number of processes.")
        self.per_epoch = iterations_per_epoch(len(self.images.train), settings.batch_size, settings.k)
        self.share = mpi.share(len(self.images.train))
        if self.state.iteration >= self.per_epoch:
            raise ValueError(f"{self.path}: not a checkpoint of a run, or a damaged one: it is at "
                             f"iteration {self.state.iteration} of an epoch of {self.per_epoch}")
        return self.images

    def start(self, sgd_g, sgd_d):
        """Make the folder, read the checkpoint if --resume, and print what will be trained.

        Makes sgd_g keep the mean if --average is not 0. Returns the state to begin with.
        """
        settings, self.sgd_g, self.sgd_d = self.settings, sgd_g, sgd_d
        if settings.average:
            sgd_g.average(settings.average)
        files = (*FILES, self.stage) if self.stage else FILES
        if mpi.rank() == 0:
            options.folder(self.folder, old=() if self.about else files)
            os.makedirs(self.file("frames"), exist_ok=True)
            for folder in self.out, self.file("frames"):    # options.folder does this for self.folder only
                checkpoint.remove_leftovers(folder)
        if self.about:
            checkpoint.restore(self.path, sgd_g, sgd_d)
        else:
            print(f"G\n{sgd_g.net}\nD\n{sgd_d.net}")
        objective = settings.objective if settings.objective != "gan" else ""
        parts = self.label, self.model, self.stage, f"preset {settings.preset}", objective
        self.title = ", ".join(part for part in parts if part)
        limit = f", to stop at iteration {settings.iterations}" if settings.iterations else ""
        mean = f" (G averaged over about the last {settings.average} iterations)" if settings.average else ""
        ranks = f" in {mpi.size()} processes" if mpi.size() > 1 else ""
        print(f"{self.title}, {xp.name()} {settings.dtype}{ranks}: {self.state.epoch} epochs done of "
              f"{self.epochs} in all, {self.per_epoch} iterations each{limit}. "
              f"Watch {self.file('samples.png')}{mean}")
        last = self.epochs * self.per_epoch
        if self.state.iterations(self.per_epoch) >= min(last, settings.iterations or last):
            print("The training is complete. Only the last pictures and scores are made again.")
        return self.state

    def save(self, state):
        """Score the epoch if it is due, and write the checkpoint and what a user watches.

        The files are best.npz, if this epoch scored highest; checkpoint.npz; samples.png;
        history.csv; and, if the epoch is complete, a frame of the film.
        Raises KeyboardInterrupt, but only after writing, if Ctrl-C stopped the training or
        arrived while the files were written. Under MPI rank 0 writes, and the others wait.
        """
        with interruptible() as signals:
            if mpi.rank() == 0:
                self.write(state)
            mpi.any_rank(False)                         # wait until rank 0 has written
            stop = mpi.any_rank(state.interrupted or signals)
        if stop or signals:
            raise KeyboardInterrupt
        self.where = "after the last checkpoint"

    def write(self, state):
        """Write the files of `save`."""
        parzen_every = self.settings.parzen_every
        if not state.iteration and parzen_every and state.epoch % parzen_every == 0:
            samples = self.generate(self.noise(10_000, 1))
            state.history[-1]["parzen_ll"] = self.parzen_ll(self.images, samples)
            self.keep_best(state, state.history[-1]["parzen_ll"])
        self.write_checkpoint(self.path, state)
        self.saved, self.where = True, f"at {position(state)}; everything until then is saved"
        self.show_progress(state)

    def write_checkpoint(self, path, state, **entries):
        checkpoint.save(path, self.sgd_g, self.sgd_d, {
            "experiment": self.experiment, "label": self.label, "data": self.checksum,
            "backend": xp.name(), "ranks": mpi.size(), "config": vars(self.settings),
            "state": state.saved(), **entries})

    def keep_best(self, state, ll):
        """Write best.npz, unless the file exists with a score at least as high as ll.

        Returns the best epoch and its score, as entries of result.json.
        """
        best, path = {"epoch": state.epoch, "parzen_ll": ll}, self.file("best.npz")
        with self.trying("best.npz"):
            kept = checkpoint.read(path, arrays=False)[0] if os.path.exists(path) else None
            if kept:
                checkpoint.check(kept, {"epoch": count, "parzen_ll": number})
            if kept and kept["parzen_ll"] >= ll:
                best = {name: kept[name] for name in best}
            else:
                self.write_checkpoint(path, state, **best)
        return {f"best_{name}": value for name, value in best.items()}

    def show_progress(self, state):
        """Write what a user watches during training: samples.png, a frame, history.csv."""
        samples = self.generate(self.noise(100, 0))
        with self.trying("samples.png"):
            self.sheet("samples.png", samples, 10, f"{self.title}, {position(state)}")
        if not state.iteration:
            with self.trying("frames"):
                plots.frame(self.frame(state.epoch), self.show(samples), self.images.shape, 10)
            self.warn_if_dead(state.history[-1], samples)
        with self.trying("history.csv"):
            self.write_history(state)

    @contextlib.contextmanager
    def trying(self, name):
        """A context that writes a file. If it fails, the run continues, with one warning."""
        try:
            yield
            self.missing.discard(name)
        except Exception as e:                      # of Pillow, matplotlib or the file system
            if name not in self.missing:
                reason = " ".join(str(e).removeprefix(f"{self.file(name)}: ").split()) or type(e).__name__
                print(f"Warning: {self.file(name)} could not be written ({reason}). The run tries again "
                      f"after later epochs or at its end; {self.resume_command} tries again, too",
                      file=sys.stderr)
            self.missing.add(name)

    def warn_if_dead(self, row, samples):
        """Warn, once in a run, if G learns nothing.

        G learns nothing if D rejects all its samples, and if the samples are all one image or
        G's gradient is almost 0.
        """
        one_image = np.ptp(samples, axis=0).max() < 1e-3
        if not self.warned and row["D_Gz"] < 1e-3 and (one_image or row["norm_g"] < 1e-8):
            self.warned = True
            what = "draws one image for every z" if one_image else "has hardly any gradient"
            print(f"Warning: in epoch {row['epoch']} G {what}, and D rejects its samples (mean D(G(z)) "
                  f"{row['D_Gz']:.1g}), so G learns nothing. Begin again, for example with another --seed, "
                  "smaller rates (--lr, --lr-d), or --generator-loss non-saturating", file=sys.stderr)

    def finish(self, state):
        """Write the last pictures and result.json, and print the scores.

        The pictures are curves.png, training.gif, figure2.png and interpolation.png. Files that
        `save` could not write are tried again. Under MPI rank 0 does this, and the others wait.
        """
        if mpi.rank() == 0:
            self.write_results(state)
        mpi.any_rank(False)

    def write_results(self, state):
        """Write the files of `finish`, and print the scores."""
        self.where = "after the training, before the last pictures and scores"
        caption, history = f"{self.title}, {position(state)}", state.history or [state.row(self.per_epoch)]
        self.show_progress(state)
        optimal_value = OBJECTIVES[self.settings.objective].optimal_value
        with self.trying("curves.png"):
            plots.curves(self.file("curves.png"), history, caption, optimal_value)
        with self.trying("training.gif"):
            self.draw_film(state.epoch)
        with self.trying("figure2.png"):
            self.draw_figure2(caption)
        with self.trying("interpolation.png"):
            self.draw_interpolation(caption)
        scores, sentence = {}, ""
        if self.scores:
            print("Estimating the Parzen log-likelihood, and those of real images and k-means centres ...")
            scores, sentence = self.scores(self.images, self.generate(self.noise(10_000, 1)))
            if self.settings.parzen_every:
                scores |= self.keep_best(state, scores["parzen_ll"])
        result = self.result(state) | scores
        checkpoint.write(self.file("result.json"), json.dumps(result, indent=1))
        written = [name for name in FILES if name not in self.missing and os.path.isfile(self.file(name))]
        print(f"{caption}: {result['iterations']} iterations in {state.seconds:.0f} s, "
              f"{1000 * result['seconds_per_iteration']:.1f} ms each\n{sentence}"
              f"{self.out}: {' '.join(written)}")

    # --- Samples of G

    def noise(self, n, stream):
        """n noise samples z (n, ...), drawn on the host, so both backends have the same z.

        stream: the number of the random stream; each use of samples has its own
        """
        z = np.empty((n, *self.sgd_g.net.shapes[0]), self.settings.dtype)
        self.prior(np.random.default_rng((self.settings.seed, stream, 2)), z)
        return z

    def generate(self, z):
        """G(z) (len(z), pixels) on the host. G has the mean of its parameters if it is kept."""
        G = self.sgd_g.net
        with self.sgd_g.averaged():                     # in parts, because a wide network has a large tape
            parts = [xp.asnumpy(G(xp.asarray(z[i:i + 1000]))) for i in range(0, len(z), 1000)]
        return np.concatenate(parts).astype("float32", copy=False).reshape(len(z), -1)

    # --- Files

    def file(self, name):
        return os.path.join(self.out, name)

    def frame(self, epoch):
        return self.file(f"frames/{epoch:04}.png")

    def sheet(self, name, x, columns, caption, marked=()):
        plots.sheet(self.file(name), self.show(x), self.images.shape, columns, caption, marked)

    def write_history(self, state):
        """Write history.csv: a row for each complete epoch, and one for a partial epoch."""
        rows = state.history + ([state.row(self.per_epoch)] if state.iteration else [])
        names = [name for name in rows[0] if name != "parzen_ll"] + ["parzen_ll"]
        with checkpoint.replacing(self.file("history.csv")) as temporary:
            with open(temporary, "w", newline="") as f:
                writer = csv.DictWriter(f, names)
                writer.writeheader()
                writer.writerows(rows)

    def draw_film(self, epochs):
        """Write training.gif with at most 60 of the frames, if there are any."""
        frames = [epoch for epoch in range(1, epochs + 1) if os.path.exists(self.frame(epoch))]
        if not frames:
            return
        chosen = [frames[round(i)] for i in np.linspace(0, len(frames) - 1, min(len(frames), 60))]
        captions = [f"{self.title}, epoch {epoch}" for epoch in chosen]
        plots.film(self.file("training.gif"), [self.frame(epoch) for epoch in chosen], captions)

    def draw_figure2(self, caption):
        """Write 8 rows of 6 samples, as in the paper's Figure 2.

        Beside the last sample of each row is the training example nearest to this sample.
        """
        samples = self.generate(self.noise(48, 2))
        nearest = self.images.train[xp.asnumpy(metrics.nearest(samples[5::6], self.images.train))]
        rows = np.concatenate([samples.reshape(8, 6, -1), nearest[:, None]], axis=1).reshape(56, -1)
        self.sheet("figure2.png", rows, 7, f"{caption}: samples; in yellow the training example nearest "
                   "to the sample on its left", marked=(6,))

    def draw_interpolation(self, caption):
        """Write G(z) for z along 8 straight lines in z space, as in the paper's Figure 3."""
        ends = self.noise(16, 3)
        steps = np.linspace(0, 1, 12, dtype=self.settings.dtype).reshape(12, *[1] * (ends.ndim - 1))
        z = np.concatenate([(1 - steps) * a + steps * b for a, b in zip(ends[::2], ends[1::2])])
        self.sheet("interpolation.png", self.generate(z), 12,
                   f"{caption}: along straight lines between two points of z space")

    def result(self, state):
        """The entries of result.json that every run has."""
        names = ("preset", "dtype", "seed", "k", "batch_size", "objective", "generator_loss", "update", "lr",
                 "lr_d", "average")
        iterations = state.iterations(self.per_epoch)
        return {"experiment": self.experiment, "stage": self.stage, "dataset": self.label,
                "backend": xp.name(), "epochs": state.epoch, "iterations": iterations,
                **{name: getattr(self.settings, name) for name in names},
                "seconds": state.seconds, "seconds_per_iteration": state.seconds / iterations}


def read_about(path, experiment):
    """The entry `about` of a run's checkpoint (checkpoint.py).

    Raises ValueError if there is no checkpoint, or one of another experiment.
    """
    if not os.path.exists(path):
        raise ValueError(f"--resume: there is no {path}; leave --resume out to begin a run, or name "
                         "the run's folder with --out")
    about, _ = checkpoint.read(path, arrays=False)
    found = about.get("experiment", "something else")
    if found != experiment:
        raise ValueError(f"--resume: {path} is a checkpoint of {escape(found, 60)}, but this run is "
                         f"{experiment}")
    about = {"ranks": 1, **about}                       # older checkpoints do not name it
    with checkpoint.reading(path, "a checkpoint of a run"):
        checkpoint.check(about, {"label": short_text, "data": natural, "backend": short_text,
                                 "ranks": positive_count})
    return about | {name: escape(about[name], 200) for name in ("label", "backend")}       # are printed


CONFIG = {       # for each option, a check of its value in a checkpoint
    "data": short_text, "preset": short_text, "seed": natural, "dtype": one_of(["float32", "float64"]),
    "objective": one_of(OBJECTIVES), "generator_loss": one_of(GENERATOR_LOSSES), "update": one_of(UPDATES),
    "k": positive_count, "batch_size": positive_count, "epochs": positive_count,
    "pretrain_epochs": positive_count, "iterations": lambda x: x is None or positive_count(x),
    "average": count, "parzen_every": count, "lr": positive, "lr_d": positive,
}


def find_settings(presets, args, about, path):
    """{option: its value}: from the command line, else the checkpoint, else the default.

    Raises ValueError if the checkpoint was made with another value than the command line's.
    """
    if about:
        names = COMMON.keys() | next(iter(presets.values())).defaults().keys()
        with checkpoint.reading(path, "a checkpoint of this example"):
            kinds = {name: CONFIG[name] for name in names}
            checkpoint.check(about.get("config"), kinds | {"preset": one_of(presets)})
            if about["config"].keys() != names:
                raise ValueError("it was made by another version")
        config = {**about["config"], "iterations": None}
    else:
        preset = presets[args.get("preset", COMMON["preset"])]
        config = {**COMMON, **preset.defaults(), "lr_d": args.get("lr", preset.lr) * preset.lr_d / preset.lr}
    args = {name: value for name, value in args.items() if name in config}
    for name, value in args.items():
        if about and name not in MAY_CHANGE and value != config[name]:
            raise ValueError(f"--{name.replace('_', '-')} {value}: {path} was made with {config[name]}; "
                             "leave the option out to continue, or begin another run with another --out")
    config |= args
    if config["update"] == "simultaneous" and config["k"] != 1:
        raise ValueError(f"--k {config['k']}: the simultaneous update has k = 1; add --update algorithm1")
    return config


def position(state):
    """The text "epoch 3" or, within epoch 4, "epoch 3 and 40 iterations"."""
    return f"epoch {state.epoch}" + (f" and {state.iteration} iterations" if state.iteration else "")


# --- Scores -----------------------------------------------------------------------------------


def parzen_ll(images, samples):
    """The Parzen log-likelihood of the test set, in nats."""
    return metrics.parzen(samples, images.valid, images.test).ll


def parzen_scores(images, samples, sigmas=metrics.SIGMAS):
    """Entries of result.json, and a sentence: Parzen log-likelihoods of the test set.

    The two anchors beside that of the samples are explained in metrics.py.
    """
    ours = metrics.parzen(samples, images.valid, images.test, sigmas)
    n = min(10_000, len(images.train))
    anchors = metrics.anchors(images.train, images.valid, images.test, n, sigmas=sigmas)
    real, kmeans = anchors.real, anchors.kmeans
    entries = {"parzen_ll": ours.ll, "parzen_se": ours.se, "parzen_sigma": ours.sigma,
               "parzen_sigma_at_edge": ours.at_edge, "parzen_samples": ours.samples,
               "parzen_real_data": real.ll, "parzen_real_data_n": real.samples,
               "parzen_kmeans": kmeans.ll, "parzen_kmeans_n": kmeans.samples}
    sentence = (f"Parzen log-likelihood of the test set: {ours.ll:.0f} +- {ours.se:.1f} nats "
                f"(sigma {ours.sigma:.3f})\n"
                f"  with {real.samples} real training images as samples: {real.ll:.0f}; "
                f"with {kmeans.samples} k-means centres: {kmeans.ll:.0f}\n")
    return entries, sentence
