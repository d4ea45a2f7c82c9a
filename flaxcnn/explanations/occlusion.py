"""Occlusion: what a number loses where a square of the image is covered.

Source: M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
"""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import ConfigError
from flaxcnn.explanations.programs import BATCH, Subject, activations, in_batches, values


def occlusion(
    subject: Subject,
    endpoint: str | None,
    images_NHWC: npt.NDArray[np.float32],
    chosen_N: npt.NDArray[np.int32],
    fill_HWC: npt.NDArray[np.float32],
    patch: int | None,
    stride: int | None,
) -> npt.NDArray[np.float64]:
    """Return the maps of images, float64 (N, h, w): the mean loss of the number over the squares that cover a place.

    Above 0, covering a place lowers the number: it speaks for it.

    Args:
        subject: the model.
        endpoint: an activation with rows and columns, whose cells are covered; None for the pixels.
        images_NHWC: pixels in [0, 1].
        chosen_N: which number of each image.
        fill_HWC: an image; a covered square shows what it shows there, or the activation that it has there.
        patch: the square's side; None for a seventh of the shorter side.
        stride: from one square to the next; None for half the patch. The last one ends at the edge.

    Raises:
        ConfigError: the square is larger than the image, or squares leave gaps.
    """
    common: dict[str, Any] = {"model": subject.model, "variables": subject.variables, "endpoint": endpoint}
    value = partial(values, subject.model, subject.variables, task=subject.task, endpoint=endpoint)
    at = partial(activations, **common)
    whole = in_batches(lambda images: at(images_BHWC=images), images_NHWC)
    fill = np.asarray(at(images_BHWC=fill_HWC[None]))[0]
    height, width = whole.shape[1:3]
    side = _side(patch, height, width)
    squares = [(y, x) for y in _starts(height, side, stride) for x in _starts(width, side, stride)]
    before_N = in_batches(value, whole, images_NHWC, chosen_N).astype(np.float64)
    losses, covers = np.zeros(whole.shape[:3]), np.zeros((height, width))
    for y, x in squares:
        covers[y : y + side, x : x + side] += 1
    pairs = [(row, y, x) for row in range(len(whole)) for y, x in squares]
    for first in range(0, len(pairs), BATCH):
        some = pairs[first : first + BATCH]
        rows = np.array([row for row, _, _ in some])
        covered = whole[rows]
        for place, (_, y, x) in enumerate(some):
            covered[place, y : y + side, x : x + side] = fill[y : y + side, x : x + side]
        after_B = in_batches(value, covered, images_NHWC[rows], chosen_N[rows], alone=False)
        for (row, y, x), loss in zip(some, before_N[rows] - after_B, strict=True):
            losses[row, y : y + side, x : x + side] += loss
    return losses / covers


def _side(patch: int | None, height: int, width: int) -> int:
    shorter = min(height, width)
    if patch is not None and patch > shorter:
        raise ConfigError("larger than what it covers", where="patch", expected=f"at most {shorter}", found=patch)
    return max(1, round(shorter / 7)) if patch is None else patch


def _starts(size: int, side: int, stride: int | None) -> list[int]:
    """Return where squares begin along an axis, so that they cover all of it."""
    step = max(1, side // 2) if stride is None else stride
    if step > side:
        raise ConfigError("squares leave gaps", where="stride", expected=f"at most the patch, {side}", found=step)
    return sorted({*range(0, size - side + 1, step), size - side})
