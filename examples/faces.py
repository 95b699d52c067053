"""The paper's experiment on faces, with the two stages of the authors' code.

Read mnist.py first. Its `train` trains the networks in both stages:

    DIR/pretrain    G is pretrained: it maps noise z to faces
    DIR             two new layers map z to the input of the pretrained G; the new and the
                    pretrained layers are trained together, against a new D

Each of the two folders gets the files that mnist.py writes. --iterations N ends each stage
after N iterations. --resume continues the stage that was interrupted.

The Parzen log-likelihood is the mean over the five folds of the Toronto Face Database (TFD).
Each fold has its own sigma; +- is the standard error over the folds. Without the database the
example trains on other faces. Do not compare their log-likelihood with published ones.
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

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
EPOCH = 10_000          # images: a smaller training set, at most half as large, is mirrored and repeated


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
    new_layers: Callable        # new_layers(): the layers that the second stage puts before G
    pretrain_epochs: int        # epochs of the first stage; `epochs` are those of the second

    OPTIONS = (*Preset.OPTIONS, "pretrain_epochs")


# In the authors' code D ascends V / 2 at the rate .05. This equals V at the rate .025.
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
    """Run both stages. If the run is resumed, run only what is not done."""
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
                         "leave the option out to continue")
    with Run("faces", PRESETS, args, PRIOR, score, scores) as run:
        x = run.load(load).train
        layers_g, layers_d = run.preset.networks(x.shape[1], x.mean(axis=0))
        begin_with(layers_g, pretrained)
        train(run, [*run.preset.new_layers(), *layers_g], layers_d)
    return run.status


def is_complete(pretraining):
    """Whether the run is resumed from a checkpoint after the last epoch of pretraining."""
    about = pretraining.about
    return bool(about) and about["state"]["epoch"] >= about["config"]["pretrain_epochs"]


def pretrain(run):
    """Run the first stage."""
    with run:
        run.epochs = run.settings.pretrain_epochs
        x = run.load(load).train
        train(run, *run.preset.networks(x.shape[1], x.mean(axis=0)))


def begin_with(layers_g, path):
    """Initialise the layers with the parameters of G in the checkpoint at this path."""
    _, arrays = checkpoint.read(path)
    for l, layer in enumerate(layers_g):
        for name, shape in layer.parameters.items():
            a = arrays.get(f"G.{l}.{name}", ())
            if np.shape(a) != shape:
                raise ValueError(f"{path}: not a checkpoint of these networks, or a damaged one")
            layer.initial[name] = constant(a)


# --- The faces, and the log-likelihood on each of their folds ---------------------------------


def load(data):
    """The faces, and their label, which names them in all output.

    `valid` and `test` of the faces are lists with an array for each fold.
    With TFD, the networks train on its unlabelled images, and there are five folds. Other faces
    have no unlabelled images, so the networks train on the training images of the first fold.
    The other folds are not used then, because they validate and test on these images.
    """
    faces = tfd.read(None if by_name(data, "auto") else data)
    images, *folds = tfd.split(faces), tfd.split(faces, 0, "train")
    if not np.array_equal(images.train, folds[0].train):
        folds += [tfd.split(faces, fold, "train") for fold in range(1, tfd.FOLDS)]
    label = {"tfd": "TFD", "olivetti": "Olivetti faces"}.get(images.name, images.name)
    if images.name != "tfd":
        print(f"Training on {len(images.train)} images of {label}, not of the Toronto Face Database")
    if len(images.train) <= EPOCH // 2:
        mirrored = images.train.reshape(-1, *images.shape)[:, :, ::-1].reshape(images.train.shape)
        both = np.concatenate([images.train, mirrored])
        images = images._replace(train=np.tile(both, (EPOCH // len(both), 1)))      # but not the labels
    return images._replace(valid=[fold.valid for fold in folds], test=[fold.test for fold in folds]), label


def estimate(images, samples):
    """The Parzen log-likelihood: (ll in nats, standard error, [sigma of each fold], at_edge).

    ll is the mean over the folds. The standard error is over the folds or, if there is only
    one, over its test images. at_edge: whether the sigma of a fold is at an edge of the grid
    """
    folds = [metrics.parzen(samples, valid, test) for valid, test in zip(images.valid, images.test)]
    ll = np.array([fold.ll for fold in folds])
    se = float(ll.std(ddof=1) / np.sqrt(len(ll))) if len(ll) > 1 else folds[0].se
    return float(ll.mean()), se, [fold.sigma for fold in folds], any(fold.at_edge for fold in folds)


def score(images, samples):
    return estimate(images, samples)[0]


def scores(images, samples):
    """Entries of result.json, and a sentence: the log-likelihood of samples and its anchors.

    The anchors are the estimates with real images and with k-means centres as samples.
    """
    train = images.train[:len(images.train_labels)]                     # without the repetitions
    n, k = min(10_000, len(train)), min(10_000, -(-len(train) // 2))
    ll, se, sigma, at_edge = estimate(images, samples)
    real, real_se, *_ = estimate(images, metrics.kmeans(train, n, 0))                # n random images
    centres, centres_se, *_ = estimate(images, metrics.kmeans(train, k, 1))
    over = f"{len(sigma)} folds" if len(sigma) > 1 else "the test images of one fold"
    sigmas = ", ".join(f"{s:.3f}" for s in sigma)
    sentence = (f"Parzen log-likelihood: {ll:.0f} +- {se:.0f} nats over {over} (sigma {sigmas})\n"
                f"  with {n} real training images as samples: {real:.0f} +- {real_se:.0f}; "
                f"with {k} k-means centres: {centres:.0f} +- {centres_se:.0f}\n")
    if images.name != "tfd":
        sentence += ("  These faces are not from the Toronto Face Database: do not compare with the "
                     "paper's 2057 +- 26\n")
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
                   help=f"epochs of the first stage, those before a --resume included ({epochs})")
    return p


if __name__ == "__main__":
    options.run_program(parser(), main)
