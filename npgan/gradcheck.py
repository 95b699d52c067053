"""Finite differences over everything that has a derivative: `python -m npgan.gradcheck` prints a table, exit status 1 if a row fails.

A gradient g of f at x is right if, along any direction u, <g, u> is the slope of t -> f(x + t u) at t = 0. One random u sees every
entry of g at once, so a few of them stand for all the partial derivatives. The slope is taken by central differences at h and h / 2,
from which Richardson's extrapolation leaves an error of order h^4. In float64 a right gradient agrees to about 1e-9, and TOLERANCE is
1e-7. ReLU and maxout have kinks, where no derivative exists: `slope` notices one within reach, and another direction is drawn.
"""

import math
import sys

import numpy as np

from npgan import backend as xp
from npgan import conv, divergences, gan, layers, objectives
from npgan.net import Net
from npgan.penalty import R1, GradientPenalty

TOLERANCE = 1e-7


class Kink(ValueError):
    """f is not smooth along the direction."""


def slope(f, x, u, h=1e-4):
    """(d/dt) f(x + t u) at t = 0. f() is evaluated after x has been moved in place, and x is put back.

    ValueError (a Kink) where f is not smooth: over equal steps a smooth f has slopes whose second differences are of order h^2.
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
    if bend > 1e-2 * h * (abs(near) + abs(far)) + 1e-13 * np.abs(values).max() / h:
        raise Kink("f is not smooth along this direction")
    return (4 * near - far) / 3


def error(f, x, gradient, directions=3, seed=0):
    """Largest error of <gradient, u> against the slope of f, over random directions u ~ N(0, I), relative to their size.

    x and gradient: arrays of one shape, float64; f() reads x. ValueError if every direction tried meets a kink.
    """
    rng, gradient, worst, kinks = np.random.default_rng(seed), xp.asnumpy(gradient), 0., 0
    while directions:
        u = rng.standard_normal(gradient.shape)
        try:
            found = slope(f, x, xp.asarray(u))
        except Kink as e:
            kinks += 1
            if kinks == 100:
                raise ValueError(f"{e}, nor along 99 others: move x away from the kink") from e
            continue
        expected = float(np.sum(gradient * u))
        size = max(abs(found), abs(expected), float(np.linalg.norm(gradient)), 1e-12)
        wrong = abs(found - expected) / size
        worst = max(worst, wrong if math.isfinite(wrong) else math.inf)
        directions -= 1
    return worst


def check_layer(layer, inputs, m, seed=0):
    """Rows (what, with respect to, error) of one layer at m random examples, dropout's masks drawn; f'' too where there is an f''."""
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

    L()
    layer.backward(x, y, dy, dx, *extra)
    layer.gradient(x, dy, *extra)
    yield repr(layer), "x", error(L, x, dx)
    for name in layer.parameters:
        yield repr(layer), name, error(L, getattr(layer, name), getattr(layer, "d" + name))
    if isinstance(layer, layers.Elementwise):
        def slopes():
            layer.forward(x, y)
            return xp.vdot(dy, layer.slope(y))
        L()
        yield repr(layer), "x, twice", error(slopes, x, dy * layer.curvature(y))


def check_second(make, inputs, m, seed=0):
    """A row of Net.second: the slope of y along a random u at x, over theta, where x goes twice through the layer that `make` makes."""
    rng, n, k = np.random.default_rng(seed), math.prod(inputs), math.prod(make().outputs(inputs))

    def linear(n, k):
        return layers.Linear(n, k, layers.he, layers.constant(rng.standard_normal(k)))

    def made():
        return [make()] if len(inputs) == 1 else [conv.Reshape(inputs), make(), conv.Reshape((k,))]

    net = Net([linear(3, n), *made(), linear(k, n), *made(), linear(k, 2)], "float64", seed)
    t, s = net.tape(m), net.tape(m)
    net.draw(t, xp.default_rng(seed))
    for a in (t.x[0], t.dx[-1], s.x[0]):
        a[...] = xp.asarray(rng.standard_normal(a.shape))

    def Q():
        net.forward(t)
        net.backward(t, parameters=False)
        return xp.vdot(s.x[0], t.dx[0])

    Q()
    net.double_backward(t, s, xp.empty_like(net.theta))
    yield f"grad_x y through {make()}", "theta", error(Q, net.theta, net.grad.copy())


def check_objective(objective, m=50, seed=0):
    """Rows of T and F, and of G's loss J, as functions of a."""
    a = xp.asarray(np.random.default_rng(seed).uniform(-8, 8, m))
    pairs = {"T": (objective.T, objective.dT), "F": (objective.F, objective.dF)}
    for loss in objectives.GENERATOR_LOSSES:
        pairs[f"J, {loss}"] = (lambda a, loss=loss: objective.J(a, loss)), (lambda a, loss=loss: objective.dJ(a, loss))
    for name, (f, df) in pairs.items():
        yield f"{objective.name}: {name}", "a", error(lambda f=f: f(a).sum(), a, df(a))


