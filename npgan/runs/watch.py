"""Watch a training: in a window while it runs, and as a film afterwards.

A moment is what a frame shows of the networks after some iterations. Each example defines its
own moments; here they only need the attribute `iteration`. draw(fig, moments) draws the frame
of the last of these moments.
"""

import time

from npgan.runs import fit, plots


def is_shown(i, iterations, frames, first=1):
    """Whether a film of about so many frames shows iteration i: at equal distances, and at the
    powers of two from `first`, because most happens at the start.
    """
    return i % max(iterations // frames, 1) == 0 or i >= first and i & (i - 1) == 0


def run(moments, draw, title, args, status=lambda moment: ""):
    """Run a training, given as an iterator of moments, to its end.

    Returns the list of the moments and the seconds. args.live opens a window. status(moment)
    stands beside the progress bar.
    """
    window, seen, begun = plots.window(title) if args.live else None, [], time.perf_counter()
    with fit.progress_bar(0, args.iterations, args.quiet) as bar:
        for moment in moments:
            seen.append(moment)
            bar.set_postfix_str(status(moment), refresh=False)
            bar.update(moment.iteration - bar.n)
            if window:
                plots.show(window, lambda fig: draw(fig, seen))
    return seen, time.perf_counter() - begun


def film(path, draw, moments):
    """Write the film as PATH.gif and PATH.html."""
    print("The film ...")
    plots.movie(path, lambda fig, n: draw(fig, moments[:n]), range(1, len(moments) + 1))
