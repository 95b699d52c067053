"""Layers: each has parameters, but keeps no activations.

A layer maps m examples at once, one example a row. The caller passes in every buffer:

    forward(x, y)             y  = f(x)
    backward(x, y, dy, dx)    dx = (df/dx)^T dy
    gradient(x, dy)           dW = (df/dW)^T dy,  and db likewise
    jvp(x, y, u, v)           v  = (df/dx) u, the Jacobian-vector product

Arguments that are read come first, then those that are written. `gradient` overwrites self.dW
and self.db. Nothing is returned. x and y never share memory. dy means dL/dy for the objective L
that is differentiated; dx, dW and db are gradients of the same L, dW and db summed over the m
examples. Only Net.double_backward calls jvp.

A layer that needs more buffers than x and y asks for them with `extra`. For example dropout
needs its mask. The tape (net.py) keeps these buffers, and they come last in each call.

Study page: docs/study/backpropagation.html
"""

import math

import numpy as np

from npgan import backend as xp
from npgan import kernels

# --- Initialisers: functions of a random generator of the host and a shape --------------------


def constant(value):
    """Every entry is `value`: a number, or an array of the parameter's shape."""
    return lambda rng, shape: np.broadcast_to(value, shape)


def uniform(r):
    """U(-r, r), the initialiser of the 2014 paper's code"""
    return lambda rng, shape: rng.uniform(-r, r, shape)


def glorot(rng, shape):
    """U(-r, r), r = sqrt(6 / (n + k)) for W (n, k), for tanh units (Glorot and Bengio 2010).

    Units near their linear part then pass on the variance of activations and gradients.
    """
    return uniform(math.sqrt(6 / sum(shape)))(rng, shape)


def he(rng, shape):
    """N(0, 2 / n) for W (n, k): keeps the mean square through ReLU (He et al. 2015)."""
    return rng.normal(0, math.sqrt(2 / shape[0]), shape)


def sparse(nonzero):
    """N(0, 1) for `nonzero` weights of each unit (a column of W), 0 for the others (Martens
    2010).
    """
    def draw(rng, shape):
        if not 0 < nonzero <= shape[0]:
            raise ValueError(f"sparse({nonzero}): a unit has only {shape[0]} inputs")
        rows = np.argsort(rng.random(shape), axis=0)[:nonzero]          # random rows for each column
        W = np.zeros(shape)
        np.put_along_axis(W, rows, rng.standard_normal(rows.shape), axis=0)
        return W
    return draw


def logit(p):
    """b = log(p / (1 - p)), with p clipped to [1e-7, 1 - 1e-7].

    A sigmoid layer with this bias and small weights outputs about p before training.
    """
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return constant(np.log(p / (1 - p)))


# --- The interface ----------------------------------------------------------------------------


class Layer:
    """The interface of a layer. The defaults are right for a layer with no parameters that
    keeps the shape.
    """

    parameters = {}                  # name -> shape. Net sets self.<name> and its gradient self.d<name>
    initial = {}                     # name -> initialiser
    inputs = None                    # the shape of one example, if the layer fixes it
    curved = False                   # True if f'' is nonzero somewhere; then curvature(y) returns f''
    reads_input = False              # True if `extra` is the network's input (pyramid.py)

    def __init__(self, *args):
        self.args = args             # the constructor's arguments, which a checkpoint stores

    def outputs(self, inputs):
        """The shape of one output, for the shape of one input."""
        return inputs

    def extra(self, m, inputs, dtype):
        """Buffers that the layer needs besides x and y, each with m rows."""
        return ()

    def draw(self, rng, *extra):
        """Fill the random buffers of `extra`. Net.draw calls this before a pass; forward draws
        nothing, so two forward calls give the same result.
        """

    def gradient(self, x, dy, *extra):
        """A layer without parameters has nothing to do here."""

    def jvp(self, x, y, u, v, *extra):
        raise ValueError(f"{self}: has no jvp, so no gradient penalty can go through it")

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(str, self.args))})"


