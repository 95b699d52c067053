"""A Laplacian pyramid of adversarial nets on CIFAR-10 (Denton, Chintala, Szlam, Fergus 2015).

Read cifar10.py and npgan/pyramid.py first. A GAN makes images of 8 x 8 pixels. Two conditional
GANs make the details of 16 x 16 and of 32 x 32 pixels, each given an enlarged smaller image.
Each level trains on real images, independently of the others. A run writes

    DIR/8x8, DIR/16x16, DIR/32x32    the files of mnist.py for each level, except best.npz
    DIR                              samples.png, levels.png, children.png, result.json

Three processes can train the levels at the same time: start one with each --level, and the same
--out. Afterwards --resume without --level makes the four files in DIR.
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import argparse
import json
import math
import os
from functools import partial

import numpy as np
from cifar10 import DATA
from cifar10 import load as load_cifar10
from mnist import NOISE, quick_optimizer, train

import npgan
from npgan import backend as xp
from npgan import metrics
from npgan.conv import Conv2d, ConvTranspose2d, Reshape
from npgan.data import cifar10
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid, he, uniform
from npgan.optim import Decay, Momentum, Ramp
from npgan.priors import Uniform
from npgan.pyramid import AddCondition, ClassPlane, Conditions, down, one_hot, up
from npgan.runs import checkpoint, images, mpi, options, plots
from npgan.runs.images import Preset, Run

SIZES = 8, 16, 32                   # the levels
CLASSES = len(cifar10.CLASSES)
PRIOR = Uniform(1)
FILES = "result.json", "samples.png", "levels.png", "children.png"
SAMPLES = 10_000                    # for the scores
SIGMAS = tuple(2 * sigma for sigma in metrics.SIGMAS)     # for pixels of standard deviation 1
PUBLISHED = "-1799 +- 826, and -3617 +- 353 for a GAN with one level"

# Below, `classes` is 10 if the run is conditional, otherwise 0. The coarsest level then takes a
# vector of 10 numbers beside z, and the other levels take a plane.


# --- The authors' published configuration -----------------------------------------------------


def normal(sd):
    return lambda rng, shape: rng.normal(0, sd, shape)


def paper_coarse(size, classes):
    pixels, r = 3 * size * size, normal(.05)
    G = [Linear(NOISE + classes, 1200, r), ReLU(), Linear(1200, 1200, r), Sigmoid(), Linear(1200, pixels, r),
         AddCondition(0, classes)]
    r = normal(.005)
    D = [Linear(pixels + classes, 600, r), ReLU(), Dropout(.5), Linear(600, 600, r), ReLU(), Dropout(.5),
         Linear(600, 1, r)]
    return G, D


def paper_fine(size, classes):
    def conv(inputs, channels, kernel, **geometry):
        r = torch_default(inputs[0] * kernel * kernel)
        return Conv2d(inputs, channels, kernel, W=r, b=r, **geometry)

    appended, first, n = int(classes > 0), size - 4, (size - 8) // 2        # D's planes: first x first, n x n
    G = [conv((4 + appended, size, size), 128, 7, pad=3), ReLU(),
         conv((128, size, size), 128, 7, pad=3), ReLU(),
         conv((128, size, size), 3, 5, pad=2), AddCondition(3, appended)]
    r = torch_default(128 * n * n)
    D = [conv((3 + appended, size, size), 128, 5), ReLU(),
         conv((128, first, first), 128, 5, stride=2), ReLU(),
         Reshape((128 * n * n,)), Dropout(.5), Linear(128 * n * n, 1, r, r)]
    return with_class_planes(G, D, size, classes)


def torch_default(n):
    """The default of the authors' framework, Torch, for a unit with n inputs."""
    return uniform(1 / math.sqrt(n))


def with_class_planes(G, D, size, classes):
    """G and D, which begin with a ClassPlane if there are classes."""
    if classes:
        G = [ClassPlane((5, size, size), classes), *G]
        D = [ClassPlane((4, size, size), classes), *D]
    return G, D


