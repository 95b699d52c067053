"""Layers of images: convolution, transposed convolution, max pooling, reshaping.

Read layers.py first. An example is (channels, height, width), so x is (m, channels, height,
width). A convolution layer is y = A x + b with a linear map A, so `Conv2d` is an `Affine` layer
and defines the verbs apply, adjoint and outer. `naive_convolution` computes these verbs in six
loops. Read it first; the tests compare `Conv2d` with it.

`Conv2d` makes each verb a few matrix products. Take one channel, a kernel of 2 x 2, stride 1,
and one image of 3 x 3. The array L holds each row of the image twice: once for each column q of
the kernel, shifted by q to the left.

    image            L
    a b c            L[0]   a b   q = 0   )
                            b c   q = 1   )   y_0 = W^T L[0:2]
    d e f            L[1]   d e   q = 0   )   )
                            e f   q = 1   )   )   y_1 = W^T L[1:3]
    g h i            L[2]   g h   q = 0       )
                            h i   q = 1       )

A column of L[0:2], such as (a, b, d, e), is a patch: the pixels from which one output in row 0
of y is computed. L[0] and L[1] are neighbours in memory, so L[0:2] is a matrix without a copy.

In general the kernel is n x n, the stride is s, and `padded` is the image with p zeros on each
side. L[g] holds row g of `padded`. L[g] is a matrix: it has a row for each channel c and kernel
column q, and a column for each example and output column j. Then

    L[g][(c, q), (example, j)] = padded[example, c, g, s j + q]
    apply      y_i = W^T L[s i : s i + n]                       y_i: row i of y, (k, m w')
    outer      dW = sum over i of L[s i : s i + n] dy_i^T
    adjoint    dL[g] = sum of W_r dy_i over s i + r = g         W_r: row r of the kernels

and each number of dx is the sum of dL over the copies of its pixel in L. With stride 1, L has n
copies of a pixel; im2col, the usual method, makes n n copies. L is made for one chunk of the
examples at a time, in the same memory for all chunks. It is freed in the same call, so a layer
keeps no activations.
"""

import itertools
import math

from npgan import backend as xp
from npgan.layers import Affine, Layer, constant, glorot

# Bytes of the arrays that one chunk of examples needs: few enough to stay in a CPU's cache.
# On a GPU the limit is 16 times as large, because larger chunks mean fewer kernel launches.
WORKSPACE = 4 << 20

# A chunk has at least so many columns (example, output column), because every product reads all
# of W: with few columns, reading W takes longer than computing.
COLUMNS = 128


