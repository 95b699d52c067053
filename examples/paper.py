"""Show the results of finished runs as the 2014 paper shows its own.

The program reads the folders of examples/mnist.py, faces.py and cifar10.py. It trains nothing.
It writes

    paper.png     Figure 2 (a) MNIST, (b) TFD, (c) CIFAR-10 fully connected, (d) CIFAR-10
                  convolutional: samples, and in frames the training examples nearest to the
                  samples beside them. Figure 3: digits along straight lines in z space
    paper.md      Table 1: the Parzen log-likelihoods of the test sets, published and measured,
                  with two anchors (npgan/metrics.py) and the settings of each run
    parzen.png    the log-likelihood on MNIST against epochs, one line for each run that was
                  scored while it trained (--parzen-every)

If a run is missing, paper.png shows the command that makes it.
"""

if __name__ == "__main__":      # Ctrl-C during the imports: a sentence instead of a traceback
    import ctrl_c  # noqa: F401

import csv
import glob
import os
import shlex
from typing import NamedTuple

import numpy as np

from npgan.data import escape
from npgan.runs import checkpoint, options, plots


class Experiment(NamedTuple):
    panel: str          # of Figure 2
    name: str
    key: str            # in result.json, and at the start of the default folder
    command: str        # makes the run; {} stands for the preset


EXPERIMENTS = {         # by the option that names the run's folder
    "mnist": Experiment("a", "MNIST", "mnist", "examples/mnist.py --preset {}"),
    "faces": Experiment("b", "faces", "faces", "examples/faces.py --preset {}"),
    "fully-connected": Experiment("c", "CIFAR-10, fully connected", "cifar10-fully-connected",
                                  "examples/cifar10.py --model fully-connected --preset {}"),
    "convolutional": Experiment("d", "CIFAR-10, convolutional", "cifar10-convolutional",
                                "examples/cifar10.py --model convolutional --preset {}"),
}
# Table 1 of the paper, nats. ± is the standard error over test images (MNIST) or folds (TFD).
PUBLISHED = [("DBN", "138 ± 2", "1909 ± 66"), ("Stacked CAE", "121 ± 1.6", "2110 ± 50"),
             ("Deep GSN", "214 ± 1.1", "1890 ± 29"), ("Adversarial nets", "225 ± 2", "2057 ± 26")]
ANCHORS = {"parzen_real_data": "real training images", "parzen_kmeans": "k-means centres"}
MARGIN, FONT_SIZE = 16, 22      # of paper.png, in pixels
SIDE = 4096                     # the most pixels of a run's picture in a row or column
AGAIN = "; make it again with --resume"


def parser():
    p = options.parser(__doc__, epilog=None)
    p.add_argument("--preset", choices=("quick", "paper"), default="paper",
                   help="read the default folders of this preset (default paper)")
    for option, experiment in EXPERIMENTS.items():
        several = option == "mnist"
        runs = "the finished runs, one for each seed," if several else "the finished run"
        p.add_argument(f"--{option}", metavar="DIR", nargs="+" if several else None,
                       help=f"{runs} on {experiment.name} (default runs/{experiment.key}-PRESET-seed*)")
    options.add(p, "--out", default="runs/paper")
    return p


def main(args):
    runs = {option: finished_runs(option, getattr(args, option.replace("-", "_")), args.preset)
            for option in EXPERIMENTS}
    if not any(runs.values()):
        raise ValueError(f"no finished run of preset {args.preset} was found; make one, for example with "
                         f"python {command('mnist', args.preset)}, or name its folder with --mnist")
    out = options.folder(args.out)
    plots.write(os.path.join(out, "paper.png"), page(runs, args.preset))
    text = table(runs["mnist"], runs["faces"])
    checkpoint.write(os.path.join(out, "paper.md"), text)
    written = ["paper.png", "paper.md"]
    scored = [result for result in runs["mnist"] if len(result["scored"])]
    if scored:
        parzen(os.path.join(out, "parzen.png"), scored)
        written.append("parzen.png")
    print(f"{text}\n{out}: {' '.join(written)}")
    return 0