# --- Affine layers ----------------------------------------------------------------------------


class Affine(Layer):
    """y = A x + b, where the weights W define the linear map A.

    A subclass says what A is, in three verbs:
        apply(x, y)        y  = A x
        adjoint(dy, dx)    dx = A^T dy
        outer(x, dy, dW)   dW = d<dy, A x>/dW
    """

    def forward(self, x, y):
        self.apply(x, y)
        y += self.b

    def backward(self, x, y, dy, dx):
        self.adjoint(dy, dx)

    def gradient(self, x, dy):
        self.outer(x, dy, self.dW)
        kernels.sum_rows(dy, out=self.db)

    def jvp(self, x, y, u, v):
        self.apply(u, v)


class Linear(Affine):
    """y = x W + b          x (m, n)   W (n, k)   b (k,)   y (m, k)"""

    def __init__(self, n, k, W=glorot, b=constant(0)):
        super().__init__(n, k)
        self.parameters = {"W": (n, k), "b": (k,)}
        self.initial = {"W": W, "b": b}
        self.inputs = (n,)

    def outputs(self, inputs):
        return (self.args[1],)

    def apply(self, x, y):
        kernels.product(x, self.W, out=y)

    def adjoint(self, dy, dx):
        kernels.product(dy, self.W.T, out=dx)

    def outer(self, x, dy, dW):
        kernels.product(x.T, dy, out=dW)


# --- Elementwise layers -----------------------------------------------------------------------


class Elementwise(Layer):
    """y = f(x), with f' (slope) and f'' (curvature) written in terms of y."""

    def backward(self, x, y, dy, dx):
        xp.multiply(dy, self.slope(y), out=dx)

    def jvp(self, x, y, u, v):
        self.backward(x, y, u, v)    # df/dx is diagonal, so it equals its transpose

    def curvature(self, y):
        return xp.zeros_like(y)      # a piecewise linear layer; others override this


class ReLU(Elementwise):
    """y = max(x, 0)"""

    def forward(self, x, y):
        kernels.relu(x, out=y)

    def slope(self, y):
        return y > 0                 # 0 at the kink


class LeakyReLU(Elementwise):
    """y = max(x, a x), 0 <= a < 1"""

    def __init__(self, a=.2):
        super().__init__(a)
        if not 0 <= a < 1:
            raise ValueError(f"LeakyReLU({a}): the slope a must be in [0, 1)")

    def forward(self, x, y):
        xp.multiply(x, self.args[0], out=y)
        xp.maximum(x, y, out=y)

    def slope(self, y):
        slope = (y > 0).astype(y.dtype)     # 1 where y > 0, else a; this way is three times as fast as a
        slope *= 1 - self.args[0]           # maximum of an array and a number
        slope += self.args[0]
        return slope


class Sigmoid(Elementwise):
    """y = 1 / (1 + e^-x)"""

    curved = True

    def forward(self, x, y):
        kernels.sigmoid(x, out=y)

    def slope(self, y):
        return y * (1 - y)

    def curvature(self, y):
        return y * (1 - y) * (1 - 2 * y)


class Tanh(Elementwise):
    """y = tanh x"""

    curved = True

    def forward(self, x, y):
        xp.tanh(x, out=y)

    def slope(self, y):
        return 1 - y * y

    def curvature(self, y):
        return -2 * y * (1 - y * y)


class Softplus(Elementwise):
    """y = log(1 + e^x)"""

    curved = True

    def forward(self, x, y):
        xp.logaddexp(x, 0, out=y)

    def slope(self, y):
        return -xp.expm1(-y)         # sigmoid(x) = 1 - e^-y

    def curvature(self, y):
        return -xp.expm1(-y) * xp.exp(-y)


