"""Max pooling has the values and the gradient of `flax.linen.max_pool`, ties included; averages are those by hand."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.layers.pooling import MaxPool, adaptive_avg_pool, avg_pool, max_pool


def gradient(pool, x, weights):
    return jax.grad(lambda x: jnp.vdot(weights, pool(x)))(x)


def both(pool, x, weights):
    return pool(x), gradient(pool, x, weights)


def agree_with_flax(x, window, strides, padding, seed=0):
    def ours(x):
        return max_pool(x, window, strides, padding)

    def flax(x):
        return nn.max_pool(x, window, strides or window, padding)

    shape = jax.eval_shape(flax, x).shape
    # Whole numbers: where windows overlap, their gradients are added, in an order that is not promised.
    weights = jnp.asarray(np.random.default_rng(seed).integers(-9, 10, shape), x.dtype)
    for found, expected in zip(*(jax.jit(partial(both, pool))(x, weights) for pool in (ours, flax)), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 3))),
    st.sampled_from(["VALID", "SAME", ((0, 0), (0, 0)), ((1, 0), (0, 1)), ((1, 1), (1, 1)), ((0, 2), (2, 1))]),
    st.integers(0, 99),
)
def test_any_window_agrees_with_flax_in_value_and_gradient(shape, window, strides, padding, seed):
    # Small integers: many windows have ties.
    x = jnp.asarray(np.random.default_rng(seed).integers(-2, 3, shape), jnp.float32)
    agree_with_flax(x, window, strides, padding, seed)


def test_maxima_and_the_first_of_a_tie_by_hand():
    x = jnp.asarray([[3.0, 3.0, 0.0, 1.0, 9.0], [3.0, 1.0, 2.0, 2.0, 9.0], [9.0, 9.0, 9.0, 9.0, 9.0]])[None, :, :, None]
    assert max_pool(x)[0, :, :, 0].tolist() == [[3.0, 2.0]]
    found = gradient(max_pool, x, jnp.asarray([[10.0, 20.0]])[None, :, :, None])[0, :, :, 0]
    assert found.tolist() == [[10, 0, 0, 0, 0], [0, 0, 20, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("place", range(4))
def test_a_nan_goes_through_wherever_in_its_window_it_stands(place):
    x = jnp.arange(16.0).reshape(1, 4, 4, 1).at[0, place // 2, place % 2, 0].set(jnp.nan)
    assert np.isnan(max_pool(x)).ravel().tolist() == [True, False, False, False]
    # Its gradient goes there too, as in PyTorch; XLA's goes to what comes after it in its window.
    found = gradient(max_pool, x, jnp.asarray([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None])[0, :, :, 0]
    expected = np.zeros((4, 4))
    expected[place // 2, place % 2], expected[1, 3], expected[3, 1], expected[3, 3] = 1, 2, 3, 4
    np.testing.assert_array_equal(found, expected)


def test_windows_of_infinities_agree_with_flax():
    x = jnp.full((1, 4, 4, 2), -jnp.inf).at[0, 3, 3, 0].set(jnp.inf)
    agree_with_flax(x, (2, 2), None, "VALID")


def test_bfloat16_stays_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 6, 3)), jnp.bfloat16)
    agree_with_flax(x, (2, 2), None, "VALID")
    assert max_pool(x).dtype == gradient(max_pool, x, max_pool(x)).dtype == jnp.bfloat16


def test_vmap_pools_each_batch_where_windows_overlap():
    x = jnp.asarray(np.random.default_rng(0).integers(-3, 4, (3, 2, 7, 9, 5)), jnp.float32)
    pool = partial(max_pool, window=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    np.testing.assert_array_equal(jax.vmap(pool)(x), jnp.stack([pool(each) for each in x]))
    total = jax.grad(lambda x: jnp.sum(pool(x) ** 2))
    np.testing.assert_array_equal(jax.vmap(total)(x), jnp.stack([total(each) for each in x]))
    one, two = x[0], jnp.ones_like(x)  # one pool, many directions
    pushed = jax.vmap(lambda direction: jax.jvp(pool, (one,), (direction,))[1])(two)
    assert np.asarray(pushed).tolist() == np.ones_like(pushed).tolist()


def test_vmap_pools_each_batch():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 6, 6, 3)), jnp.float32)
    np.testing.assert_array_equal(jax.vmap(max_pool)(x), jnp.stack([max_pool(each) for each in x]))
    total = jax.grad(lambda x: jnp.sum(max_pool(x) ** 2))
    np.testing.assert_array_equal(jax.vmap(total)(x), jnp.stack([total(each) for each in x]))


def test_an_image_smaller_than_its_window_gives_what_flax_gives():
    x = jnp.ones((1, 1, 3, 2))
    assert max_pool(x).shape == nn.max_pool(x, (2, 2), (2, 2)).shape


def test_a_hessian_vector_product_agrees_with_flax_in_both_orders():
    x, direction = jnp.asarray(np.random.default_rng(0).standard_normal((2, 2, 6, 6, 3)), jnp.float32)

    def slope(pool):
        return jax.grad(lambda x: jnp.sum(pool(x) ** 3))

    expected = jax.jvp(slope(lambda x: nn.max_pool(x, (2, 2), (2, 2))), (x,), (direction,))[1]
    forward_over_reverse = jax.jvp(slope(max_pool), (x,), (direction,))[1]
    reverse_over_reverse = jax.grad(lambda x: jnp.vdot(slope(max_pool)(x), direction))(x)
    np.testing.assert_allclose(forward_over_reverse, expected, rtol=1e-6)
    np.testing.assert_allclose(reverse_over_reverse, expected, rtol=1e-6)


def test_integers_agree_with_plain_maxima():
    x = np.random.default_rng(0).integers(-9, 9, (2, 4, 4, 3))
    expected = x.reshape(2, 2, 2, 2, 2, 3).max(axis=(2, 4))
    np.testing.assert_array_equal(max_pool(jnp.asarray(x, jnp.float32)), expected)


def test_the_layer_pools_and_has_no_parameters():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 7, 3)), jnp.float32)
    layer = MaxPool((3, 3), (2, 2), "SAME")
    assert layer.init(jax.random.key(0), x) == {}
    np.testing.assert_array_equal(layer.apply({}, x), nn.max_pool(x, (3, 3), (2, 2), "SAME"))


def test_disjoint_windows_compile_without_window_by_window_operations():
    compiled = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x) ** 2))).lower(jnp.ones((2, 8, 8, 3))).compile().as_text()
    assert "reduce-window" not in compiled
    assert "select-and-scatter" not in compiled


def test_one_pool_of_many_gradients_and_of_many_directions():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 4, 3)), jnp.float32)
    weights, directions = (
        jnp.asarray(np.random.default_rng(1).standard_normal((6, *shape)), jnp.float32)
        for shape in ((2, 2, 2, 3), x.shape)
    )
    back = jax.vjp(max_pool, x)[1]
    for number, found in enumerate(jax.jit(jax.vmap(lambda each: back(each)[0]))(weights)):
        np.testing.assert_array_equal(found, back(weights[number])[0])

    def along(direction):
        return jax.jvp(max_pool, (x,), (direction,))[1]

    for number, found in enumerate(jax.jit(jax.vmap(along))(directions)):
        np.testing.assert_array_equal(found, along(directions[number]))


def by_window(x, window, strides, low, size, reduce):
    """What `reduce` gives of each window that begins at steps from -low, of what lies within the images."""
    out = np.zeros((x.shape[0], *size, x.shape[3]), np.float64)
    for row in range(size[0]):
        for column in range(size[1]):
            top, left = row * strides[0] - low, column * strides[1] - low
            out[:, row, column] = reduce(
                x[:, max(top, 0) : top + window[0], max(left, 0) : left + window[1]].astype(np.float64), axis=(1, 2)
            )
    return out


@pytest.mark.parametrize(
    ("extent", "side", "step", "expected"),
    # PyTorch's `MaxPool2d(side, step, ceil_mode=True)`; in the last, a window would begin behind the image.
    [
        (112, 3, 2, 56),
        (7, 3, 2, 3),
        (8, 3, 2, 4),
        (2, 3, 2, 1),
        (7, 2, 2, 4),
        (14, 2, 2, 7),
        (9, 1, 3, 3),
        (4, 1, 5, 1),
    ],
)
def test_windows_at_the_end_are_whole_in_ceil_mode(extent, side, step, expected):
    x = np.random.default_rng(0).standard_normal((2, extent, extent, 3)).astype(np.float32)
    found = max_pool(jnp.asarray(x), (side, side), (step, step), "CEIL")
    np.testing.assert_array_equal(found, by_window(x, (side, side), (step, step), 0, (expected, expected), np.max))


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize(
    ("window", "strides", "padding", "size"),
    [((3, 3), (1, 1), 1, (8, 7)), ((2, 2), None, 0, (4, 3)), ((3, 2), (2, 3), 0, (3, 2)), ((5, 5), (3, 3), 2, (3, 3))],
)
def test_averages_by_hand_with_zeros_around_them_counted_or_not(window, strides, padding, size, count_include_pad):
    x = np.random.default_rng(0).standard_normal((2, 8, 7, 3)).astype(np.float32)
    found = avg_pool(jnp.asarray(x), window, strides, padding, count_include_pad=count_include_pad)
    sums = by_window(x, window, strides or window, padding, size, np.sum)
    within = by_window(np.ones_like(x), window, strides or window, padding, size, np.sum)
    expected = sums / (window[0] * window[1] if count_include_pad else within)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_gradient_of_averages_is_that_of_flax():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 6, 3)), jnp.float32)

    def gradient(pool):
        return jax.grad(lambda x: jnp.sum(pool(x) ** 2))(x)

    theirs = gradient(lambda x: nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))))
    np.testing.assert_allclose(gradient(lambda x: avg_pool(x, (3, 3), (2, 2), 1)), theirs, atol=1e-6)
    assert avg_pool(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(("size", "to"), [((13, 9), (6, 6)), ((7, 14), (7, 7)), ((1, 3), (4, 4)), ((6, 6), (6, 6))])
def test_any_size_becomes_the_size_that_is_asked_for(size, to):
    x = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    expected = np.zeros((2, *to, 3))
    for row in range(to[0]):
        for column in range(to[1]):
            rows = slice(row * size[0] // to[0], int(np.ceil((row + 1) * size[0] / to[0])))
            columns = slice(column * size[1] // to[1], int(np.ceil((column + 1) * size[1] / to[1])))
            expected[:, row, column] = x[:, rows, columns].mean((1, 2), np.float64)
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), to), expected, atol=1e-6)
