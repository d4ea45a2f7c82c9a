"""How fast image files are decoded, and read from the cache, beside Pillow in as many processes and beside Grain.

    python -m benchmarks.photographs [--rounds N] [--images N] [--grain PYTHON]

Generated photographs, JPEG files of 640×480 pixels, fitted to 224×224. One round after the other, each program in its
turn: Pillow alone in processes of their own (opened, converted, cropped and resized as here, without a reduced scale),
this library without a cache, its processes' start included, and an epoch of batches in random order from its cache.
`--grain` names a Python that has Grain and Pillow: its DataLoader with as many worker processes on the same folder.
Then both loaders' memory is measured, and what becomes of their batches after a kill (`benchmarks.killed_loaders`).
"""

import argparse
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from sklearn.datasets import load_sample_image

from benchmarks.killed_loaders import GRAIN, OURS, look_at

SIZE, BATCH = 224, 32


def write_photographs(folder: Path, count: int) -> None:
    """Write JPEG files of 640×480 pixels in two classes, crops of two photographs that come with scikit-learn."""
    random = np.random.default_rng(0)
    for number in range(count):
        whole = PIL.Image.fromarray(load_sample_image(("china.jpg", "flower.jpg")[number % 2]))
        left, top = (int(value) for value in random.integers(0, 120, 2))
        crop = whole.crop((left, top, left + 480, top + 300)).resize((640, 480), PIL.Image.Resampling.BICUBIC)
        path = folder / ("china", "flower")[number % 2] / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        crop.save(path, quality=90)


def decode_by_pillow(path: str) -> int:
    """Decode as this library does, but at full scale; only a sum is returned, so no pixels travel."""
    with open(path, "rb") as file:
        picture = PIL.Image.open(io.BytesIO(file.read())).convert("RGB")
    width, height = picture.size
    side = min(width, height)
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    return int(np.asarray(picture.resize((SIZE, SIZE), PIL.Image.Resampling.BICUBIC, box=box))[0, 0, 0])


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print images a second."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photographs", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each program (default 5)")
    parser.add_argument("--images", type=int, default=800, help="files (default 800)")
    parser.add_argument("--grain", help="a Python that has Grain and Pillow")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("spawn").Pool(cores) as pool:
        folder = Path(name, "photographs")
        folder.mkdir()
        write_photographs(folder, options.images)
        os.environ["FLAXCNN_CACHE"] = str(Path(name, "cache"))
        seconds = measure(folder, pool, cores, options.rounds, options.grain)
        base = statistics.median(seconds["Pillow"])
        print(f"{options.images:,} JPEG files of 640×480 to {SIZE}×{SIZE}, {cores} cores; images a second")
        for program, found in seconds.items():
            median = statistics.median(found)
            low, high = 1 / max(found), 1 / min(found)
            print(f"{program:38}{1 / median:10,.0f} ({low:,.0f} to {high:,.0f}), {base / median:.2f} of Pillow")
        loaders = {"flaxcnn": [sys.executable, "-m", OURS]}
        if options.grain:
            loaders["Grain's DataLoader"] = [options.grain, str(GRAIN)]
        for program, words in loaders.items():
            for line in look_at(words, folder, cores, Path(name, program)):
                print(f"{program}: {line}")


def measure(
    folder: Path, pool: "multiprocessing.pool.Pool", cores: int, rounds: int, grain: str | None
) -> dict[str, list[float]]:
    """Return the seconds an image of each program, by round."""
    from flaxcnn.data import Options, load

    source, paths = f"folder:{folder}", sorted(map(str, folder.rglob("*.jpg")))
    sized = Options(size=(SIZE,))
    kept = load(source, sized, in_memory=0).train.images
    order = np.random.default_rng(0).permutation(len(kept))

    def epoch() -> None:
        for start in range(0, len(order) - BATCH + 1, BATCH):
            kept[order[start : start + BATCH]]

    decoded = Options(size=(SIZE,), cache=False)
    programs: dict[str, tuple[Callable[[], object], int]] = {
        "Pillow": (lambda: pool.map(decode_by_pillow, paths, chunksize=8), len(paths)),
        "flaxcnn, decoded": (lambda: load(source, decoded, in_memory=1 << 40), len(paths)),
        "flaxcnn, an epoch from the cache": (epoch, len(order) // BATCH * BATCH),
    }
    seconds: dict[str, list[float]] = {program: [] for program in programs}
    for _ in range(rounds):
        for program, (work, count) in programs.items():
            seconds[program].append(timed(work) / count)
        if grain is not None:
            words = [grain, str(GRAIN), str(folder), str(cores), "2"]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            seconds.setdefault("Grain's DataLoader", []).append(float(done.stdout))
    return seconds


if __name__ == "__main__":
    main()
