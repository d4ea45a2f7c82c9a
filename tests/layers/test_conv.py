"""`Conv` has the parameters, values and derivatives of `flax.linen.Conv`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.layers.convolution import Conv
from tests.layers.agreement import arrays

OPTIONS = {
    "as it comes": {},
    "one stride": {"strides": 2},
    "two strides, valid": {"strides": (2, 3), "padding": "VALID"},
    "one padding": {"padding": 2},
    "four paddings": {"padding": ((1, 0), (2, 3))},
    "dilated": {"kernel_dilation": 2},
    "dilated in one": {"kernel_dilation": (1, 2), "padding": 1},
    "groups": {"feature_group_count": 3},
    "without a bias": {"use_bias": False, "strides": 2},
    "bfloat16": {"dtype": jnp.bfloat16},
}


class Inside(nn.Module):
    """A model that holds a convolution, named and initialised in its own way."""

    layer: type
    options: dict

    @nn.compact
    def __call__(self, images):
        more = {"kernel_init": nn.initializers.he_normal(), "bias_init": nn.initializers.normal(1.0)}
        return self.layer(6, (3, 3), **more, **self.options, name="conv")(images)


@pytest.fixture(params=OPTIONS)
def case(request):
    """Both layers, images and variables that both begin with, and by how much they may differ.

    Flax's layer computes in float32: in bfloat16 XLA:CPU sums the gradient of a bias too coarsely to compare with.
    """
    options = OPTIONS[request.param]
    ours, theirs = Inside(Conv, options), Inside(nn.Conv, {**options, "dtype": jnp.float32})
    (images,) = arrays(0, (3, 8, 9, 3))
    begun = [layer.init(jax.random.key(1), images) for layer in (ours, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *begun)
    return ours, theirs, images, begun[0], 2**-6 if "dtype" in options else 1e-5


def agree(found, expected, tolerance):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for each, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert each.shape == other.shape
        each, other = (np.asarray(array, np.float64) for array in (each, other))
        np.testing.assert_allclose(each, other, rtol=0, atol=tolerance * np.abs(other).max())


def test_it_begins_and_computes_as_flax_does(case):
    ours, theirs, images, variables, tolerance = case

    def both(layer):
        def loss(variables, images):
            outputs = layer.apply(variables, images)
            (weights,) = arrays(1, outputs.shape)
            return jnp.sum(outputs.astype(jnp.float32) * weights), outputs

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(variables, images)

    ((_, outputs), gradients), ((_, expected), of_theirs) = both(ours), both(theirs)
    agree((outputs, gradients), (expected, of_theirs), tolerance)
    assert outputs.dtype == ours.options.get("dtype", jnp.float32)
    assert [each.dtype for each in jax.tree.leaves(gradients)] == [each.dtype for each in jax.tree.leaves(of_theirs)]


def test_it_is_differentiated_forward_as_flax_is(case):
    ours, theirs, images, variables, tolerance = case
    seeds = iter(range(9))
    direction = jax.tree.map(lambda leaf: arrays(next(seeds), leaf.shape)[0], (variables, images))
    found, expected = (
        jax.jit(lambda *x, f=f: jax.jvp(f, *x))((variables, images), direction) for f in (ours.apply, theirs.apply)
    )
    agree(found, expected, tolerance)
