"""A training that a program times on a GPU, and the line of JSON that it answers with.

NumPy and the standard library are all that it needs, so that it runs in PyTorch's environment too.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

CLASSES = 1000  # of the residual networks


class GpuJob(NamedTuple):
    """Steps from fresh weights, made again and again.

    Attributes:
        steps: of one measurement.
        batch_size: images a step.
        size: height and width of the residual networks' images; the paper's are MNIST's.
        rounds: measurements, after one that is not counted.
        stages: blocks of each stage of a residual network; empty for the paper's network.
        bottleneck: whether the blocks are bottlenecks.
        file: MNIST as `Data.save` writes it, for the paper's network.
    """

    steps: int
    batch_size: int
    size: int
    rounds: int
    stages: tuple[int, ...] = ()
    bottleneck: bool = False
    file: str = ""

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Return random images, uint8 (steps × batch_size, size, size, 3), and labels, int32."""
        generator = np.random.default_rng(0)
        count = self.steps * self.batch_size
        images = generator.integers(0, 256, (count, self.size, self.size, 3), np.uint8)
        return images, generator.integers(0, CLASSES, count, np.int32)


class Prepared(NamedTuple):
    """A job that is ready to be timed.

    Attributes:
        measure: makes the steps once, waits for their end, and returns the seconds that they took.
        peak_bytes: returns the most bytes that the device held so far; None where it does not count them.
    """

    measure: Callable[[], float]
    peak_bytes: Callable[[], int | None]


def answer(library: str, device: str, prepare: Callable[[GpuJob], Prepared]) -> None:
    """Do the job that the command line holds as JSON, and print what was measured as the last line."""
    job = GpuJob(**json.loads(sys.argv[1]))
    job = job._replace(stages=tuple(job.stages))
    prepared = prepare(job)
    prepared.measure()
    seconds = [prepared.measure() for _ in range(job.rounds)]
    measured: dict[str, Any] = {"seconds": seconds, "peak_bytes": prepared.peak_bytes()}
    print(json.dumps({"library": library, "device": device, **measured}))
