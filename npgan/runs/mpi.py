"""Data-parallel training: several processes train one pair of players, and MPI connects them.

    mpiexec -n 4 python examples/mnist.py --preset paper

Read fit.py first. The R processes are the ranks 0, 1, ..., R - 1. Every rank has both players
and its own share of the training set. For a minibatch of M examples, each rank draws M / R of
them, and its own noise and masks. All ranks draw equally many, so the mean of their gradients
is the gradient of the whole minibatch:

    1/M sum_{i = 1..M} grad_i  =  1/R sum_{ranks r} [ R/M sum_{i of rank r} grad_i ]

`Averaged` takes this mean between the gradient and the update, so gan.py does not change. All
ranks begin with the same parameters and apply the same update, so their parameters stay equal
to the last bit. `check_equal` tests this. Rank 0 alone writes files and prints.

A process that mpiexec did not start is rank 0 of 1. Its training is as without this module,
and it does not import mpi4py. The extra `mpi` installs mpi4py and Open MPI.
"""

import contextlib
import functools
import hashlib
import io
import os
import signal
import sys
import time
import traceback

import numpy as np

from npgan import backend as xp

# The variables that mpiexec sets: those of Open MPI, and those of MPICH and Intel MPI
VARIABLES = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")
USER_SIGNAL = getattr(signal, "SIGUSR1", None)          # not on Windows
PAUSE = 1e-4                    # seconds between two looks at a message that has not arrived


# --- The ranks --------------------------------------------------------------------------------


@functools.cache
def rank_and_size():
    """(number of this rank, number of ranks), from the environment."""
    for rank, size in VARIABLES:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def rank():
    return rank_and_size()[0]


def size():
    return rank_and_size()[1]


@functools.cache
def world():
    """The communicator of all ranks. The first call starts MPI.

    Raises ImportError if mpi4py is missing, and OSError if it belongs to another MPI.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as e:            # RuntimeError: mpi4py finds no MPI library
        raise ImportError(f'mpiexec started {size()} processes, but mpi4py cannot be imported: install the '
                          f'extra "npgan[mpi]", or start the program without mpiexec ({e})') from e
    if MPI.COMM_WORLD.size != size():
        raise OSError(f"mpiexec started {size()} processes, but mpi4py sees {MPI.COMM_WORLD.size}: use the "
                      "mpiexec of the MPI that mpi4py belongs to")
    return MPI.COMM_WORLD


def start():
    """Start MPI if mpiexec started this process. On a GPU, choose this rank's."""
    if size() > 1:
        world()
        if xp.compiles():
            choose_gpu()


def started():
    """Whether MPI is started."""
    return bool(world.cache_info().currsize)


def part_of_minibatch(m):
    """The examples of a minibatch that each rank draws: m / ranks."""
    if m % size():
        raise ValueError(f"--batch-size {m}: {size()} processes cannot draw equal parts of it; choose a "
                         f"multiple of {size()}, or another number of processes")
    return m // size()


def share(n):
    """The slice of n training examples that this rank trains on. All shares have the same size.

    If n is not a multiple of the number of ranks, the last n % ranks examples have no rank.
    """
    each = n // size()
    return slice(rank() * each, (rank() + 1) * each) if size() > 1 else slice(0, n)


def stream(seed):
    """The seed of this rank's random streams: `seed` itself if there is one rank."""
    return (seed, rank()) if size() > 1 else seed


# --- Messages ---------------------------------------------------------------------------------


class Averaged:
    """The optimizer `sgd`, but it follows the mean over the ranks of its network's gradient."""

    def __init__(self, sgd):
        self.sgd = sgd

    def ascend(self):
        mean(self.sgd.net.grad)
        self.sgd.ascend()

    def descend(self):
        mean(self.sgd.net.grad)
        self.sgd.descend()


def mean(a):
    """a <- the mean of a over the ranks. All ranks get the same bits."""
    if size() == 1:
        return
    if isinstance(a, np.ndarray):
        from mpi4py import MPI
        world().Allreduce(MPI.IN_PLACE, a)
    else:
        nccl_sum()(a)
    a *= 1 / size()


