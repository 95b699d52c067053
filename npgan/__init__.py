"""Generative adversarial nets from scratch on NumPy or CuPy.

Read gan.py beside Algorithm 1 of Goodfellow et al. 2014. examples/hello.py is a whole GAN. The
names here are those that it needs; all others are in the modules.
"""

from npgan import backend
from npgan.data import toy
from npgan.gan import Players, discriminator_gradient, generator_gradient, train, train_simultaneous
from npgan.net import Net
from npgan.optim import Adam, Momentum
from npgan.penalty import R1
from npgan.priors import Normal, Uniform
from npgan.runs.checkpoint import load

__version__ = "0.1.0"
__all__ = ["Adam", "Momentum", "Net", "Normal", "Players", "R1", "Uniform", "backend",
           "discriminator_gradient", "generator_gradient", "load", "toy", "train", "train_simultaneous"]
