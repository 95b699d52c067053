"""examples/hello.py as a newcomer runs it, and as the README shows it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "examples" / "hello.py"


def test_hello_learns_the_ring_and_prints_what_it_does():
    done = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    statistics = [line for line in lines if line.startswith("iteration")]
    assert len(statistics) == 21
    last_V = float(statistics[-1].split()[3])
    assert abs(last_V + 1.386) < .1, "V ends near -log 4"
    picture = lines[len(statistics):]
    assert len(picture) == 20 and sum(len(line.replace(" ", "")) for line in picture) > 40
