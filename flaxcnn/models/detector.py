"""A network that finds objects: a detection head on the stages of any network of the zoo."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.errors import ConfigError
from flaxcnn.layers.detection_head import DetectionHead
from flaxcnn.models.variant import Variant

STRIDES = (8, 16, 32)
"""Pixels between two places of each level of the pyramid."""


class Detector(nn.Module):
    """A network's trunk with a `DetectionHead`, whose layers have the names that they have in the network.

    Attributes:
        trunk: the network, with 0 classes: it has no head of its own.
        levels: the trunk's endpoints for the pyramid, by their stride, the finest first; (stride, name) each.
        classes: number of classes.
        width: channels of the pyramid and of the head.
        dtype: dtype of the head's computation.
    """

    trunk: nn.Module
    levels: tuple[tuple[int, str], ...]
    classes: int
    width: int = 96
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Give the trunk's layers the names that they have without a detector."""
        nn.share_scope(self, self.trunk)

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the outputs of a batch and the endpoints.

        Args:
            images_BHWC: float images, (B, H, W, C).
            train: as the trunk takes it.
            dropout: as the trunk takes it.

        Returns:
            Outputs, float32 (B, places, 8 + classes), as `DetectionHead`; and the trunk's endpoints with the levels of
            the pyramid, `pyramid8` to `pyramid32`.
        """
        _, endpoints = self.trunk(images_BHWC, train=train, dropout=dropout)
        levels = {stride: endpoints[name] for stride, name in self.levels}
        outputs, pyramid = DetectionHead(self.classes, self.width, dtype=self.dtype, name="head")(levels)
        seen = {name: array for name, array in endpoints.items() if name != "logits"}  # of a head that is not there
        return outputs, {**seen, **pyramid}


def detector_on(name: str, variant: Variant, classes: int, dtype: DTypeLike = jnp.float32, *, remat: bool) -> Detector:
    """Return a detector on a network of the zoo.

    Args:
        name: the network's, for errors.
        variant: its row.
        classes: number of classes of objects.
        dtype: dtype of the layers' computations.
        remat: whether the backward pass computes the network's blocks again.

    Raises:
        ConfigError: it has no stages with the strides 8, 16 and 32.
    """
    levels = tuple((stride, endpoint) for stride in STRIDES if (endpoint := _at(stride, variant.strides)))
    if len(levels) < len(STRIDES):
        raise ConfigError(
            "a network that no detector can be built on",
            where="model.name",
            expected=f"stages with the strides {', '.join(map(str, STRIDES))}, as efficientnet_lite0 has",
            found=name,
        )
    options = {"remat": True} if remat else {}
    return Detector(variant.create(classes=0, dtype=dtype, **options), levels, classes, dtype=dtype)


def _at(stride: int, strides: Mapping[str, int]) -> str | None:
    """Return the last endpoint of a stride."""
    found = [endpoint for endpoint, each in strides.items() if each == stride]
    return found[-1] if found else None
