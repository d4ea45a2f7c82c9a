"""Random arrays, XLA's own convolution, and whether another one agrees with it in value and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flaxcnn.layers.convolution import convolution

CANONICAL = ("NHWC", "HWIO", "NHWC")


def arrays(seed, *shapes, dtype=jnp.float32):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.standard_normal(shape), dtype) for shape in shapes]


def plain(images, kernel, strides, padding, **options):
    return lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=CANONICAL, **options)


def close(found, expected, length):
    """Equal but for the rounding of sums of `length` products."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-7 * np.sqrt(length) * max(1, np.abs(expected).max()))


def with_gradients(function, images, kernel, seed=0):
    """A function's output, and the gradients of a weighted sum of it, so that each output counts differently."""
    output = jax.eval_shape(function, images, kernel)
    (weights,) = arrays(seed, output.shape, dtype=output.dtype)

    @jax.jit
    def compiled(images, kernel, weights):
        value, vjp = jax.vjp(function, images, kernel)
        return value, *vjp(weights)

    return *compiled(images, kernel, weights), weights


def agree(ours, theirs, images, kernel, seed=0):
    """Values and both gradients agree."""
    *found, weights = with_gradients(ours, images, kernel, seed)
    *expected, _ = with_gradients(theirs, images, kernel, seed)
    lengths = (kernel[..., 0].size, kernel[..., 0, :].size, weights[..., 0].size)
    for each, other, length in zip(found, expected, lengths, strict=True):
        close(each, other, length)


def two_layers(params, images):
    """A loss of two convolutions: one of few channels, a product of patches forward, and one of many."""
    first, second = params
    maps = convolution(images, first, (1, 1), "SAME", dimension_numbers=CANONICAL)
    maps = convolution(jnp.tanh(maps), second, (2, 2), "SAME", dimension_numbers=CANONICAL)
    return jnp.mean(jnp.tanh(maps) ** 2)


def descend(params, images):
    return jax.tree.map(lambda param, slope: param - slope, params, jax.grad(two_layers)(params, images))
