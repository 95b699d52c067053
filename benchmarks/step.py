"""Time one iteration of Algorithm 1: npgan beside PyTorch eager, and beside its own matrix products alone (the floor).

One process, in turns A B C A B C, the same networks, weights, minibatches and arithmetic: minibatch gather, noise, fresh dropout
masks, maxout, momentum. Before the race both compute the gradients of one minibatch from the same numbers and must agree.
Needs the extra `bench`. CPU: run with OPENBLAS_NUM_THREADS and OMP_NUM_THREADS left alone; --threads sets and prints both.
"""

import argparse
import json
import platform
import statistics
import sys
import time

import numpy as np

PRESETS = {         # G's widths, D's units, pieces, width of x; the networks of examples/mnist.py
    "paper": ((100, 1200, 1200), (240, 240), 5, 784),
    "toy": ((64, 64, 64), (64, 64), 1, 2),
}


def ours(G_widths, D_units, pieces, pixels, m, k, data):
    from npgan import backend as xp
    from npgan.gan import Players, train
    xp.use("numpy")                                 # this race is on the CPU, whatever NPGAN_BACKEND says
    from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid, uniform
    from npgan.net import Net
    from npgan.optim import Momentum
    from npgan.priors import Uniform
    G, D, n = [], [Dropout(.8)], pixels
    for a, b in zip(G_widths, G_widths[1:]):
        G += [Linear(a, b, uniform(.05)), ReLU()]
    G += [Linear(G_widths[-1], pixels, uniform(.05)), Sigmoid()]
    for units in D_units:
        D += [Linear(n, units * pieces, uniform(.05)), Maxout(pieces), Dropout(.5)]
        n = units
    D += [Linear(n, 1, uniform(.05))]
    p = Players(Net(G), Net(D, seed=1), m)
    rng, x = xp.default_rng(0), xp.asarray(data)

    def examples():
        order = np.random.default_rng(0)
        while True:
            yield xp.take(x, xp.asarray(order.integers(0, len(data), m)), axis=0)

    steps = train(p, examples(), Uniform(), Momentum(p.D, .05, .5), Momentum(p.G, .1, .5), rng, 10 ** 9, k)
    return p, lambda: next(steps)


class Torch:
    """The same iteration as PyTorch's users write it, dropout and momentum its own."""

    def __init__(self, p, m, k, pieces, data):
        import torch
        self.torch, self.m, self.k, self.pieces = torch, m, k, pieces
        self.G = self.copy(p.G)
        self.D = self.copy(p.D)
        self.x = torch.from_numpy(data)
        self.sgd_g = torch.optim.SGD([a for pair in self.G for a in pair], .1, momentum=.5)
        self.sgd_d = torch.optim.SGD([a for pair in self.D for a in pair], .05, momentum=.5, maximize=True)

    def copy(self, net):
        flat = [self.torch.from_numpy(a.copy()).requires_grad_() for a in net.named_parameters().values()]
        return list(zip(flat[::2], flat[1::2]))

    def g(self, z):
        for W, b in self.G[:-1]:
            z = self.torch.addmm(b, z, W).relu()
        W, b = self.G[-1]
        return self.torch.addmm(b, z, W).sigmoid()

    def d(self, x, masks=None):
        masks = iter(masks or ())
        for l, (W, b) in enumerate(self.D):
            mask = next(masks, None)
            x = x * mask if mask is not None else self.torch.dropout(x, .5 if l else .2, True)
            x = self.torch.addmm(b, x, W)
            if l + 1 < len(self.D):
                x = x.view(len(x), self.pieces, -1).max(1).values
        return x

    def V(self, x, z, masks=None):
        F = self.torch.nn.functional
        a = self.d(self.torch.cat([x, self.g(z).detach()]), masks)
        return -F.softplus(-a[:self.m]).mean() - F.softplus(a[self.m:]).mean()

    def J(self, z, masks=None):
        return self.torch.nn.functional.softplus(-self.d(self.g(z), masks)).mean()

    def noise(self):
        return (self.torch.rand(self.m, self.G[0][0].shape[0]) - .5) * (2 * 3 ** .5)

    def step(self):
        for _ in range(self.k):
            x = self.x[self.torch.randint(len(self.x), (self.m,))]
            self.sgd_d.zero_grad()
            self.V(x, self.noise()).backward()
            self.sgd_d.step()
        self.sgd_g.zero_grad()
        for W, b in self.D:
            W.requires_grad_(False), b.requires_grad_(False)
        self.J(self.noise()).backward()
        for W, b in self.D:
            W.requires_grad_(True), b.requires_grad_(True)
        self.sgd_g.step()


