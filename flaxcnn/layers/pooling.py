"""Pooling with gradients made of elementwise operations, several times faster on CPU than XLA's own.

XLA pools with `reduce_window`, whose gradient is a `select_and_scatter`; on CPU both visit windows one by one. This
module keeps the place of each maximum instead: native code on a CPU, elementwise operations elsewhere.
Averages are sums of shifted slices, first of rows and then of columns.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flaxcnn.errors import DataError
from flaxcnn.kernels.pooling import Windows, window_maxima
from flaxcnn.layers.convolution import portable
from flaxcnn.layers.pixels import require_images

_Padding = str | tuple[tuple[int, int], ...]


def max_pool(
    x_BHWC: jax.Array,
    window: tuple[int, int] = (2, 2),
    strides: tuple[int, int] | None = None,
    padding: _Padding = "VALID",
) -> jax.Array:
    """Return the maximum of each window, with the values and the gradient of `flax.linen.max_pool`.

    A window's whole gradient goes to its first maximum in row-major order. A window with a NaN has the value NaN, and
    its gradient goes to the last one.

    Args:
        x_BHWC: images or activations, (B, H, W, C).
        window: height and width of a window.
        strides: steps between windows; None for the window's size (in `flax.linen.max_pool` the default is 1).
        padding: "VALID" drops rows and columns that do not fill a window, "SAME" pads them with -inf on both sides and
            "CEIL" on the last side alone, which is PyTorch's `ceil_mode`; or (low, high) of height and of width.

    Returns:
        Maxima, (B, output height, output width, C).

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    window = (window[0], window[1])
    strides = window if strides is None else (strides[0], strides[1])
    if padding == "CEIL":
        padding = ceil_padding(x_BHWC.shape[1:3], window, strides)
    if (
        not portable.value
        and x_BHWC.ndim == 4
        and window[0] * window[1] <= 256
        and jnp.issubdtype(x_BHWC.dtype, jnp.floating)
        and x_BHWC.size
    ):
        extent = (x_BHWC.shape[1], x_BHWC.shape[2])
        windows = Windows(window, strides, _pairs(extent, window, strides, padding))
        if min(windows.many(extent)) > 0 and all(
            0 <= each < side for side, pair in zip(window, windows.padding, strict=True) for each in pair
        ):
            return window_maxima(x_BHWC, windows)
    return nn.max_pool(x_BHWC, window, strides, padding)


def _pairs(
    size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int], padding: _Padding
) -> tuple[tuple[int, int], tuple[int, int]]:
    pairs = lax.padtype_to_pads(size, window, strides, padding) if isinstance(padding, str) else padding
    (top, bottom), (left, right) = pairs
    return (int(top), int(bottom)), (int(left), int(right))


def ceil_padding(size: Sequence[int], window: Sequence[int], strides: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return (0, high) of height and width with which a window that begins within the images is whole.

    >>> ceil_padding((112, 7), (3, 2), (2, 2))
    ((0, 1), (0, 1))
    """
    pairs = []
    for extent, side, step in zip(size, window, strides, strict=True):
        steps = -(-max(extent - side, 0) // step)
        if steps * step >= extent:  # the last window would begin behind the last pixel
            steps -= 1
        pairs.append((0, max(0, steps * step + side - extent)))
    return tuple(pairs)


def avg_pool(
    x_BHWC: jax.Array,
    window: tuple[int, int] = (2, 2),
    strides: tuple[int, int] | None = None,
    padding: int = 0,
    *,
    count_include_pad: bool = True,
) -> jax.Array:
    """Return the mean of each window; what does not fill a window is dropped.

    Args:
        x_BHWC: images or activations, (B, H, W, C).
        window: height and width of a window.
        strides: steps between windows; None for the window's size.
        padding: rows and columns of zeros on each side.
        count_include_pad: whether these zeros count, as by default in PyTorch. Keras and TensorFlow do not count them.

    Returns:
        Means, (B, output height, output width, C), of the dtype of `x_BHWC`; sums are float32 at least.

    >>> avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
    Array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    strides = window if strides is None else strides
    sums = x_BHWC.astype(jnp.promote_types(x_BHWC.dtype, jnp.float32))
    counts = np.ones(x_BHWC.shape[1:3], np.float32)
    if padding:
        around = [(padding, padding)] * 2
        sums = jnp.pad(sums, [(0, 0), *around, (0, 0)])
        counts = np.pad(counts, around, constant_values=float(count_include_pad))
    for axis, side, step in zip((1, 2), window, strides, strict=True):
        last = sums.shape[axis] - side + 1  # where windows can begin
        first, *others = (lax.slice_in_dim(sums, start, start + last, step, axis) for start in range(side))
        sums = sum(others, start=first)
        at = (slice(None),) * (axis - 1)
        counts = np.sum([counts[(*at, slice(start, start + last, step))] for start in range(side)], axis=0)
    return (sums / counts[:, :, None]).astype(x_BHWC.dtype)


def adaptive_avg_pool(x_BHWC: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Return activations of a given size from any size, as PyTorch's `AdaptiveAvgPool2d`.

    Output i of n averages the rows from floor(i H / n) to ceil((i + 1) H / n) of H; columns likewise. Windows overlap
    where n does not divide H, and repeat rows where n is larger.

    Args:
        x_BHWC: activations, (B, H, W, C).
        size: output height and width.

    Returns:
        Means, (B, *size, C), of the dtype of `x_BHWC`.
    """
    for axis, n in zip((1, 2), size, strict=True):
        extent = x_BHWC.shape[axis]
        if extent == n:
            continue
        windows = [(i * extent // n, -(-(i + 1) * extent // n)) for i in range(n)]
        means = [jnp.mean(lax.slice_in_dim(x_BHWC, *window, axis=axis), axis) for window in windows]
        x_BHWC = jnp.stack(means, axis)
    return x_BHWC


class MaxPool(nn.Module):
    """`max_pool` as a layer, so that its output is one of a model's named activations.

    Attributes:
        window: height and width of a window.
        strides: steps between windows; None for the window's size.
        padding: as for `max_pool`.
    """

    window: tuple[int, int] = (2, 2)
    strides: tuple[int, int] | None = None
    padding: _Padding = "VALID"

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Pool activations (B, H, W, C)."""
        return max_pool(x_BHWC, self.window, self.strides, self.padding)


def require_poolable(images_BHWC: jax.Array, *, times: int, where: str) -> None:
    """Raise DataError if an array is not a batch of images, or the images are too small for several 2×2 pools.

    Args:
        images_BHWC: (B, H, W, C).
        times: the number of pools.
        where: the model's name, for the error.
    """
    require_images(images_BHWC, where=where)
    height, width = images_BHWC.shape[1:3]
    if min(height, width) < 2**times:
        raise DataError(
            f"images too small for {times} pools of 2×2",
            where=where,
            expected=f"height and width of at least {2**times}",
            found=f"{height}×{width}",
        )
