"""Each pixel sees the pixels of its window, or of its grid, and no other; numbers are held in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.layers.partition_attention import PartitionAttention


def layer(grid, by_head=False, drop_path=0.0):
    return PartitionAttention(2, grid, 32**-0.5, by_head, jax.nn.gelu, drop_path, drop_path > 0, jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("grid", [False, True])
def test_a_pixel_sees_its_window_or_its_grid_in_images_of_any_shape(grid):
    height, width = 4, 6
    x = jax.random.normal(jax.random.key(0), (1, height, width, 32))
    variables = layer(grid).init(jax.random.key(1), x)
    for row, column in [(0, 0), (1, 3), (3, 5)]:
        seen = jax.grad(lambda x, r=row, c=column: (layer(grid).apply(variables, x)[0, r, c] ** 2).sum())(x)
        found = np.abs(np.asarray(seen[0])).max(-1) > 0
        expected = np.zeros((height, width), bool)
        if grid:
            expected[row % 2 :: 2, column % 3 :: 3] = True
        else:
            expected[row // 2 * 2 :, column // 2 * 2 :][:2, :2] = True
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_the_bias_is_of_the_distance_between_query_and_key():
    """Both arrangements of the table say the same, one in the other's order and by the opposite distance."""
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 64))
    by_place = layer(False).init(jax.random.key(1), x)
    table = by_place["params"]["position_bias"]
    assert table.shape == (9, 2)
    turned = table.T.reshape(2, 3, 3)[:, ::-1, ::-1]
    by_head = {"params": {**by_place["params"], "position_bias": turned}}
    np.testing.assert_allclose(
        layer(False).apply(by_place, x), layer(False, by_head=True).apply(by_head, x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_stochastic_depth_leaves_out_an_examples_whole_branch():
    x = jax.random.normal(jax.random.key(0), (64, 2, 2, 32))
    dropping = layer(False, drop_path=0.5)
    variables = layer(False).init(jax.random.key(1), x)
    out = dropping.apply(variables, x, rngs={"dropout": jax.random.key(2)})
    same = (np.asarray(out) == np.asarray(x)).all(axis=(1, 2, 3))
    assert 5 < same.sum() < 30  # both branches of a quarter
