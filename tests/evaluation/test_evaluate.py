"""Every example counts exactly once, whatever the batch size and however many examples there are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, log_loss

from flaxcnn.evaluation import evaluate, sums_of
from flaxcnn.tasks import Classification


class Lookup(nn.Module):
    """Takes the logits from the pixels themselves: one image row per class."""

    @nn.compact
    def __call__(self, images, *, train=False):
        return images[:, 0, :, 0], {}


def problem(examples, classes, seed):
    generator = np.random.default_rng(seed)
    logits = generator.standard_normal((examples, classes)).astype(np.float32)
    return logits, generator.integers(0, classes, examples).astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 23), st.integers(1, 30), st.integers(0, 30), st.integers(0, 99))
def test_any_batch_size_counts_each_of_the_first_examples_once(examples, batch_size, first, seed):
    logits, labels = problem(examples, 4, seed)
    sums, found = evaluate(Lookup(), {}, logits[:, None, :, None], labels, first, batch_size=batch_size)
    counted = min(first, examples)
    assert int(sums.examples) == counted
    assert int(sums.statistics["correct"]) == (logits.argmax(1) == labels)[:counted].sum()
    losses = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(examples), labels]
    np.testing.assert_allclose(float(sums.loss), losses[:counted].sum(), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["logits"][:counted], logits[:counted])
    assert not np.asarray(found["logits"][counted:]).any()


@pytest.mark.parametrize("batch_size", [None, 7, 1000])
def test_accuracy_and_loss_are_scikit_learns(batch_size):
    logits, labels = problem(1003, 10, 0)
    sums, _ = evaluate(Lookup(), {}, logits[:, None, :, None], labels, batch_size=batch_size)
    probabilities = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    assert sums.measures["accuracy"] == accuracy_score(labels, logits.argmax(1))
    assert sums.mean_loss == pytest.approx(log_loss(labels, probabilities, labels=range(10)), rel=1e-6)


def test_sums_of_parts_add_up():
    logits, labels = problem(50, 5, 1)
    odd = jnp.arange(50) % 2 == 1
    whole, *parts = (sums_of(Classification(), {}, logits, labels, each) for each in (jnp.ones(50, bool), odd, ~odd))
    together = jax.tree.map(jnp.add, *parts)
    assert int(whole.statistics["correct"]) == int(together.statistics["correct"])
    assert whole.measures == together.measures
    assert int(parts[0].examples) == int(parts[1].examples) == 25
    assert float(whole.loss) == pytest.approx(float(parts[0].loss) + float(parts[1].loss), rel=1e-6)


def test_bytes_are_divided_by_255():
    images = np.asarray([[[[0], [255]]], [[[51], [0]]]], np.uint8)
    _, found = evaluate(Lookup(), {}, images, np.zeros(2, np.int32))
    np.testing.assert_allclose(found["logits"], [[0, 1], [0.2, 0]], rtol=1e-6)


def test_pixels_of_an_unknown_range_are_refused():
    with pytest.raises(TypeError, match="expected uint8 or floating-point pixels, found int32"):
        evaluate(Lookup(), {}, np.zeros((1, 1, 2, 1), np.int32), np.zeros(1, np.int32))


def test_pixels_lose_the_mean_and_the_deviation_that_travel_with_the_weights():
    images = np.asarray([[[[0], [255]]], [[[51], [0]]]], np.uint8)
    constants = {"pixel_mean": np.float32([0.2]), "pixel_deviation": np.float32([0.4])}
    _, found = evaluate(Lookup(), {"constants": constants}, images, np.zeros(2, np.int32))
    np.testing.assert_allclose(found["logits"], [[-0.5, 2], [0, -0.5]], atol=1e-6)
