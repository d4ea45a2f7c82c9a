"""Attention among the pixels of a window, or among pixels that lie in a grid over all of an image.

Source: Z. Tu et al., "MaxViT: Multi-Axis Vision Transformer", ECCV 2022, section 3.2 and Figure 3; the bias by relative
positions is that of Z. Liu et al., "Swin Transformer", ICCV 2021.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import Activation
from flaxcnn.layers.drop_path import DropPath

_INIT = nn.initializers.normal(0.02)
_dense = partial(nn.Dense, kernel_init=_INIT)
HEAD = 32  # channels of a head of attention


class PartitionAttention(nn.Module):
    """Attention and two dense layers, each after a layer normalisation and beside a shortcut.

    The image is divided once, and both work on its parts (B, parts, pixels of a part, C).

    Attributes:
        window: height and width of a window, or rows and columns of the grid; they divide the image's.
        grid: whether a part is a grid of pixels from all of the image, instead of a window.
        scale: by which products of queries and keys are multiplied.
        table_by_head: whether the table of the bias is (heads, rows, columns) with distances from the query to the key,
            as in TensorFlow's and timm's weights, or (rows × columns, heads) with those from the key to the query, as
            in torchvision's.
        activation: between the dense layers.
        drop_path: probability that a branch is left out for an example in training.
        train: whether to leave out any.
        dtype: dtype of the computation; parameters are float32.
    """

    window: int
    grid: bool
    scale: float
    table_by_head: bool
    activation: Activation
    drop_path: float
    train: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations of the same shape."""
        batch, height, width, channels = x_BHWC.shape
        side = self.window
        rows, columns = height // side, width // side
        if self.grid:
            split, axes = (batch, side, rows, side, columns, channels), (0, 2, 4, 1, 3, 5)
        else:
            split, axes = (batch, rows, side, columns, side, channels), (0, 1, 3, 2, 4, 5)
        apart = x_BHWC.reshape(split).transpose(axes)
        x_BGPC = apart.reshape(batch, rows * columns, side * side, channels)
        norm, drop = (
            partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype),
            partial(DropPath, self.drop_path, self.train),
        )
        y = self._attention(norm(name="norm1")(x_BGPC))
        x_BGPC = x_BGPC + drop(name="drop_path1")(y)
        y = _dense(4 * channels, dtype=self.dtype, name="wide")(norm(name="norm2")(x_BGPC))
        y = _dense(channels, dtype=self.dtype, name="narrow")(self.activation(y))
        x_BGPC = x_BGPC + drop(name="drop_path2")(y)
        return x_BGPC.reshape(apart.shape).transpose(np.argsort(axes)).reshape(x_BHWC.shape)

    def _attention(self, x_BGPC: jax.Array) -> jax.Array:
        *parts, channels = x_BGPC.shape
        heads = channels // HEAD
        qkv = _dense(3 * channels, dtype=self.dtype, name="qkv")(x_BGPC).reshape(*parts, 3, heads, HEAD)
        queries, keys, values = (qkv[..., number, :, :] for number in range(3))
        products = jnp.einsum("bgihd,bgjhd->bghij", queries, keys * self.scale)
        weights = jax.nn.softmax(products + self._bias(heads).astype(products.dtype), axis=-1)
        mixed = jnp.einsum("bghij,bgjhd->bgihd", weights, values).reshape(x_BGPC.shape)
        return _dense(channels, dtype=self.dtype, name="merge")(mixed)

    def _bias(self, heads: int) -> jax.Array:
        """Return what is added to the product of each query and key by how they lie, (heads, query, key)."""
        distances = 2 * self.window - 1
        shape = (heads, distances, distances) if self.table_by_head else (distances**2, heads)
        table = self.param("position_bias", _INIT, shape, jnp.float32)
        places = np.stack(np.meshgrid(*[np.arange(self.window)] * 2, indexing="ij")).reshape(2, -1)
        apart = places[:, :, None] - places[:, None, :]  # of the query from the key
        rows, columns = (-apart if self.table_by_head else apart) + self.window - 1
        if self.table_by_head:
            return table[:, rows, columns]
        return table[rows * distances + columns].transpose(2, 0, 1)
