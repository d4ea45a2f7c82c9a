"""A convolution with its normalisation is Flax's two layers, in training and, folded, in evaluation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.layers.conv_norm import ConvNorm
from tests.parity.drawn import drawn

X = jnp.asarray(np.random.default_rng(0).standard_normal((4, 9, 8, 6)), jnp.float32)


class Two(nn.Module):
    """Flax's layers with the same variables."""

    biased: bool
    scaled: bool
    train: bool

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), 2, padding=2, kernel_dilation=2, feature_group_count=2, use_bias=self.biased)(x)
        return nn.relu(nn.BatchNorm(not self.train, momentum=0.9, epsilon=1e-3, use_scale=self.scaled)(x))


def in_two(variables):
    """Our variables for Flax's two layers."""
    params = variables["params"]
    conv = {"kernel": params["kernel"], **({"bias": params["conv_bias"]} if "conv_bias" in params else {})}
    norm = {name: params[name] for name in ("scale", "bias") if name in params}
    return {
        "params": {"Conv_0": conv, "BatchNorm_0": norm},
        "batch_stats": {"BatchNorm_0": variables["batch_stats"]},
    }


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_it_is_two_layers_of_flax(biased, scaled, train):
    layer = ConvNorm(
        8, (3, 3), train, 2, kernel_dilation=2, groups=2, biased=biased, scaled=scaled, epsilon=1e-3, momentum=0.9
    )
    shapes = jax.eval_shape(layer.init, jax.random.key(0), X)
    variables = jax.tree_util.tree_map_with_path(lambda path, leaf: drawn("/".join(map(str, path)), leaf.shape), shapes)
    variables["batch_stats"]["var"] = np.exp(variables["batch_stats"]["var"])
    assert ("conv_bias" in variables["params"], "scale" in variables["params"]) == (biased, scaled)
    found, updated = layer.apply(variables, X, mutable=["batch_stats"])
    expected, theirs = Two(biased, scaled, train).apply(in_two(variables), X, mutable=["batch_stats"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for name, value in updated["batch_stats"].items():
        np.testing.assert_allclose(value, theirs["batch_stats"]["BatchNorm_0"][name], rtol=1e-5, atol=1e-6)
