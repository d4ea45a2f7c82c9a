"""Inverted residual blocks, squeeze and excitation, and the activations of both, beside their definitions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.layers.activations import hard_sigmoid, hard_swish, relu6
from flaxcnn.layers.inverted_residual import Bottleneck, InvertedResidual, by_stage, rounded
from flaxcnn.layers.squeeze_excitation import SqueezeExcitation

X = jnp.asarray(np.random.default_rng(0).standard_normal((3, 6, 6, 8)), jnp.float32)


@pytest.mark.parametrize("ours", [relu6, hard_sigmoid, hard_swish])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_activations_and_their_gradients_are_jaxs_but_at_bounds(ours, dtype):
    x = jnp.linspace(-9, 9, 1000).astype(dtype)
    theirs = getattr(jax.nn, ours.__name__)
    assert ours(x).dtype == dtype
    within = 1e-6 if dtype == jnp.float32 else 2e-2
    np.testing.assert_allclose(ours(x).astype(float), theirs(x).astype(float), rtol=within, atol=within)
    inside = (jnp.abs(jnp.abs(x) - 3) > 0.05) & (jnp.abs(x) > 0.05) & (jnp.abs(x - 6) > 0.05)
    gradients = [jax.grad(lambda x, f=f: f(x).astype(jnp.float32).sum())(x) for f in (ours, theirs)]
    np.testing.assert_allclose(*[g[inside].astype(float) for g in gradients], rtol=within, atol=within)


def test_nothing_flows_back_at_the_bounds_of_relu6():
    np.testing.assert_array_equal(jax.grad(lambda x: relu6(x).sum())(jnp.array([0.0, 6.0, 3.0])), [0, 0, 1])


def test_squeeze_and_excitation_is_its_definition():
    layer = SqueezeExcitation(4, nn.silu, nn.sigmoid)
    params = layer.init(jax.random.key(0), X)["params"]
    means = np.asarray(X).mean((1, 2))
    inner = nn.silu(means @ params["reduce"]["kernel"][0, 0] + params["reduce"]["bias"])
    weights = nn.sigmoid(inner @ params["expand"]["kernel"][0, 0] + params["expand"]["bias"])
    np.testing.assert_allclose(layer.apply({"params": params}, X), X * weights[:, None, None, :], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("strides", "channels", "shortcut"), [(1, 8, True), (1, 16, False), (2, 8, False)])
def test_a_shortcut_is_where_the_shapes_are_the_same(strides, channels, shortcut):
    block = InvertedResidual(Bottleneck(3, strides, 24, channels, 0, relu6), train=False)
    variables = block.init(jax.random.key(0), X)
    nothing = jax.tree.map(jnp.zeros_like, variables["params"]["project"])
    variables = {**variables, "params": {**variables["params"], "project": nothing}}
    out = block.apply(variables, X)
    np.testing.assert_array_equal(out, X if shortcut else np.zeros((3, 6 // strides, 6 // strides, channels)))


def test_a_branch_that_is_left_out_leaves_the_shortcut():
    block = InvertedResidual(Bottleneck(3, 1, 8, 8, 0, relu6), train=True, drop_path=0.5)
    x = jnp.tile(X[:1], (64, 1, 1, 1))
    variables = block.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, x)
    out, _ = block.apply(variables, x, rngs={"dropout": jax.random.key(2)}, mutable=["batch_stats"])
    left_out = np.asarray((out == x).all(axis=(1, 2, 3)))
    assert 16 < left_out.sum() < 48
    assert "expand" not in variables["params"]  # there are as many channels already


def test_blocks_are_named_by_stage_and_channels_rounded_as_tensorflow_does():
    sizes = [Bottleneck(3, strides, 8, 8, 0, relu6) for strides in (2, 1, 2, 2, 1)]
    assert list(by_stage(sizes)) == [
        "stage1_block1",
        "stage1_block2",
        "stage2_block1",
        "stage3_block1",
        "stage3_block2",
    ]
    assert [rounded(each) for each in (3, 11, 12, 16 * 1.1, 40 * 1.1, 112 * 1.4)] == [8, 16, 16, 16, 48, 160]
