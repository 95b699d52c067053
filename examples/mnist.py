"""Train the adversarial nets of Goodfellow et al. 2014 on MNIST, or else on rendered digits.

The example renders digits if MNIST is neither found nor can be downloaded. A run writes into
its folder

    after each epoch           samples.png, history.csv, checkpoint.npz, a frame of the film
    after each scored epoch    best.npz, unless an earlier epoch scored as high
    at the end                 curves.png, figure2.png, interpolation.png, training.gif,
                               result.json
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

from npgan import backend as xp
from npgan.data import digits
from npgan.divergences import OBJECTIVES
from npgan.gan import Players
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid, he, logit, uniform
from npgan.net import Net
from npgan.optim import Adam, Decay, Momentum, Ramp
from npgan.penalty import R1
from npgan.priors import Uniform
from npgan.runs import images, options
from npgan.runs.fit import fit
from npgan.runs.images import Preset, Run, parzen_ll, parzen_scores

NOISE = 100                     # length of z


# --- The authors' published configuration -----------------------------------------------------


def paper_networks(pixels, mean):
    r = uniform(.05)
    G = [Linear(NOISE, 1200, r), ReLU(), Linear(1200, 1200, r), ReLU(),
         Linear(1200, pixels, r, logit(mean)), Sigmoid()]
    return G, paper_discriminator(pixels, 1200)


def paper_discriminator(pixels, n):
    """Two hidden layers of n / 5 maxout units with 5 pieces each, and dropout.

    The authors' code has n = 1200 on MNIST, 8000 on CIFAR-10 and 6000 on faces.
    """
    r = uniform(.005)
    return [Dropout(.8), Linear(pixels, n, r), Maxout(5), Dropout(.5),
            Linear(n // 5, n, r), Maxout(5), Dropout(.5),
            Linear(n // 5, 1, r)]


def paper_optimizer(net, lr, updates, project=None):
    """Gradient steps with momentum, and with the schedules of the authors' code.

    The rate is divided by 1.000004 after each update, down to 1e-6. The momentum rises from .5
    in the first epoch to .7 in epoch 250. updates: D's or G's updates in an epoch
    """
    return Momentum(net, Decay(lr, 1.000004, 1e-6), Ramp(updates, .5, .7, 250), project)


# --- Smaller networks, trained in minutes -----------------------------------------------------


def quick_networks(pixels, mean):
    G = [Linear(NOISE, 512, he), ReLU(), Linear(512, 512, he), ReLU(),
         Linear(512, pixels, uniform(.02), logit(mean)), Sigmoid()]
    D = [Linear(pixels, 480, uniform(.04)), Maxout(3),
         Linear(160, 480, uniform(.08)), Maxout(3),
         Linear(160, 1, uniform(.05))]
    return G, D


def quick_optimizer(net, lr, updates, epochs=8):
    """Adam, with a rate that falls to lr / 10 over `epochs` epochs and then stays constant."""
    return Adam(net, Ramp(updates, lr, lr / 10, epochs), .5, .99)


# In the authors' code D ascends V / 2 at the rate .1. This equals V at the rate .05.
PRESETS = {
    "quick": Preset(quick_networks, quick_optimizer, epochs=8, batch_size=64, lr=5e-4, lr_d=5e-4,
                    update="algorithm1", r1=1, average=3000),
    "paper": Preset(paper_networks, paper_optimizer, epochs=250, batch_size=100, lr=.1, lr_d=.05,
                    update="simultaneous", average=30_000, parzen_every=10),
}


# --- Training ---------------------------------------------------------------------------------


def main(args):
    with Run("mnist", PRESETS, args, Uniform(), parzen_ll, parzen_scores) as run:
        x = run.load(digits.load).train                                         # (50000, 784), in [0, 1]
        layers_g, layers_d = run.preset.networks(x.shape[1], x.mean(axis=0))
        train(run, layers_g, layers_d)
    return run.status


def train(run, layers_g, layers_d):
    """Train G and D, and write the files of the run. cifar10.py and faces.py call it, too."""
    settings, preset = run.settings, run.preset
    G = Net(layers_g, settings.dtype, seed=2 * settings.seed)
    D = Net(layers_d, settings.dtype, seed=2 * settings.seed + 1)
    players = Players(G, D, run.m, OBJECTIVES[settings.objective], settings.generator_loss,
                      penalty=R1(preset.r1) if preset.r1 else None)
    sgd_d = preset.optimizer(D, settings.lr_d, run.per_epoch * settings.k)
    sgd_g = preset.optimizer(G, settings.lr, run.per_epoch)
    state = run.start(sgd_g, sgd_d)                 # if --resume: from checkpoint.npz

    x = xp.asarray(run.images.train[run.share].reshape(-1, *D.shapes[0]), settings.dtype)
    for state in fit(players, x, run.prior, sgd_d, sgd_g, state,                # Algorithm 1: gan.train
                     seed=settings.seed, epochs=run.epochs, iterations=settings.iterations,
                     k=settings.k, update=settings.update, quiet=run.quiet):
        run.save(state)                             # after each epoch: samples.png, checkpoint.npz, ...
    run.finish(state)                               # figure2.png, training.gif, the scores, ...


def parser():
    return images.parser(
        __doc__, "mnist", PRESETS, known=("auto", "mnist", "glyphs"),
        data='"auto" (default): MNIST if it is found or can be downloaded, else the rendered digits; '
             '"mnist": MNIST, or an error; "glyphs": the rendered digits; '
             "or a directory with IDX files, or Keras' mnist.npz")


if __name__ == "__main__":
    options.run_program(parser(), main)
