"""Checkpoints: written whole or not at all, read without pickle, refused in one sentence."""

import json
import os
import pickle
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import npgan
from npgan.layers import Dropout, LeakyReLU, Linear, Maxout, Noise, ReLU, Sigmoid
from npgan.net import Net
from npgan.optim import Adam, Momentum
from npgan.runs import checkpoint

LAYERS = [["Linear", 3, 4], ["ReLU"], ["Linear", 4, 5], ["Sigmoid"]]       # of the G below, in a checkpoint


def optimizers(width=4, dtype="float32", seed=0):
    G = Net([Linear(3, width), ReLU(), Linear(width, 5), Sigmoid()], dtype, seed)
    D = Net([Dropout(.8), Linear(5, 6), Maxout(3), LeakyReLU(.1), Linear(2, 1)], dtype, seed + 1)
    sgd_g, sgd_d = Momentum(G, .1), Momentum(D, .1)
    for sgd in (sgd_g, sgd_d):
        sgd.net.grad[...] = 1
        sgd.ascend()
    return sgd_g, sgd_d


def values(backend, sgd):
    return backend.asnumpy(sgd.net.theta), backend.asnumpy(sgd.v), sgd.t


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, *optimizers(), {"seed": 0})
    return path


def test_what_is_saved_comes_back_to_the_bit(xp, tmp_path):
    path = tmp_path / "c.npz"
    saved, other = optimizers(), optimizers(seed=5)
    checkpoint.save(path, *saved, {"seed": 7, "history": [{"V": .1 + .2}]})
    about = checkpoint.restore(path, *other)
    assert about["seed"] == 7 and about["history"] == [{"V": .1 + .2}]
    for a, b in zip(saved, other):
        for x, y in zip(values(xp, a), values(xp, b)):
            np.testing.assert_array_equal(x, y)


def test_adams_two_vectors_come_back_and_a_momentum_checkpoint_is_refused_in_one_sentence(xp, tmp_path, path):
    def adams(seed):
        G = Net([Linear(3, 4), ReLU(), Linear(4, 5)], seed=seed)
        D = Net([Noise(.3), Linear(5, 1)], seed=seed)
        return [Adam(G, .1), Adam(D, .1)]

    saved, other = adams(0), adams(1)
    for sgd in saved:
        for _ in range(3):
            sgd.net.grad[...] = 1
            sgd.ascend()
    checkpoint.save(tmp_path / "adam.npz", *saved, {})
    checkpoint.restore(tmp_path / "adam.npz", *other)
    for a, b in zip(saved, other):
        assert a.t == b.t == 3
        for x, y in ((a.net.theta, b.net.theta), (a.v, b.v), (a.s, b.s)):
            np.testing.assert_array_equal(xp.asnumpy(x), xp.asnumpy(y))
    z = xp.asarray(np.random.default_rng(0).random((7, 3)), "float32")
    G, D = npgan.load(tmp_path / "adam.npz")
    np.testing.assert_array_equal(xp.asnumpy(D(G(z))), xp.asnumpy(saved[1].net(saved[0].net(z))))
    with pytest.raises(ValueError, match=r"G\.s\.0\.W should be float32 \(3, 4\), but it is missing"):
        checkpoint.restore(path, *(Adam(sgd.net, .1) for sgd in optimizers()))


def test_a_kept_mean_comes_back_and_is_what_load_gives_as_g(xp, tmp_path):
    saved, other = optimizers(), optimizers()
    for sgd_g, _ in (saved, other):
        sgd_g.average(100)
    saved[0].mean[...] = .25
    checkpoint.save(tmp_path / "mean.npz", *saved, {})
    checkpoint.restore(tmp_path / "mean.npz", *other)
    assert (xp.asnumpy(other[0].mean) == .25).all() and not (xp.asnumpy(other[0].net.theta) == .25).any()
    G, D = npgan.load(tmp_path / "mean.npz")
    assert (xp.asnumpy(G.theta) == .25).all()
    np.testing.assert_array_equal(xp.asnumpy(D.theta), xp.asnumpy(saved[1].net.theta))
    with pytest.raises(ValueError, match=r"G\.mean\.0\.W should be .*, but it is missing"):
        checkpoint.save(tmp_path / "none.npz", *optimizers(), {})
        checkpoint.restore(tmp_path / "none.npz", *other)


def test_load_gives_g_and_d_ready_to_use(xp, tmp_path):
    path = tmp_path / "c.npz"
    sgd_g, sgd_d = optimizers(dtype="float64")
    checkpoint.save(path, sgd_g, sgd_d, {})
    G, D = npgan.load(path)
    z = xp.asarray(np.random.default_rng(0).random((7, 3)))
    np.testing.assert_array_equal(xp.asnumpy(D(G(z))), xp.asnumpy(sgd_d.net(sgd_g.net(z))))


