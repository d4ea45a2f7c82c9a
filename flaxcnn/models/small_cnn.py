"""A small CNN with batch normalisation, for images of about 28×28 on a CPU.

Three convolutions, 5×5, 5×5 and 3×3, each with batch normalisation and ReLU, a 2×2 max pool after the first two, and
one dense layer: the founding paper's network with one more stage. It has few channels and large kernels, because
normalisation and ReLU are limited by memory bandwidth on a CPU and then process little data per convolution.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.dropout import Dropout
from flaxcnn.layers.normalization import BatchNorm
from flaxcnn.layers.pooling import MaxPool, require_poolable
from flaxcnn.models.variant import Variant

_STAGES = ((16, 5), (64, 5), (128, 3))  # channels and kernel size


class SmallCNN(nn.Module):
    """28×28×1 → 28×28×16 → 14×14×64 → 7×7×128 → 6272 → classes: 162,874 parameters with 10 classes.

    Attributes:
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters, statistics and logits are float32.
    """

    classes: int = 10
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits and the endpoints of a batch.

        Args:
            images_BHWC: float images in [0, 1], (B, H, W, C); height and width at least 4.
            train: whether to apply dropout and to normalise by the batch's statistics, which needs the collection
                "batch_stats" mutable.
            dropout: dropout rate of the features in training, which needs the random stream "dropout"; None for no
                dropout.

        Returns:
            Logits (B, classes), and the named activations conv1, pool1, conv2, pool2, conv3, features and logits.

        Raises:
            DataError: the array is not a batch of images, or the images are smaller than 4×4.
        """
        require_poolable(images_BHWC, times=2, where="small_cnn")
        endpoints, x = {}, images_BHWC
        for number, (channels, size) in enumerate(_STAGES, 1):
            x = Conv(
                channels,
                (size, size),
                padding=size // 2,
                use_bias=False,  # a normalisation follows
                kernel_init=variance_scaling(2.0, "fan_in", "normal"),  # He et al., 2015
                dtype=self.dtype,
                name=f"conv{number}",
            )(x)
            norm = BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, relu=True, name=f"norm{number}")
            x = endpoints[f"conv{number}"] = norm(x)
            if number < len(_STAGES):
                x = endpoints[f"pool{number}"] = MaxPool((2, 2), name=f"pool{number}")(x)
        x = endpoints["features"] = x.reshape(x.shape[0], -1)
        if dropout is not None:
            x = Dropout(name="dropout")(x, dropout, train=train)
        logits = endpoints["logits"] = nn.Dense(self.classes, dtype=self.dtype, name="head")(x).astype(jnp.float32)
        return logits, endpoints


VARIANTS = {"small_cnn": Variant(SmallCNN, "flaxcnn", 162_874, classes=10, size=(28, 28, 1), smallest=4)}
