"""A two-dimensional convolution whose gradient stays fast on CPU inside `lax.scan` and `lax.fori_loop`.

XLA:CPU has a fast convolution only for the canonical dimensions, images (B, H, W, C) and kernels (H, W, C, F), but
autodiff's kernel gradient has other dimensions. Inside control flow, XLA then runs a naive loop, 20 times slower
(https://github.com/jax-ml/jax/issues/12868). This module computes the gradients as canonical convolutions of transposed
arrays. On other platforms, it compiles the plain convolution with its own gradient.
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

_Pair = tuple[int, int]


class _Window(NamedTuple):
    """The parameters of a two-dimensional convolution; hashable, so usable as a static argument."""

    strides: _Pair
    padding: tuple[_Pair, _Pair]  # (low, high) of height and of width
    dilation: _Pair  # of the kernel
    groups: int
    precision: Any
    preferred_element_type: Any


def convolution(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """A replacement of `jax.lax.conv_general_dilated` with a gradient that is also fast in control flow on CPU.

    Use it in a Flax layer: `nn.Conv(16, (5, 5), conv_general_dilated=convolution)`. Values and gradients equal those of
    the plain function up to rounding. They are reproducible bit for bit, for a step alone, in a loop or in a scan.

    The function handles floating-point images (B, H, W, C) with kernels (H, W, C / groups, F) and any strides, padding,
    kernel dilation and feature groups. It passes everything else (other dimension numbers, one or three dimensions, a
    dilated input, batch groups, other types) to `jax.lax.conv_general_dilated`.

    Reverse mode, reverse over reverse and forward over reverse (Hessian-vector products) work. `jax.jvp` of the
    convolution itself does not, as for any function with a custom reverse rule.

    Args:
        lhs: images, (B, H, W, C).
        rhs: kernel, (kernel height, kernel width, C / feature_group_count, F).
        window_strides: strides in height and width.
        padding: "SAME", "VALID", "SAME_LOWER", or (low, high) of height and width; negative values crop.
        lhs_dilation: dilation of the images; passed on if not 1.
        rhs_dilation: dilation of the kernel in height and width.
        dimension_numbers: as for `jax.lax.conv_general_dilated`.
        feature_group_count: number of channel groups that are convolved separately.
        batch_group_count: passed on if not 1.
        precision: as for `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype of the result; None for the operands' dtype.

    Returns:
        Images (B, output height, output width, F).

    >>> import flax.linen as nn
    >>> layer = nn.Conv(16, (5, 5), conv_general_dilated=convolution)
    >>> images = jnp.ones((2, 28, 28, 1))
    >>> layer.apply(layer.init(jax.random.key(0), images), images).shape
    (2, 28, 28, 16)
    """
    as_xla_does = partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    dilation = tuple(rhs_dilation or (1,) * (rhs.ndim - 2))
    if not (
        rhs.ndim == 4
        and numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, _CANONICAL)
        and all(factor == 1 for factor in lhs_dilation or ())
        and batch_group_count == 1
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        and lhs.size
        and rhs.size
        and len(window_strides) == len(dilation) == 2
    ):
        return as_xla_does(lhs, rhs)
    jax.eval_shape(as_xla_does, lhs, rhs)  # refuses what does not fit, in XLA's words
    strides = (int(window_strides[0]), int(window_strides[1]))
    if isinstance(padding, str):
        extents = _dilated(rhs.shape[:2], dilation)
        padding = lax.padtype_to_pads(lhs.shape[1:3], extents, strides, padding)
    lhs, pairs, _ = _padded_where_cropped(lhs, padding, (1, 1))
    window = _Window(
        strides,
        pairs,
        (int(dilation[0]), int(dilation[1])),
        feature_group_count,
        precision,
        preferred_element_type,
    )
    return _convolution(lhs, rhs, window)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolution(images_BHWC: jax.Array, kernel_HWIF: jax.Array, window: _Window) -> jax.Array:
    return _fastest(images_BHWC, kernel_HWIF, window)


def _fastest(images_BHWC: jax.Array, kernel_HWIF: jax.Array, window: _Window) -> jax.Array:
    if not _patches_pay(images_BHWC, kernel_HWIF, window):
        return _plain(images_BHWC, kernel_HWIF, window)
    return lax.platform_dependent(
        images_BHWC,
        kernel_HWIF,
        cpu=partial(_product_of_patches, window=window),
        default=partial(_plain, window=window),
    )


def _forward(images: jax.Array, kernel: jax.Array, window: _Window) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    # Not `_convolution`, whose custom rule would refuse forward mode over this reverse mode.
    return _fastest(images, kernel, window), (images, kernel)


def _backward(
    window: _Window, operands: tuple[jax.Array, jax.Array], gradient_BHWF: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = operands

    def plain_images_gradient(images: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        transposed = jax.linear_transpose(lambda images: _plain(images, kernel, window), images)
        return transposed(gradient)[0]

    def plain_kernel_gradient(images: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        transposed = jax.linear_transpose(lambda kernel: _plain(images, kernel, window), kernel)
        return transposed(gradient)[0]

    arrays = (images, kernel, gradient_BHWF)
    # Two choices of platform, not one: where the images need no gradient, XLA drops the first.
    return (
        lax.platform_dependent(
            *arrays, cpu=partial(_canonical_images_gradient, window=window), default=plain_images_gradient
        ),
        lax.platform_dependent(
            *arrays, cpu=partial(_canonical_kernel_gradient, window=window), default=plain_kernel_gradient
        ),
    )


_convolution.defvjp(_forward, _backward)


def _padded_where_cropped(
    images_BHWC: jax.Array, padding: Sequence[Sequence[int]], dilation: _Pair
) -> tuple[jax.Array, tuple[_Pair, _Pair], _Pair]:
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


def _plain(images: jax.Array, kernel: jax.Array, window: _Window) -> jax.Array:
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


def _patches_pay(images: jax.Array, kernel: jax.Array, window: _Window) -> bool:
    channels = images.shape[3]
    height, width = _output_size(images.shape, kernel.shape, window)
    length = math.prod(kernel.shape[:3])
    few = channels <= _PATCH_CHANNELS and length <= _PATCH_LENGTH
    of_one = height * width * length * images.dtype.itemsize
    return window.groups == 1 and few and 0 < of_one <= _PATCH_BYTES // 8


def _product_of_patches(images_BHWC: jax.Array, kernel_HWIF: jax.Array, window: _Window) -> jax.Array:
    """Convolve parts of the batch one after the other, so that their patches stay in the cache."""
    batch, (height, width) = images_BHWC.shape[0], _output_size(images_BHWC.shape, kernel_HWIF.shape, window)
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


def _product_of_patches_at_once(images_BHWC: jax.Array, kernel_HWIF: jax.Array, window: _Window) -> jax.Array:
    """Convolve as one matrix product: (B·H·W, kernel height · kernel width · C) × (the same, F).

    XLA:CPU's fast convolution packs patches channel by channel, which is slow for few channels, as in an image.
    """
    rows, columns, channels, features = kernel_HWIF.shape
    batch = images_BHWC.shape[0]
    height, width = _output_size(images_BHWC.shape, kernel_HWIF.shape, window)
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


def _canonical_images_gradient(
    images_BHWC: jax.Array, kernel_HWIF: jax.Array, gradient_BHWF: jax.Array, window: _Window
) -> jax.Array:
    """Return the images' gradient: the output's gradient, dilated by the strides, convolved with the flipped kernel."""
    rows, columns, group_channels, features = kernel_HWIF.shape
    channels = images_BHWC.shape[3]
    grouped = kernel_HWIF.reshape(rows, columns, group_channels, window.groups, features // window.groups)
    swapped = grouped.transpose(0, 1, 4, 3, 2).reshape(rows, columns, features // window.groups, channels)
    extents = _dilated(kernel_HWIF.shape[:2], window.dilation)
    spread = _dilated(gradient_BHWF.shape[1:3], window.strides)
    padding = []
    for size, extent, spread_size, (low, _) in zip(
        images_BHWC.shape[1:3], extents, spread, window.padding, strict=True
    ):
        before = extent - 1 - low
        padding.append((before, size + extent - 1 - spread_size - before))
    gradient_BHWF, pairs, strides = _padded_where_cropped(gradient_BHWF, padding, window.strides)
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
    return gradient.astype(images_BHWC.dtype)


def _canonical_kernel_gradient(
    images_BHWC: jax.Array, kernel_HWIF: jax.Array, gradient_BHWF: jax.Array, window: _Window
) -> jax.Array:
    """Sum the kernel's gradient over parts of the batch that stay in the cache."""
    batch, size = images_BHWC.shape[0], gradient_BHWF.size * gradient_BHWF.dtype.itemsize
    most = _GRADIENT_BYTES * max(1, images_BHWC.shape[3] // _GRADIENT_CHANNELS)
    if size <= most:
        return _kernel_gradient_at_once(images_BHWC, kernel_HWIF, gradient_BHWF, window)
    part = _part(batch, max(_PART_IMAGES, most // 2 * batch // size))
    parts = -(-batch // part)
    missing = [(0, parts * part - batch, 0)] + [(0, 0, 0)] * 3  # images of zeros, which add nothing
    split = [
        lax.pad(array, jnp.zeros((), array.dtype), missing).reshape(part, parts, *array.shape[1:])
        for array in (images_BHWC, gradient_BHWF)
    ]

    def add(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        # Every n-th image instead of neighbours, so that a batch that is divided among devices stays in place.
        images, gradient = (lax.dynamic_index_in_dim(array, number, 1, keepdims=False) for array in split)
        return total + _kernel_gradient_at_once(images, kernel_HWIF, gradient, window).astype(total.dtype), None

    zero = jnp.zeros(kernel_HWIF.shape, jnp.promote_types(kernel_HWIF.dtype, jnp.float32))
    return lax.scan(add, zero, jnp.arange(parts))[0].astype(kernel_HWIF.dtype)


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
    images_BHWC: jax.Array, kernel_HWIF: jax.Array, gradient_BHWF: jax.Array, window: _Window
) -> jax.Array:
    """Return the kernel's gradient: the images, with channels as the batch, convolved with the output's gradient.

    Groups are kept: the channels of a group become the batch, and the images of each group a group of channels.
    """
    batch, height, width, channels = images_BHWC.shape
    group_channels = channels // window.groups
    grouped = images_BHWC.reshape(batch, height, width, window.groups, group_channels)
    images_CHWB = grouped.transpose(4, 1, 2, 3, 0).reshape(group_channels, height, width, window.groups * batch)
    extents = _dilated(kernel_HWIF.shape[:2], window.dilation)
    spread = _dilated(gradient_BHWF.shape[1:3], window.strides)
    padding = [
        (low, spread_size + extent - 1 - size - low)
        for size, extent, spread_size, (low, _) in zip((height, width), extents, spread, window.padding, strict=True)
    ]
    images_CHWB, pairs, _ = _padded_where_cropped(images_CHWB, padding, (1, 1))
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
    return gradient_CHWF.transpose(1, 2, 0, 3).astype(kernel_HWIF.dtype)


def _dilated(sizes: Sequence[int], factors: Sequence[int]) -> _Pair:
    height, width = ((size - 1) * factor + 1 for size, factor in zip(sizes, factors, strict=True))
    return height, width


def _output_size(images_shape: Sequence[int], kernel_shape: Sequence[int], window: _Window) -> _Pair:
    extents = _dilated(kernel_shape[:2], window.dilation)
    height, width = (
        max(0, (size + low + high - extent) // stride + 1)
        for size, (low, high), extent, stride in zip(
            images_shape[1:3], window.padding, extents, window.strides, strict=True
        )
    )
    return height, width
