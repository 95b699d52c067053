"""Time one iteration on toy data, networks of width 64: step.py with --preset toy."""

import step

from npgan.runs import options

if __name__ == "__main__":
    options.run_program(step.parser("toy"), step.main)
