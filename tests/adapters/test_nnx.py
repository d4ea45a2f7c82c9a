"""An NNX class behind the library's interface computes what NNX computes, and carries no random state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxcnn.adapters import adapt, intercepting
from flaxcnn.contracts import derive_contract
from flaxcnn.errors import ConfigError


class Block(nnx.Module):
    def __init__(self, channels, features, *, rngs):
        self.conv = nnx.Conv(channels, features, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.conv(x)))


class Net(nnx.Module):
    def __init__(self, classes=10, width=4, rate=0.5, *, rngs):
        self.blocks = nnx.List([Block(1, width, rngs=rngs), Block(width, width, rngs=rngs)])
        self.drops = nnx.List([nnx.Dropout(rate, rngs=rngs), nnx.Dropout(rate, rngs=rngs)])
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        x = x.mean((1, 2))
        for drop in self.drops:
            x = drop(x)
        return self.head(x)


KEY = jax.random.key(3)
IMAGES = jax.random.uniform(KEY, (6, 8, 8, 1))


@pytest.fixture(scope="module")
def variables():
    return jax.jit(adapt(Net, classes=7).init)(KEY, IMAGES)


def train(model, variables, key):
    return model.apply(variables, IMAGES, train=True, mutable=["batch_stats"], rngs={"dropout": key})


def test_its_parameters_and_statistics_are_nested_dictionaries(variables):
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes["params"]["head"] == {"kernel": (4, 7), "bias": (7,)}
    assert shapes["params"]["blocks"]["1"]["conv"]["kernel"] == (3, 3, 4, 4)
    assert shapes["batch_stats"]["blocks"]["0"]["norm"] == {"mean": (4,), "var": (4,)}
    assert set(shapes) == {"params", "batch_stats"}


def test_it_begins_with_the_weights_of_the_module_and_computes_and_moves_its_statistics_alike(variables):
    called = nnx.jit(lambda module: module(IMAGES))
    module = Net(7, rate=0.0, rngs=nnx.Rngs(KEY))
    expected = called(module)
    model = adapt(functools.partial(Net, rate=0.0), classes=7)
    (logits, endpoints), updated = jax.jit(train, static_argnums=0)(model, variables, KEY)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert endpoints == {}
    norm = module.blocks[1].norm
    found = updated["batch_stats"]["blocks"]["1"]["norm"]
    np.testing.assert_allclose(found["mean"], norm.mean[...], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["var"], norm.var[...], rtol=1e-5)
    module.eval()
    evaluated = jax.jit(model.apply)({**variables, **updated}, IMAGES)[0]
    np.testing.assert_allclose(evaluated, called(module), rtol=1e-5, atol=1e-6)


def test_what_is_dropped_follows_from_the_key_alone_and_differs_between_layers_and_keys(variables):
    model = adapt(Net, classes=7)
    first, again, other = (train(model, variables, key)[0][0] for key in (KEY, KEY, jax.random.key(4)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(*(model.apply(variables, IMAGES)[0] for _ in range(2)))


class Drops(nnx.Module):
    """Two layers of dropout and a parameter, which shows what each layer drops."""

    def __init__(self, *, rngs):
        self.first, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, x):
        x = x * self.scale
        return {"first": self.first(x), "second": self.second(x)}


def test_two_layers_of_dropout_drop_differently():
    model = adapt(Drops)
    ones = jnp.ones((1, 1000))
    (dropped, _), _ = model.apply(
        model.init(KEY, ones), ones, train=True, mutable=["batch_stats"], rngs={"dropout": KEY}
    )
    first, second = (np.asarray(dropped[name]) == 0 for name in ("first", "second"))
    assert 400 < first.sum() < 600
    assert 400 < (first ^ second).sum() < 600  # independent: half of the places differ


def test_equal_definitions_share_what_is_compiled(variables):
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def apply(model, variables):
        traced.append(model)
        return model.apply(variables, IMAGES)[0]

    for _ in range(2):
        apply(adapt(Net, classes=7), variables)
    assert len(traced) == 1
    assert adapt(Net, classes=7) != adapt(Net, classes=8)


def test_its_contract_has_every_layer_for_any_batch_and_any_number_of_classes():
    lines = [line.split() for line in str(derive_contract(adapt(Net), (8, 8, 1))).splitlines()]
    # By hand: (9 + 1) 4 + 8 + (36 + 1) 4 + 8 + (4 + 1) 10 parameters.
    assert lines[0] == ["model", "Net", "254", "parameters", "with", "K", "=", "10"]
    names = ["blocks/0", "blocks/0/conv", "blocks/0/norm", "blocks/1", "blocks/1/conv", "blocks/1/norm"]
    assert [line[0] for line in lines[2:]] == [*names, "drops/0", "drops/1", "head", "output"]
    assert " ".join(lines[-2]) == "head (B, 4) -> (B, K) kernel (4, K) bias (K)"
    assert "batch_stats:mean (4) batch_stats:var (4)" in " ".join(lines[4])


def test_an_interceptor_sees_what_each_layer_computes_in_training(variables):
    found = {}

    def keep(method, arguments, options, context):
        found[context.module.path, context.method_name] = result = method(*arguments, **options)
        return result

    model = adapt(functools.partial(Net, rate=0.0), classes=7)
    with intercepting(keep):
        (logits, _), _ = train(model, variables, KEY)
    assert len(found) == 10  # the module, two blocks of two layers, two of dropout, the head
    np.testing.assert_array_equal(found[("head",), "__call__"], logits)
    assert found[("blocks", "1", "conv"), "__call__"].shape == (6, 8, 8, 4)


class Counted(nnx.Module):
    def __init__(self, *, rngs):
        self.calls = nnx.BatchStat(jnp.zeros((), jnp.int32))

    def __call__(self, x):
        return x


def test_a_variable_that_is_no_number_to_average_is_named():
    with pytest.raises(ConfigError) as caught:
        adapt(Counted).init(KEY, IMAGES)
    assert (caught.value.where, caught.value.found) == ("calls", "BatchStat of int32")


def test_what_is_no_module_and_a_module_that_needs_arguments_are_refused():
    with pytest.raises(ConfigError) as caught:
        adapt(3)
    assert caught.value.found == "a int"
    with pytest.raises(ConfigError) as caught:
        adapt(Block)
    assert caught.value.found == "none for channels, features"
    assert caught.value.where == "Block"
