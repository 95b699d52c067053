"""The loop around Algorithm 1: seeds, resuming, statistics, Ctrl-C, values that are not finite.
"""

import errno
import functools
import io
import os
import signal
import sys
from types import SimpleNamespace

import filelock
import numpy as np
import pytest
import threadpoolctl

from npgan import backend, gan
from npgan.data import minibatches
from npgan.layers import Dropout, Linear, Maxout, ReLU, Sigmoid
from npgan.net import Net
from npgan.objectives import GAN
from npgan.optim import Decay, Momentum, Ramp, WarmUp
from npgan.priors import Uniform
from npgan.runs import checkpoint, fit, images, options


class Game:
    """A small run: 70 examples of 6 pixels, m = 8, k = 1. An epoch has 8 iterations, and 6
    examples are left over.
    """

    def __init__(self, seed=0, dtype="float32", lr=.1):
        G = Net([Linear(4, 9), ReLU(), Linear(9, 6), Sigmoid()], dtype, seed)
        D = Net([Dropout(.8), Linear(6, 12), Maxout(3), Dropout(.5), Linear(4, 1)], dtype, seed + 1)
        self.p = gan.Players(G, D, 8)
        self.sgd_g, self.sgd_d = Momentum(G, Decay(lr), Ramp(8)), Momentum(D, Decay(lr), Ramp(8))
        self.x = backend.asarray(np.random.default_rng(9).random((70, 6)).astype(dtype))
        self.state, self.seed = fit.State(), seed

    def states(self, epochs, **kwargs):
        return fit.fit(self.p, self.x, Uniform(), self.sgd_d, self.sgd_g, self.state,
                       seed=self.seed, epochs=epochs, quiet=True, **kwargs)

    def fit(self, epochs, **kwargs):
        for self.state in self.states(epochs, **kwargs):
            pass
        return self

    def bits(self):
        arrays = self.p.G.theta, self.p.D.theta, self.sgd_g.v, self.sgd_d.v
        return [backend.asnumpy(a).tobytes() for a in arrays]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(xp):
    assert Game().fit(3).bits() == Game().fit(3).bits() != Game(seed=1).fit(3).bits()


