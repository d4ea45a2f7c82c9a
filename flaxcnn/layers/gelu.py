"""The Gaussian error linear unit: D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", 2016."""

import math

import jax
from jax import lax


def gelu(x: jax.Array) -> jax.Array:
    """Return x Φ(x), exactly as PyTorch computes it.

    `jax.nn.gelu(x, approximate=False)` computes 1 + erf(z) as erfc(-z), which takes several times longer on a CPU.
    """
    return 0.5 * x * (1 + lax.erf(x * math.sqrt(0.5)))
