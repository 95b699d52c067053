"""The loop around Algorithm 1: epochs, progress, mean statistics, Ctrl-C, and resuming.

Read gan.py first. `fit` calls `train` or `train_simultaneous` of gan.py once an epoch, and
reads the Records that they yield. `fit` computes no gradient and writes no file. It yields
after each epoch. Then its caller can write a checkpoint and pictures (images.py).
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
from npgan.runs import checkpoint, mpi
from npgan.runs.options import cuda_graphs

STATISTICS = Record._fields[1:]
UPDATES = {"algorithm1": train, "simultaneous": train_simultaneous}         # the values of --update


@dataclasses.dataclass
class State:
    """The progress of a run. A checkpoint has it beside the players and their optimizers."""

    epoch: int = 0                   # complete epochs
    iteration: int = 0               # complete iterations of the current epoch
    sums: list = dataclasses.field(default_factory=lambda: [0.] * len(STATISTICS))  # of the statistics
    seconds: float = 0.              # of training, in all
    history: list = dataclasses.field(default_factory=list)                         # a row per complete epoch
    interrupted: bool = False

    @classmethod
    def of(cls, path, saved):
        """The state from its dictionary `saved` in the checkpoint at this path.

        Raises ValueError, naming the file, if the dictionary is not a state.
        """
        with checkpoint.reading(path, "a checkpoint of a run"):
            checkpoint.check(saved, STATE)
            state = cls(**saved)
            epochs = [row["epoch"] for row in state.history]
            if len(state.sums) != len(STATISTICS) or epochs != list(range(1, state.epoch + 1)):
                raise ValueError("its epochs or its sums are incomplete")
            return state

    def saved(self):
        """The dictionary for a checkpoint: all fields, with interrupted = False."""
        return {**vars(self), "interrupted": False}

    def iterations(self, per_epoch):
        """Complete iterations of the run. per_epoch: the iterations in an epoch."""
        return self.epoch * per_epoch + self.iteration

    def add(self, values, seconds):
        """Count n more iterations, which took `seconds`. values (n, 5): their statistics.

        The rows are added one by one, so the bits of the sums do not depend on n.
        """
        for row in values.tolist():
            self.sums = [total + value for total, value in zip(self.sums, row)]
        self.iteration += len(values)
        self.seconds += seconds

    def row(self, per_epoch):
        """The current epoch as a row of the history: means over its iterations so far."""
        means = {name: total / self.iteration for name, total in zip(STATISTICS, self.sums)}
        return {"epoch": self.epoch + 1, "iterations": self.iterations(per_epoch),
                "seconds": self.seconds, **means}

    def end_epoch(self, per_epoch):
        self.history.append(self.row(per_epoch))
        self.epoch, self.iteration, self.sums = self.epoch + 1, 0, [0.] * len(STATISTICS)


# What `State.of` accepts in a checkpoint: a check for each entry of a row, and of the state.
ROW = {"epoch": checkpoint.count, "iterations": checkpoint.count,
       **dict.fromkeys(("seconds", *STATISTICS), checkpoint.number)}


def is_row(x):
    """Whether x is a row of a history, with or without the score `parzen_ll`."""
    score = {"parzen_ll": lambda x: type(x) is float} if "parzen_ll" in x else {}
    checkpoint.check(x, ROW | score)
    return x.keys() == (ROW | score).keys()


STATE = {"epoch": checkpoint.count, "iteration": checkpoint.count, "seconds": checkpoint.number,
         "sums": checkpoint.list_of(checkpoint.number), "history": checkpoint.list_of(is_row),
         "interrupted": checkpoint.flag}


def fit(players, x, prior, sgd_d, sgd_g, state, *, seed, epochs, iterations=None, k=1, update="algorithm1",
        quiet=False):
    """Train to the end of epoch `epochs`, or of iteration `iterations` if that comes first.

    Both numbers count from the beginning of the run, not of this call. So another call with the
    same state continues the training. x: the training set, on the device.

    Yields the state, always the same object, at the end of each epoch. If training stops within
    an epoch, because of `iterations` or Ctrl-C, `fit` yields the state there too. Ctrl-C sets
    state.interrupted. But if Ctrl-C arrives in the last iteration, `fit` raises
    KeyboardInterrupt after the last yield instead. While the caller handles a yielded state,
    `fit` has no signal handler set.

    k: D's steps in each iteration; a number, or a function of the iteration of the run. If k is
    a function, an epoch has as many iterations as with k = 1. The epoch
    then shows the examples more than once.

    The random streams of an epoch depend only on (seed, epoch). So a run that continues from a
    saved state ends in the same bits as a run that never stopped.

    Under MPI (mpi.py) players.m and x are this rank's parts, and every rank calls `fit`. All
    ranks stop at the same iteration. Raises OSError if their parameters differ.
    Raises FloatingPointError, naming the iteration and the quantity, if a value is not finite.
    """
    per_epoch = iterations_per_epoch(len(x), players.m, k)
    done, last = state.iterations(per_epoch), epochs * per_epoch
    if iterations is not None:
        last = min(last, iterations)
    algorithm = (cuda.recorded_updates() if cuda_graphs() else UPDATES)[update]
    sgd_d, sgd_g = mpi.Averaged(sgd_d), mpi.Averaged(sgd_g)
    state.interrupted = False                                   # an earlier call may have set it
    mpi.check_equal(f"before iteration {done + 1}", players, seed, players.m, per_epoch, done, last)

    with progress_bar(done, last, quiet or mpi.rank() > 0) as bar:
        while done < last and not state.interrupted:
            epoch, begun, left = state.epoch + 1, done, min(per_epoch - state.iteration, last - done)
            bar.set_description(f"epoch {epoch}/{epochs}")
            rng = xp.default_rng(seed, epoch, mpi.rank()) if mpi.size() > 1 else xp.default_rng(seed, epoch)
            examples = passes(x, players.m, mpi.stream(seed), epoch)
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
                    if mpi.any_rank(signals) and done < last:
                        state.interrupted = True
                        break
                check_parameters(players, f"iteration {done} (epoch {epoch})")
                mpi.check_equal(f"iteration {done} (epoch {epoch})", players)
                if state.iteration == per_epoch:
                    state.end_epoch(per_epoch)
            yield state
            if mpi.any_rank(signals) and not state.interrupted:
                # Ctrl-C arrived in the last iteration. Training is complete, but the caller
                # must not start anything else.
                raise KeyboardInterrupt


def iterations_per_epoch(n, m, k):
    """The number of iterations in an epoch of n examples, n / (m k), rounded down.

    Each iteration takes k minibatches of m examples. A schedule k counts as 1. Raises
    ValueError if the result is 0.
    """
    k = 1 if callable(k) else k
    if n < m * k:
        raise ValueError(f"{n} training examples do not make one epoch of k = {k} minibatches of m = {m}: "
                         "lower m or k")
    return n // (m * k)


def passes(x, m, seed, epoch):
    """Yield minibatches without end: pass after pass over x, each in a new order.

    If k is a schedule, an epoch can need more than one pass.
    """
    for n in itertools.count():
        yield from minibatches(x, m, (seed, n) if n else seed, epoch)


def counted_from(begun, k):
    """The schedule i -> k(begun + i). If k is a number, the same number."""
    return (lambda i: k(begun + i)) if callable(k) else k


def progress_bar(done, last, quiet, unit="it"):
    return tqdm(total=last, initial=done, unit=unit, disable=quiet or not sys.stderr, file=sys.stderr,
                dynamic_ncols=True, mininterval=.5)


def skip(players, examples, prior, rng, iterations, k=1, update="algorithm1"):
    """Draw the random numbers and the examples of so many iterations, without training.

    The later iterations of a resumed epoch then draw the same as if the run had never stopped.
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
    """Yield the same records, but compute them without NumPy's floating-point warnings.

    A GPU gives no such warnings. `read` reports the values that are not finite.
    """
    while True:
        with np.errstate(all="ignore"):
            record = next(records, None)
        if record is None:
            return
        yield record


