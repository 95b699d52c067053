"""Time the log-likelihoods of the Parzen estimate: npgan, its floor, and scikit-learn.

npgan computes the log-likelihoods of 10,000 test images of 784 pixels under 10,000 samples, for
the ten sigmas of its grid. The floor is the time of the matrix product of these shapes alone.
scikit-learn's KernelDensity computes them for one sigma. It is slow, so it takes only a few
images, and the time is scaled up. Images and samples are rendered digits.

Needs the extra `bench`. NPGAN_BACKEND=cupy runs npgan and the product on the GPU; scikit-learn
stays on the CPU.
"""

import numpy as np
import race

from npgan import backend as xp
from npgan import metrics
from npgan.data import glyphs
from npgan.runs import options


def floor(x, centres):
    """A function that computes x s^T in float32, where s are the centres, as npgan's chunks."""
    chunk = max(1, metrics.CHUNK // sum(centres.shape))
    out = xp.empty((min(chunk, len(x)), len(centres)), "float32")

    def product():
        for i in range(0, len(x), chunk):
            rows = x[i:i + chunk]
            xp.matmul(rows, centres.T, out=out[:len(rows)])
    return product


def parser():
    p = race.parser(__doc__, 3)
    p.add_argument("--n", type=options.integer(2), default=10_000, metavar="N",
                   help="number of images, and of samples (default 10000)")
    p.add_argument("--scikit", type=options.integer(1), default=200, metavar="N",
                   help="test images for scikit-learn (default 200)")
    return p


def main(args):
    neighbors, n = race.need("sklearn.neighbors"), args.n
    images = glyphs.load(n=7 * n)
    x, centres = xp.asarray(images.test), xp.asarray(images.train[:n])
    few, sigma = images.test[:args.scikit], metrics.SIGMAS[2]
    # One leaf holds all centres: a deeper tree is slower here, and its bounds underflow.
    tree = neighbors.KernelDensity(bandwidth=sigma, leaf_size=n).fit(images.train[:n])

    def ours():
        return metrics.log_likelihoods(x, centres, metrics.SIGMAS)

    def sklearn():
        return tree.score_samples(few)

    difference = float(np.abs(xp.asnumpy(ours())[2, :len(few)] - sklearn()).max())
    race.check_agreement("the log-likelihoods (nats) of npgan and scikit-learn", difference, .05)
    racers = {"ours": ours, "floor": floor(x, centres), "sklearn": sklearn}
    with race.pinned(args.threads) as threads:
        times = race.race(racers, args.rounds)
    times["sklearn"] = [t * len(x) / len(few) for t in times["sklearn"]]
    result = {"n": n, "sklearn_rows": len(few), **race.summary(times), "difference": difference,
              "workspace_MiB": race.workspace(ours), "threads": threads, "machine": race.machine()}
    result["ratio_sklearn"] = result["sklearn_ms"] / result["ours_ms"]
    result["ratio_floor"] = result["ours_ms"] / result["floor_ms"]
    race.show(args, result, [
        f"{n} x {n} x {x.shape[1]}; npgan for {len(metrics.SIGMAS)} sigmas; scikit-learn for one, timed on "
        f"{len(few)} rows and scaled to {n}; they agree to {difference:.1e} nats; median and quartiles of "
        f"{args.rounds} rounds", *race.rows(result, racers),
        f"scikit-learn / ours {result['ratio_sklearn']:.1f}   ours / floor {result['ratio_floor']:.2f}   "
        f"memory beside the input arrays, at the peak: {result['workspace_MiB']:.0f} MiB"])
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
