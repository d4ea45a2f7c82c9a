"""Wide residual networks with dropout: S. Zagoruyko and N. Komodakis, "Wide Residual Networks", BMVC 2016.

WRN-d-k has d convolutions on its longest path and k times the width of the original residual network (section 2 and
Table 1 of the paper): a 3×3 convolution, three stages of (d - 4) / 6 blocks with 16k, 32k and 64k channels, the second
and third at half the size of the one before, and global average pooling.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.layers.convolution import convolution
from flaxcnn.layers.dropout import Dropout
from flaxcnn.layers.pixels import require_images

# Depth and width by name; parameters with 10 classes and 3 channels.
VARIANTS = {
    "wide_resnet10_1": (10, 1),  # 77,850, the smallest there is
    "wide_resnet16_8": (16, 8),  # 10,961,370
    "wide_resnet28_10": (28, 10),  # 36,479,194
}

_conv = partial(
    nn.Conv,
    use_bias=False,  # a normalisation follows
    kernel_init=variance_scaling(2.0, "fan_in", "normal"),  # He et al., 2015
    conv_general_dilated=convolution,
)


class Block(nn.Module):
    """A residual block: normalise, ReLU, convolve, twice, with dropout in between (the paper's Figure 1(d)).

    Attributes:
        channels: output channels.
        strides: strides of the first convolution and of the shortcut.
        dtype: dtype of the layers' computations.
    """

    channels: int
    strides: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, dropout: jax.Array | float, *, train: bool) -> jax.Array:
        """Return activations (B, H / strides, W / strides, channels).

        Args:
            x_BHWC: activations.
            dropout: dropout rate between the convolutions in training.
            train: whether to apply dropout and to normalise by the batch's statistics.
        """
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype)
        conv = partial(_conv, dtype=self.dtype)
        strides = (self.strides, self.strides)
        normed = nn.relu(norm(name="norm1")(x_BHWC))
        shortcut = x_BHWC
        if x_BHWC.shape[-1] != self.channels:
            shortcut = conv(self.channels, (1, 1), strides, name="shortcut")(normed)
        y = conv(self.channels, (3, 3), strides, padding=1, name="conv1")(normed)
        y = nn.relu(norm(name="norm2")(y))
        y = Dropout(name="dropout")(y, dropout, train=train)
        return shortcut + conv(self.channels, (3, 3), padding=1, name="conv2")(y)


class WideResNet(nn.Module):
    """WRN-depth-width.

    Attributes:
        depth: convolutions on the longest path, 6 n + 4.
        width: the paper's k.
        dropout: the paper's best rate on CIFAR is 0.3.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
    """

    depth: int = 10
    width: int = 1
    dropout: float = 0.3
    classes: int = 10
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits and the endpoints of a batch.

        Args:
            images_BHWC: float images in [0, 1], (B, H, W, C).
            train: whether to apply dropout and to normalise by the batch's statistics; needs the random stream
                "dropout" and the collection "batch_stats" mutable.
            dropout: dropout rate that replaces the model's; None for the model's.

        Returns:
            Logits (B, classes), and the named activations conv1, stage1, stage2, stage3, features and logits.

        Raises:
            DataError: the array is not a batch of images.
        """
        require_images(images_BHWC, where="wide_resnet")
        endpoints = {}
        rate = self.dropout if dropout is None else dropout
        x = endpoints["conv1"] = _conv(16, (3, 3), padding=1, dtype=self.dtype, name="conv1")(images_BHWC)
        for stage, channels in enumerate((16, 32, 64), 1):
            for number in range(1, (self.depth - 4) // 6 + 1):
                strides = 2 if stage > 1 and number == 1 else 1
                block = Block(channels * self.width, strides, self.dtype, name=f"stage{stage}_block{number}")
                x = block(x, rate, train=train)
            endpoints[f"stage{stage}"] = x
        norm = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name="norm")
        x = endpoints["features"] = jnp.mean(nn.relu(norm(x)), axis=(1, 2))
        logits = endpoints["logits"] = nn.Dense(self.classes, dtype=self.dtype, name="head")(x).astype(jnp.float32)
        return logits, endpoints