@pytest.mark.parametrize("update, k", [("algorithm1", 1), ("algorithm1", 2), ("simultaneous", 1)])
@pytest.mark.parametrize("stop", [1, 3, 4, 8, 9, 15])
def test_a_run_that_stops_anywhere_and_goes_on_from_its_file_ends_in_the_same_bits(
        xp, tmp_path, update, k, stop):
    whole = Game().fit(4, update=update, k=k)
    first = Game().fit(4, update=update, k=k, iterations=stop)
    checkpoint.save(tmp_path / "c.npz", first.sgd_g, first.sgd_d, {"state": vars(first.state)})
    second = Game(seed=0)
    second.p.G.theta[...] = second.p.D.theta[...] = 0
    about = checkpoint.restore(tmp_path / "c.npz", second.sgd_g, second.sgd_d)
    second.state = fit.State(**about["state"])
    second.fit(4, update=update, k=k)
    assert second.bits() == whole.bits()
    for a, b in zip(second.state.history, whole.state.history, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_an_out_that_is_a_file_or_has_no_name_is_one_sentence(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(FileExistsError, match="^--out .*a: this is a file; name a folder$"):
        options.folder(str(tmp_path / "a"))
    with pytest.raises(ValueError, match='^--out "": name a folder$'):
        options.folder("", make=False)
    assert options.folder(str(tmp_path / "b"), make=False) and not (tmp_path / "b").exists()
    assert options.folder(str(tmp_path / "b")) and (tmp_path / "b").is_dir()


def test_a_folder_where_nothing_can_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="^--out .*a.b: nothing can be written there [^\n]+$"):
        options.folder(str(tmp_path / "a" / "b"))
    (tmp_path / "c" / ".lock").mkdir(parents=True)
    with pytest.raises(OSError, match="^--out .*c: nothing can be written there [^\n]+$"):
        options.folder(str(tmp_path / "c"))


def test_a_folder_has_one_writer_at_a_time_and_a_dead_one_holds_nothing(tmp_path):
    options.folder(str(tmp_path))
    assert options.folder(str(tmp_path)) == str(tmp_path), "this process may write again"
    options.locks.clear()
    with filelock.FileLock(tmp_path / ".lock"):
        words = "^--out .*: another run writes to this folder; name another one$"
        with pytest.raises(ValueError, match=words):
            options.folder(str(tmp_path))
    assert options.folder(str(tmp_path))


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def acquire(lock):
        raise NotImplementedError
    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    assert options.folder(str(tmp_path / "a")) and (tmp_path / "a").is_dir()


@pytest.mark.parametrize("changes", [
    {"epoch": "1"}, {"iteration": -3}, {"sums": [0.]}, {"history": "none"}, {"history": []},
    {"history": [{}]}, {"minutes": 1.}])
def test_a_state_that_is_none_is_an_error_that_names_the_file(changes):
    good = vars(fit.State(epoch=1, history=[dict.fromkeys(fit.ROW, 1)]))
    assert fit.State.of("a.npz", good).epoch == 1
    for bad in {**good, **changes}, [1, 2], None:
        with pytest.raises(ValueError, match="^a.npz: not a checkpoint of a run, or a damaged one [^\n]+$"):
            fit.State.of("a.npz", bad)


def test_an_epoch_shows_every_example_once_in_a_fresh_order_and_drops_the_rest(xp):
    x = xp.arange(70)[:, None]
    one, two = ([xp.asnumpy(b).ravel() for b in minibatches(x, 8, 0, epoch)] for epoch in (1, 2))
    assert [len(b) for b in one] == [8] * 8 and len(set(np.concatenate(one))) == 64
    assert not np.array_equal(np.concatenate(one), np.concatenate(two))


def test_history_has_one_row_per_epoch_of_mean_statistics():
    game = Game().fit(3)
    assert [(row["epoch"], row["iterations"]) for row in game.state.history] == [(1, 8), (2, 16), (3, 24)]
    again, other = [], Game()
    examples, rng = minibatches(other.x, 8, 0, 1), backend.default_rng(0, 1)
    for record in gan.train(other.p, examples, Uniform(), other.sgd_d, other.sgd_g, rng, 8):
        again.append([float(v) for v in record[1:]])
    means = [game.state.history[0][name] for name in fit.STATISTICS]
    np.testing.assert_allclose(means, np.mean(again, axis=0), rtol=1e-6)


def test_the_epochs_are_the_total_to_reach():
    game = Game().fit(2)
    bits = game.bits()
    assert game.fit(2).bits() == bits and game.state.epoch == 2
    assert game.fit(3).state.epoch == 3


def test_training_reads_nothing_on_the_host_and_sends_nothing_to_the_device(device):
    game = Game()
    examples, rng = iter([game.x[:8]] * 40), backend.default_rng(0)
    steps = gan.train(game.p, examples, Uniform(), game.sgd_d, game.sgd_g, rng, 20, k=2)
    next(steps)                                                  # a first iteration may set things up
    device.reset()
    records = list(steps)
    assert len(records) == 19
    assert device.counts["host reads"] == device.counts["host writes"] == 0
    assert np.isfinite(backend.asnumpy(records[-1].V))
    assert device.counts["host reads"] == 1, "the counter counts"


def test_a_run_on_the_stand_in_device_is_a_run_on_numpy_to_the_bit(device):
    on_device = Game().fit(2).bits()
    backend.use("numpy")
    on_host = Game().fit(2).bits()
    assert on_device == on_host


@pytest.mark.gpu
def test_a_gpu_computes_what_numpy_computes_from_the_same_numbers():
    results = []
    for name in ("numpy", "cupy"):
        backend.use(name)
        game, host = Game(), np.random.default_rng(0)
        for _ in range(5):
            for t in (game.p.tape_d,):
                for extra in t.extra:
                    for mask in extra:
                        mask[...] = backend.asarray((host.random(mask.shape) < .5).astype("float32") * 2)
            z, x = (backend.asarray(host.random(s).astype("float32")) for s in ((8, 4), (8, 6)))
            V, *_ = gan.discriminator_gradient(game.p, x, z)
            game.sgd_d.ascend()
            gan.generator_gradient(game.p, z)
            game.sgd_g.descend()
        results.append([backend.asnumpy(a) for a in (game.p.G.theta, game.p.D.theta, V)])
        backend.use("numpy")
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_value_that_is_not_finite_stops_the_run_naming_iteration_and_player():
    for player in ("discriminator", "generator"):
        game = Game().fit(1)
        {"discriminator": game.p.D, "generator": game.p.G}[player].theta[0] = np.nan
        words = rf"^iteration 9 \(epoch 2\): the {player}'s output is not finite$"
        with pytest.raises(FloatingPointError, match=words) as e:
            game.fit(2)
        assert "\n" not in str(e.value)


def test_a_gradient_of_g_alone_that_is_not_finite_names_the_generator(monkeypatch):
    game, calls = Game(), []

    def broken(p, z):
        gan.generator_gradient(p, z)
        calls.append(1)
        if len(calls) == 11:
            p.G.grad[3] = np.inf
    train = functools.partial(gan.train, generator_gradient=broken)
    monkeypatch.setitem(fit.UPDATES, "algorithm1", train)
    words = r"^iteration 11 \(epoch 2\): the generator's gradient is not finite"
    with pytest.raises(FloatingPointError, match=words):
        game.fit(3)


def test_a_runaway_learning_rate_is_stopped_and_not_saved():
    game = Game(lr=1e30)
    with pytest.raises(FloatingPointError, match="not finite"):
        for _ in game.states(50):
            assert np.isfinite(game.p.G.theta).all() and np.isfinite(game.p.D.theta).all()


@pytest.fixture
def signal_in(monkeypatch):
    """signal_in(n, *numbers): these signals come in the n-th iteration."""
    def signal_in(n, *numbers):
        calls = []

        def interrupting(p, z):
            calls.append(1)
            if len(calls) == n:
                for number in numbers:
                    os.kill(os.getpid(), number)
            gan.generator_gradient(p, z)
        monkeypatch.setitem(fit.UPDATES, "algorithm1",
                            functools.partial(gan.train, generator_gradient=interrupting))
    return signal_in


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]])
def test_an_interrupt_ends_the_run_after_a_whole_iteration_and_another_call_goes_on(signal_in, numbers):
    game = Game()
    signal_in(11, *numbers)
    before = signal.getsignal(numbers[0])
    game.fit(5)
    assert game.state.interrupted and (game.state.epoch, game.state.iteration) == (1, 3)
    assert signal.getsignal(numbers[0]) is before
    assert game.sgd_g.t == game.sgd_d.t == 11
    assert game.fit(5).bits() == Game().fit(5).bits() and not game.state.interrupted


