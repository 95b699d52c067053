"""Generative adversarial nets from scratch on NumPy or CuPy. Read gan.py with Algorithm 1 of Goodfellow et al. 2014 beside it."""

from npgan.checkpoint import load
from npgan.gan import Players, discriminator_gradient, generator_gradient, train, train_simultaneous
from npgan.net import Net

__version__ = "0.1.0"
__all__ = ["Net", "Players", "discriminator_gradient", "generator_gradient", "load", "train", "train_simultaneous"]
