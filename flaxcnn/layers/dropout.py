"""Dropout whose rate is a value at run time, so that one compiled program serves every rate."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Sets each activation to zero with a given probability and scales the others up, so that the mean stays.

    `flax.linen.Dropout` takes its rate as a constant of the program. Draws from the random stream "dropout".

    Source: N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014; scaled
    while training ("inverted"), so that nothing is left to do afterwards.
    """

    @nn.compact
    def __call__(self, x: jax.Array, rate: jax.Array | float, *, train: bool) -> jax.Array:
        """Return activations of the same shape and dtype.

        Args:
            x: activations.
            rate: probability of a zero, 0 <= rate < 1; a number or a traced scalar.
            train: whether to drop anything.
        """
        if not train:
            return x
        kept = 1.0 - jnp.asarray(rate, jnp.float32)
        mask = jax.random.bernoulli(self.make_rng("dropout"), kept, x.shape)
        return jnp.where(mask, x / kept.astype(x.dtype), 0)
