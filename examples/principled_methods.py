"""Why training a GAN is hard: Figures 1 to 3 of Arjovsky and Bottou 2017.

Source: "Towards principled methods for training generative adversarial networks". Read
examples/mnist.py first: on images, the GAN here has its networks.

A GAN is trained. After 1, 10 and 25 epochs a copy of G is frozen. Against each frozen G a new D
is trained from random initial weights. The run draws three figures whose horizontal axis is the
iteration of the new D. All values come from examples on which D is not trained:

    discriminator.png    Figure 1: D's cost -V, and D's accuracy
    minimax.png          Figure 2: |grad_theta_g E log(1 - D(G(z)))|. It vanishes as D becomes
                         perfect. The better G is, the later this happens
    nonsaturating.png    Figure 3: |grad_theta_g E -log D(G(z))|. It grows, and it differs more
                         and more from minibatch to minibatch

The left half of each figure is as in the source. The right half has the remedy of its section
3: noise is added to the inputs of the new D, real and generated.

Study page: docs/study/hardness.html
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import json
import os
import time
import zlib

import numpy as np
from mnist import paper_networks, paper_optimizer

from npgan import backend as xp
from npgan.data import by_name, digits, toy
from npgan.gan import Players, discriminator_gradient, generator_backward, norm, sample_noise
from npgan.layers import Linear, Maxout, Noise, ReLU, he
from npgan.net import Net
from npgan.optim import Adam, LinearDecay
from npgan.priors import Uniform
from npgan.runs import checkpoint, fit, options, plots

M, M_NEW = 100, 500             # examples in a minibatch: for the GAN, for the new D
BATCHES, MOMENTS = 10, 50       # minibatches that `look` takes, and about how often it looks
LR_NEW = 1e-3                   # of Adam for the new D, with a LinearDecay: at a constant rate D's cost jumps
CURVES = ("cost", "accuracy", "minimax", "non-saturating")      # what `look` returns
FILES = ("result.json", "curves.json", "GAN.npz", "generator-*.npz", "discriminator.png", "minimax.png",
         "nonsaturating.png")                                   # what a run writes


def parser():
    p = options.parser(__doc__)
    p.add_argument("--data", default="auto", metavar="WHAT",
                   help='"auto" (default): MNIST if it is found or can be downloaded, else the rendered '
                        'digits; "mnist": MNIST or nothing; "glyphs": the rendered digits; "ring": '
                        "8 Gaussians in the plane; or a directory with IDX files, or Keras' mnist.npz")
    p.add_argument("--epochs", type=options.integer(1), nargs="+", default=[1, 10, 25], metavar="N",
                   help="epochs of the GAN after which G is frozen (default 1 10 25)")
    p.add_argument("--noise", type=options.positive, metavar="SIGMA",
                   help="standard deviation of the noise on D's inputs (default: images 2, ring .2)")
    options.add(p, "--iterations", default=1000, help="iterations of each new D (default 1000)")
    options.add(p, "--out", default="runs/principled")
    options.add(p, "--seed", "--resume", "--quiet")
    return p


def load(what):
    """The name of the data, the examples to train on, and those that `look` takes."""
    if by_name(what, "ring"):
        return what, toy.ring().sample(100_000, 0), toy.ring().sample(10_000, 1)
    images, label = digits.load(what)
    return label, images.train, images.valid


# --- The GAN, and the new D -------------------------------------------------------------------


def players(x, seed):
    """G, D and their optimizers: on images those of mnist.py, in the plane smaller ones."""
    n = x.shape[1]
    if n == 2:
        G = Net([Linear(2, 128, he), ReLU(), Linear(128, 128, he), ReLU(), Linear(128, 2)], seed=(seed, 0))
        D = discriminator(2, (seed, 1))
        return G, D, Adam(G, 1e-3, .5), Adam(D, 2e-4, .5)
    G, D = paper_networks(n, x.mean(axis=0))
    G, D = Net(G, seed=(seed, 0)), Net(D, seed=(seed, 1))
    updates = len(x) // M
    return G, D, paper_optimizer(G, .1, updates), paper_optimizer(D, .05, updates)


def discriminator(n, seed, first=()):
    """The new D: two layers of maxout units, after the layers `first`."""
    units = 64 if n == 2 else 160
    return Net([*first, Linear(n, 3 * units), Maxout(3), Linear(units, 3 * units), Maxout(3),
                Linear(units, 1)], seed=seed)


def train_gan(x, prior, args, data):
    """Train the GAN. Saves GAN.npz, and generator-N.npz for each N of --epochs.

    data: the checksum of the data, which the checkpoints keep. --resume goes on from GAN.npz.
    """
    G, D, sgd_g, sgd_d = players(x, args.seed)
    path, state = os.path.join(args.out, "GAN.npz"), fit.State()
    if args.resume and os.path.exists(path):
        check(path, data, args.seed)
        state = fit.State.of(path, checkpoint.restore(path, sgd_g, sgd_d).get("state"))
        for n in args.epochs:
            if n <= state.epoch and not os.path.exists(frozen(args.out, n)):
                raise ValueError(f"--epochs {n}: the GAN in {args.out} is at epoch {state.epoch} already, "
                                 f"and G of epoch {n} was not kept; leave --resume out")
            if n <= state.epoch:
                check(frozen(args.out, n), data, args.seed)
    update = "algorithm1" if x.shape[1] == 2 else "simultaneous"
    for state in fit.fit(Players(G, D, M), xp.asarray(x), prior, sgd_d, sgd_g, state, seed=args.seed,
                         epochs=max(args.epochs), update=update, quiet=args.quiet):
        about = {"data": data, "seed": args.seed, "state": state.saved()}
        with fit.interruptible() as signals:
            if state.epoch in args.epochs and not state.iteration:
                checkpoint.save(frozen(args.out, state.epoch), sgd_g, sgd_d, about)
            checkpoint.save(path, sgd_g, sgd_d, about)
        if state.interrupted or signals:
            raise KeyboardInterrupt


def frozen(out, n):
    """The file of the generator after n epochs."""
    return os.path.join(out, f"generator-{n}.npz")


def check(path, data, seed):
    """Raises ValueError if the checkpoint was made on other data or with another seed."""
    about, _ = checkpoint.read(path, arrays=False)
    if (about.get("data"), about.get("seed")) != (data, seed):
        raise ValueError(f"--resume: {path} was made on other data or with another --seed; "
                         "name another folder with --out")


def train_new_discriminator(players, x, unseen, prior, seed, iterations):
    """Train D against the frozen G, and yield (iteration, the result of `look`) now and then.

    Most of these moments are early.
    """
    sgd_d = Adam(players.D, LinearDecay(LR_NEW, iterations))
    rng, rng_look = xp.default_rng(seed, 1), xp.default_rng(seed, 2)
    examples, unseen = toy.endless(x, players.m, seed), toy.endless(unseen, players.m, seed)
    looked_at = moments(iterations)
    for i in range(iterations + 1):
        if i in looked_at:
            yield i, look(players, unseen, prior, rng_look)
        z = sample_noise(players, prior, rng)
        players.draw_masks_d(rng)
        discriminator_gradient(players, next(examples), z)
        sgd_d.ascend()


def moments(iterations):
    """The iterations of the new D at which `look` looks."""
    return sorted({0, *np.geomspace(1, iterations, MOMENTS).round().astype(int).tolist()})


def look(players, examples, prior, rng):
    """Measure D, and the gradients of G, on BATCHES fresh minibatches. Nothing is updated.

    Returns -V, D's accuracy and |grad_theta_g E J| for both losses J: (BATCHES, 4), on the
    device.
    """
    rows = []
    for _ in range(BATCHES):
        z = sample_noise(players, prior, rng)
        players.draw_masks_d(rng)
        V, _, _ = discriminator_gradient(players, next(examples), z)
        right = xp.stack([players.tape_real.x[-1] > 0, players.tape_fake.x[-1] < 0])    # D > 1/2, D < 1/2
        norms = []
        for players.generator_loss in ("minimax", "non-saturating"):
            generator_backward(players)
            norms.append(norm(players.G.grad.astype("float64")))        # float32 has no square of 1e-20
        rows.append(xp.stack([-V, right.mean(dtype=V.dtype), *norms]))
    return xp.stack(rows)


# --- The run ----------------------------------------------------------------------------------


def main(args):
    args.out = options.folder(args.out, old=() if args.resume else FILES)
    args.epochs = sorted(set(args.epochs))
    name, x, unseen = load(args.data)
    if min(len(x), len(unseen)) < M:
        raise ValueError(f"--data {args.data}: {len(x)} examples to train on and {len(unseen)} to look at, "
                         f"but a minibatch is {M}")
    if args.noise is None:
        args.noise = .2 if x.shape[1] == 2 else 2.
    try:
        run(args, name, x, unseen)
    except KeyboardInterrupt:
        print("Interrupted. What is complete is kept: the same command with --resume goes on "
              f"from {args.out}")
        return 130
    return 0


def run(args, name, x, unseen):
    epochs, iterations, prior = args.epochs, args.iterations, Uniform()
    m, begun = min(M_NEW, len(x), len(unseen)), time.perf_counter()
    settings = {"data": zlib.crc32(x.tobytes()), "seed": args.seed, "iterations": iterations, "batch_size": m}
    path = os.path.join(args.out, "curves.json")
    curves = kept_curves(path, settings) if args.resume else {}
    print(f"{name} on {xp.name()}: a GAN of {max(epochs)} epochs of {len(x) // M} iterations, "
          f"then {2 * len(epochs)} new Ds, {iterations} iterations each, "
          f"against G of epoch {', '.join(map(str, epochs))}")
    train_gan(x, prior, args, settings["data"])

    x, unseen = xp.asarray(x), xp.asarray(unseen)
    wanted = [(n, sigma) for sigma in (0., args.noise) for n in epochs]
    missing = [key for key in wanted if key not in curves]
    with fit.progress_bar(0, len(missing) * iterations, args.quiet) as bar:
        for n, sigma in missing:
            G, _ = checkpoint.load(frozen(args.out, n))
            D = discriminator(x.shape[1], (args.seed, 2), [Noise(sigma)] if sigma else [])
            training = train_new_discriminator(Players(G, D, m), x, unseen, prior, args.seed, iterations)
            values = watched(training, f"G of epoch {n}, noise {sigma:g}", bar)
            curves[n, sigma] = {**settings, "epochs": n, "noise": sigma, "iteration": moments(iterations),
                                **{what: values[:, :, i].tolist() for i, what in enumerate(CURVES)}}
            checkpoint.write(path, json.dumps(list(curves.values())))
    finish(args.out, name, [curves[key] for key in wanted], args.noise, {
        "data": name, "backend": xp.name(), "seed": args.seed, "iterations": iterations, "batch_size": m,
        "minibatches_looked_at": BATCHES, "noise": args.noise, "seconds": time.perf_counter() - begun})


def watched(training, what, bar):
    """All values that `training` yields, (moments, BATCHES, 4).

    Raises FloatingPointError if a value is not finite.
    """
    begun, seen = bar.n, []
    for i, values in fit.silently(training):
        seen.append(xp.asnumpy(values).astype(float))
        if not np.isfinite(seen[-1]).all():
            raise FloatingPointError(f"{what}: the new D's iteration {i} is not finite; take another --seed")
        bar.update(begun + i - bar.n)
    return np.array(seen)


def kept_curves(path, settings):
    """The curves in the file that have these settings: {(epochs, noise): curve}."""
    if not os.path.exists(path):
        return {}
    with checkpoint.reading(path, "a result of this example", "; move it away"):
        kept = checkpoint.read_json(path)
        checkpoint.check({"curves": kept}, {"curves": checkpoint.list_of(is_curve)})
        return {(c["epochs"], c["noise"]): c for c in kept if settings.items() <= c.items()}


CURVE = {"data": checkpoint.natural, "seed": checkpoint.natural, "iterations": checkpoint.positive_count,
         "batch_size": checkpoint.count, "epochs": checkpoint.positive_count, "noise": checkpoint.number,
         "iteration": checkpoint.list_of(checkpoint.count),
         **dict.fromkeys(CURVES, checkpoint.list_of(checkpoint.list_of(checkpoint.number)))}


def is_curve(x):
    checkpoint.check(x, CURVE)
    shapes = {np.shape(x[what]) for what in CURVES}
    return x["iteration"] == moments(x["iterations"]) and shapes == {(len(x["iteration"]), BATCHES)}


# --- Results ----------------------------------------------------------------------------------


def numbers(curve):
    """The first and the last moment of a curve in numbers: means over the minibatches.

    At the first moment D is untrained.
    """
    mean = {what: np.mean(curve[what], axis=1) for what in CURVES}
    sd = np.std(curve["non-saturating"], axis=1)
    perfect = [i for i, accuracy in zip(curve["iteration"], mean["accuracy"]) if accuracy == 1]
    minimax, log_d = mean["minimax"], mean["non-saturating"]
    return {"epochs": curve["epochs"], "noise": curve["noise"],
            "iterations_to_accuracy_1": perfect[0] if perfect else None,
            "accuracy": mean["accuracy"][-1], "cost": mean["cost"][-1],
            "minimax_first": minimax[0], "minimax_last": minimax[-1],
            "minimax_orders_of_magnitude": float(np.log10(minimax[-1] / minimax[0])),
            "nonsaturating_first": log_d[0], "nonsaturating_last": log_d[-1],
            "nonsaturating_growth": log_d[-1] / log_d[0], "nonsaturating_sd_growth": sd[-1] / sd[0]}


def sentence(result):
    first = result["iterations_to_accuracy_1"]
    accuracy = f"{result['accuracy']:.3f} at the end" if first is None else f"1 at iteration {first}"
    return (f"G of epoch {result['epochs']}, noise {result['noise']:g}: accuracy {accuracy}; "
            f"minimax gradient x 10^{result['minimax_orders_of_magnitude']:.1f}; "
            f"-log D gradient x {result['nonsaturating_growth']:.2g}, "
            f"its standard deviation x {result['nonsaturating_sd_growth']:.2g}")


FIGURES = {     # file: title, rows of panels
    "discriminator": ("Figure 1: a new D against a frozen G", ("cost", "accuracy")),
    "minimax": ("Figure 2: the minimax gradient of the frozen G", ("minimax",)),
    "nonsaturating": ("Figure 3: the -log D gradient of the frozen G", ("non-saturating", "spread")),
}
LABELS = {"cost": "D's cost, -V (nats)", "accuracy": "D's accuracy",
          "minimax": "|grad_theta_g E log(1 - D(G(z)))|", "non-saturating": "|grad_theta_g E -log D(G(z))|",
          "spread": "its standard deviation over minibatches"}


def figure(path, title, rows, curves, sigma):
    """Draw the curves, on the left without noise, on the right with noise.

    A line is the mean over the minibatches; the band around it goes from the smallest value to
    the largest.
    """
    from matplotlib.figure import Figure
    fig = Figure((10, 1.2 + 3 * len(rows)), layout="constrained")
    axes = fig.subplots(len(rows), 2, sharex=True, sharey="row", squeeze=False)
    for curve in curves:
        values = {what: np.array(curve[what]) for what in CURVES}
        values["spread"] = values["non-saturating"].std(axis=1, keepdims=True)
        label = "1 epoch" if curve["epochs"] == 1 else f"{curve['epochs']} epochs"
        for axis, what in zip(axes[:, 1 if curve["noise"] else 0], rows):
            t, y = curve["iteration"], values[what]
            line, = axis.plot(t, y.mean(axis=1), lw=1.5, label=label)
            axis.fill_between(t, y.min(axis=1), y.max(axis=1), color=line.get_color(), alpha=.2, lw=0)
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
    fig.suptitle(plots.plain(title))
    plots.save(path, fig)


def finish(out, name, curves, sigma, result):
    for file, (title, rows) in FIGURES.items():
        figure(os.path.join(out, f"{file}.png"), f"{title}, on {name}", rows, curves, sigma)
    results = [numbers(curve) for curve in curves]
    checkpoint.write(os.path.join(out, "result.json"), json.dumps({**result, "curves": results}))
    print("\n".join(map(sentence, results)))
    print(f"{out}: {' '.join(f'{file}.png' for file in FIGURES)} curves.json result.json generator-N.npz")


if __name__ == "__main__":
    options.run_program(parser(), main, threads=1)
