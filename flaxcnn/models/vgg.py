"""VGG-16, plain, with batch normalisation and with a Selective Kernel unit.

Source: K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.

Thirteen 3×3 convolutions in five stages (Table 1 of the paper, column D), each stage before a 2×2 max pool, and two
dense layers of 4096 units, each before dropout. Convolutions are padded by 1 on all sides. As in torchvision, adaptive
average pooling to 7×7 lets images be of other sizes than 224, and layers begin as He et al. (2015) have it, by fan-out,
dense ones normal with a deviation of 0.01; with batch normalisation, convolutions still have biases.

The form for images of 32 pixels has batch normalisation, no last pool and one dense layer, on averages of the last
stage, as S. Liu and W. Deng ("Very Deep Convolutional Neural Network Based Image Classification Using Small Training
Sample Size", ACPR 2015) make VGG smaller for CIFAR.

`vgg16_sk` has a Selective Kernel unit (`flaxcnn.layers.selective_kernel`) after the last pool, global average pooling
and one dense layer. Its convolutions are VGG-16's and begin with VGG-16's weights where they are given.
"""

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
from flaxcnn.layers.pixels import require_images
from flaxcnn.layers.pooling import MaxPool, adaptive_avg_pool
from flaxcnn.layers.selective_kernel import SelectiveKernel
from flaxcnn.models.variant import Layout, Variant

_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and their filters


class VGG16(nn.Module):
    """VGG-16 for images of any size from 32 pixels.

    Attributes:
        normalised: whether batch normalisation follows each convolution.
        top: what follows the convolutions: the paper's "dense" layers; "average" of the last stage; or "selective", a
            Selective Kernel unit and the average.
        dropout: rate after each dense layer but the last, or of the averages; the paper's is 0.5.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
        remat: whether the backward pass computes normalised convolutions again instead of keeping what is inside.
    """

    normalised: bool = False
    top: str = "dense"
    dropout: float = 0.5
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
            dropout: rate that replaces the model's; None for the model's.

        Returns:
            Logits (B, classes), and the named activations stage1 to stage5, features and logits, also `selective` where
            there is such a unit.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 32 pixels (16 for "average").
        """
        require_images(images_BHWC, where="vgg16", smallest=16 if self.top == "average" else 32)
        rate = self.dropout if dropout is None else dropout
        endpoints, x = {}, images_BHWC
        for stage, (count, filters) in enumerate(_STAGES, 1):
            for number in range(1, count + 1):
                x = self._convolution(x, filters, train, f"stage{stage}_conv{number}")
            endpoints[f"stage{stage}"] = x
            if stage < len(_STAGES) or self.top != "average":
                x = MaxPool(name=f"pool{stage}")(x)
        normal = nn.initializers.normal(0.01)
        if self.top == "dense":
            x = adaptive_avg_pool(x, (7, 7))
            x = x.reshape(x.shape[0], -1)
            for number in (1, 2):
                x = nn.relu(nn.Dense(4096, dtype=self.dtype, kernel_init=normal, name=f"dense{number}")(x))
                endpoints["features"] = x
                x = Dropout(name=f"dropout{number}")(x, rate, train=train)
        else:
            if self.top == "selective":
                x = endpoints["selective"] = SelectiveKernel(filters, train, dtype=self.dtype, name="selective")(x)
            x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
            x = Dropout(name="dropout1")(x, rate, train=train)
        logits = endpoints["logits"] = head(x, self.classes, None, train=train, dtype=self.dtype, kernel_init=normal)
        return logits, endpoints

    def _convolution(self, x: jax.Array, filters: int, train: bool, name: str) -> jax.Array:
        if self.normalised:
            layer = nn.remat(ConvNorm) if self.remat else ConvNorm
            return layer(filters, (3, 3), train, biased=True, dtype=self.dtype, name=name)(x)
        he = variance_scaling(2.0, "fan_out", "normal")
        return nn.relu(Conv(filters, (3, 3), padding=1, kernel_init=he, dtype=self.dtype, name=name)(x))


def _names(normalised: bool, dense: tuple[str, ...]) -> dict[str, str]:
    """Return torchvision's names of convolutions, and these of the dense layers."""
    names, index = {}, 0
    for stage, (count, _) in enumerate(_STAGES, 1):
        for number in range(1, count + 1):
            norm = f" features.{index + 1}" if normalised else ""
            names[f"stage{stage}_conv{number}"] = f"features.{index}{norm}"
            index += 3 if normalised else 2  # with its ReLU
        index += 1  # the pool
    return {**names, **dict(zip(("dense1", "dense2", "head"), dense, strict=False))}


def _variant(parameters: int, *, normalised: bool, top: str = "dense", **changes: Any) -> Variant:
    return Variant(
        partial(VGG16, normalised=normalised, top=top),
        changes.pop("source", f"{_SOURCE}; torchvision"),
        parameters,
        strides={f"stage{stage}": 2 ** (stage - 1) for stage in range(1, 6)},
        remats=normalised,
        **changes,
    )


def _layouts(normalised: bool) -> dict[str, Layout]:
    theirs = {
        "torchvision": ("classifier.0", "classifier.3", "classifier.6"),
        "timm": ("pre_logits.fc1", "pre_logits.fc2", "head.fc"),  # there, the first two are convolutions
    }
    flattened = {"dense1": (7, 7)}
    return {key: Layout(partial(_names, normalised, dense), flattened=flattened) for key, dense in theirs.items()}


_SOURCE = (
    'K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015'
)
_TRUNK = Layout(partial(_names, False, ()), unused=("classifier.", "pre_logits.", "head."), new=("selective", "head"))
VARIANTS = {
    "vgg16": _variant(138_357_544, normalised=False, layouts=_layouts(False)),
    "vgg16_bn": _variant(138_365_992, normalised=True, layouts=_layouts(True)),
    "vgg16_bn_32px": _variant(14_728_266, normalised=True, top="average", classes=10, size=(32, 32, 3), smallest=16),
    "vgg16_sk": _variant(
        15_426_408,
        normalised=False,
        top="selective",
        source=f'{_SOURCE}; X. Li et al., "Selective Kernel Networks", CVPR 2019',
        layouts={"torchvision": _TRUNK, "timm": _TRUNK},
    ),
}
