"""Check every derivative of the package by finite differences: `python -m npgan.gradcheck`.

A gradient g of f at x is right if, along every direction u,

    <g, u> = d/dt f(x + t u)  at t = 0

A random u involves every entry of g at once, so a few random directions test all entries. The
command prints one row for each check and exits with status 1 if a check fails. In float64 the
two sides of the equation agree to a relative error of about 1e-10; TOLERANCE is 1e-7.

ReLU and maxout have kinks, where no derivative exists. If f has a kink near x in direction u,
`slope` raises `Kink`, and `error` draws another direction. Read gan.py, net.py and layers.py
before the checks.

Study page: docs/study/gradient-checking.html
"""

import math
import sys

import numpy as np

from npgan import backend as xp
from npgan import conv, divergences, gan, layers, objectives, pyramid
from npgan.net import Net
from npgan.penalty import R1, GradientPenalty

TOLERANCE, DIRECTIONS = 1e-7, 3


# --- The check --------------------------------------------------------------------------------


class Kink(ValueError):
    """f has a kink near x in the direction u."""


def slope(f, x, u, h=1e-4):
    """d/dt f(x + t u) at t = 0, from five values of f.

    f takes no arguments and reads the array x, which is changed in place and then restored. The
    central differences `far` (step h) and `near` (step h / 2) have errors of order h^2, and
    Richardson's extrapolation (4 near - far) / 3 an error of order h^4. For a smooth f, the
    four slopes between the five values have second differences of order h^2. Raises Kink if one
    of these is much larger.
    """
    x0 = x.copy()
    try:
        values = []
        for t in (-h, -h / 2, 0, h / 2, h):
            x[...] = x0 + t * u
            values.append(float(f()))
    finally:
        x[...] = x0
    far, near = (values[4] - values[0]) / (2 * h), (values[3] - values[1]) / h
    bend = np.abs(np.diff(values, 3)).max() / (h / 2)
    rounding = 1e-13 * np.abs(values).max() / h
    if bend > 1e-2 * h * (abs(near) + abs(far)) + rounding:
        raise Kink
    return (4 * near - far) / 3


def error(f, x, gradient, seed=0):
    """The largest relative difference of <gradient, u> and slope(f, x, u), over a few u.

    x, gradient: float64 arrays of one shape; u ~ N(0, I), DIRECTIONS times. The difference is
    relative to the largest of both values and |gradient|. Raises ValueError if almost every u
    meets a kink.
    """
    rng, gradient, errors = np.random.default_rng(seed), xp.asnumpy(gradient), []
    for _ in range(100):
        u = rng.standard_normal(gradient.shape)
        try:
            found = slope(f, x, xp.asarray(u))
        except Kink:
            continue
        expected = float(np.sum(gradient * u))
        size = max(abs(found), abs(expected), float(np.linalg.norm(gradient)), 1e-12)
        relative = abs(found - expected) / size
        errors.append(relative if math.isfinite(relative) else math.inf)
        if len(errors) == DIRECTIONS:
            return max(errors)
    raise ValueError("f is not smooth along almost all of 100 directions: move x away from the kink")


# --- The checks. Each function yields rows: (what, with respect to, m, relative error) --------


def check_layer(layer, inputs, m, seed=0):
    """Check a layer at m random examples: the gradients of L = <dy, y>, and `curvature`."""
    rng = np.random.default_rng(seed)

    def randn(*shape):
        return xp.asarray(rng.standard_normal(shape))

    for name, shape in layer.parameters.items():
        setattr(layer, name, randn(*shape))
        setattr(layer, "d" + name, xp.zeros(shape))
    x, dx = randn(m, *inputs), xp.zeros((m, *inputs))
    y, dy = xp.zeros((m, *layer.outputs(inputs))), randn(m, *layer.outputs(inputs))
    extra = layer.extra(m, inputs, "float64")
    layer.draw(xp.default_rng(seed), *extra)

    def L():
        layer.forward(x, y, *extra)
        return xp.vdot(dy, y)

    def slopes():
        layer.forward(x, y)
        return xp.vdot(dy, layer.slope(y))

    L()
    layer.backward(x, y, dy, dx, *extra)
    layer.gradient(x, dy, *extra)
    yield repr(layer), "x", m, error(L, x, dx)
    for name in layer.parameters:
        yield repr(layer), name, m, error(L, getattr(layer, name), getattr(layer, "d" + name))
    if isinstance(layer, layers.Elementwise):
        L()
        yield repr(layer), "x, twice", m, error(slopes, x, dy * layer.curvature(y))


