"""A network: a stack of layers over one flat parameter vector, and the tape of buffers that a pass through it writes."""

import math

import numpy as np

from npgan import backend as xp


class Tape:
    """The buffers of one pass of m examples: x[0] is the input, x[l + 1] layer l's output, dx[l] the objective's gradient
    with respect to x[l], extra[l] what layer l asked for beside them. `tape[rows]` is a tape of those rows, without a copy."""

    def __init__(self, x, dx, extra):
        self.x, self.dx, self.extra = x, dx, extra

    def __getitem__(self, rows):
        return Tape([a[rows] for a in self.x], [a[rows] for a in self.dx], [tuple(a[rows] for a in e) for e in self.extra])


class Net:
    """y = f_L(... f_1(x)): theta holds every parameter, grad every parameter's gradient; layer.W, layer.dW, ... are views of them.

    The initial weights are drawn on the host from `seed`, so that they are the same on both backends.
    ValueError, naming the layer, where two layers do not fit or a layer belongs to another network already.
    """

    def __init__(self, layers, dtype="float32", seed=0):
        self.layers = list(layers)
        self.dtype, self.shapes = dtype, shapes(self.layers)
        self.theta, self.grad = xp.zeros(size(self.layers), dtype), xp.zeros(size(self.layers), dtype)
        self.lowest = next((l for l, layer in enumerate(self.layers) if layer.parameters), len(self.layers))    # with parameters
        rng = np.random.default_rng(seed)
        theta, grad = self.named(self.theta), self.named(self.grad)
        for l, layer in enumerate(self.layers):
            if any("d" + name in vars(layer) for name in layer.parameters):
                raise ValueError(f"layer {l}, {layer}: belongs to another network already; make a new one")
            for name, shape in layer.parameters.items():
                setattr(layer, name, theta[f"{l}.{name}"])
                setattr(layer, "d" + name, grad[f"{l}.{name}"])
                theta[f"{l}.{name}"][...] = xp.asarray(np.asarray(layer.initial[name](rng, shape), dtype))

    def named(self, flat):
        """{"0.W": array, "0.b": array, ...}: the views of a flat vector that is laid out as theta is."""
        views, at = {}, 0
        for l, layer in enumerate(self.layers):
            for name, shape in layer.parameters.items():
                views[f"{l}.{name}"] = flat[at:at + math.prod(shape)].reshape(shape)
                at += math.prod(shape)
        return views

    def named_parameters(self):
        """{"0.W": array, "0.b": array, ...}, views of theta: layer number and parameter name."""
        return self.named(self.theta)

    def tape(self, m, backward=True):
        """Buffers for a pass of m examples, with dropout off until `draw`; without `backward` there are none for gradients."""
        def buffers():
            return [xp.empty((m, *shape), self.dtype) for shape in self.shapes]
        extra = [layer.extra(m, shape, self.dtype) for layer, shape in zip(self.layers, self.shapes)]
        return Tape(buffers(), buffers() if backward else [], extra)

    def draw(self, t, rng):
        """Draw what is random in a pass: dropout's masks."""
        for layer, extra in zip(self.layers, t.extra):
            layer.draw(rng, *extra)

    def forward(self, t):
        """From t.x[0] to t.x[-1]."""
        for l, layer in enumerate(self.layers):
            layer.forward(t.x[l], t.x[l + 1], *t.extra[l])

    def backward(self, t, *, parameters=True, inputs=True):
        """From t.dx[-1]; fills self.grad and/or t.dx[0], and nothing it was not asked for."""
        for l in reversed(range(len(self.layers))):
            if parameters:
                self.layers[l].gradient(t.x[l], t.dx[l + 1], *t.extra[l])
            if inputs or l > self.lowest:
                self.layers[l].backward(t.x[l], t.x[l + 1], t.dx[l + 1], t.dx[l], *t.extra[l])

    def second(self, t, s, work):
        """Differentiate the gradient: self.grad += grad_theta Q, where Q = sum_i <u_i, grad_x y(x_i)> is y's slope at x along given u.

        For any P = sum_i h(grad_x y(x_i)) this is grad_theta P, if u_i = grad h at grad_x y(x_i). Before: forward(t), t.dx[-1] = 1 and
        backward(t, parameters=False) on one tape, which is only read here, and u in s.x[0] of another. Two passes more:

            forward      x_0 --> x_1 --> ... --> x_L = y     t.x     x_{l+1} = f_l(x_l)
            backward     g_0 <-- g_1 <-- ... <-- g_L = 1     t.dx    g_l = J_l^T g_{l+1},  J_l = df_l/dx at x_l;  g_0 = grad_x y
            1, up        u_0 --> u_1 --> ... --> u_L         s.x     u_{l+1} = J_l u_l,  so that Q = sum of u_L
            2, down      e_0 <-- e_1 <-- ... <-- e_L = 0     s.dx    e_l = J_l^T e_{l+1} + c_l,  e_l = dQ/dx_l

        So Q is the output of a network that sends pairs (x_l, u_l) up, and its gradient is that network's backward pass. An affine layer's
        weights act in it twice: on u_{l+1} = A u_l, and there dQ/du_l is g_l, for pass 1 transposed is the backward pass; and on
        x_{l+1} = A x_l + b. So dQ/dW = outer(u_l, g_{l+1}) + outer(x_l, e_{l+1}). In the first b does not occur: it shifts y, and tilts
        nothing. In the second it does, because it shifts x_l, where the slopes above are taken: the slope of an elementwise layer in
        u_{l+1} = f'(x_l) u_l changes with x_l, and that is c_l = f''(x_l) u_l g_{l+1}. Leave it out, and the gradient of every smooth
        network is wrong. Linear maps, ReLU and maxout have f'' = 0 (but at kinks, of measure zero): without a curved layer all e are 0,
        and pass 2 is not made.

        `work` is a vector like theta, overwritten. ValueError where a layer cannot be differentiated twice.
        """
        dW = self.named(work)
        for l, layer in enumerate(self.layers):                                             # 1, up
            layer.pushforward(t.x[l], t.x[l + 1], s.x[l], s.x[l + 1], *t.extra[l])
            if layer.parameters:
                layer.outer(s.x[l], t.dx[l + 1], dW[f"{l}.W"])
                layer.dW += dW[f"{l}.W"]
        if any(layer.curved for layer in self.layers):
            work[...] = self.grad                                                           # for gradient overwrites it
            s.dx[-1][...] = 0
            for l, layer in reversed(list(enumerate(self.layers))):                         # 2, down
                layer.gradient(t.x[l], s.dx[l + 1], *t.extra[l])
                if l > self.lowest:
                    layer.backward(t.x[l], t.x[l + 1], s.dx[l + 1], s.dx[l], *t.extra[l])
                    if layer.curved:
                        s.dx[l] += layer.curvature(t.x[l + 1]) * s.x[l] * t.dx[l + 1]
            self.grad += work

    def __call__(self, x):
        """f(x) as a fresh array, without dropout. ValueError unless x is (m, *shape of one input)."""
        x = xp.asarray(x)
        if tuple(x.shape[1:]) != self.shapes[0]:
            raise ValueError(f"the network takes examples of shape {self.shapes[0]}, one a row, but the array's shape is {tuple(x.shape)}")
        t = self.tape(len(x), backward=False)
        t.x[0][...] = x
        self.forward(t)
        return t.x[-1]

    def __repr__(self):
        rows = [("layer", "", "output", "parameters"), *(
            (str(l), repr(layer), " x ".join(map(str, self.shapes[l + 1])), f"{size([layer]):,}" if layer.parameters else "")
            for l, layer in enumerate(self.layers)), ("", "", "", f"{len(self.theta):,}")]
        width = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join(f"{a:>{width[0]}}  {b:<{width[1]}}  {c:>{width[2]}}  {d:>{width[3]}}".rstrip() for a, b, c, d in rows)


def size(layers):
    """Number of parameters."""
    return sum(math.prod(shape) for layer in layers for shape in layer.parameters.values())


def shapes(layers):
    """[shape of one input, of layer 0's output, ...]. The first layer that fixes its input fixes the network's."""
    fixed = [layer.inputs for layer in layers if layer.inputs]
    if not fixed:
        raise ValueError("no layer of the network says how many inputs it takes: begin with a Linear")
    shape = [fixed[0]]
    for l, layer in enumerate(layers):
        if layer.inputs not in (None, shape[-1]):
            raise ValueError(f"layer {l}, {layer}: takes inputs of shape {layer.inputs}, but what comes in has shape {shape[-1]}")
        shape.append(layer.outputs(shape[-1]))
    return shape
