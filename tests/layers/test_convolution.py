"""The library's convolution has the values and gradients of XLA's own and of the definition, in loops too."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from scipy.signal import convolve2d, correlate2d

from flaxcnn.layers.convolution import convolution
from tests.layers.agreement import CANONICAL, agree, arrays, descend, plain, two_layers, with_gradients

small = st.integers(1, 3)
paddings = st.sampled_from(["SAME", "VALID", "SAME_LOWER"]) | st.tuples(*[st.tuples(*[st.integers(-1, 3)] * 2)] * 2)


def cropped(images, padding):
    """Images after the padding that crops, and the rest of it: XLA:CPU of jax 0.10 crops wrongly in a convolution."""
    if isinstance(padding, str):
        return images, padding
    negative = [(min(low, 0), min(high, 0), 0) for low, high in padding]
    positive = [(max(low, 0), max(high, 0)) for low, high in padding]
    return lax.pad(images, np.float32(0), [(0, 0, 0), *negative, (0, 0, 0)]), positive


@st.composite
def cases(draw):
    groups = draw(small)
    channels, features = groups * draw(st.sampled_from([1, 2, 5])), groups * draw(st.integers(1, 3))
    kernel = (*draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), channels // groups, features)
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    images = (draw(small), *draw(st.tuples(st.integers(3, 9), st.integers(3, 9))), channels)
    return images, kernel, draw(st.tuples(small, small)), draw(paddings), dilation, groups


def test_each_kind_of_kernels_is_what_computes(kernels):
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, 16), (3, 3, 16, 8))]
    program = jax.jit(lambda *pair: convolution(*pair, (1, 1), "SAME", dimension_numbers=CANONICAL)).lower(*shapes)
    assert ("@flaxcnn_convolution" in program.as_text()) == (kernels == "onednn")


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(cases(), st.integers(0, 99))
def test_any_convolution_agrees_with_xla_in_value_and_both_gradients(case, seed):
    images_shape, kernel_shape, strides, padding, dilation, groups = case
    images, kernel = arrays(seed, images_shape, kernel_shape)

    def theirs(images, kernel):
        images, positive = cropped(images, padding)
        return plain(images, kernel, strides, positive, rhs_dilation=dilation, feature_group_count=groups)

    def ours(images, kernel):
        return convolution(
            images,
            kernel,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=nn.linear._conv_dimension_numbers(images.shape),
            feature_group_count=groups,
        )

    if 0 in jax.eval_shape(theirs, images, kernel).shape:
        assert ours(images, kernel).shape == theirs(images, kernel).shape
        return
    agree(ours, theirs, images, kernel, seed)


def by_definition(images, kernel, weights, strides, padding, dilation):
    """Output and gradients of Σ weights·output in double precision, one product at a time."""
    inside = np.pad(np.asarray(images, np.float64), ((0, 0), (9, 9), (9, 9), (0, 0)))
    ends = [size + 9 + high for size, (_, high) in zip(np.shape(images)[1:3], padding, strict=True)]
    (top, _), (left, _) = padding
    images = inside[:, 9 - top : ends[0], 9 - left : ends[1]]
    kernel, weights = np.asarray(kernel, np.float64), np.asarray(weights, np.float64)
    output, of_images, of_kernel = np.zeros(weights.shape), np.zeros(images.shape), np.zeros(kernel.shape)
    for row, column in np.ndindex(weights.shape[1:3]):
        for i, j in np.ndindex(kernel.shape[:2]):
            y, x = row * strides[0] + i * dilation[0], column * strides[1] + j * dilation[1]
            output[:, row, column] += images[:, y, x] @ kernel[i, j]
            of_images[:, y, x] += weights[:, row, column] @ kernel[i, j].T
            of_kernel[i, j] += images[:, y, x].T @ weights[:, row, column]
    whole = np.zeros(inside.shape)
    whole[:, 9 - top : ends[0], 9 - left : ends[1]] = of_images
    return output, whole[:, 9:-9, 9:-9], of_kernel


@pytest.mark.parametrize("channels", [1, 4, 7])  # the first two are products of patches
@pytest.mark.parametrize(
    ("strides", "padding", "dilation"),
    [
        ((1, 1), ((2, 2), (2, 2)), (1, 1)),
        ((2, 3), ((1, 0), (0, 2)), (1, 1)),
        ((1, 2), ((0, 0), (3, 1)), (2, 1)),
        ((3, 2), ((4, 4), (0, 1)), (1, 2)),
        ((1, 1), ((-2, 1), (1, -1)), (1, 1)),
        ((2, 2), ((5, 0), (-1, 4)), (1, 1)),
    ],
)
def test_values_and_gradients_are_those_of_the_definition(channels, strides, padding, dilation):
    def ours(images, kernel):
        return convolution(images, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=CANONICAL)

    images, kernel = arrays(channels, (2, 9, 8, channels), (3, 4, channels, 5))
    *gradients, weights = with_gradients(ours, images, kernel, seed=7)
    expected = by_definition(images, kernel, weights, strides, padding, dilation)
    for found, exact in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize("channels", [1, 6])
def test_values_and_gradients_are_those_of_scipy(channels):
    images, kernel = arrays(0, (1, 8, 7, channels), (5, 5, channels, 3))

    def ours(images, kernel):
        return convolution(images, kernel, (1, 1), "SAME", dimension_numbers=CANONICAL)

    output, of_images, of_kernel, weights = with_gradients(ours, images, kernel)
    image, kernel, weight = (np.asarray(each, np.float64) for each in (images[0], kernel, weights[0]))
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    for f in range(3):
        expected = sum(correlate2d(image[..., c], kernel[..., c, f], mode="same") for c in range(channels))
        np.testing.assert_allclose(output[0, ..., f], expected, atol=1e-5)
    for c in range(channels):
        expected = sum(convolve2d(weight[..., f], kernel[..., c, f], mode="same") for f in range(3))
        np.testing.assert_allclose(of_images[0, ..., c], expected, atol=1e-5)
        for f in range(3):
            expected = correlate2d(padded[..., c], weight[..., f], mode="valid")
            np.testing.assert_allclose(of_kernel[..., c, f], expected, atol=1e-5)


PADDED = ((1, 1), ((1, 1), (1, 1)))
NHWC = {"dimension_numbers": CANONICAL}
NDHWC = {"dimension_numbers": ("NDHWC", "DHWIO", "NDHWC")}
FALLBACKS = {
    "one dimension": ((2, 9, 3), (4, 3, 5), ((2,), "SAME"), {"dimension_numbers": ("NHC", "HIO", "NHC")}),
    "three dimensions": ((1, 5, 4, 3, 2), (2, 2, 2, 2, 3), ((1, 1, 1), "VALID"), NDHWC),
    "dilated images": ((2, 5, 5, 3), (3, 3, 3, 4), PADDED, {"lhs_dilation": (2, 1), **NHWC}),
    "channels first": ((2, 3, 6, 6), (4, 3, 3, 3), PADDED, {}),
    "batch groups": ((4, 5, 5, 3), (3, 3, 3, 4), PADDED, {"batch_group_count": 2, **NHWC}),
}


@pytest.mark.parametrize("case", FALLBACKS)
def test_what_it_does_not_handle_is_xlas_own(case):
    images_shape, kernel_shape, window, options = FALLBACKS[case]
    images, kernel = arrays(0, images_shape, kernel_shape)
    expected = lax.conv_general_dilated(images, kernel, *window, **options)
    np.testing.assert_array_equal(convolution(images, kernel, *window, **options), expected)
    for argument in (0, 1):
        gradients = [
            jax.grad(lambda *pair, conv=conv: conv(*pair, *window, **options).sum(), argument)(images, kernel)
            for conv in (convolution, lax.conv_general_dilated)
        ]
        np.testing.assert_array_equal(*gradients)


def test_whole_numbers_and_empty_batches_are_xlas_own():
    images, kernel = jnp.arange(2 * 5 * 5 * 3).reshape(2, 5, 5, 3), jnp.arange(3 * 3 * 3 * 4).reshape(3, 3, 3, 4)
    found = convolution(images, kernel, (1, 1), "SAME", dimension_numbers=CANONICAL)
    np.testing.assert_array_equal(found, plain(images, kernel, (1, 1), "SAME"))
    empty = jnp.zeros((0, 5, 5, 3))
    assert convolution(empty, kernel * 1.0, (1, 1), "SAME", dimension_numbers=CANONICAL).shape == (0, 5, 5, 4)


def test_a_mistake_in_the_shapes_is_xlas_error():
    images, kernel = jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 4, 4))
    with pytest.raises((TypeError, ValueError), match="feature"):
        convolution(images, kernel, (1, 1), "SAME", dimension_numbers=CANONICAL)


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("preferred", [None, jnp.float32])
def test_half_precision_agrees_with_xla_in_types_and_values(dtype, preferred, channels):
    images, kernel = arrays(0, (2, 8, 8, channels), (3, 3, channels, 4), dtype=dtype)

    def ours(images, kernel):
        return convolution(
            images, kernel, (2, 1), "SAME", dimension_numbers=CANONICAL, preferred_element_type=preferred
        )

    def exact(images, kernel):
        return plain(images.astype(jnp.float32), kernel.astype(jnp.float32), (2, 1), "SAME")

    *found, weights = with_gradients(ours, images, kernel)
    assert [each.dtype for each in found] == [preferred or dtype, dtype, dtype]
    expected, exact_vjp = jax.vjp(exact, images, kernel)
    rounding = float(jnp.finfo(dtype).eps)
    for each, other in zip(found, (expected, *exact_vjp(weights.astype(jnp.float32))), strict=True):
        scale = float(jnp.abs(other).max())
        np.testing.assert_allclose(
            np.asarray(each, np.float32), np.asarray(other, np.float32), rtol=0, atol=3 * rounding * scale
        )


def test_control_flow_gives_the_bits_of_a_loop_in_python(problem):
    params, images = problem
    step = jax.jit(descend)
    expected = params
    for _ in range(3):
        expected = step(expected, images)
    scanned, _ = jax.jit(lambda params: lax.scan(lambda carry, _: (descend(carry, images), None), params, length=3))(
        params
    )
    looped = jax.jit(lambda params: lax.fori_loop(0, 3, lambda _, carry: descend(carry, images), params))(params)
    _, awaited = jax.jit(
        lambda params: lax.while_loop(
            lambda carry: carry[0] < 3, lambda carry: (carry[0] + 1, descend(carry[1], images)), (0, params)
        )
    )(params)
    for found in (scanned, looped, awaited):
        for each, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(each, other)


def test_a_hessian_vector_product_agrees_with_xlas_convolution_in_both_orders(problem):
    params, images = problem
    direction = tuple(arrays(1, *(param.shape for param in params)))

    def reverse_over_reverse(loss):
        def slope(params):
            return sum(jnp.vdot(a, b) for a, b in zip(jax.grad(loss)(params, images), direction, strict=True))

        return jax.grad(slope)(params)

    def forward_over_reverse(loss):
        return jax.jvp(lambda params: jax.grad(loss)(params, images), (params,), (direction,))[1]

    def plain_loss(params, images):
        maps = plain(images, params[0], (1, 1), "SAME")
        return jnp.mean(jnp.tanh(plain(jnp.tanh(maps), params[1], (2, 2), "SAME")) ** 2)

    expected = jax.jit(forward_over_reverse, static_argnums=0)(plain_loss)
    for product in (reverse_over_reverse, forward_over_reverse):
        for each, other in zip(jax.jit(product, static_argnums=0)(two_layers), expected, strict=True):
            np.testing.assert_allclose(each, other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("channels", [1, 6])
def test_vmap_convolves_each_of_many_kernels_and_batches(channels):
    images, kernels = arrays(0, (3, 2, 6, 6, channels), (3, 3, 3, channels, 4))

    def loss(images, kernel):
        return jnp.sum(convolution(images, kernel, (1, 1), "SAME", dimension_numbers=CANONICAL) ** 2)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    found = jax.jit(jax.vmap(gradient))(images, kernels)
    expected = [gradient(*pair) for pair in zip(images, kernels, strict=True)]
    for each, others in zip(found, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(each, np.stack(others), rtol=1e-4, atol=1e-4)
    shared = jax.jit(jax.vmap(loss, in_axes=(None, 0)))(images[0], kernels)
    np.testing.assert_allclose(shared, [jax.jit(loss)(images[0], kernel) for kernel in kernels], rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"features": 6, "kernel_size": (3, 3)},
        {"features": 6, "kernel_size": (5, 3), "strides": 2, "padding": 2, "use_bias": False},
        {"features": 6, "kernel_size": (3, 3), "feature_group_count": 3},
        {"features": 6, "kernel_size": (3, 3), "kernel_dilation": 2, "padding": "VALID"},
        {"features": 6, "kernel_size": (3, 3), "padding": "CIRCULAR"},
        {"features": 6, "kernel_size": (3, 3), "padding": ((1, 0), (2, 3)), "precision": "highest"},
        {"features": 6, "kernel_size": (3,), "padding": "SAME"},
        {"features": 6, "kernel_size": (3, 3), "input_dilation": 2, "padding": 1},
        {"features": 6, "kernel_size": (3, 3), "dtype": jnp.bfloat16},
    ],
)
def test_it_takes_its_place_in_a_flax_layer(options):
    (images,) = arrays(0, (2, 8, 9, 3) if len(options["kernel_size"]) == 2 else (2, 9, 3))
    ours, theirs = nn.Conv(**options, conv_general_dilated=convolution), nn.Conv(**options)
    variables = jax.jit(theirs.init)(jax.random.key(0), images)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), images)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)
    gradients = []
    for layer in (ours, theirs):

        def loss(variables, images, layer=layer):
            return jnp.sum(layer.apply(variables, images) ** 2)

        gradients.append(jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(variables, images))
    for found, expected in zip(*map(jax.tree.leaves, gradients), strict=True):
        scale = np.abs(np.float32(expected)).max()
        tolerance = (2e-2 if "dtype" in options else 1e-5) * scale
        np.testing.assert_allclose(np.float32(found), np.float32(expected), rtol=0, atol=tolerance)


def test_the_sum_over_parts_of_a_batch_is_rounded_to_half_precision_once():
    images, kernel, weights = (
        jnp.abs(each) for each in arrays(0, (400, 14, 14, 16), (5, 5, 16, 32), (400, 14, 14, 32), dtype=jnp.bfloat16)
    )

    def weighted(kernel, images, weights):
        outputs = convolution(images, kernel, (1, 1), "SAME", dimension_numbers=CANONICAL)
        return jnp.sum(outputs.astype(jnp.float32) * weights.astype(jnp.float32))

    found = jax.jit(jax.grad(weighted))(kernel, images, weights)
    exact = jax.jit(jax.grad(weighted))(*(each.astype(jnp.float32) for each in (kernel, images, weights)))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(exact, np.float64), rtol=2**-7)