def any_rank(flag):
    """Whether the flag of one rank or more is true. All ranks get the same answer.

    MPI's own waiting takes a whole core. This function sleeps while it waits, because rank 0
    may be busy for minutes.
    """
    if size() == 1:
        return bool(flag)
    from mpi4py import MPI
    mine, result = np.array([bool(flag)]), np.zeros(1, bool)
    message = world().Iallreduce(mine, result, MPI.LOR)
    while not message.Test():
        time.sleep(PAUSE)
    return bool(result[0])


def check_equal(where, players, *settings):
    """Raise OSError, naming the ranks, if parameters or settings are not those of rank 0."""
    if size() == 1:
        return
    digest = hashlib.sha256(repr(settings).encode())
    for net in (players.D, players.G):
        digest.update(xp.asnumpy(net.theta))
    mine, all_ranks = np.frombuffer(digest.digest(), np.uint8), np.empty((size(), 32), np.uint8)
    world().Allgather(mine, all_ranks)
    wrong = [f"rank {r}" for r, other in enumerate(all_ranks) if (other != all_ranks[0]).any()]
    if wrong:
        raise OSError(f"{where}: the parameters or settings of {', '.join(wrong)} differ from those of "
                      "rank 0; check that all machines have the same files and programs")


# --- GPUs, not yet measured on one ------------------------------------------------------------


def choose_gpu():
    """Use GPU number n in the n-th rank of this machine.

    If CUDA_VISIBLE_DEVICES shows a rank only one GPU, the rank takes this GPU.
    """
    from mpi4py import MPI
    cuda, number = xp.active().cuda, world().Split_type(MPI.COMM_TYPE_SHARED).rank
    cuda.Device(number % cuda.runtime.getDeviceCount()).use()


@functools.cache
def nccl_sum():
    """The function that sums a vector on the GPU over the ranks, in place, with NCCL.

    MPI itself needs no support for CUDA: it only tells all ranks NCCL's identifier.
    """
    cuda = xp.active().cuda
    nccl = cuda.nccl
    if not getattr(nccl, "available", True):
        raise ImportError("CuPy finds no NCCL, which adds the gradients of several GPUs: install "
                          "nvidia-nccl-cu12 or nvidia-nccl-cu13, or train in one process")
    types = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}
    identifier = world().bcast(nccl.get_unique_id() if rank() == 0 else None)
    communicator = nccl.NcclCommunicator(size(), identifier, rank())

    def add(a):
        communicator.allReduce(a.data.ptr, a.data.ptr, a.size, types[str(a.dtype)], nccl.NCCL_SUM,
                               cuda.get_current_stream().ptr)
    return add


# --- Programs ---------------------------------------------------------------------------------


@contextlib.contextmanager
def one_program():
    """A context in which the ranks print and end as one program.

    Rank 0 alone prints. If a rank ends with an error, all ranks end with its exit status, and
    the message is printed once: rank 0 prints it at once, another rank only if rank 0 has not
    ended all ranks within a second. SIGUSR1 counts as Ctrl-C. Open MPI's mpiexec passes SIGUSR1
    on and waits, but after Ctrl-C it kills the ranks within half a second.
    """
    if size() == 1:
        yield
        return
    stderr, kept = sys.stderr, io.StringIO()
    if rank() > 0:
        sys.stdout, sys.stderr = io.StringIO(), kept
    if USER_SIGNAL:
        signal.signal(USER_SIGNAL, signal.default_int_handler)
    try:
        yield
    except BaseException as e:
        status = e.code if isinstance(e, SystemExit) else 1
        if not status:
            raise
        if not isinstance(e, SystemExit):
            traceback.print_exc()
        try:
            if rank() > 0:
                time.sleep(1)
                print(f"rank {rank()}: {kept.getvalue()}", end="", file=stderr)
            for file in (sys.stdout, sys.stderr, stderr):
                file.flush()
        finally:
            os._exit(status)            # not through MPI's own end, where each rank waits for the others
