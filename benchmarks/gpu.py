"""Times this library on a GPU beside PyTorch, where that is installed with CUDA: `make bench-gpu`.

    python -m benchmarks.gpu [--rounds N] [--json FILE] [--document [FILE]]

Every program does a job in a process of its own, one after the other: JAX takes most of a GPU's memory for the first,
and a GPU does not slow down under other work as a shared CPU does. Only steps are timed, after a round that compiles
and warms up. With DRY_RUN=1 in the environment the jobs are tiny, and the CPU does them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import backend, measure, peers
from benchmarks.gpu_job import GpuJob
from benchmarks.worker import ROOT
from benchmarks.workloads import EPOCH_STEPS, OURS, TORCH

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- gpu benchmarks: begin -->", "<!-- gpu benchmarks: end -->"
PROGRAMS = {OURS: "gpu_ours", TORCH: "gpu_torch"}
RESNET18, RESNET50 = (2, 2, 2, 2), (3, 4, 6, 3)  # blocks of each stage
NO_GPU = 3  # what `benchmarks.programs.gpu_torch` exits with


def jobs(rounds: int, file: Path, *, dry: bool) -> dict[str, GpuJob]:
    """Return the jobs by their labels."""
    if dry:
        return {
            "the paper's epoch, cut to 20 steps": GpuJob(20, 50, 28, rounds, file=str(file)),
            "four residual blocks, 32×32, batches of 4": GpuJob(2, 4, 32, rounds, (1, 1, 1, 1)),
            "four bottlenecks, 32×32, batches of 4": GpuJob(2, 4, 32, rounds, (1, 1, 1, 1), bottleneck=True),
        }
    return {
        "the paper's epoch, its steps": GpuJob(EPOCH_STEPS, 50, 28, rounds, file=str(file)),
        "ResNet-18, 224×224, batches of 64": GpuJob(30, 64, 224, rounds, RESNET18),
        "ResNet-50, 224×224, batches of 64": GpuJob(30, 64, 224, rounds, RESNET50, bottleneck=True),
    }


def run(program: str, python: str, job: GpuJob) -> dict[str, Any] | None:
    """Return what a program measured; None where it has no GPU.

    Raises:
        RuntimeError: the program failed.
    """
    words = [python, "-m", f"benchmarks.programs.{PROGRAMS[program]}", json.dumps(job._asdict())]
    done = subprocess.run(words, cwd=ROOT, env=backend.environment(), stdout=subprocess.PIPE, text=True)
    if done.returncode == NO_GPU:
        return None
    if done.returncode:
        raise RuntimeError(f"{PROGRAMS[program]} ended with exit code {done.returncode}; its messages stand above")
    return json.loads(done.stdout.splitlines()[-1])


def measured(rounds: int, *, dry: bool) -> dict[str, Any]:
    """Measure every job by every program that can take part, and return all figures."""
    found, left_out = peers.pythons()
    pythons = {name: found[name] for name in PROGRAMS if name in found}
    left_out = [line for line in left_out if line.startswith(peers.LABELS[TORCH])]
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="flaxcnn-bench-gpu-") as folder:
        file = Path(folder) / "data.npz"
        measure.paper_data().save(file)
        for label, job in jobs(rounds, file, dry=dry).items():
            rows[label] = {"job": {**job._asdict(), "file": ""}, "programs": {}}
            for name, python in list(pythons.items()):
                result = run(name, python, job)
                if result is None:
                    left_out.append(f"{peers.LABELS[name]} is left out: it has no GPU in {python}")
                    del pythons[name]
                    continue
                rows[label]["programs"][name] = result
                print(f"{label}: {peers.LABELS[name]}", file=sys.stderr, flush=True)
    for line in left_out:
        print(line, file=sys.stderr)
    # A path of this machine says nothing to a reader.
    public = [line.partition(" in /")[0] for line in left_out]
    return {**measure.circumstances(), "dry_run": dry, "left_out": public, "rows": rows}


def as_markdown(figures: Mapping[str, Any]) -> str:
    """Return the table of all figures: images a second, the range of its rounds, and memory."""
    first = next(iter(figures["rows"].values()))["programs"]
    names = [name for name in PROGRAMS if any(name in row["programs"] for row in figures["rows"].values())]
    heads = [head for name in names for head in (f"{peers.LABELS[name]}, images a second", "memory")]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for label, row in figures["rows"].items():
        images = row["job"]["steps"] * row["job"]["batch_size"]
        cells = [label]
        for name in names:
            result = row["programs"].get(name)
            if result is None:
                cells += ["–", "–"]
                continue
            rates = [images / seconds for seconds in result["seconds"]]
            cells.append(f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})")
            peak = result["peak_bytes"]
            cells.append("not counted" if peak is None else f"{peak / 1e6:,.0f} MB")
        lines.append("| " + " | ".join(cells) + " |")
    kind = "A dry run on the CPU, which says nothing of a GPU: " if figures["dry_run"] else ""
    libraries = ", ".join(result["library"] for result in first.values())
    rest = (
        f"{kind}medians over the rounds of a process, with their range; float32, products in TF32 where the libraries "
        f"use it; the most memory that arrays took. {first[OURS]['device']}, {libraries}; {figures['date'][:10]}."
    )
    return "\n".join([*lines, "", rest[0].upper() + rest[1:]])


def with_table(text: str, table: str) -> str:
    """Return a text with the table between its two markers; raises ValueError if there are not exactly the two."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise ValueError(f"expected one {BEGIN} and one {END} after it")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    """Measure, print, write, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make bench-gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, metavar="N", help="measurements of each program (3; 1 in a dry run)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument(
        "--document",
        type=Path,
        nargs="?",
        const=DOCUMENT,
        metavar="FILE",
        help="rewrite the table there (docs/performance.md)",
    )
    options = parser.parse_args()
    if options.document:
        try:  # before the minutes that it takes
            with_table(options.document.read_text(encoding="utf-8"), "")
        except (OSError, ValueError) as error:
            print(f"error: no place for the table in {options.document}: {error}", file=sys.stderr)
            return 2
    # In a process of its own, which gives the GPU's memory back.
    ready = subprocess.run([sys.executable, "-m", "benchmarks.backend"], cwd=ROOT)
    if ready.returncode:
        return ready.returncode
    dry = backend.dry_run()
    figures = measured(options.rounds or (1 if dry else 3), dry=dry)
    table = as_markdown(figures)
    print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.document:
        text = options.document.read_text(encoding="utf-8")
        options.document.write_text(with_table(text, table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
