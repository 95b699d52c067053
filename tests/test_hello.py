"""examples/hello.py as a newcomer runs it, and as the README shows it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "examples" / "hello.py"


@pytest.fixture(scope="module")
def output():
    """(statistics, picture): the lines that hello.py prints."""
    done = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    statistics = [line for line in lines if line.startswith("iteration")]
    return statistics, lines[len(statistics):]


def numbers(line):
    """(iteration, V, D(x), D(G(z))) of a line such as "iteration 250   V -1.255   D(x) ..."."""
    return tuple(float(word) for word in line.split()[1::2])


def assert_is_a_ring(picture):
    """The picture is dense at all eight modes and empty in the middle."""
    rows = [line.ljust(40) for line in [*picture, *[""] * 20]]

    def around(row, column):
        return "".join(rows[r][column - 3:column + 4] for r in range(row - 1, row + 2))

    modes = [(10, 35), (4, 30), (2, 20), (4, 9), (10, 4), (15, 9), (17, 20), (15, 30)]
    assert all("#" in around(*mode) for mode in modes)
    assert around(10, 20).strip() == ""


def test_hello_prints_statistics_every_250_iterations_and_v_ends_near_minus_log_4(output):
    statistics, _ = output
    assert [numbers(line)[0] for line in statistics] == list(range(0, 8001, 250))
    _, V, D_x, D_Gz = numbers(statistics[-1])
    assert abs(V + 1.386) < .1 and abs(D_x - .5) < .1 and abs(D_Gz - .5) < .1


def test_hello_draws_the_ring(output):
    _, picture = output
    assert len(picture) == 20
    assert_is_a_ring(picture)


def test_the_readme_shows_hello_and_what_it_prints(output):
    """The figures that the README shows may differ a little on another computer."""
    statistics, picture = output
    code, _, shown, *_ = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")
    assert code == PROGRAM.read_text(encoding="utf-8")
    first, second, dots, last, *ring = shown.strip("\n").splitlines()
    assert first == statistics[0] and dots == "..."
    assert numbers(second) == pytest.approx(numbers(statistics[1]), abs=.05)
    assert numbers(last) == pytest.approx(numbers(statistics[-1]), abs=.05)
    assert_is_a_ring(["", "", *ring])               # the picture begins with two blank lines
    assert abs(len(ring) - len([line for line in picture if line.strip()])) <= 2
