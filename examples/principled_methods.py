"""Figures 1 to 3 of Arjovsky and Bottou 2017, "Towards principled methods for training generative adversarial networks".

A GAN is trained for 1, 10 and 25 epochs. Each of these generators is then frozen, and a new D learns, from nothing, to tell its examples
from the data. Against the iterations of that D, on examples that it was not trained on:

    discriminator.png    Figure 1: D's cost, -V, and its accuracy
    minimax.png          Figure 2: |grad_theta_g E log(1 - D(G(z)))|, which vanishes as D becomes perfect: the better G, the later
    nonsaturating.png    Figure 3: |grad_theta_g E -log D(G(z))|, which grows, and scatters more and more from minibatch to minibatch

On the left as in the paper; on the right with its remedy (section 3): the new D sees everything through noise, and so does G's gradient.
"""

import json
import os
import time
import zlib

import numpy as np

from npgan import backend as xp
from npgan.data import by_name, digits, toy
from npgan.gan import Players, discriminator_gradient, generator_backward, norm, sample_noise
from npgan.layers import Dropout, Linear, Maxout, Noise, ReLU, Sigmoid, he, logit, uniform
from npgan.net import Net
from npgan.optim import Adam, LinearDecay
from npgan.priors import Uniform
from npgan.runs import checkpoint, fit, options, plots
from npgan.runs.images import paper_optimizer

M, M_NEW = 100, 500                     # examples in a minibatch, of the GAN and of the new D, which is to become perfect
BATCHES, MOMENTS = 10, 50               # minibatches looked at, at not quite so many moments of D's training
LR_NEW = 1e-3                           # of Adam, the new D's
SEEN = ("cost", "accuracy", "minimax", "non-saturating")


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", default="auto", metavar="WHAT", help='"auto" (default): MNIST if it is found or can be downloaded, else the '
                   'rendered digits; "mnist": MNIST or nothing; "glyphs": the rendered digits; "ring": 8 Gaussians in the plane; '
                   "or a directory with four IDX files")
    p.add_argument("--epochs", type=options.integer(1), nargs="+", default=[1, 10, 25], metavar="N",
                   help="of the GAN, before G is frozen (default 1 10 25)")
    p.add_argument("--noise", type=options.positive, metavar="SIGMA",
                   help="standard deviation of the noise on D's inputs (default: images 2, ring .2)")
    options.add(p, "--iterations", default=1000, help="iterations of each new D (default 1000)")
    options.add(p, "--out", default="runs/principled")
    options.add(p, "--seed", "--resume", "--quiet")
    return p


def load(what):
    """The name of the data, the examples to train on and those to look at."""
    if by_name(what, "ring"):
        return what, toy.ring().sample(100_000, 0), toy.ring().sample(10_000, 1)
    images, label = digits.load(what)
    return label, images.train, images.valid


