"""A Linen module that takes no `train`, or returns its logits alone, has the library's interface all the same."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.adapters import adapt
from flaxcnn.layers.dropout import Dropout

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


class Whole(nn.Module):
    """Has the library's interface."""

    @nn.compact
    def __call__(self, x, *, train=False, dropout=None):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(nn.Conv(4, (3, 3), name="conv")(x))
        x = Dropout(name="dropout")(x.reshape(len(x), -1), dropout, train=train)
        logits = nn.Dense(3, name="head")(x)
        return logits, {"features": x, "logits": logits}


@pytest.mark.parametrize("train", [False, True])
def test_a_module_of_the_librarys_interface_gives_the_same_bits(train):
    variables = Whole().init(KEY, IMAGES, dropout=0.5)
    options = {"train": train, "mutable": ["batch_stats"], "rngs": {"dropout": KEY}, "dropout": 0.5}
    with_adapter, without = (
        jax.jit(lambda variables, model=model: model.apply(variables, IMAGES, **options))(variables)
        for model in (adapt(Whole), Whole())
    )
    jax.tree.map(np.testing.assert_array_equal, with_adapter, without)
