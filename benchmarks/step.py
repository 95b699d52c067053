"""Time one iteration of Algorithm 1: npgan beside PyTorch, eager and compiled, and beside its matrix products alone (the floor), by
the library that npgan uses and by PyTorch's.

One process, in turns A B A B, the same networks, weights and arithmetic: minibatch gather, noise, fresh dropout masks, maxout,
momentum. Before the race npgan and PyTorch compute the gradients of one minibatch from the same numbers and must agree.
Needs the extra `bench`, and torch.compile a C++ compiler. NPGAN_BACKEND=cupy races on the GPU; with NPGAN_CUDA_GRAPH=1 npgan's passes are
recorded.
"""

import functools
import shutil

import numpy as np
import race

from npgan import backend as xp
from npgan.data.toy import endless
from npgan.gan import Players, discriminator_gradient, generator_gradient, train
from npgan.layers import Dropout, LeakyReLU, Linear, Maxout, ReLU, Sigmoid
from npgan.net import Net
from npgan.optim import Momentum
from npgan.priors import Uniform
from npgan.runs import options

LR, MU = .001, .5               # small: the race stays where it begins


def paper(n=1200):
    """The 2014 paper's on MNIST; n: the width of every hidden product."""
    return ([Linear(100, n), ReLU(), Linear(n, n), ReLU(), Linear(n, 784), Sigmoid()], maxout(784, n, 5, .8, .5))


def quick():
    """The same kind at about a third of the width."""
    return [Linear(100, 320), ReLU(), Linear(320, 320), ReLU(), Linear(320, 784), Sigmoid()], maxout(784, 480, 3, .9, .6)


def toy(n=64):
    """In the plane: three hidden layers each, as those of examples/toy2d.py."""
    return ([Linear(2, n), ReLU(), Linear(n, n), ReLU(), Linear(n, n), ReLU(), Linear(n, 2)],
            [Linear(2, n), LeakyReLU(), Linear(n, n), LeakyReLU(), Linear(n, n), LeakyReLU(), Linear(n, 1)])


def cifar():
    """The paper's fully connected ones on CIFAR-10."""
    return [Linear(100, 8000), ReLU(), Linear(8000, 8000), Sigmoid(), Linear(8000, 3072)], maxout(3072, 8000, 5, .8, .5)


