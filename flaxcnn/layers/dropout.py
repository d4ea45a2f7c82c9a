"""Dropout with a runtime rate, so one compiled program serves every rate."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Sets each activation to zero with a given probability and scales up the others to keep the mean.

    The rate of `flax.linen.Dropout` is a constant of the compiled program; here it is a runtime value. Uses the random
    stream "dropout".

    Source: N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, in the
    "inverted" form, which scales in training and not in evaluation.
    """

    @nn.compact
    def __call__(self, x: jax.Array, rate: jax.Array | float, *, train: bool) -> jax.Array:
        """Return activations of the same shape and dtype.

        Args:
            x: activations.
            rate: probability of a zero, 0 <= rate < 1; a number or a traced scalar. The number 0 draws nothing, and
                needs no random stream.
            train: whether to drop anything.
        """
        if not train or (isinstance(rate, float | int) and rate == 0):
            return x
        kept = 1.0 - jnp.asarray(rate, jnp.float32)
        mask = jax.random.bernoulli(self.make_rng("dropout"), kept, x.shape)
        return jnp.where(mask, x / kept.astype(x.dtype), 0)