def chunks(m, example_bytes, least=1):
    """Cut m examples into nearly equal slices that fit WORKSPACE, or of `least` examples."""
    limit = max(least, (WORKSPACE if xp.name() == "numpy" else 16 * WORKSPACE) // example_bytes)
    size = math.ceil(m / math.ceil(m / limit))
    return [slice(start, start + size) for start in range(0, m, size)]


def as_strided(a, shape, strides):
    """A view of `a`. CuPy's sliding_window_view would make the host wait for the GPU."""
    return xp.lib.stride_tricks.as_strided(a, shape, strides)


def rows_first(a):
    """A view of `a` with the axes 0 and 2 exchanged: (m, k, h, w) becomes (h, k, m, w)."""
    return a.transpose(2, 1, 0, 3)


def as_tuple(shape):
    """Turn a list into a tuple, because a checkpoint stores tuples as lists."""
    return tuple(shape) if isinstance(shape, (list, tuple)) else shape


def are_integers(*numbers, minimum=1):
    """Whether all numbers are integers >= minimum."""
    return all(type(n) is int and n >= minimum for n in numbers)


# --- Convolution ------------------------------------------------------------------------------


def naive_convolution(W, x, dy, stride, pad):
    """The three verbs of a convolution in six loops: (A x, A^T dy, d<dy, A x>/dW).

        W (n, c, n, k)   x (m, c, h, w)   dy (m, k, h', w')

    <dy, A x> is a sum over the outputs (k, i, j) and the weights (r, c, q) of a kernel. Each
    term is a product of three numbers, from dy, W and x. Each verb multiplies two of the three
    and adds the product to the result at the place of the third.
    """
    (n, channels, _, maps), (_, _, height, width), (_, _, rows, columns) = W.shape, x.shape, dy.shape
    y, dx, dW = xp.zeros_like(dy), xp.zeros_like(x), xp.zeros_like(W)
    for k in range(maps):                                           # an output's channel, row, column
        for i in range(rows):
            for j in range(columns):
                for r in range(n):                                  # a weight's row, channel, column
                    for c in range(channels):
                        for q in range(n):
                            row, column = stride * i + r - pad, stride * j + q - pad
                            if 0 <= row < height and 0 <= column < width:       # outside x is 0
                                y[:, k, i, j] += W[r, c, q, k] * x[:, c, row, column]
                                dx[:, c, row, column] += W[r, c, q, k] * dy[:, k, i, j]
                                dW[r, c, q, k] += (dy[:, k, i, j] * x[:, c, row, column]).sum()
    return y, dx, dW


class Conv2d(Affine):
    """y[k, i, j] = sum over r, c, q of W[(r, c, q), k] x[c, s i + r - p, s j + q - p] + b

        x (m, c, h, w)   W (n c n, k)   b (k, 1, 1), or (k, h', w') if not tied
        y (m, k, h', w'),  h' = floor((h + 2p - n) / s) + 1, and w' likewise

    inputs = (c, h, w), channels = k, kernel = n, stride = s, pad = p; x is 0 outside the image.
    A column of W is one kernel, so initialisers and limits on column norms treat W as they
    treat the W of Linear. The kernel is not flipped: strictly this is a correlation.

    Temporary memory: at most 3 times WORKSPACE, or 3 times what COLUMNS columns need if that is
    more, and in `outer` and `adjoint` one array as large as W. On a GPU, CuPy's `apply` also
    copies the overlapping matrices L[s i : s i + n], together n / s times L. Raises ValueError
    if the kernel is larger than the padded image.
    """

    def __init__(self, inputs, channels, kernel, stride=1, pad=0, tied=True, W=glorot, b=constant(0)):
        super().__init__(as_tuple(inputs), channels, kernel, stride, pad, tied)
        self.inputs, self.channels, self.kernel, self.stride, self.pad, self.tied = self.args
        if not (type(self.inputs) is tuple and len(self.inputs) == 3
                and are_integers(*self.inputs, channels, kernel, stride)
                and are_integers(pad, minimum=0) and type(tied) is bool):
            raise ValueError(f"{self}: takes inputs (channels, height, width), channels, kernel and "
                             "stride, all integers >= 1, an integer pad >= 0, and tied, True or False")
        self.image, self.maps = self.geometry()
        outputs = self.outputs(self.inputs)
        self.parameters = {"W": (kernel * self.image[0] * kernel, self.maps[0]),
                           "b": (outputs[0], 1, 1) if tied else outputs}
        self.initial = {"W": W, "b": b}

    def geometry(self):
        """The shapes of A's input, an image (c, h, w), and of its output, maps (k, h', w')."""
        c, h, w = self.inputs
        n, s, p = self.kernel, self.stride, self.pad
        if n > min(h, w) + 2 * p:
            raise ValueError(f"{self}: a kernel of {n} x {n} does not fit into an image of {h} x {w} with "
                             f"{p} zeros around it")
        return self.inputs, (self.channels, (h + 2 * p - n) // s + 1, (w + 2 * p - n) // s + 1)

    def outputs(self, inputs):
        return self.maps

    def chunks(self, x):
        """Slices of the examples so small that L, or dy_rows in `adjoint`, fits WORKSPACE."""
        (c, h, _), (k, rows, columns), n = self.image, self.maps, self.kernel
        numbers = max((h + 2 * self.pad) * c * n, (rows + n) * k) * columns
        return chunks(len(x), numbers * x.dtype.itemsize, math.ceil(COLUMNS / columns))

    def patches(self, x):
        """Yield, for each chunk of the examples, (its slice, patches, y_rows).

            patches (h', n c n, m w')   the matrices L[s i : s i + n] of all rows i of y, a view
            y_rows (h', k, m, w')       memory for the rows of y or dy, with any content
        """
        (c, h, w), (k, rows, columns) = self.image, self.maps
        n, s, p = self.kernel, self.stride, self.pad
        slices = self.chunks(x)
        largest = slices[0].stop
        padded = xp.zeros((largest, c, h + 2 * p, w + 2 * p), x.dtype)
        L = xp.empty((h + 2 * p, c, n, largest, columns), x.dtype)
        y_rows = xp.empty((rows, k, largest, columns), x.dtype)
        example, channel, row, number = padded.strides
        for chunk in slices:
            m = len(x[chunk])
            padded[:m, :, p:p + h, p:p + w] = x[chunk]
            L[:, :, :, :m] = as_strided(padded, (h + 2 * p, c, n, m, columns),
                                        (row, channel, number, example, s * number))
            patches = as_strided(L, (rows, n * c * n, m * columns), (s * L.strides[0], L.strides[2], number))
            yield chunk, patches, y_rows[:, :, :m]

    def apply(self, x, y):
        k, rows, _ = self.maps
        for chunk, patches, y_rows in self.patches(x):
            xp.matmul(self.W.T, patches, out=y_rows.reshape(rows, k, -1))
            y[chunk] = rows_first(y_rows)

    def outer(self, x, dy, dW):
        k, rows, _ = self.maps
        dW_i = xp.empty_like(dW)
        dW[...] = 0
        for chunk, patches, dy_rows in self.patches(x):
            dy_rows[...] = rows_first(dy[chunk])
            for patches_i, dy_i in zip(patches, dy_rows.reshape(rows, k, -1)):
                dW += xp.matmul(patches_i, dy_i.T, out=dW_i)

    def adjoint(self, dy, dx):
        """dx = A^T dy, with one batch of matrix products for each remainder r = g mod s.

        Only the t kernel rows r, r + s, r + 2s, ... meet row g. So dL[g] is a product of two
        matrices: their W_r side by side, (c n, t k), and t successive rows of dy, one below the
        other, (t k, m w'). Rows of zeros above and below dy stand for outputs beyond the edge.
        """
        (c, h, w), (k, rows, columns) = self.image, self.maps
        n, s, p = self.kernel, self.stride, self.pad
        above = math.ceil(n / s) - 1                            # rows of zeros above dy
        first, last = p // s, math.ceil((p + h) / s)            # the image is within L[s first : s last]
        top = p - first * s
        W = self.W.reshape(n, c, n, k)                          # in s i + r = g, r falls as i grows
        kernels = [xp.ascontiguousarray(W[r::s][::-1].transpose(1, 2, 0, 3)).reshape(c * n, -1)
                   for r in range(min(n, s))]
        slices = self.chunks(dy)
        largest = slices[0].stop
        dy_rows = xp.zeros((above + max(last, rows), k, largest, columns), dy.dtype)
        dL = xp.empty((last - first, c, n, largest, columns), dy.dtype)
        dx_rows = xp.empty(((last - first) * s, c, largest, w + 2 * p), dy.dtype)
        for chunk in slices:
            m = len(dy[chunk])
            dy_rows[above:above + rows, :, :m] = rows_first(dy[chunk])
            dx_rows[...] = 0
            for r, W_r in enumerate(kernels):
                t = W_r.shape[1] // k
                dy_t = as_strided(dy_rows[first + above + 1 - t:], (last - first, t * k, m * columns),
                                  (*dy_rows.strides[:2], dy_rows.itemsize))
                xp.matmul(W_r, dy_t, out=dL[:, :, :, :m].reshape(last - first, c * n, m * columns))
                for q in range(n):
                    copies = dx_rows[r::s, :, :, q:q + s * columns:s]
                    copies += dL[:, :, q]
            dx[chunk] = rows_first(dx_rows[top:top + h, :, :m, p:p + w])

    def gradient(self, x, dy):
        self.outer(x, dy, self.dW)
        db = dy.sum(axis=0)
        self.db[...] = db.sum(axis=(1, 2), keepdims=True) if self.tied else db


class ConvTranspose2d(Conv2d):
    """y = A^T x + b, where the convolution A maps the shape of y to the shape of x.

        x (m, k, h, w)   W (n c n, k)   b (c, 1, 1), or (c, h', w') if not tied
        y (m, c, h', w'),  h' = s (h - 1) + n - 2p, and w' likewise

    inputs = (k, h, w), channels = c, kernel = n, stride = s, pad = p. Each number of x adds its
    multiple of a kernel to y. Neighbours in x add kernels that lie s pixels apart. Then p
    pixels on each side are cut off. An output is a sum of about k n n / s^2 terms, but an
    initialiser only sees the shape of W. Temporary memory is as for Conv2d. Raises ValueError
    if the pad leaves no output.
    """

    def geometry(self):
        _, h, w = self.inputs
        n, s, p = self.kernel, self.stride, self.pad
        height, width = (s * (size - 1) + n - 2 * p for size in (h, w))
        if min(height, width) < 1:
            raise ValueError(f"{self}: {h} x {w} inputs, {s} pixels apart, with a kernel of {n} x {n} and a "
                             f"pad of {p} leave {height} x {width} outputs")
        return (self.channels, height, width), self.inputs

    def outputs(self, inputs):
        return self.image

    def apply(self, x, y):
        super().adjoint(x, y)

    def adjoint(self, dy, dx):
        super().apply(dy, dx)

    def outer(self, x, dy, dW):
        super().outer(dy, x, dW)


# --- Max pooling ------------------------------------------------------------------------------


def naive_max_pool(x, dy, u, window, stride):
    """MaxPool's forward, backward and jvp, one window after the other: returns (y, dx, v).

        x, u (m, c, h, w)   dy (m, c, h', w')
    """
    y, dx, v = xp.zeros_like(dy), xp.zeros_like(x), xp.zeros_like(dy)
    for e, c, i, j in itertools.product(*map(range, dy.shape)):
        pixels = e, c, slice(stride * i, stride * i + window), slice(stride * j, stride * j + window)
        r, q = divmod(int(x[pixels].argmax()), x[pixels].shape[1])      # at a tie, the first
        y[e, c, i, j] = x[pixels][r, q]
        dx[pixels][r, q] += dy[e, c, i, j]
        v[e, c, i, j] = u[pixels][r, q]
    return y, dx, v


class MaxPool(Layer):
    """y[c, i, j] = max over r, q < window of x[c, s i + r, s j + q],    s = stride <= window

        x (m, c, h, w)   y (m, c, h', w'),  h' = ceil((h - window) / s) + 1, and w' likewise

    Windows may overlap, and together they cover the image. A window that extends beyond the
    lower or right edge takes the maximum of the pixels that exist, as in Pylearn2. If several
    pixels are the largest, the first of them, row by row, gets the gradient. Temporary memory:
    about 2 times WORKSPACE. Net raises ValueError if the window is larger than the image.

    `naive_max_pool` takes one window at a time. This layer takes one place (r, q) of all
    windows at a time. So it splits the image into s s planes, here for s = 2:

        image            planes
        a b a b          [0, 0]   a a      [0, 1]   b b
        c d c d                   e e               f f
        e f e f          [1, 0]   c c      [1, 1]   d d
        g h g h                   g g               h h

    The pixel at place (r, q) of window (i, j) is number [i + r // s, j + q // s] of plane
    [r % s, q % s]. So the pixels at place (r, q) of all windows lie in one contiguous run of
    that plane, and a pass is window^2 operations on long runs.
    """

    def __init__(self, window, stride):
        super().__init__(window, stride)
        if not (are_integers(window, stride) and stride <= window):
            raise ValueError(f"{self}: window and stride must be integers, 1 <= stride <= window, because a "
                             "larger stride would leave pixels out")
        self.window, self.stride = window, stride
        self.reach = (window - 1) // stride         # window (i, j) reads planes up to [i + reach, j + reach]

    def outputs(self, inputs):
        if len(inputs) != 3 or min(inputs[1:]) < self.window:
            raise ValueError(f"{self}: there is no window of {self.window} x {self.window} in inputs of "
                             f"shape {inputs}")
        return (inputs[0], *(math.ceil((size - self.window) / self.stride) + 1 for size in inputs[1:]))

    def chunks(self, y):
        """Yield (slice, the shape of one plane) for each chunk of examples."""
        m, c, rows, columns = y.shape
        plane = c, rows + self.reach, columns + self.reach
        for chunk in chunks(m, 2 * self.stride ** 2 * math.prod(plane) * y.dtype.itemsize):
            yield chunk, (len(y[chunk]), *plane)

    def planes(self, a, shape):
        """planes[f, g, ..., i, j] = a[..., s i + f, s j + g], or -inf outside the image."""
        planes = xp.full((self.stride, self.stride, *shape), -math.inf, a.dtype)
        for inside, pixels in self.pairs(planes, a):
            inside[...] = pixels
        return planes

    def pairs(self, planes, a):
        """Yield, for each plane, its part within the image, and the pixels of `a` for it."""
        for f, g in itertools.product(range(self.stride), repeat=2):
            pixels = a[:, :, f::self.stride, g::self.stride]
            yield planes[f, g, :, :, :pixels.shape[2], :pixels.shape[3]], pixels

    def runs(self, planes):
        """Yield, for each place (r, q) in a window, row by row, the run of the pixels there."""
        s = self.stride
        for r, q in itertools.product(range(self.window), repeat=2):
            yield self.run(planes[r % s, q % s], r // s, q // s)

    def run(self, plane, r=0, q=0):
        """The contiguous run of plane[..., i + r, j + q], from the first window to the last.

        Between two rows of windows the run has a few numbers that belong to no window.
        """
        width, n = plane.shape[-1], self.reach
        return plane.reshape(-1)[r * width + q:][:plane.size - n * width - n]

    def as_plane(self, y, shape):
        """A plane with y[..., i, j] at [..., i, j], and 0 elsewhere."""
        plane = xp.zeros(shape, y.dtype)
        plane[:, :, :y.shape[2], :y.shape[3]] = y
        return plane

    def forward(self, x, y):
        for chunk, shape in self.chunks(y):
            plane = xp.full(shape, -math.inf, y.dtype)
            largest = self.run(plane)
            for x_rq in self.runs(self.planes(x[chunk], shape)):
                xp.maximum(largest, x_rq, out=largest)
            y[chunk] = plane[:, :, :y.shape[2], :y.shape[3]]

    def backward(self, x, y, dy, dx):
        for chunk, shape in self.chunks(y):
            largest = self.run(self.as_plane(y[chunk], shape))
            dy_left = self.run(self.as_plane(dy[chunk], shape))
            X = self.planes(x[chunk], shape)
            dX = xp.zeros_like(X)
            for x_rq, dx_rq in zip(self.runs(X), self.runs(dX)):
                taken = dy_left * (x_rq == largest)
                dx_rq += taken
                dy_left -= taken                        # so that an equal pixel, later, gets nothing
            for inside, pixels in self.pairs(dX, dx[chunk]):
                pixels[...] = inside

    def jvp(self, x, y, u, v):
        for chunk, shape in self.chunks(y):
            largest, plane = self.run(self.as_plane(y[chunk], shape)), xp.zeros(shape, v.dtype)
            X, U = self.planes(x[chunk], shape), self.planes(u[chunk], shape)
            # In reverse order, so that the first of several largest pixels is copied last.
            for x_rq, u_rq in reversed(list(zip(self.runs(X), self.runs(U)))):
                xp.copyto(self.run(plane), u_rq, where=x_rq == largest)
            v[chunk] = plane[:, :, :v.shape[2], :v.shape[3]]


# --- Reshaping --------------------------------------------------------------------------------


class Reshape(Layer):
    """y = x in another shape          x (m, ...)   y (m, *shape)

    Net raises ValueError if the number of entries differs.
    """

    def __init__(self, shape):
        super().__init__(as_tuple(shape))
        self.shape, = self.args
        if not (type(self.shape) is tuple and self.shape and are_integers(*self.shape)):
            raise ValueError(f"{self}: the shape of one example must be a tuple of integers >= 1")

    def outputs(self, inputs):
        if math.prod(self.shape) != math.prod(inputs):
            raise ValueError(f"{self}: has {math.prod(self.shape)} numbers, but the inputs, of shape "
                             f"{inputs}, have {math.prod(inputs)}")
        return self.shape

    def forward(self, x, y):
        y[...] = x.reshape(y.shape)

    def backward(self, x, y, dy, dx):
        dx[...] = dy.reshape(dx.shape)

    def jvp(self, x, y, u, v):
        self.forward(u, v)
