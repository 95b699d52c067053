"""Time one iteration of networks of width 64 on toy data. This is step.py --preset toy."""

import step

from npgan.runs import options

if __name__ == "__main__":
    options.run_program(step.parser("toy"), step.main)
