"""Time one iteration on toy data, networks of width 64: step.py --preset toy, with the options of step.py."""

import sys

import step

from npgan import run

if __name__ == "__main__":
    sys.argv[1:1] = ["--preset", "toy"]
    run.command(step.parser(), step.main)
