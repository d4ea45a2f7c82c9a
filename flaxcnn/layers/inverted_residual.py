"""Inverted residual blocks, which MobileNets and EfficientNets are made of.

Source: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, Figure 3b; with squeeze
and excitation as in M. Tan et al., "MnasNet", CVPR 2019.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.layers.conv_norm import Activation, ConvNorm
from flaxcnn.layers.drop_path import DropPath
from flaxcnn.layers.squeeze_excitation import SqueezeExcitation


class Bottleneck(NamedTuple):
    """The sizes of a block.

    Attributes:
        kernel: height and width of the depthwise convolution's kernel.
        strides: of the block.
        expanded: channels of the depthwise convolution.
        channels: that the block returns.
        squeezed: channels between the two layers of squeeze and excitation; 0 for none.
        activation: after the first two convolutions.
    """

    kernel: int
    strides: int
    expanded: int
    channels: int
    squeezed: int
    activation: Activation


def rounded(channels: float) -> int:
    """Return a number of channels that 8 divides, not less than 0.9 of what is given."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def by_stage(blocks: Iterable[Bottleneck]) -> dict[str, Bottleneck]:
    """Return a network's blocks by their names, `stage1_block1` and so on: a stage begins where the stride is 2."""
    named: dict[str, Bottleneck] = {}
    stage, number = 1, 0
    for block in blocks:
        stage, number = (stage + 1, 1) if named and block.strides == 2 else (stage, number + 1)
        named[f"stage{stage}_block{number}"] = block
    return named


class InvertedResidual(nn.Module):
    """A 1×1 convolution that expands, a depthwise one, squeeze and excitation, and a 1×1 that projects, linearly.

    There is no expansion where the block's input has as many channels already, and a shortcut where the block has the
    stride 1 and returns as many channels as it takes. Kernels begin normal with the variance 2 / outputs, the depthwise
    one 2 / (height × width), as in TensorFlow's implementations and timm; torchvision divides that by the channels.

    Attributes:
        sizes: of the block.
        train: whether to normalise by the batch's statistics.
        padding: of the depthwise convolution, as for `ConvNorm`: None for the same on both sides, or "SAME".
        momentum: share of the old statistics that an update keeps.
        epsilon: added to the variance.
        squeeze: the activation between the layers of squeeze and excitation.
        gate: the activation after them.
        drop_path: probability that the branch is left out for an example in training, where there is a shortcut.
        dtype: dtype of the computation; parameters and statistics are float32.
    """

    sizes: Bottleneck
    train: bool
    padding: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    squeeze: Activation = nn.relu
    gate: Activation = nn.sigmoid
    drop_path: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Return activations (B, H / strides, W / strides, channels)."""
        kernel, strides, expanded, channels, squeezed, activation = self.sizes
        conv = partial(ConvNorm, train=self.train, momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype)
        y = x_BHWC
        if x_BHWC.shape[-1] != expanded:
            y = conv(expanded, (1, 1), activation=activation, name="expand")(y)
        y = conv(
            expanded,
            (kernel, kernel),
            strides=strides,
            padding=self.padding,
            groups=expanded,
            activation=activation,
            kernel_init=variance_scaling(2.0, "fan_in", "normal"),
            name="depthwise",
        )(y)
        if squeezed:
            y = SqueezeExcitation(squeezed, self.squeeze, self.gate, self.dtype, name="se")(y)
        y = conv(channels, (1, 1), activation=None, name="project")(y)
        if strides != 1 or x_BHWC.shape[-1] != channels:
            return y
        return x_BHWC + DropPath(self.drop_path, self.train, name="drop_path")(y)
