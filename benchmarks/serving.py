"""What `flaxcnn serve` answers a second, with batches and without, to one client and to a thousand.

    python -m benchmarks.serving [--rounds N] [--seconds N] [--clients 1,8,64,1000] [--models A,B]

Two services of the same run, one of which computes each image alone, are asked in turn, round after round, so that a
machine that grows slower is slower for both. The clients run on the same cores. The medians of the rounds are printed.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from benchmarks.asking import Asked, ask

ROOT = Path(__file__).parents[1]
MODELS = {"paper_cnn": (28, 1), "efficientnet_lite0": (64, 3)}
"""A model of the library -> the side of its images in pixels, and their channels."""
KINDS = {"batches of 32": "32", "one at a time": "1"}  # --max_batch
_IMAGES = 32


class Service(NamedTuple):
    """A process of `flaxcnn serve` that is ready."""

    url: str
    pid: int

    def forget_peak(self) -> None:
        """Start the peak of its memory again."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Return the most memory that it had, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


@contextmanager
def served(run: Path, *options: str) -> Iterator[Service]:
    """Serve a run while entered, at a port that is free."""
    words = [sys.executable, "-m", "flaxcnn", "serve", str(run), "--port", "0", *options]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "ready" not in line:
            raise RuntimeError("the service did not start; its own words stand above")
        try:
            yield Service(line.split()[0], process.pid)
        finally:
            process.terminate()
            process.stdout.read()


def write_images(folder: Path, side: int, channels: int) -> list[bytes]:
    """Write a folder of two classes of noise, and return its files."""
    files = []
    for place in range(_IMAGES):
        pixels = np.random.default_rng(place).integers(0, 256, (side, side, channels), np.uint8)
        encoded = io.BytesIO()
        PIL.Image.fromarray(pixels.squeeze()).save(encoded, "PNG")
        files.append(encoded.getvalue())
        path = folder / str(place % 2) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.getvalue())
    return files


def train(folder: Path, model: str) -> Path:
    """Train a model for one step on the images of a folder, and return its run."""
    side, _ = MODELS[model]
    run = folder / "run"
    words = [
        sys.executable,
        "-m",
        "flaxcnn",
        "train",
        f"folder:{folder / 'photos'}",
        "--model",
        model,
        "--out",
        str(run),
    ]
    words += ["--data.size", str(side), str(side), "--training.steps", "1", "--batch_size", "8"]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return run


def measure(
    model: str, clients: list[int], rounds: int, seconds: float
) -> dict[int, dict[str, list[tuple[Asked, int]]]]:
    """Return, by the number of clients and the kind of service, what was asked in each round, and the peak in bytes."""
    found: dict[int, dict[str, list[tuple[Asked, int]]]] = {count: {kind: [] for kind in KINDS} for count in clients}
    with tempfile.TemporaryDirectory(prefix="flaxcnn-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        images = write_images(folder / "photos", *MODELS[model])
        run = train(folder, model)
        services = {kind: stack.enter_context(served(run, "--max_batch", most)) for kind, most in KINDS.items()}
        for service in services.values():
            ask(service.url, images, 8, times=4)
        for number in range(rounds):
            for count in clients:
                kinds = list(services.items())
                for kind, service in kinds if number % 2 else reversed(kinds):  # which one comes first, takes turns
                    service.forget_peak()
                    asked = ask(service.url, images, count, seconds=seconds)
                    found[count][kind].append((asked, service.peak()))
            print(f"round {number + 1} of {rounds}: {model}", file=sys.stderr, flush=True)
    return found


def table(found: dict[int, dict[str, list[tuple[Asked, int]]]]) -> list[str]:
    """Return the medians as lines of a table in Markdown."""
    lines = ["| clients | service | requests/s | ratio | p50 | p99 | peak memory |", "|--:|---|--:|--:|--:|--:|--:|"]
    for count, kinds in found.items():
        rates = {kind: statistics.median(asked.rate for asked, _ in rounds) for kind, rounds in kinds.items()}
        for kind, rounds in kinds.items():
            middle, late = (
                1000 * statistics.median(asked.percentile(percent) for asked, _ in rounds) for percent in (50, 99)
            )
            peak = max(peak for _, peak in rounds) / 2**20
            ratio = rates[kind] / rates["one at a time"]
            lines.append(
                f"| {count:,} | {kind} | {rates[kind]:,.0f} | {ratio:.2f} | {middle:,.1f} ms | {late:,.1f} ms "
                f"| {peak:,.0f} MiB |"
            )
            others = {code for asked, _ in rounds for code in asked.codes} - {200}
            if others:
                print(f"{count:,} clients, {kind}: answers with {sorted(others)}", file=sys.stderr)
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each kind (default 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each round asks (default 5)")
    parser.add_argument("--clients", default="1,8,64,1000", help="numbers of clients (default 1,8,64,1000)")
    parser.add_argument("--models", default=",".join(MODELS), help=f"some of {', '.join(MODELS)}")
    options = parser.parse_args()
    clients = [int(word) for word in options.clients.split(",")]
    for model in options.models.split(","):
        side, channels = MODELS[model]
        lines = table(measure(model, clients, options.rounds, options.seconds))
        print("\n".join([f"\n{model}, PNG images of {side}×{side}×{channels}\n", *lines]), flush=True)


if __name__ == "__main__":
    main()
