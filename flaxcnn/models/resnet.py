"""Residual networks: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

A convolution, four stages of residual blocks (Table 1 of the paper) whose convolutions are each followed by batch
normalisation, global average pooling and one dense layer. As in torchvision, a stage's first bottleneck has its stride
in the 3×3 convolution, where the paper has it in the first 1×1 ("ResNet V1.5"). Padding is explicit and the same on all
sides: (size - 1) / 2.

The forms for images of 32 pixels begin with a 3×3 convolution of stride 1 and no pool, as is usual for CIFAR.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.head import head
from flaxcnn.layers.initializers import pytorch_defaults
from flaxcnn.layers.pixels import require_images
from flaxcnn.layers.pooling import MaxPool
from flaxcnn.models.variant import Layout, Variant


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut (the paper's Figure 5, left), or the bottleneck 1×1, 3×3, 1×1 (right).

    Attributes:
        channels: of the 3×3 convolutions; a bottleneck returns four times as many.
        strides: of the block.
        bottleneck: which of the two.
        train: whether to normalise by the batch's statistics.
        dtype: dtype of the computation.
    """

    channels: int
    strides: int
    bottleneck: bool
    train: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations (B, H / strides, W / strides, channels, or four times channels)."""
        conv = partial(ConvNorm, train=self.train, dtype=self.dtype)
        wide = 4 * self.channels if self.bottleneck else self.channels
        if self.bottleneck:
            y = conv(self.channels, (1, 1), name="conv1")(x_BHWC)
            y = conv(self.channels, (3, 3), strides=self.strides, name="conv2")(y)
            y = conv(wide, (1, 1), activation=None, name="conv3")(y)
        else:
            y = conv(self.channels, (3, 3), strides=self.strides, name="conv1")(x_BHWC)
            y = conv(self.channels, (3, 3), activation=None, name="conv2")(y)
        shortcut = x_BHWC
        if self.strides != 1 or x_BHWC.shape[-1] != wide:
            shortcut = conv(wide, (1, 1), strides=self.strides, activation=None, name="shortcut")(x_BHWC)
        return nn.relu(y + shortcut)


class ResNet(nn.Module):
    """A residual network for images of any size from 32 pixels.

    Attributes:
        blocks: of each stage.
        bottleneck: whether blocks are bottlenecks.
        small: whether it begins for images of about 32 pixels.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the blocks again instead of keeping what is inside.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    small: bool = False
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
            train: whether to normalise by the batch's statistics, which needs the collection "batch_stats" mutable.
            dropout: dropout rate of the features in training, which needs the random stream "dropout"; None for none.

        Returns:
            Logits (B, classes), and the named activations stem, stage1 to stage4, features and logits.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 32 pixels (8 if `small`).
        """
        require_images(images_BHWC, where="resnet", smallest=8 if self.small else 32)
        block = nn.remat(Block) if self.remat else Block
        size, strides = ((3, 3), 1) if self.small else ((7, 7), 2)
        x = ConvNorm(64, size, train, strides, dtype=self.dtype, name="stem")(images_BHWC)
        endpoints = {"stem": x}
        if not self.small:
            x = MaxPool((3, 3), (2, 2), ((1, 1), (1, 1)), name="pool")(x)
        for stage, count in enumerate(self.blocks, 1):
            for number in range(1, count + 1):
                strides = 2 if stage > 1 and number == 1 else 1
                name = f"stage{stage}_block{number}"
                x = block(64 * 2 ** (stage - 1), strides, self.bottleneck, train, self.dtype, name=name)(x)
            endpoints[f"stage{stage}"] = x
        x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
        logits = head(x, self.classes, dropout, train=train, dtype=self.dtype, **pytorch_defaults(x.shape[-1]))
        endpoints["logits"] = logits
        return logits, endpoints


def _torchvision(blocks: tuple[int, ...], bottleneck: bool) -> Mapping[str, str]:
    """Return torchvision's names, which are timm's too."""
    names = {"stem": "conv1 bn1", "head": "fc"}
    for stage, count in enumerate(blocks, 1):
        for number in range(1, count + 1):
            ours, theirs = f"stage{stage}_block{number}", f"layer{stage}.{number - 1}"
            for conv in range(1, 4 if bottleneck else 3):
                names[f"{ours}/conv{conv}"] = f"{theirs}.conv{conv} {theirs}.bn{conv}"
            if number == 1 and (stage > 1 or bottleneck):
                names[f"{ours}/shortcut"] = f"{theirs}.downsample.0 {theirs}.downsample.1"
    return names


def _variant(blocks: tuple[int, ...], bottleneck: bool, parameters: int, **changes: Any) -> Variant:
    small = changes.pop("small", False)
    layout = Layout(partial(_torchvision, blocks, bottleneck))
    return Variant(
        partial(ResNet, blocks=blocks, bottleneck=bottleneck, small=small),
        'K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; torchvision',
        parameters,
        strides={f"stage{stage}": (1 if small else 4) * 2 ** (stage - 1) for stage in range(1, 5)},
        layouts={} if small else {"torchvision": layout, "timm": layout},
        remats=True,
        **changes,
    )


_SMALL = {"small": True, "size": (32, 32, 3), "smallest": 8, "classes": 10}
VARIANTS = {
    "resnet18": _variant((2, 2, 2, 2), False, 11_689_512),
    "resnet34": _variant((3, 4, 6, 3), False, 21_797_672),
    "resnet50": _variant((3, 4, 6, 3), True, 25_557_032),
    "resnet101": _variant((3, 4, 23, 3), True, 44_549_160),
    "resnet18_32px": _variant((2, 2, 2, 2), False, 11_173_962, **_SMALL),
    "resnet50_32px": _variant((3, 4, 6, 3), True, 23_520_842, **_SMALL),
}
