"""AlexNet: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, 2014.

Five convolutions, pools after the first, second and fifth, and two dense layers of 4096 units, each after dropout
(A. Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS 2012, section 3.5). As
in torchvision, there is no local response normalisation and no convolution in two groups; the first convolution is
padded by 2 on all sides, the others by (size - 1) / 2, and pools are not padded. Adaptive average pooling to 6×6 lets
images be of other sizes than 224. Layers begin as PyTorch's do, as in torchvision.

The form for images of 32 pixels begins with a 5×5 convolution of stride 1, has 3×3 kernels after it, pools 2×2 windows
that do not overlap, averages to 4×4 and has dense layers of 1024 units; the numbers of filters are the same.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.dropout import Dropout
from flaxcnn.layers.head import head
from flaxcnn.layers.initializers import pytorch_defaults
from flaxcnn.layers.pixels import require_images
from flaxcnn.layers.pooling import MaxPool, adaptive_avg_pool
from flaxcnn.models.variant import Layout, Variant

_FILTERS = (64, 192, 384, 256, 256)
_POOLED = {1: "stage1", 2: "stage2", 5: "stage3"}  # convolutions before a pool, and their endpoints


class AlexNet(nn.Module):
    """AlexNet for images of any size from 63 pixels.

    Attributes:
        small: whether it is the form for images of about 32 pixels.
        dropout: rate before the first and second dense layer; the paper's is 0.5.
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters and logits are float32.
    """

    small: bool = False
    dropout: float = 0.5
    classes: int = 1000
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits and the endpoints of a batch.

        Args:
            images_BHWC: float images, (B, H, W, C).
            train: whether to apply dropout, which needs the random stream "dropout".
            dropout: rate that replaces the model's; None for the model's.

        Returns:
            Logits (B, classes), and the named activations stage1 to stage3, features and logits.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 63 pixels (8 if `small`).
        """
        require_images(images_BHWC, where="alexnet", smallest=8 if self.small else 63)
        rate = self.dropout if dropout is None else dropout
        endpoints, x = {}, images_BHWC
        for number, filters in enumerate(_FILTERS, 1):
            x = nn.relu(self._convolution(number, filters, x.shape[-1])(x))
            if number in _POOLED:
                endpoints[_POOLED[number]] = x
                pool = ((2, 2), (2, 2)) if self.small else ((3, 3), (2, 2))
                x = MaxPool(*pool, name=f"pool{number}")(x)
        x = adaptive_avg_pool(x, (4, 4) if self.small else (6, 6))
        x = x.reshape(x.shape[0], -1)
        for number in (1, 2):
            x = Dropout(name=f"dropout{number}")(x, rate, train=train)
            units, init = 1024 if self.small else 4096, pytorch_defaults(x.shape[-1])
            x = nn.relu(nn.Dense(units, dtype=self.dtype, name=f"dense{number}", **init)(x))
        endpoints["features"] = x
        logits = head(x, self.classes, None, train=train, dtype=self.dtype, **pytorch_defaults(x.shape[-1]))
        endpoints["logits"] = logits
        return logits, endpoints

    def _convolution(self, number: int, filters: int, channels: int) -> Conv:
        size, strides, padding = 3, 1, 1
        if number <= 2 and not self.small:
            size, strides, padding = (11, 4, 2) if number == 1 else (5, 1, 2)
        elif number == 1:
            size, padding = 5, 2
        init = pytorch_defaults(size * size * channels)
        return Conv(filters, (size, size), strides, padding, dtype=self.dtype, name=f"conv{number}", **init)


def _torchvision() -> dict[str, str]:
    """Return torchvision's names."""
    names = {f"conv{number}": f"features.{index}" for number, index in enumerate((0, 3, 6, 8, 10), 1)}
    return {**names, "dense1": "classifier.1", "dense2": "classifier.4", "head": "classifier.6"}


_SOURCE = 'A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014; torchvision'
VARIANTS = {
    "alexnet": Variant(
        AlexNet,
        _SOURCE,
        61_100_840,
        smallest=63,
        strides={"stage1": 4, "stage2": 8, "stage3": 16},
        layouts={"torchvision": Layout(_torchvision, flattened={"dense1": (6, 6)})},
    ),
    "alexnet_32px": Variant(
        partial(AlexNet, small=True),
        _SOURCE,
        7_509_834,
        classes=10,
        size=(32, 32, 3),
        smallest=8,
        strides={"stage1": 1, "stage2": 2, "stage3": 4},
    ),
}
