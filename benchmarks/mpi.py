"""Time an iteration on several ranks: npgan over MPI, gloo beside it, and a projection.

    python benchmarks/mpi.py

The program starts mpiexec for each number of --ranks. Each rank has --threads threads, its part
of the minibatch, and the same networks in npgan and in torch.distributed with gloo. Both do the
same work: two gradients, an all-reduce for each of them, two updates. They take turns.
"all-reduce" is the time of the two means alone, and "half" is the time of an iteration of half
the minibatch in one process.

The projection assumes that a ring adds the gradients. Let C be the time of an iteration of the
whole minibatch in one process. F = 2 half - C is the part of C that does not depend on the size
of the minibatch: the updates, and the reading of the weights. With N bytes in both gradients,
latency a and bandwidth B, R ranks take

    weak      t(R) = C + ring(R)                    the minibatch grows with R
    strong    t(R) = F + (C - F) / R + ring(R)      the ranks divide one minibatch
    ring(R) = 4 (R - 1) a + 2 (R - 1) / R N / B

because each of the two gradients passes through the ring in 2 (R - 1) messages of 1 / R of its
bytes. The efficiency is C / t(R) if weak, and C / (R t(R)) if strong. --latency and --bandwidth
describe the network. They are assumptions and are not measured.

Needs the extras `bench` and `mpi`.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import race
import step

from npgan import backend as xp
from npgan.data.toy import endless
from npgan.gan import train
from npgan.priors import Uniform
from npgan.runs import mpi, options

PROJECTED = 8, 64, 512                          # ranks


# --- On each rank -----------------------------------------------------------------------------


def ours(layers, m):
    """The players, 10,000 examples, and functions that do one iteration and the two means."""
    players, data, _ = step.ours(layers, m)
    optimizers = [mpi.Averaged(step.Momentum(net, step.LEARNING_RATE, step.MOMENTUM))
                  for net in (players.D, players.G)]
    records = train(players, endless(xp.asarray(data), m, mpi.rank()), Uniform(), *optimizers,
                    xp.default_rng(mpi.rank()), 10 ** 9)

    def means():
        mpi.mean(players.D.grad)
        mpi.mean(players.G.grad)
    return players, data, lambda: next(records), means


class Gloo(step.Torch):
    """The iteration of step.py's PyTorch, with an all-reduce of one flat vector a player."""

    def mean(self, network):
        parameters = [a for a in network.parameters()]
        flat = self.torch.cat([a.grad.ravel() for a in parameters])
        self.torch.distributed.all_reduce(flat)
        flat /= mpi.size()
        for a, part in zip(parameters, flat.split([a.numel() for a in parameters])):
            a.grad.copy_(part.view_as(a))

    def step(self):
        for network, optimizer, loss in ((self.D, self.sgd_d, self.loss_d), (self.G, self.sgd_g, self.J)):
            optimizer.zero_grad()
            self.D.requires_grad_(network is self.D)        # G's step needs no gradient of D's weights
            loss(self.noise()).backward()
            if mpi.size() > 1:
                self.mean(network)
            optimizer.step()

    def loss_d(self, z):
        x = self.x[self.torch.randint(len(self.x), (self.m,))]
        return self.V(x, z)

    def means(self):
        if mpi.size() > 1:
            self.mean(self.D)
            self.mean(self.G)


