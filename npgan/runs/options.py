"""The options that several programs share, the folder of --out, and how a program ends.

`parser` makes the parser of an example or a benchmark. `add` adds shared options to the parser
by name. An option of a single program is in that program. `folder` makes the folder of --out
and locks it. `run_program` runs the program's main and turns its errors into exit statuses.
"""

import argparse
import contextlib
import glob
import itertools
import math
import os
import signal
import sys

import filelock
import threadpoolctl

from npgan import backend as xp
from npgan.data import escape
from npgan.divergences import OBJECTIVES
from npgan.objectives import GENERATOR_LOSSES
from npgan.runs import checkpoint, mpi

# Errors whose cause the user can remove. run_program prints only the message of such an error;
# every other error prints a traceback.
USER_ERRORS = ValueError, OSError, ImportError, FloatingPointError, MemoryError


# --- Types of arguments -----------------------------------------------------------------------


def number(kind, accepts, expected):
    """An argparse type: a finite number that `accepts` accepts.

    kind: int or float     expected: what is accepted, for the error message
    """
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if accepts(value) and value < math.inf:
            return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return parse


def integer(minimum):
    """An argparse type: an integer >= minimum."""
    return number(int, lambda n: n >= minimum, f"an integer >= {minimum}")


positive = number(float, lambda x: x > 0, "a number > 0")
non_negative = number(float, lambda x: x >= 0, "a number >= 0")


# --- Shared options ---------------------------------------------------------------------------


SHARED = {
    "--iterations": dict(type=integer(1), metavar="N",
                         help="iterations of Algorithm 1 (default %(default)s)"),
    "--objective": dict(choices=OBJECTIVES, default="gan",
                        help="the objective V: gan is that of the paper, the others are those of "
                             "divergences.py (default gan)"),
    "--generator-loss": dict(choices=GENERATOR_LOSSES, default="non-saturating",
                             help="non-saturating (default): G ascends T, for gan log D(G(z)); "
                                  "minimax: G descends -F, for gan log(1 - D(G(z)))"),
    "--gamma": dict(type=non_negative, help="weight of the R1 penalty on D; 0: none (default %(default)s)"),
    "--frames": dict(type=integer(2), metavar="N",
                     help="the approximate number of frames of the film (default %(default)s)"),
    "--live": dict(action="store_true", help="watch the training in a window"),
    "--seed": dict(type=integer(0), default=0, metavar="N", help="seed of all random numbers (default 0)"),
    "--seeds": dict(type=integer(1), metavar="N",
                    help="one training for each seed from 0 to N - 1 (default %(default)s)"),
    "--workers": dict(type=integer(1), metavar="N",
                      help="trainings that run at the same time, each in a process with one thread; 1: all "
                           "in this process (default: one for each CPU core; 1 on a GPU)"),
    "--out": dict(metavar="DIR", help="the folder for all files that are written (default %(default)s)"),
    "--resume": dict(action="store_true", help="keep the results in DIR, and continue from there"),
    "--quiet": dict(action="store_true", help="show no progress bar"),
}


def parser(description, epilog="NPGAN_BACKEND=cupy runs it on an NVIDIA GPU.", **settings):
    """A parser that keeps the line breaks of its description and takes only full option names.

    settings: further arguments of argparse.ArgumentParser
    """
    return Parser(description=description, epilog=epilog, allow_abbrev=False,
                  formatter_class=argparse.RawDescriptionHelpFormatter, **settings)


class Parser(argparse.ArgumentParser):
    """A parser that escapes the control characters of wrong arguments in its messages."""

    def error(self, message):
        super().error(escape(message, 2000))


def add(parser, *names, **changes):
    """Add the shared options of these names to the parser.

    changes: arguments of add_argument that replace those in SHARED, for each of the names

    If the parser has argument_default=argparse.SUPPRESS, an option that the user leaves out has
    no entry in the parsed arguments. The help text cannot use %(default)s then.
    """
    if parser.argument_default is argparse.SUPPRESS:
        changes["default"] = argparse.SUPPRESS
    for name in names:
        parser.add_argument(name, **(SHARED[name] | changes))


locks = []          # holds the lock of the folder that this process writes to


