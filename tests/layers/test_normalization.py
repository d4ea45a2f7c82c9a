"""Batch normalisation has the values, statistics and gradients of its definition, on XLA and natively."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.layers.normalization import BatchNorm, normalise

EPSILON = 1e-5


def problem(shape, seed=0, mean=0.0):
    """Activations, scale, bias and weights of a sum over the outputs."""
    random = np.random.default_rng(seed)
    x = (2 * random.standard_normal(shape) + mean).astype(np.float32)
    scale, bias = (random.standard_normal(shape[-1]).astype(np.float32) for _ in range(2))
    return x, scale, bias, random.standard_normal(shape).astype(np.float32)


def definition(x, scale, bias, weights, relu, end=np.inf):
    """S. Ioffe and C. Szegedy's equations in float64: outputs, statistics, and the gradients of their section 3."""
    x, scale, bias, weights = (np.asarray(each, np.float64) for each in (x, scale, bias, weights))
    axes, count = tuple(range(x.ndim - 1)), x[..., 0].size
    mean, variance = x.mean(axes), x.var(axes)
    normal = (x - mean) / np.sqrt(variance + EPSILON)
    y = scale * normal + bias
    if relu:
        weights, y = np.where((y > 0) & (y < end), weights, 0), np.clip(y, 0, end)
    d_scale, d_bias = (weights * normal).sum(axes), weights.sum(axes)
    d_x = scale / np.sqrt(variance + EPSILON) * (weights - d_bias / count - normal * d_scale / count)
    return y, mean, variance, d_x, d_scale, d_bias


def layer_outputs(layer, x, scale, bias, weights):
    params = {"scale": scale, "bias": bias}
    statistics = {"mean": jnp.zeros(x.shape[-1]), "var": jnp.ones(x.shape[-1])}

    def loss(params, x):
        y, updated = layer.apply({"params": params, "batch_stats": statistics}, x, mutable=["batch_stats"])
        return jnp.vdot(weights, y), (y, updated["batch_stats"])

    (d_params, d_x), (y, kept) = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)
    # The statistics of the batch, from those that are kept: 0.9 of the first ones and 0.1 of the batch's.
    return y, kept["mean"] * 10, (kept["var"] - 0.9) * 10, d_x, d_params["scale"], d_params["bias"]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(7, 5, 5, 3), (32, 16, 16, 24), (400, 17), (16, 2, 2, 130)])
def test_values_statistics_and_gradients_are_those_of_the_definition(shape, relu):
    inputs = problem(shape)
    found = layer_outputs(BatchNorm(False, momentum=0.9, relu=relu), *inputs)
    for each, expected in zip(found, definition(*inputs, relu), strict=True):
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(each, expected, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("shape", [(7, 5, 5, 3), (16, 2, 2, 130)])
@pytest.mark.parametrize("end", [1.0, 6.0])
def test_a_relu_that_ends_somewhere_belongs_to_the_normalisation(shape, end):
    *inputs, weights = problem(shape)

    def loss(*inputs):
        y, mean, variance = normalise(*inputs, EPSILON, bound=end)
        return jnp.vdot(weights, y), (y, mean, variance)

    gradients, found = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*inputs)
    for each, expected in zip((*found, *gradients), definition(*inputs, weights, True, end), strict=True):
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(each, expected, rtol=0, atol=2e-5 * scale)


def test_a_large_mean_does_not_drown_the_variance(kernels):
    if kernels == "xla":
        pytest.skip("Flax subtracts the squared mean from the mean square, which loses these digits")
    inputs = problem((64, 8, 8, 16), mean=3000)
    found = layer_outputs(BatchNorm(False, momentum=0.9), *inputs)
    np.testing.assert_allclose(found[0], definition(*inputs, False)[0], rtol=0, atol=2e-3)


@pytest.mark.parametrize("options", [{}, {"relu": True}, {"dtype": jnp.bfloat16}, {"use_scale": False}, {"axis": 1}])
def test_variables_and_evaluation_are_flaxs(options):
    x = problem((4, 6, 6, 6))[0]
    relu = options.pop("relu", False)
    ours, flax = BatchNorm(True, relu=relu, **options), nn.BatchNorm(True, **options)
    variables = flax.init(jax.random.key(0), x)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, ours.init(jax.random.key(0), x), variables))
    expected = flax.apply(variables, x)
    np.testing.assert_array_equal(ours.apply(variables, x), nn.relu(expected) if relu else expected)


def test_a_derivative_of_the_gradient_is_flaxs():
    x, scale, bias, weights = problem((6, 4, 4, 8))
    direction = problem((6, 4, 4, 8), seed=1)[0]

    def product(layer):
        variables = {"params": {"scale": scale, "bias": bias}}

        def loss(x):
            y, _ = layer.apply({**variables, "batch_stats": {"mean": bias, "var": bias}}, x, mutable=["batch_stats"])
            return jnp.vdot(weights, jnp.sin(y))

        return jax.jit(lambda x: jax.jvp(jax.grad(loss), (x,), (direction,))[1])(x)

    expected = product(nn.BatchNorm(False))
    np.testing.assert_allclose(product(BatchNorm(False)), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_vmap_normalises_each_of_many_batches():
    x, scale, bias, _ = problem((3, 6, 4, 4, 8))
    scales = np.stack([scale, 2 * scale, -scale])

    def one(x, scale):
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": bias, "var": bias}}
        return BatchNorm(False, momentum=0.9).apply(variables, x, mutable=["batch_stats"])[0]

    gradient = jax.value_and_grad(lambda x, scale: jnp.sum(jnp.sin(one(x, scale))), argnums=(0, 1))
    for axes, arrays in (((0, 0), (x, scales)), ((None, 0), (x[0], scales)), ((0, None), (x, scales[1]))):
        found = jax.jit(jax.vmap(gradient, axes))(*arrays)
        for number in range(3):
            own = [array if axis is None else array[number] for array, axis in zip(arrays, axes, strict=True)]
            for each, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.jit(gradient)(*own)), strict=True):
                np.testing.assert_allclose(each[number], other, rtol=1e-4, atol=1e-4)
    together = jax.grad(lambda scale: jnp.sum(jnp.sin(jax.vmap(one, (0, None))(x, scale))))
    apart = sum(jax.grad(lambda scale, each=each: jnp.sum(jnp.sin(one(each, scale))))(scale) for each in x)
    np.testing.assert_allclose(jax.jit(together)(scale), apart, rtol=1e-4, atol=1e-4)


def test_forward_mode_is_flaxs():
    x, scale, bias, _ = problem((6, 4, 4, 8))
    direction = problem((6, 4, 4, 8), seed=1)[0]

    def along(layer):
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": bias, "var": bias}}
        return jax.jvp(lambda x: layer.apply(variables, x, mutable=["batch_stats"])[0], (x,), (direction,))

    for found, expected in zip(along(BatchNorm(False)), along(nn.BatchNorm(False)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_a_nan_spoils_its_channel_and_no_other():
    x, *inputs = problem((4, 3, 3, 5))
    x[1, 2, 0, 3] = np.nan
    for relu in (False, True):
        y, mean, variance, *_ = layer_outputs(BatchNorm(False, momentum=0.9, relu=relu), x, *inputs)
        spoilt = np.isnan(y).reshape(-1, 5)
        assert spoilt[:, 3].all()
        assert not np.delete(spoilt, 3, axis=1).any()
        assert np.isnan(mean).tolist() == np.isnan(variance).tolist() == [False] * 3 + [True, False]
