"""Data-parallel training: real ranks under mpiexec, and what a process without mpiexec sees."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import programs
import pytest

from npgan.divergences import OBJECTIVES
from npgan.runs import checkpoint, mpi, options

MPIEXEC = shutil.which("mpiexec", path=f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
MISSING = ("mpi4py is not installed" if not importlib.util.find_spec("mpi4py") else
           "there is no mpiexec" if not MPIEXEC else None)
needs_mpi = pytest.mark.skipif(bool(MISSING), reason=f'{MISSING}: install the extra "mpi"')
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",    # of Open MPI
               "OMPI_MCA_mpi_yield_when_idle": "1",         # a waiting rank gives its core to others
               "OPENBLAS_NUM_THREADS": "1"}


def command(ranks, *args):
    return [MPIEXEC, "--oversubscribe", "-n", str(ranks), sys.executable, *map(str, args)]


def run(ranks, *args):
    """Run a Python program under mpiexec. Returns its status, and what it said."""
    done = subprocess.run(command(ranks, *args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **ENVIRONMENT}, timeout=60)
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with 300 random images of 4 x 4 pixels, 250 of them for training."""
    folder = tmp_path_factory.mktemp("digits")
    for kind, n in (("train", 300), ("t10k", 60)):
        header = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (n, 4, 4))
        pixels = np.random.default_rng(n).integers(256, size=(n, 4, 4), dtype=np.uint8)
        (folder / f"{kind}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    return folder


def mnist(digits, out, *options):
    return [programs.EXAMPLES / "mnist.py", "--data", digits, "--batch-size", 60, "--out", out, "--quiet",
            *options]


def saved(out):
    """The dictionary and the arrays of a run's checkpoint."""
    return checkpoint.read(str(out / "checkpoint.npz"))


@pytest.fixture(scope="module", params=[2, 3])
def results(request, tmp_path_factory):
    """What 2 and 3 ranks computed in ranks.py, and their number."""
    path = tmp_path_factory.mktemp("ranks") / "results.json"
    status, said = run(request.param, Path(__file__).with_name("ranks.py"), path)
    assert status == 0, said
    return json.loads(path.read_text()), request.param


# --- The numbers ------------------------------------------------------------------------------


@needs_mpi
def test_with_the_same_draws_the_ranks_and_one_process_agree(results):
    """In float64, for every objective, both updates, two penalties and k = 2."""
    cases = results[0]["same draws"]
    assert cases.keys() > OBJECTIVES.keys()
    assert {name: error for name, error in cases.items() if not max(error.values()) < 1e-10} == {}
    assert min(results[0]["without the mean"].values()) > 1e-3


@needs_mpi
@pytest.mark.parametrize("update", ["algorithm1", "simultaneous"])
def test_the_same_seed_gives_the_same_bits_on_all_ranks_also_after_a_resume(results, update):
    assert results[0]["bits"][update] == {
        "again": True, "resumed": True, "ranks": 1, "history": 1, "epochs": 2, "another seed": False}


@needs_mpi
def test_every_rank_draws_its_own_noise_and_its_own_order_of_examples(results):
    (values, ranks) = results
    for drawn in zip(*values["draws"]):
        assert len({str(draw) for draw in drawn}) == ranks


@needs_mpi
def test_on_the_stand_in_nccl_adds_and_each_rank_has_a_gpu(results):
    values, ranks = results
    assert values["stand-in"] == {"same": [True] * ranks, "chosen": [[0], [1], [0]][:ranks]}


# --- Faults -----------------------------------------------------------------------------------


@needs_mpi
def test_a_value_that_is_not_finite_on_one_rank_stops_all_at_the_same_iteration(results):
    values, ranks = results
    words = "FloatingPointError: iteration 1 (epoch 1): the discriminator's output is not finite"
    assert values["not finite"] == [words] * ranks


@needs_mpi
def test_a_rank_that_differs_by_one_bit_or_by_its_settings_is_named_on_all_ranks(results):
    values, ranks = results
    for key, where in (("one bit", "iteration 7"), ("another seed", "before iteration 1")):
        messages = set(values[key])
        assert len(messages) == 1 and len(values[key]) == ranks
        named = ", ".join(f"rank {r}" for r in range(1 if key == "another seed" else ranks - 1, ranks))
        assert messages.pop().startswith(
            f"OSError: {where}: the parameters or settings of {named} differ from those of rank 0;")


@needs_mpi
def test_what_one_rank_says_all_ranks_hear(results):
    assert results[0]["any"] == [True, False]


@needs_mpi
def test_an_error_of_one_rank_ends_all_with_its_status_and_its_number(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from npgan.runs import mpi, options\n"
        "def main(args):\n"
        "    print('rank 0 alone prints this')\n"
        "    mpi.start()\n"
        "    if mpi.rank() == 1: raise ValueError('a bad file')\n"
        "    mpi.any_rank(False)\n"
        "options.run_program(options.parser(''), main)\n")
    status, said = run(2, program)
    assert status == 2 and said.count("rank 0 alone") == 1
    assert re.findall(r"(?m)^.*bad file.*$", said) == ["rank 1: program.py: a bad file"]


@needs_mpi
def test_a_batch_that_the_ranks_cannot_share_is_one_sentence(digits, tmp_path):
    status, said = run(2, *mnist(digits, tmp_path / "a", "--batch-size", 31))
    assert status == 2 and not (tmp_path / "a").exists()
    assert re.findall("(?m)^.*mnist.py: .*$", said) == [
        "mnist.py: --batch-size 31: 2 processes cannot draw equal parts of it; choose a multiple of 2, "
        "or another number of processes"]


def started(digits, out, *options):
    """mpiexec with two ranks of mnist.py that has written its first checkpoint."""
    running = subprocess.Popen(command(2, *mnist(digits, out, "--epochs", 10 ** 6, *options)), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={**os.environ, **ENVIRONMENT})
    deadline = time.monotonic() + 60
    while not (out / "checkpoint.npz").exists() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(.01)
    return running


def children(process):
    """The numbers of the processes that a process has started."""
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="/proc is not there")


