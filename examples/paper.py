"""The results of the 2014 paper beside those of finished runs: its Figures 2 and 3 as one page, and its Table 1.

    paper.png     Figure 2 (a) MNIST, (b) TFD, (c) CIFAR-10 fully connected, (d) CIFAR-10 convolutional: samples, and framed the training
                  example nearest to the sample beside it; Figure 3: digits along straight lines between points of z space
    paper.md      Table 1: the Parzen log-likelihoods of the test sets, published and ours, with the two anchors and the protocol
    parzen.png    the log-likelihood on MNIST against epochs, a line for each run that was scored on the way (--parzen-every)

It reads what examples/mnist.py, faces.py and cifar10.py left in their folders and trains nothing. What is missing is named on the page.
"""

import argparse
import csv
import json
import os

import numpy as np

from npgan.runs import checkpoint, options, plots

EXPERIMENTS = {     # option: panel of Figure 2, name, what result.json calls it (so begins its default folder), the command that makes it
    "mnist": ("a", "MNIST", "mnist", "examples/mnist.py --preset {}"),
    "faces": ("b", "faces", "faces", "examples/faces.py --preset {}"),
    "fully-connected": ("c", "CIFAR-10, fully connected", "cifar10-fully-connected",
                        "examples/cifar10.py --model fully-connected --preset {}"),
    "convolutional": ("d", "CIFAR-10, convolutional", "cifar10-convolutional", "examples/cifar10.py --model convolutional --preset {}"),
}
PUBLISHED = [       # Table 1 of the paper: nats, on MNIST with the standard error over test images, on TFD over folds
    ("DBN", "138 ± 2", "1909 ± 66"), ("Stacked CAE", "121 ± 1.6", "2110 ± 50"), ("Deep GSN", "214 ± 1.1", "1890 ± 29"),
    ("Adversarial nets", "225 ± 2", "2057 ± 26")]
MARGIN, SIZE = 16, 22           # of the page, in pixels; of its letters


def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--preset", choices=("quick", "paper"), default="paper", help="whose default folders are read (default paper)")
    for option, (_, name, experiment, _) in EXPERIMENTS.items():
        several = option == "mnist"
        p.add_argument(f"--{option}", metavar="DIR", nargs="+" if several else None,
                       help=f"the finished run{'s, of several seeds,' * several} on {name} (default runs/{experiment}-PRESET)")
    p.add_argument("--out", default="runs/paper", metavar="DIR", help="where the page goes (default runs/paper)")
    return p


def finished(folder, option, experiment):
    """result.json of a finished run of this experiment, and its folder; None where there is no finished run. ValueError for another's."""
    path = os.path.join(folder, "result.json")
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as f:
            result = json.load(f)
        needed = "dataset", "preset", "epochs", "seed", "batch_size", "update", *["parzen_se"] * ("parzen_ll" in result)
        result = {**{key: result[key] for key in needed}, **result, "folder": folder}
    except (ValueError, KeyError, TypeError) as e:
        raise ValueError(f"{path}: not the result of an example on images, or damaged ({e!r}); make it again with --resume") from e
    found = f"{result.get('experiment', experiment)} {result.get('stage', '')}".strip()         # a stage is not the last
    if found != experiment:
        raise ValueError(f"--{option} {folder}: this is a run of {found}, not of {experiment}")
    return result


def main(args):
    runs = {}
    for option, (_, _, experiment, command) in EXPERIMENTS.items():
        asked = getattr(args, option.replace("-", "_"))
        folders = [asked] if isinstance(asked, str) else asked or [f"runs/{experiment}-{args.preset}"]
        found = {folder: finished(folder, option, experiment) for folder in folders}
        missing = [folder for folder in folders if not found[folder]]
        if asked and missing:
            raise ValueError(f"--{option} {missing[0]}: there is no result.json, so no finished run; make one with "
                             f"python {command.format(args.preset)} --out {missing[0]}")
        runs[option] = [found[folder] for folder in folders if found[folder]]
    if not any(runs.values()):
        raise ValueError(f"no finished run of preset {args.preset} was found; make one, for example with "
                         f"python {EXPERIMENTS['mnist'][3].format(args.preset)}, or name its folder with --mnist")
    out = options.folder(args.out)
    plots.write(os.path.join(out, "paper.png"), page(runs, args.preset))
    text = table(runs["mnist"], runs["faces"])
    checkpoint.write(os.path.join(out, "paper.md"), text)
    scored = [(result, curve) for result in runs["mnist"] if len(curve := history(result["folder"]))]
    if scored:
        parzen(os.path.join(out, "parzen.png"), scored)
    print(f"{text}\n{out}: paper.png paper.md{' parzen.png' * bool(scored)}")
    return 0


# --- The page -------------------------------------------------------------------------------------------------------------------