def players(objective, loss, m=5, seed=0, penalty=None):
    """A small game in float64, with ReLU, maxout and dropout, the masks drawn; its x and z."""
    rng = np.random.default_rng(seed)

    def linear(n, k):
        return layers.Linear(n, k, layers.he, layers.constant(.1 * rng.standard_normal(k)))

    G = Net([linear(4, 8), layers.ReLU(), linear(8, 7), layers.Tanh(), linear(7, 6), layers.Sigmoid()], "float64", seed)
    D = Net([layers.Dropout(.8), linear(6, 15), layers.Maxout(3), layers.Dropout(.5), linear(5, 6), layers.Maxout(2), layers.Dropout(.5),
             linear(3, 1)], "float64", seed + 1)
    p = gan.Players(G, D, m, objective, loss, penalty=penalty)
    D.draw(p.tape_d, xp.default_rng(seed))
    if penalty:
        penalty.draw(xp.default_rng(seed, 1))
    return p, xp.asarray(rng.random((m, 6))), xp.asarray(rng.standard_normal((m, 4)))


def check_steps(objective, seed=0):
    """Rows of each player's whole step: V over D's parameters, J over G's, and J by the simultaneous update."""
    p, x, z = players(objective, "non-saturating", seed=seed)
    gan.discriminator_gradient(p, x, z)
    yield f"{objective.name}: D's step", "theta_d", error(lambda: gan.discriminator_gradient(p, x, z)[0], p.D.theta, p.D.grad.copy())
    for loss in objectives.GENERATOR_LOSSES:
        p, x, z = players(objective, loss, seed=seed)

        def J():
            gan.generator_gradient(p, z)
            return objective.J(p.tape_fake.x[-1], loss).mean()
        J()
        yield f"{objective.name}: G's step, {loss}", "theta_g", error(J, p.G.theta, p.G.grad.copy())
        gan.discriminator_gradient(p, x, z)
        gan.generator_backward(p)
        yield f"{objective.name}: G's simultaneous step, {loss}", "theta_g", error(J, p.G.theta, p.G.grad.copy())


def check_penalty(penalty, seed=0):
    """The row of D's step with a penalty: V - P over D's parameters."""
    p, x, z = players(objectives.GAN, "non-saturating", seed=seed, penalty=penalty)

    def V_P():
        return gan.discriminator_gradient(p, x, z)[0] - penalty.P
    V_P()
    yield f"gan: D's step, {penalty}", "theta_d", error(V_P, p.D.theta, p.D.grad.copy())


def rows():
    """Every check: (what, with respect to, examples, relative error)."""
    cases = [(lambda: layers.Linear(6, 4), (6,)), (lambda: layers.Maxout(3), (12,)), (lambda: layers.Dropout(.5), (8,)),
             (lambda: layers.Noise(.3), (8,)), (lambda: layers.Scale(4, -2), (8,)),
             *((kind, (7,)) for kind in (layers.ReLU, layers.LeakyReLU, layers.Sigmoid, layers.Tanh, layers.Softplus)),
             (lambda: conv.Conv2d((2, 5, 4), 3, 3, 2, 1), (2, 5, 4)), (lambda: conv.Conv2d((2, 4, 5), 3, 2, 1, 0, False), (2, 4, 5)),
             (lambda: conv.ConvTranspose2d((3, 2, 3), 2, 3, 2, 1), (3, 2, 3)),
             (lambda: conv.ConvTranspose2d((3, 2, 2), 2, 2, 3, 0, False), (3, 2, 2)),
             (lambda: conv.MaxPool(3, 2), (2, 4, 6)), (lambda: conv.Reshape((2, 3)), (3, 2))]
    for make, inputs in cases:
        for m in (1, 5):
            yield from ((what, of, m, e) for what, of, e in check_layer(make(), inputs, m))
            yield from ((what, of, m, e) for what, of, e in check_second(make, inputs, m))
    for penalty in (GradientPenalty(), R1()):
        yield from ((what, of, 5, e) for what, of, e in check_penalty(penalty))
    for objective in divergences.OBJECTIVES.values():
        yield from ((what, of, 50, e) for what, of, e in check_objective(objective))
        yield from ((what, of, 5, e) for what, of, e in check_steps(objective))


def main():
    try:
        xp.active()
    except (ImportError, OSError, ValueError) as e:
        print(f"npgan.gradcheck: {e}", file=sys.stderr)
        return 2
    print(f"{'gradient of':64}{'with respect to':18}{'m':>3}{'relative error':>17}")
    failed = 0
    for what, of, m, e in rows():
        failed += not e <= TOLERANCE
        print(f"{what:64}{of:18}{m:3}{e:17.1e}  {'pass' if e <= TOLERANCE else 'FAIL'}")
    print(f"{failed} above {TOLERANCE:g}" if failed else f"all within {TOLERANCE:g}, on {xp.name()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
