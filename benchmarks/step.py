"""Time one iteration of Algorithm 1: npgan, PyTorch (eager and compiled), and two floors.

A floor is the time of the iteration's matrix products alone. One floor has the library that
npgan uses, the other has PyTorch's. In npgan and in PyTorch the networks and their weights are
the same, and so is the work: gathering a minibatch, noise, new dropout masks, maxout, momentum.
Before the race both compute the gradients of one minibatch from the same numbers, and these
gradients must agree.

Needs the extra `bench`, and for torch.compile a C++ compiler. NPGAN_BACKEND=cupy races on the
GPU. NPGAN_CUDA_GRAPH=1 replays npgan's passes as CUDA graphs.
"""

import functools
import shutil

import numpy as np
import race

from npgan import backend as xp
from npgan import cuda
from npgan.data.toy import endless
from npgan.gan import Players, discriminator_gradient, generator_gradient, train
from npgan.layers import Dropout, LeakyReLU, Linear, Maxout, ReLU, Sigmoid
from npgan.net import Net
from npgan.optim import Momentum
from npgan.priors import Uniform
from npgan.runs import options

LEARNING_RATE, MOMENTUM = .001, .5          # a low rate, so the networks change little


# --- The networks, as lists of layers: G, D ---------------------------------------------------


def paper(n=1200):
    """The MNIST networks of the 2014 paper's authors. Every hidden Linear has n outputs."""
    G = [Linear(100, n), ReLU(), Linear(n, n), ReLU(), Linear(n, 784), Sigmoid()]
    return G, maxout_network(784, n, 5, .8, .5)


def quick():
    """Networks of the same kind, about a third as wide."""
    G = [Linear(100, 320), ReLU(), Linear(320, 320), ReLU(), Linear(320, 784), Sigmoid()]
    return G, maxout_network(784, 480, 3, .9, .6)


def toy(n=64):
    """Networks for data in the plane, with three hidden layers as in examples/toy2d.py."""
    G = [Linear(2, n), ReLU(), Linear(n, n), ReLU(), Linear(n, n), ReLU(), Linear(n, 2)]
    D = [Linear(2, n), LeakyReLU(), Linear(n, n), LeakyReLU(), Linear(n, n), LeakyReLU(), Linear(n, 1)]
    return G, D


def cifar():
    """The fully connected CIFAR-10 networks of the 2014 paper's authors."""
    G = [Linear(100, 8000), ReLU(), Linear(8000, 8000), Sigmoid(), Linear(8000, 3072)]
    return G, maxout_network(3072, 8000, 5, .8, .5)


def maxout_network(pixels, n, pieces, keep_pixel, keep_unit):
    """Two hidden maxout layers of n / pieces units, with dropout before every Linear."""
    units = n // pieces
    return [Dropout(keep_pixel), Linear(pixels, n), Maxout(pieces), Dropout(keep_unit),
            Linear(units, n), Maxout(pieces), Dropout(keep_unit), Linear(units, 1)]


PRESETS = {"paper": (paper, 100, 20), "quick": (quick, 100, 20),        # networks, m, rounds
           "toy": (toy, 64, 20), "cifar": (cifar, 100, 4)}


# --- The racers -------------------------------------------------------------------------------


def ours(layers, m, k=1):
    """The players, 10,000 examples on the host, and a function that does one iteration."""
    G, D = layers
    players = Players(Net(G), Net(D, seed=1), m)
    data = np.random.default_rng(0).random((10_000, players.x.shape[1]), "float32")
    sgd_d = Momentum(players.D, LEARNING_RATE, MOMENTUM)
    sgd_g = Momentum(players.G, LEARNING_RATE, MOMENTUM)
    update = cuda.recorded_updates()["algorithm1"] if options.cuda_graphs() else train
    records = update(players, endless(xp.asarray(data), m, 0), Uniform(), sgd_d, sgd_g, xp.default_rng(0),
                     10 ** 9, k)
    return players, data, lambda: next(records)


class Torch:
    """The same iteration in PyTorch, as users of PyTorch write it.

    Dropout, random numbers and the optimizer are PyTorch's.
    compiled: arguments of torch.compile, which then compiles the passes of both players
    """

    def __init__(self, players, data, k=1, compiled=None):
        import torch
        self.torch, self.m, self.k, self.n = torch, players.m, k, players.z.shape[1]
        self.device = "cuda" if xp.name() == "cupy" else "cpu"
        self.G, self.D = self.network(players.G), self.network(players.D)
        self.x = torch.from_numpy(data).to(self.device)
        self.sgd_d = torch.optim.SGD(self.D.parameters(), LEARNING_RATE, MOMENTUM, maximize=True, fused=True)
        self.sgd_g = torch.optim.SGD(self.G.parameters(), LEARNING_RATE, MOMENTUM, fused=True)
        if compiled is not None:
            self.V = torch.compile(self.V, fullgraph=True, **compiled)
            self.J = torch.compile(self.J, fullgraph=True, **compiled)

    def network(self, net):
        """A copy of a Net as a torch.nn.Sequential."""
        nn = self.torch.nn

        class MaxPieces(nn.Module):
            def __init__(self, pieces):
                super().__init__()
                self.pieces = pieces

            def forward(self, x):
                return x.view(len(x), self.pieces, -1).max(1).values

        module = {Linear: nn.Linear, ReLU: nn.ReLU, LeakyReLU: nn.LeakyReLU, Sigmoid: nn.Sigmoid,
                  Maxout: MaxPieces, Dropout: lambda keep: nn.Dropout(1 - keep)}
        copy = nn.Sequential(*(module[type(layer)](*layer.args) for layer in net.layers))
        for parameter, a in zip(copy.parameters(), net.named_parameters().values()):
            parameter.data = self.torch.from_numpy(xp.asnumpy(a.T).copy())
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
        self.D.requires_grad_(False)                # G's step needs no gradient of D's weights
        self.J(self.noise()).backward()
        self.D.requires_grad_(True)
        self.sgd_g.step()


