"""The paper's two experiments on CIFAR-10: fully connected players, and a convolutional discriminator with a "deconvolutional" generator.

The networks see the images as the authors' did, after global contrast normalisation: pictures give each image the training set's mean grey
and median contrast. There is no score, as in the paper. One folder holds all that a run makes: samples.png (refreshed every epoch),
history.csv, checkpoint.npz, and at the end curves.png, figure2.png, interpolation.png, training.gif and result.json.
"""

import argparse
import functools
import math
import re

import numpy as np

from npgan.conv import Conv2d, ConvTranspose2d, MaxPool, Reshape
from npgan.data import by_name, cifar10
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid, he, uniform
from npgan.optim import Adam, Ramp
from npgan.penalty import R1
from npgan.priors import Normal
from npgan.runs import images, options

NOISE = 100


# --- The authors' published configurations -----------------------------------------------------------------------------------


def fully_connected(pixels, mean):
    r = uniform(.05)
    G = [Linear(NOISE, 8000, r), ReLU(), Linear(8000, 8000, r), Sigmoid(), Linear(8000, pixels, uniform(.5))]
    r = uniform(.005)
    D = [Dropout(.8), Linear(pixels, 8000, r), Maxout(5), Dropout(.5), Linear(1600, 8000, r), Maxout(5), Dropout(.5), Linear(1600, 1, r)]
    return G, D


def convolutional(pixels, mean):
    r = uniform(.05)
    G = [Linear(NOISE, 8000, r), ReLU(), Linear(8000, 8000, r), Sigmoid(), Reshape((80, 10, 10)),
         ConvTranspose2d((80, 10, 10), 3, 5, stride=3, tied=False, W=r)]
    r = uniform(.005)
    D = [Dropout(.8), Conv2d((3, 32, 32), 64, 8, pad=4, W=r), Maxout(2), MaxPool(4, 2),
         Dropout(.5), Conv2d((32, 16, 16), 64, 8, pad=3, W=r), Maxout(2), MaxPool(4, 2),
         Dropout(.5), Conv2d((32, 7, 7), 384, 5, pad=3, W=r), Maxout(2), MaxPool(2, 2),
         Reshape((192 * 5 * 5,)), Dropout(.5), Linear(192 * 5 * 5, 2500, r), Maxout(5), Dropout(.5), Linear(500, 1, r)]
    return G, D


# --- Small players of the same kind, for minutes. With Adam and R1 they learn from the first epoch; by SGD alone D wins ----------------


def quick_fully_connected(pixels, mean):
    G = [Linear(NOISE, 320, he), ReLU(), Linear(320, 320, he), ReLU(), Linear(320, pixels, uniform(.01))]
    r = uniform(.05)
    D = [Linear(pixels, 320, uniform(.005)), Maxout(2), Linear(160, 320, r), Maxout(2), Linear(160, 1, r)]
    return G, D


def quick_convolutional(pixels, mean):
    G = [Linear(NOISE, 256, he), ReLU(), Linear(256, 64 * 4 * 4, he), ReLU(), Reshape((64, 4, 4)),
         ConvTranspose2d((64, 4, 4), 32, 4, stride=2, pad=1, W=tents(4)), ReLU(),
         ConvTranspose2d((32, 8, 8), 3, 8, stride=4, pad=2, W=tents(8))]
    D = [Conv2d((3, 32, 32), 64, 8, stride=4, pad=2, W=uniform(.02)), Maxout(2),
         Conv2d((32, 8, 8), 128, 4, stride=2, pad=1, W=uniform(.03)), Maxout(2),
         Reshape((64 * 4 * 4,)), Linear(64 * 4 * 4, 1, uniform(.02))]
    return G, D


def tents(n):
    """He's, but each kernel of n x n is a tent over its middle: an upsampling that begins smooth. From random pixels D wins."""
    tent = np.minimum(np.arange(1, 2 * n, 2), np.arange(2 * n - 1, 0, -2)) / n

    def draw(rng, shape):
        return np.einsum("r,q,ck->rcqk", tent, tent, rng.normal(0, math.sqrt(2 / shape[1]), (shape[0] // n ** 2, shape[1]))).reshape(shape)
    return draw


def falling(epochs):
    """Adam at a rate that falls to a tenth over so many epochs."""
    return lambda net, lr, updates: Adam(net, Ramp(updates, lr, lr / 10, epochs), b1=.5)


# The authors' D ascends half of V: a rate of .025 is one of .0125 for V. They name no number of epochs: at 250 the momentum is full.
PAPER = dict(optimizer=images.paper_optimizer, epochs=250, update="simultaneous")
PRESETS = {
    "fully-connected": {
        "quick": dict(networks=quick_fully_connected, optimizer=falling(24), penalty=functools.partial(R1, 10), epochs=24, batch_size=64,
                      lr=5e-4, lr_d=5e-4, update="algorithm1"),
        "paper": dict(PAPER, networks=fully_connected, batch_size=100, lr=.025, lr_d=.0125)},
    "convolutional": {
        "quick": dict(networks=quick_convolutional, optimizer=falling(8), penalty=functools.partial(R1, 100), epochs=8, batch_size=32,
                      lr=1e-3, lr_d=1e-3, average=1000, update="algorithm1"),
        "paper": dict(PAPER, networks=convolutional, batch_size=128, lr=.004, lr_d=.002)},
}


def load(what):
    """The images, and the name by which every output calls them."""
    images = cifar10.load(None if by_name(what, "auto") else what, partial=True)
    return images, re.sub(r"^cifar10(?=,|$)", "CIFAR-10", images.name)


def normalise(x):
    """Pixels after global contrast normalisation, in their own memory; and how pictures show such examples."""
    mean, norm = (float(np.median(each)) for each in cifar10.contrast(x))
    return cifar10.gcn(x, out=x), functools.partial(cifar10.ungcn, mean=mean, norm=norm)


EXPERIMENTS = {model: images.Experiment("cifar10", presets, load, Normal(), NOISE, model=model, normalise=normalise)
               for model, presets in PRESETS.items()}


def parser(model="fully-connected"):
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", choices=EXPERIMENTS, default=model, help="the players' networks (default fully-connected)")
    return images.add_options(p, EXPERIMENTS[model], '"auto" (default): the binary batches, where NPGAN_DATA or the cache has them, else a '
                              "download; or a directory with some of them, or the archive")


def main(args):
    given = dict(vars(args))
    return images.main(EXPERIMENTS[given.pop("model")], given)


if __name__ == "__main__":
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)             # the defaults that --help tells are the model's
    first.add_argument("--model", nargs="?")
    model = first.parse_known_args()[0].model
    options.run_program(parser(model) if model in EXPERIMENTS else parser(), main)
