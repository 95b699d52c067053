"""The paper's experiment on faces. G is trained twice, the second time on top of two new
layers.

Read mnist.py first. Its `train` trains both stages:

    DIR/pretrain    G maps noise z to faces
    DIR             two new layers map z to the input of the pretrained G, and all of them are
                    trained; D begins afresh

Each folder holds what mnist.py writes. --iterations stops each stage; --resume goes on in the
stage that was interrupted.

The Parzen log-likelihood is the mean over the five folds of the Toronto Face Database, each
with its own sigma; +- is the standard error over the folds. Without the database the example
takes other faces. Their log-likelihood is not comparable to published ones.
"""

import argparse
import os
from dataclasses import dataclass
from functools import partial
from typing import Callable

import numpy as np
from mnist import NOISE, paper_discriminator, quick_optimizer, train
from mnist import paper_optimizer as mnist_optimizer

from npgan import metrics
from npgan.data import by_name, tfd
from npgan.layers import Linear, Maxout, ReLU, Scale, Sigmoid, constant, he, logit, sparse, uniform
from npgan.optim import MaxColumnNorm
from npgan.priors import Normal
from npgan.runs import checkpoint, images, options
from npgan.runs.images import Preset, Run

PRIOR = Normal()
EPOCH = 10_000          # if there are at most half as many images, an epoch repeats them, mirrored too


# --- The authors' published configurations: pretraining, and the new layers -------------------


def paper_networks(pixels, mean):
    r = uniform(.05)
    G = [Linear(NOISE, 8000, r), ReLU(), Linear(8000, 8000, r, constant(-2)), Sigmoid(),
         Linear(8000, pixels, sparse(100), logit(mean)), Sigmoid()]
    return G, paper_discriminator(pixels, 6000)


def paper_new_layers():
    r = uniform(.05)
    return [Linear(NOISE, 8000, r), ReLU(), Linear(8000, NOISE, r, constant(-2)), Sigmoid()]


def paper_optimizer(net, lr, updates):
    return mnist_optimizer(net, lr, updates, MaxColumnNorm(1.9365))


# --- Smaller networks, for few images and little time -----------------------------------------


def quick_networks(pixels, mean):
    G = [Linear(NOISE, 256, he), ReLU(), Linear(256, 320, he), ReLU(),
         Linear(320, pixels, uniform(.02), logit(mean)), Sigmoid()]
    D = [Scale(4, -2), Linear(pixels, 192, he), Maxout(2), Linear(96, 128, he), Maxout(2), Linear(64, 1, he)]
    return G, D


def quick_new_layers():
    return [Linear(NOISE, 256, he), ReLU(), Linear(256, NOISE, uniform(.4)), Sigmoid()]


@dataclass(kw_only=True)
class FacesPreset(Preset):
    new_layers: Callable        # new_layers(): what the second stage puts beneath G
    pretrain_epochs: int        # of the first stage; `epochs` are those of the second

    OPTIONS = (*Preset.OPTIONS, "pretrain_epochs")


# The authors' D ascends half of V at the rate .05. That is V at the rate .025.
PRESETS = {
    "quick": FacesPreset(quick_networks, partial(quick_optimizer, epochs=16), new_layers=quick_new_layers,
                         pretrain_epochs=12, epochs=16, batch_size=32, lr=1e-3, lr_d=1e-3,
                         update="algorithm1", r1=1, average=1500, parzen_every=4),
    "paper": FacesPreset(paper_networks, paper_optimizer, new_layers=paper_new_layers,
                         pretrain_epochs=50, epochs=22, batch_size=100, lr=.05, lr_d=.025,
                         update="simultaneous", parzen_every=10),
}


# --- The two stages ---------------------------------------------------------------------------


def main(args):
    """Both stages, or if a run is resumed what is left of them."""
    run = Run("faces", PRESETS, args, PRIOR, score, scores, stage="pretrain")
    folder, pretrained = os.path.dirname(run.out), run.path
    second = os.path.join(folder, "checkpoint.npz")
    if not (is_complete(run) and os.path.exists(second)):
        pretrain(run)
        if run.status:
            return run.status
        args = argparse.Namespace(**vars(run.settings), out=folder, quiet=run.quiet)
    elif "pretrain_epochs" in args:
        raise ValueError(f"--pretrain-epochs {args.pretrain_epochs}: {folder} is in its second stage; "
                         "leave the option out to go on")
    with Run("faces", PRESETS, args, PRIOR, score, scores) as run:
        x = run.load(load).train
        layers_g, layers_d = run.preset.networks(x.shape[1], x.mean(axis=0))
        begin_with(layers_g, pretrained)
        train(run, [*run.preset.new_layers(), *layers_g], layers_d)
    return run.status


def is_complete(pretraining):
    """Whether the checkpoint of a resumed pretraining has all epochs."""
    about = pretraining.about
    return bool(about) and about["state"]["epoch"] >= about["config"]["pretrain_epochs"]


