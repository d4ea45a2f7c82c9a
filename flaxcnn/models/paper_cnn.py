"""The founding paper's CNN: two 5×5 convolutions, each with ReLU and a 2×2 max pool, and one dense layer.

28×28×1 → 28×28×16 → 14×14×16 → 14×14×32 → 7×7×32 → 1568 → 10: 28,938 parameters. `contracts/paper_cnn.contract` lists
its shapes.

The variant `paper_cnn_bn` trains with batch normalisation after each convolution. It can then be folded into the
paper's network, with 28,938 parameters and the same logits.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.dropout import Dropout
from flaxcnn.layers.initializers import fan_in_uniform, fan_in_uniform_bias
from flaxcnn.layers.normalization import BatchNorm
from flaxcnn.layers.pooling import MaxPool, require_poolable
from flaxcnn.models.variant import Variant

_EPSILON = 1e-5  # of the normalisations


class PaperCNN(nn.Module):
    """The CNN of "Exploration and Research of CNNs in Image Recognition" (X. Song), its MNIST experiment.

    Kernels and biases are initialised as in PyTorch, uniform in ±1/√fan_in, because the paper's recipe comes from
    there. Only `head` depends on the image size and on the number of classes.

    Attributes:
        classes: number of classes, the last axis of the logits.
        dtype: dtype of the layers' computations; parameters and logits are float32.
        norm: whether a batch normalisation follows each convolution and replaces its bias (S. Ioffe and C. Szegedy,
            "Batch Normalization", ICML 2015).
    """

    classes: int = 10
    dtype: DTypeLike = jnp.float32
    norm: bool = False

    @nn.compact
    def __call__(
        self, images_BHWC: jax.Array, *, train: bool = False, dropout: jax.Array | float | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the logits and the endpoints of a batch.

        Args:
            images_BHWC: float images in [0, 1], (B, H, W, C); height and width at least 4.
            train: whether to apply dropout and to normalise by the batch's statistics.
            dropout: dropout rate of the features in training, which needs the random stream "dropout"; None for no
                dropout, as in the paper.

        Returns:
            Logits (B, classes), and the named activations conv1, pool1, conv2, pool2, features and logits.

        Raises:
            DataError: the array is not a batch of images, or the images are smaller than 4×4.
        """
        require_poolable(images_BHWC, times=2, where="paper_cnn")
        endpoints = {}
        x = images_BHWC
        for number, filters in ((1, 16), (2, 32)):
            conv = Conv(
                filters,
                (5, 5),
                padding=2,
                use_bias=not self.norm,
                kernel_init=fan_in_uniform(),
                bias_init=fan_in_uniform_bias(5 * 5 * x.shape[-1]),
                dtype=self.dtype,
                name=f"conv{number}",
            )
            x = conv(x)
            if self.norm:
                norm = BatchNorm(not train, momentum=0.99, epsilon=_EPSILON, dtype=self.dtype, name=f"norm{number}")
                x = norm(x)
            endpoints[f"conv{number}"] = x
            # The maxima of what is positive, or what is positive of the maxima: the second has a quarter of the values.
            # After a normalisation, XLA fuses the first in another way, and rounds as it always did.
            pool = MaxPool((2, 2), name=f"pool{number}")
            x = endpoints[f"pool{number}"] = pool(nn.relu(x)) if self.norm else nn.relu(pool(x))
        x = endpoints["features"] = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        if dropout is not None:
            x = Dropout(name="dropout")(x, dropout, train=train)
        head = nn.Dense(
            self.classes,
            kernel_init=fan_in_uniform(),
            bias_init=fan_in_uniform_bias(x.shape[-1]),
            dtype=self.dtype,
            name="head",
        )
        logits = endpoints["logits"] = head(x).astype(jnp.float32)
        return logits, endpoints

    def folded(self) -> "PaperCNN":
        """Return the paper's network, without normalisation; `fold` returns its variables."""
        return self.clone(norm=False)

    def fold(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return variables for `folded()`, so that it computes this model's logits in evaluation.

        Normalisation by fixed statistics scales and shifts each channel. The preceding convolution can do the same:
        kernel · scale / √(variance + ε), and the bias shift - mean · scale / √(variance + ε).

        Args:
            variables: this model's variables.
        """
        if not self.norm:
            return dict(variables)
        params, stats = variables["params"], variables["batch_stats"]
        folded = {"head": params["head"]}
        for number in (1, 2):
            norm, moments = params[f"norm{number}"], stats[f"norm{number}"]
            factor = norm["scale"] / jnp.sqrt(moments["var"] + _EPSILON)
            folded[f"conv{number}"] = {
                "kernel": params[f"conv{number}"]["kernel"] * factor,
                "bias": norm["bias"] - moments["mean"] * factor,
            }
        return {"params": folded}


_PAPER = "the founding paper"
_row = partial(Variant, classes=10, size=(28, 28, 1), smallest=4)
VARIANTS = {
    "paper_cnn": _row(PaperCNN, _PAPER, 28_938),
    "paper_cnn_bn": _row(partial(PaperCNN, norm=True), f"{_PAPER}, with batch normalisation", 28_986),
}
