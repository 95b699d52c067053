"""The paper's experiment on faces: adversarial nets that are trained twice, the second time with two new layers beneath the generator.

First DIR/pretrain: G maps noise z to faces. Then DIR: two new layers map z to what the pretrained layers, which go on from their
checkpoint there, take for noise; D begins afresh, with the same networks. Each of the two folders holds all that its stage makes:
samples.png (refreshed every epoch), history.csv, checkpoint.npz, and at the end curves.png, figure2.png, interpolation.png, training.gif
and result.json. --resume goes on in the stage that was interrupted; --iterations stops each of them.

The Parzen estimate is made on each fold of the Toronto Face Database, sigma included, and then averaged: +- is the standard error over
the five folds. Other faces stand in for the database where it cannot be had, and their figures are not to be compared with published ones.
"""

import argparse
import math
import os
import zlib

import numpy as np

from npgan import metrics
from npgan.data import by_name, tfd
from npgan.layers import Dropout, Linear, Maxout, ReLU, Scale, Sigmoid, constant, he, logit, sparse, uniform
from npgan.optim import Adam, MaxColumnNorm, Ramp
from npgan.penalty import R1
from npgan.priors import Normal
from npgan.runs import checkpoint, images, options

NOISE = 100
EPOCH = 10_000          # images: fewer than half of it, and their mirror images, are gone through several times in what is called an epoch


# --- The networks of the authors' published configurations: pretraining's, and the new layers of the second stage -------------------


def paper(pixels, mean):
    r = uniform(.05)
    G = [Linear(NOISE, 8000, r), ReLU(), Linear(8000, 8000, r, constant(-2)), Sigmoid(),
         Linear(8000, pixels, sparse(100), logit(mean)), Sigmoid()]
    r = uniform(.005)
    D = [Dropout(.8), Linear(pixels, 6000, r), Maxout(5), Dropout(.5), Linear(1200, 6000, r), Maxout(5), Dropout(.5), Linear(1200, 1, r)]
    return G, D


def paper_beneath():
    r = uniform(.05)
    return [Linear(NOISE, 8000, r), ReLU(), Linear(8000, NOISE, r, constant(-2)), Sigmoid()]


def paper_optimizer(net, lr, updates):
    return images.paper_optimizer(net, lr, updates, MaxColumnNorm(1.9365))


# --- Smaller ones of the same kind, for few images and little time -----------------------------------------------------------------


def quick(pixels, mean):
    G = [Linear(NOISE, 256, he), ReLU(), Linear(256, 320, he), ReLU(), Linear(320, pixels, uniform(.02), logit(mean)), Sigmoid()]
    D = [Scale(4, -2), Linear(pixels, 192, he), Maxout(2), Linear(96, 128, he), Maxout(2), Linear(64, 1, he)]
    return G, D


def quick_beneath():
    return [Linear(NOISE, 256, he), ReLU(), Linear(256, NOISE, uniform(.4)), Sigmoid()]


def quick_optimizer(net, lr, updates):
    """Both players' rates fall to a tenth over 16 epochs, and stay there."""
    return Adam(net, Ramp(updates, lr, lr / 10, 16), .5, .99)


# The authors' D ascends half of V at rate .05: that is V at .025.
PRESETS = {
    "quick": dict(networks=quick, beneath=quick_beneath, optimizer=quick_optimizer, penalty=lambda: R1(1), pretrain_epochs=12, epochs=16,
                  batch_size=32, lr=1e-3, lr_d=1e-3, average=1500, parzen_every=4, update="algorithm1"),
    "paper": dict(networks=paper, beneath=paper_beneath, optimizer=paper_optimizer, pretrain_epochs=50, epochs=22,
                  batch_size=100, lr=.05, lr_d=.025, parzen_every=10, update="simultaneous"),
}


# --- The two stages ----------------------------------------------------------------------------------------------------------------


def pretraining(presets):
    """The presets of the first stage. Its checkpoint keeps, as train_epochs, how many epochs the second is to have."""
    def first(pretrain_epochs, epochs, **preset):
        return {**preset, "epochs": pretrain_epochs, "train_epochs": epochs}
    return {name: first(**preset) for name, preset in presets.items()}


def training(presets, pretrained):
    """The presets of the second stage: the new layers, and on top of them G's of pretraining with the arrays that it ended with."""
    def second(networks, beneath, pretrain_epochs, **preset):
        def stacked(pixels, mean):
            G, D = networks(pixels, mean)
            for l, layer in enumerate(G):
                for name in layer.parameters:
                    layer.initial[name] = constant(pretrained[f"G.{l}.{name}"])
            return [*beneath(), *G], D
        return {**preset, "networks": stacked}
    return {name: second(**preset) for name, preset in presets.items()}


def main(args):
    """Both stages, or where a run is resumed what is left of them."""
    given = vars(args)
    out = images.place(FACES, given)
    first, second = os.path.join(out, "pretrain", "checkpoint.npz"), os.path.join(out, "checkpoint.npz")
    if not (given.get("resume") and follows(second, first)):
        names = {"pretrain_epochs": "epochs", "epochs": "train_epochs"}
        status = images.main(FACES._replace(stage="pretrain", presets=pretraining(PRESETS)),
                                 {names.get(name, name): value for name, value in given.items()})
        if status:
            return status
        about, pretrained = end(first)
        config = about["config"]
        given = {**config, "epochs": config["train_epochs"], "iterations": None, **given, "out": out, "pretrained": mark(pretrained)}
        for name in "train_epochs", "pretrain_epochs", "resume":
            given.pop(name, None)
    elif "pretrain_epochs" in given:
        raise ValueError(f"--pretrain-epochs {given['pretrain_epochs']}: {out} is in its second stage; leave the option out to go on")
    else:
        pretrained = end(first)[1]
    return images.main(FACES._replace(presets=training(PRESETS, pretrained)), given)


