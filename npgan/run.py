"""What a run needs around the algorithm: epochs, progress, statistics, Ctrl-C. The players and their mathematics are in gan.py."""

import argparse
import contextlib
import dataclasses
import math
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
import time

import numpy as np

from npgan import backend as xp
from npgan.data import minibatches
from npgan.gan import UPDATES, Record, skip
from npgan.objectives import GENERATOR_LOSSES, OBJECTIVES

STATISTICS = Record._fields[1:]
EXPECTED = ValueError, OSError, ImportError, FloatingPointError, MemoryError     # one sentence says what to do; others: a traceback


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

    with interruptible() as stop, tqdm(
            total=last, initial=done, unit="it", disable=quiet, dynamic_ncols=True, file=sys.stderr, mininterval=.5) as bar:
        while done < last and not state.interrupted:
            epoch = state.epoch + 1
            rng, examples = xp.default_rng(seed, epoch), minibatches(x, p.m, seed, epoch)
            skip(p, examples, prior, rng, state.iteration, k, update)
            pending, clock = [], time.perf_counter()
            begun, left = done, min(per_epoch - state.iteration, last - done)
            bar.set_description(f"epoch {epoch}/{epochs}")
            for record in silently(UPDATES[update](p, examples, prior, sgd_d, sgd_g, rng, left, k)):
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


def number(kind, least, above=False):
    """An argparse type: a finite number of this kind, >= least, or > least."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (least < value < math.inf if above else least <= value < math.inf):
            what = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} {'>' if above else '>='} {least}")
        return value
    return parse


def game(parser, **defaults):
    """The options of every example that say which game is played."""
    parser.add_argument("--objective", choices=OBJECTIVES, help="the divergence, or other objective, of the game (default gan)",
                        **{"default": "gan"} | defaults)
    parser.add_argument("--generator-loss", choices=GENERATOR_LOSSES, help="G ascends T, with gan log D(G(z)) (non-saturating, default), "
                        "or descends -F, with gan log(1 - D(G(z))) (minimax)", **{"default": "non-saturating"} | defaults)


def usual(parser, out):
    """The options that almost every example has, --out with its default."""
    parser.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="seed of all random numbers (default 0)")
    parser.add_argument("--out", default=out, metavar="DIR", help=f"where everything goes (default {out})")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def folder(out, make=True):
    """The folder of --out, made. ValueError without a name, FileExistsError if it is a file."""
    if not out:
        raise ValueError('--out "": name a folder')
    if os.path.exists(out) and not os.path.isdir(out):
        raise FileExistsError(f"--out {out}: this is a file; name a folder")
    if make:
        os.makedirs(out, exist_ok=True)
    return out


def workers(asked, jobs):
    """How many jobs run at once: as many as asked for, else one for each CPU core, or 1 on a device; never more than there are."""
    return max(1, min(len(jobs), asked or ((os.cpu_count() or 1) if xp.name() == "numpy" else 1)))


def each(f, jobs, workers):
    """Yields (job, f(job)) as they are done: in this process, or each in a process of its own, where f must be a module's own.

    A process that dies is an OSError. Ctrl-C is a KeyboardInterrupt between two results. However this ends, no process is left.
    (The pools of the standard library can wait for ever for the rest of a result whose sender has been ended.)
    """
    if workers == 1:
        for job in jobs:
            yield job, f(job)
        return
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP")})       # read by the new processes
    processes, waiting, running = multiprocessing.get_context("spawn"), list(jobs), {}
    with interruptible() as stop:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    job, (receiver, sender) = waiting.pop(0), processes.Pipe(duplex=False)
                    process = processes.Process(target=report, args=(sender, f, job), daemon=True)
                    with deaf():
                        process.start()
                    sender.close()
                    running[receiver] = process, job
                for receiver in multiprocessing.connection.wait(running, timeout=.2):
                    if stop:                                            # which may have ended the process, too
                        break
                    process, job = running.pop(receiver)
                    yield job, outcome(receiver, process, job)
                if stop:
                    raise KeyboardInterrupt
        finally:
            for process, _ in running.values():
                process.terminate()
                process.join()


@contextlib.contextmanager
def deaf():
    """What is started here never sees Ctrl-C, which a terminal sends to all of its processes."""
    if hasattr(signal, "pthread_sigmask"):                              # not on Windows
        multiprocessing.resource_tracker.ensure_running()               # its start, with that of the first process, would undo this
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    else:
        yield


def report(sender, f, job):
    """In a process of its own: sends f(job), or the error that the user can mend; any other ends it with a traceback."""
    try:
        outcome = f(job), None
    except EXPECTED as e:
        outcome = None, e
    sender.send(outcome)


def outcome(receiver, process, job):
    """What its process reports of a job."""
    with receiver:
        try:
            result, error = receiver.recv()
        except (EOFError, OSError) as e:                                # before a result, and within it
            process.join()
            raise OSError(f"the process of {job} died (exit code {process.exitcode}) before it was done") from e
    process.join()
    if error:
        raise error
    return result


def command(parser, main, arrays=True):
    """A program's end: exit with what main(options) returns; with one sentence and 2 for what the user can mend, 130 at Ctrl-C.

    Without `arrays` it computes with none, and needs no backend.
    """
    options = vars(parser.parse_args())
    try:
        if arrays:
            xp.active()                                                 # refused, if at all, before anything is made
        sys.exit(main(options))
    except EXPECTED as e:
        print(f"{os.path.basename(sys.argv[0])}: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{os.path.basename(sys.argv[0])}: interrupted before its end", file=sys.stderr)
        sys.exit(130)
