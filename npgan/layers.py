"""Layers: each owns its parameters and nothing else.

A layer maps m examples at once, one example a row. Every input, output and gradient is a buffer that the caller passes in:

    forward(x, y)             y = f(x)
    backward(x, y, dy, dx)    dx = (df/dx)^T dy
    gradient(x, dy)           dW, db: the parameters' part of the same chain rule
    pushforward(x, y, u, v)   v = (df/dx) u: how y moves when x moves along u (only what differentiates twice asks: Net.second)

Inputs come first, then what is written; nothing is returned; x and y never alias. dy means dL/dy for whatever objective L is
being differentiated, and so dx, dW, db. A layer that needs more than x and y (dropout its mask) says so with `extra`: the tape
keeps these buffers, and they come last in each call.
"""

import math

import numpy as np

from npgan import backend as xp

# --- Initialisers: functions of a host generator and a shape, so that one seed gives one network on every backend -----------


def constant(value):
    """Every entry `value`: a number, or an array of the parameter's shape."""
    return lambda rng, shape: np.broadcast_to(value, shape)


def uniform(r):
    """U(-r, r), the 2014 paper's."""
    return lambda rng, shape: rng.uniform(-r, r, shape)


def glorot(rng, shape):
    """U(-r, r), r = sqrt(6 / (n + k)) for W (n, k): keeps the variance of tanh and sigmoid units (Glorot and Bengio 2010)."""
    return uniform(math.sqrt(6 / sum(shape)))(rng, shape)


def he(rng, shape):
    """N(0, 2 / n) for W (n, k): keeps the variance of ReLU units (He et al. 2015)."""
    return rng.normal(0, math.sqrt(2 / shape[0]), shape)


def sparse(nonzero):
    """For each unit (a column of W) `nonzero` weights from N(0, 1), the others 0 (Martens 2010). ValueError if there are not so many."""
    def draw(rng, shape):
        if not 0 < nonzero <= shape[0]:
            raise ValueError(f"sparse({nonzero}): a unit with {shape[0]} inputs cannot have {nonzero} nonzero weights")
        rows = np.argsort(rng.random(shape), axis=0)[:nonzero]
        W = np.zeros(shape)
        np.put_along_axis(W, rows, rng.standard_normal(rows.shape), axis=0)
        return W
    return draw


def logit(p):
    """b = log(p / (1 - p)), p clipped to [1e-7, 1 - 1e-7]: a sigmoid layer whose x is near 0 then starts at the marginals p."""
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return constant(np.log(p / (1 - p)))


# --- Layers -----------------------------------------------------------------------------------------------------------------


class Layer:
    """What a network asks of every layer; a layer without parameters, of one output for each input, needs no more than this."""

    parameters = {}                  # name -> shape; the network sets self.<name> and its gradient self.d<name>
    inputs = None                    # shape of one example, where the layer fixes it
    curved = False                   # whether f'' is anything but zero; then curvature(y) gives it

    def __init__(self, *args):
        self.args = args             # of the constructor: what repr prints and a checkpoint keeps

    def outputs(self, inputs):
        """Shape of one output for the shape of one input."""
        return inputs

    def extra(self, m, inputs, dtype):
        """Buffers that the layer needs beyond x and y, each with m rows."""
        return ()

    def draw(self, rng, *extra):
        """Fill the random ones among them, before the pass, so that forward stays a function."""

    def gradient(self, x, dy, *extra):
        """Nothing to do without parameters."""

    def pushforward(self, x, y, u, v, *extra):
        raise ValueError(f"{self}: has no pushforward, so no gradient penalty can go through it")

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(str, self.args))})"


