"""Convolution, transposed convolution, max pooling: the layers of images, channels first, x (m, channels, height, width).

A convolution is an affine map, so it is the three verbs of `Affine` again, and each is one matrix product, batched over rows of pixels.
The usual way there (im2col) writes every pixel n n times, once for each place in a kernel of n x n. Here it is written n times: L holds
each row of the padded image with its n horizontal shifts,

    L[g, (c, q), (example, j)] = x[example, c, g - p, s j + q - p]        rows g of the padded image, channels c, places q in a kernel's row

and n rows of L that follow each other are, in one piece of memory, the operand of a row of y:

    apply      y_i   = W^T L[s i ... s i + n - 1]                         i: a row of y
    outer      dW    = sum over i of  L[s i ... s i + n - 1] dy_i^T
    adjoint    dL_g  = sum over r of  W_r dy_i  where s i + r = g         one product too, for rows of dy that follow each other;
                                                                          its n shifts, added up, are dx

No state: L lives for one call, in chunks of examples that fit WORKSPACE.
"""

import itertools
import math

from npgan import backend as xp
from npgan.layers import Affine, Layer, constant, glorot

WORKSPACE = 4 << 20             # bytes of a chunk's rows, so that they stay in a CPU's cache; 16 times as much on a GPU, for fewer launches


