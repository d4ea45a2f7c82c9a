"""How fast each entry's model is: images a second at inference on this machine, and multiply-adds of an image."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypedDict

import jax
import numpy as np

from flaxcnn.config import Experiment
from flaxcnn.errors import RunFolderError
from flaxcnn.evaluation.sums import predict
from flaxcnn.models import folded
from flaxcnn.models.cost import multiply_adds
from flaxcnn.runs.evaluate import saved_variables
from flaxcnn.runs.folder.environment import device_line
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.setup import set_up
from flaxcnn.studies.examples import FoldData
from flaxcnn.studies.plan import SPEED

BATCH = 32  # images that are evaluated at once, or all test images where there are fewer
_SECONDS = 1.0  # that an entry's batches are timed for, after a first one
_LEAST = 5  # batches that are timed


class Speed(NamedTuple):
    """What an entry's model costs.

    Attributes:
        images_per_second: at inference, the median over batches, after the first one.
        multiply_adds: of the evaluation of one image.
        image_shape: of the images, (H, W, C).
    """

    images_per_second: float
    multiply_adds: int
    image_shape: tuple[int, int, int]


class _Record(TypedDict):  # speed.json
    device: str
    entries: dict[str, dict[str, float | int | list[int]]]


class Speeds:
    """The speeds of a study's entries, kept in its folder, so that a study that goes on does not measure them again.

    Args:
        folder: the study's.
    """

    def __init__(self, folder: RunFolder):
        self._folder, self._device = folder, device_line(devices=1)

    def of(self, name: str, measure: Callable[[], Speed]) -> Speed:
        """Return an entry's speed, as it was measured on this device before, or as it is measured now."""
        known = self._read()
        if name in known:
            return known[name]
        found = measure()
        record = _Record(
            device=self._device,
            entries={
                each: {**speed._asdict(), "image_shape": list(speed.image_shape)}
                for each, speed in {**known, name: found}.items()
            },
        )
        self._folder.write_json(SPEED, record)
        return found

    def _read(self) -> dict[str, Speed]:
        if not (self._folder.path / SPEED).exists():
            return {}
        record: _Record = self._folder.read_json(SPEED, _Record)
        if record["device"] != self._device:
            return {}
        try:
            return {
                name: Speed(
                    float(each["images_per_second"]),  # type: ignore[arg-type]
                    int(each["multiply_adds"]),  # type: ignore[arg-type]
                    tuple(map(int, each["image_shape"])),  # type: ignore[arg-type]
                )
                for name, each in record["entries"].items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError("damaged", where=self._folder.path / SPEED, fix="delete it") from error


def speed_of(experiment: Experiment, run: Path, data: FoldData) -> Speed:
    """Return the speed of a run's model, with its weights, on test images.

    Args:
        experiment: of the run.
        run: the run's folder.
        data: of the run's fold.
    """
    setup = set_up(data.prepared(experiment), data.loaded(experiment))
    variables = jax.device_put(jax.device_get(saved_variables(RunFolder(run), setup)))  # on one device
    model, shape = folded(setup.model), setup.dataset.image_shape
    count = min(BATCH, len(setup.dataset.test))
    images = jax.device_put(np.asarray(setup.dataset.test.images[:count]))
    speed = timed(count, lambda: jax.block_until_ready(predict(model, variables, images, task=setup.task)))
    return Speed(speed, multiply_adds(setup.model, shape), shape)


def timed(images: int, compute: Callable[[], object]) -> float:
    """Return how many images a second are computed, the median over calls of a function, after a first one.

    Args:
        images: of a call.
        compute: the function, which waits for its result.
    """
    compute()  # compiles
    times: list[float] = []
    while len(times) < _LEAST or sum(times) < _SECONDS:
        started = time.perf_counter()
        compute()
        times.append(time.perf_counter() - started)
    return images / statistics.median(times)
