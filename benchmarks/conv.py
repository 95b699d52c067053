"""Time the convolutions of the 2014 paper's CIFAR-10 networks: npgan beside PyTorch, forward and backward (dx, dW, db), and pooling.

One process, in turns A B A B, the same numbers: before the race both compute y and every gradient and must agree. Each layer for itself,
at D's and G's sizes. Needs the extra `bench`. Run with OPENBLAS_NUM_THREADS and OMP_NUM_THREADS left alone; --threads sets and prints both.
"""

import argparse
import json
import platform
import statistics
import sys
import time
import tracemalloc

import numpy as np
from step import cpu

WHO = "ours", "torch"
SPIN = 4                        # turns before those that count: the first meet the threads of the other library, which spin on for a while


def layers():
    """{name: (layer, shape of one input)}: D up to its dense layers, in order, and the last layer of G."""
    from npgan.conv import Conv2d, ConvTranspose2d, MaxPool
    return {"D 1, 64 x 8 x 8": (Conv2d((3, 32, 32), 64, 8, 1, 4), (3, 32, 32)), "D 1, pool 4 / 2": (MaxPool(4, 2), (32, 33, 33)),
            "D 2, 64 x 8 x 8": (Conv2d((32, 16, 16), 64, 8, 1, 3), (32, 16, 16)), "D 2, pool 4 / 2": (MaxPool(4, 2), (32, 15, 15)),
            "D 3, 384 x 5 x 5": (Conv2d((32, 7, 7), 384, 5, 1, 3), (32, 7, 7)), "D 3, pool 2 / 2": (MaxPool(2, 2), (192, 9, 9)),
            "G, 3 x 5 x 5 / 3": (ConvTranspose2d((80, 10, 10), 3, 5, 3, 0, False), (80, 10, 10))}


class Ours:
    """forward and backward of one layer at m examples of U(-1, 1), as the step does them."""

    def __init__(self, layer, inputs, m):
        rng, self.layer = np.random.default_rng(0), layer
        for name, shape in layer.parameters.items():
            setattr(layer, name, rng.uniform(-.1, .1, shape).astype("float32"))
            setattr(layer, "d" + name, np.empty(shape, "float32"))
        self.x, self.dy = (rng.uniform(-1, 1, (m, *shape)).astype("float32") for shape in (inputs, layer.outputs(inputs)))
        self.y, self.dx = np.empty_like(self.dy), np.empty_like(self.x)

    def __call__(self):
        self.layer.forward(self.x, self.y)
        self.layer.gradient(self.x, self.dy)
        self.layer.backward(self.x, self.y, self.dy, self.dx)

    def results(self):
        return [self.y, self.dx, *(getattr(self.layer, "d" + name) for name in self.layer.parameters)]


class Torch:
    """The same with torch.nn.functional and autograd, the parameters copied."""

    def __init__(self, torch, ours):
        from npgan.conv import ConvTranspose2d, MaxPool
        F, layer = torch.nn.functional, ours.layer
        self.dy, self.parameters = torch.from_numpy(ours.dy), []
        self.x = torch.from_numpy(ours.x.copy()).requires_grad_()
        if isinstance(layer, MaxPool):
            self.f = lambda: F.max_pool2d(self.x, *layer.args, ceil_mode=True)
            return
        (c, _, _), (k, _, _), (n, stride, pad) = layer.image, layer.maps, layer.args[2:5]
        W = torch.from_numpy(self.kernels(layer.W, n, c, k)).requires_grad_()
        b = torch.from_numpy(layer.b.copy()).requires_grad_()
        f = F.conv_transpose2d if isinstance(layer, ConvTranspose2d) else F.conv2d
        tied = layer.args[5]
        self.f = (lambda: f(self.x, W, b.view(-1), stride, pad)) if tied else (lambda: f(self.x, W, None, stride, pad) + b)
        self.parameters, self.sizes = [W, b], (n, c, k)

    @staticmethod
    def kernels(W, n, c, k):
        return np.ascontiguousarray(W.reshape(n, c, n, k).transpose(3, 1, 0, 2))

    def __call__(self):
        for a in (self.x, *self.parameters):
            a.grad = None
        self.y = self.f()
        self.y.backward(self.dy)

    def disagreement(self, ours):
        """Largest relative difference of y, dx, dW, db."""
        y, dx, *rest = ours.results()
        if rest:
            rest[0] = self.kernels(rest[0], *self.sizes)
        theirs = [self.y.detach(), self.x.grad, *(a.grad for a in self.parameters)]
        return max(float(np.linalg.norm(a - b.numpy()) / np.linalg.norm(a)) for a, b in zip((y, dx, *rest), theirs))


