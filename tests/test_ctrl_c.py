"""examples/ctrl_c.py: Ctrl-C and requests to terminate while a program imports its modules."""

import os
import signal
import subprocess

import programs
import pytest

PROGRAMS = [path.stem for path in sorted(programs.EXAMPLES.glob("*.py"))
            if "options.run_program(" in path.read_text(encoding="utf-8")]
HANDLED = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.fixture
def end(tmp_path):
    """end(program, number, ...): the program's end if the signal arrives during its imports.

    The program imports a numpy.py that sends the signal, and then ends with the status 7.
    """
    def end(program, number, **options):
        kill = f"import os\nos.kill(os.getpid(), {int(number)})"
        (tmp_path / "numpy.py").write_text(f"{kill}\nraise SystemExit(7)")
        path = os.pathsep.join([str(tmp_path), str(programs.EXAMPLES.parent)])
        return subprocess.run(programs.command(program), capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PYTHONPATH": path}, **options)
    return end


@pytest.mark.parametrize("program, number", [*((program, signal.SIGINT) for program in PROGRAMS),
                                             ("mnist", signal.SIGTERM), ("mnist", signal.SIGHUP)])
def test_a_signal_during_the_imports_ends_a_program_in_one_sentence(program, number, end):
    done = end(program, number)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{program}.py: interrupted before it was complete\n"


def test_a_signal_that_the_process_ignores_stays_ignored_during_the_imports(end):
    done = end("mnist", signal.SIGINT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_is_imported_changes_no_signal_handler(program):
    before = [signal.getsignal(number) for number in HANDLED]
    programs.load(program)
    assert [signal.getsignal(number) for number in HANDLED] == before
