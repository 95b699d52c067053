"""Independent jobs, each in a process of its own."""

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal

from npgan import backend as xp
from npgan.runs.fit import interruptible
from npgan.runs.options import USER_ERRORS


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
    except USER_ERRORS as e:
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
