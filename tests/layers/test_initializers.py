"""Parameters start uniform in ±1/√fan_in, as PyTorch's layers draw them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, uniform

from flaxcnn.layers.initializers import fan_in_uniform, fan_in_uniform_bias

# By hand: kernel height × kernel width × input channels of a convolution, the inputs of a dense layer.
KERNELS = [((5, 5, 16, 32), 400), ((3, 3, 1, 2000), 9), ((1568, 10), 1568), ((7, 3000), 7)]


@pytest.mark.parametrize(("shape", "fan_in"), KERNELS)
def test_a_kernel_is_uniform_in_its_bounds(shape, fan_in):
    kernel = np.asarray(fan_in_uniform()(jax.random.key(0), shape))
    assert (kernel.shape, kernel.dtype) == (shape, np.float32)
    agree(kernel.ravel(), fan_in)


@pytest.mark.parametrize("fan_in", [9, 25, 400, 1568])
def test_a_bias_is_uniform_in_the_bounds_of_its_kernel(fan_in):
    bias = np.asarray(fan_in_uniform_bias(fan_in)(jax.random.key(1), (20_000,)))
    assert bias.dtype == np.float32
    agree(bias, fan_in)


def agree(values, fan_in):
    bound = 1 / np.sqrt(fan_in)
    rounding = 1 + np.finfo(np.float32).eps
    assert -bound * rounding <= values.min() < -bound * (1 - 20 / len(values))
    assert bound * (1 - 20 / len(values)) < values.max() <= bound * rounding
    # Fixed keys: a threshold that a wrong distribution (a normal one, another bound) is far below.
    assert kstest(values, uniform(-bound, 2 * bound).cdf).pvalue > 1e-3


def test_the_key_decides_and_another_type_is_drawn_in_that_type():
    draw = fan_in_uniform_bias(25)
    np.testing.assert_array_equal(draw(jax.random.key(3), (16,)), draw(jax.random.key(3), (16,)))
    assert (draw(jax.random.key(3), (16,)) != draw(jax.random.key(4), (16,))).any()
    assert draw(jax.random.key(3), (16,), jnp.bfloat16).dtype == jnp.bfloat16
    assert fan_in_uniform()(jax.random.key(3), (5, 16), jnp.bfloat16).dtype == jnp.bfloat16
