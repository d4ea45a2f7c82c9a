"""Batch normalisation keeps the share of its statistics that is asked for, whatever kind of layer it is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxcnn.adapters import adapt, evaluating, keeping
from flaxcnn.layers import BatchNorm
from flaxcnn.layers.conv_norm import ConvNorm

KEY = jax.random.key(3)
X = jax.random.normal(KEY, (6, 4, 4, 5)) + 2


class Jitted(nn.Module):
    momentum: float = 0.3  # a field of the same name, without statistics of its own

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False, momentum=0.99, name="inner")(x)


LAYERS = {
    "flax": lambda: nn.BatchNorm(use_running_average=False, momentum=0.99, name="norm"),
    "ours": lambda: BatchNorm(use_running_average=False, momentum=0.99, name="norm"),
    "remat": lambda: nn.remat(nn.BatchNorm)(use_running_average=False, momentum=0.99, name="norm"),
    "jit": lambda: nn.jit(Jitted)(name="norm"),
}


class Net(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x):
        return LAYERS[self.kind]()(x)


def means(model, variables, share):
    """Return the running means after a call, and the layers that were reached."""
    with keeping(share) as reached:
        _, updated = model.apply(variables, X, mutable=["batch_stats"])
    (mean,) = [leaf for path, leaf in jax.tree.leaves_with_path(updated) if path[-1].key == "mean"]
    return np.asarray(mean), reached


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_a_layer_keeps_the_share_that_is_asked_for(kind):
    model, of_batch = Net(kind), np.mean(X, (0, 1, 2), dtype=np.float64)
    variables = model.init(KEY, X)
    name = "norm/inner" if kind == "jit" else "norm"
    for share in (0.9, 0.25, 0.0):
        found, reached = means(model, variables, share)
        np.testing.assert_allclose(found, (1 - share) * of_batch, rtol=1e-5)  # of 0 and the batch's
        assert reached == [name]
    own, reached = means(model, variables, None)
    np.testing.assert_allclose(own, 0.01 * of_batch, rtol=1e-4)
    assert reached == []


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_a_layer_that_keeps_all_normalises_by_what_it_keeps(kind):
    """By hand: with a mean of 1 and a variance of 4, x becomes (x - 1) / 2, whatever the batch is."""
    model = Net(kind)
    variables = model.init(KEY, X)
    kept = {"mean": 1.0, "var": 4.0}
    statistics = jax.tree.map_with_path(
        lambda path, leaf: jnp.full_like(leaf, kept[path[-1].key]), variables["batch_stats"]
    )
    with keeping(1.0) as reached:
        found, updated = model.apply({**variables, "batch_stats": statistics}, X, mutable=["batch_stats"])
    np.testing.assert_allclose(found, (X - 1) / 2, rtol=1e-4, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], statistics)
    assert len(set(reached)) == 1


def test_a_convolution_with_its_normalisation_does_too():
    layer = ConvNorm(5, (1, 1), train=True, momentum=0.99)
    variables = layer.init(KEY, X)
    convolved = np.einsum("bhwi,io->bhwo", X, variables["params"]["kernel"][0, 0])
    found, _ = means(layer, variables, 0.75)
    np.testing.assert_allclose(found, 0.25 * convolved.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    with keeping(1.0):
        same, _ = layer.apply(variables, X, mutable=["batch_stats"])
    np.testing.assert_allclose(same, np.maximum(convolved, 0) / np.sqrt(1 + layer.epsilon), rtol=1e-4, atol=1e-5)


class NnxNet(nnx.Module):
    def __init__(self, *, rngs):
        self.norm = nnx.BatchNorm(5, rngs=rngs)

    def __call__(self, x):
        return self.norm(x)


def test_a_layer_of_nnx_does_too():
    model = adapt(NnxNet)
    variables = model.init(KEY, X)
    with keeping(0.75) as reached:
        _, updated = model.apply(variables, X, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})
    np.testing.assert_allclose(updated["batch_stats"]["norm"]["mean"], 0.25 * np.mean(X, (0, 1, 2)), rtol=1e-5)
    assert reached == ["norm"]
    with keeping(1.0):
        found, updated = model.apply(variables, X, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})
    np.testing.assert_allclose(found[0], X, rtol=1e-4, atol=1e-4)  # the first mean is 0, the first variance 1
    np.testing.assert_array_equal(updated["batch_stats"]["norm"]["mean"], np.zeros(5))


def test_a_frozen_layer_keeps_all():
    model = Net("flax")
    variables = model.init(KEY, X)
    with evaluating(frozenset({("norm",)})), keeping(0.5):
        _, updated = model.apply(variables, X, mutable=["batch_stats"])
    np.testing.assert_array_equal(updated["batch_stats"]["norm"]["mean"], jnp.zeros(5))
