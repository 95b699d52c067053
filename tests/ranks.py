"""What each rank computes for test_mpi.py: mpiexec -n R python ranks.py FILE

Rank 0 writes the results into FILE as JSON. One start of mpiexec serves many tests.
"""

import ctypes
import functools
import itertools
import json
import os
import sys
import types

import device
import numpy as np

from npgan import backend as xp
from npgan import gan
from npgan.divergences import OBJECTIVES
from npgan.layers import Dropout, Linear, Maxout, Noise, ReLU, Sigmoid
from npgan.net import Net
from npgan.optim import Adam, Momentum
from npgan.penalty import R1, GradientPenalty
from npgan.priors import Normal, Uniform
from npgan.runs import checkpoint, fit, mpi

M = 12                                              # the whole minibatch
world, rank, size = mpi.world(), mpi.rank(), mpi.size()


def gathered(value):
    """The values of all ranks, in a list."""
    return world.allgather(value)


def players(m, dtype="float64", **settings):
    G = Net([Linear(4, 9), ReLU(), Linear(9, 6), Sigmoid()], dtype, 0)
    D = Net([Dropout(.8), Noise(.1), Linear(6, 12), Maxout(3), Dropout(.5), Linear(4, 1)], dtype, 1)
    return gan.Players(G, D, m, **settings)


# --- The same draws in R ranks and in one process ---------------------------------------------


class Part:
    """A generator that draws for the whole minibatch and returns the rows of this rank.

    An array of m rows is a part of M rows. An array of 2 m rows has real examples above and
    generated ones below, and each half is a part of its own.
    """

    def __init__(self, seed):
        self.rng, self.m = np.random.default_rng(seed), M // size

    def part(self, draw, shape):
        halves = shape[0] // self.m
        whole = draw((halves * M, *shape[1:])).reshape(halves, M, *shape[1:])
        return whole[:, rank * self.m:(rank + 1) * self.m].reshape(shape)

    def random(self, shape, dtype=float, out=None):
        return self.give(self.part(lambda shape: self.rng.random(shape, dtype), shape), out)

    def standard_normal(self, shape, dtype=float, out=None):
        return self.give(self.part(lambda shape: self.rng.standard_normal(shape, dtype), shape), out)

    def integers(self, high, size, dtype):
        return self.part(lambda shape: self.rng.integers(high, size=shape, dtype=dtype), size)

    @staticmethod
    def give(a, out):
        if out is None:
            return a
        out[...] = a