def check_double_backward(make, inputs, m, seed=0):
    """Check Net.double_backward, the gradient of Q = <u, grad_x <dy, y>> over theta.

    The network has two of the layers that make() returns.
    """
    rng, n, k = np.random.default_rng(seed), math.prod(inputs), math.prod(make().outputs(inputs))

    def linear(n, k):
        return layers.Linear(n, k, layers.he, layers.constant(rng.standard_normal(k)))

    def checked():
        return [make()] if len(inputs) == 1 else [conv.Reshape(inputs), make(), conv.Reshape((k,))]

    net = Net([linear(3, n), *checked(), linear(k, n), *checked(), linear(k, 2)], "float64", seed)
    tape, tape_u = net.tape(m), net.tape(m)
    net.draw(tape, xp.default_rng(seed))
    for a in (tape.x[0], tape.dx[-1], tape_u.x[0]):
        a[...] = xp.asarray(rng.standard_normal(a.shape))

    def Q():
        net.forward(tape)
        net.backward(tape, parameters=False)
        return xp.vdot(tape_u.x[0], tape.dx[0])

    Q()
    net.double_backward(tape, tape_u, xp.empty_like(net.theta))
    yield f"grad_x y through {make()}", "theta", m, error(Q, net.theta, net.grad)


def check_objective(objective, m=50, seed=0):
    """Check dT/da, dF/da and, for both losses J of G, dJ/da, where a is the logit."""
    a = xp.asarray(np.random.default_rng(seed).uniform(-8, 8, m))
    yield f"{objective.name}: T", "a", m, error(lambda: objective.T(a).sum(), a, objective.dT(a))
    yield f"{objective.name}: F", "a", m, error(lambda: objective.F(a).sum(), a, objective.dF(a))
    for loss in objectives.GENERATOR_LOSSES:
        yield (f"{objective.name}: J, {loss}", "a", m,
               error(lambda: objective.J(a, loss).sum(), a, objective.dJ(a, loss)))


def game(objective, loss, seed=0, penalty=None, noisy=False):
    """A small GAN in float64 with its minibatches, (players, x, z), and drawn dropout masks.

    G has ReLU, tanh and sigmoid layers, D has maxout and dropout; m = 5. If `noisy`, G has a
    noise layer and dropout too.
    """
    rng, m = np.random.default_rng(seed), 5

    def linear(n, k):
        return layers.Linear(n, k, layers.he, layers.constant(.1 * rng.standard_normal(k)))

    G = [linear(4, 8), layers.ReLU(), linear(8, 7), layers.Tanh(), linear(7, 6), layers.Sigmoid()]
    if noisy:
        G = [layers.Noise(.3), *G[:2], layers.Dropout(.5), *G[2:]]
    D = [layers.Dropout(.8), linear(6, 15), layers.Maxout(3),
         layers.Dropout(.5), linear(5, 6), layers.Maxout(2), layers.Dropout(.5), linear(3, 1)]
    players = gan.Players(Net(G, "float64", seed), Net(D, "float64", seed + 1), m, objective, loss,
                          penalty=penalty)
    players.draw_masks_d(xp.default_rng(seed))
    return players, xp.asarray(rng.random((m, 6))), xp.asarray(rng.standard_normal((m, 4)))


