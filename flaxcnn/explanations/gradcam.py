"""Grad-CAM: where an endpoint's channels that raise a number are active.

Source: R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
2017, equations 1 and 2.
"""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.explanations.programs import Subject, activations, gradients, in_batches


def gradcam(
    subject: Subject, endpoint: str | None, images_NHWC: npt.NDArray[np.float32], chosen_N: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Return the maps of images at an endpoint, float64 (N, h, w), 0 and above.

    A channel's weight is the mean over all cells of the number's gradient. The map is the weighted sum of the channels,
    less what is negative: only what speaks for the number is shown.

    Args:
        subject: the model.
        endpoint: an activation with rows and columns; None for the pixels.
        images_NHWC: pixels in [0, 1].
        chosen_N: which number of each image.
    """
    common: dict[str, Any] = {"model": subject.model, "variables": subject.variables, "endpoint": endpoint}
    active = in_batches(lambda images: activations(images_BHWC=images, **common), images_NHWC)
    slope = partial(gradients, subject.model, subject.variables, task=subject.task, endpoint=endpoint)
    weights_NC = in_batches(slope, active, images_NHWC, chosen_N).astype(np.float64).mean((1, 2))
    maps: npt.NDArray[np.float64] = np.einsum("nhwc,nc->nhw", active.astype(np.float64), weights_NC)
    return np.maximum(maps, 0)
