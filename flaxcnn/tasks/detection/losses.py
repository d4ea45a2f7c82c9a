"""The loss of a detector: which class each place has, how well its box fits, and how sure it is of that.

Sources: T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; H. Rezatofighi et al., "Generalized
Intersection over Union", CVPR 2019.
"""

import jax
import jax.numpy as jnp
import optax

from flaxcnn.layers.boxes import generalised_overlaps, overlaps
from flaxcnn.layers.detection_head import BOX, CLASSES, PLACE, QUALITY, STRIDE
from flaxcnn.tasks.detection.assignment import assign

GAMMA = 2.0  # of the focal loss, as its authors choose it
_ALPHA = 0.25  # weight of the class that is there; the others have the rest
_PLACES = 9.0  # that find an object, usually: those within 1.5 strides of its middle


def loss_of_image(
    outputs_Lx: jax.Array, boxes_Mx4: jax.Array, classes_M: jax.Array, objects: jax.Array, gamma: jax.Array | float
) -> jax.Array:
    """Return the loss of one image, a scalar: the sum over its places, divided by a constant.

    The usual divisor is the number of places of the batch that find an object. It would make an image's loss depend on
    what is beside it; so it is what an average image of the training data has.

    Args:
        outputs_Lx: of a detector, (L, 8 + classes) (`flaxcnn.layers.detection_head`).
        boxes_Mx4: of the image's objects.
        classes_M: of the image's objects; -1 where there is none.
        objects: how many objects an image has in the mean.
        gamma: exponent of the focal loss.
    """
    logits_LxK = outputs_Lx[:, CLASSES:]
    assigned = assign(outputs_Lx[:, PLACE], outputs_Lx[:, STRIDE], boxes_Mx4, classes_M)
    found_L = assigned.found.astype(jnp.float32)
    true_LxK = jax.nn.one_hot(assigned.classes, logits_LxK.shape[-1]) * found_L[:, None]
    of_classes = focal_losses(logits_LxK, true_LxK, gamma).sum()
    said_Lx4 = outputs_Lx[:, BOX]
    fits_L = overlaps(jax.lax.stop_gradient(said_Lx4), assigned.boxes)
    of_boxes = (found_L * (1 - generalised_overlaps(said_Lx4, assigned.boxes))).sum()
    of_quality = (found_L * optax.sigmoid_binary_cross_entropy(outputs_Lx[:, QUALITY], fits_L)).sum()
    return (of_classes + of_boxes + of_quality) / (_PLACES * objects)


def focal_losses(logits: jax.Array, true: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Return the focal loss of binary decisions, of the same shape.

    Args:
        logits: of the decisions.
        true: 1 or 0 each.
        gamma: exponent; 0 for the cross-entropy, weighted.
    """
    entropy = optax.sigmoid_binary_cross_entropy(logits, true)
    wrong = jnp.abs(true - jax.nn.sigmoid(logits))
    weights = _ALPHA * true + (1 - _ALPHA) * (1 - true)
    return weights * wrong**gamma * entropy
