"""MobileNetV3: A. Howard et al., "Searching for MobileNetV3", ICCV 2019.

A 3×3 convolution, inverted residual blocks (Tables 1 and 2 of the paper), a 1×1 convolution `top`, global average
pooling, and two dense layers, `hidden` and `head`. As torchvision has them: padding the same on all sides (the authors'
is TensorFlow's SAME), squeeze and excitation to a quarter of the expanded channels, epsilon and momentum of TensorFlow.

The form for images of 32 pixels begins with a convolution of stride 1.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.activations import hard_sigmoid, hard_swish
from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.head import head
from flaxcnn.layers.inverted_residual import Bottleneck, InvertedResidual, by_stage, rounded
from flaxcnn.layers.pixels import require_images
from flaxcnn.models.variant import Layout, Variant
from flaxcnn.models.weights.inverted_residual import timm_names, torchvision_names

_STEM = 16


def _row(kernel: int, expanded: int, channels: int, squeezes: bool, swishes: bool, strides: int) -> Bottleneck:
    """Return a row of the paper's tables: kernel, exp size, #out, SE, NL (HS or RE), s."""
    squeezed = rounded(expanded // 4) if squeezes else 0
    return Bottleneck(kernel, strides, expanded, channels, squeezed, hard_swish if swishes else nn.relu)


_LARGE = (
    _row(3, 16, 16, False, False, 1),
    _row(3, 64, 24, False, False, 2),
    _row(3, 72, 24, False, False, 1),
    _row(5, 72, 40, True, False, 2),
    _row(5, 120, 40, True, False, 1),
    _row(5, 120, 40, True, False, 1),
    _row(3, 240, 80, False, True, 2),
    _row(3, 200, 80, False, True, 1),
    _row(3, 184, 80, False, True, 1),
    _row(3, 184, 80, False, True, 1),
    _row(3, 480, 112, True, True, 1),
    _row(3, 672, 112, True, True, 1),
    _row(5, 672, 160, True, True, 2),
    _row(5, 960, 160, True, True, 1),
    _row(5, 960, 160, True, True, 1),
)
_SMALL = (
    _row(3, 16, 16, True, False, 2),
    _row(3, 72, 24, False, False, 2),
    _row(3, 88, 24, False, False, 1),
    _row(5, 96, 40, True, True, 2),
    _row(5, 240, 40, True, True, 1),
    _row(5, 240, 40, True, True, 1),
    _row(5, 120, 48, True, True, 1),
    _row(5, 144, 48, True, True, 1),
    _row(5, 288, 96, True, True, 2),
    _row(5, 576, 96, True, True, 1),
    _row(5, 576, 96, True, True, 1),
)


class MobileNetV3(nn.Module):
    """A MobileNetV3 for images of any size from 32 pixels.

    Convolutions begin as `InvertedResidual` says; dense kernels normal with the deviation 0.01, their biases at zero,
    as torchvision's do.

    Attributes:
        blocks: their sizes.
        hidden: outputs of the dense layer before the last.
        small: whether it begins for images of about 32 pixels, with a stride of 1.
        dropout: rate of the features in training.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the blocks again instead of keeping what is inside.
    """

    blocks: tuple[Bottleneck, ...] = _LARGE
    hidden: int = 1280
    small: bool = False
    dropout: float = 0.2
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
            dropout: dropout rate of the features in training, which needs the random stream "dropout"; None for the
                model's own.

        Returns:
            Logits (B, classes), and the named activations stem, stage1 and so on, features and logits. A stage is the
            last block's output at its stride; features are the outputs of `hidden`.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 32 pixels (16 if `small`).
        """
        require_images(images_BHWC, where="mobilenet_v3", smallest=16 if self.small else 32)
        shared: dict[str, Any] = {"train": train, "momentum": 0.99, "epsilon": 1e-3, "dtype": self.dtype}
        conv = partial(ConvNorm, activation=hard_swish, **shared)
        inverted = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        block = partial(inverted, squeeze=nn.relu, gate=hard_sigmoid, **shared)
        strides = 1 if self.small else 2
        x = conv(features=_STEM, kernel_size=(3, 3), strides=strides, name="stem")(images_BHWC)
        endpoints = {"stem": x}
        for name, sizes in by_stage(self.blocks).items():
            x = block(sizes=sizes, name=name)(x)
            endpoints[name.partition("_")[0]] = x
        x = conv(features=6 * x.shape[-1], kernel_size=(1, 1), name="top")(x)
        init = nn.initializers.normal(0.01)
        x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name="hidden")(jnp.mean(x, axis=(1, 2)))
        x = endpoints["features"] = hard_swish(x)
        rate = self.dropout if dropout is None else dropout
        logits = head(x, self.classes, rate, train=train, dtype=self.dtype, kernel_init=init)
        endpoints["logits"] = logits
        return logits, endpoints


def _torchvision(blocks: tuple[Bottleneck, ...]) -> Mapping[str, str]:
    named = {ours: (f"features.{place}", sizes) for place, (ours, sizes) in enumerate(by_stage(blocks).items(), 1)}
    top = f"features.{len(blocks) + 1}"
    return {
        "stem": "features.0.0 features.0.1",
        **torchvision_names(named, _STEM),
        "top": f"{top}.0 {top}.1",
        "hidden": "classifier.0",
        "head": "classifier.3",
    }


def _timm(blocks: tuple[Bottleneck, ...]) -> Mapping[str, str]:
    rows = len({each.channels for each in blocks})  # as many in each row of theirs
    return {
        "stem": "conv_stem bn1",
        **timm_names(by_stage(blocks), _STEM),
        "top": f"blocks.{rows}.0.conv blocks.{rows}.0.bn1",
        "hidden": "conv_head",
        "head": "classifier",
    }


def _variant(blocks: tuple[Bottleneck, ...], hidden: int, parameters: int, small: bool = False) -> Variant:
    stages = 1 + sum(each.strides == 2 for each in blocks[1:])
    first = blocks[0].strides * (1 if small else 2)
    size = 32 if small else 224
    # What timm calls mobilenetv3_large_100 and mobilenetv3_small_100 has PyTorch's epsilon.
    layouts = {
        "torchvision": Layout(partial(_torchvision, blocks)),
        "timm": Layout(partial(_timm, blocks), epsilon=1e-3 - 1e-5),
    }
    return Variant(
        partial(MobileNetV3, blocks=blocks, hidden=hidden, small=small),
        'A. Howard et al., "Searching for MobileNetV3", ICCV 2019; torchvision',
        parameters,
        10 if small else 1000,
        (size, size, 3),
        16 if small else 32,
        {f"stage{stage}": first * 2 ** (stage - 1) for stage in range(1, stages + 1)},
        {} if small else layouts,
        remats=True,
    )


VARIANTS = {
    "mobilenet_v3_small": _variant(_SMALL, 1024, 2_542_856),
    "mobilenet_v3_large": _variant(_LARGE, 1280, 5_483_032),
    "mobilenet_v3_large_32px": _variant(_LARGE, 1280, 4_214_842, small=True),
}