def folder(out, make=True, old=()):
    """Check the folder that --out names and, if `make`, make and lock it. Returns `out`.

    The lock holds until this process ends or asks for another folder.
    old: names or patterns of the files that an earlier run has left in the folder. These files
    are moved into a new folder within it. So nothing is lost, and the files of two runs are
    never mixed.
    Raises ValueError if the name is empty or another process writes there, and OSError if the
    name is that of a file or nothing can be written there.
    """
    if not out:
        raise ValueError('--out "": name a folder')
    if os.path.exists(out) and not os.path.isdir(out):
        raise FileExistsError(f"--out {out}: this is a file; name a folder")
    if make:
        if mpi.size() > 1 and not mpi.started():
            raise ValueError("this program runs in one process: start it without mpiexec")
        locks.clear()
        lock = filelock.FileLock(os.path.join(out, ".lock"), timeout=0)
        try:
            os.makedirs(out, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise ValueError(f"--out {out}: another run writes to this folder; name another one") from None
        except NotImplementedError:                 # the file system has no locks
            pass
        except OSError as e:
            raise OSError(f"--out {out}: nothing can be written there ({e.strerror or e})") from e
        locks.append(lock)
        checkpoint.remove_leftovers(out)
        set_aside(out, [path for pattern in old for path in glob.glob(pattern, root_dir=out)])
    return out


def set_aside(folder, names):
    """Move the files and folders of these names into a new folder `earlier-N` beside them.

    result.json is moved first. If the process dies after that, the remaining files do not look
    like a complete run.
    """
    if not names:
        return
    places = (os.path.join(folder, f"earlier-{i}") for i in itertools.count(1))
    place = next(place for place in places if not os.path.exists(place))
    os.mkdir(place)
    for name in sorted(names, key=lambda name: name != "result.json"):
        os.replace(os.path.join(folder, name), os.path.join(place, name))
    for moved, _, _ in os.walk(place):
        checkpoint.remove_leftovers(moved)
    print(f"There was already a run in {folder}: its files are now in {place}")


# --- Running a program ------------------------------------------------------------------------


def cuda_graphs():
    """Whether NPGAN_CUDA_GRAPH=1 is set and the backend has CUDA graphs (cuda.py)."""
    value = os.environ.get("NPGAN_CUDA_GRAPH", "0")
    if value not in ("0", "1"):
        raise ValueError(f'NPGAN_CUDA_GRAPH: "{value}" is unknown: set it to "1", or leave it out')
    return value == "1" and xp.compiles()


class SafeStream:
    """A text stream that ignores write errors, so that no printed line can end a run."""

    def __init__(self, stream):
        self.stream = stream or open(os.devnull, "w")               # None: closed before the program began
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text):
        with contextlib.suppress(OSError, ValueError):              # a full disk, or a closed pipe
            self.stream.write(text)
        return len(text)

    def flush(self):
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name):
        return getattr(self.stream, name)


@mpi.one_program()
def run_program(parser, main, arrays=True, threads=None):
    """Parse the command line and end the process with the exit status that main(args) returns.

    If main raises one of USER_ERRORS, its message goes to stderr and the status is 2. After
    Ctrl-C, a request to terminate or the end of the terminal, the status is 130.
    arrays: whether the program computes with the backend
    threads: the threads of a matrix product on a CPU; None: as many as the library chooses. A
        small product is slower in several threads, because they wait for each other
    """
    sys.stdout, sys.stderr = SafeStream(sys.stdout), SafeStream(sys.stderr)
    program = os.path.basename(sys.argv[0])
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):                # Windows has no SIGHUP
            number = getattr(signal, name, signal.SIGTERM)
            if signal.getsignal(number) not in (signal.SIG_IGN, None):      # nohup ignores SIGHUP
                signal.signal(number, signal.default_int_handler)
        args = parser.parse_args()
        if not getattr(args, "live", False):
            os.environ["MPLBACKEND"] = "agg"                        # instead of that of a notebook
        if arrays:                      # refuse a bad environment variable before anything is written
            xp.active()
            cuda_graphs()
        with threadpoolctl.threadpool_limits(threads, "blas"):
            sys.exit(main(args))
    except USER_ERRORS as e:
        message = "\n".join(escape(line, 2000) for line in str(e).split("\n"))     # it may name any path
        print(f"{program}: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: interrupted before it was complete", file=sys.stderr)
        sys.exit(130)
