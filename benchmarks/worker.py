"""What stands between the harness and a program that it times: the data, and lines of JSON.

NumPy and the standard library are all that it needs, so that it runs in another library's environment too.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.jobs import AnyJob, as_fields, from_line

ROOT = Path(__file__).parents[1]
ROWS = (
    "metrics.jsonl"  # in the folder of a whole process, one line of JSON a logged row; this library's own name for it
)
Measure = Callable[[], dict[str, Any]]


class Data(NamedTuple):
    """What every program trains on, in the given order, and evaluates on."""

    train_images: np.ndarray  # uint8 (N, H, W, 1)
    train_labels: np.ndarray  # int32 (N,)
    test_images: np.ndarray  # uint8 (M, H, W, 1)
    test_labels: np.ndarray  # int32 (M,)
    order: np.ndarray  # int32 (N,), positions of the training images

    def save(self, file: Path) -> None:
        """Write the data for `load`."""
        np.savez(file, **self._asdict())

    @classmethod
    def load(cls, file: str) -> "Data":
        """Read what `save` wrote."""
        with np.load(file) as arrays:
            return cls(*(arrays[name] for name in cls._fields))

    def batches(self, steps: int, batch_size: int) -> list[np.ndarray]:
        """Return the positions of each step's examples, within one epoch."""
        return list(self.order[: steps * batch_size].reshape(steps, batch_size))


def answer(
    library: str,
    prepare: Mapping[type[Any], Callable[[Data, Any], Measure]],
    run: Callable[[str, Path, Any], None] | None,
) -> None:
    """Be the program that the command line asks for: `serve FILE`, or `run FILE FOLDER JOB`.

    Args:
        library: what is timed, with its version, for the report.
        prepare: for each kind of job that the program does, what compiles and warms up for it, and returns what does
            the job and says its `seconds`; of images that it didn't train on, the fraction that is right, `accuracy`;
            and `same`, numbers that every program has to agree about.
        run: does a whole training: reads the file, trains as the job says, logs its rows in the folder, and saves the
            weights there.
    """
    mode, file, *rest = sys.argv[1:]
    if mode == "serve":
        data = Data.load(file)
        serve({"library": library}, lambda job: prepare[type(job)](data, job))
    elif run is not None:
        folder, line = rest
        Path(folder).mkdir(parents=True)
        run(file, Path(folder), from_line(line))


def serve(about: dict[str, Any], prepare: Callable[[AnyJob], Measure]) -> None:
    """Say what the program is, then answer each job on standard input with one measurement.

    Only the last job stays prepared.
    """
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # a library's own prints must not come between the answers
        print(json.dumps(about), file=answers, flush=True)
        prepared, measure = None, None
        for line in sys.stdin:
            if measure is None or line != prepared:
                measure = None  # its memory goes before the next one's comes
                prepared, measure = line, prepare(from_line(line))
            print(json.dumps(measure()), file=answers, flush=True)


def timed_calls(call: Callable[[], Any], calls: int, same: Sequence[float] = ()) -> Measure:
    """Return what measures the seconds of one of several calls, each of which ends when its result is there.

    Args:
        call: what is timed; called once now, to compile, and once before the clock starts in each measurement.
        calls: in one measurement.
        same: what every program has to agree about.
    """
    call()

    def measure() -> dict[str, Any]:
        call()
        started = time.perf_counter()
        for _ in range(calls):
            call()
        return {"seconds": (time.perf_counter() - started) / calls, "same": list(same)}

    return measure


def log_row(folder: Path, step: int, loss: float, accuracy: float | None) -> None:
    """Add a row to the folder of a whole process, under the names that this library's rows have."""
    with open(folder / ROWS, "a") as file:
        file.write(json.dumps({"step": step, "train_loss": loss, "test_accuracy": accuracy}) + "\n")


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

    def measure(self, job: AnyJob) -> dict[str, Any]:
        """Do a job once and wait for its end; the first time, it is prepared before."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(as_fields(job)) + "\n")
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
