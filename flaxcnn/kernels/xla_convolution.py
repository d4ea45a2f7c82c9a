"""A two-dimensional convolution in XLA's own operations, with gradients that stay fast on CPU inside `lax.scan`.

XLA:CPU has a fast convolution only for the canonical dimensions, images (B, H, W, C) and kernels (H, W, C, F), but
autodiff's kernel gradient has other dimensions. Inside control flow, XLA then runs a naive loop, 20 times slower
(https://github.com/jax-ml/jax/issues/12868). This module computes the gradients as canonical convolutions of transposed
arrays. `plain` and its transposes are for other platforms.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_CANONICAL = ("NHWC", "HWIO", "NHWC")
# When a matrix product of patches is the faster forward on CPU: measured on 2 cores, jax 0.12, batches of 10 to 2,000.
_PATCH_CHANNELS = 4  # up to so many input channels, and
_PATCH_LENGTH = 50  # values in a patch: 0.45 of the time at 25, 0.8 to 0.9 at 50, 1.05 at 75, 1.4 to 1.6 at 100
_PATCH_BYTES = 16 * 2**20  # of all patches at once, at most: 0.7 of the time at 15 MB, 1.5 above 20 MB; above it,
_PATCH_PART_BYTES = 4 * 2**20  # in parts of the batch of so many bytes
# A kernel's gradient is summed over parts of the batch where the output's gradient has more bytes than this: XLA:CPU
# reads it once for a few of the kernel's values, and slows down as it leaves the cache (docs/performance.md).
_GRADIENT_BYTES = 5 * 2**19  # for up to
_GRADIENT_CHANNELS = 16  # input channels; more for more, since more is computed with each byte
_PART_IMAGES = 20  # of such a part, where half as many bytes are not more

Pair = tuple[int, int]


class Window(NamedTuple):
    """The parameters of a two-dimensional convolution; hashable, so usable as a static argument."""

    strides: Pair
    padding: tuple[Pair, Pair]  # (low, high) of height and of width
    dilation: Pair  # of the kernel
    groups: int
    precision: Any
    preferred_element_type: Any


def forward_on_cpu(images_BHWC: jax.Array, kernel_HWIF: jax.Array, window: Window) -> jax.Array:
    """Return the convolution (B, H', W', F) as XLA:CPU computes it fastest."""
    if _patches_pay(images_BHWC, kernel_HWIF, window):
        return _product_of_patches(images_BHWC, kernel_HWIF, window)
    return plain(images_BHWC, kernel_HWIF, window)


def padded_where_cropped(
    images_BHWC: jax.Array, padding: Sequence[Sequence[int]], dilation: Pair
) -> tuple[jax.Array, tuple[Pair, Pair], Pair]:
    """Return the images, padding and image dilation for a convolution; apply the padding here if it crops.

    XLA:CPU of jax 0.10 gives wrong results if padding is negative before and positive after.
    """
    (top, bottom), (left, right) = padding
    pairs = (int(top), int(bottom)), (int(left), int(right))
    if min(*pairs[0], *pairs[1]) >= 0:
        return images_BHWC, pairs, dilation
    spread = [(low, high, factor - 1) for (low, high), factor in zip(pairs, dilation, strict=True)]
    zero = jnp.zeros((), images_BHWC.dtype)
    return lax.pad(images_BHWC, zero, [(0, 0, 0), *spread, (0, 0, 0)]), ((0, 0), (0, 0)), (1, 1)


def plain(images: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Return the convolution (B, H', W', F), as every platform has it."""
    return lax.conv_general_dilated(
        images,
        kernel,
        window.strides,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=_CANONICAL,
        feature_group_count=window.groups,
        precision=window.precision,
        preferred_element_type=window.preferred_element_type,
    )


def plain_images_gradient(
    gradient_BHWF: jax.Array, kernel_HWIF: jax.Array, window: Window, size: Pair, dtype: Any
) -> jax.Array:
    """Return the images' gradient as autodiff writes it."""
    batch, channels = gradient_BHWF.shape[0], kernel_HWIF.shape[2] * window.groups
    images = jax.ShapeDtypeStruct((batch, *size, channels), dtype)
    return jax.linear_transpose(lambda images: plain(images, kernel_HWIF, window), images)(gradient_BHWF)[0]


