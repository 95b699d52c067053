"""Jobs in several processes: the results, and a clean end whatever happens."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from npgan.runs import parallel

DIED = "a worker process died; these jobs were running and are lost: "


def square(n):
    if n == 3:
        os._exit(9)
    if n == 5:
        raise ValueError("five")
    return n * n


class Deadly:
    """Pickling this object kills the process."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)


def half_a_result(job):
    """A worker dies after the first 50 MB of a deadly job's result."""
    return [bytes(50_000_000), Deadly()] if job == "deadly" else job


def environment(job):
    return {name: os.environ.get(name) for name in parallel.ENVIRONMENT}


def test_jobs_in_processes_give_what_they_give_in_this_one_and_what_goes_wrong_there_is_said_here():
    jobs, results = [0, 1, 2, 4], [(0, 0), (1, 1), (2, 4), (4, 16)]
    assert sorted(parallel.each(square, jobs, 2)) == list(parallel.each(square, jobs, 1)) == results
    with pytest.raises(ValueError, match="five"):
        list(parallel.each(square, [1, 5, 2], 2))
    with pytest.raises(OSError, match=rf"^{DIED}.*\b3\b"):
        list(parallel.each(square, [1, 3, 2], 2))
    with pytest.raises(OSError, match=rf"^{DIED}.*\b3$"):
        list(parallel.each(square, [1, 3], 2))              # the last job
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_within_a_large_result_is_one_error_and_not_an_endless_wait():
    begun = time.monotonic()
    with pytest.raises(OSError, match=f"^{DIED}.*deadly"):
        list(parallel.each(half_a_result, ["deadly", "a", "b"], 2))
    assert not multiprocessing.active_children() and time.monotonic() - begun < 30


def test_no_process_is_left_where_the_results_are_not_all_wanted():
    results = parallel.each(time.sleep, [0, 60, 60], 2)
    assert next(results) == (0, None)
    begun = time.monotonic()
    results.close()
    assert not multiprocessing.active_children() and time.monotonic() - begun < 30


def test_a_worker_has_one_thread_and_the_environment_of_this_process_stays(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    results = [result for _, result in parallel.each(environment, [1, 2], 2)]
    assert results == [parallel.ENVIRONMENT] * 2 and set(parallel.ENVIRONMENT.values()) == {"1"}
    assert dict(os.environ) == before


def test_workers_are_as_many_as_the_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 7}, raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 4, raising=False)
    assert parallel.worker_count(None, range(100)) == 4
    monkeypatch.delattr(os, "process_cpu_count")
    assert parallel.worker_count(None, range(100)) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert parallel.worker_count(None, range(100)) == 64
    assert parallel.worker_count(None, range(2)) == 2 and parallel.worker_count(5, range(100)) == 5
    assert parallel.worker_count(None, []) == 1


def test_on_a_device_one_job_runs_at_a_time(device):
    assert parallel.worker_count(None, range(100)) == 1 and parallel.worker_count(3, range(100)) == 3


def program(tmp_path, text, **options):
    """Run this text as a program, in a fresh interpreter and a process group of its own."""
    path = tmp_path / "program.py"
    path.write_text("import os, pathlib, signal, threading, time\nfrom npgan.runs import parallel\n" + text)
    return subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, start_new_session=True, **options)


def test_ctrl_c_reaches_no_process_of_the_jobs_not_even_while_the_first_one_begins(tmp_path):
    """A worker imports the program before all else, and SIGINT is blocked already then."""
    done = program(tmp_path, """
blocked_at_the_start = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])

def blocked(job):
    return blocked_at_the_start and signal.getsignal(signal.SIGINT) is signal.SIG_IGN

if __name__ == "__main__":
    print([result for _, result in parallel.each(blocked, [1, 2, 3], 2)], blocked(0))
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
""")
    out, err = done.communicate(timeout=50)
    assert out == "[True, True, True] False\nset()\n", err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_and_a_request_to_terminate_are_an_interrupt_at_any_time(tmp_path, number, whole_group):
    """First while the workers start, then while they work."""
    send = "os.killpg, (0, " if whole_group else "os.kill, (os.getpid(), "
    run = program(tmp_path, f"""
if __name__ == "__main__":
    for seconds in .1, 1:
        threading.Timer(seconds, {send}{int(number)})).start()
        try:
            list(parallel.each(time.sleep, [60, 60], 2))
        except KeyboardInterrupt:
            print("interrupted")
""")
    out, err = run.communicate(timeout=50)
    assert (out, err) == ("interrupted\n" * 2, "")
    assert_nothing_is_left(run.pid)


def test_workers_whose_parent_is_gone_end(tmp_path):
    run = program(tmp_path, """
def work(job):
    pathlib.Path(f"begun-{job}").touch()
    time.sleep(60)

if __name__ == "__main__":
    list(parallel.each(work, [0, 1], 2))
""", cwd=tmp_path)
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("begun-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(.01)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)                             # the pipes close when the last worker ends
    assert_nothing_is_left(run.pid)


def assert_nothing_is_left(group):
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(group, 0)
            time.sleep(.1)
