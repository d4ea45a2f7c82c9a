"""A small CNN with batch normalisation, for images of about 28×28 on a CPU.

One 3×3 convolution, then two stages of two, each stage after a 2×2 max pool and with twice the channels, each
convolution with batch normalisation and ReLU; global average pooling and one dense layer. The widths are chosen for
cores without a GPU: with few channels the first stage, where the images are largest, has one convolution only.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.typing import DTypeLike

from flaxcnn.errors import DataError
from flaxcnn.layers.convolution import convolution
from flaxcnn.layers.dropout import Dropout
from flaxcnn.layers.pooling import MaxPool


class SmallCNN(nn.Module):
    """Five 3×3 convolutions of width, 2 width, 2 width, 4 width and 4 width channels.

    Attributes:
        width: channels of the first convolution.
        classes: number of classes, the last axis of the logits.
        dtype: what the layers compute in; parameters, statistics and logits are float32.
    """

    width: int = 32
    classes: int = 10
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits and the endpoints of a batch.

        Args:
            images_BHWC: float images in [0, 1], (B, H, W, C); height and width at least 4.
            train: normalise by the batch's own statistics, which needs the collection "batch_stats" mutable, and drop.
            dropout: rate at which features are dropped in training, which needs the random stream "dropout"; None for
                no dropout.

        Returns:
            Logits (B, classes), and the named activations stage1, stage2, stage3, features and logits.

        Raises:
            DataError: the images are smaller than 4×4.
        """
        height, width = images_BHWC.shape[1:3]
        if min(height, width) < 4:
            raise DataError(
                "images too small for two pools of 2×2",
                where="small_cnn",
                expected="height and width of at least 4",
                found=f"{height}×{width}",
            )
        conv = partial(
            nn.Conv,
            kernel_size=(3, 3),
            padding=1,
            use_bias=False,  # a normalisation follows
            kernel_init=variance_scaling(2.0, "fan_in", "normal"),  # He et al., 2015
            conv_general_dilated=convolution,
            dtype=self.dtype,
        )
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype)
        endpoints, x = {}, images_BHWC
        for stage, convolutions in ((1, 1), (2, 2), (3, 2)):
            if stage > 1:
                x = MaxPool((2, 2), name=f"pool{stage - 1}")(x)
            for number in range(1, convolutions + 1):
                x = conv(self.width * 2 ** (stage - 1), name=f"stage{stage}_conv{number}")(x)
                x = nn.relu(norm(name=f"stage{stage}_norm{number}")(x))
            endpoints[f"stage{stage}"] = x
        x = endpoints["features"] = jnp.mean(x, axis=(1, 2))
        if dropout is not None:
            x = Dropout(name="dropout")(x, dropout, train=train)
        logits = endpoints["logits"] = nn.Dense(self.classes, dtype=self.dtype, name="head")(x).astype(jnp.float32)
        return logits, endpoints
