#!/usr/bin/env bash
# Run everything that needs an NVIDIA GPU. Start this script in the project's folder, in an
# environment with CuPy. The results go to $OUT (default runs/gpu), in this order:
#
#   1. correctness: the gradient checks, and the tests that need a GPU
#   2. the first two epochs of the preset paper on MNIST: with NumPy, with CuPy, and with CUDA
#      graphs. Compare the three by hand: V must develop in the same way
#   3. the races against PyTorch, if it is installed for the GPU; a race that fails is skipped
#   4. the preset paper on MNIST, then the preset quick on faces, CIFAR-10 and the Laplacian
#      pyramid; one of these last three is skipped if it fails, for example because its data are
#      missing
#
# The exit status is 1 if a check of step 1 fails. The other steps run even then.
set -euo pipefail
status=0
out=${OUT:-runs/gpu}
mkdir -p "$out"
nvidia-smi -L | tee "$out/machine.txt"
NPGAN_BACKEND=cupy python -m npgan.gradcheck | tee "$out/gradcheck.txt" || status=1
python -m pytest -m gpu | tee "$out/tests.txt" || status=1

for backend in numpy cupy; do
  NPGAN_BACKEND=$backend python examples/mnist.py --preset paper --epochs 2 --quiet --out "$out/$backend" | tee "$out/$backend.txt"
done
export NPGAN_BACKEND=cupy
graphs=0                                # the values of NPGAN_CUDA_GRAPH that work
NPGAN_CUDA_GRAPH=1 python examples/mnist.py --preset paper --epochs 2 --quiet --out "$out/graph" | tee "$out/graph.txt" && graphs="0 1"

if python -c "import torch, threadpoolctl; assert torch.cuda.is_available()"; then
  for preset in paper quick toy cifar; do
    for graph in $graphs; do
      NPGAN_CUDA_GRAPH=$graph python benchmarks/step.py --preset "$preset" --json | tee "$out/step-$preset-graph$graph.json" || true
    done
  done
  python benchmarks/parzen.py --json | tee "$out/parzen.json" || true           # needs scikit-learn
  python benchmarks/conv.py --json | tee "$out/conv.json" || true
  python benchmarks/conv.py --layers lapgan --json | tee "$out/conv-lapgan.json" || true
  python benchmarks/memory.py growth --plot "$out/growth.png" --json | tee "$out/growth.json" || true
fi

NPGAN_CUDA_GRAPH=${graphs##* } python examples/mnist.py --preset paper --quiet --out "$out/paper" | tee "$out/paper.txt"
python examples/faces.py --quiet --out "$out/faces" | tee "$out/faces.txt" || true
for model in fully-connected convolutional; do
  python examples/cifar10.py --model "$model" --quiet --out "$out/cifar10-$model" | tee "$out/cifar10-$model.txt" || true
done
python examples/lapgan.py --quiet --out "$out/lapgan" | tee "$out/lapgan.txt" || true
exit $status
