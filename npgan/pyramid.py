"""The Laplacian pyramid of images, and what a conditional generator needs beside gan.py.

Denton, Chintala, Szlam, Fergus 2015 (LAPGAN) generate an image from coarse to fine. One GAN
makes a small image. At each finer level another GAN makes the details of an enlarged image l:

    I_K ~ G_K(z_K)            I_k = l_k + G_k(z_k, l_k)            l_k = up(I_{k+1})

Algorithm 1 trains each level as it stands in gan.py. The condition c of a generator, which is l
and perhaps a class, is a part of its input. The prior `Conditions` fills this input with
[z, c]. The generator's last layer, `AddCondition`, adds l to the details and appends the class.
So D judges [image, class], real and generated. Read layers.py and conv.py before this module.
"""

import numpy as np

from npgan import backend as xp
from npgan.conv import as_tuple
from npgan.layers import Affine, Layer, uniform

# --- The pyramid ------------------------------------------------------------------------------


def down(x):
    """Images of half the size: a pixel is the mean of 2 x 2 pixels of x (m, c, 2h, 2w)."""
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def up(x):
    """Images of twice the size, by bilinear interpolation of x (m, c, h, w)."""
    return _double(_double(x).swapaxes(-1, -2)).swapaxes(-1, -2)


def _double(x):
    """Twice as many pixels along the last axis.

    Each old pixel holds two new pixels. A new pixel is 3/4 of this old pixel and 1/4 of the old
    neighbour on its side. At the edges the old pixel is its own neighbour.
    """
    y = .75 * x.repeat(2, axis=-1)
    y[..., 2::2] += .25 * x[..., :-1]
    y[..., 1:-1:2] += .25 * x[..., 1:]
    y[..., 0] += .25 * x[..., 0]
    y[..., -1] += .25 * x[..., -1]
    return y


def analysis(x, levels):
    """The Laplacian pyramid [h_0, ..., h_{K-1}, I_K] of the images x = I_0, with K = levels.

    I_{k+1} = down(I_k),   h_k = I_k - up(I_{k+1})
    x is (m, c, h, w), with h and w multiples of 2^K.
    """
    pyramid = []
    for _ in range(levels):
        smaller = down(x)
        pyramid.append(x - up(smaller))
        x = smaller
    return [*pyramid, x]


def synthesis(pyramid):
    """The images I_0 of a pyramid, by I_k = up(I_{k+1}) + h_k: the inverse of `analysis`."""
    *details, x = pyramid
    for h in reversed(details):
        x = up(x) + h
    return x


# --- A generator with a condition -------------------------------------------------------------


class Conditions:
    """The prior of a conditional generator: each row of its input is [z, c].

    c is a random row of `conditions` (n, channels of c, ...), z is noise of `prior`. Algorithm
    1 draws new conditions for each of its two steps, as it draws new noise.
    """

    def __init__(self, conditions, prior):
        self.conditions, self.prior = np.asarray(conditions), prior
        self.on_device = xp.asarray(conditions)

    def __call__(self, rng, z):
        on_host = isinstance(z, np.ndarray)             # pictures draw their noise on the host
        conditions, empty = (self.conditions, np.empty) if on_host else (self.on_device, xp.empty)
        channels = z.shape[1] - conditions.shape[1]
        noise = empty((len(z), channels, *z.shape[2:]), z.dtype)
        self.prior(rng, noise)
        rows = (rng.random(len(z)) * len(conditions)).astype("int64")
        z[:, :channels], z[:, channels:] = noise, conditions[rows]


class AddCondition(Layer):
    """y = [l + x, class]: the last layer of a generator whose input is [z, l, class].

    x (m, n, ...) are the details, which the layers before this one make of that input. l has
    `added` channels: either n, or 0 for a level without l. The class has `appended` channels.
    The input counts as a constant here. So dx[0] of the whole network, the gradient with
    respect to its input, does not contain the path from l to y. Training does not need it.
    """

    reads_input = True

    def __init__(self, added, appended=0):
        super().__init__(added, appended)
        self.added, self.appended = added, appended

    def outputs(self, inputs):
        channels, *rest = inputs
        if self.added not in (0, channels):
            raise ValueError(f"{self}: adds {self.added} channels to {channels}: give {channels}, or 0")
        return (channels + self.appended, *rest)

    def forward(self, x, y, condition):
        n, first = x.shape[1], condition.shape[1] - self.appended           # first: of the class
        y[:, :n] = x + condition[:, first - n:first] if self.added else x
        y[:, n:] = condition[:, first:]

    def backward(self, x, y, dy, dx, condition):
        dx[...] = dy[:, :x.shape[1]]


# --- Classes ----------------------------------------------------------------------------------


def one_hot(labels, classes, shape=None):
    """Rows of zeros with a 1 at the label, (m, classes).

    With a shape (h, w), each row is one plane (m, 1, h, w) that begins with these numbers.
    """
    codes = np.zeros((len(labels), classes if shape is None else shape[0] * shape[1]), "float32")
    codes[np.arange(len(labels)), labels] = 1
    return codes if shape is None else codes.reshape(-1, 1, *shape)


class ClassPlane(Affine):
    """Replaces the last plane, a class from `one_hot`, by a plane that is learned for it.

        x, y (m, channels, h, w)   W (classes, h w)   the last plane of y = the row of W

    inputs = (channels, h, w). Raises ValueError if a plane cannot hold the classes.
    """

    def __init__(self, inputs, classes, W=uniform(.05)):
        super().__init__(as_tuple(inputs), classes)
        channels, height, width = self.inputs = self.args[0]
        if classes > height * width:
            raise ValueError(f"{self}: a plane of {height} x {width} cannot hold {classes} classes")
        self.parameters = {"W": (classes, height * width)}
        self.initial = {"W": W}

    def codes(self, x):
        """The codes (m, classes) in the last plane of x."""
        return x[:, -1].reshape(len(x), -1)[:, :self.args[1]]

    def forward(self, x, y):
        self.apply(x, y)

    def gradient(self, x, dy):
        self.outer(x, dy, self.dW)

    def apply(self, x, y):
        y[:, :-1] = x[:, :-1]
        y[:, -1] = xp.matmul(self.codes(x), self.W).reshape(y[:, -1].shape)

    def adjoint(self, dy, dx):
        dx[:, :-1] = dy[:, :-1]
        plane = xp.zeros((len(dy), self.W.shape[1]), dx.dtype)
        plane[:, :self.args[1]] = xp.matmul(dy[:, -1].reshape(len(dy), -1), self.W.T)
        dx[:, -1] = plane.reshape(dx[:, -1].shape)

    def outer(self, x, dy, dW):
        dW[...] = xp.matmul(self.codes(x).T, dy[:, -1].reshape(len(dy), -1))
