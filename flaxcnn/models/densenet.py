"""Densely connected networks: G. Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.

Each layer of a dense block takes all activations before it, from the block's input on, and adds 32 channels of its own
(the growth rate): normalise, ReLU, 1×1 convolution to 128 channels, normalise, ReLU, 3×3 convolution. A transition
between blocks halves channels and size (DenseNet-BC, Table 1 of the paper). Padding is explicit and the same on all
sides: (size - 1) / 2. Convolutions are initialised as torchvision does, with He's normal distribution by fan-in.

A transition pools before its 1×1 convolution, where the paper pools after: both are linear, and this is a quarter of
the work. The form for images of 32 pixels begins with a 3×3 convolution of stride 1 and no pool.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.dropout import Dropout
from flaxcnn.layers.head import head
from flaxcnn.layers.initializers import fan_in_uniform
from flaxcnn.layers.normalization import BatchNorm
from flaxcnn.layers.pixels import require_images
from flaxcnn.layers.pooling import MaxPool, avg_pool
from flaxcnn.models.variant import Layout, Variant

_HE = variance_scaling(2.0, "fan_in", "normal")
_conv = partial(Conv, use_bias=False, kernel_init=_HE)
_GROWTH = 32
_BOTTLENECK = 4 * _GROWTH


class DenseLayer(nn.Module):
    """A layer of a dense block, with its bottleneck.

    Attributes:
        train: whether to normalise by the batch's statistics.
        dtype: dtype of the computation.
    """

    train: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, before: tuple[jax.Array, ...], dropout: jax.Array | float) -> jax.Array:
        """Return the layer's own activations (B, H, W, 32).

        Args:
            before: activations (B, H, W, C) of the block's input and of each layer before. They are put side by side
                in here, so that a layer that is computed again does not keep them once more.
            dropout: rate of the layer's dropout in training.
        """
        x = jnp.concatenate(before, axis=-1)
        x = _norm(self.train, self.dtype, "norm1")(x)
        x = ConvNorm(_BOTTLENECK, (1, 1), self.train, dtype=self.dtype, kernel_init=_HE, name="conv1")(x)
        x = _conv(_GROWTH, (3, 3), padding=1, dtype=self.dtype, name="conv2")(x)
        if isinstance(dropout, float | int) and dropout == 0:
            return x
        return Dropout(name="dropout")(x, dropout, train=self.train)


class DenseNet(nn.Module):
    """A densely connected network for images of any size from 29 pixels.

    Attributes:
        layers: of each block.
        small: whether it begins for images of about 32 pixels.
        dropout: rate after each layer's last convolution. The paper has 0.2 where it does not augment images (section
            4.2), and none on ImageNet.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the layers again instead of keeping what is inside; memory then grows
            linearly with depth (G. Pleiss et al., "Memory-Efficient Implementation of DenseNets", 2017).
    """

    layers: tuple[int, ...] = (6, 12, 24, 16)
    small: bool = False
    dropout: float = 0.0
    classes: int = 1000
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits and the endpoints of a batch.

        Args:
            images_BHWC: float images, (B, H, W, C).
            train: whether to apply dropout, which needs the random stream "dropout", and to normalise by the batch's
                statistics, which needs the collection "batch_stats" mutable.
            dropout: dropout rate that replaces the model's; None for the model's.

        Returns:
            Logits (B, classes), and the named activations stem, stage1 to stage4, features and logits. A stage's are
            those of its dense block; those of the last are normalised and rectified.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 29 pixels (8 if `small`).
        """
        require_images(images_BHWC, where="densenet", smallest=8 if self.small else 29)
        layer = nn.remat(DenseLayer) if self.remat else DenseLayer
        rate = self.dropout if dropout is None else dropout
        size, strides = ((3, 3), 1) if self.small else ((7, 7), 2)
        x = ConvNorm(64, size, train, strides, dtype=self.dtype, kernel_init=_HE, name="stem")(images_BHWC)
        endpoints = {"stem": x}
        if not self.small:
            x = MaxPool((3, 3), (2, 2), ((1, 1), (1, 1)), name="pool")(x)
        for stage, count in enumerate(self.layers, 1):
            if stage > 1:
                normed = avg_pool(_norm(train, self.dtype, f"transition{stage - 1}_norm")(x))
                conv = _conv(x.shape[-1] // 2, (1, 1), dtype=self.dtype, name=f"transition{stage - 1}_conv")
                x = conv(normed)
            before = [x]
            for number in range(1, count + 1):
                before.append(layer(train, self.dtype, name=f"stage{stage}_layer{number}")(tuple(before), rate))
            x = endpoints[f"stage{stage}"] = jnp.concatenate(before, axis=-1)
        x = endpoints[f"stage{len(self.layers)}"] = _norm(train, self.dtype, "norm")(x)
        x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
        logits = head(x, self.classes, None, train=train, dtype=self.dtype, kernel_init=fan_in_uniform())
        endpoints["logits"] = logits
        return logits, endpoints


def _norm(train: bool, dtype: DTypeLike, name: str) -> BatchNorm:
    """Return a normalisation with a ReLU after it."""
    return BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, relu=True, name=name)


def _torchvision(layers: tuple[int, ...], dot: str = "") -> Mapping[str, str]:
    """Return torchvision's names, which are timm's too.

    Args:
        layers: of each block.
        dot: "." for the names that the files have that were published before PyTorch 0.4: `norm.1`.
    """
    names = {"stem": "features.conv0 features.norm0", "norm": "features.norm5", "head": "classifier"}
    for stage, count in enumerate(layers, 1):
        for number in range(1, count + 1):
            ours, theirs = f"stage{stage}_layer{number}", f"features.denseblock{stage}.denselayer{number}"
            names[f"{ours}/norm1"] = f"{theirs}.norm{dot}1"
            names[f"{ours}/conv1"] = f"{theirs}.conv{dot}1 {theirs}.norm{dot}2"
            names[f"{ours}/conv2"] = f"{theirs}.conv{dot}2"
        if stage < len(layers):
            names[f"transition{stage}_norm"] = f"features.transition{stage}.norm"
            names[f"transition{stage}_conv"] = f"features.transition{stage}.conv"
    return names


def _variant(layers: tuple[int, ...], parameters: int, *, small: bool = False, **changes: Any) -> Variant:
    layout = Layout(partial(_torchvision, layers))
    published = Layout(partial(_torchvision, layers, "."))
    return Variant(
        partial(DenseNet, layers=layers, small=small),
        'G. Huang et al., "Densely Connected Convolutional Networks", CVPR 2017; torchvision',
        parameters,
        strides={f"stage{stage}": (1 if small else 4) * 2 ** (stage - 1) for stage in range(1, 5)},
        layouts={} if small else {"torchvision": layout, "timm": layout, "torchvision_0.1": published},
        remats=True,
        **changes,
    )


_121 = (6, 12, 24, 16)
VARIANTS = {
    "densenet121": _variant(_121, 7_978_856, smallest=29),
    "densenet121_32px": _variant(_121, 6_956_426, small=True, size=(32, 32, 3), smallest=8, classes=10),
}
