"""Ten wrong GANs, each one line away from the right one: `python docs/break_it.py`.

The command draws docs/study/pictures/break-NAME.png for each fault. The right code is on the
left and the wrong code is on the right, both from the same seeds. Names after the command
choose some of the faults. The page docs/study/break-it.html explains the ten faults.
"""

import argparse
import contextlib
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "study" / "pictures"


# --- A wrong copy of npgan --------------------------------------------------------------------


@contextlib.contextmanager
def package(fault=None):
    """A context in which `import npgan` gives a copy of the package, with the fault in it.

    Raises ValueError unless exactly one line of the file begins with fault.right.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "npgan", Path(folder, "npgan"), ignore=shutil.ignore_patterns("__pycache__"))
        if fault:
            path = Path(folder, "npgan", fault.file)
            path.write_text(replaced(path.read_text(encoding="utf-8"), fault), encoding="utf-8")
        before = npgan_modules()
        for name in before:                             # so that `import` reads the copy
            del sys.modules[name]
        sys.path.insert(0, folder)
        try:
            importlib.invalidate_caches()
            for name in ("divergences", "gradcheck", "theory", "runs.plots"):
                importlib.import_module(f"npgan.{name}")
            npgan = sys.modules["npgan"]
            npgan.backend.use("numpy")
            yield npgan
        finally:
            sys.path.remove(folder)
            for name in npgan_modules():
                del sys.modules[name]
            sys.modules.update(before)


def npgan_modules():
    """{name: module} of npgan and its modules, as far as they are imported."""
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "npgan"}


def replaced(source, fault):
    """The source with the wrong line in the place of the right one."""
    lines = source.split("\n")
    found = [i for i, line in enumerate(lines) if line.lstrip().startswith(fault.right)]
    if len(found) != 1:
        raise ValueError(f"npgan/{fault.file}: one line must begin with {fault.right!r}, but {len(found)} do")
    lines[found[0]] = lines[found[0]].replace(fault.right, fault.wrong)
    return "\n".join(lines)


# --- A short training -------------------------------------------------------------------------


class Samples(NamedTuple):
    """Points of the data, and generated points."""

    data: np.ndarray
    samples: np.ndarray
    low: float = -1.6               # of the square that the picture shows
    high: float = 1.6
    path: bool = False              # G(z) for a z that walks along a line, drawn as a line


class Curve(NamedTuple):
    """A number for each iteration, or for each mode, and what it should be."""

    values: list
    name: str
    aim: float
    aim_name: str
    across: str = "iteration"       # what the horizontal axis counts
    scale: str = "linear"


def networks(npgan, n, dropout=()):
    """G and D for points of n numbers, with two hidden layers each; `dropout` is for G."""
    from npgan.layers import Dropout, LeakyReLU, Linear, ReLU, he
    drop = [Dropout(keep) for keep in dropout]
    G = [Linear(2, 40, he), ReLU(), *drop, Linear(40, 40, he), ReLU(), *drop, Linear(40, n, he)]
    D = [Linear(n, 40, he), LeakyReLU(), Linear(40, 40, he), LeakyReLU(), Linear(40, 1, he)]
    return npgan.Net(G, seed=0), npgan.Net(D, seed=1)


def point(npgan, b, sd=0.):
    """A generator of N(b, sd^2): G(z) = sd z + b."""
    from npgan.layers import Linear, constant
    return npgan.Net([Linear(1, 1, constant(sd), constant(b))])


def training(npgan, players, examples, sgd_d, sgd_g, iterations, watch=lambda record: None, **gradients):
    """Algorithm 1 from fixed seeds. Returns [watch(record) after each iteration].

    examples: an array, or an iterator of minibatches
    """
    if isinstance(examples, np.ndarray):
        examples = npgan.toy.endless(examples, players.m, seed=0)
    records = npgan.train(players, examples, npgan.Normal(), sgd_d, sgd_g, np.random.default_rng(0),
                          iterations, **gradients)
    return [watch(record) for record in records]


def learn_ring(npgan, iterations, examples=None, dropout=(), sgd=None):
    """G after it learned a ring of eight modes. sgd(net, lr) makes an optimizer."""
    sgd = sgd or (lambda net, lr: npgan.Adam(net, lr, b1=.5))
    G, D = networks(npgan, 2, dropout)
    players = npgan.Players(G, D, m=64, penalty=npgan.R1(.02))
    training(npgan, players, ring() if examples is None else examples, sgd(D, .004), sgd(G, .002), iterations)
    return G


def ring(n=20_000):
    """n points around eight modes on the unit circle. Point i is at mode i modulo 8."""
    angle = np.arange(n) * np.pi / 4
    modes = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (modes + .05 * np.random.default_rng(0).standard_normal((n, 2))).astype("float32")


def noise(n=500):
    """n noise samples for a picture."""
    return np.random.default_rng(1).standard_normal((n, 2))


# --- The symptoms: functions of npgan that return Samples or a Curve --------------------------


def overwritten(npgan):
    return Samples(ring(500), learn_ring(npgan, 2000)(noise()))


def stale_d(npgan):
    """G(z) is one number b for every z, and D(x) = sigmoid(w x + c)."""
    G, D = point(npgan, 0), npgan.Net([npgan.layers.Linear(1, 1, npgan.layers.constant(0))])
    b = training(npgan, npgan.Players(G, D, m=64), npgan.toy.gaussian(1, .01).sample(5000),
                 npgan.Momentum(D, 3.), npgan.Momentum(G, .85), 38, lambda record: float(G.layers[0].b[0]))
    return Curve(b, "generated point b", 1, "data: 1")


def mean_twice(npgan):
    G = learn_ring(npgan, 1000, sgd=lambda net, lr: npgan.Momentum(net, 12 * lr, .5))
    return Samples(ring(500), G(noise()))


def sign(npgan):
    G, D = networks(npgan, 2)
    players = npgan.Players(G, D, m=64, penalty=npgan.R1(.02))
    distance = training(npgan, players, ring(), npgan.Adam(D, .004, b1=.5), npgan.Adam(G, .002, b1=.5), 400,
                        lambda record: np.linalg.norm(players.Gz, axis=1).mean())
    return Curve(distance, "mean of |G(z)|", 1, "radius of the ring: 1", scale="log")


def dropout(npgan):
    """G learns with dropout. Then z walks from one point to another in 300 steps."""
    t = np.linspace(-1.5, 1.5, 300)
    G = learn_ring(npgan, 2000, dropout=[.8])
    return Samples(ring(500), G(np.stack([t, .5 - t], axis=1)), path=True)


def axis(npgan):
    """A Wasserstein critic with a gradient penalty. G stays where it is, 3 from the data."""
    G, (_, D), lam = point(npgan, -1.5, .3), networks(npgan, 1), 10.
    players = npgan.Players(G, D, 64, npgan.divergences.OBJECTIVES["wasserstein"],
                            penalty=npgan.penalty.GradientPenalty(lam))
    V = training(npgan, players, npgan.toy.gaussian(1.5, .3).sample(5000), npgan.Adam(D, .002, b1=.5),
                 npgan.Momentum(G, 0.), 400, lambda record: float(record.V))
    return Curve(V, "V", 3 * (1 + 3 / (2 * lam)), "V by the formula: 3.45")


def momentum(npgan):
    """D learns alone, and G stays as it is. V rises to its maximum of Theorem 1."""
    G, (_, D), x = point(npgan, -1, .5), networks(npgan, 1), np.linspace(-5, 5, 2001)
    p_data, p_g = (npgan.toy.gaussian(mean, .5).density(x[:, None]) for mean in (0, -1))
    V = training(npgan, npgan.Players(G, D, m=1000), npgan.toy.gaussian(0, .5).sample(50_000),
                 npgan.Momentum(D, .005, mu=.9), npgan.Momentum(G, 0.), 150, lambda record: float(record.V))
    return Curve(V, "V", npgan.theory.criterion(p_data, p_g, x[1] - x[0]), "the largest V")


def saturating(npgan):
    """The data are far from G's first samples. In the first 300 iterations only D learns."""
    x, (G, D) = ring() + np.float32(3), networks(npgan, 2)
    training(npgan, npgan.Players(G, D, m=64), x, npgan.Adam(D, .004, b1=.5),
             npgan.Momentum(G, lambda t: .01 if t >= 300 else 0.), 800)
    return Samples(x[:500], G(noise()), -2, 6)


