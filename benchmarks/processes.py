"""Whole processes, from start to exit: seconds, the first logged row, peak memory, accuracy; and what imports take."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.jobs import Job, as_fields
from benchmarks.worker import ROOT, ROWS
from benchmarks.workloads import EPOCH_STEPS, OURS, TORCH, Process


class Launcher:
    """Starts the processes of one benchmark, with caches, folders and an environment of their own.

    Args:
        folder: for all that they write.
        data: the file of `Data` that the peers read.
        pythons: the interpreter of each program.
        most_steps: of a training; None for all.
    """

    def __init__(self, folder: Path, data: Path, pythons: Mapping[str, str], most_steps: int | None = None):
        self._folder, self._data, self._pythons = folder, data, pythons
        self._most_steps = EPOCH_STEPS if most_steps is None else most_steps
        self._caches: dict[str, Path] = {}
        self._count = 0

    def measure(self, process: Process, seed: int = 0) -> dict[str, Any]:
        """Run a process and return `seconds`, `first_row_seconds`, `peak_bytes` and `accuracy`.

        Args:
            process: which one.
            seed: of a training of `mnist_fast`.
        """
        out = self._new("run")
        module, arguments = self._command(process, out, seed, self._most_steps)
        measured = self._run(process, [module, *arguments], out / ROWS)
        return {**measured, "accuracy": _accuracy(out)}

    def first(self, process: Process) -> Path:
        """Run a process of one step, untimed, and return a file with the names of all that it imported.

        Its compiled programs stay in the cache, and its modules' bytecode on the disk.
        """
        names, out = self._new("imports"), self._new("run")
        module, arguments = self._command(process, out, seed=0, most_steps=1)
        self._run(process, ["benchmarks.imports", "record", str(names), module, *arguments], out / ROWS)
        return names

    def import_bytes(self, process: Process, names: Path) -> int:
        """Return the peak memory of a process that imports what is named, and does nothing else."""
        return self._run(process, ["benchmarks.imports", "load", str(names)], self._folder / "none")["peak_bytes"]

    def _command(self, process: Process, out: Path, seed: int, most_steps: int) -> tuple[str, list[str]]:
        """Return the module that a process runs, and its arguments."""
        if process.job is not None:
            line = json.dumps(as_fields(process.job.at_most(most_steps)))
            return f"benchmarks.programs.{process.program}", ["run", str(self._data), str(out), line]
        steps = 1 if process.task == "first_step" else min(most_steps, EPOCH_STEPS)
        if process.program == OURS:
            options = {
                "paper": [],
                "first_step": ["--logging.test_examples", "0"],
                "fast": ["mnist_fast", "--training.seed", str(seed)],
            }[process.task]
            limit = ["--training.steps", str(steps)] if steps < EPOCH_STEPS else []
            return "flaxcnn", ["train", *options, *limit, "--out", str(out)]
        if process.task == "fast":
            assert process.program == TORCH
            return "benchmarks.programs.torch_fast", [str(self._data), str(out), str(seed), str(steps)]
        job = Job("train", steps, evaluate_every=50, evaluated=0 if process.task == "first_step" else 2000)
        arguments = ["run", str(self._data), str(out), json.dumps(as_fields(job))]
        return f"benchmarks.programs.{process.program}", arguments

    def _run(self, process: Process, words: list[str], first_row: Path) -> dict[str, Any]:
        launch = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "launch.py"), str(first_row)]
        command = [self._pythons[process.program], "-m", *words]
        done = subprocess.run(
            [*launch, *command], cwd=ROOT, env=self._environment(process), capture_output=True, text=True
        )
        measured = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"exit_code": done.returncode}
        if measured.pop("exit_code"):
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return measured

    def _environment(self, process: Process) -> dict[str, str]:
        """Return the environment of a process: the user's, but for caches.

        This library keeps what it compiled where the user's caches are; a user of plain JAX names a folder.
        """
        if process.cache == "empty" or process.program not in self._caches:
            self._caches[process.program] = self._new("cache")
        cache = str(self._caches[process.program])
        kept = {
            name: value
            for name, value in os.environ.items()
            # Bytecode is written as usual, not compiled again in each process.
            if name not in ("JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")
        }
        environment = {
            **kept,
            "JAX_PLATFORMS": "cpu",
            "KERAS_BACKEND": "jax",
            "MPLCONFIGDIR": str(self._folder / "matplotlib"),  # its fonts are no compiled programs
        }
        if process.program == OURS:
            return {**environment, "XDG_CACHE_HOME": cache}
        return {**environment, "JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def _new(self, kind: str) -> Path:
        self._count += 1
        return self._folder / f"{kind}-{self._count}"


def _accuracy(folder: Path) -> float | None:
    """Return the last accuracy that a process logged, or that its summary says; None where there is none."""
    rows = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
    accuracy: float | None = rows[-1].get("test_accuracy")
    if accuracy is None and (folder / "summary.json").exists():
        return json.loads((folder / "summary.json").read_text())["test_accuracy"]
    return accuracy
