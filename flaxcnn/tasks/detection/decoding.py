"""From a detector's outputs to the objects that it finds in an image: a fixed number, the surest first."""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from flaxcnn.layers.detection_head import BOX, CLASSES, QUALITY
from flaxcnn.layers.suppression import softened, suppressed

Suppression: TypeAlias = Literal["class", "any", "soft", "none"]
"""What becomes of a box that a surer one overlaps: it is taken away if both are of one class, or of any; "soft" makes
it less sure if both are of one class; "none" leaves it to whoever takes the boxes of all places."""

MOST = 100
"""Objects found in an image, at most, as in COCO's evaluation."""
_TRIED = 300  # candidates of which overlapping ones are taken away
OVERLAP = 0.6
"""The greatest overlap of two objects of a class that are both found."""


def at_places(outputs_Lx: jax.Array) -> dict[str, jax.Array]:
    """Return what each place of an image finds: "boxes" (L, 4), and the "scores" (L, K) of its classes.

    A score is the geometric mean of the probability of the class and the overlap that the box is expected to have.

    Args:
        outputs_Lx: of a detector, (L, 8 + K) (`flaxcnn.layers.detection_head`).
    """
    # Of logarithms, since the root of what is nearly 0 makes much of its rounding.
    class_LxK, quality_L = (jax.nn.log_sigmoid(outputs_Lx[:, of]) for of in (slice(CLASSES, None), QUALITY))
    return {"boxes": outputs_Lx[:, BOX], "scores": jnp.exp((class_LxK + quality_L[:, None]) / 2)}


def found_in_image(
    outputs_Lx: jax.Array, suppression: Suppression = "class", overlap: float = OVERLAP
) -> dict[str, jax.Array]:
    """Return what is found in an image, the surest first: "boxes" (D, 4), "scores" (D,) and int32 "classes" (D,).

    D is 100. Where fewer are found, boxes and scores are 0, and classes -1.

    Args:
        outputs_Lx: of a detector, (L, 8 + classes) (`flaxcnn.layers.detection_head`).
        suppression: what becomes of boxes that overlap; not "none", for which `at_places` is.
        overlap: the greatest overlap of two boxes that are both found; not of "soft".
    """
    there = at_places(outputs_Lx)
    scores_LxK, count = there["scores"], there["scores"].shape[-1]
    scores_N, places_N = jax.lax.top_k(scores_LxK.reshape(-1), min(_TRIED, scores_LxK.size))
    boxes_Nx4, classes_N = there["boxes"][places_N // count], places_N % count
    if suppression == "soft":
        lowered_N = softened(boxes_Nx4, scores_N, classes_N)
    else:
        left_N = suppressed(boxes_Nx4, classes_N if suppression == "class" else None, overlap)
        lowered_N = jnp.where(left_N, scores_N, 0)
    scores_D, chosen_D = jax.lax.top_k(lowered_N, min(MOST, len(scores_N)))
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
