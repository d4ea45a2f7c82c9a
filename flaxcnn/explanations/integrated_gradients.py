"""Integrated gradients: a number's change from a baseline to the image, divided among the pixels.

Source: M. Sundararajan, A. Taly and Q. Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, sections 3 and 5.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from flaxcnn.explanations.options import MOST_STEPS
from flaxcnn.explanations.programs import BATCH, Subject, activations, gradients, in_batches, values

TOLERANCE = 0.01
"""Of the change, by which a sum may differ from it."""
_LEAST = 1e-4
"""Of the larger of the two numbers, below which a change counts as none: float32 cannot tell it."""


class Integrated(NamedTuple):
    """Integrated gradients of N images.

    Attributes:
        maps: sums over the channels, float64 (N, h, w); what speaks against the number is negative.
        errors: how far a map's sum is from the change of the number, a fraction of the change, float64 (N,).
        steps: how many steps each image took, int (N,).
    """

    maps: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]


def integrated_gradients(
    subject: Subject,
    endpoint: str | None,
    images_NHWC: npt.NDArray[np.float32],
    chosen_N: npt.NDArray[np.int32],
    baseline_HWC: npt.NDArray[np.float32],
    steps: int,
) -> Integrated:
    """Return the integrated gradients of images along the straight line from a baseline.

    By the trapezoidal rule. Where the sum of a map differs by more than 1 % from the change of the number, the steps
    are doubled, at most to 2,048; the points of before are used again.

    Args:
        subject: the model.
        endpoint: an activation with rows and columns, the line then runs between its values; None for the pixels.
        images_NHWC: pixels in [0, 1].
        chosen_N: which number of each image.
        baseline_HWC: an image.
        steps: at first.
    """
    common = {"model": subject.model, "variables": subject.variables, "endpoint": endpoint}
    value = partial(values, subject.model, subject.variables, task=subject.task, endpoint=endpoint)
    slope = partial(gradients, subject.model, subject.variables, task=subject.task, endpoint=endpoint)
    at = partial(activations, **common)
    ends = in_batches(lambda images: at(images_BHWC=images), images_NHWC)
    begin = np.asarray(at(images_BHWC=baseline_HWC[None]))[0]
    begins = np.broadcast_to(begin, ends.shape)
    reached, began = (in_batches(value, each, images_NHWC, chosen_N).astype(np.float64) for each in (ends, begins))
    change, floor = reached - began, _LEAST * np.maximum(np.abs(reached), np.abs(began))
    count = len(images_NHWC)
    sums, taken = np.zeros(ends.shape), np.full(count, steps)
    errors, maps = np.zeros(count), np.zeros(ends.shape[:3])
    pending, shares = np.arange(count), np.arange(steps + 1) / steps
    while True:
        _add(sums, slope, begins, ends, images_NHWC, chosen_N, pending, shares)
        each = (ends - begins)[pending].astype(np.float64) * sums[pending] / taken[pending, None, None, None]
        maps[pending] = each.sum(-1)
        left = np.abs(maps[pending].sum((1, 2)) - change[pending])
        errors[pending] = left / np.maximum(np.maximum(np.abs(change[pending]), floor[pending]), np.finfo(float).tiny)
        more = (errors[pending] > TOLERANCE) & (2 * taken[pending] <= MOST_STEPS)
        pending = pending[more]
        if not len(pending):
            return Integrated(maps, errors, taken)
        shares = (2 * np.arange(taken[pending[0]]) + 1) / (2 * taken[pending[0]])  # between those of before
        taken[pending] *= 2


def _add(
    sums: npt.NDArray[np.float64],
    slope: Callable[..., jax.Array],
    begins: npt.NDArray[np.float32],
    ends: npt.NDArray[np.float32],
    images_NHWC: npt.NDArray[np.float32],
    chosen_N: npt.NDArray[np.int32],
    pending: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
) -> None:
    """Add the gradients of images at shares of their lines to their sums; those at the ends count half."""
    rows, at = np.repeat(pending, len(shares)), np.tile(shares, len(pending))
    weights = np.where((at == 0) | (at == 1), 0.5, 1.0)
    for first in range(0, len(rows), BATCH):
        some = slice(first, first + BATCH)
        row, share = rows[some], at[some, None, None, None].astype(ends.dtype)
        points = begins[row] + share * (ends[row] - begins[row])
        found = in_batches(slope, points, images_NHWC[row], chosen_N[row], alone=False)
        np.add.at(sums, row, weights[some, None, None, None] * found)
