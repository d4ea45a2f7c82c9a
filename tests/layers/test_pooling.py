"""Max pooling has the values and the gradient of `flax.linen.max_pool`, ties and NaNs included."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.layers.pooling import MaxPool, max_pool


def gradient(pool, x, weights):
    return jax.grad(lambda x: jnp.vdot(weights, pool(x)))(x)


def both(pool, x, weights):
    return pool(x), gradient(pool, x, weights)


def agree_with_flax(x, window, strides, padding, seed=0):
    def ours(x):
        return max_pool(x, window, strides, padding)

    def flax(x):
        return nn.max_pool(x, window, strides or window, padding)

    shape = jax.eval_shape(flax, x).shape
    weights = jnp.asarray(np.random.default_rng(seed).standard_normal(shape), x.dtype)
    for found, expected in zip(*(jax.jit(partial(both, pool))(x, weights) for pool in (ours, flax)), strict=True):
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 3))),
    st.sampled_from(["VALID", "SAME", ((0, 0), (0, 0)), ((1, 0), (0, 1))]),
    st.integers(0, 99),
)
def test_any_window_agrees_with_flax_in_value_and_gradient(shape, window, strides, padding, seed):
    # Small integers: many windows have ties.
    x = jnp.asarray(np.random.default_rng(seed).integers(-2, 3, shape), jnp.float32)
    agree_with_flax(x, window, strides, padding, seed)


def test_maxima_and_the_first_of_a_tie_by_hand():
    x = jnp.asarray([[3.0, 3.0, 0.0, 1.0, 9.0], [3.0, 1.0, 2.0, 2.0, 9.0], [9.0, 9.0, 9.0, 9.0, 9.0]])[None, :, :, None]
    assert max_pool(x)[0, :, :, 0].tolist() == [[3.0, 2.0]]
    found = gradient(max_pool, x, jnp.asarray([[10.0, 20.0]])[None, :, :, None])[0, :, :, 0]
    assert found.tolist() == [[10, 0, 0, 0, 0], [0, 0, 20, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("place", range(4))
def test_a_nan_goes_through_wherever_in_its_window_it_stands(place):
    x = jnp.arange(16.0).reshape(1, 4, 4, 1).at[0, place // 2, place % 2, 0].set(jnp.nan)
    assert np.isnan(max_pool(x)).ravel().tolist() == [True, False, False, False]
    agree_with_flax(x, (2, 2), None, "VALID")


def test_windows_of_infinities_agree_with_flax():
    x = jnp.full((1, 4, 4, 2), -jnp.inf).at[0, 3, 3, 0].set(jnp.inf)
    agree_with_flax(x, (2, 2), None, "VALID")


def test_bfloat16_stays_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 6, 3)), jnp.bfloat16)
    agree_with_flax(x, (2, 2), None, "VALID")
    assert max_pool(x).dtype == gradient(max_pool, x, max_pool(x)).dtype == jnp.bfloat16


def test_vmap_pools_each_batch():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 6, 6, 3)), jnp.float32)
    np.testing.assert_array_equal(jax.vmap(max_pool)(x), jnp.stack([max_pool(each) for each in x]))
    total = jax.grad(lambda x: jnp.sum(max_pool(x) ** 2))
    np.testing.assert_array_equal(jax.vmap(total)(x), jnp.stack([total(each) for each in x]))


def test_an_image_smaller_than_its_window_gives_what_flax_gives():
    x = jnp.ones((1, 1, 3, 2))
    assert max_pool(x).shape == nn.max_pool(x, (2, 2), (2, 2)).shape


def test_a_hessian_vector_product_agrees_with_flax_in_both_orders():
    x, direction = jnp.asarray(np.random.default_rng(0).standard_normal((2, 2, 6, 6, 3)), jnp.float32)

    def slope(pool):
        return jax.grad(lambda x: jnp.sum(pool(x) ** 3))

    expected = jax.jvp(slope(lambda x: nn.max_pool(x, (2, 2), (2, 2))), (x,), (direction,))[1]
    forward_over_reverse = jax.jvp(slope(max_pool), (x,), (direction,))[1]
    reverse_over_reverse = jax.grad(lambda x: jnp.vdot(slope(max_pool)(x), direction))(x)
    np.testing.assert_allclose(forward_over_reverse, expected, rtol=1e-6)
    np.testing.assert_allclose(reverse_over_reverse, expected, rtol=1e-6)


def test_integers_agree_with_plain_maxima():
    x = np.random.default_rng(0).integers(-9, 9, (2, 4, 4, 3))
    expected = x.reshape(2, 2, 2, 2, 2, 3).max(axis=(2, 4))
    np.testing.assert_array_equal(max_pool(jnp.asarray(x, jnp.float32)), expected)


def test_the_layer_pools_and_has_no_parameters():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 7, 3)), jnp.float32)
    layer = MaxPool((3, 3), (2, 2), "SAME")
    assert layer.init(jax.random.key(0), x) == {}
    np.testing.assert_array_equal(layer.apply({}, x), nn.max_pool(x, (3, 3), (2, 2), "SAME"))


def test_disjoint_windows_compile_without_window_by_window_operations():
    compiled = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x) ** 2))).lower(jnp.ones((2, 8, 8, 3))).compile().as_text()
    assert "reduce-window" not in compiled
    assert "select-and-scatter" not in compiled