def test_an_interrupt_in_the_last_iteration_leaves_a_complete_run_and_ends_the_program(signal_in):
    game, states = Game(), []
    signal_in(16, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        for state in game.states(2):
            states.append((state.epoch, state.iteration, state.interrupted))
    assert states == [(1, 0, False), (2, 0, False)]


def test_no_handler_is_left_while_the_caller_has_its_turn_and_what_is_ignored_stays_ignored(signal_in):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    for _ in Game().states(2):
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal_in(3, signal.SIGINT)
        assert Game().fit(1).state.epoch == 1 and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)


def test_a_handler_that_python_cannot_restore_stays(monkeypatch):
    """Such as that of a program in C that embeds Python."""
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", None)
    assert Game().fit(1).state.epoch == 1


def test_a_schedule_for_k_counts_the_iterations_of_the_run():
    k = WarmUp(2, first=5, until=3, every=10)
    expected = [5, 5, 5, 2, 2, 2, 2, 2, 2, 2, 5, 2, 2, 2, 2, 2]
    whole = Game().fit(2, k=k)
    assert (whole.sgd_g.t, whole.sgd_d.t) == (16, sum(expected)) and whole.state.epoch == 2
    parts = Game()
    for stop in (2, 9, 11):
        parts.fit(2, k=k, iterations=stop)
        assert (parts.sgd_g.t, parts.sgd_d.t) == (stop, sum(expected[:stop]))
    assert parts.fit(2, k=k).bits() == whole.bits()


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    flush = close = lambda self: self.write("")


def run_program(monkeypatch, main, out, err, *args, **options_of_program):
    """The status of a program whose streams are these."""
    for name, value in (("stdout", out), ("stderr", err), ("argv", ["it.py", *args])):
        monkeypatch.setattr(sys, name, value)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.raises(SystemExit) as end:
        options.run_program(options.parser(""), main, **options_of_program)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return end.value.code


def test_a_program_may_limit_the_threads_of_matrix_products(monkeypatch):
    def threads():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    def main(args):
        seen.append(threads())
        return 0
    seen, streams = [], (io.StringIO(), io.StringIO())
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads()
        assert run_program(monkeypatch, main, *streams) == 0
        assert run_program(monkeypatch, main, *streams, threads=1) == 0
        assert seen == [before, [1] * len(before)] and threads() == before


@pytest.mark.parametrize("stream", [Full, lambda: None, lambda: open(os.devnull)])
def test_no_message_ends_a_program(stream, monkeypatch):
    states = []

    def main(args):
        with fit.progress_bar(0, 2, quiet=False) as bar:
            bar.update()
            bar.write("text")
            print("text", flush=True)
        print("text", file=sys.stderr, flush=True)
        states.append(Game().fit(2).state.epoch)
        return 0
    assert run_program(monkeypatch, main, stream(), stream()) == 0 and states == [2]


