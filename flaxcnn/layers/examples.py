"""What images and labels have to be where arrays enter a compiled function: shapes and dtypes, and the labels' range.

Shapes and dtypes are checked when a function is traced, so that they cost a step nothing. The range of labels is a
matter of values: `label_in_range_check` puts it into the program for those who ask for it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from flaxcnn.errors import DataError


def check_examples(images_BHWC: jax.Array, targets: Any) -> None:
    """Check the shapes of images, and that there is a row of targets for each; also of tracers.

    What else targets have to be is the task's matter.

    Args:
        images_BHWC: (B, H, W, C), no dimension of them 0. Their dtype is `to_float`'s matter.
        targets: arrays (B, ...).

    Raises:
        DataError: at the first thing that does not fit.
    """
    shape = check_images(images_BHWC)
    for path, array in jax.tree_util.tree_leaves_with_path(targets):
        if jnp.shape(array)[:1] != shape[:1]:
            where = jax.tree_util.keystr(path, simple=True, separator="/")
            raise DataError(
                "not one target for each image",
                where=f"targets/{where}" if where else "targets",
                expected=shape[:1],
                found=jnp.shape(array),
            )


def check_images(images_BHWC: jax.Array) -> tuple[int, ...]:
    """Check the shape of images, and return it; raises as `check_examples`."""
    shape = jnp.shape(images_BHWC)
    if len(shape) != 4:
        fix = "give a single image an axis of its own, images[None]" if len(shape) == 3 else ""
        raise DataError("images of the wrong shape", where="images", expected="(B, H, W, C)", found=shape, fix=fix)
    if 0 in shape:
        raise DataError("no images", where="images", expected="every dimension at least 1", found=shape)
    return shape


def check_labels(labels_B: jax.Array, examples: int) -> None:
    """Check that there is one class number for each example; raises as `check_examples`."""
    shape, dtype = jnp.shape(labels_B), jnp.result_type(labels_B)
    if shape != (examples,):
        column = len(shape) == 2 and shape[0] == examples
        fix = "" if not column else "take labels[:, 0]" if shape[1] == 1 else "of one-hot labels take labels.argmax(-1)"
        raise DataError("not one label for each image", where="labels", expected=(examples,), found=shape, fix=fix)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise DataError("labels are not class numbers", where="labels", expected="integers", found=dtype)


def with_none_negative(labels_B: jax.Array, classes: int) -> jax.Array:
    """Return class numbers as int32, with `classes` in place of a negative one.

    JAX counts a negative index from the end, so that -1 would be the last class; past the end it finds NaN.
    """
    labels_B = jnp.asarray(labels_B, jnp.int32)
    return jnp.where(labels_B < 0, classes, labels_B)


def label_in_range_check(labels_B: jax.Array, classes: int) -> None:
    """Check values of labels: eagerly, they raise here; within a program, what `chex.chexify` or checkify makes of it.

    Raises:
        checkify.JaxRuntimeError: a label is less than 0, or `classes` or more; a ValueError.
    """
    labels_B = jnp.asarray(labels_B)
    wrong_B = (labels_B < 0) | (labels_B >= classes)
    first = labels_B[jnp.argmax(wrong_B)]
    checkify.check(~wrong_B.any(), f"labels: out of range; expected 0 to {classes - 1}, found {{first}}", first=first)