def paper_optimizer(net, lr, updates):
    """In each epoch the rate is divided by 1.000004, and the momentum rises by .0008, to .7."""
    rate = Decay(lr, minimum=0)
    return Momentum(net, lambda t: rate(t // updates), Ramp(updates, 0, .7, 876))


# --- Smaller networks, trained in minutes -----------------------------------------------------


def quick_coarse(size, classes):
    pixels = 3 * size * size
    G = [Linear(NOISE + classes, 400, he), ReLU(), Linear(400, 400, he), ReLU(),
         Linear(400, pixels, uniform(.02)), AddCondition(0, classes)]
    D = [Linear(pixels + classes, 800, he), Maxout(2), Linear(400, 600, he), Maxout(2),
         Linear(300, 1, uniform(.05))]
    return G, D


def quick_fine(size, classes):
    appended, half, quarter, eighth = int(classes > 0), size // 2, size // 4, size // 8
    G = [Conv2d((4 + appended, size, size), 32, 4, stride=2, pad=1, W=he), ReLU(),
         Conv2d((32, half, half), 32, 3, pad=1, W=he), ReLU(),
         ConvTranspose2d((32, half, half), 3, 6, stride=2, pad=2, W=uniform(.02)), AddCondition(3, appended)]
    D = [Conv2d((3 + appended, size, size), 64, 4, stride=2, pad=1, W=he), Maxout(2),
         Conv2d((32, half, half), 64, 4, stride=2, pad=1, W=he), Maxout(2),
         Conv2d((32, quarter, quarter), 128, 4, stride=2, pad=1, W=he), Maxout(2),
         Reshape((64 * eighth * eighth,)), Linear(64 * eighth * eighth, 1, uniform(.02))]
    return with_class_planes(G, D, size, classes)


def quick(networks, epochs, r1):
    return Preset(networks, partial(quick_optimizer, epochs=epochs), epochs, batch_size=32,
                  lr=5e-4, lr_d=5e-4, update="algorithm1", r1=r1, average=1000)


# The authors' D ascends V / 2 at the rate .01. This equals V at the rate .005. Their D sees 64
# real and 64 generated images in a step. Their G has 128 images in a step, and here 64. Their
# scripts have no level of 8 x 8 pixels: its 1,200 and 600 units are those of the paper. They
# keep the networks of the epoch with the best score. This program keeps the last networks. The
# number of epochs is ours.
def paper(networks):
    return Preset(networks, paper_optimizer, epochs=250, batch_size=64,
                  lr=.01, lr_d=.005, update="algorithm1")


PRESETS = {
    8: {"quick": quick(quick_coarse, epochs=40, r1=.005), "paper": paper(paper_coarse)},
    16: {"quick": quick(quick_fine, epochs=5, r1=.2), "paper": paper(paper_fine)},
    32: {"quick": quick(quick_fine, epochs=3, r1=.1), "paper": paper(paper_fine)},
}


# --- A level ----------------------------------------------------------------------------------


class Level:
    """The images of one level. Each image is a row [pixels, class].

    In a row a colour is in units of its standard deviation in the 32 x 32 training images, and
    0 is its mean there. The class is there only if the run is conditional, in the form that D
    sees: 10 numbers at the coarsest level, and a plane at the others.
    """

    def __init__(self, run, size, classes):
        self.run, self.size, self.classes, self.pixels = run, size, classes, 3 * size * size
        self.data = run.load(load_cifar10)
        x = self.data.train.reshape(-1, *self.data.shape)
        self.mean, sd = x.mean(axis=(0, 2, 3), keepdims=True), x.std(axis=(0, 2, 3), keepdims=True)
        self.sd = np.maximum(sd, 1e-3)                                  # 0 if all images have one colour
        rows = self.rows(self.data.train, self.data.train_labels)
        run.images = self.data._replace(shape=(3, size, size), train=rows)
        run.show = self.show
        if size > SIZES[0]:
            run.prior = Conditions(self.conditions(down(self.image(rows)), self.labels(rows)), PRIOR)
        elif classes:
            run.prior = Conditions(rows[:, self.pixels:], PRIOR)

    def rows(self, x, labels):
        """The rows of the images x (n, 3072), which have pixels in [0, 1]."""
        x = (x.reshape(-1, *self.data.shape) - self.mean) / self.sd
        while x.shape[-1] > self.size:
            x = down(x)
        return np.hstack([x.reshape(len(x), -1), self.codes(labels).reshape(len(x), -1)])

    def codes(self, labels):
        """The classes in the form that D sees: empty arrays if the run is not conditional."""
        if self.size == SIZES[0]:
            return one_hot(labels, CLASSES)[:, :self.classes]
        return one_hot(labels, CLASSES, (self.size, self.size))[:, :int(self.classes > 0)]

    def image(self, rows):
        """The images (n, 3, size, size) in the rows."""
        return rows[:, :self.pixels].reshape(-1, 3, self.size, self.size)

    def labels(self, rows):
        """The classes in the rows. They are all 0 if the run is not conditional."""
        codes = rows[:, self.pixels:]
        return codes.argmax(axis=1) if self.classes else np.zeros(len(rows), int)

    def show(self, rows):
        """The pixels in [0, 1] of the rows."""
        return (self.image(rows) * self.sd + self.mean).clip(0, 1).reshape(len(rows), -1)

    def conditions(self, smaller, labels):
        """[l, class] for images of half the size: l = up(smaller)."""
        return np.concatenate([up(smaller), self.codes(labels)], axis=1)

    def sample(self, n):
        """n rows that G makes, at the coarsest level."""
        return self.run.generate(self.run.noise(n, 1))

    def refine(self, coarser, rows):
        """A row that G makes from each of the rows of the level `coarser`."""
        z = self.run.noise(len(rows), 1)
        z[:, 1:] = self.conditions(coarser.image(rows), coarser.labels(rows))
        return self.run.generate(z)


# --- Training ---------------------------------------------------------------------------------


def main(args):
    if mpi.size() > 1 and not args.level:
        raise ValueError("mpiexec can share the training of one level: add --level 8, 16 or 32; afterwards "
                         "start the program with --resume, without mpiexec")
    for folder in args.compare:
        read_networks(folder)                       # refuse a wrong folder before the training
    preset, seed = getattr(args, "preset", "quick"), getattr(args, "seed", 0)
    default = images.default_folder("lapgan", "conditional" if args.conditional else "", preset, seed)
    out = options.folder(getattr(args, "out", default), make=False)
    if not (args.level or "resume" in args):
        options.folder(out, old=FILES)
    levels, settings = [], {}
    for size in [args.level] if args.level else SIZES:
        with level_run(args, settings, size, out) as run:
            levels.append(Level(run, size, CLASSES if args.conditional else 0))
            train(run, *run.preset.networks(size, levels[-1].classes))
            if len(levels) == len(SIZES):
                finish(levels, out, args.compare)
        if run.status:
            return run.status
        settings = changed_settings(run)
    return 0


def level_run(args, settings, size, out):
    """The Run of the level of size x size pixels, in its folder of `out`.

    settings: those of the level before this one. If --resume finds no checkpoint of this level,
    the level begins with these settings.
    """
    name, command = f"{size}x{size}", "python examples/lapgan.py"
    folder, values = os.path.join(out, name), vars(args)
    if not args.level and size > SIZES[0] and not os.path.exists(os.path.join(folder, "checkpoint.npz")):
        values = {**values, **settings, "resume": False}
    if args.level:
        command += f" --level {size}"
    if args.conditional:
        name, command = f"{name}-conditional", f"{command} --conditional"
    run = Run("lapgan", PRESETS[size], argparse.Namespace(**{**values, "out": folder}), PRIOR, model=name)
    run.resume_command = images.to_resume(command, out, run.settings.iterations)
    return run


def changed_settings(run):
    """The settings of the run that are not the defaults of its preset."""
    defaults = {**images.COMMON, **run.preset.defaults(), "preset": ""}
    return {name: value for name, value in vars(run.settings).items() if value != defaults[name]}


# --- After the last level ---------------------------------------------------------------------


def finish(levels, out, compare):
    """Write the pictures and the scores of the cascade into the folder `out`."""
    if len({level.run.checksum for level in levels}) > 1:
        raise ValueError(f"{out}: the levels were trained on different images; train one of them again")
    options.folder(out)
    caption = f"{levels[-1].run.label}, Laplacian pyramid, preset {levels[-1].run.settings.preset}"
    print(f"{caption}: the samples of all levels, and their scores ...")
    samples = cascade(levels, levels[0].sample(SAMPLES))
    draw(levels, samples, out, caption)
    result = {"experiment": "lapgan-conditional" if levels[0].classes else "lapgan",
              "dataset": levels[0].run.label,
              "levels": {f"{level.size}x{level.size}": level.run.result(level.run.state) for level in levels}}
    result |= scores(levels, samples[-1], compare) if len(levels[0].data.test) else {}
    checkpoint.write(os.path.join(out, "result.json"), json.dumps(result, indent=1))
    print(f"{out}: {' '.join(sorted(FILES))}")


def cascade(levels, rows):
    """The rows of all levels that the cascade makes from rows of the coarsest level."""
    all_rows = [rows]
    for coarser, level in zip(levels, levels[1:]):
        all_rows.append(level.refine(coarser, all_rows[-1]))
    return all_rows


def draw(levels, samples, out, caption):
    """Write samples.png, levels.png and children.png."""
    last, shape = levels[-1], (3, SIZES[-1], SIZES[-1])

    def sheet(name, columns, text, marked=()):
        x = np.stack(columns, axis=1).reshape(-1, math.prod(shape))
        plots.sheet(os.path.join(out, name), x, shape, len(columns), f"{caption}: {text}", marked)

    sheet("samples.png", np.split(last.show(samples[-1][:100]), 10), "samples of the whole cascade")

    n = 8
    shown = [enlarged(level, rows[:n]) for level, rows in zip(levels, samples)]
    train = last.run.images.train
    nearest = last.show(train[xp.asnumpy(metrics.nearest(samples[-1][:n], train))])
    real = [enlarged(level, level.run.images.train[:n]) for level in levels]
    sheet("levels.png", [*shown, nearest, *real], "samples at the three levels; in yellow the training image "
          "nearest to the largest; real images at the three levels", marked=(3,))

    parents = samples[0][n:2 * n]
    children = cascade(levels, parents.repeat(9, axis=0))[-1]
    children = last.show(children).reshape(n, 9, -1)
    sheet("children.png", [enlarged(levels[0], parents), *children.swapaxes(0, 1)],
          "in yellow a sample of 8 x 8 pixels; beside it what the cascade makes of it with other noise",
          marked=(0,))


def enlarged(level, rows):
    """The pixels of the rows, each repeated so that the image has the largest size."""
    x, times = level.show(rows).reshape(-1, 3, level.size, level.size), SIZES[-1] // level.size
    return x.repeat(times, axis=2).repeat(times, axis=3).reshape(len(x), -1)


# --- Scores -----------------------------------------------------------------------------------


def scores(levels, samples, compare):
    """Entries of result.json: Parzen log-likelihoods of test images. Prints them.

    The pyramid's score follows the idea of the authors' Table 1. Their protocol is not known in
    full, so the two numbers can differ for other reasons than the samples.
    """
    ll = pyramid_log_likelihoods(levels)
    mean, sd = float(ll.mean()), float(ll.std())
    entries = {"pyramid_ll": mean, "pyramid_sd": sd, "pyramid_images": len(ll)}
    print(f"Parzen log-likelihood of the pyramids of {len(ll)} test images: {mean:.0f} +- {sd:.0f} nats "
          f"(sd over the images); published: {PUBLISHED}")
    data = levels[-1].data
    images_ = data._replace(**{name: cifar10.gcn(getattr(data, name)) for name in ("train", "valid", "test")})
    found, sentence = images.parzen_scores(images_, cifar10.gcn(levels[-1].show(samples)), SIGMAS)
    print(f"After contrast normalisation. {sentence}", end="")
    entries |= found
    for folder in compare:
        G, experiment = read_networks(folder)
        z = np.random.default_rng(0).standard_normal((SAMPLES, *G.shapes[0]), "float32")
        rows = np.concatenate([xp.asnumpy(G(xp.asarray(z[i:i + 1000]))) for i in range(0, len(z), 1000)])
        score = metrics.parzen(rows.reshape(len(rows), -1), images_.valid, images_.test, SIGMAS)
        entries[f"parzen_ll of {experiment}"] = score.ll
        print(f"  with the samples of {experiment} ({folder}): {score.ll:.0f} +- {score.se:.1f}")
    return entries


def pyramid_log_likelihoods(levels):
    """The estimate for each of the first 500 test images, (n,), in nats.

        log p(I_2) + log p(I_1 | up(I_2)) + log p(I_0 | up(I_1))

    The first term has Parzen windows around samples of the coarsest level, for all images. Each
    other term has windows around 100 samples, made from this test image's own smaller image.
    The first 200 validation images choose sigma for each term. The images of a pyramid have
    more pixels than I_0, so the sum is not a log-density of I_0.
    """
    data, coarsest = levels[0].data, levels[0]
    x = np.concatenate([data.valid[:200], data.test[:500]])
    labels = np.concatenate([data.valid_labels[:200], data.test_labels[:500]])
    n = len(data.valid[:200])
    rows = [level.rows(x, labels) for level in levels]
    centres = coarsest.sample(SAMPLES)[:, :coarsest.pixels]
    terms = [xp.asnumpy(metrics.log_likelihoods(rows[0][:, :coarsest.pixels], centres, SIGMAS))]
    for i in range(1, len(levels)):
        terms.append(given_smaller(levels[i], levels[i - 1], rows[i], rows[i - 1]))
    return sum(lls[lls[:, :n].mean(axis=1).argmax(), n:] for lls in terms)


def given_smaller(level, coarser, rows, smaller, n=100):
    """log p of each image in the rows, given the smaller image in its row of `smaller`.

    Returns (len(SIGMAS), len(rows)).
    """
    lls = []
    for x, condition in zip(rows, smaller):
        centres = level.refine(coarser, condition[None].repeat(n, axis=0))
        lls.append(metrics.log_likelihoods(x[None, :level.pixels], centres[:, :level.pixels], SIGMAS))
    return np.hstack([xp.asnumpy(ll) for ll in lls])


def read_networks(folder):
    """G of a finished run of cifar10.py, and the name of its experiment."""
    path = os.path.join(folder, "checkpoint.npz")
    about, _ = checkpoint.read(path, arrays=False)
    if about.get("experiment") not in ("cifar10-fully-connected", "cifar10-convolutional"):
        raise ValueError(f"--compare {folder}: this is not the folder of a run of cifar10.py")
    return npgan.load(path)[0], about["experiment"]


def parser(level=SIZES[0]):
    p = images.parser(__doc__, "lapgan", PRESETS[level], data=DATA)
    p.add_argument("--level", type=int, choices=SIZES, default=None,
                   help="train only the level of this many pixels in width; this text then shows its "
                        "defaults (default: all levels; this text shows the defaults of level 8)")
    p.add_argument("--conditional", action="store_true", default=False,
                   help="G and D see the class of each image, too")
    p.add_argument("--compare", nargs="+", metavar="DIR", default=[],
                   help="folders of finished runs of cifar10.py, which are scored beside this run")
    return p


if __name__ == "__main__":
    # --level is read before the other options: --help prints the defaults of this level.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--level", nargs="?")
    level = first.parse_known_args()[0].level
    options.run_program(parser(int(level)) if level in map(str, SIZES) else parser(), main)
