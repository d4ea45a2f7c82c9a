"""Max pooling with a gradient made of elementwise operations, several times faster on CPU than XLA's own.

XLA pools with `reduce_window`, whose gradient is a `select_and_scatter`; on CPU both visit windows one by one. For
windows that do not overlap, this module uses a reshape and elementwise operations. Other windows use
`flax.linen.max_pool`.
"""

from functools import partial, reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.errors import DataError
from flaxcnn.layers.pixels import require_images

_Padding = str | tuple[tuple[int, int], ...]


def max_pool(
    x_BHWC: jax.Array,
    window: tuple[int, int] = (2, 2),
    strides: tuple[int, int] | None = None,
    padding: _Padding = "VALID",
) -> jax.Array:
    """Return the maximum of each window, with the values and the gradient of `flax.linen.max_pool`.

    A window's whole gradient goes to its first maximum in row-major order. A window with a NaN has the value NaN.

    Args:
        x_BHWC: images or activations, (B, H, W, C).
        window: height and width of a window.
        strides: steps between windows; None for the window's size (in `flax.linen.max_pool` the default is 1).
        padding: "VALID" drops rows and columns that do not fill a window, "SAME" pads them with -inf; or (low, high) of
            height and of width.

    Returns:
        Maxima, (B, output height, output width, C).

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    window = (window[0], window[1])
    strides = window if strides is None else (strides[0], strides[1])
    if (
        x_BHWC.ndim == 4
        and jnp.issubdtype(x_BHWC.dtype, jnp.floating)
        and strides == window
        and _nothing_padded(x_BHWC.shape[1:3], window, padding)
    ):
        return _max_pool(x_BHWC, window)
    return nn.max_pool(x_BHWC, window, strides, padding)


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


def _nothing_padded(size: tuple[int, ...], window: tuple[int, int], padding: _Padding) -> bool:
    if any(extent < side for extent, side in zip(size, window, strict=True)):
        return False
    if padding == "SAME":
        return all(extent % side == 0 for extent, side in zip(size, window, strict=True))
    return padding == "VALID" or tuple(map(tuple, padding)) == ((0, 0), (0, 0))


def _windows(x_BHWC: jax.Array, window: tuple[int, int]) -> jax.Array:
    """Split height and width into windows, (B, H / rows, rows, W / columns, columns, C), dropping incomplete ones."""
    batch, height, width, channels = x_BHWC.shape
    (rows, columns), (down, across) = window, (height // window[0], width // window[1])
    return x_BHWC[:, : down * rows, : across * columns].reshape(batch, down, rows, across, columns, channels)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x_BHWC: jax.Array, window: tuple[int, int]) -> jax.Array:
    return _maxima(x_BHWC, window)


def _maxima(x_BHWC: jax.Array, window: tuple[int, int]) -> jax.Array:
    # Not `jnp.max`: XLA:CPU gives a reduction to a library, for which what comes before has to be written to memory;
    # elementwise it is fused with the ReLU and the bias before it.
    windows = _windows(x_BHWC, window)
    positions = (windows[:, :, row, :, column] for row in range(window[0]) for column in range(window[1]))
    return reduce(jnp.maximum, positions)


def _forward(x_BHWC: jax.Array, window: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    # Not `_max_pool`, whose custom rule would refuse forward mode over this reverse mode.
    return _maxima(x_BHWC, window), x_BHWC


def _backward(window: tuple[int, int], x_BHWC: jax.Array, gradient_BHWC: jax.Array) -> tuple[jax.Array]:
    windows = _windows(x_BHWC, window)
    rows, columns = window
    largest, winner = windows[:, :, 0, :, 0], jnp.zeros(gradient_BHWC.shape, jnp.int32)
    for place in range(1, rows * columns):
        candidate = windows[:, :, place // columns, :, place % columns]
        keep = largest >= candidate  # the comparison of XLA's select_and_scatter: ties keep the first
        largest, winner = jnp.where(keep, largest, candidate), jnp.where(keep, winner, place)
    positions = lax.broadcasted_iota(jnp.int32, (1, 1, rows, 1, columns, 1), 2) * columns
    positions += lax.broadcasted_iota(jnp.int32, (1, 1, rows, 1, columns, 1), 4)
    chosen = positions == winner[:, :, None, :, None]
    gradient = jnp.where(chosen, gradient_BHWC[:, :, None, :, None], 0).astype(x_BHWC.dtype)
    batch, down, _, across, _, channels = windows.shape
    gradient = gradient.reshape(batch, down * rows, across * columns, channels)
    left_over = [(0, whole - used) for whole, used in zip(x_BHWC.shape, gradient.shape, strict=True)]
    return (jnp.pad(gradient, left_over),)


_max_pool.defvjp(_forward, _backward)


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
