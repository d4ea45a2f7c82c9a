"""LeNet-5: Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 1998, section II.B.

Two convolutions of 5×5 with 6 and 16 filters, a 2×2 pool after each, and dense layers of 120, 84 and as many units as
there are classes. Images of 28×28 pixels are padded by 2 on all sides, to the paper's 32×32; the second convolution is
not padded.

This is the form that is usual today, as in PyTorch's tutorial "Neural Networks": ReLU instead of scaled tanh, max pools
instead of averages with a learned factor, every filter of the second convolution sees all six maps, and a dense layer
instead of radial basis functions. Layers begin as PyTorch's do.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.head import head
from flaxcnn.layers.initializers import pytorch_defaults
from flaxcnn.layers.pixels import require_images
from flaxcnn.layers.pooling import MaxPool
from flaxcnn.models.variant import Layout, Variant


class LeNet5(nn.Module):
    """28×28×1 → 28×28×6 → 10×10×16 → 400 → 120 → 84 → classes.

    Attributes:
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters and logits are float32.
    """

    classes: int = 10
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits and the endpoints of a batch.

        Args:
            images_BHWC: float images, (B, H, W, C); the number of weights of the first dense layer follows their size.
            train: whether to apply dropout.
            dropout: dropout rate of the features in training, which needs the random stream "dropout"; None for none,
                as in the paper.

        Returns:
            Logits (B, classes), and the named activations stage1, stage2, features and logits.

        Raises:
            DataError: the array is not a batch of images, or they are smaller than 12 pixels.
        """
        require_images(images_BHWC, where="lenet5", smallest=12)
        endpoints, x = {}, images_BHWC
        for number, (channels, padding) in enumerate(((6, 2), (16, 0)), 1):
            init = pytorch_defaults(25 * x.shape[-1])
            conv = Conv(channels, (5, 5), padding=padding, dtype=self.dtype, name=f"conv{number}", **init)
            x = endpoints[f"stage{number}"] = nn.relu(conv(x))
            x = MaxPool(name=f"pool{number}")(x)
        x = x.reshape(x.shape[0], -1)
        for number, units in enumerate((120, 84), 1):
            dense = nn.Dense(units, dtype=self.dtype, name=f"dense{number}", **pytorch_defaults(x.shape[-1]))
            x = nn.relu(dense(x))
        endpoints["features"] = x
        logits = head(x, self.classes, dropout, train=train, dtype=self.dtype, **pytorch_defaults(x.shape[-1]))
        endpoints["logits"] = logits
        return logits, endpoints


def _tutorial() -> dict[str, str]:
    """Return the names of PyTorch's tutorial."""
    return {"conv1": "conv1", "conv2": "conv2", "dense1": "fc1", "dense2": "fc2", "head": "fc3"}


VARIANTS = {
    "lenet5": Variant(
        LeNet5,
        'Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE 1998; '
        "with ReLU and max pools, as in PyTorch's tutorial",
        61_706,
        classes=10,
        size=(28, 28, 1),
        smallest=12,
        strides={"stage1": 1, "stage2": 2},
        layouts={"pytorch": Layout(_tutorial, flattened={"dense1": (5, 5)})},
    )
}
