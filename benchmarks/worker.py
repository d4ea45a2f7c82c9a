"""What stands between the harness and a program that it times: lines of JSON on standard input and output.

NumPy and the standard library are all that it needs, so that it runs in another library's environment too.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]


class Epoch(NamedTuple):
    """What every program trains on, batch by batch in the given order."""

    images: np.ndarray  # uint8 (N, H, W, 1)
    labels: np.ndarray  # int32 (N,)
    order: np.ndarray  # int32 (N,)
    batch_size: int

    def save(self, file: Path) -> None:
        """Write the epoch for `load`."""
        np.savez(file, **self._asdict())

    @classmethod
    def load(cls, file: str) -> "Epoch":
        """Read what `save` wrote."""
        with np.load(file) as arrays:
            return cls(arrays["images"], arrays["labels"], arrays["order"], int(arrays["batch_size"]))

    @property
    def batches(self) -> list[np.ndarray]:
        """The positions of each batch's examples."""
        whole = len(self.order) // self.batch_size * self.batch_size
        return list(self.order[:whole].reshape(-1, self.batch_size))


def serve(about: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
    """Say what the program is, then answer each line of standard input with one measurement.

    Args:
        about: versions and settings, for the report.
        measure: runs one epoch from fresh weights, everything compiled before, and returns its `seconds`.
    """
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # a library's own prints must not come between the answers
        print(json.dumps(about), file=answers, flush=True)
        for _ in sys.stdin:
            print(json.dumps(measure()), file=answers, flush=True)


class Worker:
    """A program in a process of its own, held still between its measurements.

    Args:
        program: name of a module in `benchmarks.programs`.
        arguments: of the program.
        python: the interpreter that runs it.
    """

    def __init__(self, program: str, *arguments: str, python: str = sys.executable):
        self.name = program
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.programs.{program}", *arguments],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._answer()

    def measure(self) -> dict[str, Any]:
        """Run one measurement and wait for its end."""
        assert self._process.stdin is not None
        self._process.stdin.write("measure\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self._process.wait()}; its messages stand above")
        return json.loads(line)