@needs_mpi
def test_a_signal_that_mpiexec_passes_on_stops_all_ranks_and_other_numbers_of_ranks_resume(digits, tmp_path):
    running = started(digits, tmp_path, "--average", 5)
    running.send_signal(signal.SIGUSR1)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 130 and out.count("Interrupted ") == 1, out
    about, _ = saved(tmp_path)
    assert about["ranks"] == 2 and f"at epoch {about['state']['epoch']}" in out
    epochs = about["state"]["epoch"] + 1
    status, out = run(3, *mnist(digits, tmp_path, "--resume", "--epochs", epochs))
    assert status == 0 and f"{tmp_path} was last trained in 2 process(es). 3 draw other random" in out
    about, arrays = saved(tmp_path)
    assert about["ranks"] == 3 and about["state"]["epoch"] == epochs and (tmp_path / "result.json").exists()
    assert all(np.isfinite(a).all() for a in arrays.values())


@needs_mpi
@needs_proc
def test_a_rank_that_is_killed_ends_all_and_the_last_checkpoint_is_good(digits, tmp_path):
    running = started(digits, tmp_path)
    ranks = [rank for child in [running.pid, *children(running.pid)] for rank in children(child)]
    os.kill(ranks[-1], signal.SIGKILL)
    out, _ = running.communicate(timeout=30)
    assert running.returncode not in (0, None) and "signal 9" in out
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{rank}").exists() for rank in ranks):
        assert time.monotonic() < deadline, "a rank is still there"
        time.sleep(.01)
    assert saved(tmp_path)[0]["state"]["epoch"] >= 1


@needs_mpi
def test_ctrl_c_ends_all_ranks_and_the_last_checkpoint_is_good(digits, tmp_path):
    """Open MPI leaves the ranks a quarter of a second. It depends on the load if they save."""
    running = started(digits, tmp_path)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode not in (0, None) and saved(tmp_path)[0]["state"]["epoch"] >= 1


# --- One process ------------------------------------------------------------------------------


def test_without_mpiexec_a_process_is_rank_0_of_1_and_mpi4py_is_not_imported(tmp_path):
    code = ("import sys; from npgan.runs import mpi, images; mpi.start(); "
            "print(mpi.rank(), mpi.size(), 'mpi4py' in sys.modules)")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMI_"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=inherited)
    assert done.stdout == "0 1 False\n"


@pytest.fixture
def ranks(monkeypatch):
    """ranks(r, n) makes this process rank r of n, without MPI."""
    def ranks(rank, size):
        monkeypatch.setenv("PMI_RANK", str(rank))
        monkeypatch.setenv("PMI_SIZE", str(size))
        mpi.rank_and_size.cache_clear()
    yield ranks
    monkeypatch.undo()
    mpi.rank_and_size.cache_clear()


def test_the_shares_are_equal_and_in_order_and_leave_out_less_than_one_for_each_rank(ranks):
    shares = []
    for r in range(3):
        ranks(r, 3)
        shares += [np.arange(250)[mpi.share(250)]]
    assert [len(part) for part in shares] == [83] * 3
    assert np.array_equal(np.concatenate(shares), np.arange(249))
    ranks(0, 1)
    assert mpi.share(250) == slice(0, 250) and mpi.stream(4) == 4


def test_mpiexec_without_the_extra_is_one_sentence(digits, tmp_path):
    (tmp_path / "mpi4py.py").write_text("raise ImportError('No module named mpi4py')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = programs.shell("mnist", "--data", digits, "--out", tmp_path / "a", PMI_RANK="0", PMI_SIZE="2",
                          PYTHONPATH=path)
    assert done.returncode == 2 and not (tmp_path / "a").exists()
    assert done.stderr.splitlines()[-1] == (
        "mnist.py: mpiexec started 2 processes, but mpi4py cannot be imported: install the extra "
        '"npgan[mpi]", or start the program without mpiexec (No module named mpi4py)')


def test_a_program_that_runs_in_one_process_refuses_mpiexec(ranks, tmp_path):
    ranks(0, 2)
    with pytest.raises(ValueError, match="^this program runs in one process: start it without mpiexec$"):
        options.folder(str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()
