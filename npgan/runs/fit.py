"""The loop around Algorithm 1: epochs, progress, mean statistics, Ctrl-C, and resuming.

Read gan.py first. `fit` calls its `train` or `train_simultaneous` once an epoch, and reads the
Records that these yield. It computes no gradient and writes no file. After each epoch its
caller has a turn: images.py writes a checkpoint and pictures then.
"""

import contextlib
import dataclasses
import itertools
import signal
import sys
import threading
import time

import numpy as np
from tqdm.auto import tqdm

from npgan import backend as xp
from npgan import cuda
from npgan.data import minibatches
from npgan.gan import Record, sample_noise, train, train_simultaneous
from npgan.optim import steps
from npgan.runs import checkpoint
from npgan.runs.options import cuda_graphs

STATISTICS = Record._fields[1:]
UPDATES = {"algorithm1": train, "simultaneous": train_simultaneous}         # the values of --update


@dataclasses.dataclass
class State:
    """Where a run stands. A checkpoint keeps this beside the players and their optimizers."""

    epoch: int = 0                   # complete epochs
    iteration: int = 0               # complete iterations of the epoch that has begun
    sums: list = dataclasses.field(default_factory=lambda: [0.] * len(STATISTICS))  # over these iterations
    seconds: float = 0.              # spent on iterations
    history: list = dataclasses.field(default_factory=list)                         # one row per epoch
    interrupted: bool = False

    @classmethod
    def of(cls, path, saved):
        """The state from its dictionary in a checkpoint. Raises ValueError, naming the file, if
        the dictionary is not a state.
        """
        with checkpoint.reading(path, "a checkpoint of a run"):
            checkpoint.check(saved, STATE)
            state = cls(**saved)
            epochs = [row["epoch"] for row in state.history]
            if len(state.sums) != len(STATISTICS) or epochs != list(range(1, state.epoch + 1)):
                raise ValueError("it does not say where the run stood")
            return state

    def saved(self):
        """The dictionary for a checkpoint."""
        return {**vars(self), "interrupted": False}

    def iterations(self, per_epoch):
        """Complete iterations in all."""
        return self.epoch * per_epoch + self.iteration

    def add(self, values, seconds):
        """Count n iterations with the statistics `values` (n, 5). The sums do not depend on how
        the iterations are grouped.
        """
        for row in values.tolist():
            self.sums = [total + value for total, value in zip(self.sums, row)]
        self.iteration += len(values)
        self.seconds += seconds

    def row(self, per_epoch):
        """The epoch that has begun as a row of the history: means over its iterations."""
        means = {name: total / self.iteration for name, total in zip(STATISTICS, self.sums)}
        return {"epoch": self.epoch + 1, "iterations": self.iterations(per_epoch),
                "seconds": self.seconds, **means}

    def end_epoch(self, per_epoch):
        self.history.append(self.row(per_epoch))
        self.epoch, self.iteration, self.sums = self.epoch + 1, 0, [0.] * len(STATISTICS)


# What `State.of` accepts in a checkpoint.
ROW = {"epoch": checkpoint.count, "iterations": checkpoint.count,
       **dict.fromkeys(("seconds", *STATISTICS), checkpoint.number)}


def is_row(x):
    """Whether x is a row of a history. It may have the score of its epoch."""
    score = {"parzen_ll": lambda x: type(x) is float} if "parzen_ll" in x else {}
    checkpoint.check(x, ROW | score)
    return x.keys() == (ROW | score).keys()


STATE = {"epoch": checkpoint.count, "iteration": checkpoint.count, "seconds": checkpoint.number,
         "sums": checkpoint.list_of(checkpoint.number), "history": checkpoint.list_of(is_row),
         "interrupted": checkpoint.flag}


def fit(players, x, prior, sgd_d, sgd_g, state, *, seed, epochs, iterations=None, k=1, update="algorithm1",
        quiet=False):
    """Train until `epochs` epochs or `iterations` iterations are complete, counted from the
    beginning of the run. x: the training set, on the device.

    Yields the state, always the same object, at the end of each epoch. If training stops within
    an epoch, because of `iterations` or Ctrl-C, it yields the state there too. Ctrl-C sets
    state.interrupted. In the last iteration, it raises KeyboardInterrupt after the last yield
    instead. Between the yields no signal handler is set. Another call with the same state goes
    on.

    k: D's steps in each iteration; a number, or a function of the iteration of the run. For a
    function an epoch has as many iterations as for k = 1, and shows each example several times.

    The random streams of an epoch are functions of (seed, epoch). So a run that goes on from a
    saved state ends in the same bits as a run that never stopped.
    Raises FloatingPointError, naming iteration and player, if a value is not finite.
    """
    per_epoch = iterations_per_epoch(len(x), players.m, k)
    done, last = state.iterations(per_epoch), epochs * per_epoch
    if iterations is not None:
        last = min(last, iterations)
    algorithm = (cuda.recorded_updates() if cuda_graphs() else UPDATES)[update]
    state.interrupted = False                                   # an earlier call may have set it

    with progress_bar(done, last, quiet) as bar:
        while done < last and not state.interrupted:
            epoch, begun, left = state.epoch + 1, done, min(per_epoch - state.iteration, last - done)
            bar.set_description(f"epoch {epoch}/{epochs}")
            rng, examples = xp.default_rng(seed, epoch), passes(x, players.m, seed, epoch)
            k_all, k_left = counted_from(done - state.iteration, k), counted_from(done, k)
            skip(players, examples, prior, rng, state.iteration, k_all, update)
            records = algorithm(players, examples, prior, sgd_d, sgd_g, rng, left, k_left)      # gan.train
            with interruptible() as signals:
                clock = time.perf_counter()
                for group in in_groups(silently(records), signals):
                    values = read(group, begun, f"epoch {epoch}")
                    state.add(values, time.perf_counter() - clock)
                    done += len(group)
                    V, D_x, D_Gz, *_ = values[-1]
                    bar.set_postfix_str(f"V {V:.3f}, D(x) {D_x:.3f}, D(G(z)) {D_Gz:.3f}", refresh=False)
                    bar.update(len(group))
                    clock = time.perf_counter()
                    if signals and done < last:
                        state.interrupted = True
                        break
                check_parameters(players, f"iteration {done} (epoch {epoch})")
                if state.iteration == per_epoch:
                    state.end_epoch(per_epoch)
            yield state
            if signals and not state.interrupted:
                # Ctrl-C arrived in the last iteration. Training is complete, but the caller
                # must not start anything else.
                raise KeyboardInterrupt


