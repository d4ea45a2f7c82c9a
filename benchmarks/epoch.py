"""Times one epoch of the paper's run, by this library and by its peers, on CPU: `make bench`.

    python -m benchmarks.epoch [--rounds N] [--json FILE] [--check]

Each program is a process that compiles, warms up, and then waits; in each round every one trains an epoch in turn, from
fresh weights, on the same batches. So a machine that grows slower meanwhile is slower for all of them, and the ratios
of the medians stand. Only the steps are timed. PyTorch takes part where TORCH_PYTHON names an interpreter that has it,
or where this one has.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.worker import Epoch, Worker

BATCH_SIZE = 50
TARGET = 0.55  # of the plain Flax program's time, at most, on jax 0.12


def epoch_flops(images: int) -> int:
    """Return the floating-point operations of an epoch's products, a multiplication and an addition counting as two.

    A layer's gradients cost as much as its output each: with respect to its kernel, and to its input. The first layer's
    input needs none.

    >>> epoch_flops(60_000)
    984076800000
    """
    conv1 = 2 * (28 * 28 * 16) * (5 * 5 * 1)
    conv2 = 2 * (14 * 14 * 32) * (5 * 5 * 16)
    dense = 2 * 10 * 1568
    return images * (2 * conv1 + 3 * conv2 + 3 * dense)


def jax_minor() -> int:
    """Return 12 for jax 0.12.0.1."""
    return int(importlib.metadata.version("jax").split(".")[1])


def paper_epoch(steps: int | None) -> Epoch:
    """Return the epoch that every program trains on, or its first steps."""
    from flaxcnn.data import epoch_order, load

    train = load("mnist").train
    images = len(train) if steps is None else steps * BATCH_SIZE
    return Epoch(train.images[:images], train.labels[:images], epoch_order(0, 0, images), BATCH_SIZE)


def torch_python() -> str | None:
    """Return the interpreter that has PyTorch, if there is one."""
    named = os.environ.get("TORCH_PYTHON")
    return named or (sys.executable if importlib.util.find_spec("torch") else None)


def measure(epoch: Epoch, rounds: int) -> dict[str, Any]:
    """Run all programs, interleaved, and return what they said: {program: {"about": ..., "rounds": [...]}}."""
    pythons = {"ours": sys.executable, "naive_flax": sys.executable, "torch_channels_last": torch_python()}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "epoch.npz"
        epoch.save(file)
        workers = [
            stack.enter_context(closing(Worker(program, str(file), python=python)))
            for program, python in pythons.items()
            if python
        ]
        workers.append(stack.enter_context(closing(Worker("matrix_rate"))))
        results: dict[str, Any] = {worker.name: {"about": worker.about, "rounds": []} for worker in workers}
        for number in range(rounds):
            for worker in workers:
                results[worker.name]["rounds"].append(worker.measure())
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return results


def summarize(results: dict[str, Any], images: int) -> dict[str, Any]:
    """Add the statistics to what was measured."""
    rate = max(round_["flops_per_second"] for round_ in results["matrix_rate"]["rounds"])
    programs = {}
    for name, result in results.items():
        if name == "matrix_rate":
            continue
        seconds = [round_["seconds"] for round_ in result["rounds"]]
        programs[name] = {
            **result["about"],
            "seconds": seconds,
            "median": statistics.median(seconds),
            "last_loss": result["rounds"][-1]["last_loss"],
        }
    for program in programs.values():
        program["of_naive_flax"] = program["median"] / programs["naive_flax"]["median"]
    return {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "load_average": os.getloadavg()[1],
        "images": images,
        "programs": programs,
        "matrix_flops_per_second": rate,
        "epoch_flops": epoch_flops(images),
        "seconds_at_matrix_rate": epoch_flops(images) / rate,
        "target": TARGET if jax_minor() >= 12 else None,
        "met": jax_minor() < 12 or programs["ours"]["of_naive_flax"] <= TARGET,
    }


def report(summary: dict[str, Any]) -> str:
    """Return the summary as a person reads it."""
    lines = [
        f"An epoch of {summary['images']:,} images on {summary['machine']}; the loss is that of the last 100 steps.",
        f"{'':34}{'median':>8}{'min':>8}{'max':>8}{'of plain':>10}{'loss':>8}",
    ]
    for program in summary["programs"].values():
        seconds = program["seconds"]
        lines.append(
            f"{program['library']:34}{program['median']:7.2f}s{min(seconds):7.2f}s{max(seconds):7.2f}s"
            f"{program['of_naive_flax']:10.3f}{program['last_loss']:8.4f}"
        )
    ratio = summary["programs"]["ours"]["of_naive_flax"]
    lines += [
        f"{'its products at the matrix rate':34}{summary['seconds_at_matrix_rate']:7.2f}s"
        f"  ({summary['epoch_flops'] / 1e9:.0f} GFLOP at {summary['matrix_flops_per_second'] / 1e9:.0f} GFLOP/s)",
    ]
    if summary["target"] is not None:
        lines.append(
            f"{'PASS' if summary['met'] else 'FAIL'}: this library takes {ratio:.3f} of the plain program's time; "
            f"at most {summary['target']} is the target on jax 0.12."
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each program (default 5)")
    parser.add_argument("--steps", type=int, help="steps of an epoch, for a quick look (default: all 1,200)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--check", action="store_true", help="exit with 1 where the target is missed")
    options = parser.parse_args()
    epoch = paper_epoch(options.steps)
    summary = summarize(measure(epoch, options.rounds), len(epoch.images))
    print(report(summary))
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n")
    return 1 if options.check and not summary["met"] else 0


if __name__ == "__main__":
    sys.exit(main())
