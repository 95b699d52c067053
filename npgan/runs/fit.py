"""What a run needs around the algorithm: epochs, progress, statistics, Ctrl-C. The players and their mathematics are in gan.py."""

import contextlib
import dataclasses
import math
import signal
import sys
import threading
import time

import numpy as np

from npgan import backend as xp
from npgan import cuda
from npgan.data import minibatches
from npgan.gan import Record, sample_noise, train, train_simultaneous
from npgan.optim import steps
from npgan.runs.options import cuda_graphs

STATISTICS = Record._fields[1:]
UPDATES = {"algorithm1": train, "simultaneous": train_simultaneous}


@dataclasses.dataclass
class State:
    """Where a run stands: what a checkpoint needs beside the players and their optimizers. `history` has one row per epoch."""

    epoch: int = 0                   # complete epochs
    iteration: int = 0               # complete iterations of the epoch that has begun
    sums: list = dataclasses.field(default_factory=lambda: [0.] * len(STATISTICS))      # of its statistics
    seconds: float = 0.              # spent on iterations
    history: list = dataclasses.field(default_factory=list)
    interrupted: bool = False

    @classmethod
    def of(cls, path, kept):
        """The state in a checkpoint, by its dictionary there. ValueError naming the file if it is none."""
        try:
            state = cls(**kept)
            if min(state.epoch, state.iteration, state.seconds) >= 0 and len(state.sums) == len(STATISTICS) \
                    and [row["epoch"] for row in state.history] == list(range(1, state.epoch + 1)):
                return state
        except (TypeError, KeyError):
            pass
        raise ValueError(f"{path}: not a checkpoint of a run, or a damaged one: it does not say where the run stood")

    def row(self, per_epoch):
        """The mean statistics of the epoch that has begun, over the iterations done, as a row of the history."""
        return {"epoch": self.epoch + 1, "iterations": self.epoch * per_epoch + self.iteration, "seconds": self.seconds,
                **{name: total / self.iteration for name, total in zip(STATISTICS, self.sums)}}


def fit(p, x, prior, sgd_d, sgd_g, state, *, seed, epochs, iterations=None, k=1, update="algorithm1", quiet=False):
    """Train until `epochs` epochs or `iterations` iterations are done in all; x is the training set, on the device.

    Yields the state (one object, changed in place) at the end of every epoch, and where the run ends within one: at the last
    iteration, or at Ctrl-C, which sets state.interrupted, or after the last iteration raises KeyboardInterrupt. The epoch's random
    streams are functions of (seed, epoch): a run that goes on from a saved state gets the same bits as one that was never interrupted.
    FloatingPointError naming iteration and player if a value is not finite.
    """
    from tqdm import tqdm
    per_epoch = len(x) // (p.m * k)
    if not per_epoch:
        raise ValueError(f"{len(x)} training examples do not make one epoch of k = {k} minibatches of m = {p.m}: lower one of them")
    last = min(epochs * per_epoch, math.inf if iterations is None else iterations)
    done = state.epoch * per_epoch + state.iteration
    update_by = (cuda.recorded_updates() if cuda_graphs() else UPDATES)[update]

    with interruptible() as stop, tqdm(
            total=last, initial=done, unit="it", disable=quiet, dynamic_ncols=True, file=sys.stderr, mininterval=.5) as bar:
        while done < last and not state.interrupted:
            epoch = state.epoch + 1
            rng, examples = xp.default_rng(seed, epoch), minibatches(x, p.m, seed, epoch)
            skip(p, examples, prior, rng, state.iteration, k, update)
            pending, clock = [], time.perf_counter()
            begun, left = done, min(per_epoch - state.iteration, last - done)
            bar.set_description(f"epoch {epoch}/{epochs}")
            for record in silently(update_by(p, examples, prior, sgd_d, sgd_g, rng, left, k)):
                done += 1
                pending.append(record)
                now = time.perf_counter()
                if now - clock > .5 or done == begun + left or stop:     # reading waits for the device: not every iteration
                    values = read(pending, begun, f"epoch {epoch}")
                    state.iteration += len(pending)
                    for row in values.tolist():                          # one by one: the same sums however they were read
                        state.sums = [a + b for a, b in zip(state.sums, row)]
                    state.seconds += time.perf_counter() - clock
                    bar.set_postfix_str("V {:.3f}, D(x) {:.3f}, D(G(z)) {:.3f}".format(*values[-1, :3]), refresh=False)
                    bar.update(len(pending))
                    pending, clock = [], time.perf_counter()
                    if stop and done < last:
                        state.interrupted = True
                        break
            for player, net in (("discriminator", p.D), ("generator", p.G)):
                if not xp.isfinite(net.theta).all():
                    raise FloatingPointError(f"iteration {done} (epoch {epoch}): the {player}'s parameters are not finite")
            if state.iteration == per_epoch:
                state.history.append(state.row(per_epoch))
                state.epoch, state.iteration, state.sums = epoch, 0, [0.] * len(STATISTICS)
            yield state
        if stop and not state.interrupted:
            raise KeyboardInterrupt                                      # it came too late for that, but not for what would follow


def skip(p, examples, prior, rng, iterations, k=1, update="algorithm1"):
    """Draw and drop what an update draws in so many iterations, so a resumed epoch continues its random streams."""
    for i in range(iterations):
        for _ in range(steps(k, i)):
            sample_noise(p, prior, rng)
            next(examples)
            p.draw_masks_d(rng)
        if update == "algorithm1":
            sample_noise(p, prior, rng)
            p.draw_masks_g(rng)


def silently(records):
    """The same records, made without NumPy's warnings: `read` reports what is not finite, as it must on a GPU, which is silent."""
    while True:
        with np.errstate(all="ignore"):
            record = next(records, None)
        if record is None:
            return
        yield record


def read(records, begun, where):
    """The statistics of the records, brought to the host as (n, 5). FloatingPointError at the first that is not finite, and `where`."""
    values = xp.asnumpy(xp.stack([xp.stack(record[1:]) for record in records])).astype(float)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        i = bad[0, 0]
        wrong = {STATISTICS[column] for row, column in bad if row == i}
        culprit = "generator's output" if "D_Gz" in wrong and "D_x" not in wrong else "discriminator's output" if "D_x" in wrong else \
            "objective V, an exponential of the discriminator's output," if "V" in wrong else \
            "discriminator's gradient" if "norm_d" in wrong else "generator's gradient"
        raise FloatingPointError(f"iteration {begun + records[i].iteration + 1} ({where}): the {culprit} is not finite")
    return values


@contextlib.contextmanager
def interruptible():
    """A list that is no longer empty once Ctrl-C or a request to terminate has come: an iteration is never torn. A second one raises."""
    stop = []
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number, frame):
        if stop:
            raise KeyboardInterrupt
        stop.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