def measure(args):
    """On each rank: rank 0 writes the milliseconds of each function as JSON to args.worker."""
    torch = race.need("torch")
    mpi.start()
    layers, m, _ = step.PRESETS[args.preset]
    m = mpi.part_of_minibatch(args.batch_size or m)
    with race.pinned(args.threads):
        players, data, iteration, means = ours(layers(), m)
        if mpi.size() > 1:
            torch.distributed.init_process_group(
                "gloo", f"tcp://127.0.0.1:{args.port}", rank=mpi.rank(), world_size=mpi.size())
        gloo = Gloo(players, data)
        racers = {"ours": iteration, "all-reduce": means, "gloo": gloo.step, "gloo all-reduce": gloo.means}
        if mpi.size() == 1:
            racers["half"] = ours(layers(), m // 2)[2]
        times = {name: [] for name in racers}
        for i in range(args.rounds + 1):
            for name, call in racers.items():
                for j in range(args.calls + 2):         # all ranks make the same calls
                    mpi.any_rank(False)
                    start = time.perf_counter()
                    call()
                    if i > 0 and j > 1:
                        times[name].append(1000 * (time.perf_counter() - start))
    if mpi.rank() == 0:
        times["bytes"] = players.D.grad.nbytes + players.G.grad.nbytes
        with open(args.worker, "w") as f:
            json.dump(times | {"machine": race.machine()}, f)
    if mpi.size() > 1:
        torch.distributed.destroy_process_group()
    return 0


# --- The projection ---------------------------------------------------------------------------


def ring(ranks, size, latency, bandwidth):
    """Milliseconds to add two vectors of `size` bytes together over the ranks."""
    return 1000 * (4 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * size / bandwidth)


def projection(compute, half, size, latency, bandwidth):
    """A row for each number of ranks: milliseconds and efficiency, weak and strong."""
    fixed = max(2 * half - compute, 0)
    rows = []
    for ranks in PROJECTED:
        message = ring(ranks, size, latency, bandwidth)
        weak, strong = compute + message, fixed + (compute - fixed) / ranks + message
        rows.append({"ranks": ranks, "ring_ms": message, "weak_ms": weak, "weak_efficiency": compute / weak,
                     "strong_ms": strong, "strong_efficiency": compute / ranks / strong})
    return rows


# --- The program ------------------------------------------------------------------------------


def parser():
    p = race.parser(__doc__, rounds=8)
    p.set_defaults(threads=1)
    p.add_argument("--preset", choices=step.PRESETS, default="paper", help="the networks (default paper)")
    p.add_argument("--batch-size", type=options.integer(1), metavar="M",
                   help="the whole minibatch (default 100, with toy 64)")
    p.add_argument("--ranks", type=options.integer(2), nargs="+", default=[2], metavar="R",
                   help="the numbers of ranks beside 1 (default 2)")
    p.add_argument("--calls", type=options.integer(1), default=5, metavar="N",
                   help="calls of each function in a round (default 5)")
    p.add_argument("--latency", type=options.positive, default=20, metavar="US",
                   help="of a message, in microseconds (default 20)")
    p.add_argument("--bandwidth", type=options.positive, default=1.25, metavar="GB",
                   help="between two machines, in GB/s (default 1.25: 10 gigabit Ethernet)")
    p.add_argument("--worker", help=options.argparse.SUPPRESS)
    p.add_argument("--port", help=options.argparse.SUPPRESS)
    return p


def start(args, ranks):
    """Measure with so many ranks, each a process that mpiexec starts."""
    folders = os.path.dirname(sys.executable), os.environ["PATH"]
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join(folders))
    if not mpiexec:
        raise OSError('there is no mpiexec; install the extra "mpi"')
    with tempfile.TemporaryDirectory() as folder, socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        path, port = os.path.join(folder, "times.json"), s.getsockname()[1]
        s.close()
        command = [mpiexec, "--oversubscribe", "-n", str(ranks), sys.executable, __file__, "--worker", path,
                   "--port", str(port), "--preset", args.preset, "--threads", str(args.threads), "--rounds",
                   str(args.rounds), "--calls", str(args.calls)]
        if args.batch_size:
            command += ["--batch-size", str(args.batch_size)]
        allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        done = subprocess.run(command, env={**os.environ, **allowed}, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"mpiexec ended with status {done.returncode}: {done.stderr.strip()}")
        with open(path) as f:
            return json.load(f)


def main(args):
    if args.worker:
        return measure(args)
    race.need("torch")
    race.need("mpi4py")
    load, measured = os.getloadavg()[0], {}
    for ranks in [1, *args.ranks]:
        times = start(args, ranks)
        size, machine = times.pop("bytes"), times.pop("machine")
        measured[ranks] = {name: round(statistics.median(t), 3) for name, t in times.items()}
    names, one = [name for name in times if name != "half"], measured[1]
    rows = projection(one["ours"], one["half"], size, args.latency * 1e-6, args.bandwidth * 1e9)
    result = {"preset": args.preset, "measured": measured, "bytes": size, "load": load, "projection": rows,
              "threads": args.threads, "machine": machine}
    race.show(args, result, [
        f"preset {args.preset}, {size / 1e6:.1f} MB of gradients, load {load:.1f} before; medians in ms",
        f"{'ranks':>6}" + "".join(f"{name:>18}" for name in names),
        *(f"{ranks:6}" + "".join(f"{row[name]:18.2f}" for name in names) for ranks, row in measured.items()),
        f"half: {one['half']:.2f} ms in 1 process",
        f"projection, latency {args.latency:g} us, bandwidth {args.bandwidth:g} GB/s: ms, efficiency",
        f"{'ranks':>6}{'ring':>18}{'weak':>18}{'strong':>18}",
        *(f"{row['ranks']:6}{row['ring_ms']:18.2f}{row['weak_ms']:12.2f}{row['weak_efficiency']:6.2f}"
          f"{row['strong_ms']:12.2f}{row['strong_efficiency']:6.2f}" for row in rows)])
    return 0


if __name__ == "__main__":
    options.run_program(parser(), main)