class Scale(Elementwise):
    """y = a x + b, with constants a and b: Scale(4, -2) maps pixels from [0, 1] to [-2, 2].

    The images of a data set share a large mean, which hides their differences from D. D learns
    sooner from centred inputs.
    """

    def __init__(self, a, b):
        super().__init__(a, b)

    def forward(self, x, y):
        xp.multiply(x, self.args[0], out=y)
        y += self.args[1]

    def slope(self, y):
        return xp.full_like(y, self.args[0])


# --- Maxout, dropout, noise -----------------------------------------------------------------


class Maxout(Layer):
    """y_j = max_i x_ij          x (m, pieces * units)   y (m, units)

    After Linear(n, pieces * units) this is the convex piecewise linear unit of Goodfellow et
    al. 2013. At a tie the first piece gets the gradient.
    """

    def __init__(self, pieces):
        super().__init__(pieces)
        if pieces < 1:
            raise ValueError(f"Maxout({pieces}): a unit needs at least one piece")

    def outputs(self, inputs):
        pieces, n = self.args[0], inputs[0]
        if n % pieces:
            raise ValueError(f"Maxout({pieces}): {n} inputs are not units of {pieces} pieces each")
        return (n // pieces, *inputs[1:])

    def split(self, x):
        """x as (m, pieces, units), a view."""
        return x.reshape(len(x), self.args[0], -1)

    def forward(self, x, y):
        xp.max(self.split(x), axis=1, out=y.reshape(len(y), -1))

    def backward(self, x, y, dy, dx):
        xp.multiply(dy.reshape(len(y), 1, -1), self.first_maximum(x, y), out=self.split(dx))

    def jvp(self, x, y, u, v):
        u, v, first = self.split(u), v.reshape(len(y), -1), self.first_maximum(x, y)
        for i in range(self.args[0]):
            xp.copyto(v, u[:, i], where=first[:, i])

    def first_maximum(self, x, y):
        """(m, pieces, units): True at the first of each unit's largest pieces."""
        return kernels.first_maximum(self.split(x), y.reshape(len(y), -1))


class Dropout(Layer):
    """y = mask x, with mask = 1 / keep with probability keep, else 0; so E[y] = x (Srivastava
    et al. 2014).

    Each example has its own mask. A fresh tape's masks are 1, which turns dropout off; `draw`
    draws them.
    """

    def __init__(self, keep):
        super().__init__(keep)
        if not 0 < keep <= 1:
            raise ValueError(f"Dropout({keep}): keep is the probability to keep an input, in (0, 1]")

    def extra(self, m, inputs, dtype):
        return (xp.ones((m, *inputs), dtype),)

    def draw(self, rng, mask):
        kernels.bernoulli(rng, self.args[0], 1 / self.args[0], mask)

    def forward(self, x, y, mask):
        xp.multiply(x, mask, out=y)

    def backward(self, x, y, dy, dx, mask):
        xp.multiply(dy, mask, out=dx)

    def jvp(self, x, y, u, v, mask):
        xp.multiply(u, mask, out=v)


class Noise(Layer):
    """y = x + e, e ~ N(0, sigma^2): instance noise, if it is the first layer of D.

    A fresh tape's e is 0; `draw` draws it. Assign `sigma` between steps to anneal the noise.
    Sources: Arjovsky and Bottou 2017; Sonderby et al. 2017.
    """

    def __init__(self, sigma):
        super().__init__(sigma)
        if not 0 <= sigma < math.inf:
            raise ValueError(f"Noise({sigma}): sigma is a standard deviation, >= 0")
        self.sigma = sigma

    def extra(self, m, inputs, dtype):
        return (xp.zeros((m, *inputs), dtype),)

    def draw(self, rng, e):
        rng.standard_normal(e.shape, e.dtype, e)
        e *= self.sigma

    def forward(self, x, y, e):
        xp.add(x, e, out=y)

    def backward(self, x, y, dy, dx, e):
        dx[...] = dy

    def jvp(self, x, y, u, v, e):
        v[...] = u
