"""The maps of images by a chosen method."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import DataError
from flaxcnn.explanations.gradcam import gradcam
from flaxcnn.explanations.integrated_gradients import integrated_gradients
from flaxcnn.explanations.occlusion import occlusion
from flaxcnn.explanations.options import STEPS, Baseline, How
from flaxcnn.explanations.programs import Subject, find_endpoint, in_batches, numbers
from flaxcnn.explanations.resizing import resized
from flaxcnn.jax_settings import pinned
from flaxcnn.layers.pixels import split_constants

_PART = 64  # images whose activations are held at once, on the host


class Explanation(NamedTuple):
    """Explanations of N images.

    Attributes:
        maps: float32 (N, H, W), of the images' size, in units of the explained number. Grad-CAM's are 0 and above; in
            the others what speaks against the number is negative.
        of: what is explained of each image: the name of a class, a label or a number.
        values: the explained numbers, float32 (N,): logits, or numbers in the targets' units.
        endpoint: the activation at which it is explained; None for the pixels.
        signed: whether maps may be negative.
        errors: of integrated gradients, how far a sum is from the change of the number, a fraction, float64 (N,). It is
            the sum at the endpoint, before it is brought to the image's size. None for the other methods.
        steps: of integrated gradients, how many each image took, int64 (N,); None for the other methods.
    """

    maps: npt.NDArray[np.float32]
    of: tuple[str, ...]
    values: npt.NDArray[np.float32]
    endpoint: str | None
    signed: bool
    errors: npt.NDArray[np.float64] | None = None
    steps: npt.NDArray[np.int64] | None = None


def explained(subject: Subject, images: npt.NDArray[np.uint8], how: How) -> Explanation:
    """Return the explanations of images.

    Args:
        subject: the model.
        images: uint8 (N, H, W, C), N at least 1.
        how: the method and its options.

    Raises:
        ConfigError: the model has no such endpoint, the task no such number, or squares do not fit.
        DataError: the model's numbers are not finite.
    """
    at_pixels = how.endpoint is None and how.method != "gradcam"
    endpoint = None if at_pixels else find_endpoint(subject, how.endpoint).name
    with pinned():
        parts = [
            _explained(subject, images[first : first + _PART], how, endpoint) for first in range(0, len(images), _PART)
        ]
    maps, of, values, errors, steps = zip(*parts, strict=True)
    integrated = how.method == "integrated_gradients"
    return Explanation(
        np.concatenate(maps),
        tuple(name for names in of for name in names),
        np.concatenate(values),
        endpoint,
        how.method != "gradcam",
        np.concatenate(errors) if integrated else None,
        np.concatenate(steps) if integrated else None,
    )


def _explained(subject: Subject, images: npt.NDArray[np.uint8], how: How, endpoint: str | None) -> tuple[Any, ...]:
    """Return maps, names, numbers, errors and steps of a few images; None in the place of what a method has not."""
    pixels = images.astype(np.float32) / np.float32(255)
    found_NxK = in_batches(partial(numbers, subject.model, subject.variables, task=subject.task), pixels)
    names = subject.task.explained_names(subject.names, found_NxK.shape[1])
    chosen_N = np.asarray(subject.task.chosen(how.of, subject.names, found_NxK), np.int32)
    neutral, errors, steps = baseline_of(subject, how.baseline or "zero"), None, None
    if how.method == "gradcam":
        maps = gradcam(subject, endpoint, pixels, chosen_N)
    elif how.method == "occlusion":
        maps = occlusion(subject, endpoint, pixels, chosen_N, neutral, how.patch, how.stride)
    else:
        given = subject, endpoint, pixels, chosen_N, neutral, how.steps or STEPS
        maps, errors, steps = integrated_gradients(*given)
    values = np.take_along_axis(found_NxK, chosen_N[:, None], axis=1)[:, 0]
    if not (np.isfinite(values).all() and np.isfinite(maps).all()):
        fix = "look for the weights that are not finite"
        raise DataError("not finite", where="the explained numbers or their maps", expected="numbers", fix=fix)
    return resized(maps, *images.shape[1:3]), [names[each] for each in chosen_N], values, errors, steps


def baseline_of(subject: Subject, kind: Baseline) -> npt.NDArray[np.float32]:
    """Return an image that says nothing, float32 (H, W, C) in [0, 1].

    "zero" is what the model's first layer takes as 0: the mean colour where pixels are standardised, else black. A
    convolution answers to it with its bias alone, and its padding is made of it.
    """
    _, constants = split_constants(subject.variables)
    zero = np.asarray(constants.get("pixel_mean", 0.0), np.float32)
    colour = {"zero": zero, "black": np.float32(0), "white": np.float32(1)}[kind]
    return np.broadcast_to(colour, subject.image_shape).astype(np.float32)