def pretrain(run):
    """The first stage."""
    with run:
        run.epochs = run.settings.pretrain_epochs
        x = run.load(load).train
        train(run, *run.preset.networks(x.shape[1], x.mean(axis=0)))


def begin_with(layers_g, path):
    """Make the arrays of G in a checkpoint the initial values of the layers."""
    _, arrays = checkpoint.read(path)
    for l, layer in enumerate(layers_g):
        for name, shape in layer.parameters.items():
            a = arrays.get(f"G.{l}.{name}", ())
            if np.shape(a) != shape:
                raise ValueError(f"{path}: not a checkpoint of these networks, or a damaged one")
            layer.initial[name] = constant(a)


# --- The faces, and the log-likelihood on each of their folds ---------------------------------


def load(data):
    """The faces to train on, and the label that all output uses for them. `valid` and `test`
    are lists with an array for each fold.

    The database trains on its unlabelled images and has five folds. Other faces have no
    unlabelled images. They train on those of the first fold, and have only this fold, because
    the others validate and test on these images.
    """
    faces = tfd.read(None if by_name(data, "auto") else data)
    images, *folds = tfd.split(faces), tfd.split(faces, 0, "train")
    if not np.array_equal(images.train, folds[0].train):
        folds += [tfd.split(faces, fold, "train") for fold in range(1, tfd.FOLDS)]
    label = {"tfd": "TFD", "olivetti": "Olivetti faces"}.get(images.name, images.name)
    if images.name != "tfd":
        print(f"{label}, {len(images.train)} images to train on: not the Toronto Face Database")
    if len(images.train) <= EPOCH // 2:
        mirrored = images.train.reshape(-1, *images.shape)[:, :, ::-1].reshape(images.train.shape)
        both = np.concatenate([images.train, mirrored])
        images = images._replace(train=np.tile(both, (EPOCH // len(both), 1)))      # the labels stay
    return images._replace(valid=[fold.valid for fold in folds], test=[fold.test for fold in folds]), label


def estimate(images, samples):
    """(log-likelihood in nats, its standard error, the sigma of each fold, whether one is at an
    edge of the grid)

    The log-likelihood is the mean over the folds. With one fold, the standard error is over its
    test images.
    """
    folds = [metrics.parzen(samples, valid, test) for valid, test in zip(images.valid, images.test)]
    ll = np.array([fold.ll for fold in folds])
    se = float(ll.std(ddof=1) / np.sqrt(len(ll))) if len(ll) > 1 else folds[0].se
    return float(ll.mean()), se, [fold.sigma for fold in folds], any(fold.at_edge for fold in folds)


def score(images, samples):
    return estimate(images, samples)[0]


def scores(images, samples):
    """The log-likelihood of samples beside those of real images and of k-means centres: entries
    of result.json, and a sentence.
    """
    train = images.train[:len(images.train_labels)]                     # each image once
    n, k = min(10_000, len(train)), min(10_000, -(-len(train) // 2))
    ll, se, sigma, at_edge = estimate(images, samples)
    real, real_se, *_ = estimate(images, metrics.kmeans(train, n, 0))
    centres, centres_se, *_ = estimate(images, metrics.kmeans(train, k, 1))
    over = f"{len(sigma)} folds" if len(sigma) > 1 else "the test images of one fold"
    sigmas = ", ".join(f"{s:.3f}" for s in sigma)
    sentence = (f"Parzen log-likelihood: {ll:.0f} +- {se:.0f} nats over {over} (sigma {sigmas})\n"
                f"  the same of {n} real training images as samples: {real:.0f} +- {real_se:.0f}; "
                f"of {k} k-means centres: {centres:.0f} +- {centres_se:.0f}\n")
    if images.name != "tfd":
        sentence += ("  These are not the Toronto Face Database: not to be compared with the paper's "
                     "2057 +- 26\n")
    return {"parzen_ll": ll, "parzen_se": se, "parzen_sigma": sigma, "parzen_sigma_at_edge": at_edge,
            "parzen_folds": len(sigma), "parzen_samples": len(samples),
            "parzen_real_data": real, "parzen_real_data_se": real_se, "parzen_real_data_n": n,
            "parzen_kmeans": centres, "parzen_kmeans_se": centres_se, "parzen_kmeans_n": k}, sentence


def parser():
    p = images.parser(
        __doc__, "faces", PRESETS,
        data='"auto" (default): TFD_48x48.mat or olivettifaces.mat in the directory NPGAN_DATA; or one of '
             "these files; or a directory with one of them, or with images of faces. TFD: " + tfd.ADVICE)
    epochs = ", ".join(f"{name}: {preset.pretrain_epochs}" for name, preset in PRESETS.items())
    p.add_argument("--pretrain-epochs", type=options.integer(1), metavar="N",
                   help=f"epochs of the first stage to reach in all ({epochs})")
    return p


if __name__ == "__main__":
    options.run_program(parser(), main)
