"""Independent jobs, side by side in several processes.

The processes are those of concurrent.futures. This module adds a clean end: after Ctrl-C, a
request to terminate or the death of a worker, no process is left.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from concurrent import futures

from npgan import backend as xp
from npgan.runs.fit import interruptible

# Each worker computes in one thread: the libraries read these when they are loaded.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def worker_count(asked, jobs):
    """How many jobs run at once: `asked`, or one for each CPU core, or 1 on a device.

    Never more than there are jobs.
    """
    return max(1, min(len(jobs), asked or (cores() if xp.name() == "numpy" else 1)))


def cores():
    """The number of CPU cores that this process may use. If unknown, of all cores."""
    if hasattr(os, "process_cpu_count"):                    # Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):                    # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(f, jobs, workers):
    """Yield (job, f(job)) as the jobs end.

    One worker: the jobs run in this process, in their order. More workers: they run in other
    processes, so f must be a function of a module. When the generator ends, for whatever
    reason, no process is left.

    Raises what f raises, OSError if a process dies, and KeyboardInterrupt at Ctrl-C or a
    request to terminate.
    """
    if workers == 1:
        for job in jobs:
            yield job, f(job)
        return
    waiting, running = list(enumerate(jobs)), {}
    spawn, others = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    with environment_of_workers():                          # a pool has a process beside the workers
        pool = futures.ProcessPoolExecutor(workers, spawn, initializer=prepare)
    with interruptible() as stop, tempfile.TemporaryDirectory() as folder, pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    number, job = waiting.pop(0)
                    path = os.path.join(folder, str(number))
                    with environment_of_workers():
                        running[pool.submit(write_result, f, job, path)] = job, path
                done, _ = futures.wait(running, timeout=.2, return_when=futures.FIRST_COMPLETED)
                if stop:
                    raise KeyboardInterrupt
                for future in sorted(done, key=lambda future: future.exception() is not None):
                    future.result()                         # errors come last: no result is lost
                    job, path = running.pop(future)
                    with open(path, "rb") as file:
                        result = pickle.load(file)
                    yield job, result
        except futures.BrokenExecutor as e:
            jobs = ", ".join(str(job) for job, _ in running.values())
            raise OSError(f"a worker process died; these jobs were running and are lost: {jobs}") from e
        finally:
            if running:
                for process in set(multiprocessing.active_children()) - set(others):
                    process.terminate()


def write_result(f, job, path):
    """In a worker: write f(job) to a file.

    The file replaces the pool's pipe. If a worker dies while it sends a result through the
    pipe, the pool waits for the rest for ever.
    """
    with open(path, "wb") as file:
        pickle.dump(f(job), file)


@contextlib.contextmanager
def environment_of_workers():
    """Workers that start in this context compute in one thread. Ctrl-C and the end of the
    terminal do not reach them.

    A terminal sends both signals to all its processes. `prepare` alone would come too late: a
    worker imports the program first.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    if hasattr(signal, "pthread_sigmask"):                  # not on Windows
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def prepare():
    """In a worker, before its first job: ignore Ctrl-C, and end when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent():
    """Wait for the end of the parent process, then end this one at once."""
    multiprocessing.parent_process().join()
    os._exit(1)