def test_the_file_is_plain_arrays_by_name(path):
    with np.load(path, allow_pickle=False) as f:
        assert {"G.0.W", "G.0.b", "G.v.2.W", "D.1.W", "D.v.4.b", "about"} <= set(f.files)
        assert f["G.0.W"].shape == (3, 4)
        assert json.loads(f["about"].tobytes())["G"]["layers"] == LAYERS


def test_a_failure_while_writing_leaves_the_old_file_and_no_litter(path, monkeypatch):
    before = path.read_bytes()

    def fail(f, **arrays):
        f.write(b"half")
        raise OSError("no space left on device")
    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(path, *optimizers(), {})
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_another_architecture_is_refused_naming_both(path):
    words = re.escape(f"{path}: its G is Linear(3, 4) - ReLU()") + r".*this run's is Linear\(3, 9\)"
    with pytest.raises(ValueError, match=words) as e:
        checkpoint.restore(path, *optimizers(width=9))
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="G.0.W should be float64"):
        checkpoint.restore(path, *optimizers(dtype="float64"))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.npz"):
        npgan.load(tmp_path / "nothing.npz")


def test_a_pickle_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb()))
    np.savez(tmp_path / "b.npz", about=np.array([Bomb()], dtype=object))
    np.save(tmp_path / "c.npz", np.array([Bomb()], dtype=object))
    for name in ("a.npz", "b.npz", "c.npz.npy"):
        with pytest.raises(ValueError, match=re.escape(name)):
            npgan.load(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def rewrite(path, **changes):
    with np.load(path) as f:
        arrays = dict(f)
    about = json.loads(arrays["about"].tobytes())
    for key, value in changes.items():
        if key in arrays and key != "about":
            arrays[key] = value
        else:
            about[key] = value
    np.savez(path, **{**arrays, "about": np.frombuffer(json.dumps(about).encode(), np.uint8)})


@pytest.mark.parametrize("changes, words", [
    ({"format": "another"}, "format is 'another'"),
    ({"G": {"layers": [["system", "rm"]], "dtype": "float32", "t": 0}},
     r"G.layers is \[\['system', 'rm'\]\]"),
    ({"G": {"layers": [["Linear", 10 ** 9, 10 ** 9]], "dtype": "float32", "t": 0}},
     "1000000001000000000 parameters, the file has 41"),
    ({"G": {"layers": [["Linear", 3]], "dtype": "float32", "t": 0}}, "damaged"),
    ({"G": {"layers": [["Linear", -3, -4]], "dtype": "float32", "t": 0}}, "damaged"),
    ({"G": {"layers": [["Layer"]], "dtype": "float32", "t": 0}}, "damaged"),
    ({"G": 3}, "damaged"),
    ({"D": {"layers": [], "dtype": "float32", "t": -1}}, "D.t is -1"),
    ({"G": {"layers": [["Affine"]], "dtype": "float32", "t": 0}}, r"G.layers is \[\['Affine'\]\]"),
    ({"G": {"layers": LAYERS, "dtype": "float32"}}, "damaged"),
    ({"G": {"layers": LAYERS, "dtype": "object", "t": 0}}, "damaged"),
    ({"G.0.W": np.zeros((4, 3), np.float32)},
     r"G.0.W should be float32 \(3, 4\), but it is float32 \(4, 3\)"),
    ({"G.0.W": np.zeros((3, 4))}, r"but it is float64"),
])
def test_a_checkpoint_with_a_foreign_part_is_refused_naming_the_file(path, changes, words):
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=words) as e:
        npgan.load(path)
    assert str(path) in str(e.value) and "\n" not in str(e.value)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_to_the_file_gives_anything_but_the_networks_or_one_clear_error(path, data):
    copy = path.with_suffix(".copy")            # the fixture is made once for all examples of hypothesis
    if not copy.exists():
        copy.write_bytes(path.read_bytes())
    whole = copy.read_bytes()
    damaged = bytearray(whole)
    kind = data.draw(st.sampled_from(["cut", "flip", "foreign", "insert"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        damaged = damaged[:at]
    elif kind == "flip":
        damaged[at] ^= data.draw(st.integers(1, 255))
    elif kind == "insert":
        damaged[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    else:
        damaged = bytearray(data.draw(st.binary(max_size=200)))
    path.write_bytes(damaged)
    for use in (npgan.load, lambda path: checkpoint.restore(path, *optimizers())):
        try:
            use(path)
        except ValueError as e:
            assert str(path) in str(e) and "\n" not in str(e)