def players(x, seed):
    """G and D and their optimizers: of images the 2014 paper's for MNIST, from 100 numbers; in the plane smaller ones, from 2, and Adam."""
    n, G, D = x.shape[1], (seed, 0), (seed, 1)
    if n == 2:
        G, D = Net([Linear(2, 128, he), ReLU(), Linear(128, 128, he), ReLU(), Linear(128, 2)], seed=G), discriminator(2, D)
        return G, D, Adam(G, 1e-3, .5), Adam(D, 2e-4, .5)
    r = uniform(.05)
    G = Net([Linear(100, 1200, r), ReLU(), Linear(1200, 1200, r), ReLU(), Linear(1200, n, r, logit(x.mean(axis=0))), Sigmoid()], seed=G)
    r = uniform(.005)
    D = Net([Dropout(.8), Linear(n, 1200, r), Maxout(5), Dropout(.5), Linear(240, 1200, r), Maxout(5), Dropout(.5), Linear(240, 1, r)],
            seed=D)
    return G, D, *(paper_optimizer(net, lr, len(x) // M) for net, lr in ((G, .1), (D, .05)))


def discriminator(n, seed, first=()):
    """The new D: two layers of maxout units; `first` is what comes before them."""
    units = 64 if n == 2 else 160
    return Net([*first, Linear(n, 3 * units), Maxout(3), Linear(units, 3 * units), Maxout(3), Linear(units, 1)], seed=seed)


def generators(x, prior, seed, epochs, out, data, resume, quiet):
    """Algorithm 1; generator-N.npz for each N of `epochs`. To resume is to go on from GAN.npz."""
    G, D, sgd_g, sgd_d = players(x, seed)
    path, state = os.path.join(out, "GAN.npz"), fit.State()
    if resume and os.path.exists(path):
        ours(path, data, seed)
        state = fit.State.of(path, checkpoint.restore(path, sgd_g, sgd_d)["state"])
        for n in epochs:
            if n <= state.epoch and not os.path.exists(frozen(out, n)):
                raise ValueError(f"--epochs {n}: the GAN in {out} is past it, at epoch {state.epoch}, and kept none; leave --resume out")
            if n <= state.epoch:
                ours(frozen(out, n), data, seed)
    for state in fit.fit(Players(G, D, M), xp.asarray(x), prior, sgd_d, sgd_g, state, seed=seed, epochs=max(epochs),
                         update="algorithm1" if x.shape[1] == 2 else "simultaneous", quiet=quiet):
        about = {"data": data, "seed": seed, "state": {**vars(state), "interrupted": False}}
        if state.epoch in epochs and not state.iteration:
            checkpoint.save(frozen(out, state.epoch), sgd_g, sgd_d, about)
        checkpoint.save(path, sgd_g, sgd_d, about)
        if state.interrupted:
            raise KeyboardInterrupt


def frozen(out, n):
    return os.path.join(out, f"generator-{n}.npz")


def ours(path, data, seed):
    about, _ = checkpoint.read(path)
    if (about.get("data"), about.get("seed")) != (data, seed):
        raise ValueError(f"--resume: {path} was made on other data or with another --seed; name another folder with --out")


def duel(p, x, unseen, prior, seed, iterations):
    """D learns, G does not. Yields (iteration, what `look` sees) at moments that are dense at the start."""
    sgd_d = Adam(p.D, LinearDecay(LR_NEW, iterations))                  # constant to the end, D leaps now and then
    rng, other = xp.default_rng(seed, 1), xp.default_rng(seed, 2)
    examples, unseen = toy.endless(x, p.m, seed), toy.endless(unseen, p.m, seed)
    moments = {0, *np.geomspace(1, iterations, MOMENTS).round().astype(int).tolist()}
    for i in range(iterations + 1):
        if i in moments:
            yield i, look(p, unseen, prior, other)
        z = sample_noise(p, prior, rng)
        p.draw_masks_d(rng)
        discriminator_gradient(p, next(examples), z)
        sgd_d.ascend()


def look(p, examples, prior, rng):
    """-V, D's accuracy and |grad_theta_g J|, of both losses J, on fresh minibatches: (BATCHES, 4), on the device. Nothing is updated."""
    rows = []
    for _ in range(BATCHES):
        z = sample_noise(p, prior, rng)
        p.draw_masks_d(rng)
        V, _, _ = discriminator_gradient(p, next(examples), z)
        right = xp.stack([p.tape_real.x[-1] > 0, p.tape_fake.x[-1] < 0]).mean(dtype=V.dtype)          # D > 1/2, D < 1/2
        norms = []
        for p.generator_loss in ("minimax", "non-saturating"):
            generator_backward(p)
            norms.append(norm(p.G.grad.astype("float64")))                                  # float32 has no square of 1e-20
        rows.append(xp.stack([-V, right, *norms]))
    return xp.stack(rows)


def main(args):
    out = options.folder(args.out)
    name, x, unseen = load(args.data)
    if min(len(x), len(unseen)) < M:
        raise ValueError(f"--data {args.data}: {len(x)} examples to train on and {len(unseen)} to look at, but a minibatch is {M}")
    try:
        return play(args, out, name, x, unseen)
    except KeyboardInterrupt:
        print(f"Interrupted. What is complete is kept: the same command with --resume goes on from {out}")
        return 130


def play(args, out, name, x, unseen):
    from tqdm import tqdm
    seed, iterations, resume, quiet = (getattr(args, key) for key in ("seed", "iterations", "resume", "quiet"))
    epochs, sigma, prior = sorted(set(args.epochs)), args.noise or (.2 if x.shape[1] == 2 else 2.), Uniform()
    m = min(M_NEW, len(x), len(unseen))
    settings = {"data": zlib.crc32(x.tobytes()), "seed": seed, "iterations": iterations, "batch_size": m}
    path, begun = os.path.join(out, "curves.json"), time.perf_counter()
    curves = earlier(path, settings) if resume else {}
    print(f"{name} on {xp.name()}: a GAN of {max(epochs)} epochs of {len(x) // M} iterations, then {2 * len(epochs)} new Ds, "
          f"{iterations} iterations each, against the G of epoch {', '.join(map(str, epochs))}")
    generators(x, prior, seed, epochs, out, settings["data"], resume, quiet)
    x, unseen = xp.asarray(x), xp.asarray(unseen)
    wanted = [(n, s) for s in (0., sigma) for n in epochs]
    missing = [key for key in wanted if key not in curves]
    with tqdm(total=len(missing) * iterations, unit="it", disable=quiet, dynamic_ncols=True) as bar:
        for k, (n, s) in enumerate(missing):
            G, _ = checkpoint.load(frozen(out, n))
            p = Players(G, discriminator(x.shape[1], (seed, 2), [Noise(s)] * (s > 0)), m)
            moments, seen = [], []
            for i, values in fit.silently(duel(p, x, unseen, prior, seed, iterations)):
                moments.append(i)
                seen.append(xp.asnumpy(values))
                if not np.isfinite(seen[-1]).all():
                    raise FloatingPointError(f"G of epoch {n}, noise {s:g}: the new D's iteration {i} is not finite; take another --seed")
                bar.update(k * iterations + i - bar.n)
            curves[n, s] = {**settings, "epochs": n, "noise": s, "iteration": moments,
                            **{what: values.tolist() for what, values in zip(SEEN, np.moveaxis(seen, -1, 0).astype(float))}}
            checkpoint.write(path, json.dumps(list(curves.values())))
    finish(out, name, [curves[key] for key in wanted], sigma, {
        "data": name, "backend": xp.name(), "seed": seed, "iterations": iterations, "batch_size": m, "minibatches_looked_at": BATCHES,
        "noise": sigma, "seconds": time.perf_counter() - begun})
    return 0


def earlier(path, settings):
    """The complete curves of the folder that were drawn with these settings, {(epochs, noise): curve}."""
    if not os.path.exists(path):
        return {}
    try:
        with open(path) as f:
            return {(c["epochs"], c["noise"]): c for c in json.load(f) if settings.items() <= c.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"--resume: {path} is not a result of this example, or a damaged one ({e}); move it away") from e


def numbers(curve):
    """What the figures show, in a few numbers: means over the minibatches of D's first moment, still untrained, and of its last."""
    mean = {what: np.mean(curve[what], axis=1) for what in SEEN}
    sd = np.std(curve["non-saturating"], axis=1)
    right = [i for i, accuracy in zip(curve["iteration"], mean["accuracy"]) if accuracy == 1]
    fall, growth = (mean[loss][[0, -1]] for loss in SEEN[2:])
    return {"epochs": curve["epochs"], "noise": curve["noise"], "iterations_to_accuracy_1": right[0] if right else None,
            "accuracy": mean["accuracy"][-1], "cost": mean["cost"][-1], "minimax_first": fall[0], "minimax_last": fall[1],
            "minimax_orders_of_magnitude": float(np.log10(fall[1] / fall[0])), "nonsaturating_first": growth[0],
            "nonsaturating_last": growth[1], "nonsaturating_growth": growth[1] / growth[0], "nonsaturating_sd_growth": sd[-1] / sd[0]}


def sentence(c):
    first = c["iterations_to_accuracy_1"]
    return (f"G of epoch {c['epochs']}, noise {c['noise']:g}: accuracy "
            + (f"{c['accuracy']:.3f} at the end" if first is None else f"1 at iteration {first}")
            + f"; minimax gradient x 10^{c['minimax_orders_of_magnitude']:.1f}; -log D gradient x {c['nonsaturating_growth']:.2g}, "
            f"its standard deviation x {c['nonsaturating_sd_growth']:.2g}")


FIGURES = {     # file: title, rows of panels
    "discriminator": ("Figure 1: a new D against a frozen G", ("cost", "accuracy")),
    "minimax": ("Figure 2: the minimax gradient of the frozen G", ("minimax",)),
    "nonsaturating": ("Figure 3: the -log D gradient of the frozen G", ("non-saturating", "spread")),
}
LABELS = {"cost": "D's cost, -V (nats)", "accuracy": "D's accuracy", "minimax": "|grad_theta_g E log(1 - D(G(z)))|",
          "non-saturating": "|grad_theta_g E -log D(G(z))|", "spread": "its standard deviation over minibatches"}


def figure(path, title, rows, curves, sigma):
    """Without noise on the left, with it on the right. Lines are means over minibatches, bands go from the least to the greatest."""
    from matplotlib.figure import Figure
    fig = Figure((10, 1.2 + 3 * len(rows)), layout="constrained")
    axes = fig.subplots(len(rows), 2, sharex=True, sharey="row", squeeze=False)
    for curve in curves:
        for axis, what in zip(axes[:, int(curve["noise"] > 0)], rows):
            spread = np.std(curve["non-saturating"], axis=1, keepdims=True)
            t, values = curve["iteration"], spread if what == "spread" else np.array(curve[what])
            line, = axis.plot(t, values.mean(axis=1), lw=1.5, label=f"{curve['epochs']} epoch{'s' * (curve['epochs'] > 1)}")
            axis.fill_between(t, values.min(axis=1), values.max(axis=1), color=line.get_color(), alpha=.2, lw=0)
    for row, what in zip(axes, rows):
        row[0].set_ylabel(LABELS[what])
        for axis in row:
            axis.set_xscale("symlog", linthresh=1)
            axis.set_xlim(0, curves[0]["iteration"][-1])
            axis.set_yscale("linear" if what == "accuracy" else "log")
            axis.grid(alpha=.3)
    for axis in axes[-1]:
        axis.set_xlabel("iteration of the new D")
    axes[0, 0].set_title("as in the paper", fontsize=10)
    axes[0, 1].set_title(f"with noise N(0, {sigma:g}² I) on D's inputs", fontsize=10)
    axes[0, 0].legend(title="G frozen after", fontsize=8, title_fontsize=8)
    fig.suptitle(title)
    plots.save(path, fig)


def finish(out, name, curves, sigma, result):
    for file, (title, rows) in FIGURES.items():
        figure(os.path.join(out, f"{file}.png"), f"{title}, on {name}", rows, curves, sigma)
    checkpoint.write(os.path.join(out, "result.json"), json.dumps({**result, "curves": [numbers(curve) for curve in curves]}))
    print("\n".join(sentence(numbers(curve)) for curve in curves))
    print(f"{out}: {' '.join(f'{file}.png' for file in FIGURES)} curves.json result.json generator-N.npz")


if __name__ == "__main__":
    options.run_program(parser(), main)
