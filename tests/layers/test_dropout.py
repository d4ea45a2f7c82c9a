"""Dropout with a rate at run time drops as often as it says and keeps the mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest

from flaxcnn.layers.dropout import Dropout

X = jnp.ones((100, 200))


def dropped(rate, seed=0, x=X):
    return Dropout().apply({}, x, rate, train=True, rngs={"dropout": jax.random.key(seed)})


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_activations_are_zero_as_often_as_the_rate_says_and_scaled_up_otherwise(rate):
    out = np.asarray(dropped(rate))
    assert binomtest(int((out == 0).sum()), out.size, rate).pvalue > 1e-4
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-6)


def test_rate_0_and_evaluation_change_nothing():
    np.testing.assert_array_equal(dropped(0.0), X)
    np.testing.assert_array_equal(Dropout().apply({}, X, 0.5, train=False), X)


def test_keys_differ_and_the_same_key_drops_alike():
    np.testing.assert_array_equal(dropped(0.5), dropped(0.5))
    assert not np.array_equal(dropped(0.5), dropped(0.5, seed=1))


def test_one_program_serves_every_rate_and_the_dtype_stays():
    program = jax.jit(lambda rate: dropped(rate, x=X.astype(jnp.bfloat16)))
    outs = [program(jnp.float32(rate)) for rate in (0.2, 0.6)]
    assert program._cache_size() == 1
    assert [out.dtype for out in outs] == [jnp.bfloat16] * 2
    assert (np.asarray(outs[0]) == 0).mean() < 0.25 < 0.55 < (np.asarray(outs[1]) == 0).mean()
