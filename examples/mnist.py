"""Train the adversarial nets of Goodfellow et al. 2014 on MNIST, or on rendered digits where MNIST cannot be had.

One folder holds all that a run makes: samples.png (refreshed every epoch), history.csv, checkpoint.npz, and at the end curves.png,
figure2.png, interpolation.png, training.gif and result.json.
"""

import argparse

from npgan.data import digits
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid, he, logit, uniform
from npgan.optim import Adam, Ramp
from npgan.penalty import R1
from npgan.priors import Uniform
from npgan.runs import images, options

NOISE = 100


def quick(pixels, mean):
    """Smaller players than the paper's, and instead of dropout a penalty that keeps D smooth: they learn from the first epoch."""
    G = [Linear(NOISE, 512, he), ReLU(), Linear(512, 512, he), ReLU(), Linear(512, pixels, uniform(.02), logit(mean)), Sigmoid()]
    D = [Linear(pixels, 480, uniform(.04)), Maxout(3), Linear(160, 480, uniform(.08)), Maxout(3), Linear(160, 1, uniform(.05))]
    return G, D


def quick_optimizer(net, lr, updates):
    """Both players' rates fall to a tenth over 8 epochs, and stay there."""
    return Adam(net, Ramp(updates, lr, lr / 10, 8), .5, .99)


def paper(pixels, mean):
    """The networks of the authors' published configuration."""
    r = uniform(.05)
    G = [Linear(NOISE, 1200, r), ReLU(), Linear(1200, 1200, r), ReLU(), Linear(1200, pixels, r, logit(mean)), Sigmoid()]
    r = uniform(.005)
    D = [Dropout(.8), Linear(pixels, 1200, r), Maxout(5), Dropout(.5), Linear(240, 1200, r), Maxout(5), Dropout(.5), Linear(240, 1, r)]
    return G, D


# The authors' D ascends half of V at rate .1: that is V at .05.
PRESETS = {
    "quick": dict(networks=quick, optimizer=quick_optimizer, penalty=lambda: R1(1), epochs=8, batch_size=64, lr=5e-4, lr_d=5e-4,
                  average=3000, parzen_every=0, update="algorithm1"),
    "paper": dict(networks=paper, optimizer=images.paper_optimizer, epochs=250, batch_size=100, lr=.1, lr_d=.05, average=30_000,
                  parzen_every=10, update="simultaneous"),
}


MNIST = images.Experiment("mnist", PRESETS, digits.load, Uniform(), NOISE, score=images.parzen_ll, scores=images.parzen_scores,
                              data=("auto", "mnist", "glyphs"))


def parser():
    return images.add_options(argparse.ArgumentParser(description=__doc__), MNIST,
                              '"auto" (default): MNIST if it is found or can be downloaded, else the rendered digits; '
                              '"mnist": MNIST or nothing; "glyphs": the rendered digits; or a directory with four IDX files')


def main(args):
    return images.main(MNIST, vars(args))


if __name__ == "__main__":
    options.run_program(parser(), main)