def check_steps(objective, seed=0, noisy=False):
    """Check dV/dtheta_d, and dJ/dtheta_g in Algorithm 1's and in the simultaneous update."""
    name = f"{objective.name}, noisy G" if noisy else objective.name
    players, x, z = game(objective, "non-saturating", seed, noisy=noisy)

    def V():
        return gan.discriminator_gradient(players, x, z)[0]

    V()
    yield f"{name}: D's step", "theta_d", players.m, error(V, players.D.theta, players.D.grad)
    for loss in objectives.GENERATOR_LOSSES:
        players, x, z = game(objective, loss, seed, noisy=noisy)

        def J():
            players.G.forward(players.tape_g)
            players.D.forward(players.tape_fake)
            return objective.J(players.tape_fake.x[-1], loss).mean()

        gan.generator_gradient(players, z)
        yield f"{name}: G's step, {loss}", "theta_g", players.m, error(J, players.G.theta, players.G.grad)
        gan.discriminator_gradient(players, x, z)
        gan.generator_backward(players)
        yield (f"{name}: G's simultaneous step, {loss}", "theta_g", players.m,
               error(J, players.G.theta, players.G.grad))


def check_penalty(penalty, seed=0):
    """Check d(V - P)/dtheta_d, D's gradient with a penalty P."""
    players, x, z = game(objectives.GAN, "non-saturating", seed, penalty)

    def V_minus_P():
        return gan.discriminator_gradient(players, x, z)[0] - penalty.P

    V_minus_P()
    yield (f"gan: D's step, {penalty}", "theta_d", players.m,
           error(V_minus_P, players.D.theta, players.D.grad))


# --- The table --------------------------------------------------------------------------------


def rows():
    """All rows of the table."""
    cases = [(layers.Linear, (6, 4), (6,)), (layers.Maxout, (3,), (12,)), (layers.Dropout, (.5,), (8,)),
             (layers.Noise, (.3,), (8,)), (layers.Scale, (4, -2), (8,)), (layers.ReLU, (), (7,)),
             (layers.LeakyReLU, (), (7,)), (layers.Sigmoid, (), (7,)), (layers.Tanh, (), (7,)),
             (layers.Softplus, (), (7,)), (conv.Conv2d, ((2, 5, 4), 3, 3, 2, 1), (2, 5, 4)),
             (conv.Conv2d, ((2, 4, 5), 3, 2, 1, 0, False), (2, 4, 5)),
             (conv.ConvTranspose2d, ((3, 2, 3), 2, 3, 2, 1), (3, 2, 3)),
             (conv.ConvTranspose2d, ((3, 2, 2), 2, 2, 3, 0, False), (3, 2, 2)),
             (conv.MaxPool, (3, 2), (2, 4, 6)), (conv.Reshape, ((2, 3),), (3, 2)),
             (pyramid.ClassPlane, ((3, 2, 2), 3), (3, 2, 2))]
    for kind, args, inputs in cases:
        for m in (1, 5):
            yield from check_layer(kind(*args), inputs, m)
            yield from check_double_backward(lambda: kind(*args), inputs, m)
    for penalty in (GradientPenalty(), R1()):
        yield from check_penalty(penalty)
    for objective in divergences.OBJECTIVES.values():
        yield from check_objective(objective)
        yield from check_steps(objective)
    yield from check_steps(objectives.GAN, noisy=True)


def main():
    try:
        xp.active()
    except (ImportError, OSError, ValueError) as e:
        print(f"npgan.gradcheck: {e}", file=sys.stderr)
        return 2
    print(f"{'gradient of':64}{'with respect to':18}{'m':>3}{'relative error':>17}")
    failed = 0
    for what, parameter, m, relative in rows():
        passed = relative <= TOLERANCE
        failed += not passed
        print(f"{what:64}{parameter:18}{m:3}{relative:17.1e}  {'pass' if passed else 'FAIL'}")
    print(f"{failed} above {TOLERANCE:g}" if failed else f"all within {TOLERANCE:g}, on {xp.name()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