def command(option, preset):
    return EXPERIMENTS[option].command.format(preset)


# --- The finished runs -----------------------------------------------------------------------


def finished_runs(option, asked, preset):
    """The results in the folders `asked`. If that is None: of MNIST, in the default folders of
    all seeds; of the others, in the first of them.
    """
    folders = [asked] if isinstance(asked, str) else asked
    if not folders:
        folders = sorted(glob.glob(f"runs/{EXPERIMENTS[option].key}-{preset}-seed*"))
        folders = folders if option == "mnist" else folders[:1]
    results = {folder: finished_run(folder, option) for folder in folders}
    for folder in folders:
        if asked and not results[folder]:
            raise ValueError(f"--{option} {folder}: there is no result.json, so the run is not finished; "
                             f"make one with python {command(option, preset)} --out {shlex.quote(folder)}")
    return [results[folder] for folder in folders if results[folder]]


RESULT = {**dict.fromkeys(("experiment", "stage", "dataset", "preset", "update"), checkpoint.short_text),
          **dict.fromkeys(("epochs", "iterations", "batch_size", "average"), checkpoint.count),
          "seed": checkpoint.natural, "seconds": checkpoint.number}
SCORES = dict.fromkeys(("parzen_ll", "parzen_se", *ANCHORS), checkpoint.number)


def finished_run(folder, option):
    """The folder's result.json with two more entries, `folder` and `scored`, the scored epochs.
    None if there is no result.json.

    Raises ValueError if a file is damaged, or of another run or experiment.
    """
    path = os.path.join(folder, "result.json")
    if not os.path.exists(path):
        return None
    with checkpoint.reading(path, "the result of an example on images", AGAIN):
        result = checkpoint.read_json(path)
        checkpoint.check(result, RESULT | (SCORES if "parzen_ll" in result else {}))
    result = {key: escape(value) if type(value) is str else value for key, value in result.items()}
    expected = EXPERIMENTS[option].key
    # A stage is named only in the results of the first stage of faces.py.
    found = f"{result['experiment']} {result['stage']}".strip()
    if found != expected:
        raise ValueError(f"--{option} {folder}: this is a run of {found}, not of {expected}")
    return {**result, "folder": folder, "scored": scored_epochs(folder, result)}


