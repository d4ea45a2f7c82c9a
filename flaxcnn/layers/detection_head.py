"""The head of a detector: for each place of a pyramid a box, how well it fits, and which class is in it.

Source: Z. Tian, C. Shen, H. Chen and T. He, "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019, with the
overlap of the box in place of its centre-ness (S. Wu, X. Li and X. Wang, "IoU-aware Single-stage Object Detector for
Accurate Localization", 2020).
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.pyramid import Pyramid

BOX, PLACE, STRIDE, QUALITY, CLASSES = slice(0, 4), slice(4, 6), 6, 7, 8
"""Where in the last axis of a detector's outputs is what: the box y0, x0, y1, x1 and the row and column of the place,
all in pixels of the image; its stride; the logit of the quality; from there on the logits of the classes."""

_GROUPS = 8  # of the normalisation
_RARE = 0.01  # the probability of each class at each place in the beginning: most places are empty


class DetectionHead(nn.Module):
    """A pyramid, and two towers of convolutions that all its levels share: one for the classes, one for the boxes.

    Group normalisation, unlike that of batches, does not depend on how many images are seen at once.

    Attributes:
        classes: number of classes.
        width: number of channels, a multiple of 8.
        depth: convolutions of each tower.
        dtype: dtype of the computation; parameters and outputs are float32.
    """

    classes: int
    width: int = 96
    depth: int = 2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, levels: Mapping[int, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the outputs of all places, and the levels of the pyramid by name.

        Args:
            levels: activations (B, H, W, C) by their stride, the finest first.

        Returns:
            Outputs, float32 (B, places, 8 + classes): `BOX`, `PLACE`, `STRIDE`, `QUALITY` and `CLASSES`, level after
            level, row after row. And `pyramid8` and so on, (B, H, W, width).
        """
        pyramid = Pyramid(self.width, self.dtype, name="pyramid")(list(levels.values()))
        towers = {name: self._tower(name) for name in ("class", "box")}
        shared: dict[str, Any] = {"dtype": self.dtype, "kernel_init": nn.initializers.normal(0.01)}
        bias = nn.initializers.constant(-math.log((1 - _RARE) / _RARE))
        to_classes = Conv(self.classes, (3, 3), bias_init=bias, name="class", **shared)
        to_box = Conv(5, (3, 3), name="box", **shared)
        found = []
        for stride, x in zip(levels, pyramid, strict=True):
            scale = self.param(f"scale{stride}", nn.initializers.ones_init(), (), jnp.float32)
            logits, box = to_classes(_through(towers["class"], x)), to_box(_through(towers["box"], x))
            found.append(_of_level(logits.astype(jnp.float32), box.astype(jnp.float32), scale, stride))
        named = {f"pyramid{stride}": x for stride, x in zip(levels, pyramid, strict=True)}
        return jnp.concatenate(found, axis=1), named

    def _tower(self, name: str) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for number in range(1, self.depth + 1):
            layers.append(Conv(self.width, (3, 3), dtype=self.dtype, name=f"{name}_conv{number}"))
            layers.append(nn.GroupNorm(_GROUPS, dtype=self.dtype, name=f"{name}_norm{number}"))
        return layers


def _through(tower: list[nn.Module], x: jax.Array) -> jax.Array:
    for layer in tower:
        x = layer(x)
        x = nn.relu(x) if isinstance(layer, nn.GroupNorm) else x
    return x


def _of_level(logits: jax.Array, box: jax.Array, scale: jax.Array, stride: int) -> jax.Array:
    """Return the outputs of the places of a level, (B, height * width, 8 + classes)."""
    batch, height, width, classes = logits.shape
    rows, columns = (stride * (jnp.arange(count, dtype=jnp.float32) + 0.5) for count in (height, width))
    place = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)
    place = jnp.broadcast_to(place, (batch, height, width, 2))
    distances = stride * nn.softplus(scale * box[..., :4])  # to the box's top, left, bottom and right
    corners = jnp.concatenate([place - distances[..., :2], place + distances[..., 2:]], axis=-1)
    strides = jnp.full((batch, height, width, 1), stride, jnp.float32)
    every = jnp.concatenate([corners, place, strides, box[..., 4:], logits], axis=-1)
    return every.reshape(batch, height * width, CLASSES + classes)
