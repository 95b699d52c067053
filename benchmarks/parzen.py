"""Time the Parzen log-likelihoods of the paper's protocol: 10,000 test images under 10,000 samples of 784 pixels, for the ten sigmas of
its grid, beside the matrix product of the same shape alone (the floor), and beside scikit-learn's KernelDensity at one sigma.

The images are the rendered digits. scikit-learn takes so long that it judges a few of them only, and its time is scaled up: of each row
alike. Needs the extra `bench`; NPGAN_BACKEND=cupy runs npgan and the product on the GPU, scikit-learn stays on the CPU.
"""

import numpy as np
import race

from npgan import backend as xp
from npgan import metrics
from npgan.data import glyphs
from npgan.runs import options


def floor(x, centres):
    """The product x s^T in float32, chunk after chunk of as many rows as npgan takes, into one buffer."""
    chunk = max(1, metrics.CHUNK // sum(centres.shape))
    out = xp.empty((min(chunk, len(x)), len(centres)), "float32")

    def product():
        for i in range(0, len(x), chunk):
            rows = x[i:i + chunk]
            xp.matmul(rows, centres.T, out=out[:len(rows)])
    return product


def parser():
    p = race.parser(__doc__, 3)
    p.add_argument("--n", type=options.integer(2), default=10_000, metavar="N", help="images, and samples (default 10000)")
    p.add_argument("--scikit", type=options.integer(1), default=200, metavar="N", help="images that scikit-learn judges (default 200)")
    return p


def main(args):
    neighbors, n = race.need("sklearn.neighbors"), args.n
    images = glyphs.load(n=7 * n)
    x, centres = xp.asarray(images.test), xp.asarray(images.train[:n])
    few, sigma = images.test[:args.scikit], metrics.SIGMAS[2]
    tree = neighbors.KernelDensity(bandwidth=sigma, leaf_size=n).fit(images.train[:n])      # a deeper tree is slower here, and underflows
    ours = lambda: metrics.log_likelihoods(x, centres, metrics.SIGMAS)          # noqa: E731
    difference = float(np.abs(xp.asnumpy(ours())[2, :len(few)] - tree.score_samples(few)).max())
    if not difference < .05:
        raise ValueError(f"the log-likelihoods of npgan and scikit-learn differ by {difference:.1e} nats: this would be no race")
    racers = {"ours": ours, "floor": floor(x, centres), "sklearn": lambda: tree.score_samples(few)}
    with race.pinned(args.threads) as threads:
        times = race.race(racers, args.rounds)
    times["sklearn"] = [t * len(x) / len(few) for t in times["sklearn"]]
    result = {"n": n, "sklearn_rows": len(few), **race.summary(times), "difference": difference, "workspace_MiB": race.workspace(ours),
              "threads": threads, "machine": race.machine()}
    result |= {"ratio_sklearn": result["sklearn_ms"] / result["ours_ms"], "ratio_floor": result["ours_ms"] / result["floor_ms"]}
    race.show(args, result, [
        f"{n} x {n} x {x.shape[1]}, ours for {len(metrics.SIGMAS)} sigmas; scikit-learn for one, timed on {len(few)} rows and scaled to "
        f"{n}; they agree to {difference:.1e} nats; median and quartiles of {args.rounds} turns", *race.rows(result, racers),
        f"scikit-learn / ours {result['ratio_sklearn']:.1f}   ours / floor {result['ratio_floor']:.2f}   "
        f"peak memory beside the arrays given {result['workspace_MiB']:.0f} MiB"])
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
