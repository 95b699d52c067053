"""examples/hello.py as a newcomer runs it, and as the README shows it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "examples" / "hello.py"


@pytest.fixture(scope="module")
def output():
    """The statistics that hello.py prints, and its picture: lists of lines."""
    done = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    statistics = [line for line in lines if line.startswith("iteration")]
    return statistics, lines[len(statistics):]


def test_hello_prints_its_statistics_every_250_iterations_and_v_ends_near_minus_log_4(output):
    statistics, _ = output
    assert [int(line.split()[1]) for line in statistics] == list(range(0, 5001, 250))
    V, D_x, D_Gz = (float(word) for word in statistics[-1].split()[3::2])
    assert abs(V + 1.386) < .1 and abs(D_x - .5) < .1 and abs(D_Gz - .5) < .1


def test_the_picture_has_dense_spots_at_all_eight_modes_and_nothing_in_the_middle(output):
    _, picture = output
    assert len(picture) == 20
    rows = [line.ljust(40) for line in picture]

    def around(row, column):
        return "".join(rows[r][column - 3:column + 4] for r in range(row - 1, row + 2))
    modes = [(10, 35), (4, 30), (2, 20), (4, 9), (10, 4), (15, 9), (17, 20), (15, 30)]
    assert all("#" in around(*mode) for mode in modes)
    assert around(10, 20).strip() == ""


def test_the_readme_shows_hello_and_what_it_prints(output):
    statistics, picture = output
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.split("```python\n")[1].split("```")[0] == PROGRAM.read_text(encoding="utf-8")
    shown = readme.split("```python\n")[1].split("```")[2].strip("\n").splitlines()
    assert shown[:3] == [*statistics[:1], shown[1], "..."]
    assert len(shown) == 4 + len([line for line in picture if line.strip()])
