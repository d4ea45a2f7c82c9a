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

from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.dropout import Dropout
from flaxcnn.layers.normalization import BatchNorm
from flaxcnn.layers.pixels import require_images
from flaxcnn.models.variant import Variant

_conv = partial(
    Conv,
    use_bias=False,  # a normalisation follows
    kernel_init=variance_scaling(2.0, "fan_in", "normal"),  # He et al., 2015
)


class Block(nn.Module):
    """A residual block: normalise, ReLU, convolve, twice, with dropout in between (the paper's Figure 1(d)).

    Attributes:
        channels: output channels.
        strides: strides of the first convolution and of the shortcut.
        train: whether to apply dropout and to normalise by the batch's statistics.
        dtype: dtype of the layers' computations.
    """

    channels: int
    strides: int
    train: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, dropout: jax.Array | float) -> jax.Array:
        """Return activations (B, H / strides, W / strides, channels).

        Args:
            x_BHWC: activations.
            dropout: dropout rate between the convolutions in training.
        """
        norm = partial(BatchNorm, not self.train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, relu=True)
        conv = partial(_conv, dtype=self.dtype)
        strides = (self.strides, self.strides)
        normed = norm(name="norm1")(x_BHWC)
        shortcut = x_BHWC
        if x_BHWC.shape[-1] != self.channels:
            shortcut = conv(self.channels, (1, 1), strides, name="shortcut")(normed)
        y = conv(self.channels, (3, 3), strides, padding=1, name="conv1")(normed)
        y = norm(name="norm2")(y)
        y = Dropout(name="dropout")(y, dropout, train=self.train)
        return shortcut + conv(self.channels, (3, 3), padding=1, name="conv2")(y)


class WideResNet(nn.Module):
    """WRN-depth-width.

    Attributes:
        depth: convolutions on the longest path, 6 n + 4.
        width: the paper's k.
        dropout: the paper's best rate on CIFAR is 0.3.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the blocks again instead of keeping what is inside.
    """

    depth: int = 10
    width: int = 1
    dropout: float = 0.3
    classes: int = 10
    dtype: DTypeLike = jnp.float32
    remat: bool = False

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
        block = nn.remat(Block) if self.remat else Block
        endpoints = {}
        rate = self.dropout if dropout is None else dropout
        x = endpoints["conv1"] = _conv(16, (3, 3), padding=1, dtype=self.dtype, name="conv1")(images_BHWC)
        for stage, channels in enumerate((16, 32, 64), 1):
            for number in range(1, (self.depth - 4) // 6 + 1):
                strides = 2 if stage > 1 and number == 1 else 1
                name = f"stage{stage}_block{number}"
                x = block(channels * self.width, strides, train, self.dtype, name=name)(x, rate)
            endpoints[f"stage{stage}"] = x
        norm = BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, relu=True, name="norm")
        x = endpoints["features"] = jnp.mean(norm(x), axis=(1, 2))
        logits = endpoints["logits"] = nn.Dense(self.classes, dtype=self.dtype, name="head")(x).astype(jnp.float32)
        return logits, endpoints


def _variant(depth: int, width: int, parameters: int) -> Variant:
    return Variant(
        partial(WideResNet, depth=depth, width=width),
        'S. Zagoruyko and N. Komodakis, "Wide Residual Networks", BMVC 2016',
        parameters,
        classes=10,
        size=(32, 32, 3),
        smallest=1,
        strides={"stage1": 1, "stage2": 2, "stage3": 4},
        remats=True,
    )


VARIANTS = {
    "wide_resnet10_1": _variant(10, 1, 77_850),  # the smallest there is
    "wide_resnet16_8": _variant(16, 8, 10_961_370),
    "wide_resnet28_10": _variant(28, 10, 36_479_194),
}