class Affine(Layer):
    """y = A x + b, where the linear map A is written with the weights W.

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
        xp.total(dy, out=self.db)

    def pushforward(self, x, y, u, v):
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
        xp.dot(x, self.W, out=y)

    def adjoint(self, dy, dx):
        xp.dot(dy, self.W.T, out=dx)             # with one logit NumPy's matmul is ten times as slow: a loop, no BLAS

    def outer(self, x, dy, dW):
        xp.dot(x.T, dy, out=dW)


class Elementwise(Layer):
    """y = f(x), with f' (slope) and f'' (curvature) written in terms of y."""

    def backward(self, x, y, dy, dx):
        xp.multiply(dy, self.slope(y), out=dx)

    def pushforward(self, x, y, u, v):
        self.backward(x, y, u, v)    # df/dx is diagonal: its own transpose

    def curvature(self, y):
        return xp.zeros_like(y)      # piecewise linear, unless a subclass says otherwise


class ReLU(Elementwise):
    """y = max(x, 0)"""

    def forward(self, x, y):
        xp.relu(x, out=y)

    def slope(self, y):
        return y > 0                 # the kink itself counts as flat


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
        slope = (y > 0).astype(y.dtype)
        slope *= 1 - self.args[0]
        slope += self.args[0]        # 1 where y > 0, else a: in a third less time than a maximum with a number
        return slope


class Sigmoid(Elementwise):
    """y = 1 / (1 + e^-x)"""

    curved = True

    def forward(self, x, y):
        xp.sigmoid(x, out=y)

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
    """y = a x + b, a and b numbers that are not learned: Scale(4, -2) shows D pixels of [0, 1] as of [-2, 2].

    Images that differ little from a common mean differ even less to a unit that sees the mean as well; without most of it D learns sooner.
    """

    def __init__(self, a, b):
        super().__init__(a, b)

    def forward(self, x, y):
        xp.multiply(x, self.args[0], out=y)
        y += self.args[1]

    def slope(self, y):
        return xp.full_like(y, self.args[0])


class Maxout(Layer):
    """y_j = max_i x_ij          x (m, pieces * units), piece by piece   y (m, units)

    After Linear(n, pieces * units): the convex piecewise linear unit of Goodfellow et al. 2013. A tie goes to the first piece.
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
        return x.reshape(len(x), self.args[0], -1)

    def forward(self, x, y):
        xp.max(self.split(x), axis=1, out=y.reshape(len(y), -1))

    def backward(self, x, y, dy, dx):
        xp.multiply(dy.reshape(len(y), 1, -1), self.largest(x, y), out=self.split(dx))

    def pushforward(self, x, y, u, v):
        u, v, largest = self.split(u), v.reshape(len(y), -1), self.largest(x, y)
        for i in range(self.args[0]):
            xp.copyto(v, u[:, i], where=largest[:, i])

    def largest(self, x, y):
        """(m, pieces, units): True where a piece is its unit's largest, the first of them. Every unit has one."""
        return xp.largest(self.split(x), y.reshape(len(y), -1))


class Dropout(Layer):
    """y = mask x, mask = 1 / keep with probability keep, else 0: one mask per example, E[y] = x (Srivastava et al. 2014).

    A fresh tape's masks are 1, dropout off; `draw` draws them.
    """

    def __init__(self, keep):
        super().__init__(keep)
        if not 0 < keep <= 1:
            raise ValueError(f"Dropout({keep}): keep is the probability to keep an input, in (0, 1]")

    def extra(self, m, inputs, dtype):
        return (xp.ones((m, *inputs), dtype),)

    def draw(self, rng, mask):
        xp.bernoulli(rng, self.args[0], 1 / self.args[0], mask)

    def forward(self, x, y, mask):
        xp.multiply(x, mask, out=y)

    def backward(self, x, y, dy, dx, mask):
        xp.multiply(dy, mask, out=dx)

    def pushforward(self, x, y, u, v, mask):
        xp.multiply(u, mask, out=v)


class Noise(Layer):
    """y = x + e, e ~ N(0, sigma^2): instance noise, where D begins with it (Arjovsky and Bottou 2017; Sonderby et al. 2017).

    A fresh tape's e is 0; `draw` draws it. `sigma` may be changed between steps: annealed.
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

    def pushforward(self, x, y, u, v, e):
        v[...] = u
