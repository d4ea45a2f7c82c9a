"""Measures rows: round after round, and in each round every program in turn.

A machine that grows slower meanwhile is slower for all of them, and the ratios of the medians stand.
"""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jobs import as_fields
from benchmarks.processes import Launcher
from benchmarks.worker import ROOT, Data, Worker
from benchmarks.workloads import LIMIT, MEMORY_ROWS, OURS, Process, Row, with_at_most

Measured = dict[str, list[dict[str, Any]]]  # of a row: every program's measurements, round after round
_ROUNDING = 1e-3  # by which programs that do the same may differ in the means of what they compute


def measure(
    rows: Iterable[Row], pythons: Mapping[str, str], *, rounds: int | None = None, steps: int | None = None
) -> dict[str, Any]:
    """Measure rows and return every figure, as it is written as JSON.

    Args:
        rows: some of `workloads.ROWS`.
        pythons: the interpreters of the programs that take part.
        rounds: in place of the rows' own.
        steps: the most steps of a training, for a quick look; None for all.
    """
    rows = [with_at_most(row._replace(rounds=rounds or row.rounds), steps) for row in rows]
    data = paper_data()
    with tempfile.TemporaryDirectory(prefix="flaxcnn-bench-") as name:
        folder = Path(name)
        data.save(folder / "data.npz")
        libraries, measured = _jobs([row for row in rows if row.job], pythons, folder / "data.npz")
        whole = [row for row in rows if row.processes]
        launcher = Launcher(folder, folder / "data.npz", pythons, steps)
        imports = {}
        for workload in dict.fromkeys(row.workload for row in whole):
            group = [row for row in whole if row.workload == workload]
            imports[workload], results = _processes(group, launcher, pythons)
            measured |= results
    return {
        **circumstances(),
        "steps_at_most": steps,
        "data_bytes": sum(array.nbytes for array in data[:4]),
        "libraries": libraries,
        "rows": {
            row.name: {
                "workload": row.workload,
                "label": row.label,
                "measure": row.measure,
                "job": row.job and as_fields(row.job),
                "flops": row.flops(),
                "rounds": measured[row.name],
                "import_bytes": imports.get(row.workload) if row.name in MEMORY_ROWS else None,
            }
            for row in rows
        },
    }


def paper_data() -> Data:
    """Return the data that every program works on, in the order of this library's first epoch."""
    from flaxcnn.data import epoch_order, load

    mnist = load("mnist")
    order = epoch_order(0, 0, len(mnist.train))
    return Data(mnist.train.images, mnist.train.targets, mnist.test.images, mnist.test.targets, order)


def kernels() -> str:
    """Return which kernels flaxcnn's convolutions run on, here as in the programs that are measured."""
    from flaxcnn.kernels import library

    reason = library.why_not()
    return f"{library.describe()} ({reason})" if reason else library.describe()


def circumstances() -> dict[str, Any]:
    """Return when, where and of what the figures are."""
    first_core = [line.partition(":") for line in _read("/proc/cpuinfo").partition("\n\n")[0].splitlines()]
    processor = {name.strip(): value.strip() for name, _, value in first_core}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": _git("status", "--porcelain", "--untracked-files=no"),
        "kernels": kernels(),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "architecture": platform.machine(),
            "processor": processor.get("model name", platform.processor()),
            "avx512": "avx512f" in processor.get("flags", "").split(),
            "load_average": os.getloadavg()[1],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")},
        },
    }


def _jobs(rows: list[Row], pythons: Mapping[str, str], data: Path) -> tuple[dict[str, str], dict[str, Measured]]:
    """Return what each program is, and the measurements of rows of jobs."""
    if not rows:
        return {}, {}
    measured: dict[str, Measured] = {}
    with ExitStack() as stack:
        workers = {
            program: stack.enter_context(closing(Worker(program, "serve", str(data), python=python)))
            for program, python in pythons.items()
        }
        workers[LIMIT] = stack.enter_context(closing(Worker("matrix_rate", "serve", str(data))))
        for row in rows:
            assert row.job is not None
            wanted = row.programs if row.flops() is None else (*row.programs, LIMIT)
            doing = {program: worker for program, worker in workers.items() if program in wanted}
            measured[row.name] = {program: [] for program in doing}
            for number in range(row.rounds):
                for program, worker in doing.items():
                    if number == 0 or program not in row.once:
                        measured[row.name][program].append(worker.measure(row.job))
                require_same_work(row.label, measured[row.name])
                _progress(row.label, number, row.rounds)
        return {program: worker.about["library"] for program, worker in workers.items()}, measured


def require_same_work(label: str, measured: Measured) -> None:
    """Compare what the programs of a row say of their work, the number of parameters or means of their outputs.

    Raises:
        RuntimeError: two programs did not do the same, so their times are no comparison.
    """
    said = {program: rounds[-1]["same"] for program, rounds in measured.items() if rounds[-1].get("same")}
    for program, numbers in said.items():
        ours = said.get(OURS, numbers)
        if len(numbers) != len(ours) or not np.allclose(numbers, ours, rtol=_ROUNDING, atol=0):
            raise RuntimeError(f"{label}: {program} does not do what {OURS} does: {numbers}, expected {ours}")


def _processes(
    rows: list[Row], launcher: Launcher, pythons: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, Measured]]:
    """Return the memory of each program's imports where it is reported, and the measurements of a workload's rows."""
    wanted = dict.fromkeys(process for row in rows for process in row.processes if process.program in pythons)
    # A program's processes follow each other in a round: what the one with an empty cache compiles, the next one finds.
    processes = sorted(wanted, key=lambda process: (list(pythons).index(process.program), process.cache))
    imports: dict[str, int] = {}
    for program in dict.fromkeys(process.program for process in processes):
        process = next(each for each in processes if each.program == program)
        names = launcher.first(process)  # leaves bytecode and compiled programs behind, too
        if any(row.name in MEMORY_ROWS for row in rows):
            imports[program] = launcher.import_bytes(process, names)
    results: dict[Process, list[dict[str, Any]]] = {process: [] for process in processes}
    for number in range(rows[0].rounds):
        for process in processes:
            results[process].append(launcher.measure(process, seed=number))
        _progress(rows[-1].label, number, rows[0].rounds)
    return imports, {
        row.name: {process.program: results[process] for process in row.processes if process in results} for row in rows
    }


def _progress(label: str, number: int, rounds: int) -> None:
    print(f"round {number + 1} of {rounds}: {label}", file=sys.stderr, flush=True)


def _git(*words: str) -> str | None:
    """Return what git says of the checkout; None where there is none."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
