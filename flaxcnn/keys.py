"""Random keys as a function of the seed, the purpose and the position.

No key is split and passed on, so a resumed run, or one with other block boundaries, draws the same numbers.
"""

import enum
from typing import Any

import jax

_GENERATOR = "threefry2x32"  # by its name: JAX's default is a setting (`JAX_DEFAULT_PRNG_IMPL`)


class Purpose(enum.IntEnum):
    """What a key is for. The numbers are part of every recorded run: never reuse or renumber one."""

    WEIGHTS = 0
    DROPOUT = 1
    AUGMENTATION = 2
    MIXUP = 3


def compiler_options() -> dict[str, Any] | None:
    """Return XLA's options for a program that draws weights: `jax.jit(..., compiler_options=compiler_options())`.

    Such a program runs once, for less than a second, and has a loop of its own for each weight. On a CPU, XLA's first
    level of optimisation compiles it in a third of the time: 7 s instead of 24 s of CPU for ResNet-50. All such
    programs have the same options, since the last bit of a weight may follow from them: of kernels with three outputs
    it does. JAX takes options only of the outermost program, so call it outside of any other.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None


def key_for(seed: int | jax.Array, purpose: Purpose, position: int | jax.Array = 0) -> jax.Array:
    """Return the key of one use of randomness.

    Args:
        seed: the run's seed.
        purpose: what is drawn.
        position: where: a step, an epoch or an example, by its number from 0.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed, impl=_GENERATOR), purpose), position)
