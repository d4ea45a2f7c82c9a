"""A Selective Kernel unit is what the arithmetic of Li et al. (2019), section 3.1, gives by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.layers.selective_kernel import SelectiveKernel
from tests.parity.drawn import drawn


def convolved(x, kernel, dilation, groups):
    """Grouped 3×3 convolution, dilated, padded by the dilation, place by place."""
    height, width, each = x.shape[1], x.shape[2], kernel.shape[3] // groups
    padded = np.pad(x, ((0, 0), (dilation, dilation), (dilation, dilation), (0, 0)))
    out = np.zeros((*x.shape[:3], kernel.shape[3]))
    for group in range(groups):
        inputs, filters = (slice(group * n, (group + 1) * n) for n in (kernel.shape[2], each))
        for row in range(3):
            for column in range(3):
                top, left = row * dilation, column * dilation
                window = padded[:, top : top + height, left : left + width, inputs]
                out[..., filters] += window @ kernel[row, column, :, filters]
    return out


def normalised(x, params, statistics, train):
    axes = tuple(range(x.ndim - 1))
    mean, variance = (x.mean(axes), x.var(axes)) if train else (statistics["mean"], statistics["var"])
    return np.maximum((x - mean) / np.sqrt(variance + 1e-5) * params["scale"] + params["bias"], 0)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("channels", "squeezed"), [(64, 32), (1024, 64)])
def test_two_kernels_fused_and_selected_by_hand(channels, squeezed, train):
    x = np.random.default_rng(0).standard_normal((3, 5, 6, channels))
    layer = SelectiveKernel(channels, train)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.asarray(x, jnp.float32))
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: drawn("/".join(each.key for each in path), leaf.shape).astype(np.float64), shapes
    )
    params, statistics = variables["params"], variables["batch_stats"]
    assert params["squeeze"]["kernel"].shape == (channels, squeezed)
    branches = [
        normalised(convolved(x, params[name]["kernel"], dilation, 32), params[name], statistics[name], train)
        for name, dilation in (("branch1", 1), ("branch2", 2))
    ]
    s = sum(branches).mean((1, 2))
    z = normalised(s @ params["squeeze"]["kernel"], params["norm"], statistics["norm"], train)
    scores = np.exp((z @ params["attention"]["kernel"]).reshape(3, 2, channels))
    a, b = (scores[:, branch] / scores.sum(1) for branch in (0, 1))
    expected = branches[0] * a[:, None, None] + branches[1] * b[:, None, None]
    small = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), variables)
    found, _ = layer.apply(small, jnp.asarray(x, jnp.float32), mutable=["batch_stats"])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
