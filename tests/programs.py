"""How tests run the programs of examples/: as a module, or as a command."""

import contextlib
import importlib.util
import io
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.append(str(EXAMPLES))          # examples import from each other: scripts of one folder may


def load(name, **constants):
    """A fresh module of examples/<name>.py, some of its constants replaced."""
    spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(constants)
    return module


def call(module, *args):
    """What its main returns for these arguments of a command line."""
    return module.main(module.parser().parse_args([str(a) for a in args]))


def command(name, *args):
    return [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, args)]


def shell(name, *args, **env):
    """Run the command in a new process that sees no variable NPGAN... but those in env."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NPGAN")}
    environment = {**inherited, "OPENBLAS_NUM_THREADS": "1", **env}
    return subprocess.run(command(name, *args), capture_output=True, text=True, env=environment)


def run_here(name, *args):
    """Run the command in this process. The result is that of `shell`.

    A new interpreter with its imports takes 0.2 s and more, which this function saves.
    """
    command, out, err = [f"{name}.py", *map(str, args)], io.StringIO(), io.StringIO()
    with (pytest.MonkeyPatch.context() as patch,
          contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)):
        patch.setattr(sys, "argv", command)
        for variable in [v for v in os.environ if v.startswith("NPGAN")]:
            patch.delenv(variable)
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return subprocess.CompletedProcess(command, end.value.code, out.getvalue(), err.getvalue())


def started(arguments, file, **options):
    """A process that runs these arguments, once it has written the file."""
    running = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, **options)
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(.01)
    return running


def interrupted(arguments, file, number=signal.SIGINT, **options):
    """The same, after Ctrl-C or another signal: its status, what it said, its errors."""
    running = started(arguments, file, **options)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    return running.returncode, out, err
