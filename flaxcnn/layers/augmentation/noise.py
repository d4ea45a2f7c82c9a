"""Cheap noise: four numbers of one random word."""

import math

import jax
import jax.numpy as jnp


def random_levels(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return whole numbers from 0 to 255, each as likely, float32."""
    count = math.prod(shape)
    words = jax.random.bits(key, (-(-count // 4),), jnp.uint32)
    # Shifted, not cast: which byte comes first is then the same on every machine.
    numbers = (words[:, None] >> jnp.arange(0, 32, 8, dtype=jnp.uint32)) & 255
    return numbers.reshape(-1)[:count].astype(jnp.float32).reshape(shape)