def iterations_per_epoch(n, m, k):
    """An epoch shows n examples in minibatches of m, k of them in each iteration; of a schedule
    k it has as many iterations as for k = 1. Raises ValueError if the examples are too few.
    """
    k = 1 if callable(k) else k
    if n < m * k:
        raise ValueError(f"{n} training examples do not make one epoch of k = {k} minibatches of m = {m}: "
                         "lower m or k")
    return n // (m * k)


def passes(x, m, seed, epoch):
    """Minibatches without end: first those of the epoch, then more, for a schedule k."""
    for n in itertools.count():
        yield from minibatches(x, m, (seed, n) if n else seed, epoch)


def counted_from(begun, k):
    """The schedule k as a function of the iterations after `begun`. A number stays a number."""
    return (lambda i: k(begun + i)) if callable(k) else k


def progress_bar(done, last, quiet, unit="it"):
    return tqdm(total=last, initial=done, unit=unit, disable=quiet or not sys.stderr, file=sys.stderr,
                dynamic_ncols=True, mininterval=.5)


def skip(players, examples, prior, rng, iterations, k=1, update="algorithm1"):
    """Draw what so many iterations draw, and drop it. So a resumed epoch continues its random
    streams.
    """
    for i in range(iterations):
        for _ in range(steps(k, i)):
            sample_noise(players, prior, rng)
            next(examples)
            players.draw_masks_d(rng)
        if update == "algorithm1":
            sample_noise(players, prior, rng)
            players.draw_masks_g(rng)


def silently(records):
    """The same records, computed without NumPy's warnings, which a GPU does not give either:
    `read` reports what is not finite.
    """
    while True:
        with np.errstate(all="ignore"):
            record = next(records, None)
        if record is None:
            return
        yield record


def in_groups(records, signals, seconds=.5):
    """Lists of records: one list every half second, and one at once after a signal. Reading a
    record waits for the GPU, so `fit` does not read in every iteration.
    """
    group, begun = [], time.perf_counter()
    for record in records:
        group.append(record)
        if signals or time.perf_counter() - begun > seconds:
            yield group
            group, begun = [], time.perf_counter()
    if group:
        yield group


# In the order of computation: the first statistic that is not finite names the culprit.
CULPRITS = {"D_x": "discriminator's output", "D_Gz": "generator's output",
            "V": "objective V, an exponential of the discriminator's output,",
            "norm_d": "discriminator's gradient", "norm_g": "generator's gradient"}


def read(records, begun, where):
    """The statistics of the records as a host array (n, 5). `begun`: iterations before them.

    Raises FloatingPointError, naming the first iteration that is not finite, and `where`.
    """
    values = xp.asnumpy(xp.stack([xp.stack(record[1:]) for record in records])).astype(float)
    for record, finite in zip(records, np.isfinite(values)):
        if not finite.all():
            wrong = [name for name, good in zip(STATISTICS, finite) if not good]
            culprit = next(CULPRITS[name] for name in CULPRITS if name in wrong)
            raise FloatingPointError(f"iteration {begun + record.iteration + 1} ({where}): the {culprit} "
                                     "is not finite")
    return values


def check_parameters(players, where):
    """Raises FloatingPointError, naming the player, if a parameter is not finite."""
    for player, net in (("discriminator", players.D), ("generator", players.G)):
        if not xp.isfinite(net.theta).all():
            raise FloatingPointError(f"{where}: the {player}'s parameters are not finite")


@contextlib.contextmanager
def interruptible():
    """A list that receives the first Ctrl-C, request to terminate, or end of the terminal: the
    caller can stop after a complete iteration. A second Ctrl-C raises KeyboardInterrupt.

    A signal that the process ignores stays ignored. A handler that Python cannot restore stays.
    """
    signals = []
    if threading.current_thread() is not threading.main_thread():       # other threads set no handlers
        yield signals
        return

    hangup = getattr(signal, "SIGHUP", None)                            # not on Windows

    def handle(number, frame):
        if signals and number != hangup:        # a terminal that closes may send this signal twice
            raise KeyboardInterrupt
        signals.append(number)

    before = {}
    for number in filter(None, (signal.SIGINT, signal.SIGTERM, hangup)):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handle)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
