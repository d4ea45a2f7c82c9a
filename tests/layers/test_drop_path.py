"""Stochastic depth leaves whole examples' branches out, as often as it says, and keeps the mean."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest

from flaxcnn.layers.drop_path import DropPath

X = jnp.asarray(np.random.default_rng(0).standard_normal((4000, 2, 3, 4)), jnp.float32)


def dropped(rate, seed=0, x=X):
    return DropPath(rate, train=True).apply({}, x, rngs={"dropout": jax.random.key(seed)})


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_an_example_is_left_out_whole_as_often_as_the_rate_says_and_scaled_up_otherwise(rate):
    out = np.asarray(dropped(rate))
    kept = (out != 0).all(axis=(1, 2, 3))
    assert ((out == 0).all(axis=(1, 2, 3)) == ~kept).all()
    assert binomtest(int((~kept).sum()), len(kept), rate).pvalue > 1e-4
    np.testing.assert_allclose(out[kept], np.asarray(X)[kept] / (1 - rate), rtol=1e-6)


def test_the_expectation_is_what_was_given():
    x = jnp.ones((4, 5))
    mean = jax.vmap(lambda key: DropPath(0.3, train=True).apply({}, x, rngs={"dropout": key}))(
        jax.random.split(jax.random.key(0), 20_000)
    ).mean(0)
    np.testing.assert_allclose(mean, x, atol=0.03)


def test_evaluation_and_rate_0_change_nothing_and_need_no_key():
    np.testing.assert_array_equal(DropPath(0.5, train=False).apply({}, X), X)
    np.testing.assert_array_equal(DropPath(0.0, train=True).apply({}, X), X)


def test_the_same_key_drops_alike_compiled_or_not_and_other_keys_and_layers_do_not():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return [DropPath(0.5, train=True, name=name)(x) for name in ("first", "second")]

    np.testing.assert_array_equal(dropped(0.5), jax.jit(lambda: dropped(0.5))())
    assert not np.array_equal(dropped(0.5), dropped(0.5, seed=1))
    first, second = Two().apply({}, X, rngs={"dropout": jax.random.key(0)})
    assert not np.array_equal(first, second)


def test_nothing_flows_back_to_an_example_that_is_left_out_and_the_dtype_stays():
    x = X.astype(jnp.bfloat16)
    out = dropped(0.5, x=x)
    gradient = jax.grad(lambda x: dropped(0.5, x=x).sum().astype(jnp.float32))(x)
    assert out.dtype == gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, jnp.where(out == 0, 0, 2))
