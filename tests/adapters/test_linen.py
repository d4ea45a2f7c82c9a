"""A Linen module that takes no `train`, or returns its logits alone, has the library's interface all the same."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.adapters import adapt
from flaxcnn.models.small_cnn import SmallCNN

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(KEY, (4, 8, 8, 1))


class Plain(nn.Module):
    classes: int = 10

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes, name="head")(x.reshape(len(x), -1))


class Halves(nn.Module):
    """Drops half of what it is given, told so by another name than `train`."""

    @nn.compact
    def __call__(self, x, deterministic: bool):
        return nn.Dropout(0.5, rng_collection="halves")(x * self.param("one", nn.initializers.ones, ()), deterministic)


def test_a_module_without_train_that_returns_its_logits_alone():
    model = adapt(Plain, classes=3)
    variables = model.init(KEY, IMAGES)
    (logits, endpoints), updated = model.apply(
        variables, IMAGES, train=True, mutable=["batch_stats"], rngs={"dropout": KEY}
    )
    kernel, bias = (np.asarray(variables["params"]["head"][name], np.float64) for name in ("kernel", "bias"))
    expected = np.asarray(IMAGES, np.float64).reshape(4, -1) @ kernel + bias
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert (endpoints, updated) == ({}, {})


def test_another_name_for_train_and_for_the_random_stream():
    model, ones = adapt(Halves), jnp.ones((1, 1000))
    variables = model.init(KEY, ones)
    (trained, _), _ = model.apply(variables, ones, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})
    assert 400 < (np.asarray(trained) == 0).sum() < 600
    np.testing.assert_array_equal(model.apply(variables, ones)[0], ones)


@pytest.mark.parametrize("train", [False, True])
def test_a_module_of_the_librarys_interface_computes_the_same_program(train):
    images = jnp.zeros((2, 28, 28, 1))
    variables = jax.eval_shape(SmallCNN().init, KEY, images)
    options = {"train": train, "mutable": ["batch_stats"], "rngs": {"dropout": KEY}, "dropout": 0.5}

    def program(model):
        return str(jax.make_jaxpr(lambda variables: model.apply(variables, images, **options))(variables))

    def as_compared(text):  # addresses of functions, and the key of the other streams, which nothing uses
        return [line for line in text.splitlines() if "0x" not in line and "random_fold_in" not in line]

    ours, theirs = (as_compared(jax_text) for jax_text in (program(adapt(SmallCNN)), program(SmallCNN())))
    assert len(ours) - len(theirs) in (0, 1, 2)
