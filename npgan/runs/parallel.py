"""Run independent jobs at the same time, in several processes.

concurrent.futures makes the processes. This module ends all of them after Ctrl-C, after a
request to terminate (SIGTERM), and after the death of one of them.
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

# Each worker computes in one thread: the BLAS libraries read these variables when they load.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def worker_count(asked, jobs):
    """How many of the jobs run at the same time. asked: the number from the user, or None.

    If None: one for each CPU core, or 1 on a GPU. Never more than there are jobs.
    """
    return max(1, min(len(jobs), asked or (cores() if xp.name() == "numpy" else 1)))


def cores():
    """The number of CPU cores that this process may use, or if unknown, of all cores."""
    if hasattr(os, "process_cpu_count"):                    # Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):                    # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(f, jobs, workers):
    """Yield (job, f(job)) for each job, in the order in which the jobs are done.

    With one worker, the jobs run in this process, in the order of the list. With more, they run
    in other processes, so f must be a function of a module, not a lambda. When this Python
    generator ends, even with an error, all these processes end too.

    Raises the errors of f, OSError if a process dies, and KeyboardInterrupt after Ctrl-C or a
    request to terminate.
    """
    if workers == 1:
        for job in jobs:
            yield job, f(job)
        return
    waiting, running = list(enumerate(jobs)), {}
    spawn, older = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    with environment_of_workers():                          # may start a helper process
        pool = futures.ProcessPoolExecutor(workers, spawn, initializer=prepare)
    with interruptible() as signals, tempfile.TemporaryDirectory() as folder, pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    number, job = waiting.pop(0)
                    path = os.path.join(folder, str(number))
                    with environment_of_workers():
                        running[pool.submit(write_result, f, job, path)] = job, path
                done, _ = futures.wait(running, timeout=.2, return_when=futures.FIRST_COMPLETED)
                if signals:
                    raise KeyboardInterrupt
                for future in sorted(done, key=lambda future: future.exception() is not None):
                    future.result()                         # raises f's error; all results come first
                    job, path = running.pop(future)
                    with open(path, "rb") as file:
                        result = pickle.load(file)
                    yield job, result
        except futures.BrokenExecutor as e:
            jobs = ", ".join(str(job) for job, _ in running.values())
            raise OSError(f"a worker process died; these jobs were running and are lost: {jobs}") from e
        finally:
            if running:
                for process in set(multiprocessing.active_children()) - set(older):
                    process.terminate()


def write_result(f, job, path):
    """In a worker: compute f(job) and write it to a file.

    A result does not go through the pool's pipe. If a worker died while it sent the result, the
    pool would wait for the rest of the result without end.
    """
    with open(path, "wb") as file:
        pickle.dump(f(job), file)


@contextlib.contextmanager
def environment_of_workers():
    """A context in which to start workers: with one thread, and without terminal signals.

    A terminal sends Ctrl-C and its end to all its processes. Only the parent handles them: a
    worker inherits the signal mask, which blocks both. `prepare` cannot do this, because a
    worker imports the program before it calls `prepare`.
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
    """In a worker, before its first job: ignore Ctrl-C, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent():
    """In a worker: wait until the parent process ends, then end this process at once."""
    multiprocessing.parent_process().join()
    os._exit(1)