def plain_kernel_gradient(
    images_BHWC: jax.Array, gradient_BHWF: jax.Array, window: Window, size: Pair, dtype: Any
) -> jax.Array:
    """Return the kernel's gradient as autodiff writes it."""
    shape = (*size, images_BHWC.shape[3] // window.groups, gradient_BHWF.shape[3])
    kernel = jax.ShapeDtypeStruct(shape, dtype)
    return jax.linear_transpose(lambda kernel: plain(images_BHWC, kernel, window), kernel)(gradient_BHWF)[0]


def _patches_pay(images: jax.Array, kernel: jax.Array, window: Window) -> bool:
    channels = images.shape[3]
    height, width = output_size(images.shape, kernel.shape, window)
    length = math.prod(kernel.shape[:3])
    few = channels <= _PATCH_CHANNELS and length <= _PATCH_LENGTH
    of_one = height * width * length * images.dtype.itemsize
    return window.groups == 1 and few and 0 < of_one <= _PATCH_BYTES // 8


def _product_of_patches(images_BHWC: jax.Array, kernel_HWIF: jax.Array, window: Window) -> jax.Array:
    """Convolve parts of the batch one after the other, so that their patches stay in the cache."""
    batch, (height, width) = images_BHWC.shape[0], output_size(images_BHWC.shape, kernel_HWIF.shape, window)
    size = batch * height * width * math.prod(kernel_HWIF.shape[:3]) * images_BHWC.dtype.itemsize
    if size <= _PATCH_BYTES:
        return _product_of_patches_at_once(images_BHWC, kernel_HWIF, window)
    part = _part(batch, max(8, _PATCH_PART_BYTES * batch // size))
    parts = -(-batch // part)
    missing = [(0, parts * part - batch, 0)] + [(0, 0, 0)] * 3
    padded = lax.pad(images_BHWC, jnp.zeros((), images_BHWC.dtype), missing)
    one = partial(_product_of_patches_at_once, kernel_HWIF=kernel_HWIF, window=window)
    outputs = lax.map(one, padded.reshape(parts, part, *images_BHWC.shape[1:]))
    return outputs.reshape(parts * part, *outputs.shape[2:])[:batch]


def _product_of_patches_at_once(images_BHWC: jax.Array, kernel_HWIF: jax.Array, window: Window) -> jax.Array:
    """Convolve as one matrix product: (B·H·W, kernel height · kernel width · C) × (the same, F).

    XLA:CPU's fast convolution packs patches channel by channel, which is slow for few channels, as in an image.
    """
    rows, columns, channels, features = kernel_HWIF.shape
    batch = images_BHWC.shape[0]
    height, width = output_size(images_BHWC.shape, kernel_HWIF.shape, window)
    zero = jnp.zeros((), images_BHWC.dtype)
    padded = lax.pad(images_BHWC, zero, [(0, 0, 0), *((low, high, 0) for low, high in window.padding), (0, 0, 0)])

    def every(step: int, count: int, first: int, images: jax.Array, axis: int) -> jax.Array:
        return lax.slice_in_dim(images, first, first + (count - 1) * step + 1, step, axis)

    # Columns first, then rows: ten pieces for a 5 x 5 kernel, not twenty-five.
    (down, across), (row_step, column_step) = window.strides, window.dilation
    row_patches = jnp.concatenate([every(across, width, j * column_step, padded, 2) for j in range(columns)], axis=-1)
    patches = jnp.concatenate([every(down, height, i * row_step, row_patches, 1) for i in range(rows)], axis=-1)
    product = lax.dot(
        patches.reshape(batch * height * width, rows * columns * channels),
        kernel_HWIF.reshape(rows * columns * channels, features),
        precision=window.precision,
        preferred_element_type=window.preferred_element_type,
    )
    return product.reshape(batch, height, width, features)


def images_gradient_on_cpu(
    gradient_BHWF: jax.Array, kernel_HWIF: jax.Array, window: Window, size: Pair, dtype: Any
) -> jax.Array:
    """Return the images' gradient: the output's gradient, dilated by the strides, convolved with the flipped kernel."""
    rows, columns, group_channels, features = kernel_HWIF.shape
    channels = group_channels * window.groups
    grouped = kernel_HWIF.reshape(rows, columns, group_channels, window.groups, features // window.groups)
    swapped = grouped.transpose(0, 1, 4, 3, 2).reshape(rows, columns, features // window.groups, channels)
    extents = dilated(kernel_HWIF.shape[:2], window.dilation)
    spread = dilated(gradient_BHWF.shape[1:3], window.strides)
    padding = []
    for length, extent, spread_size, (low, _) in zip(size, extents, spread, window.padding, strict=True):
        before = extent - 1 - low
        padding.append((before, length + extent - 1 - spread_size - before))
    gradient_BHWF, pairs, strides = padded_where_cropped(gradient_BHWF, padding, window.strides)
    gradient = lax.conv_general_dilated(
        gradient_BHWF,
        swapped[::-1, ::-1].astype(gradient_BHWF.dtype),
        (1, 1),
        pairs,
        lhs_dilation=strides,
        rhs_dilation=window.dilation,
        dimension_numbers=_CANONICAL,
        feature_group_count=window.groups,
        precision=window.precision,
        preferred_element_type=window.preferred_element_type,
    )
    return gradient.astype(dtype)


def kernel_gradient_on_cpu(
    images_BHWC: jax.Array, gradient_BHWF: jax.Array, window: Window, size: Pair, dtype: Any
) -> jax.Array:
    """Sum the kernel's gradient over parts of the batch that stay in the cache."""
    batch, bytes_ = images_BHWC.shape[0], gradient_BHWF.size * gradient_BHWF.dtype.itemsize
    most = _GRADIENT_BYTES * max(1, images_BHWC.shape[3] // _GRADIENT_CHANNELS)
    if bytes_ <= most:
        return _kernel_gradient_at_once(images_BHWC, gradient_BHWF, window, size, dtype)
    part = _part(batch, max(_PART_IMAGES, most // 2 * batch // bytes_))
    parts = -(-batch // part)
    missing = [(0, parts * part - batch, 0)] + [(0, 0, 0)] * 3  # images of zeros, which add nothing
    split = [
        lax.pad(array, jnp.zeros((), array.dtype), missing).reshape(part, parts, *array.shape[1:])
        for array in (images_BHWC, gradient_BHWF)
    ]

    def add(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        # Every n-th image instead of neighbours, so that a batch that is divided among devices stays in place.
        images, gradient = (lax.dynamic_index_in_dim(array, number, 1, keepdims=False) for array in split)
        return total + _kernel_gradient_at_once(images, gradient, window, size, dtype).astype(total.dtype), None

    shape = (*size, images_BHWC.shape[3] // window.groups, gradient_BHWF.shape[3])
    zero = jnp.zeros(shape, jnp.promote_types(dtype, jnp.float32))
    return lax.scan(add, zero, jnp.arange(parts))[0].astype(dtype)


def _part(batch: int, most: int) -> int:
    """Return how many images of a batch to process at once: a divisor that is a multiple of 4, or else even.

    If there is none, return a multiple of 4; the caller pads the last part.
    """
    for multiple in (4, 2):
        whole = [part for part in range(8, most + 1, multiple) if batch % part == 0]
        if whole:
            return whole[-1]
    return most // 4 * 4


def _kernel_gradient_at_once(
    images_BHWC: jax.Array, gradient_BHWF: jax.Array, window: Window, size: Pair, dtype: Any
) -> jax.Array:
    """Return the kernel's gradient: the images, with channels as the batch, convolved with the output's gradient.

    Groups are kept: the channels of a group become the batch, and the images of each group a group of channels.
    """
    batch, height, width, channels = images_BHWC.shape
    group_channels = channels // window.groups
    grouped = images_BHWC.reshape(batch, height, width, window.groups, group_channels)
    images_CHWB = grouped.transpose(4, 1, 2, 3, 0).reshape(group_channels, height, width, window.groups * batch)
    extents = dilated(size, window.dilation)
    spread = dilated(gradient_BHWF.shape[1:3], window.strides)
    padding = [
        (low, spread_size + extent - 1 - length - low)
        for length, extent, spread_size, (low, _) in zip((height, width), extents, spread, window.padding, strict=True)
    ]
    images_CHWB, pairs, _ = padded_where_cropped(images_CHWB, padding, (1, 1))
    gradient_CHWF = lax.conv_general_dilated(
        images_CHWB.astype(gradient_BHWF.dtype),
        gradient_BHWF.transpose(1, 2, 0, 3),
        window.dilation,
        pairs,
        rhs_dilation=window.strides,
        dimension_numbers=_CANONICAL,
        feature_group_count=window.groups,
        precision=window.precision,
        preferred_element_type=window.preferred_element_type,
    )
    return gradient_CHWF.transpose(1, 2, 0, 3).astype(dtype)


def dilated(sizes: Sequence[int], factors: Sequence[int]) -> Pair:
    """Return the height and width of something whose elements are spread by factors."""
    height, width = ((size - 1) * factor + 1 for size, factor in zip(sizes, factors, strict=True))
    return height, width


def output_size(images_shape: Sequence[int], kernel_shape: Sequence[int], window: Window) -> Pair:
    """Return the height and width of a convolution."""
    extents = dilated(kernel_shape[:2], window.dilation)
    height, width = (
        max(0, (size + low + high - extent) // stride + 1)
        for size, (low, high), extent, stride in zip(
            images_shape[1:3], window.padding, extents, window.strides, strict=True
        )
    )
    return height, width