def maxout(pixels, n, pieces, *keep):
    layers = [Dropout(keep[0])]
    for a in pixels, n // pieces:
        layers += [Linear(a, n), Maxout(pieces), Dropout(keep[1])]
    return [*layers, Linear(n // pieces, 1)]


PRESETS = {"paper": (paper, 100, 20), "quick": (quick, 100, 20), "toy": (toy, 64, 20), "cifar": (cifar, 100, 4)}    # layers, m, rounds


def ours(layers, m, k=1):
    """The players, 10,000 examples on the host, and one iteration of `train`."""
    G, D = layers
    p = Players(Net(G), Net(D, seed=1), m)
    data = np.random.default_rng(0).random((10_000, p.x.shape[1]), "float32")
    sgd_d, sgd_g = Momentum(p.D, LR, MU), Momentum(p.G, LR, MU)
    steps = train(p, endless(xp.asarray(data), m, 0), Uniform(), sgd_d, sgd_g, xp.default_rng(0), 10 ** 9, k)
    return p, data, lambda: next(steps)


class Torch:
    """The same iteration as PyTorch's users write it, on the same device: dropout, generator and optimizer are its own.

    With `compiled`, the arguments of torch.compile, the passes of both players, forward and backward, are compiled.
    """

    def __init__(self, p, data, k=1, compiled=None):
        import torch
        self.torch, self.m, self.k, self.n = torch, p.m, k, p.z.shape[1]
        self.device = "cuda" if xp.name() == "cupy" else "cpu"
        self.G, self.D = self.network(p.G), self.network(p.D)
        self.x = torch.from_numpy(data).to(self.device)
        self.sgd_d = torch.optim.SGD(self.D.parameters(), LR, MU, maximize=True, fused=True)
        self.sgd_g = torch.optim.SGD(self.G.parameters(), LR, MU, fused=True)
        if compiled is not None:
            self.V, self.J = (torch.compile(f, fullgraph=True, **compiled) for f in (self.V, self.J))

    def network(self, net):
        nn = self.torch.nn

        class MaxPieces(nn.Module):
            def __init__(self, pieces):
                super().__init__()
                self.pieces = pieces

            def forward(self, x):
                return x.view(len(x), self.pieces, -1).max(1).values

        module = {Linear: nn.Linear, ReLU: nn.ReLU, LeakyReLU: nn.LeakyReLU, Sigmoid: nn.Sigmoid, Maxout: MaxPieces,
                  Dropout: lambda keep: nn.Dropout(1 - keep)}
        copy = nn.Sequential(*(module[type(layer)](*layer.args) for layer in net.layers))
        for to, a in zip(copy.parameters(), net.named_parameters().values()):
            to.data = self.torch.from_numpy(xp.asnumpy(a.T).copy())
        return copy.to(self.device)

    def V(self, x, z):
        softplus = self.torch.nn.functional.softplus
        with self.torch.no_grad():
            fake = self.G(z)
        a = self.D(self.torch.cat([x, fake]))
        return -softplus(-a[:self.m]).mean() - softplus(a[self.m:]).mean()

    def J(self, z):
        return self.torch.nn.functional.softplus(-self.D(self.G(z))).mean()

    def noise(self):
        return (self.torch.rand(self.m, self.n, device=self.device) - .5) * (2 * 3 ** .5)

    def step(self):
        for _ in range(self.k):
            x = self.x[self.torch.randint(len(self.x), (self.m,), device=self.device)]
            self.sgd_d.zero_grad()
            self.V(x, self.noise()).backward()
            self.sgd_d.step()
        self.sgd_g.zero_grad()
        self.D.requires_grad_(False)                # G's step wants no gradient of D's weights
        self.J(self.noise()).backward()
        self.D.requires_grad_(True)
        self.sgd_g.step()


def agree(p, theirs, data):
    """Largest relative difference of the players' gradients, at the same weights, examples, noise and masks. `theirs`: a Torch, and no
    more to race with, as its dropout keeps these masks."""
    def tensor(a):
        return theirs.torch.from_numpy(xp.asnumpy(a)).to(theirs.device)

    def distance(grad, net):
        grad, other = xp.asnumpy(grad), np.concatenate([a.grad.t().cpu().numpy().ravel() for a in net.parameters()])
        return float(np.linalg.norm(grad - other) / np.linalg.norm(other))

    x, z = xp.asarray(data[:p.m]), xp.asarray(np.random.default_rng(1).random(p.z.shape, "float32"))
    p.D.draw(p.tape_d, xp.default_rng(2))
    masks = []
    for layer, module, a, extra in zip(p.D.layers, theirs.D, p.tape_d.x, p.tape_d.extra):
        if isinstance(layer, Dropout):
            mask = xp.empty_like(a)
            layer.forward(xp.ones_like(a), mask, *extra)                # what dropout makes of ones
            masks.append((module, tensor(mask)))
    for module, mask in masks:
        module.forward = functools.partial(theirs.torch.mul, mask)
    discriminator_gradient(p, x, z)
    theirs.V(tensor(x), tensor(z)).backward()
    worst = distance(p.D.grad, theirs.D)
    for module, mask in masks:
        module.forward = functools.partial(theirs.torch.mul, mask[p.m:])
    generator_gradient(p, z)
    theirs.J(tensor(z)).backward()
    return max(worst, distance(p.G.grad, theirs.G))


def floor(p, k=1, torch=None):
    """Every matrix product of an iteration and nothing else: same shapes, preallocated, by the library that npgan uses or by PyTorch's."""
    g, d = p.G.tape(p.m), p.D.tape(2 * p.m)
    for a in (*g.x, *g.dx, *d.x, *d.dx):
        a[...] = 1

    def products(net, t):
        linear = [(t.x[l], t.x[l + 1], t.dx[l + 1], t.dx[l], layer) for l, layer in enumerate(net.layers) if isinstance(layer, Linear)]
        up = [(x, layer.W, y) for x, y, dy, dx, layer in linear]
        down = [(dy, layer.W.T, dx) for x, y, dy, dx, layer in linear]
        outer = [(x.T, dy, layer.dW) for x, y, dy, dx, layer in linear]
        return up, down, outer

    up_g, down_g, outer_g = products(p.G, g)
    up_d, down_d, outer_d = products(p.D, d)
    up_fake, down_fake, _ = products(p.D, d[p.m:])
    calls = k * (up_g + up_d + outer_d + down_d[1:]) + up_g + up_fake + down_fake + outer_g + down_g[1:]

    product = xp.dot
    if torch:
        calls, product = [[torch.from_dlpack(a) for a in call] for call in calls], torch.mm

    def step():
        for a, b, out in calls:
            product(a, b, out=out)
    return step


def parser(preset="paper"):
    p = race.parser(__doc__, None)
    p.add_argument("--preset", choices=PRESETS, default=preset, help=f"the networks (default {preset})")
    p.add_argument("--batch-size", type=options.integer(1), metavar="M", help="m (default 100, with toy 64)")
    p.add_argument("--k", type=options.integer(1), default=1, help="steps of D for each step of G (default 1)")
    p.add_argument("--no-compile", action="store_true", help="leave torch.compile out: it takes a minute to begin")
    return p


def main(args):
    torch = race.need("torch")
    if not args.no_compile and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise OSError("torch.compile needs a C++ compiler, such as g++: install one, or leave the racer out with --no-compile")
    layers, m, rounds = PRESETS[args.preset]
    m, k, rounds = args.batch_size or m, args.k, args.rounds or rounds
    with race.pinned(args.threads) as threads:
        p, data, step = ours(layers(), m, k)
        difference = agree(p, Torch(p, data), data)
        if not difference < 1e-4:
            raise ValueError(f"the gradients of npgan and PyTorch differ by {difference:.1e}: this would be no race")
        racers = {"ours": step, "torch_eager": Torch(p, data, k).step}
        if not args.no_compile:
            on_gpu = xp.name() == "cupy"                # on a CPU the random numbers of eager are faster than those of its compiler
            racers["torch_compile"] = Torch(p, data, k, {} if on_gpu else {"options": {"fallback_random": True}}).step
            if on_gpu:
                racers["torch_reduce_overhead"] = Torch(p, data, k, {"mode": "reduce-overhead"}).step
        racers |= {"floor": floor(p, k), "floor_of_torch": floor(p, k, torch)}
        times = race.race(racers, rounds)
    result = {"preset": args.preset, "m": m, "k": k, "graphs": bool(p.graphs), **race.summary(times), "difference": difference,
              "threads": threads, "machine": race.machine()}
    ratios = {name.replace("torch", "ratio"): result[f"{name}_ms"] / result["ours_ms"] for name in racers if name.startswith("torch")}
    ratios["ratio_floor"] = result["ours_ms"] / result["floor_ms"]
    race.show(args, result | ratios, [
        f"preset {args.preset}, m = {m}, k = {k}; gradients agree to {difference:.1e}; median and quartiles of {rounds} turns",
        *race.rows(result, racers), "   ".join(f"{name} {value:.3f}" for name, value in ratios.items()),
        "(ratio_floor = ours / floor, the others PyTorch / ours)"])
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
