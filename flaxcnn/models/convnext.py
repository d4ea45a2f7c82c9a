"""ConvNeXt: Z. Liu et al., "A ConvNet for the 2020s", CVPR 2022.

A convolution of 4×4 pixels, four stages of residual blocks at strides 4 to 32 (section 2 and Table 9 of the paper), a
layer normalisation and a 2×2 convolution between stages, global average pooling, a layer normalisation and one dense
layer. Padding is explicit: 3 on all sides of a 7×7 convolution and none elsewhere, where sizes that do not divide leave
out the last rows and columns. Kernels begin with a standard deviation of 0.02, biases with 0, as in the paper's code.
Its rate of stochastic depth grows with a block's position from 0 to `drop_path`.
"""

from collections.abc import Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.drop_path import DropPath
from flaxcnn.layers.gelu import gelu
from flaxcnn.layers.head import head
from flaxcnn.layers.pixels import require_images
from flaxcnn.models.variant import Layout, Variant

_INIT = nn.initializers.normal(0.02)  # the paper's truncates at ±2, which is 100 standard deviations
_conv = partial(Conv, padding="VALID", kernel_init=_INIT)
_norm = partial(nn.LayerNorm, epsilon=1e-6)


class Block(nn.Module):
    """A residual block: a 7×7 depthwise convolution, layer normalisation, and a dense layer each way (Figure 4).

    Attributes:
        drop_path: probability that the branch is left out for an example in training.
        train: whether to leave out any.
        dtype: dtype of the computation.
    """

    drop_path: float
    train: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations of the same shape."""
        channels = x_BHWC.shape[-1]
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=_INIT)
        y = _conv(
            channels, (7, 7), padding=3, feature_group_count=channels, dtype=self.dtype, name="depthwise"
        )(x_BHWC)  # fmt: skip
        y = _norm(dtype=self.dtype, name="norm")(y)
        y = dense(channels, name="narrow")(gelu(dense(4 * channels, name="wide")(y)))
        scale = self.param("layer_scale", nn.initializers.constant(1e-6), (channels,), jnp.float32)
        return x_BHWC + DropPath(self.drop_path, self.train, name="drop_path")(y * scale.astype(y.dtype))


class ConvNeXt(nn.Module):
    """A ConvNeXt for images of any size from 32 pixels.

    Attributes:
        blocks: of each stage.
        channels: of each stage.
        drop_path: the last block's rate of stochastic depth.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters and logits are float32.
        remat: whether the backward pass computes the blocks again instead of keeping what is inside.
    """

    blocks: tuple[int, ...] = (3, 3, 9, 3)
    channels: tuple[int, ...] = (96, 192, 384, 768)
    drop_path: float = 0.1
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
            train: whether to apply stochastic depth and dropout, which need the random stream "dropout".
            dropout: dropout rate of the features in training; None for none.

        Returns:
            Logits (B, classes), and the named activations stem, stage1 to stage4, features and logits.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 32 pixels.
        """
        require_images(images_BHWC, where="convnext", smallest=32)
        block = nn.remat(Block) if self.remat else Block
        conv, norm = partial(_conv, dtype=self.dtype), partial(_norm, dtype=self.dtype)
        x = conv(self.channels[0], (4, 4), 4, name="stem_conv")(images_BHWC)
        x = norm(name="stem_norm")(x)
        endpoints, done = {"stem": x}, 0
        for stage, (count, channels) in enumerate(zip(self.blocks, self.channels, strict=True), 1):
            if stage > 1:
                x = norm(name=f"stage{stage}_norm")(x)
                x = conv(channels, (2, 2), 2, name=f"stage{stage}_conv")(x)
            for number in range(1, count + 1):
                rate = self.drop_path * done / (sum(self.blocks) - 1)
                x = block(rate, train, self.dtype, name=f"stage{stage}_block{number}")(x)
                done += 1
            endpoints[f"stage{stage}"] = x
        x = endpoints["features"] = norm(name="norm")(jnp.mean(x, axis=(1, 2)))
        logits = head(x, self.classes, dropout, train=train, dtype=self.dtype, kernel_init=_INIT)
        endpoints["logits"] = logits
        return logits, endpoints


def _names(
    blocks: tuple[int, ...], stem: str, down: str, block: str, inside: tuple[str, ...], last: str, scale: str
) -> Mapping[str, str]:
    """Return names that are made alike in all libraries, of stages counted from 0."""
    names = {"stem_conv": f"{stem}.0", "stem_norm": f"{stem}.1"}
    names["norm"], names["head"] = last.split()
    for stage, count in enumerate(blocks):
        if stage:
            names[f"stage{stage + 1}_norm"] = f"{down.format(stage, 2 * stage)}.0"
            names[f"stage{stage + 1}_conv"] = f"{down.format(stage, 2 * stage)}.1"
        for number in range(count):
            ours, theirs = f"stage{stage + 1}_block{number + 1}", block.format(stage, 2 * stage + 1, number)
            for layer, called in zip(("depthwise", "norm", "wide", "narrow"), inside, strict=True):
                names[f"{ours}/{layer}"] = f"{theirs}.{called}"
            names[f"{ours}/layer_scale"] = f"{theirs}.{scale}"
    return names


def _layouts(blocks: tuple[int, ...]) -> Mapping[str, Layout]:
    torchvision = (
        "features.0",
        "features.{1}",
        "features.{1}.{2}",
        ("block.0", "block.2", "block.3", "block.5"),
        "classifier.0 classifier.2",
        "layer_scale",
    )
    timm = (
        "stem",
        "stages.{0}.downsample",
        "stages.{0}.blocks.{2}",
        ("conv_dw", "norm", "mlp.fc1", "mlp.fc2"),
        "head.norm head.fc",
        "gamma",
    )
    authors = (
        "downsample_layers.0",
        "downsample_layers.{0}",
        "stages.{0}.{2}",
        ("dwconv", "norm", "pwconv1", "pwconv2"),
        "norm head",
        "gamma",
    )
    return {
        "torchvision": Layout(partial(_names, blocks, *torchvision), channels_first=("layer_scale",)),
        "timm": Layout(partial(_names, blocks, *timm)),
        "facebookresearch": Layout(partial(_names, blocks, *authors)),
    }


VARIANTS = {
    "convnext_tiny": Variant(
        ConvNeXt,
        'Z. Liu et al., "A ConvNet for the 2020s", CVPR 2022; torchvision',
        28_589_128,
        strides={f"stage{stage}": 2 ** (stage + 1) for stage in range(1, 5)},
        layouts=_layouts((3, 3, 9, 3)),
        remats=True,
    )
}
