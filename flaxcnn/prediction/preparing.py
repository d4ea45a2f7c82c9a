"""How an image file becomes a model's pixels, and a prediction an answer: the same wherever a user asks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import ConfigError
from flaxcnn.prediction.abstaining import Abstention, withheld
from flaxcnn.prediction.digits import DIGITS, SHAPE, decode_digit, is_larger
from flaxcnn.prediction.images import Decode
from flaxcnn.prediction.trained import Trained

Prepare: TypeAlias = Literal["as_trained", "digits"]
DIGITS_HINT = "photographs of digits need --prepare digits"
Say: TypeAlias = Callable[[Mapping[str, np.ndarray]], Sequence[Mapping[str, Any]]]
"""Returns the answers of a task's predictions, arrays with N rows by name."""


def decoding(trained: Trained, prepare: Prepare) -> Decode:
    """Return what decodes a model's images.

    Args:
        trained: the model.
        prepare: "as_trained", as the training images were; or "digits", photographs of one digit each.

    Raises:
        ConfigError: the model is for other images than digits.
    """
    if prepare == "as_trained":
        return trained.decode
    if trained.form.image_shape != SHAPE:
        fix = "leave it out, or name a run on MNIST"
        found = "×".join(map(str, trained.form.image_shape))
        raise ConfigError(
            "not for this run", where="--prepare digits", expected="images of 28×28×1", found=found, fix=fix
        )
    return decode_digit


def may_need_digits(trained: Trained, prepare: Prepare) -> bool:
    """Return whether photographs of what the model knows, digits, are not prepared as its training images were."""
    return prepare == "as_trained" and trained.form.image_shape == SHAPE and trained.form.target_names == DIGITS


class Preparation:
    """Decodes a command's image files, and remembers which may be photographs of digits that need more.

    Args:
        trained, prepare: as `decoding` has them, whose errors it raises.
    """

    def __init__(self, trained: Trained, prepare: Prepare):
        self._decode, self._hints = decoding(trained, prepare), may_need_digits(trained, prepare)
        self._larger = 0

    def decode(self, encoded: bytes, where: str) -> npt.NDArray[np.uint8]:
        """Return an image file's pixels as the model takes them, uint8 (H, W, C); raises as `Trained.decode`."""
        pixels = self._decode(encoded, where)
        self._larger += self._hints and is_larger(encoded, where)
        return pixels

    def hint(self, count: int) -> str:
        """Return a line on images that were scaled down to MNIST's size, of `count` in all; "" without any."""
        return f"scaled to 28×28: {self._larger:,} of {count:,}; {DIGITS_HINT}" if self._larger else ""


def saying(trained: Trained, top: int, abstains: Abstention | None) -> Say:
    """Return what makes answers of a model's predictions.

    Args:
        trained: the model.
        top: how many classes to name.
        abstains: below which probability a classifier's answers are withheld; None for never.
    """

    def say(predictions: Mapping[str, np.ndarray]) -> Sequence[Mapping[str, Any]]:
        answers = trained.answers(predictions, top)
        return answers if abstains is None else [withheld(each, abstains.threshold) for each in answers]

    return say
