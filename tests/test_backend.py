"""npgan.backend: which array module is active, the switch to another, and its own functions."""

import ast
import builtins
import os
import subprocess
import sys
import types
from pathlib import Path

import device as stand_in
import numpy as np
import pytest

from npgan import backend

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def numpy_again():
    yield
    backend.use("numpy")


def python(code, path=(), **environment):
    """Run code in a fresh interpreter. NPGAN_BACKEND is unset unless `environment` has it."""
    env = {k: v for k, v in os.environ.items() if k != "NPGAN_BACKEND"} | environment
    env["PYTHONPATH"] = os.pathsep.join([*map(str, path), str(ROOT)])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)


def is_one_sentence(text, *words):
    """Whether an error message is one sentence that has all these words."""
    return "\n" not in text and not text.endswith(".") and all(word in text for word in words)


def test_numpy_is_the_default():
    r = python("from npgan import backend as xp; print(xp.name(), type(xp.ones(1)).__module__)")
    assert r.stdout.split() == ["numpy", "numpy"], r.stderr


def test_the_environment_chooses_the_backend(tmp_path):
    (tmp_path / "cupy.py").write_text("def is_available(): return True\ndef tanh(x): return 'a kernel'\n")
    code = "from npgan import backend as xp; print(xp.tanh(0), xp.name())"
    r = python(code, [tmp_path], NPGAN_BACKEND="cupy")
    assert r.stdout.split() == ["a", "kernel", "cupy"], r.stderr


def test_the_environment_is_read_at_the_first_look_up_and_not_at_import():
    r = python("from npgan import backend as xp; print('imported'); xp.ones", NPGAN_BACKEND="torch")
    assert r.stdout == "imported\n" and r.returncode == 1
    error = 'ValueError: NPGAN_BACKEND: "torch" is unknown: set it to "numpy" or to "cupy"'
    assert r.stderr.splitlines()[-1] == error


@pytest.mark.parametrize("name", ["torch", "", "NumPy", "cupy "])
def test_an_unknown_backend_is_a_value_error_that_says_what_to_do(name):
    with pytest.raises(ValueError) as e:
        backend.use(name)
    assert is_one_sentence(str(e.value), f'"{name}"', "NPGAN_BACKEND", "numpy", "cupy")


def test_cupy_that_is_not_installed_is_an_import_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError) as e:
        backend.use("cupy")
    assert is_one_sentence(str(e.value), "cannot be imported", "npgan[cuda12]", "npgan[cuda13]",
                           "NPGAN_BACKEND=numpy")


def test_cupy_without_a_gpu_is_an_os_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(is_available=lambda: False))
    with pytest.raises(OSError) as e:
        backend.use("cupy")
    assert is_one_sentence(str(e.value), "no usable NVIDIA GPU", "nvidia-smi", "NPGAN_BACKEND=numpy")


@pytest.mark.parametrize("name", ["torch", "cupy"])
def test_a_switch_that_fails_leaves_the_old_backend_active(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "cupy", None)
    backend.use(stand_in)
    with pytest.raises((ValueError, ImportError)):
        backend.use(name)
    assert backend.name() == "device" and type(backend.ones(1)) is stand_in.ndarray


def test_a_switch_forgets_the_names_of_the_array_module():
    old = backend.tanh, backend.ndarray, backend.random, backend.ones(1)
    assert "tanh" in vars(backend), "a name is looked up once and kept"
    backend.use(stand_in)
    assert "tanh" not in vars(backend)
    assert type(backend.tanh(backend.ones(1))) is backend.ndarray is stand_in.ndarray
    assert backend.random is stand_in.random
    backend.use("numpy")
    assert (backend.tanh, backend.ndarray, backend.random, backend.ones(1)) == old


def test_a_switch_keeps_the_backends_own_functions():
    functions = {"use", "active", "name", "compiles", "asnumpy", "default_rng"}
    assert functions <= set(vars(backend))
    backend.use(stand_in)
    backend.use("numpy")
    assert functions <= set(vars(backend))


def test_a_name_that_the_array_module_lacks_is_an_attribute_error(xp):
    assert not hasattr(xp, "no_such_function") and not hasattr(xp, "__wrapped__")


def test_asnumpy_copies_an_array_of_the_active_module(xp):
    a = xp.zeros(3)
    for b in (xp.asnumpy(a), xp.asnumpy(a)):
        assert type(b) is np.ndarray
        b += 1
    assert float(a.sum()) == 0


def test_asnumpy_copies_an_array_of_the_host_too(xp):
    a = np.zeros(3)
    b = xp.asnumpy(a)
    b += 1
    assert a.sum() == 0 and xp.asnumpy(2.0) == xp.asnumpy(np.float32(2)) == 2


def draw(xp, *key):
    """Four random numbers of the generator with this key."""
    return tuple(xp.asnumpy(xp.default_rng(*key).random(4)).tolist())


def test_one_key_gives_one_stream_and_another_key_another(xp):
    keys = [(0,), (1,), (0, 1), (1, 1), (1, 2), (2, 1), (7, 2**40), (1, 2, 3)]
    assert [draw(xp, *key) for key in keys] == [draw(xp, *key) for key in keys]
    assert len({draw(xp, *key) for key in keys}) == len(keys)


def test_a_zero_at_the_end_of_a_key_makes_another_key():
    assert len({draw(backend, *key) for key in [(1,), (1, 0), (1, 0, 0)]}) == 3


def test_importing_npgan_imports_numpy_and_nothing_else_from_outside():
    r = python("import sys; before = set(sys.modules); import npgan\n"
               "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
               "print(*(m for m in new - sys.stdlib_module_names - {'npgan', 'numpy'} if 'cython' not in m))")
    assert r.returncode == 0, r.stderr
    assert r.stdout.split() == []


def test_backend_py_uses_no_builtin_that_numpy_has_too():
    """A look-up of xp.max keeps NumPy's max among the global names of backend.py.

    From then on, Python code of backend.py that says max would get NumPy's max.
    """
    tree = ast.parse(Path(backend.__file__).read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {name for name in names if hasattr(builtins, name) and name in dir(np)} == set()
