"""What it costs to stream images that do not fit the device, beside the same images in its memory.

    python -m benchmarks.streaming [--rounds N] [--steps N]

MNIST's training images seven times over, 420,000 in a raw file of 329 MB, too large to be held in memory: whole
processes of `flaxcnn train`, interleaved, the seconds of the steps alone. Both see the same batches and end with the
same weights.
"""

import argparse
import json
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from flaxcnn.data import load

TIMES = 7
KINDS = {"in memory": "4096", "streamed, 2 workers": "0"}  # --data.device_memory


def write_images(folder: Path) -> None:
    """Write MNIST, its training images several times over, as raw IDX files."""
    mnist = load("mnist")
    for name, split, times in (("train", mnist.train, TIMES), ("t10k", mnist.test, 1)):
        images, labels = np.asarray(split.images), split.targets.astype(np.uint8)
        with (folder / f"{name}-images-idx3-ubyte").open("wb") as file:
            file.write(struct.pack(">4I", 0x803, times * len(images), 28, 28))
            for _ in range(times):
                file.write(images.tobytes())
        header = struct.pack(">2I", 0x801, times * len(labels))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + times * labels.tobytes())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind (default 5)")
    parser.add_argument("--steps", type=int, default=600, help="of each process (default 600)")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    weights = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder)
        for number in range(options.rounds):
            for kind, memory in KINDS.items():
                run = folder / f"{number}-{memory}"
                words = [sys.executable, "-m", "flaxcnn", "train", "--data.source", f"idx:{folder}", "--out", str(run)]
                words += ["--data.device_memory", memory, "--training.steps", str(options.steps)]
                subprocess.run(words, cwd=Path(__file__).parents[1], check=True, capture_output=True)
                summary = json.loads((run / "summary.json").read_text())
                seconds[kind].append(summary["train_seconds"])
                weights.add(summary["weights_sha256"])
    base = statistics.median(seconds["in memory"])
    for kind, found in seconds.items():
        median = statistics.median(found)
        print(f"{kind:22}{median:8.2f} s ({min(found):.2f} to {max(found):.2f}), {median / base:.3f} of in memory")
    print("the same weights" if len(weights) == 1 else f"DIFFERENT weights: {weights}")


if __name__ == "__main__":
    main()