def trained(whole, train=gan.train, k=1, prior=Uniform, averaged=mpi.Averaged, **settings):
    """Parameters and statistics of 3 iterations, of one process or of this rank among all."""
    if "penalty" in settings:
        settings["penalty"] = settings["penalty"](.5)
    p, data = players(M if whole else M // size, **settings), np.random.default_rng(5).random((8, M, 6))
    part = slice(None) if whole else slice(rank * M // size, (rank + 1) * M // size)
    sgds = Adam(p.D, .01), Momentum(p.G, .05, .5)
    sgds = sgds if whole else map(averaged, sgds)
    rng = np.random.default_rng(7) if whole else Part(7)
    records = list(train(p, iter(data[:, part]), prior(), *sgds, rng, 3, k))
    values = np.array([record[1:] for record in records])
    if not whole:
        mpi.mean(values)
    return {"D": p.D.theta, "G": p.G.theta, "statistics": values.ravel()}


def differences(**settings):
    """{"D": the relative difference of R ranks from one process, "G": ..., ...}"""
    one, ours = trained(True, **settings), trained(False, **settings)
    return {name: float(np.linalg.norm(ours[name] - a) / np.linalg.norm(a)) for name, a in one.items()}


def the_same_draws():
    cases = {name: dict(objective=OBJECTIVES[name]) for name in OBJECTIVES}
    cases |= {"minimax": dict(generator_loss="minimax"), "k = 2": dict(k=2),
              "simultaneous": dict(train=gan.train_simultaneous),
              "R1": dict(penalty=R1), "gradient penalty": dict(penalty=GradientPenalty, k=2, prior=Normal),
              "R1, simultaneous": dict(train=gan.train_simultaneous, penalty=R1)}
    result = {name: differences(**settings) for name, settings in cases.items()}
    return result, differences(averaged=lambda sgd: sgd)        # without the mean they must differ


# --- Trainings with fit -----------------------------------------------------------------------


class Run:
    """A small training in which each rank has its own examples: 7 iterations an epoch."""

    def __init__(self, seed=0, **settings):
        self.p = players(4, "float32", **settings)
        self.sgd_d, self.sgd_g = Momentum(self.p.D, .1, .5), Adam(self.p.G, .01)
        self.sgd_g.average(5)
        self.x = np.random.default_rng(rank).random((30, 6), "float32")
        self.state, self.seed = fit.State(), seed

    def fit(self, epochs=2, **kwargs):
        for self.state in fit.fit(self.p, xp.asarray(self.x), Uniform(), self.sgd_d, self.sgd_g, self.state,
                                  seed=self.seed, epochs=epochs, quiet=True, **kwargs):
            pass
        return self

    def bits(self):
        arrays = self.p.G.theta, self.p.D.theta, self.sgd_g.v, self.sgd_g.mean, self.sgd_d.v
        return b"".join(xp.asnumpy(a).tobytes() for a in arrays).hex()

    def statistics(self):
        return [{**row, "seconds": 0} for row in self.state.history]


def interrupted(folder, **kwargs):
    """A run that stops within its second epoch, and goes on from its file."""
    first, path = Run().fit(iterations=9, **kwargs), os.path.join(folder, f"{os.getpid()}.npz")
    checkpoint.save(path, first.sgd_g, first.sgd_d, {"state": first.state.saved()})
    second = Run()
    state = checkpoint.restore(path, second.sgd_g, second.sgd_d)["state"]
    second.state = fit.State.of(path, state)
    return second.fit(**kwargs)


def the_same_bits(folder):
    """For each update: what a run, a second run, and a run that was resumed have in common."""
    result = {}
    for update, k in (("algorithm1", 2), ("simultaneous", 1)):
        once, again = Run().fit(update=update, k=k), Run().fit(update=update, k=k)
        resumed = interrupted(folder, update=update, k=k)
        result[update] = {"again": again.bits() == once.bits() and again.statistics() == once.statistics(),
                          "resumed": resumed.bits() == once.bits(),
                          "ranks": len(set(gathered(once.bits()))), "epochs": len(once.state.history),
                          "history": len(set(gathered(json.dumps(once.statistics())))),
                          "another seed": Run(seed=1).fit(update=update, k=k).bits() == once.bits()}
    return result


def draws():
    """The number of different noise samples, and of different orders, among the ranks."""
    seen, run = [], Run()
    right = fit.train

    def train(players, examples, prior, sgd_d, sgd_g, rng, *args):
        first = next(examples)
        seen.append((np.flatnonzero((run.x == first[0]).all(axis=1)).item(), rng.random(3).tolist()))
        return right(players, itertools.chain([first], examples), prior, sgd_d, sgd_g, rng, *args)
    fit.UPDATES["algorithm1"] = train
    run.fit(epochs=1)
    fit.UPDATES["algorithm1"] = right
    return gathered(seen[0])


def error(f):
    """The message of the error of f on each rank."""
    try:
        f()
    except Exception as e:
        return gathered(f"{type(e).__name__}: {e}")
    return gathered(None)


def not_finite():
    run = Run()
    if rank == size - 1:
        run.x[:] = np.nan
    return error(run.fit)


def one_bit_differs():
    run = Run()
    if rank == size - 1:
        run.p.G.theta[3] = np.nextafter(run.p.G.theta[3], np.float32(1))
    return error(lambda: mpi.check_equal("iteration 7", run.p))


def another_seed():
    return error(Run(seed=rank).fit)


# --- The stand-in for a GPU -------------------------------------------------------------------


class NcclCommunicator:
    """NCCL's addition of vectors at addresses, done by MPI."""

    def __init__(self, number, identifier, rank):
        assert (number, identifier, rank) == (size, (1, 2, 3), mpi.rank())

    def allReduce(self, source, target, n, type, operation, stream):
        assert source == target and operation == "sum" and stream == 99
        kind = {"f4": ctypes.c_float, "f8": ctypes.c_double}[type]
        a = np.ctypeslib.as_array((kind * n).from_address(target))
        a[...] = functools.reduce(np.add, gathered(a.copy()))


def on_the_stand_in():
    """Whether training on the stand-in ends in NumPy's bits, and the GPU of each rank."""
    expected, chosen = Run().fit().bits(), []
    nccl = types.SimpleNamespace(
        NcclCommunicator=NcclCommunicator, NCCL_SUM="sum", NCCL_FLOAT32="f4", NCCL_FLOAT64="f8",
        get_unique_id=lambda: (1, 2, 3) if rank == 0 else 1 / 0)
    device.cuda = types.SimpleNamespace(
        nccl=nccl, get_current_stream=lambda: types.SimpleNamespace(ptr=99),
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 2),
        Device=lambda number: types.SimpleNamespace(use=lambda: chosen.append(number)))
    xp.use(device)
    mpi.choose_gpu()
    bits = Run().fit().bits()
    xp.use("numpy")
    return {"same": gathered(bits == expected), "chosen": gathered(chosen)}


def main(path):
    equal, without = the_same_draws()
    results = {"same draws": equal, "without the mean": without, "bits": the_same_bits(os.path.dirname(path)),
               "draws": draws(), "not finite": not_finite(), "one bit": one_bit_differs(),
               "another seed": another_seed(), "stand-in": on_the_stand_in(),
               "any": [mpi.any_rank(rank == size - 1), mpi.any_rank(False)]}
    if rank == 0:
        checkpoint.write(path, json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