def floor(players, k=1, torch=None):
    """A function that does the matrix products of one iteration and nothing else.

    The shapes are those of the iteration, and all arrays are allocated before. With `torch`,
    PyTorch does the products.
    """
    tape_g, tape_d = players.G.tape(players.m), players.D.tape(2 * players.m)
    for a in (*tape_g.x, *tape_g.dx, *tape_d.x, *tape_d.dx):
        a[...] = 1

    def products(net, tape):
        up, down, outer = [], [], []
        for l, layer in enumerate(net.layers):
            if isinstance(layer, Linear):
                up.append((tape.x[l], layer.W, tape.x[l + 1]))
                down.append((tape.dx[l + 1], layer.W.T, tape.dx[l]))
                outer.append((tape.x[l].T, tape.dx[l + 1], layer.dW))
        return up, down, outer

    up_g, down_g, outer_g = products(players.G, tape_g)
    up_d, down_d, outer_d = products(players.D, tape_d)
    up_fake, down_fake, _ = products(players.D, tape_d[players.m:])
    d_step = up_g + up_d + outer_d + down_d[1:]
    g_step = up_g + up_fake + down_fake + outer_g + down_g[1:]
    calls, product = k * d_step + g_step, xp.dot
    if torch:
        calls, product = [[torch.from_dlpack(a) for a in call] for call in calls], torch.mm

    def step():
        for a, b, out in calls:
            product(a, b, out=out)
    return step


def agree(players, theirs, data):
    """The relative difference of npgan's and PyTorch's gradients, the larger of D's and G's.

    Weights, examples, noise and masks are the same in both. `theirs`, a Torch, keeps these
    masks, so it must not race afterwards.
    """
    def tensor(a):
        return theirs.torch.from_numpy(xp.asnumpy(a)).to(theirs.device)

    def distance(grad, net):
        grad = xp.asnumpy(grad)
        other = np.concatenate([a.grad.t().cpu().numpy().ravel() for a in net.parameters()])
        return float(np.linalg.norm(grad - other) / np.linalg.norm(other))

    m, D, tape_d = players.m, players.D, players.tape_d
    x, z = xp.asarray(data[:m]), xp.asarray(np.random.default_rng(1).random(players.z.shape, "float32"))
    players.draw_masks_d(xp.default_rng(2))
    masks = []
    for layer, module, extra in zip(D.layers, theirs.D, tape_d.extra):
        if isinstance(layer, Dropout):
            masks.append((module, tensor(extra[0])))
    for module, mask in masks:
        module.forward = functools.partial(theirs.torch.mul, mask)
    discriminator_gradient(players, x, z)
    theirs.V(tensor(x), tensor(z)).backward()
    difference_d = distance(D.grad, theirs.D)
    for module, mask in masks:
        module.forward = functools.partial(theirs.torch.mul, mask[m:])
    generator_gradient(players, z)
    theirs.J(tensor(z)).backward()
    return max(difference_d, distance(players.G.grad, theirs.G))


# --- The program ------------------------------------------------------------------------------


def parser(preset="paper"):
    p = race.parser(__doc__)
    p.add_argument("--preset", choices=PRESETS, default=preset, help=f"the networks (default {preset})")
    p.add_argument("--batch-size", type=options.integer(1), metavar="M", help="m (default 100, with toy 64)")
    p.add_argument("--k", type=options.integer(1), default=1,
                   help="steps of D for each step of G (default 1)")
    p.add_argument("--no-compile", action="store_true",
                   help="race without torch.compile, which compiles for about a minute")
    return p


def main(args):
    torch = race.need("torch")
    if not args.no_compile and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise OSError("torch.compile needs a C++ compiler, such as g++: install one, or race without "
                      "torch.compile (--no-compile)")
    networks, m, rounds = PRESETS[args.preset]
    m, k, rounds = args.batch_size or m, args.k, args.rounds or rounds
    on_gpu = xp.name() == "cupy"
    with race.pinned(args.threads) as threads:
        players, data, step = ours(networks(), m, k)
        difference = agree(players, Torch(players, data), data)
        race.check_agreement("the gradients of npgan and PyTorch", difference, 1e-4)
        racers = {"ours": step, "torch_eager": Torch(players, data, k).step}
        if not args.no_compile:
            # On a CPU the compiler's own random numbers are slower than those of eager PyTorch.
            settings = {} if on_gpu else {"options": {"fallback_random": True}}
            racers["torch_compile"] = Torch(players, data, k, settings).step
            if on_gpu:
                racers["torch_reduce_overhead"] = Torch(players, data, k, {"mode": "reduce-overhead"}).step
        racers |= {"floor": floor(players, k), "floor_of_torch": floor(players, k, torch)}
        times = race.race(racers, rounds)
    result = {"preset": args.preset, "m": m, "k": k, "graphs": options.cuda_graphs(), **race.summary(times),
              "difference": difference, "threads": threads, "machine": race.machine()}
    ratios = {name.replace("torch", "ratio"): result[f"{name}_ms"] / result["ours_ms"]
              for name in racers if name.startswith("torch")}
    ratios["ratio_floor"] = result["ours_ms"] / result["floor_ms"]
    race.show(args, result | ratios, [
        f"preset {args.preset}, m = {m}, k = {k}; gradients agree to {difference:.1e}; median and quartiles "
        f"of {rounds} rounds", *race.rows(result, racers),
        "   ".join(f"{name} {value:.3f}" for name, value in ratios.items()),
        "(ratio_floor is ours / floor; the others are PyTorch / ours)"])
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