def in_groups(records, signals, seconds=.5):
    """Yield the records in lists: a list each half second, and one at once after a signal.

    Reading a record waits for the GPU, so `fit` reads many records at a time. Under MPI all
    ranks yield at the same iterations.
    """
    group, begun = [], time.perf_counter()
    for record in records:
        group.append(record)
        if mpi.any_rank(signals or time.perf_counter() - begun > seconds):
            yield group
            group, begun = [], time.perf_counter()
    if group:
        yield group


# In the order in which an iteration computes them. Of the statistics that are not finite, only
# the first is reported: the others may follow from it.
QUANTITIES = {"D_x": "discriminator's output", "D_Gz": "generator's output",
              "V": "objective V, an exponential of the discriminator's output,",
              "norm_d": "discriminator's gradient", "norm_g": "generator's gradient"}


def read(records, begun, where):
    """The statistics of n records as an array (n, 5) on the host.

    Under MPI: their means over the ranks.
    begun: the run's iterations before record.iteration = 0     where: the epoch, for the error
    Raises FloatingPointError, naming the first iteration with a value that is not finite.
    """
    values = xp.asnumpy(xp.stack([xp.stack(record[1:]) for record in records])).astype(float)
    mpi.mean(values)
    for record, finite in zip(records, np.isfinite(values)):
        if not finite.all():
            wrong = [name for name, good in zip(STATISTICS, finite) if not good]
            quantity = next(QUANTITIES[name] for name in QUANTITIES if name in wrong)
            raise FloatingPointError(f"iteration {begun + record.iteration + 1} ({where}): the {quantity} "
                                     "is not finite")
    return values


def check_parameters(players, where):
    """Raise FloatingPointError, naming the player, if one of its parameters is not finite."""
    for player, net in (("discriminator", players.D), ("generator", players.G)):
        if not xp.isfinite(net.theta).all():
            raise FloatingPointError(f"{where}: the {player}'s parameters are not finite")


@contextlib.contextmanager
def interruptible():
    """A context in which the first Ctrl-C only appends its signal number to a list.

    The context gives the list, so its user can complete an iteration and then stop. A request
    to terminate (SIGTERM) and the end of the terminal (SIGHUP) count as Ctrl-C, and under MPI
    SIGUSR1. A second signal raises KeyboardInterrupt, unless it is SIGHUP. A signal that the
    process ignores stays ignored. A handler that was not set from Python stays, because Python
    could not restore it.
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
    user_signal = mpi.USER_SIGNAL if mpi.size() > 1 else None
    for number in filter(None, (signal.SIGINT, signal.SIGTERM, hangup, user_signal)):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handle)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