def end(path):
    """Of a checkpoint, what it says of itself and G's parameters."""
    return checkpoint.read(path, lambda name: name[:2] == "G." and name[2].isdigit())


def mark(pretrained):
    """What tells one pretrained G from another."""
    return zlib.crc32(pretrained.get("G.0.W", b""))


def follows(second, first):
    """Whether pretraining reached its epochs, and the second stage's checkpoint began from its."""
    if not (os.path.exists(first) and os.path.exists(second)):
        return False
    about, pretrained = checkpoint.read(first, lambda name: name == "G.0.W")               # which is all that mark looks at
    later, _ = checkpoint.read(second, lambda name: False)
    complete = about.get("state", {}).get("epoch", 0) >= about.get("config", {}).get("epochs", math.inf)
    return complete and later.get("config", {}).get("pretrained") == mark(pretrained)


# --- The faces, and the estimate on each of their folds ------------------------------------------------------------------------------


def load(what):
    """The faces to train on, in `valid` and `test` a list of the folds' each; and the name by which every output calls them.

    The database trains on its unlabelled images and has five folds. Stand-ins have none of these: they train on the first fold's own
    images, and have no other fold, since the others validate and test on those.
    """
    faces = tfd.read(None if by_name(what, "auto") else what)
    images, *folds = tfd.split(faces), tfd.split(faces, 0, "train")
    if not np.array_equal(images.train, folds[0].train):
        folds += [tfd.split(faces, fold, "train") for fold in range(1, tfd.FOLDS)]
    label = {"tfd": "TFD", "olivetti": "Olivetti faces"}.get(images.name, images.name)
    if images.name != "tfd":
        print(f"{label}, {len(images.train)} images to train on: not the Toronto Face Database")
    if len(images.train) <= EPOCH // 2:                                                     # the labels stay: as many as images
        mirrored = images.train.reshape(-1, *images.shape)[:, :, ::-1].reshape(images.train.shape)
        images = images._replace(train=np.tile(np.concatenate([images.train, mirrored]), (EPOCH // (2 * len(images.train)), 1)))
    return images._replace(valid=[fold.valid for fold in folds], test=[fold.test for fold in folds]), label


def estimate(images, samples):
    """The Parzen estimate: the mean over the folds of each one's mean log-likelihood (nats), its standard error (of one fold: over its
    test images), and each fold's sigma."""
    folds = [metrics.parzen(samples, valid, test) for valid, test in zip(images.valid, images.test)]
    ll = np.array([fold.ll for fold in folds])
    return float(ll.mean()), float(ll.std(ddof=1) / np.sqrt(len(ll))) if len(ll) > 1 else folds[0].se, [fold.sigma for fold in folds]


def score(images, samples):
    return estimate(images, samples)[0]


def scores(images, samples):
    """Entries of result.json, and a sentence: the estimate of the samples beside those of real images and of k-means centres."""
    train = images.train[:len(images.train_labels)]
    n, k = min(10_000, len(train)), min(10_000, -(-len(train) // 2))
    (ll, se, sigma), real, means = (estimate(images, s) for s in (samples, metrics.kmeans(train, n, 0), metrics.kmeans(train, k, 1)))
    over = f"{len(sigma)} folds" if len(sigma) > 1 else "the test images of one fold"
    sentence = (f"Parzen log-likelihood: {ll:.0f} +- {se:.0f} nats over {over} (sigma {', '.join(f'{s:.3f}' for s in sigma)})\n"
                f"  the same of {n} real training images as samples: {real[0]:.0f} +- {real[1]:.0f}; "
                f"of {k} k-means centres: {means[0]:.0f} +- {means[1]:.0f}\n")
    if images.name != "tfd":
        sentence += "  These are not the Toronto Face Database: not to be compared with the paper's 2057 +- 26\n"
    return {"parzen_ll": ll, "parzen_se": se, "parzen_sigma": sigma, "parzen_folds": len(sigma), "parzen_real_data": real[0],
            "parzen_real_data_se": real[1], "parzen_kmeans": means[0], "parzen_kmeans_se": means[1]}, sentence


FACES = images.Experiment("faces", PRESETS, load, Normal(), NOISE, score=score, scores=scores)


def parser():
    p = images.add_options(argparse.ArgumentParser(description=__doc__), FACES,
                           '"auto" (default): in the directory NPGAN_DATA, TFD_48x48.mat, else olivettifaces.mat; or either file; or a '
                           "directory with one of them, or with images of faces. " + "TFD: " + tfd.ADVICE)
    epochs = ", ".join(f"{name}: {preset['pretrain_epochs']}" for name, preset in PRESETS.items())
    p.add_argument("--pretrain-epochs", type=options.integer(1), metavar="N", help=f"epochs of the first stage to reach in all ({epochs})")
    return p


if __name__ == "__main__":
    options.run_program(parser(), main)