def chunks(m, example):
    """Slices of m rows into equal parts, of at most WORKSPACE bytes or of one example, whose workspace is `example` bytes."""
    most = max(1, (WORKSPACE if xp.name() == "numpy" else 16 * WORKSPACE) // example)
    rows = math.ceil(m / math.ceil(m / most))
    return [slice(a, a + rows) for a in range(0, m, rows)]


def strided(a, shape, strides):
    """A view. (CuPy's sliding_window_view reads the window's size back from the GPU; this does not.)"""
    return xp.lib.stride_tricks.as_strided(a, shape, strides)


def rows_first(a):
    """(m, k, h, w) as (h, k, m, w), a view; and back."""
    return a.transpose(2, 1, 0, 3)


def whole(least, *numbers):
    return all(type(n) is int and n >= least for n in numbers)


def tuple_of(shape):
    return tuple(shape) if isinstance(shape, (tuple, list)) else shape       # a checkpoint keeps lists


class Conv2d(Affine):
    """y[k, i, j] = sum over r, c, q of W[(r, c, q), k] x[c, s i + r - p, s j + q - p] + b

        x (m, c, h, w)   W (n c n, k)   b (k, 1, 1), or (k, h', w') if not tied
        y (m, k, h', w'),  h' = floor((h + 2p - n) / s) + 1, and w' likewise

    Conv2d(inputs=(c, h, w), channels=k, kernel=n, stride=s, pad=p): p zeros around the image. A column of W is a kernel, its rows in the
    order kernel row, channel, kernel column, so that W is to an initialiser, or a limit on column norms, what it is in Linear. The kernel
    is not flipped: what is called a convolution in networks is a correlation. `tied`: one bias for each channel, or one for each output.

    Memory of a call: at most 3 times WORKSPACE (or what one example takes, if that is more), and in `gradient` W h' + 2 times over.
    On a GPU CuPy's products copy operands whose rows overlap first: L up to n / s times over.
    ValueError if the kernel does not fit into the image.
    """

    def __init__(self, inputs, channels, kernel, stride=1, pad=0, tied=True, W=glorot, b=constant(0)):
        self.setup(inputs, channels, kernel, stride, pad, tied, W, b)
        c, h, w = self.inputs
        if kernel > min(h, w) + 2 * pad:
            raise ValueError(f"{self}: a kernel of {kernel} x {kernel} does not fit into an image of {h} x {w} with {pad} zeros around it")
        self.image = self.inputs
        self.maps = (channels, (h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1)
        self.own(self.maps)

    def setup(self, inputs, channels, kernel, stride, pad, tied, W, b):
        self.args = (tuple_of(inputs), channels, kernel, stride, pad, tied)
        self.inputs, self.initial = self.args[0], {"W": W, "b": b}
        if not (type(self.inputs) is tuple and len(self.inputs) == 3 and whole(1, *self.inputs, channels, kernel, stride)
                and whole(0, pad) and type(tied) is bool):
            raise ValueError(f"{self}: takes inputs (channels, height, width), channels, kernel, stride, all whole numbers from 1 on, "
                             "a pad from 0 on, and tied, True or False")

    def own(self, outputs):
        (c, _, _), (k, _, _), n = self.image, self.maps, self.args[2]
        self.parameters = {"W": (n * c * n, k), "b": (outputs[0], 1, 1) if self.args[5] else outputs}

    def outputs(self, inputs):
        return self.maps

    def chunks(self, x):
        (c, h, _), (k, i, j), (n, _, p) = self.image, self.maps, self.args[2:5]
        return chunks(len(x), max((h + 2 * p) * c * n, (i + n) * k) * j * x.dtype.itemsize)

    def windows(self, x):
        """(h', n c n, m w'): the rows of L that make each row of y, overlapping: a view of L."""
        m, (c, h, w), (_, i, j), (n, s, p) = len(x), self.image, self.maps, self.args[2:5]
        padded = xp.zeros((m, c, h + 2 * p, w + 2 * p), x.dtype)
        padded[:, :, p:p + h, p:p + w] = x
        example, channel, row, one = padded.strides
        L = xp.ascontiguousarray(strided(padded, (h + 2 * p, c, n, m, j), (row, channel, one, example, s * one)))
        return strided(L, (i, n * c * n, m * j), (s * c * n * m * j * one, m * j * one, one))

    def apply(self, x, y):
        k, i, j = self.maps
        for rows in self.chunks(x):
            y[rows] = rows_first(xp.matmul(self.W.T, self.windows(x[rows])).reshape(i, k, -1, j))

    def outer(self, x, dy, dW):
        k, i, j = self.maps
        dW[...] = 0
        for rows in self.chunks(x):
            dy_i = xp.ascontiguousarray(rows_first(dy[rows])).reshape(i, k, -1)
            dW += xp.matmul(self.windows(x[rows]), dy_i.transpose(0, 2, 1)).sum(axis=0)

    def adjoint(self, dy, dx):
        (c, h, w), (k, i, j), (n, s, p) = self.image, self.maps, self.args[2:5]
        W, one = self.W.reshape(n, c, n, k), dy.dtype.itemsize
        most = math.ceil(n / s)                                             # rows of dy that reach one row of L
        first, last = p // s, math.ceil((p + h) / s)                        # L's rows by s: these s-tuples are not all padding
        for rows in self.chunks(dy):
            m = len(dy[rows])
            above = xp.zeros((max(last, i) + most - 1, k, m, j), dy.dtype)  # dy with rows of zeros around
            above[most - 1:most - 1 + i] = rows_first(dy[rows])
            padded = xp.zeros(((last - first) * s, c, m, w + 2 * p), dy.dtype)
            for r in range(min(n, s)):                                      # the kernel's rows r, r + s, ... meet L's rows r, r + s, ...
                W_r = W[r::s][::-1]                                         # the last of them meets the topmost row of dy
                t = len(W_r)
                A = xp.ascontiguousarray(W_r.transpose(1, 2, 0, 3)).reshape(c * n, t * k)
                reach = strided(above[first + most - t:], (last - first, t * k, m * j), (k * m * j * one, m * j * one, one))
                dL = xp.matmul(A, reach).reshape(last - first, c, n, m, j)
                for q in range(n):
                    shift = padded[r::s, :, :, q:q + s * j:s]
                    shift += dL[:, :, q]
            top = p - first * s
            dx[rows] = rows_first(padded[top:top + h, :, :, p:p + w])

    def gradient(self, x, dy):
        self.outer(x, dy, self.dW)
        if self.args[5]:
            dy.sum(axis=(0, 2, 3), out=self.db.reshape(-1))
        else:
            dy.sum(axis=0, out=self.db)


class ConvTranspose2d(Conv2d):
    """y = A^T x + b, where A is the convolution from y's shape to x's: apply and adjoint exchanged

        x (m, k, h, w)   W (n c n, k)   b (c, 1, 1), or (c, h', w') if not tied
        y (m, c, h', w'),  h' = s (h - 1) + n - 2p, and w' likewise

    ConvTranspose2d(inputs=(k, h, w), channels=c, kernel=n, stride=s, pad=p): each input lays a kernel, scaled, onto the output, s pixels
    from its neighbour's. An output is the sum of about k n n / s^2 terms, which an initialiser does not know: to it W is A's.
    Memory: the convolution's. ValueError if the padding leaves no output.
    """

    def __init__(self, inputs, channels, kernel, stride=1, pad=0, tied=True, W=glorot, b=constant(0)):
        self.setup(inputs, channels, kernel, stride, pad, tied, W, b)
        _, h, w = self.inputs
        self.image, self.maps = (channels, *(stride * (size - 1) + kernel - 2 * pad for size in (h, w))), self.inputs
        if min(self.image) < 1:
            raise ValueError(f"{self}: of {h} x {w} inputs, {stride} pixels apart, under a kernel of {kernel} x {kernel}, "
                             f"a pad of {pad} leaves {self.image[1]} x {self.image[2]} outputs")
        self.own(self.image)

    def outputs(self, inputs):
        return self.image

    def apply(self, x, y):
        super().adjoint(x, y)

    def adjoint(self, dy, dx):
        super().apply(dy, dx)

    def outer(self, x, dy, dW):
        super().outer(dy, x, dW)


class MaxPool(Layer):
    """y[c, i, j] = max over r, q < window of x[c, s i + r, s j + q]          x (m, c, h, w)   y (m, c, h', w')

    MaxPool(window, stride=s), s <= window: windows may overlap, and together they cover the whole image; those at the lower and right edge
    may hang over it, and are the largest of what is left (as in Pylearn2): h' = ceil((h - window) / s) + 1. A tie goes to the first, row by
    row. ValueError, from the network, if the window is larger than the image. Memory of a call: about 2 times WORKSPACE.

    Window by window is slow: a window's row is short. So the image is taken apart into s s planes, in which neighbouring windows are
    neighbours, and the pixels at place (r, q) of all windows are one run of memory: window^2 operations on long vectors are the layer.
    """

    def __init__(self, window, stride):
        super().__init__(window, stride)
        if not (whole(1, window, stride) and stride <= window):
            raise ValueError(f"{self}: window and stride must be whole numbers, 1 <= stride <= window, or pixels would be left out")

    def outputs(self, inputs):
        window, s = self.args
        if len(inputs) != 3 or min(inputs[1:]) < window:
            raise ValueError(f"{self}: there is no window of {window} x {window} in inputs of shape {inputs}")
        return (inputs[0], *(math.ceil((size - window) / s) + 1 for size in inputs[1:]))

    def chunks(self, y):
        """For each chunk of examples its rows, and the shape of a plane: (m, c, h' + n, w' + n), n more each way than there are windows."""
        (window, s), (m, c, i, j) = self.args, y.shape
        n = (window - 1) // s
        for rows in chunks(m, 2 * s * s * c * (i + n) * (j + n) * y.dtype.itemsize):
            yield rows, (len(y[rows]), c, i + n, j + n)

    def planes(self, a, shape):
        """The image by its pixels' place in a stride: planes[f, g, ..., i, j] = a[..., s i + f, s j + g], and -inf beyond the edge."""
        planes = xp.full((self.args[1], self.args[1], *shape), -math.inf, a.dtype)
        for plane, part in self.parts(planes, a):
            plane[...] = part
        return planes

    def parts(self, planes, a):
        """What is within the image of each plane, and its pixels in a."""
        s = self.args[1]
        for f, g in itertools.product(range(s), repeat=2):
            part = a[:, :, f::s, g::s]
            yield planes[f, g, :, :, :part.shape[2], :part.shape[3]], part

    def places(self, planes):
        """For each place (r, q) in a window, row by row, the pixels there, window by window."""
        window, s = self.args
        for r, q in itertools.product(range(window), repeat=2):
            yield self.piece(planes[r % s, q % s], r // s, q // s)

    def piece(self, plane, r=0, q=0):
        """plane[..., i + r, j + q] from the first window to the last, as they lie in memory: some between rows are of no use."""
        n, width = (self.args[0] - 1) // self.args[1], plane.shape[-1]
        return plane.reshape(-1)[r * width + q:][:plane.size - n * width - n]

    def spread(self, y, shape):
        """A plane with one number for each window, and 0 elsewhere."""
        plane = xp.zeros(shape, y.dtype)
        plane[:, :, :y.shape[2], :y.shape[3]] = y
        return plane

    def forward(self, x, y):
        for rows, shape in self.chunks(y):
            plane = xp.full(shape, -math.inf, y.dtype)
            largest = self.piece(plane)
            for x_rq in self.places(self.planes(x[rows], shape)):
                xp.maximum(largest, x_rq, out=largest)
            y[rows] = plane[:, :, :y.shape[2], :y.shape[3]]

    def backward(self, x, y, dy, dx):
        for rows, shape in self.chunks(y):
            largest, left = (self.piece(self.spread(a[rows], shape)) for a in (y, dy))
            X = self.planes(x[rows], shape)
            dX = xp.zeros_like(X)
            for x_rq, dx_rq in zip(self.places(X), self.places(dX)):
                here = left * (x_rq == largest)
                dx_rq += here
                left -= here                                # so that the first takes it all
            for plane, part in self.parts(dX, dx[rows]):
                part[...] = plane

    def jvp(self, x, y, u, v):
        for rows, shape in self.chunks(y):
            largest, plane = self.piece(self.spread(y[rows], shape)), xp.zeros(shape, v.dtype)
            pairs = zip(self.places(self.planes(x[rows], shape)), self.places(self.planes(u[rows], shape)))
            for x_rq, u_rq in reversed(list(pairs)):        # so that the first has the last word
                xp.copyto(self.piece(plane), u_rq, where=x_rq == largest)
            v[rows] = plane[:, :, :v.shape[2], :v.shape[3]]


class Reshape(Layer):
    """y = x, in another shape          x (m, ...)   y (m, *shape)          ValueError, from the network, if the sizes differ"""

    def __init__(self, shape):
        super().__init__(tuple_of(shape))
        if not (type(self.args[0]) is tuple and self.args[0] and whole(1, *self.args[0])):
            raise ValueError(f"{self}: the shape of one example is a tuple of whole numbers from 1 on")

    def outputs(self, inputs):
        shape, = self.args
        if math.prod(shape) != math.prod(inputs):
            raise ValueError(f"{self}: {math.prod(shape)} numbers, but the inputs, of shape {inputs}, are {math.prod(inputs)}")
        return shape

    def forward(self, x, y):
        y[...] = x.reshape(y.shape)

    def backward(self, x, y, dy, dx):
        dx[...] = dy.reshape(dx.shape)

    def jvp(self, x, y, u, v):
        self.forward(u, v)
