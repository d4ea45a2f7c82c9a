"""Layers that are to compute as in evaluation do so, however they are told whether they train; the others train."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxcnn.adapters import adapt, evaluating
from flaxcnn.models.efficientnet import EfficientNet

KEY = jax.random.key(3)
X = jax.random.normal(KEY, (6, 5))


class ByField(nn.Module):
    train: bool = True

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.train)(x)
        return nn.Dropout(0.5, deterministic=not self.train)(x)


class ByArgument(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm()(x, not train)
        return nn.Dropout(0.5)(x, deterministic=not train)


class FromSetup(nn.Module):
    def setup(self):
        self.norm = nn.BatchNorm(use_running_average=False)
        self.drop = nn.Dropout(0.5, deterministic=False)

    def __call__(self, x):
        return self.drop(self.norm(x))


BLOCKS = {
    "field": lambda name: ByField(name=name),
    "argument": lambda name: lambda x: ByArgument(name=name)(x, True),
    "keyword": lambda name: lambda x: ByArgument(name=name)(x, train=True),
    "setup": lambda name: FromSetup(name=name),
    "remat": lambda name: nn.remat(ByField)(name=name),
    "jit": lambda name: nn.jit(ByField)(name=name),
}


class Net(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x):
        return BLOCKS[self.kind]("frozen")(x), BLOCKS[self.kind]("free")(x)


def run(model, variables, layers):
    with evaluating(frozenset(layers)):
        return model.apply(variables, X, mutable=["batch_stats"], rngs={"dropout": KEY})


@pytest.mark.parametrize("kind", sorted(BLOCKS))
def test_a_frozen_layer_computes_as_in_evaluation_and_its_neighbour_trains(kind):
    model = Net(kind)
    variables = model.init({"params": KEY, "dropout": KEY}, X)
    shift = jax.tree.map(lambda leaf: leaf + 0.5, variables["batch_stats"])
    variables = {**variables, "batch_stats": shift}
    (plain, _), moved = run(model, variables, ())
    (frozen, free), updated = run(model, variables, {("frozen",)})
    expected = (X - 0.5) / np.sqrt(1.5 + 1e-5)  # mean 0 + 0.5, variance 1 + 0.5
    np.testing.assert_allclose(frozen, expected, rtol=1e-5, atol=1e-6)
    assert (np.asarray(free) == 0).any()  # dropped
    assert not np.allclose(plain, expected)

    def of(tree, layer):
        return jax.tree.leaves(tree["batch_stats"][layer])

    for now, before in zip(of(updated, "frozen"), jax.tree.leaves(shift["frozen"]), strict=True):
        np.testing.assert_array_equal(now, before)
    for now, trained in zip(of(updated, "free"), of(moved, "free"), strict=True):
        np.testing.assert_array_equal(now, trained)
    (again, _), _ = run(model, variables, ())  # nothing is left behind
    np.testing.assert_array_equal(again, plain)


class Block(nnx.Module):
    def __init__(self, *, rngs):
        self.norm = nnx.BatchNorm(5, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.norm(x))


class NnxNet(nnx.Module):
    def __init__(self, *, rngs):
        self.frozen, self.free = Block(rngs=rngs), Block(rngs=rngs)

    def __call__(self, x):
        return jnp.concatenate([self.frozen(x), self.free(x)])


def test_a_frozen_layer_of_nnx_computes_as_in_evaluation_and_its_neighbour_trains():
    model = adapt(NnxNet)
    variables = model.init(KEY, X)
    with evaluating(frozenset({("frozen",)})):
        (outputs, _), updated = model.apply(variables, X, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})
    frozen, free = np.split(np.asarray(outputs), 2)
    np.testing.assert_allclose(frozen, X / np.sqrt(1 + 1e-5), rtol=1e-5, atol=1e-6)
    assert (free == 0).any()
    np.testing.assert_array_equal(updated["batch_stats"]["frozen"]["norm"]["mean"], np.zeros(5))
    assert np.abs(updated["batch_stats"]["free"]["norm"]["mean"]).max() > 0


@pytest.mark.usefixtures("light_programs")
@pytest.mark.slow
def test_a_frozen_network_of_the_zoo_leaves_no_branch_out_and_keeps_its_statistics():
    model = EfficientNet(width=0.25, depth=0.1, small=True, classes=3)
    images = jax.random.uniform(KEY, (4, 32, 32, 3))
    variables = jax.jit(model.init)(KEY, images)
    evaluated = jax.jit(lambda: model.apply(variables, images))()[1]["features"]
    layers = frozenset((name,) for name in variables["params"] if name != "head")

    @jax.jit
    def trained():
        with evaluating(layers):
            return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})

    (_, endpoints), updated = trained()
    np.testing.assert_allclose(endpoints["features"], evaluated, rtol=1e-5, atol=1e-6)
    for now, before in zip(*map(jax.tree.leaves, (updated["batch_stats"], variables["batch_stats"])), strict=True):
        np.testing.assert_array_equal(now, before)
