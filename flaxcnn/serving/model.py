"""A trained model whose programs are compiled before anybody asks, for batches of several sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import FileInfo
from flaxcnn.prediction.digits import SHAPE
from flaxcnn.prediction.preparing import decoding, saying
from flaxcnn.prediction.trained import BATCH, Trained
from flaxcnn.serving.looking import Looker
from flaxcnn.serving.settings import Settings
from flaxcnn.tasks.calibration import DISTANCE


class Served:
    """A trained model that answers batches.

    Each answer is, bit for bit, what `flaxcnn predict` says of the image, alone or among others: a program for one
    image computes it, or one whose outputs are those of `BATCH` images'. Programs of other sizes may add in another
    order; `warm` compares them, and leaves out those that differ.

    Args:
        trained: the model.
        settings: top, precision, prepare and max_batch.

    Raises:
        ConfigError: a setting is not for this model.

    Attributes:
        sizes: of the programs, the smallest first. One program has one size, and pads what is fewer.
        most: the most images in a batch.
        abstains: from which probability on it answers; None for always.
        decode: decodes an image file.
        draws: whether the model takes images of digits' size, so that a person may draw some.
        decode_drawn: decodes what was drawn, as photographs of digits are.
        looker: shows the model's inside; None without a page.
    """

    def __init__(self, trained: Trained, settings: Settings):
        self.decode = decoding(trained, settings.prepare)
        self.draws = trained.form.image_shape == SHAPE
        self.decode_drawn = decoding(trained, "digits") if self.draws else self.decode
        self.looker = Looker(trained) if settings.page else None
        self.abstains = None if settings.precision is None else trained.abstention(settings.precision)
        self.sizes: tuple[int, ...] = (1,)
        self.most = 1
        self._trained, self._settings = trained, settings
        self._say = saying(trained, settings.top, self.abstains)

    def warm(self) -> None:
        """Compile the programs, and choose the sizes: 1, 2, 4, … up to `max_batch`, without those that differ."""
        most = self._settings.max_batch
        sizes = [*(1 << power for power in range(most.bit_length())), most]
        drawn = np.random.default_rng(0).integers(0, 256, (max(most, BATCH), *self._trained.form.image_shape), np.uint8)
        wanted = self._trained.predictions(drawn[:BATCH], BATCH) if most > 1 else {}
        kept = [size for size in sorted(set(sizes)) if self._is_exact(drawn, size, wanted) or size == 1]
        if kept[-1] < most <= BATCH:
            kept.append(BATCH)
        self.sizes, self.most = tuple(kept), min(most, kept[-1])
        self._say(self._trained.predictions(drawn[:1]))
        if self.looker is not None:
            self.looker.warm()

    def answers(self, images: Sequence[npt.NDArray[np.uint8]]) -> Sequence[Mapping[str, Any]]:
        """Return what is said of 1 to `most` decoded images, uint8 (H, W, C), computed at once."""
        size = next(size for size in self.sizes if size >= len(images))
        return self._say(self._trained.predictions(np.stack(images), size))

    def locate(self, answer: Mapping[str, Any], info: FileInfo) -> Mapping[str, Any]:
        """Return an answer whose boxes, if it has any, are in pixels of the image that was sent."""
        return self._trained.locate(answer, info)

    def describe(self) -> dict[str, Any]:
        """Return what a client may know of the model; nothing of where it lies."""
        trained = self._trained
        model, task = trained.names
        return {
            "model": model,
            "task": task,
            "parameters": trained.parameters,
            "image_shape": list(trained.form.image_shape),
            "fit": trained.experiment.data.fit,
            "prepare": self._settings.prepare,
            "names": _listed(trained.form.target_names),
            "draws": self.draws,
            "calibrated": bool(trained.calibration),
            "answers_from_probability": None if self.abstains is None else self.abstains.threshold,
            "batch_sizes": list(self.sizes),
        }

    def _is_exact(self, drawn: npt.NDArray[np.uint8], size: int, wanted: Mapping[str, np.ndarray]) -> bool:
        """Run the program of a size, and return whether each of its first images has the outputs that are wanted.

        The distance of features is not compared: its last bits depend on the size, and only its rank is said.
        """
        count = min(size, BATCH)
        found = self._trained.predictions(drawn[:size], size)
        return all(
            np.array_equal(found[name][:count], array[:count], equal_nan=True)
            for name, array in wanted.items()
            if name != DISTANCE
        )


def _listed(names: Any) -> Any:
    if isinstance(names, Mapping):
        return {key: _listed(value) for key, value in names.items()}
    return None if names is None else list(names)
