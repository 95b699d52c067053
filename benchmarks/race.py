"""What the benchmarks share: options, pinned threads, a clock, the race and its report.

A race calls two or more functions in turns, A B A B, in one process. So a slow minute of the
machine slows all of them.
"""

import contextlib
import importlib
import json
import platform
import statistics
import sys
import time
import tracemalloc

import threadpoolctl

from npgan import backend as xp
from npgan.runs import options

# So many milliseconds at the beginning of each turn do not count. The threads of the other
# library still wait in a loop for a while, which takes time from the cores.
SETTLE = 100


def parser(doc, rounds=None):
    """A parser with the options of every benchmark. rounds: the default of --rounds."""
    p = options.parser(doc, epilog=None)
    p.add_argument("--threads", type=options.integer(1), default=2, metavar="N",
                   help="threads of every library (default 2)")
    p.add_argument("--rounds", type=options.integer(2), default=rounds, metavar="N",
                   help="turns of each function that count, after one that does not "
                        f"(default {rounds or 'by preset'})")
    p.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return p


def need(name):
    """Import a module of the extra "bench"."""
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise ImportError(f'{e}; install the extra "bench"') from e


@contextlib.contextmanager
def pinned(threads):
    """A context in which every library that was imported has `threads` threads.

    Yields {library: its number of threads, as the library reports it}. A library is named with
    its version and the processor for which its kernels were written, if it says so.
    """
    torch = sys.modules.get("torch")
    before = torch and torch.get_num_threads()
    try:
        if torch:
            torch.set_num_threads(threads)
        with threadpoolctl.threadpool_limits(threads):
            counts = {" ".join(filter(None, map(pool.get, ("internal_api", "version", "architecture")))):
                      pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
            if torch:
                counts["torch"] = torch.get_num_threads()
            yield counts
    finally:
        if torch:
            torch.set_num_threads(before)


def clock():
    """A function that calls its argument and returns the milliseconds, on a GPU by events."""
    def wall(call):
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)

    def events(call):
        start.record()
        call()
        end.record()
        end.synchronize()
        return cuda.get_elapsed_time(start, end)

    if xp.name() != "cupy":
        return wall
    cuda = xp.active().cuda
    start, end = cuda.Event(), cuda.Event()
    return events


def race(racers, rounds):
    """{name: [ms of each call that counts]} for racers {name: function}.

    In its turn a function is first called for SETTLE ms, then as many times again. Only these
    later calls count, and none of round 0.
    """
    milliseconds, times = clock(), {name: [] for name in racers}
    for i in range(rounds + 1):
        for name, call in racers.items():
            settling = []
            while sum(settling) < SETTLE:
                settling.append(milliseconds(call))
            timed = [milliseconds(call) for _ in settling]
            if i > 0:
                times[name] += timed
    return times


def summary(times):
    """{"ours_ms": median, "ours_quartiles": [lower, upper], ...} from what `race` returns."""
    result = {}
    for name, t in times.items():
        lower, median, upper = (round(q, 4) for q in statistics.quantiles(t, n=4))
        result |= {f"{name}_ms": median, f"{name}_quartiles": [lower, upper]}
    return result


def rows(result, names):
    """The lines of a table: median and quartiles of each function that took part."""
    for name in names:
        lower, upper = result[f"{name}_quartiles"]
        yield f"{name:22}{result[f'{name}_ms']:11.3f} ms   {lower:11.3f} to {upper:.3f}"


def check_agreement(what, difference, tolerance):
    """Raise ValueError if npgan and the library beside it do not compute the same numbers."""
    if not difference < tolerance:
        raise ValueError(f"{what} differ by {difference:.1e}, so a race would mean nothing")


def workspace(call):
    """MiB of the arrays that a call allocates, at the peak."""
    if xp.name() == "cupy":
        pool = xp.active().get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.total_bytes()
        call()
        return (pool.total_bytes() - before) / 2 ** 20
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 2 ** 20
    finally:
        tracemalloc.stop()


def machine():
    """The processor, the GPU if it is the backend, and versions of the imported libraries."""
    parts = [platform.machine(), processor()]
    if xp.name() == "cupy":
        parts.append(xp.active().cuda.runtime.getDeviceProperties(0)["name"].decode())
    for name in ("numpy", "cupy", "torch", "sklearn"):
        if name in sys.modules:
            parts.append(f"{name} {sys.modules[name].__version__}")
    return ", ".join(parts)


def processor():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.platform()


def show(args, result, lines):
    """Print the result as JSON if --json, otherwise the machine, the threads and the lines."""
    if args.json:
        print(json.dumps(result))
    else:
        print(result["machine"], f"threads {result['threads']}", *lines, sep="\n")
