"""Time convolutions and pools: npgan beside PyTorch.

The layers are those of the CIFAR-10 networks that the authors of the 2014 paper published, or,
with --layers lapgan, those of the Laplacian pyramid (lapgan.py, preset `paper`). Each layer
runs forward and backward (dx, dW, db). Before the race both libraries compute y and all
gradients from the same numbers, and their results must agree. Needs the extra `bench`.
NPGAN_BACKEND=cupy races on the GPU.
"""

import numpy as np
import race

from npgan import backend as xp
from npgan.conv import Conv2d, ConvTranspose2d, MaxPool
from npgan.runs import options


def cifar10():
    """{name: (layer, shape of one input)}: D's layers before its Linear ones, and G's last."""
    return {"D 1, 64 x 8 x 8": (Conv2d((3, 32, 32), 64, 8, 1, 4), (3, 32, 32)),
            "D 1, pool 4 / 2": (MaxPool(4, 2), (32, 33, 33)),
            "D 2, 64 x 8 x 8": (Conv2d((32, 16, 16), 64, 8, 1, 3), (32, 16, 16)),
            "D 2, pool 4 / 2": (MaxPool(4, 2), (32, 15, 15)),
            "D 3, 384 x 5 x 5": (Conv2d((32, 7, 7), 384, 5, 1, 3), (32, 7, 7)),
            "D 3, pool 2 / 2": (MaxPool(2, 2), (192, 9, 9)),
            "G, 3 x 5 x 5 / 3": (ConvTranspose2d((80, 10, 10), 3, 5, 3, 0, False), (80, 10, 10))}


def lapgan():
    """The layers of the level of 32 x 32 pixels, and the two largest of 16 x 16."""
    convolutions = {"G 1, 128 x 7 x 7": Conv2d((4, 32, 32), 128, 7, 1, 3),
                    "G 2, 128 x 7 x 7": Conv2d((128, 32, 32), 128, 7, 1, 3),
                    "G 3, 3 x 5 x 5": Conv2d((128, 32, 32), 3, 5, 1, 2),
                    "D 1, 128 x 5 x 5": Conv2d((3, 32, 32), 128, 5),
                    "D 2, 128 x 5 x 5/2": Conv2d((128, 28, 28), 128, 5, 2),
                    "16: G 2, as above": Conv2d((128, 16, 16), 128, 7, 1, 3),
                    "16: D 2, as above": Conv2d((128, 12, 12), 128, 5, 2)}
    return {name: (layer, layer.inputs) for name, layer in convolutions.items()}


LAYERS = {"cifar10": (cifar10, 128), "lapgan": (lapgan, 64)}             # layers, m


class Ours:
    """Forward and backward pass of one layer, for m examples drawn from U(-1, 1)."""

    def __init__(self, layer, inputs, m):
        rng, self.layer = np.random.default_rng(0), layer
        for name, shape in layer.parameters.items():
            setattr(layer, name, xp.asarray(rng.uniform(-.1, .1, shape).astype("float32")))
            setattr(layer, "d" + name, xp.empty(shape, "float32"))
        self.x, self.dy = (xp.asarray(rng.uniform(-1, 1, (m, *shape)).astype("float32"))
                           for shape in (inputs, layer.outputs(inputs)))
        self.y, self.dx = xp.empty_like(self.dy), xp.empty_like(self.x)

    def __call__(self):
        self.layer.forward(self.x, self.y)
        self.layer.gradient(self.x, self.dy)
        self.layer.backward(self.x, self.y, self.dy, self.dx)

    def results(self):
        gradients = (getattr(self.layer, "d" + name) for name in self.layer.parameters)
        return [xp.asnumpy(a) for a in (self.y, self.dx, *gradients)]


