"""Checks of images and labels at the entry of a compiled function: shapes, dtypes and the range of labels.

Shapes and dtypes are checked when a function is traced, so the checks cost no time in a step. The range of labels
depends on values; `label_in_range_check` adds that check to the program on request.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from flaxcnn.errors import DataError


def check_examples(images_BHWC: jax.Array, targets: Any) -> None:
    """Check the shape of images, and that there is one row of targets per image. Accepts tracers.

    The task checks the targets further, and `to_float` checks the images' dtype.

    Args:
        images_BHWC: (B, H, W, C), no dimension 0.
        targets: arrays (B, ...).

    Raises:
        DataError: a check fails.
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
    """Check that there is one class number per example; raises as `check_examples`."""
    shape, dtype = jnp.shape(labels_B), jnp.result_type(labels_B)
    if shape != (examples,):
        column = len(shape) == 2 and shape[0] == examples
        fix = "" if not column else "take labels[:, 0]" if shape[1] == 1 else "of one-hot labels take labels.argmax(-1)"
        raise DataError("not one label for each image", where="labels", expected=(examples,), found=shape, fix=fix)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise DataError("labels are not class numbers", where="labels", expected="integers", found=dtype)


def with_none_negative(labels_B: jax.Array, classes: int) -> jax.Array:
    """Return class numbers as int32, with negative ones replaced by `classes`.

    In JAX, a negative index counts from the end, so -1 would select the last class; an index past the end gives NaN.
    """
    labels_B = jnp.asarray(labels_B, jnp.int32)
    return jnp.where(labels_B < 0, classes, labels_B)


def label_in_range_check(labels_B: jax.Array, classes: int) -> None:
    """Check the values of labels: outside a program it raises here, within one through `chex.chexify` or checkify.

    Raises:
        checkify.JaxRuntimeError: a label is less than 0, or `classes` or more; a ValueError.
    """
    labels_B = jnp.asarray(labels_B)
    wrong_B = (labels_B < 0) | (labels_B >= classes)
    first = labels_B[jnp.argmax(wrong_B)]
    checkify.check(~wrong_B.any(), f"labels: out of range; expected 0 to {classes - 1}, found {{first}}", first=first)
