"""Initializers with the defaults of PyTorch's layers: kernels and biases uniform in ±1/√fan_in.

PyTorch's `Conv2d` and `Linear` call `kaiming_uniform_(a=√5)` for the kernel, whose bound is √(6 / ((1 + 5) fan_in)),
and use the same bound for the bias (`torch/nn/modules/conv.py`, `reset_parameters`).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, variance_scaling


def fan_in_uniform() -> Initializer:
    """Return a kernel initializer: uniform in ±1/√fan_in, where fan_in is the product of all kernel axes but the last.

    A uniform distribution in ±1/√fan_in has the variance 1/(3 fan_in).
    """
    return variance_scaling(1 / 3, "fan_in", "uniform")


def pytorch_defaults(fan_in: int) -> dict[str, Any]:
    """Return `kernel_init` and `bias_init` as PyTorch's layers begin, for the number of inputs per output."""
    return {"kernel_init": fan_in_uniform(), "bias_init": fan_in_uniform_bias(fan_in)}


def fan_in_uniform_bias(fan_in: int) -> Initializer:
    """Return a bias initializer: uniform in ±1/√fan_in, with the fan_in of the bias's kernel.

    Args:
        fan_in: number of inputs per output: kernel height × kernel width × input channels, or a dense layer's inputs.
    """
    bound = 1 / math.sqrt(fan_in)

    def initialize(key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound, out_sharding=out_sharding)

    return initialize