def test_what_an_encoding_lacks_is_replaced(monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in "ab")

    def main(args):
        print("σ \udce9")
        raise ValueError("é")
    assert run_program(monkeypatch, main, out, err) == 2
    for stream in out, err:
        stream.seek(0)
    assert out.read() == "\\u03c3 \\udce9\n" and err.read() == "it.py: \\xe9\n"


def test_control_characters_in_an_argument_do_not_reach_the_terminal(monkeypatch):
    def main(args):
        raise OSError("runs/\x1b[2J\udce9é: no such folder\nand a second line")
    err = io.StringIO()
    assert run_program(monkeypatch, main, io.StringIO(), err) == 2
    assert err.getvalue() == "it.py: runs/\\x1b[2J\\udce9é: no such folder\nand a second line\n"
    err = io.StringIO()
    assert run_program(monkeypatch, main, io.StringIO(), err, "--wrong\x1b[2J\n") == 2
    assert err.getvalue().endswith("error: unrecognized arguments: --wrong\\x1b[2J\\n\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_any_program_in_one_sentence(number, monkeypatch):
    err = io.StringIO()
    monkeypatch.setenv("MPLBACKEND", "module://of_a_notebook")

    def main(args):
        assert os.environ["MPLBACKEND"] == "agg"
        os.kill(os.getpid(), number)
    assert run_program(monkeypatch, main, io.StringIO(), err) == 130
    assert err.getvalue() == "it.py: interrupted before it was complete\n"


@pytest.mark.parametrize("row, one_image, words", [
    ({"D_Gz": 1e-6, "norm_g": 1e-10}, False, "in epoch 7 G has hardly any gradient, and D rejects it"),
    ({"D_Gz": 1e-6, "norm_g": .1}, True, "in epoch 7 G draws one image for every z, and D rejects it"),
    ({"D_Gz": 1e-6, "norm_g": .1}, False, ""),
    ({"D_Gz": .5, "norm_g": 1e-10}, True, "")])
def test_a_dead_generator_is_one_warning(row, one_image, words, capsys):
    samples = np.random.default_rng(0).random((1 if one_image else 10, 6)).repeat(10, axis=0)
    run = SimpleNamespace(warned=False)
    for _ in range(2):
        images.Run.warn_if_dead(run, {"epoch": 7, **row}, samples)
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == (1 if words else 0)


def test_an_interrupt_after_the_last_iteration_ends_the_program_and_not_only_the_training():
    game, states = Game(), 0
    with pytest.raises(KeyboardInterrupt):
        for _ in game.states(1):
            states += 1
            os.kill(os.getpid(), signal.SIGINT)             # while a program saves and scores its last epoch
    assert states == 1 and game.state.epoch == 1 and not game.state.interrupted


def test_more_examples_in_a_minibatch_than_there_are_is_one_clear_error():
    game = Game()
    game.x = game.x[:5]
    words = "5 training examples do not make one epoch of k = 1 minibatches of m = 8"
    with pytest.raises(ValueError, match=words):
        next(game.states(1))


def test_k_steps_of_d_precede_each_step_of_g(monkeypatch):
    steps = []
    monkeypatch.setattr(Momentum, "ascend", lambda sgd: steps.append("D"))
    monkeypatch.setattr(Momentum, "descend", lambda sgd: steps.append("G"))
    Game().fit(1, k=2)
    assert steps == ["D", "D", "G"] * 4


def test_the_statistics_are_those_of_equation_1_before_the_update():
    game = Game(dtype="float64")
    p = game.p
    examples, rng = iter([game.x[:8]]), backend.default_rng(0)
    record = next(gan.train(p, examples, Uniform(), game.sgd_d, game.sgd_g, rng, 1))
    again = Game(dtype="float64").p
    rng = backend.default_rng(0)
    again.tape_g.x[0][...] = gan.sample_noise(again, Uniform(), rng)
    again.draw_masks_d(rng)
    again.G.forward(again.tape_g)
    again.tape_d.x[0][:8], again.tape_d.x[0][8:] = game.x[:8], again.tape_g.x[-1]
    again.D.forward(again.tape_d)
    D = GAN.prob(again.tape_d.x[-1])
    assert record.V == pytest.approx(np.log(D[:8]).mean() + np.log(1 - D[8:]).mean())
    assert record.D_x == pytest.approx(D[:8].mean()) and record.D_Gz == pytest.approx(D[8:].mean())
    assert record.norm_g == pytest.approx(np.linalg.norm(p.G.grad))
    assert record.norm_d == pytest.approx(np.linalg.norm(p.D.grad))
