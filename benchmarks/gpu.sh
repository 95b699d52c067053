#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go, correctness first: gradients, the tests marked gpu, the same first epochs on both
# backends and with passes recorded as CUDA graphs, the races against PyTorch (what fails there is passed over), then the paper's whole run and
# the quick presets. Run it from the project's folder in an environment with CuPy; results go to $OUT (default runs/gpu).
set -euo pipefail
status=0
out=${OUT:-runs/gpu}
mkdir -p "$out"
nvidia-smi -L | tee "$out/machine.txt"
NPGAN_BACKEND=cupy python -m npgan.gradcheck | tee "$out/gradcheck.txt" || status=1
python -m pytest -m gpu | tee "$out/tests.txt" || status=1        # told at the end: what can be measured is measured
for backend in numpy cupy; do                 # the same first iterations on both: V must tell the same story
  NPGAN_BACKEND=$backend python examples/mnist.py --preset paper --epochs 2 --quiet --out "$out/$backend" | tee "$out/$backend.txt"
done
export NPGAN_BACKEND=cupy
graphs=0
NPGAN_CUDA_GRAPH=1 python examples/mnist.py --preset paper --epochs 2 --quiet --out "$out/graph" | tee "$out/graph.txt" && graphs="0 1"
if python -c "import torch, threadpoolctl; assert torch.cuda.is_available()"; then
  for preset in paper quick toy cifar; do
    for graph in $graphs; do                     # the same numbers, each pass launched piece by piece or as one CUDA graph
      NPGAN_CUDA_GRAPH=$graph python benchmarks/step.py --preset "$preset" --json | tee "$out/step-$preset-graph$graph.json" || true
    done
  done
  python benchmarks/parzen.py --json | tee "$out/parzen.json" || true           # needs scikit-learn
  python benchmarks/conv.py --json | tee "$out/conv.json" || true
  python benchmarks/memory.py growth --plot "$out/growth.png" --json | tee "$out/growth.json" || true
fi
NPGAN_CUDA_GRAPH=${graphs##* } python examples/mnist.py --preset paper --quiet --out "$out/paper" | tee "$out/paper.txt"
python examples/faces.py --quiet --out "$out/faces" | tee "$out/faces.txt" || true       # needs the data, as do those of CIFAR-10
for model in fully-connected convolutional; do
  python examples/cifar10.py --model "$model" --quiet --out "$out/cifar10-$model" | tee "$out/cifar10-$model.txt" || true
done
exit $status
