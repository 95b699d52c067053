"""A network: a stack of layers over one flat parameter vector, and the tapes that its passes
write.

Read layers.py first. One step can need several passes through D: over real and generated
examples, and over a penalty's points. So a network keeps no activations: each pass writes into
a tape that the caller made, and every array on it can be printed.

Study page: docs/study/backpropagation.html
"""

import math

import numpy as np

from npgan import backend as xp


class Tape:
    """The buffers of one pass of m examples through layers 0 to L - 1.

    x[0] is the input, x[l + 1] the output of layer l, dx[l] the gradient of the objective with
    respect to x[l], and extra[l] what layer l asked for besides (dropout's mask). `tape[rows]`
    is a tape of those rows, without a copy.
    """

    def __init__(self, x, dx, extra):
        self.x, self.dx, self.extra = x, dx, extra

    def __getitem__(self, rows):
        return Tape([a[rows] for a in self.x], [a[rows] for a in self.dx],
                    [tuple(a[rows] for a in arrays) for arrays in self.extra])


class Net:
    """y = f_{L-1}(... f_0(x)), with every parameter in the flat vector theta and its gradient
    in grad.

    layer.W, layer.dW, layer.b and so on are views of theta and grad. The initial weights are
    drawn on the host from `seed`, so one seed gives the same network on both backends. Raises
    ValueError, naming the layer, if two layers do not fit or a layer belongs to another
    network.
    """

    def __init__(self, layers, dtype="float32", seed=0):
        self.layers = list(layers)
        self.dtype, self.shapes = dtype, shapes(self.layers)
        self.theta, self.grad = xp.zeros(size(self.layers), dtype), xp.zeros(size(self.layers), dtype)
        self.first_trainable = next((l for l, layer in enumerate(self.layers) if layer.parameters),
                                    len(self.layers))
        rng = np.random.default_rng(seed)
        theta, grad = self.named(self.theta), self.named(self.grad)
        for l, layer in enumerate(self.layers):
            if any("d" + name in vars(layer) for name in layer.parameters):
                raise ValueError(f"layer {l}, {layer}: is in a network already; make a new one")
            for name, shape in layer.parameters.items():
                setattr(layer, name, theta[f"{l}.{name}"])
                setattr(layer, "d" + name, grad[f"{l}.{name}"])
                theta[f"{l}.{name}"][...] = xp.asarray(np.asarray(layer.initial[name](rng, shape), dtype))

    def named(self, flat):
        """{"0.W": array, "0.b": array, ...}: the views of a flat vector that is laid out as
        theta is.
        """
        views, start = {}, 0
        for l, layer in enumerate(self.layers):
            for name, shape in layer.parameters.items():
                views[f"{l}.{name}"] = flat[start:start + math.prod(shape)].reshape(shape)
                start += math.prod(shape)
        return views

    def named_parameters(self):
        """{"0.W": array, "0.b": array, ...}: the views of theta, by layer number and parameter
        name.
        """
        return self.named(self.theta)

    def tape(self, m, backward=True):
        """Buffers for a pass of m examples, with dropout off until `draw`.

        backward=False leaves out the buffers of gradients.
        """
        def buffers():
            return [xp.empty((m, *shape), self.dtype) for shape in self.shapes]
        x = buffers()
        extra = [(x[0],) if layer.reads_input else layer.extra(m, shape, self.dtype)
                 for layer, shape in zip(self.layers, self.shapes)]
        return Tape(x, buffers() if backward else [], extra)

    def draw(self, tape, rng):
        """Draw what is random in a pass: dropout's masks, the noise of Noise layers."""
        for layer, extra in zip(self.layers, tape.extra):
            layer.draw(rng, *extra)

    def forward(self, tape):
        """From tape.x[0] to tape.x[-1]."""
        for l, layer in enumerate(self.layers):
            layer.forward(tape.x[l], tape.x[l + 1], *tape.extra[l])

    def backward(self, tape, *, parameters=True, inputs=True):
        """The backward pass, from tape.dx[-1].

        Overwrites self.grad if `parameters`, and tape.dx[0] if `inputs`.
        """
        for l in reversed(range(len(self.layers))):
            layer, x, y, extra = self.layers[l], tape.x[l], tape.x[l + 1], tape.extra[l]
            if parameters:
                layer.gradient(x, tape.dx[l + 1], *extra)
            if inputs or l > self.first_trainable:
                layer.backward(x, y, tape.dx[l + 1], tape.dx[l], *extra)

    def double_backward(self, tape, tape_u, work):
        """self.grad += grad_theta Q,    Q = sum_i <u_i, g_i>,    g_i = grad_x y(x_i)

        Only penalty.py needs this method. The network must have one output y for each example,
        and the u_i are constants. A penalty P = sum_i h(g_i) on the input gradients g_i has
        grad_theta P = grad_theta Q if u_i = grad h(g_i).

        Before the call: forward(tape), tape.dx[-1] = 1, backward(tape, parameters=False), and u
        in tape_u.x[0]. `tape` is only read. `work` is a vector like theta and is overwritten.
        The method makes two more passes:

            forward    x_0 --> x_1 --> ... --> x_L = y   tape.x      x_{l+1} = f_l(x_l)
            backward   g_0 <-- g_1 <-- ... <-- g_L = 1   tape.dx     g_l = J_l^T g_{l+1}
            1, up      u_0 --> u_1 --> ... --> u_L       tape_u.x    u_{l+1} = J_l u_l
            2, down    e_0 <-- e_1 <-- ... <-- e_L = 0   tape_u.dx   e_l = J_l^T e_{l+1} + c_l

        J_l is df_l/dx at x_l, g_0 is grad_x y, Q is the sum of u_L, and e_l is dQ/dx_l.

        So Q is the output of a network that sends pairs (x_l, u_l) up, and grad_theta Q is the
        backward pass of that network. The weights of an affine layer act in it twice:

            on u_{l+1} = A u_l       dQ/du_l = g_l, since pass 1 transposed is the backward pass
            on x_{l+1} = A x_l + b   dQ/dx_l = e_l
            dQ/dW = outer(u_l, g_{l+1}) + outer(x_l, e_{l+1})

        The bias occurs in the second line only: it shifts x_{l+1}, where the next layer has its
        slope. An elementwise layer has u_{l+1} = f_l'(x_l) u_l. This depends on x_l, and
        c_l = f_l''(x_l) u_l g_{l+1} is its contribution to dQ/dx_l. Without c_l the gradient is
        wrong for every smooth activation that is not linear. Linear maps, ReLU and maxout have
        f'' = 0 except at kinks. If no layer is curved, all e are 0 and pass 2 is left out.

        Raises ValueError if a layer cannot be differentiated twice.
        """
        dW = self.named(work)
        for l, layer in enumerate(self.layers):                                             # 1, up
            layer.jvp(tape.x[l], tape.x[l + 1], tape_u.x[l], tape_u.x[l + 1], *tape.extra[l])
            if layer.parameters:
                layer.outer(tape_u.x[l], tape.dx[l + 1], dW[f"{l}.W"])
                layer.dW += dW[f"{l}.W"]
        if any(layer.curved for layer in self.layers):
            work[...] = self.grad                                     # because gradient() overwrites it
            tape_u.dx[-1][...] = 0
            for l, layer in reversed(list(enumerate(self.layers))):                         # 2, down
                x, y, extra = tape.x[l], tape.x[l + 1], tape.extra[l]
                layer.gradient(x, tape_u.dx[l + 1], *extra)
                if l > self.first_trainable:
                    layer.backward(x, y, tape_u.dx[l + 1], tape_u.dx[l], *extra)
                    if layer.curved:
                        tape_u.dx[l] += layer.curvature(y) * tape_u.x[l] * tape.dx[l + 1]
            self.grad += work

    def __call__(self, x):
        """y for x (m, *shape of one input), as a fresh array, without dropout and Noise"""
        x = xp.asarray(x)
        if tuple(x.shape[1:]) != self.shapes[0]:
            raise ValueError(f"the network takes examples of shape {self.shapes[0]}, one a row, but the "
                             f"array's shape is {tuple(x.shape)}")
        tape = self.tape(len(x), backward=False)
        tape.x[0][...] = x
        self.forward(tape)
        return tape.x[-1]

    def __repr__(self):
        rows = [("layer", "", "output", "parameters")]
        for l, layer in enumerate(self.layers):
            count = f"{size([layer]):,}" if layer.parameters else ""
            rows.append((str(l), repr(layer), " x ".join(map(str, self.shapes[l + 1])), count))
        rows.append(("", "", "", f"{len(self.theta):,}"))
        width = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join(f"{a:>{width[0]}}  {b:<{width[1]}}  {c:>{width[2]}}  {d:>{width[3]}}".rstrip()
                         for a, b, c, d in rows)


def size(layers):
    """The number of parameters."""
    return sum(math.prod(shape) for layer in layers for shape in layer.parameters.values())


def shapes(layers):
    """[shape of one input, shape of layer 0's output, ...].

    The first layer that fixes its input fixes the network's. Layers before it must keep the
    shape.
    """
    fixed = [layer.inputs for layer in layers if layer.inputs]
    if not fixed:
        raise ValueError("no layer of the network says how many inputs it takes: begin with a Linear")
    shape = [fixed[0]]
    for l, layer in enumerate(layers):
        if layer.inputs not in (None, shape[-1]):
            raise ValueError(f"layer {l}, {layer}: takes inputs of shape {layer.inputs}, but receives "
                             f"shape {shape[-1]}")
        shape.append(layer.outputs(shape[-1]))
    return shape
