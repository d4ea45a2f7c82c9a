"""Residual networks as a user of this library would write them: K. He et al., "Deep Residual Learning", CVPR 2016.

The variants are those of the paper's Table 1, with the stride of a bottleneck at its 3×3 convolution, as PyTorch's
torchvision has it.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling

import flaxcnn

_conv = partial(
    nn.Conv,
    use_bias=False,
    kernel_init=variance_scaling(2.0, "fan_out", "normal"),
    conv_general_dilated=flaxcnn.convolution,
)


class Block(nn.Module):
    """Two 3×3 convolutions, or a bottleneck of 1×1, 3×3 and 1×1, beside a shortcut.

    Attributes:
        channels: of the 3×3 convolutions.
        stride: of the first 3×3 convolution and of the shortcut.
        bottleneck: whether the block is one; it then has 4 × channels outputs.
    """

    channels: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Return activations (B, H / stride, W / stride, outputs)."""
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        outputs = self.channels * (4 if self.bottleneck else 1)
        kernels = (1, 3, 1) if self.bottleneck else (3, 3)
        strided = kernels.index(3)
        y = x
        for place, size in enumerate(kernels):
            last = place == len(kernels) - 1
            stride = self.stride if place == strided else 1
            y = _conv(outputs if last else self.channels, (size, size), stride, padding=size // 2)(y)
            y = norm()(y)
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            x = norm()(_conv(outputs, (1, 1), self.stride)(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A residual network with four stages.

    Attributes:
        stages: blocks of each stage.
        bottleneck: whether the blocks are bottlenecks.
        classes: number of outputs.
        stem: "imagenet", a 7×7 convolution and a pool that divide the size by 4; "small", a 3×3 convolution, for
            images of 32×32.
    """

    stages: tuple[int, ...]
    bottleneck: bool
    classes: int
    stem: str = "imagenet"

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits, float32 (B, classes), and no endpoints."""
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
        if self.stem == "imagenet":
            x = nn.relu(norm(_conv(64, (7, 7), 2, padding=3)(images)))
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        else:
            x = nn.relu(norm(_conv(64, (3, 3), padding=1)(images)))
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Block(64 * 2**stage, stride, self.bottleneck)(x, train=train)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2))), {}
