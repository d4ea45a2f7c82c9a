"""MixUp is the weighted sum of neighbours in a batch, its shares distributed as the paper says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, kstest

from flaxcnn.layers.augmentation import MixUp, mix

pytestmark = pytest.mark.usefixtures("light_programs")

IMAGES = np.random.default_rng(0).random((6, 4, 5, 3), np.float32)


def test_an_example_is_mixed_with_the_next_and_the_last_with_the_first():
    mixed, shares = map(np.asarray, mix(MixUp(1.0), jax.random.key(1), IMAGES))
    assert shares.shape == (6,)
    for i in range(6):
        expected = shares[i] * IMAGES[i] + (1 - shares[i]) * IMAGES[(i + 1) % 6]
        np.testing.assert_allclose(mixed[i], expected, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha):
    _, shares = jax.jit(mix)(MixUp(alpha), jax.random.key(3), jnp.zeros((3000, 1, 1, 1)))
    assert kstest(np.asarray(shares), beta(alpha, alpha).cdf).pvalue > 1e-4


def test_an_alpha_near_0_chooses_one_of_the_two():
    _, shares = mix(MixUp(1e-30), jax.random.key(3), jnp.zeros((1000, 1, 1, 1)))
    assert set(np.asarray(shares).tolist()) == {0.0, 1.0}
    assert abs(np.mean(shares) - 0.5) < 5 * 0.5 / np.sqrt(1000)


def test_an_alpha_of_0_mixes_nothing():
    mixed, shares = jax.jit(mix)(MixUp(0.0), jax.random.key(3), IMAGES)
    np.testing.assert_array_equal(mixed, IMAGES)
    np.testing.assert_array_equal(shares, np.ones(6, np.float32))


def test_a_pair_is_mixed_as_it_is_in_a_batch():
    key, mixup = jax.random.key(8), MixUp(0.4)
    mixed, shares = mix(mixup, key, IMAGES)
    alone, share = mixup(jax.random.fold_in(key, 2), IMAGES[2], IMAGES[3])
    assert share == shares[2]
    np.testing.assert_allclose(alone, mixed[2], atol=1e-6)


def test_a_share_is_the_same_in_a_batch_of_any_size_and_another_in_another_step():
    key = jax.random.key(8)
    _, six = mix(MixUp(0.4), key, IMAGES)
    _, three = mix(MixUp(0.4), key, IMAGES[:3])
    np.testing.assert_array_equal(three, six[:3])
    assert not np.array_equal(six, mix(MixUp(0.4), jax.random.key(9), IMAGES)[1])


def test_another_alpha_compiles_nothing_anew():
    traced = []

    @jax.jit
    def program(mixup, key, images):
        traced.append(mixup)
        return mix(mixup, key, images)

    shares = [program(MixUp(alpha), jax.random.key(0), IMAGES)[1] for alpha in (0.2, 1.0, 3.0)]
    assert len(traced) == 1
    assert not np.array_equal(shares[0], shares[2])


def test_bytes_are_refused_and_half_precision_kept():
    with pytest.raises(TypeError, match="MixUp: expected floating-point pixels, found uint8"):
        mix(MixUp(1.0), jax.random.key(0), jnp.zeros((2, 4, 4, 1), jnp.uint8))
    mixed, shares = mix(MixUp(1.0), jax.random.key(0), jnp.ones((2, 4, 4, 1), jnp.bfloat16))
    assert (mixed.dtype, shares.dtype) == (jnp.bfloat16, jnp.float32)
