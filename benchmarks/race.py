"""What the races share: options, pinned threads, the clock, turns A B A B, medians and quartiles, and the machine they were run on."""

import contextlib
import importlib
import json
import platform
import statistics
import sys
import time
import tracemalloc

from npgan import backend as xp
from npgan.runs import options

SETTLE = 100            # ms at the beginning of each turn that do not count: the threads of another library spin on for a while


def parser(doc, rounds=20):
    p = options.parser(doc)
    p.add_argument("--threads", type=options.integer(1), default=2, metavar="N", help="of every library (default 2)")
    p.add_argument("--rounds", type=options.integer(2), default=rounds, metavar="N",
                   help=f"turns of each racer that count{f' (default {rounds})' * bool(rounds)}; one more warms up")
    p.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return p


def need(name):
    """A module of the extra "bench"."""
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise ImportError(f'{e}; install the extra "bench"') from e


@contextlib.contextmanager
def pinned(threads):
    """Within it every library imported so far has so many threads. Yields the counts, as the libraries themselves state them."""
    pools, torch = need("threadpoolctl"), sys.modules.get("torch")
    before = torch and torch.get_num_threads()
    try:
        if torch:
            torch.set_num_threads(threads)
        with pools.threadpool_limits(threads):
            counts = {f"{pool['internal_api']} {pool['version'] or ''}".strip(): pool["num_threads"] for pool in pools.threadpool_info()}
            yield counts | ({"torch": torch.get_num_threads()} if torch else {})
    finally:
        if torch:
            torch.set_num_threads(before)


def clock():
    """A function of a call: the milliseconds that it takes. On a GPU between two events on the device, launches included."""
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
    """{name: [ms, ...]} of {name: function}, in turns A B A B. A turn is the calls that fill SETTLE, and then as many that count."""
    milliseconds, times = clock(), {name: [] for name in racers}
    for i in range(rounds + 1):
        for name, call in racers.items():
            settling = []
            while sum(settling) < SETTLE:
                settling.append(milliseconds(call))
            counted = [milliseconds(call) for _ in settling]
            times[name] += counted * (i > 0)
    return times


def summary(times):
    """{"ours_ms": the median, "ours_quartiles": [low, high], ...}"""
    result = {}
    for name, t in times.items():
        low, median, high = (round(q, 4) for q in statistics.quantiles(t, n=4))
        result |= {f"{name}_ms": median, f"{name}_quartiles": [low, high]}
    return result


def rows(result, names):
    """The lines of a table: median and quartiles of each racer."""
    for name in names:
        low, high = result[f"{name}_quartiles"]
        yield f"{name:22}{result[f'{name}_ms']:11.3f} ms   {low:11.3f} to {high:.3f}"


def workspace(call):
    """MiB of array memory that a call takes at its peak, beside what there was before."""
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
    """The processor, the GPU if it is the backend, and the versions of the libraries that were imported."""
    parts = [platform.machine(), cpu()]
    if xp.name() == "cupy":
        parts.append(xp.active().cuda.runtime.getDeviceProperties(0)["name"].decode())
    return ", ".join(parts + [f"{name} {sys.modules[name].__version__}" for name in ("numpy", "cupy", "torch", "sklearn")
                              if name in sys.modules])


def cpu():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.platform()


def show(args, result, lines):
    """The result as JSON, or machine, threads and the lines."""
    print(json.dumps(result) if args.json else "\n".join([result["machine"], f"threads {result['threads']}", *lines]))