def same_noise(npgan):
    """D(G(z)) at the z of G's step, compared with fresh z: a running mean of 200 iterations."""
    G, D = networks(npgan, 2)
    players, fresh, difference = npgan.Players(G, D, m=8), noise(), []

    def judge(players, z):
        npgan.generator_gradient(players, z)
        prob = players.objective.prob
        difference.append(prob(players.tape_fake.x[-1]).mean() - prob(D(G(fresh))).mean())
    training(npgan, players, ring(), npgan.Adam(D, .01, b1=.5), npgan.Adam(G, .002, b1=.5), 2000,
             generator_gradient=judge)
    return Curve(np.convolve(difference, np.full(200, 1 / 200), "valid"), "D(G(z)), minus that of fresh z", 0,
                 "no bias: 0")


def broadcast(npgan):
    """129 examples: two minibatches of 64, and one of 1, left out if npgan refuses it."""
    x = ring(129)

    def epochs():
        while True:
            yield from (x[:64], x[64:128], x[128:])
    try:
        G = learn_ring(npgan, 2000, epochs())
    except ValueError:
        G = learn_ring(npgan, 2000, x[:128])
    nearest = np.argmax(G(noise(5000)) @ ring(8).T, axis=1)
    return Curve(np.bincount(nearest, minlength=8) / 5000, "share of the samples", 1 / 8, "data: 1/8", "mode")


