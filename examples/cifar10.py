"""The paper's two experiments on CIFAR-10: fully connected and convolutional networks.

The convolutional experiment has a convolutional D and a "deconvolutional" G.
Read mnist.py first. Its `train` also trains these networks, and writes the same files, except
best.npz: as in the paper, there is no score. The networks see images after global contrast
normalisation, as in the authors' code. Pictures show every image with the median brightness and
the median contrast of the training images.
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import argparse
import math
import re
from functools import partial

import numpy as np
from mnist import NOISE, paper_discriminator, paper_optimizer, train

from npgan.conv import Conv2d, ConvTranspose2d, MaxPool, Reshape
from npgan.data import by_name, cifar10
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid, he, uniform
from npgan.optim import Adam, Ramp
from npgan.priors import Normal
from npgan.runs import images, options
from npgan.runs.images import Preset, Run

# --- The authors' published configurations ----------------------------------------------------


def paper_fully_connected(pixels, mean):
    r = uniform(.05)
    G = [Linear(NOISE, 8000, r), ReLU(), Linear(8000, 8000, r), Sigmoid(), Linear(8000, pixels, uniform(.5))]
    return G, paper_discriminator(pixels, 8000)


def paper_convolutional(pixels, mean):
    r = uniform(.05)
    G = [Linear(NOISE, 8000, r), ReLU(), Linear(8000, 8000, r), Sigmoid(), Reshape((80, 10, 10)),
         ConvTranspose2d((80, 10, 10), 3, 5, stride=3, tied=False, W=r)]
    r = uniform(.005)
    D = [Dropout(.8), Conv2d((3, 32, 32), 64, 8, pad=4, W=r), Maxout(2), MaxPool(4, 2),
         Dropout(.5), Conv2d((32, 16, 16), 64, 8, pad=3, W=r), Maxout(2), MaxPool(4, 2),
         Dropout(.5), Conv2d((32, 7, 7), 384, 5, pad=3, W=r), Maxout(2), MaxPool(2, 2),
         Reshape((192 * 5 * 5,)), Dropout(.5), Linear(192 * 5 * 5, 2500, r), Maxout(5),
         Dropout(.5), Linear(500, 1, r)]
    return G, D


# --- Smaller networks, trained in minutes -----------------------------------------------------

# These networks train with Adam and with the penalty R1 on D, because with SGD alone D wins.


def quick_fully_connected(pixels, mean):
    G = [Linear(NOISE, 320, he), ReLU(), Linear(320, 320, he), ReLU(), Linear(320, pixels, uniform(.01))]
    r = uniform(.05)
    D = [Linear(pixels, 320, uniform(.005)), Maxout(2), Linear(160, 320, r), Maxout(2), Linear(160, 1, r)]
    return G, D


def quick_convolutional(pixels, mean):
    G = [Linear(NOISE, 96 * 4 * 4, he), ReLU(), Reshape((96, 4, 4)),
         ConvTranspose2d((96, 4, 4), 48, 4, stride=2, pad=1, W=tents(4)), ReLU(),
         ConvTranspose2d((48, 8, 8), 16, 4, stride=2, pad=1, W=tents(4)), ReLU(),
         ConvTranspose2d((16, 16, 16), 3, 6, stride=2, pad=2, W=tents(6))]
    D = [Conv2d((3, 32, 32), 32, 4, stride=2, pad=1, W=he), Maxout(2),
         Conv2d((16, 16, 16), 64, 4, stride=2, pad=1, W=he), Maxout(2),
         Conv2d((32, 8, 8), 256, 4, stride=2, pad=1, W=he), Maxout(2),
         Reshape((128 * 4 * 4,)), Linear(128 * 4 * 4, 1, uniform(.02))]
    return G, D


def tents(n):
    """He's initialiser for n x n kernels, each a random weight times one array of heights.

    The heights fall from the middle of the kernel to its edges, as in a tent. So G begins with
    smooth images. If G begins with independent pixels instead, D wins.
    """
    height = np.minimum(np.arange(1, 2 * n, 2), np.arange(2 * n - 1, 0, -2)) / n

    def draw(rng, shape):
        weights = rng.normal(0, math.sqrt(2 / shape[1]), (shape[0] // n ** 2, shape[1]))
        return np.einsum("r,q,ck->rcqk", height, height, weights).reshape(shape)
    return draw


def quick_optimizer(net, lr, updates, epochs, b2=.999):
    """Adam, with a rate that falls to lr / 10 over `epochs` epochs and then stays constant."""
    return Adam(net, Ramp(updates, lr, lr / 10, epochs), b1=.5, b2=b2)


# In the authors' code D ascends V / 2 at the rate lr. This equals V at the rate lr / 2. The
# authors publish no number of epochs; 250 is the epoch in which the momentum stops rising.
PRESETS = {
    "fully-connected": {
        "quick": Preset(quick_fully_connected, partial(quick_optimizer, epochs=24), epochs=24, batch_size=64,
                        lr=5e-4, lr_d=5e-4, update="algorithm1", r1=10),
        "paper": Preset(paper_fully_connected, paper_optimizer, epochs=250, batch_size=100,
                        lr=.025, lr_d=.0125, update="simultaneous")},
    "convolutional": {
        "quick": Preset(quick_convolutional, partial(quick_optimizer, epochs=5, b2=.99), epochs=5,
                        batch_size=32, lr=1.5e-3, lr_d=1.5e-3, update="algorithm1", r1=2, average=1000),
        "paper": Preset(paper_convolutional, paper_optimizer, epochs=250, batch_size=128,
                        lr=.004, lr_d=.002, update="simultaneous")},
}


# --- Training ---------------------------------------------------------------------------------


def main(args):
    with Run("cifar10", PRESETS[args.model], args, Normal(), model=args.model) as run:
        x = run.load(load).train
        run.show = normalise(x)
        train(run, *run.preset.networks(x.shape[1], x.mean(axis=0)))
    return run.status


DATA = ('"auto" (default): the binary batches from NPGAN_DATA or the cache, else a download; '
        "or the path of a directory with some of the batches, or of the archive")           # help of --data


def load(data):
    """The images, and their label, which names them in all output."""
    images = cifar10.load(None if by_name(data, "auto") else data, partial=True)
    return images, re.sub(r"^cifar10(?=,|$)", "CIFAR-10", images.name)


def normalise(x):
    """Normalise the contrast of the images x in place. Returns the function for `run.show`.

    The function gives every image the median brightness and the median contrast of x.
    """
    mean, norm = (float(np.median(a)) for a in cifar10.contrast(x))
    cifar10.gcn(x, out=x)
    return partial(cifar10.ungcn, mean=mean, norm=norm)


def parser(model="fully-connected"):
    p = images.parser(__doc__, "cifar10", PRESETS[model], data=DATA, model=model)
    p.add_argument("--model", choices=PRESETS, default=model, help="the networks (default fully-connected)")
    return p


if __name__ == "__main__":
    # --model is read before the other options: --help prints the defaults of this model.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--model", nargs="?")
    model = first.parse_known_args()[0].model
    options.run_program(parser(model) if model in PRESETS else parser(), main)
