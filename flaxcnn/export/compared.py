"""Two ONNX files of one model, in float32 and quantized, compared: metrics, sizes, the time of an image."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data import Split
from flaxcnn.evaluation.intervals import binomial_interval, bootstrap_intervals
from flaxcnn.layers.pixels import CONSTANTS
from flaxcnn.prediction.trained import Trained
from flaxcnn.tasks import Metric, Predicted, Task, measured

Run = Callable[[npt.NDArray[np.uint8]], Mapping[str, np.ndarray]]
"""Returns a model's predictions of images, uint8 (B, H, W, C), arrays with B rows by name."""
_BATCH, _WARM, _MOST_ROUNDS, _SECONDS = 32, 10, 200, 4.0


class Value(NamedTuple):
    """A metric and its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def text(self) -> str:
        """Return it for people."""
        if math.isnan(self.value):
            return "not defined"
        return f"{self.value:.4f}" + ("" if math.isnan(self.low) else f" ({self.low:.4f} to {self.high:.4f})")


class Worth(NamedTuple):
    """What a file is worth.

    Attributes:
        metrics: of the task, by name, on the test images.
        size: of the file, in bytes.
        milliseconds: the time of each image that was timed, alone.
    """

    metrics: Mapping[str, Value]
    size: int
    milliseconds: Sequence[float]


class Comparison(NamedTuple):
    """Two files of one model.

    Attributes:
        before: of the file in float32.
        after: of the quantized one.
        kinds: the metrics' properties, by name.
        images: how many test images were measured.
    """

    before: Worth
    after: Worth
    kinds: Mapping[str, Metric]
    images: int

    def lines(self) -> list[str]:
        """Return a table for people: a line for each metric, the sizes, the time of an image."""
        rows: list[tuple[str, ...]] = [("", "float32", "int8", "")]
        said = f"{self.images:,} test images, 95 % intervals"
        for name, value in self.before.metrics.items():
            rows.append((name, value.text(), self.after.metrics[name].text(), said))
            said = ""
        rows.append(("file", *(f"{each.size / 2**10:,.1f} KiB" for each in (self.before, self.after)), ""))
        rounds = len(self.before.milliseconds)
        times = [_milliseconds(each.milliseconds) for each in (self.before, self.after)]
        rows.append(("an image alone", *times, f"median of {rounds:,}, and 10 % to 90 % of them"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return ["  ".join([*(f"{row[at]:{widths[at]}}" for at in range(3)), row[3]]).rstrip() for row in rows]

    def warnings(self) -> list[str]:
        """Return a line for each metric that is worse than the worse end of its interval in float32."""
        found = []
        for name, (value, low, high) in self.before.metrics.items():
            after, higher = self.after.metrics[name].value, self.kinds[name].higher_is_better
            if (after < low) if higher else (after > high):
                side = "below" if higher else "above"
                found.append(
                    f"warning: int8 costs more than chance: {name} {value:.4f} becomes {after:.4f}, {side} its 95 % "
                    f"interval, {low:.4f} to {high:.4f}"
                )
        return found


def compare(before: Path, after: Path, trained: Trained, test: Split) -> Comparison:
    """Return what two files of a model, in float32 and in int8, are worth on its test images.

    Args:
        before: the file in float32.
        after: the one in int8.
        trained: the model.
        test: its test images.
    """
    runs = [session(path) for path in (before, after)]
    times = _timed(runs, test)
    worths = [
        Worth(_metrics(run, trained, test), path.stat().st_size, of_each)
        for run, path, of_each in zip(runs, (before, after), times, strict=True)
    ]
    return Comparison(worths[0], worths[1], trained.task.metrics, len(test))


def session(path: Path) -> Run:
    """Return what runs an ONNX file in this process, on the CPU."""
    import onnxruntime

    from flaxcnn.export.onnx.graph import IMAGES

    opened = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in opened.get_outputs()]
    return lambda images: dict(zip(names, opened.run(names, {IMAGES: images}), strict=True))


def _metrics(run: Run, trained: Trained, test: Split) -> dict[str, Value]:
    parts = [run(np.asarray(test.images[first : first + _BATCH])) for first in range(0, len(test), _BATCH)]
    predictions = {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}
    constants = {name: np.asarray(value) for name, value in trained.variables.get(CONSTANTS, {}).items()}
    scores = trained.task.scores(Predicted(test.targets, predictions, constants, trained.form.target_names))
    names = trained.task.reported
    values, drawn = (
        measured(scores, len(test), names),
        [name for name in names if not _is_exact(trained.task, name, test)],
    )
    intervals = bootstrap_intervals(scores, drawn, len(test), groups_N=test.groups) if drawn else {}
    for name in names:
        if name not in intervals:
            intervals[name] = binomial_interval(round(values[name] * len(test)), len(test))
    return {name: Value(values[name], *intervals[name]) for name in names}


def _is_exact(task: Task, name: str, test: Split) -> bool:
    """Return whether a metric is a share of examples that stand for themselves, as in a run's summary."""
    return name in task.counted and test.groups is None


def _timed(runs: Sequence[Run], test: Split) -> list[list[float]]:
    """Return the milliseconds of single images, the runs taking turns, so that a busy machine is busy for both."""
    images = np.asarray(test.images[: min(_WARM, len(test))])
    times: list[list[float]] = [[] for _ in runs]
    end = math.inf
    for place in range(_WARM + _MOST_ROUNDS):
        if place == _WARM:
            end = time.perf_counter() + _SECONDS
        if time.perf_counter() > end and times[0]:
            break
        image = images[place % len(images)][None]
        for run, found in zip(runs, times, strict=True):
            started = time.perf_counter()
            run(image)
            if place >= _WARM:
                found.append(1000 * (time.perf_counter() - started))
    return times


def _milliseconds(times: Sequence[float]) -> str:
    low, middle, high = np.quantile(times, (0.1, 0.5, 0.9))
    return f"{middle:.3g} ms ({low:.3g} to {high:.3g})"