def race(ours, theirs, rounds):
    """Milliseconds of each racer: per round the turns after the first few."""
    times = ([], [])
    for _ in range(rounds):
        for racer, t in zip((ours, theirs), times):
            for turn in range(SPIN + 2):
                start = time.perf_counter()
                racer()
                if turn >= SPIN:
                    t.append(1000 * (time.perf_counter() - start))
    return times


def workspace(ours):
    """Bytes that a forward and backward takes, at its peak, beside the buffers it is given."""
    tracemalloc.start()
    try:
        ours()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--batch-size", type=int, default=128, metavar="M")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5, help=f"turns of each racer: {SPIN} to warm up and 2 that count")
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    try:
        import torch
        from threadpoolctl import threadpool_info, threadpool_limits
    except ImportError as e:
        print(f'conv.py: {e}: install the extra "bench"', file=sys.stderr)
        return 2
    from npgan import backend as xp
    xp.use("numpy")                                 # this race is on the CPU, whatever NPGAN_BACKEND says
    torch.set_num_threads(a.threads)
    rows = []
    with threadpool_limits(a.threads):
        for name, (layer, inputs) in layers().items():
            ours = Ours(layer, inputs, a.batch_size)
            theirs = Torch(torch, ours)
            ours(), theirs()
            difference = theirs.disagreement(ours)
            if not difference < 1e-5:
                print(f"conv.py: {name}: y or a gradient differs by {difference:.1e}: this would be no race", file=sys.stderr)
                return 1
            megabytes = workspace(ours) / 2 ** 20
            times = race(ours, theirs, a.rounds)
            rows.append({"layer": name, "workspace_MiB": megabytes, "difference": difference})
            for who, t in zip(WHO, times):
                rows[-1] |= {f"{who}_ms": statistics.median(t), f"{who}_quartiles": statistics.quantiles(t, n=4)[::2]}
        threads = {info["internal_api"]: info["num_threads"] for info in threadpool_info()} | {"torch": torch.get_num_threads()}
    ours, theirs = (sum(row[f"{who}_ms"] for row in rows) for who in WHO)
    result = {"m": a.batch_size, "layers": rows, "ours_ms": ours, "torch_ms": theirs, "ratio": ours / theirs, "threads": threads,
              "machine": f"{platform.machine()}, {cpu()}, numpy {np.__version__}, torch {torch.__version__}"}
    if a.json:
        print(json.dumps(result))
        return 0
    print(f"{result['machine']}\nthreads {threads}; m = {a.batch_size}, forward and backward; y and gradients agree to "
          f"{max(row['difference'] for row in rows):.1e}; median and quartiles of {2 * a.rounds} turns, ms")
    print(f"{'':18}{'ours':>27}{'PyTorch':>27}{'ours / PyTorch':>17}{'workspace':>12}")
    for row in rows:
        cells = ("{:9.1f} ({:6.1f} to{:6.1f})".format(row[f"{who}_ms"], *row[f"{who}_quartiles"]) for who in WHO)
        print(f"{row['layer']:18}{''.join(f'{cell:>27}' for cell in cells)}{row['ours_ms'] / row['torch_ms']:17.2f}"
              f"{row['workspace_MiB']:8.1f} MiB")
    print(f"{'sum of medians':18}{ours:27.1f}{theirs:27.1f}{result['ratio']:17.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
