"""Watch a training: in a window while it runs, and as a film afterwards.

A moment is an object with what one frame of the film shows: the networks' state after some
iterations. Each example defines its own class of moments. This module needs only their
attribute `iteration`. The function draw(fig, moments) of an example draws the frame of the last
moment in the list, and may use the earlier moments, for example for curves.
"""

import time

from npgan.runs import fit, plots


def is_shown(i, iterations, frames, first=1):
    """Whether a film of about `frames` frames shows iteration i.

    A film shows iterations at equal distances. It also shows the powers of two from `first` on,
    because the networks change most at the start.
    """
    return i % max(iterations // frames, 1) == 0 or i >= first and i & (i - 1) == 0


def run(moments, draw, title, args, status=lambda moment: ""):
    """Run a training, given as an iterator of moments, to its end.

    If args.live, a window shows each moment. status(moment) is the text beside the progress
    bar. Returns the list of the moments, and the seconds that the training took.
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
    """Write the film of the moments as PATH.gif and PATH.html."""
    print("Drawing the film ...")
    plots.movie(path, lambda fig, n: draw(fig, moments[:n]), range(1, len(moments) + 1))