class Torch:
    """The same passes with torch.nn.functional and autograd, and copies of the parameters."""

    def __init__(self, torch, ours):
        def tensor(a):
            return torch.from_numpy(a).to("cuda" if xp.name() == "cupy" else "cpu")

        F, layer = torch.nn.functional, ours.layer
        self.dy, self.parameters = tensor(xp.asnumpy(ours.dy)), []
        self.x = tensor(xp.asnumpy(ours.x)).requires_grad_()
        if isinstance(layer, MaxPool):
            self.f = lambda: F.max_pool2d(self.x, layer.window, layer.stride, ceil_mode=True)
            return
        self.sizes = n, c, k = layer.kernel, layer.image[0], layer.maps[0]
        W = tensor(self.kernels(xp.asnumpy(layer.W), n, c, k)).requires_grad_()
        b = tensor(xp.asnumpy(layer.b)).requires_grad_()
        f = F.conv_transpose2d if isinstance(layer, ConvTranspose2d) else F.conv2d
        if layer.tied:
            self.f = lambda: f(self.x, W, b.view(-1), layer.stride, layer.pad)
        else:
            self.f = lambda: f(self.x, W, None, layer.stride, layer.pad) + b
        self.parameters = [W, b]

    @staticmethod
    def kernels(W, n, c, k):
        """The weights W (n c n, k) in PyTorch's order (k, c, n, n)."""
        return np.ascontiguousarray(W.reshape(n, c, n, k).transpose(3, 1, 0, 2))

    def __call__(self):
        for a in (self.x, *self.parameters):
            a.grad = None
        self.y = self.f()
        self.y.backward(self.dy)

    def disagreement(self, ours):
        """The largest relative difference between the two in y, dx, dW or db."""
        y, dx, *gradients = ours.results()
        if gradients:
            gradients[0] = self.kernels(gradients[0], *self.sizes)
        theirs = [self.y.detach(), self.x.grad, *(a.grad for a in self.parameters)]
        return max(float(np.linalg.norm(a - b.cpu().numpy()) / np.linalg.norm(a))
                   for a, b in zip((y, dx, *gradients), theirs))


def parser():
    p = race.parser(__doc__, 5)
    p.add_argument("--layers", choices=LAYERS, default="cifar10", help="whose layers (default cifar10)")
    p.add_argument("--batch-size", type=options.integer(1), metavar="M",
                   help="m (default: 128 for cifar10, 64 for lapgan)")
    return p


def main(args):
    torch, result = race.need("torch"), []
    layers, m = LAYERS[args.layers]
    m = args.batch_size or m
    with race.pinned(args.threads) as threads:
        for name, (layer, inputs) in layers().items():
            ours = Ours(layer, inputs, m)
            theirs = Torch(torch, ours)
            ours()
            theirs()
            difference = theirs.disagreement(ours)
            race.check_agreement(f"{name}: y and the gradients of npgan and PyTorch", difference, 1e-4)
            row = race.summary(race.race({"ours": ours, "torch_eager": theirs}, args.rounds))
            result.append({"layer": name, **row, "ratio_eager": row["torch_eager_ms"] / row["ours_ms"],
                           "difference": difference, "workspace_MiB": race.workspace(ours)})
    total = {key: sum(row[key] for row in result) for key in ("ours_ms", "torch_eager_ms")}
    total["ratio_eager"] = total["torch_eager_ms"] / total["ours_ms"]
    difference = max(row["difference"] for row in result)
    race.show(args, {"m": m, "layers": result, **total, "threads": threads, "machine": race.machine()}, [
        f"m = {m}, forward and backward; y and gradients agree to {difference:.1e}; median and quartiles of "
        f"{args.rounds} rounds, ms",
        f"{'':18}{'ours':>10}{'':19}{'PyTorch':>10}{'':19}PyTorch / ours", *map(line, result),
        f"{'sum of medians':18}{total['ours_ms']:10.1f}{'':19}{total['torch_eager_ms']:10.1f}{'':19}"
        f"{total['ratio_eager']:14.2f}"])
    return 0


def line(row):
    """The table's line of one layer."""
    cells = ""
    for name in ("ours", "torch_eager"):
        lower, upper = row[f"{name}_quartiles"]
        cells += f"{row[f'{name}_ms']:10.1f} {f'({lower:.1f} to {upper:.1f})':18}"
    return f"{row['layer']:18}{cells}{row['ratio_eager']:14.2f}   workspace {row['workspace_MiB']:.1f} MiB"


if __name__ == "__main__":
    options.run_program(parser(), main)