def page(runs, preset):
    """Figure 2's panels two by two, and Figure 3 below."""
    panels = [labelled(f"Figure 2 {letter})", runs[option], "figure2.png", name, command.format(preset))
              for option, (letter, name, _, command) in EXPERIMENTS.items()]
    figure3 = labelled("Figure 3", runs["mnist"], "interpolation.png", "MNIST", EXPERIMENTS["mnist"][3].format(preset))
    return rows([panels[:2], panels[2:], [figure3]])


def labelled(label, results, file, name, command):
    """A sheet of the first of these runs below its label; or a sentence that says which command makes it."""
    from PIL import Image
    if not results:
        return plots.captioned(Image.new("RGB", (420, 60)), f"{label} {name}: no finished run; python {command}", SIZE)
    path = os.path.join(results[0]["folder"], file)
    try:
        with Image.open(path) as picture:
            return plots.captioned(picture.convert("RGB"), f"{label} {name}", SIZE)
    except OSError as e:
        raise OSError(f"{path}: the run's picture cannot be read ({e}); make it again with --resume") from e


def rows(panels):
    """Pictures in rows, each row centred."""
    from PIL import Image
    widths = [sum(p.width + MARGIN for p in row) + MARGIN for row in panels]
    heights = [max(p.height for p in row) + MARGIN for row in panels]
    whole, y = Image.new("RGB", (max(widths), sum(heights) + MARGIN)), MARGIN
    for row, width, height in zip(panels, widths, heights):
        x = (whole.width - width) // 2 + MARGIN
        for panel in row:
            whole.paste(panel, (x, y))
            x += panel.width + MARGIN
        y += height
    return whole


# --- The table ------------------------------------------------------------------------------------------------------------------


def table(mnist, faces):
    """Table 1, published and ours, then the anchors; with each run its protocol. ± of one run: over test images, of TFD over folds."""
    lines = ["| Parzen log-likelihood, nats | MNIST | TFD |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in PUBLISHED)]
    lines += [f"| **npgan** | {ours(mnist, 'MNIST')} | {ours(faces, 'TFD')} |"]
    for key, what in ("parzen_real_data", "real training images as samples"), ("parzen_kmeans", "k-means centres as samples"):
        lines += [f"| *{what}* | {mean(mnist, key)} | {mean(faces, key)} |"]
    return "\n".join([*lines, "", *map(protocol, mnist + faces), ""])


def ours(results, published):
    """Mean ± standard error: over seeds where there are several runs, else what the run says. Other data are named."""
    scored = [result for result in results if "parzen_ll" in result]
    if not scored:
        return "not run"
    ll = [result["parzen_ll"] for result in scored]
    se = np.std(ll, ddof=1) / len(ll) ** .5 if len(ll) > 1 else scored[0]["parzen_se"]
    about = [f"{len(ll)} seeds"] * (len(ll) > 1) + sorted({result["dataset"] for result in scored} - {published})
    return f"{np.mean(ll):.0f} ± {error(se)}" + f" ({', '.join(about)})" * bool(about)


def error(se):
    """Two digits of it, or more before the point."""
    return f"{se:.0f}" if se >= 10 else f"{se:.2g}"


def mean(results, key):
    values = [result[key] for result in results if key in result]
    return f"{np.mean(values):.0f}" if values else ""


def protocol(result):
    score = f", {result['parzen_ll']:.1f} ± {error(result['parzen_se'])} nats" if "parzen_ll" in result else ""
    average = f", G averaged over about {result['average']} iterations" if result.get("average") else ""
    return (f"* {result['dataset']}, preset {result['preset']}, seed {result['seed']}: {result['epochs']} epochs, "
            f"m = {result['batch_size']}, {result['update']} update{average}{score}")


# --- The curve ------------------------------------------------------------------------------------------------------------------


def history(folder):
    """(epoch, nats) of a run's scored epochs, as (n, 2)."""
    path = os.path.join(folder, "history.csv")
    try:
        with open(path, newline="", encoding="utf-8") as f:
            return np.array([(row["epoch"], row["parzen_ll"]) for row in csv.DictReader(f) if row["parzen_ll"]], float)
    except (OSError, KeyError, ValueError) as e:
        raise ValueError(f"{path}: not a run's history, or damaged ({e!r}); make it again with --resume") from e


def parzen(path, scored):
    from matplotlib.figure import Figure
    fig = Figure((7, 4.2), layout="constrained")
    axis = fig.subplots()
    for result, curve in scored:
        axis.plot(*curve.T, marker=".", label=f"{result['dataset']}, {result['preset']}, seed {result['seed']}")
    anchors = {what: mean([result for result, _ in scored], key) for key, what in
               (("parzen_real_data", "real training images"), ("parzen_kmeans", "k-means centres"))}
    for (what, value), style in zip({"published, 2014": 225, **anchors}.items(), (":", "--", "-.")):
        if value:
            axis.axhline(float(value), color="k", ls=style, lw=1, label=f"{what}: {value}")
    axis.set(xlabel="epoch", ylabel="Parzen log-likelihood of the test set (nats)")
    axis.grid(alpha=.3)
    axis.legend(fontsize=8)
    plots.save(path, fig)


if __name__ == "__main__":
    options.command(parser(), main, arrays=False)