def agree(p, torch_, data):
    """Largest relative difference of the two gradients, at the same weights, examples, noise and masks."""
    from npgan import backend as xp
    from npgan.gan import discriminator_gradient, generator_gradient
    torch, m = torch_.torch, p.m
    z = np.random.default_rng(1).random((m, p.z.shape[1]), np.float32)
    p.D.draw(p.d, xp.default_rng(2))
    discriminator_gradient(p, data[:m], z)
    masks = [torch.from_numpy(e[0].copy()) for e in p.d.extra if e]
    torch_.V(torch.from_numpy(data[:m]), torch.from_numpy(z), masks).backward()
    worst = distance(p.D.grad, torch_.D)
    generator_gradient(p, z)
    for pair in (*torch_.D, *torch_.G):
        for a in pair:
            a.grad = None
    torch_.J(torch.from_numpy(z), [mask[m:] for mask in masks]).backward()
    return max(worst, distance(p.G.grad, torch_.G))


def distance(grad, theirs):
    theirs = np.concatenate([a.grad.numpy().ravel() for pair in theirs for a in pair])
    return float(np.linalg.norm(grad - theirs) / np.linalg.norm(theirs))


def floor(p, k):
    """Every matrix product of an iteration, same shapes, same library, preallocated, and nothing else."""
    def product(a, b, c):
        x, y = np.ones(a, np.float32), np.ones(b, np.float32)
        out = np.empty(c, np.float32)
        return lambda: np.matmul(x, y, out=out)

    def shapes(net):
        return [a.shape for name, a in net.named_parameters().items() if name.endswith("W")]

    def up(m, ws):
        return [product((m, n), (n, o), (m, o)) for n, o in ws]

    def down(m, ws):
        weights = [np.ones(w, np.float32) for w in ws]
        return [lambda dy=np.ones((m, w.shape[1]), np.float32), w=w, dx=np.empty((m, w.shape[0]), np.float32):
                np.matmul(dy, w.T, out=dx) for w in weights]

    def outer(m, ws):
        return [lambda x=np.ones((m, n), np.float32), dy=np.ones((m, o), np.float32), dW=np.empty((n, o), np.float32):
                np.matmul(x.T, dy, out=dW) for n, o in ws]

    g, d, m = shapes(p.G), shapes(p.D), p.m
    calls = k * (up(m, g) + up(2 * m, d) + down(2 * m, d[1:]) + outer(2 * m, d))
    calls += up(m, g) + up(m, d) + down(m, d) + down(m, g[1:]) + outer(m, g)
    return lambda: [call() for call in calls]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--preset", choices=PRESETS, default="paper")
    p.add_argument("--batch-size", type=int, default=100, metavar="M")
    p.add_argument("--k", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=20, help="turns of each racer: 4 iterations to warm up and 4 that count")
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    try:
        import torch
        from threadpoolctl import threadpool_info, threadpool_limits
    except ImportError as e:
        print(f'step.py: {e}: install the extra "bench"', file=sys.stderr)
        return 2
    torch.set_num_threads(a.threads)
    with threadpool_limits(a.threads):
        G_widths, D_units, pieces, pixels = PRESETS[a.preset]
        data = np.random.default_rng(0).random((10_000, pixels), np.float32)
        players, step = ours(G_widths, D_units, pieces, pixels, a.batch_size, a.k, data)
        torch_ = Torch(players, a.batch_size, a.k, pieces, data)
        difference = agree(players, torch_, data)
        if not difference < 1e-4:
            print(f"step.py: the gradients differ by {difference:.1e}: this would be no race", file=sys.stderr)
            return 1
        racers = {"ours": step, "torch_eager": torch_.step, "floor": floor(players, a.k)}
        times = {name: [] for name in racers}
        for i in range(a.rounds + 2):
            for name, call in racers.items():
                for turn in range(8):            # the first meet the threads of the other library, which spin on for a while
                    start = time.perf_counter()
                    call()
                    if i >= 2 and turn >= 4:
                        times[name].append(1000 * (time.perf_counter() - start))
        threads = {info["internal_api"]: info["num_threads"] for info in threadpool_info()} | {"torch": torch.get_num_threads()}
    median = {name: statistics.median(t) for name, t in times.items()}
    result = {f"{name}_ms": round(value, 3) for name, value in median.items()}
    result |= {"ratio_eager": round(median["torch_eager"] / median["ours"], 3), "ratio_floor": round(median["ours"] / median["floor"], 3),
               "threads": threads,
               "machine": f"{platform.machine()}, {cpu()}, numpy {np.__version__}, torch {torch.__version__}"}
    if a.json:
        print(json.dumps(result))
        return 0
    print(f"{result['machine']}\nthreads {threads}; gradients agree to {difference:.1e}; median and quartiles of {4 * a.rounds} iterations")
    for name, t in times.items():
        low, _, high = statistics.quantiles(t, n=4)
        print(f"{name:12} {median[name]:8.2f} ms   {low:8.2f} to {high:8.2f}")
    print(f"PyTorch eager / ours = {result['ratio_eager']}    ours / floor = {result['ratio_floor']}")
    return 0


def cpu():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.platform()


if __name__ == "__main__":
    sys.exit(main())
