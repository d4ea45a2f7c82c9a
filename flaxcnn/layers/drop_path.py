"""Stochastic depth: a residual branch is left out for some examples of a batch while a network trains."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class DropPath(nn.Module):
    """Sets an example's residual branch to zero with a given probability and scales the others up to keep the mean.

    Uses the random stream "dropout", where anything can be dropped at all: training with a rate of 0 needs none. A
    model with such layers has an attribute `drop_path`, the rate of its last one.

    Sources: G. Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, which scales in evaluation instead;
    G. Larsson et al., "FractalNet", ICLR 2017, the name. In this form in M. Tan and Q. Le's EfficientNet, ICML 2019.

    Attributes:
        rate: probability that an example's branch is left out, 0 <= rate < 1.
        train: whether to leave out any.
    """

    rate: float
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return a branch's activations (B, ...), of the same shape and dtype, that are to be added to the shortcut."""
        if not self.train or self.rate == 0:
            return x
        kept = 1 - self.rate
        mask_B = jax.random.bernoulli(self.make_rng("dropout"), kept, x.shape[:1])
        return jnp.where(mask_B.reshape(-1, *[1] * (x.ndim - 1)), x / kept, 0)