# --- The ten faults ---------------------------------------------------------------------------


class Fault(NamedTuple):
    """One line of npgan/FILE that becomes another line. `symptom` is a function above."""

    title: str
    file: str
    right: str
    wrong: str
    symptom: Callable


FAULTS = {
    "overwritten": Fault(
        "The second pass overwrites the first", "net.py",
        "return Tape(x, buffers() if backward else [], extra)",
        "return Tape(x, x, extra)", overwritten),
    "stale-d": Fault(
        "G's gradient through the old D", "gan.py",
        "generator_gradient(players, z)",
        "generator_backward(players)", stale_d),
    "mean-twice": Fault(
        "The mean taken twice", "layers.py",
        "kernels.product(x.T, dy, out=dW)",
        "kernels.product(x.T, dy / len(dy), out=dW)", mean_twice),
    "sign": Fault(
        "The sign of G's loss", "objectives.py",
        "return -self._choose(loss, self.dT, self.dF)(a)",
        "return self._choose(loss, self.dT, self.dF)(a)", sign),
    "dropout": Fault(
        "Dropout left on in sampling", "layers.py",
        "return (xp.ones((m, *inputs), dtype),)",
        "return (xp.default_rng(0).binomial(1, self.args[0], (m, *inputs)).astype(dtype) / self.args[0],)",
        dropout),
    "axis": Fault(
        "The penalty's norm over the wrong axis", "penalty.py",
        "norm = xp.sqrt((g * g).sum(axis=tuple(range(1, g.ndim)), keepdims=True))",
        "norm = xp.sqrt((g * g).sum(axis=0, keepdims=True))", axis),
    "momentum": Fault(
        "Momentum with the wrong sign", "optim.py",
        "kernels.momentum(self.net.theta, self.v, self.net.grad, lr, value_at(self.mu, self.t), sign)",
        "kernels.momentum(self.net.theta, self.v, self.net.grad, lr, -value_at(self.mu, self.t), sign)",
        momentum),
    "saturating": Fault(
        "The saturating loss against a perfect D", "gan.py",
        'def __init__(self, G, D, m, objective=GAN, generator_loss="non-saturating", pack=1, penalty=None):',
        'def __init__(self, G, D, m, objective=GAN, generator_loss="minimax", pack=1, penalty=None):',
        saturating),
    "same-noise": Fault(
        "One noise minibatch for both steps", "gan.py",
        "z = sample_noise(players, prior, rng)                       #   sample minibatch",
        "z = players.z                                               #   sample minibatch",
        same_noise),
    "broadcast": Fault(
        "The last short minibatch is broadcast", "gan.py",
        "if xp.shape(a) != buffer.shape:",
        "if xp.ndim(a) != buffer.ndim:", broadcast),
}


# --- The picture ------------------------------------------------------------------------------


def picture(npgan, path, right, wrong):
    """Write a PNG: the right code on the left, the wrong code on the right, on equal axes."""
    from matplotlib.figure import Figure
    fig = Figure((5, 2.7), layout="constrained")
    axes = fig.subplots(1, 2, sharex=True, sharey=True)
    for panel, title, shown in zip(axes, ("right", "wrong"), (right, wrong)):
        if isinstance(shown, Samples):
            panel.plot(*shown.data.T, ".", color=".7", ms=3, label="data")
            panel.plot(*shown.samples.T, "-" if shown.path else ".", color="tab:green", ms=3, lw=1,
                       label="generated")
            panel.set(xlim=(shown.low, shown.high), ylim=(shown.low, shown.high), aspect="equal")
        else:
            if shown.across == "iteration":
                panel.plot(shown.values, color="tab:green", lw=1.5, label=shown.name)
            else:
                panel.bar(range(1, 9), shown.values, color="tab:green", label=shown.name)
            panel.axhline(shown.aim, color="k", ls=":", label=shown.aim_name)
            panel.set(xlabel=shown.across, yscale=shown.scale)
            panel.grid(alpha=.3)
        panel.set_title(title, color={"right": "tab:green", "wrong": "crimson"}[title])
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=2, markerscale=3, frameon=False)
    npgan.runs.plots.save(path, fig, dpi=160)


def main(names):
    parser = argparse.ArgumentParser(description="Draw what each wrong line of npgan does.")
    parser.add_argument("name", nargs="*", help=f"some of {', '.join(FAULTS)} (default: all)")
    names = parser.parse_args(names).name
    for name in names:
        if name not in FAULTS:
            parser.error(f"there is no fault {name}: take some of {', '.join(FAULTS)}")
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in names or FAULTS:
        fault, path = FAULTS[name], PICTURES / f"break-{name}.png"
        with package(fault) as npgan:
            wrong = fault.symptom(npgan)
        with package() as npgan:
            picture(npgan, str(path), fault.symptom(npgan), wrong)
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
