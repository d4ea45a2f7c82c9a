"""How long it takes from a shell's prompt to 99 % on MNIST: `configs/mnist_fast.py` beside the same recipe in PyTorch.

    TORCH_PYTHON=PATH python -m benchmarks.fast [--rounds N]

Whole processes, interleaved: import, compilation, two epochs, all 10,000 test images; this library also writes its
run's folder. Each round has a seed of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.epoch import torch_python
from flaxcnn.data import load


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fast", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes of each library (default 5)")
    options = parser.parse_args()
    torch = torch_python()
    if torch is None:
        print("no interpreter with PyTorch: name one as TORCH_PYTHON", file=sys.stderr)
        return 2
    mnist, found = load("mnist"), {"flaxcnn": [], "PyTorch": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mnist.npz"
        arrays = {"train": mnist.train, "test": mnist.test}
        np.savez(
            file,
            **{f"{name}_images": split.images for name, split in arrays.items()},
            **{f"{name}_labels": split.labels for name, split in arrays.items()},
        )
        for seed in range(options.rounds):
            run = Path(folder) / f"seed-{seed}"
            ours = [
                sys.executable,
                "-m",
                "flaxcnn",
                "train",
                "mnist_fast",
                "--training.seed",
                str(seed),
                "--out",
                str(run),
            ]
            seconds, _ = _timed(ours)
            summary = json.loads((run / "summary.json").read_text())
            found["flaxcnn"].append((seconds, summary["test_accuracy"]))
            seconds, printed = _timed([torch, "-m", "benchmarks.programs.torch_fast", str(file), str(seed)])
            found["PyTorch"].append((seconds, float(printed)))
            print(f"seed {seed}: {found['flaxcnn'][-1]} {found['PyTorch'][-1]}", file=sys.stderr)
    print(f"{'':10}{'median':>9}{'min':>9}{'max':>9}{'accuracy':>10}")
    for name, rounds in found.items():
        seconds, accuracies = zip(*rounds, strict=True)
        print(
            f"{name:10}{statistics.median(seconds):8.1f}s{min(seconds):8.1f}s{max(seconds):8.1f}s"
            f"{statistics.mean(accuracies):10.4f}"
        )
    return 0


def _timed(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout


if __name__ == "__main__":
    sys.exit(main())
