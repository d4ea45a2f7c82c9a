"""The last layer of a network: dropout of its features, and a dense layer named `head`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.layers.dropout import Dropout


def head(
    features_BF: jax.Array,
    classes: int,
    dropout: jax.Array | float | None,
    *,
    train: bool,
    dtype: DTypeLike,
    kernel_init: nn.initializers.Initializer = nn.linear.default_kernel_init,
    bias_init: nn.initializers.Initializer = nn.initializers.zeros,
    use_bias: bool = True,
) -> jax.Array:
    """Return the outputs of a dense layer `head` of the module that calls this in its compact method.

    Args:
        features_BF: features, (B, F).
        classes: number of outputs; 0 for no layers, and the features themselves.
        dropout: rate of the layer `dropout` before it, a number or a traced scalar; None for no dropout.
        train: whether to drop anything.
        dtype: dtype of the layer's computation.
        kernel_init: initialiser of the kernel.
        bias_init: initialiser of the bias.
        use_bias: whether the layer has one.

    Returns:
        Outputs, float32 (B, classes).
    """
    if not classes:
        return features_BF
    if dropout is not None:
        features_BF = Dropout(name="dropout")(features_BF, dropout, train=train)
    dense = nn.Dense(classes, use_bias, dtype, kernel_init=kernel_init, bias_init=bias_init, name="head")
    return dense(features_BF).astype(jnp.float32)
