"""Which Python runs which program, and which programs cannot take part here."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.worker import ROOT
from benchmarks.workloads import FLAX, KERAS, OURS, PROGRAMS, TORCH, ZOO, Row

LABELS = {OURS: "flaxcnn", FLAX: "plain Flax", KERAS: "Keras on JAX", TORCH: "PyTorch"}
_NEEDS = {OURS: "flaxcnn", FLAX: "flax", KERAS: "keras", TORCH: "torch"}
_NAMED = {KERAS: "KERAS_PYTHON", TORCH: "TORCH_PYTHON"}  # variables that name another interpreter
_MADE = {KERAS: ".venv-bench-keras", TORCH: ".venv-bench-torch"}  # by scripts/bench_environment.sh


def pythons() -> tuple[dict[str, str], list[str]]:
    """Return the interpreter of each program that can run here, and a line for each that cannot."""
    found, left_out = {}, []
    for program in PROGRAMS:
        python = next((python for python in _candidates(program) if _has(python, _NEEDS[program])), None)
        if python is not None:
            found[program] = python
        else:
            left_out.append(
                f"{LABELS[program]} is left out: no interpreter with {_NEEDS[program]}; make one with "
                f"scripts/bench_environment.sh, or name one as {_NAMED.get(program, 'VENV')}"
            )
    return found, left_out


def able(rows: Iterable[Row], pythons: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """Return rows without the programs that lack what a row needs, and a line for each program that is left out.

    That is PyTorch in the rows of the zoo, which need torchvision. `pythons` are the programs' interpreters.
    """
    rows, python = list(rows), pythons.get(TORCH)
    if python is None or not any(row.workload == ZOO for row in rows) or _has(python, "torchvision"):
        return rows, []
    without = [
        row._replace(
            programs=tuple(program for program in row.programs if program != TORCH),
            processes=tuple(process for process in row.processes if process.program != TORCH),
        )
        if row.workload == ZOO
        else row
        for row in rows
    ]
    return without, [
        "PyTorch is left out of the networks of the zoo: its interpreter has no torchvision; make one with "
        f"scripts/bench_environment.sh, or name one as {_NAMED[TORCH]}"
    ]


def _candidates(program: str) -> list[str]:
    if program not in _NAMED:
        return [sys.executable]
    if named := os.environ.get(_NAMED[program]):
        return [named]
    return [str(ROOT / _MADE[program] / "bin" / "python"), sys.executable]


def _has(python: str, module: str) -> bool:
    if not Path(python).exists():
        return False
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", look], cwd=ROOT, capture_output=True).returncode == 0
