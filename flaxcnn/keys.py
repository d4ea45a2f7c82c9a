"""Random keys as a function of the seed, the purpose and the position.

No key is split and passed on, so a resumed run, or one with other block boundaries, draws the same numbers.
"""

import enum

import jax

_GENERATOR = "threefry2x32"  # by its name: JAX's default is a setting (`JAX_DEFAULT_PRNG_IMPL`)


class Purpose(enum.IntEnum):
    """What a key is for. The numbers are part of every recorded run: never reuse or renumber one."""

    WEIGHTS = 0
    DROPOUT = 1
    AUGMENTATION = 2
    MIXUP = 3


def key_for(seed: int | jax.Array, purpose: Purpose, position: int | jax.Array = 0) -> jax.Array:
    """Return the key of one use of randomness.

    Args:
        seed: the run's seed.
        purpose: what is drawn.
        position: where: a step, an epoch or an example, by its number from 0.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed, impl=_GENERATOR), purpose), position)
