"""Which Python runs which program, and which programs cannot take part here."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.worker import ROOT
from benchmarks.workloads import FLAX, KERAS, OURS, PROGRAMS, TORCH

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
