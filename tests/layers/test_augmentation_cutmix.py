"""CutMix sets a window of the next image into each, and the share of the labels is the area that is left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import binomtest, kstest

from flaxcnn.layers.augmentation import CutMix, MixUp, MixUpOrCutMix, mix
from flaxcnn.models import create
from flaxcnn.training import adam, create_state, train_step
from flaxcnn.training.step import augmented_batch

pytestmark = pytest.mark.slow


def numbered(count, height=20, width=30):
    """Images that hold their own number alone."""
    return np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, height, width, 1)).copy()


def test_each_image_gets_a_window_of_the_next_and_its_share_is_the_area_left():
    mixed, shares = map(np.asarray, jax.jit(mix)(CutMix(1.0), jax.random.key(0), numbered(500)))
    others = np.roll(np.arange(500), -1)[:, None, None]
    window = mixed[..., 0] == others
    assert ((mixed[..., 0] == np.arange(500)[:, None, None]) | window).all()
    rows, columns = window.any(2).sum(1), window.any(1).sum(1)
    np.testing.assert_array_equal(window.sum((1, 2)), rows * columns)  # a rectangle
    np.testing.assert_allclose(shares, 1 - rows * columns / 600, atol=1e-6)
    assert len(np.unique(shares)) > 100
    assert window.mean(0).min() > 0.05


def test_windows_that_lie_inside_have_areas_by_the_beta_distribution_and_the_images_proportions():
    mixed, shares = map(np.asarray, jax.jit(mix)(CutMix(1.0), jax.random.key(1), numbered(4000, 100, 200)))
    window = mixed[..., 0] != np.arange(4000)[:, None, None]
    rows, columns = window.any(2), window.any(1)
    inside = ~(rows[:, 0] | rows[:, -1] | columns[:, 0] | columns[:, -1]) & rows.any(1)
    np.testing.assert_allclose(columns.sum(1)[inside] / rows.sum(1)[inside], 2, rtol=0.6)
    # With a side of r, the window lies inside with a probability of (1 - r)²: for a uniform area r², r has a density
    # in proportion to r (1 - r)², whose distribution function is 12 (r²/2 - 2r³/3 + r⁴/4).
    sides = np.sqrt(1 - shares[inside]) + 0.015  # rounded down to an even number of 100 rows
    big = sides > 0.2

    def below(r):
        return 12 * (r**2 / 2 - 2 * r**3 / 3 + r**4 / 4)

    found = kstest(sides[big], lambda r: (below(r) - below(0.2)) / (1 - below(0.2)))
    assert found.statistic < 1.95 / np.sqrt(big.sum()) + 0.02  # the 99.9th percentile, and rounding


def test_an_alpha_of_0_mixes_nothing_and_alphas_are_runtime_values():
    images = numbered(4)
    mixed, shares = jax.jit(mix)(CutMix(0.0), jax.random.key(0), images)
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_array_equal(shares, np.ones(4))
    assert jax.tree.leaves(MixUpOrCutMix(MixUp(0.2), CutMix(0.7))) == [0.2, 0.7]


def test_of_both_each_pair_gets_one_as_often_as_the_other():
    images = np.random.default_rng(0).random((1500, 6, 5, 1)).astype(np.float32)
    mixed, shares = map(np.asarray, jax.jit(mix)(MixUpOrCutMix(MixUp(1.0), CutMix(1.0)), jax.random.key(3), images))
    others = np.roll(images, -1, 0)
    pixels = ((mixed == images) | (mixed == others)).all((1, 2, 3))
    sums = np.abs(mixed - shares[:, None, None, None] * images - (1 - shares)[:, None, None, None] * others).max(
        (1, 2, 3)
    )
    assert ((sums < 1e-6) | pixels).all()
    assert binomtest(int(pixels.sum()), 1500, 0.5).pvalue > 1e-4
    area = (mixed == others).mean((1, 2, 3))
    np.testing.assert_allclose(shares[pixels], 1 - area[pixels], atol=1e-6)


@pytest.mark.parametrize("mixing", [CutMix(1.0), MixUpOrCutMix(MixUp(1.0), CutMix(1.0))])
def test_the_loss_of_a_step_is_shared_by_area(mixing):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 28, 28, 1), np.uint8), rng.integers(0, 10, 12).astype(np.int32)
    state = create_state(create("paper_cnn", 10), adam(), (28, 28, 1), mixup=mixing)
    batch = augmented_batch(state, jnp.asarray(images), jnp.asarray(labels))
    shares = np.asarray(batch.shares, np.float64)
    assert 0 < shares.min() < shares.max()
    if isinstance(mixing, CutMix):
        floats, own = images.astype(np.float32) / 255, np.asarray(batch.images)
        areas = (np.abs(own - floats) > 1e-3).mean((1, 2, 3))
        np.testing.assert_allclose(areas, 1 - shares, atol=0.02)  # a pixel in 256 is the same in both
    logits, _ = state.model.apply(state.variables, batch.images)
    of_class = -log_softmax(np.asarray(logits, np.float64), axis=1)
    rows = np.arange(12)
    expected = (shares * of_class[rows, labels] + (1 - shares) * of_class[rows, np.roll(labels, -1)]).mean()
    _, metrics = train_step(state, images, labels)
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)
