"""ShuffleNetV2: N. Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018.

A convolution, a pool, three stages of blocks (Table 5 of the paper) that compute on half of the channels and then
shuffle both halves, a 1×1 convolution `top`, global average pooling and one dense layer. Padding is explicit and the
same on all sides, as in torchvision.

The form for images of 32 pixels begins with a convolution of stride 1 and no pool.
"""

from collections.abc import Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.head import head
from flaxcnn.layers.initializers import fan_in_uniform, fan_in_uniform_bias
from flaxcnn.layers.pixels import require_images
from flaxcnn.layers.pooling import MaxPool
from flaxcnn.models.variant import Layout, Variant

_BLOCKS = (4, 8, 4)


class Block(nn.Module):
    """The paper's Figure 3: (c) with stride 1, where half of the channels pass unchanged, (d) with stride 2.

    Attributes:
        channels: that the block returns.
        strides: of the block.
        train: whether to normalise by the batch's statistics.
        dtype: dtype of the computation.
    """

    channels: int
    strides: int
    train: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations (B, H / strides, W / strides, channels)."""
        conv = partial(ConvNorm, train=self.train, dtype=self.dtype, kernel_init=fan_in_uniform())
        half = self.channels // 2
        depthwise = partial(conv, kernel_size=(3, 3), strides=self.strides, activation=None)
        if self.strides == 1:
            shortcut, y = x_BHWC[..., :half], x_BHWC[..., half:]
        else:
            inputs = x_BHWC.shape[-1]
            shortcut = depthwise(features=inputs, groups=inputs, name="shortcut_depthwise")(x_BHWC)
            shortcut = conv(features=half, kernel_size=(1, 1), name="shortcut")(shortcut)
            y = x_BHWC
        y = conv(features=half, kernel_size=(1, 1), name="conv1")(y)
        y = depthwise(features=half, groups=half, name="depthwise")(y)
        y = conv(features=half, kernel_size=(1, 1), name="conv2")(y)
        return _shuffled(shortcut, y)


def _shuffled(a_BHWC: jax.Array, b_BHWC: jax.Array) -> jax.Array:
    """Return the channels of both in turn: what a transposition of two groups of channels gives, in one fast pass."""
    return jnp.stack([a_BHWC, b_BHWC], axis=-1).reshape(*a_BHWC.shape[:-1], -1)


class ShuffleNetV2(nn.Module):
    """A ShuffleNetV2 ×1.0 for images of any size from 32 pixels.

    Weights begin with PyTorch's defaults, as torchvision's do: uniform in ±1/√fan_in.

    Attributes:
        small: whether it begins for images of about 32 pixels.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the blocks again instead of keeping what is inside.
    """

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
            Logits (B, classes), and the named activations stem, stage1 to stage3 (the paper's Stage2 to Stage4),
            features and logits.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 32 pixels (8 if `small`).
        """
        require_images(images_BHWC, where="shufflenet_v2", smallest=8 if self.small else 32)
        block = nn.remat(Block) if self.remat else Block
        conv = partial(ConvNorm, train=train, dtype=self.dtype, kernel_init=fan_in_uniform())
        x = conv(features=24, kernel_size=(3, 3), strides=1 if self.small else 2, name="stem")(images_BHWC)
        endpoints = {"stem": x}
        if not self.small:
            x = MaxPool((3, 3), (2, 2), ((1, 1), (1, 1)), name="pool")(x)
        for stage, count in enumerate(_BLOCKS, 1):
            for number in range(1, count + 1):
                strides = 2 if number == 1 else 1
                name = f"stage{stage}_block{number}"
                x = block(116 * 2 ** (stage - 1), strides, train, self.dtype, name=name)(x)
            endpoints[f"stage{stage}"] = x
        x = conv(features=1024, kernel_size=(1, 1), name="top")(x)
        x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
        init, bias_init = fan_in_uniform(), fan_in_uniform_bias(x.shape[-1])
        logits = head(x, self.classes, dropout, train=train, dtype=self.dtype, kernel_init=init, bias_init=bias_init)
        endpoints["logits"] = logits
        return logits, endpoints


def _torchvision() -> Mapping[str, str]:
    names = {"stem": "conv1.0 conv1.1", "top": "conv5.0 conv5.1", "head": "fc"}
    for stage, count in enumerate(_BLOCKS, 1):
        for number in range(1, count + 1):
            ours, theirs = f"stage{stage}_block{number}", f"stage{stage + 1}.{number - 1}"
            for layer, place in (("conv1", 0), ("depthwise", 3), ("conv2", 5)):
                names[f"{ours}/{layer}"] = f"{theirs}.branch2.{place} {theirs}.branch2.{place + 1}"
            if number == 1:
                for layer, place in (("shortcut_depthwise", 0), ("shortcut", 2)):
                    names[f"{ours}/{layer}"] = f"{theirs}.branch1.{place} {theirs}.branch1.{place + 1}"
    return names


_SOURCE = 'N. Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018; torchvision'
VARIANTS = {
    "shufflenet_v2_x1_0": Variant(
        ShuffleNetV2,
        _SOURCE,
        2_278_604,
        strides={"stage1": 8, "stage2": 16, "stage3": 32},
        layouts={"torchvision": Layout(_torchvision)},
        remats=True,
    ),
    "shufflenet_v2_x1_0_32px": Variant(
        partial(ShuffleNetV2, small=True),
        _SOURCE,
        1_263_854,
        classes=10,
        size=(32, 32, 3),
        smallest=8,
        strides={"stage1": 2, "stage2": 4, "stage3": 8},
        remats=True,
    ),
}
