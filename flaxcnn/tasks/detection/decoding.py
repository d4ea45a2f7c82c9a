"""From a detector's outputs to the objects that it finds in an image: a fixed number, the surest first."""

import jax
import jax.numpy as jnp

from flaxcnn.layers.boxes import suppressed
from flaxcnn.layers.detection_head import BOX, CLASSES, QUALITY

MOST = 100
"""Objects found in an image, at most, as in COCO's evaluation."""
_TRIED = 300  # candidates of which overlapping ones are taken away
OVERLAP = 0.6
"""The greatest overlap of two objects of a class that are both found."""


def found_in_image(outputs_Lx: jax.Array) -> dict[str, jax.Array]:
    """Return what is found in an image, the surest first: "boxes" (D, 4), "scores" (D,) and int32 "classes" (D,).

    A score is the geometric mean of the probability of the class and the overlap that the box is expected to have.
    D is 100. Where fewer are found, boxes and scores are 0, and classes -1.

    Args:
        outputs_Lx: of a detector, (L, 8 + classes) (`flaxcnn.layers.detection_head`).
    """
    quality_L = jax.nn.sigmoid(outputs_Lx[:, QUALITY])
    scores_LxK = jnp.sqrt(jax.nn.sigmoid(outputs_Lx[:, CLASSES:]) * quality_L[:, None])
    count = scores_LxK.shape[-1]
    scores_N, places_N = jax.lax.top_k(scores_LxK.reshape(-1), min(_TRIED, scores_LxK.size))
    boxes_Nx4, classes_N = outputs_Lx[places_N // count, BOX], places_N % count
    left_N = suppressed(boxes_Nx4, classes_N, OVERLAP)
    scores_D, chosen_D = jax.lax.top_k(jnp.where(left_N, scores_N, 0), min(MOST, len(scores_N)))
    there_D = scores_D > 0
    found = {
        "boxes": jnp.where(there_D[:, None], boxes_Nx4[chosen_D], 0),
        "scores": scores_D,
        "classes": jnp.where(there_D, classes_N[chosen_D], -1).astype(jnp.int32),
    }
    blank = {"boxes": 0, "scores": 0, "classes": -1}
    lacking = MOST - len(scores_D)
    return {
        name: jnp.pad(array, [(0, lacking), *[(0, 0)] * (array.ndim - 1)], constant_values=blank[name])
        for name, array in found.items()
    }