def scored_epochs(folder, result):
    """(epoch, nats) of each scored epoch in the folder's history.csv, as an array (n, 2).

    Raises ValueError if the history is not that of the result. No two runs take the same
    seconds.
    """
    path = os.path.join(folder, "history.csv")
    with checkpoint.reading(path, "the history of the run of result.json", AGAIN):
        with open(path, newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        moments = {(row["iterations"], row["seconds"]) for row in rows}
        if (str(result["iterations"]), str(result["seconds"])) not in moments:
            raise ValueError(f"it has no row of {result['iterations']} iterations in {result['seconds']} s")
        scored = np.array([(row["epoch"], row["parzen_ll"]) for row in rows if row["parzen_ll"]], float)
        if not np.isfinite(scored).all():
            raise ValueError("a score is not finite")
        return scored


# --- The page --------------------------------------------------------------------------------


def page(runs, preset):
    """The page paper.png: the panels of Figure 2 two by two, and Figure 3 below them."""
    a, b, c, d = (panel(f"Figure 2 {experiment.panel})", option, runs, "figure2.png", preset)
                  for option, experiment in EXPERIMENTS.items())
    return in_rows([[a, b], [c, d], [panel("Figure 3", "mnist", runs, "interpolation.png", preset)]])


def panel(label, option, runs, file, preset):
    """The picture `file` of the first run, or how to make a run, below a label."""
    from PIL import Image
    name = EXPERIMENTS[option].name
    if not runs[option]:
        missing = f"{label} {name}: no finished run; python {command(option, preset)}"
        return plots.captioned(Image.new("RGB", (420, 60)), missing, FONT_SIZE)
    path = os.path.join(runs[option][0]["folder"], file)
    with checkpoint.reading(path, "the run's picture", AGAIN), Image.open(path) as picture:
        if max(picture.size) > SIDE:
            raise ValueError(f"it has {picture.width} x {picture.height} pixels")
        picture = picture.convert("RGB")
    return plots.captioned(picture, f"{label} {name}", FONT_SIZE)


def in_rows(rows):
    """One picture made of rows of pictures, each row in the centre."""
    from PIL import Image
    widths = [sum(p.width + MARGIN for p in row) + MARGIN for row in rows]
    heights = [max(p.height for p in row) + MARGIN for row in rows]
    sheet, y = Image.new("RGB", (max(widths), sum(heights) + MARGIN)), MARGIN
    for row, width, height in zip(rows, widths, heights):
        x = (sheet.width - width) // 2 + MARGIN
        for picture in row:
            sheet.paste(picture, (x, y))
            x += picture.width + MARGIN
        y += height
    return sheet


# --- The table -------------------------------------------------------------------------------


def table(mnist, faces):
    """Table 1 in Markdown, published and measured, with the anchors and each run's settings."""
    rows = [*PUBLISHED, ("**npgan**", score(mnist, "MNIST"), score(faces, "TFD"))]
    rows += [(f"*{what} as samples*", mean(mnist, key), mean(faces, key)) for key, what in ANCHORS.items()]
    return "\n".join(["| Parzen log-likelihood, nats | MNIST | TFD |", "|---|---|---|",
                      *(f"| {' | '.join(row)} |" for row in rows), "", *map(settings, mnist + faces), ""])


def score(results, published):
    """A cell of our row: mean ± standard error over the runs, or the score of a single run.

    published: the data set of the paper's column. If a run had other data, the cell names them.
    """
    scored = [result for result in results if "parzen_ll" in result]
    if not scored:
        return "not run"
    ll = [result["parzen_ll"] for result in scored]
    notes = sorted({result["dataset"] for result in scored} - {published})
    if len(ll) > 1:
        se = np.std(ll, ddof=1) / len(ll) ** .5
        notes.insert(0, f"{len(ll)} seeds")
    else:
        se = scored[0]["parzen_se"]
    text = f"{np.mean(ll):.0f} ± {two_digits(se)}"
    return f"{text} ({', '.join(notes)})" if notes else text


def two_digits(se):
    """A standard error with two digits, or with all digits before the point."""
    return f"{se:.0f}" if se >= 10 else f"{se:.2g}"


def mean(results, key):
    values = [result[key] for result in results if key in result]
    return f"{np.mean(values):.0f}" if values else ""


def settings(result):
    """One line of Markdown: a run's settings and its score."""
    text = (f"* {result['dataset']}, preset {result['preset']}, seed {result['seed']}: "
            f"{result['epochs']} epochs, m = {result['batch_size']}, {result['update']} update")
    if result["average"]:
        text += f", G averaged over about {result['average']} iterations"
    if "parzen_ll" in result:
        text += f", {result['parzen_ll']:.1f} ± {two_digits(result['parzen_se'])} nats"
    return text


# --- The curve -------------------------------------------------------------------------------


def parzen(path, results):
    """Draw nats against epochs, one line for each run."""
    from matplotlib.figure import Figure
    fig = Figure((7, 4.2), layout="constrained")
    axis = fig.subplots()
    for result in results:
        label = plots.plain(f"{result['dataset']}, {result['preset']}, seed {result['seed']}")
        axis.plot(*result["scored"].T, marker=".", label=label)
    levels = {"published, 2014": "225"}
    levels |= {what: mean(results, key) for key, what in ANCHORS.items()}
    for (what, nats), style in zip(levels.items(), (":", "--", "-.")):
        if nats:
            axis.axhline(float(nats), color="k", ls=style, lw=1, label=f"{what}: {nats}")
    axis.set(xlabel="epoch", ylabel="Parzen log-likelihood of the test set (nats)")
    axis.grid(alpha=.3)
    axis.legend(fontsize=8)
    plots.save(path, fig)


if __name__ == "__main__":
    options.run_program(parser(), main, arrays=False)
