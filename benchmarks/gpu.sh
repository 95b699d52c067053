#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go, correctness first: gradients, the tests marked gpu, the time of an iteration,
# then the paper's whole run. Run it from the project's folder in an environment with CuPy; results go to $OUT (default runs/gpu).
set -euo pipefail
out=${OUT:-runs/gpu}
mkdir -p "$out"
nvidia-smi -L | tee "$out/machine.txt"
NPGAN_BACKEND=cupy python -m npgan.gradcheck | tee "$out/gradcheck.txt"
python -m pytest -m gpu | tee "$out/tests.txt"
for backend in numpy cupy; do                 # the same first iterations on both: V must tell the same story
  NPGAN_BACKEND=$backend python examples/mnist.py --preset paper --epochs 2 --quiet --out "$out/$backend" | tee "$out/$backend.txt"
done
NPGAN_BACKEND=cupy python examples/mnist.py --preset paper --quiet --out "$out/paper" | tee "$out/paper.txt"
