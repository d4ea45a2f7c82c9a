"""What oneDNN computes is the convolution of the definition, with the same bits on any number of cores and threads."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.kernels import library, pooling, sums
from flaxcnn.kernels.convolution import convolve, images_gradient, kernel_gradient
from flaxcnn.kernels.xla_convolution import Window
from flaxcnn.layers.convolution import convolution
from flaxcnn.layers.pooling import max_pool
from tests.conftest import CHECKOUT
from tests.kernels import definition

pytestmark = pytest.mark.skipif(
    not library.available(), reason=f"convolutions run on XLA here: {library.why_not() or 'native kernels'}"
)
CASES = int(os.environ.get("FLAXCNN_CONVOLUTIONS", "60"))  # 2,000 in `make test-native`
CANONICAL = ("NHWC", "HWIO", "NHWC")


def close(found, expected, length):
    """Equal but for the rounding of sums of `length` products."""
    assert found.shape == expected.shape
    bound = 4e-7 * np.sqrt(max(1, length)) * max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=0, atol=bound)


@st.composite
def convolutions(draw):
    """Shapes and windows, small and odd, with sizes of 0 and 1 and kernels larger than images."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8, 16, 72]))
    depthwise = draw(st.booleans()) and groups > 1
    channels = groups * (1 if depthwise else draw(st.sampled_from([1, 2, 5, 8, 16])))
    features = groups * draw(st.sampled_from([1, 1, 2] if depthwise else [1, 2, 3, 8, 17]))
    batch = draw(st.sampled_from([0, 1, 1, 2, 3, 7, 20]))
    size = draw(st.tuples(*[st.integers(1, 20)] * 2))
    kernel = draw(st.tuples(*[st.sampled_from([1, 2, 3, 3, 5, 7])] * 2))
    strides, dilation = draw(st.tuples(*[st.integers(1, 3)] * 2)), draw(st.tuples(*[st.integers(1, 2)] * 2))
    padding = draw(st.tuples(*[st.tuples(*[st.integers(-1, 4)] * 2)] * 2))
    for length, (low, high), side, factor in zip(size, padding, kernel, dilation, strict=True):
        if length + low + high < (side - 1) * factor + 1:  # no output: JAX refuses some, and gives others of size 0
            padding = ((6, 6), (6, 6))
    return (batch, *size, channels), (*kernel, channels // groups, features), strides, padding, dilation, groups


@settings(max_examples=CASES, deadline=None, print_blob=True)
@given(convolutions(), st.integers(0, 2**32 - 1))
def test_a_convolution_and_both_gradients_are_those_of_the_definition(case, seed):
    images_shape, kernel_shape, strides, padding, dilation, groups = case
    random = np.random.default_rng(seed)
    images, kernel = (random.standard_normal(shape).astype(np.float32) for shape in (images_shape, kernel_shape))

    def ours(images, kernel):
        return convolution(
            images,
            kernel,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=CANONICAL,
            feature_group_count=groups,
        )

    outputs, vjp = jax.vjp(ours, images, kernel)
    weights = random.standard_normal(outputs.shape).astype(np.float32)
    window = (strides, padding, dilation, groups)
    close(outputs, definition.convolution(images, kernel, *window), kernel[..., 0].size)
    for found, expected, length in zip(
        vjp(weights),
        definition.gradients(images, kernel, weights, *window),
        (kernel[..., 0, :].size, weights[..., 0].size),
        strict=True,
    ):
        close(found, expected, length)


def targets(function, *arrays):
    """The library's functions that a program calls."""
    return set(re.findall(r"@(flaxcnn_\w+)\(", jax.jit(function).lower(*arrays).as_text()))


def arrays(seed, *shapes, dtype=jnp.float32):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.standard_normal(shape), dtype) for shape in shapes]


PAPER = ((50, 14, 14, 16), (5, 5, 16, 32), Window((1, 1), ((2, 2), (2, 2)), (1, 1), 1, None, None))
SHAPES = {
    "the paper's second layer": PAPER,
    "one image": ((1, 56, 56, 32), (3, 3, 32, 32), Window((2, 2), ((0, 1), (1, 0)), (1, 1), 1, None, None)),
    "depthwise": ((16, 28, 28, 48), (5, 5, 1, 48), Window((1, 1), ((2, 2), (2, 2)), (1, 1), 48, None, None)),
    "a dilated kernel": ((7, 20, 20, 8), (3, 3, 8, 24), Window((1, 1), ((2, 2), (2, 2)), (2, 2), 1, None, None)),
    "one by one": ((9, 30, 30, 24), (1, 1, 24, 144), Window((1, 1), ((0, 0), (0, 0)), (1, 1), 1, None, None)),
}


def all_passes(images_shape, kernel_shape, window, dtype=jnp.float32):
    images, kernel, bias = arrays(0, images_shape, kernel_shape, kernel_shape[3:], dtype=dtype)
    forward = partial(convolve, window=window)
    outputs = jax.jit(lambda images, kernel, bias: forward(images, kernel, bias_F=bias))(images, kernel, bias)
    (weights,) = arrays(1, outputs.shape, dtype=dtype)
    of_images = partial(images_gradient, window=window, size=images_shape[1:3], dtype=dtype)
    of_kernel = partial(kernel_gradient, window=window, size=kernel_shape[:2], dtype=dtype)
    return [outputs, jax.jit(of_images)(weights, kernel), jax.jit(of_kernel)(images, weights)]


@pytest.mark.parametrize("name", SHAPES)
def test_it_is_onednn_that_computes(name):
    images_shape, kernel_shape, window = SHAPES[name]
    images, kernel = arrays(0, images_shape, kernel_shape)
    gradient = jax.grad(lambda images, kernel: jnp.sum(convolve(images, kernel, window) ** 2), argnums=(0, 1))
    called = targets(gradient, images, kernel)
    assert called == {"flaxcnn_convolution", "flaxcnn_images_gradient", "flaxcnn_kernel_gradient"}


def test_a_gradient_that_nobody_asks_for_is_not_computed():
    images_shape, kernel_shape, window = PAPER
    images, kernel = arrays(0, images_shape, kernel_shape)
    gradient = jax.grad(lambda kernel: jnp.sum(convolve(images, kernel, window) ** 2))
    assert targets(gradient, kernel) == {"flaxcnn_convolution", "flaxcnn_kernel_gradient"}


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.int8])
def test_types_that_it_does_not_know_are_xlas(dtype):
    images, kernel = arrays(0, (2, 8, 8, 3), (3, 3, 3, 4), dtype=dtype)
    ours = partial(convolution, window_strides=(1, 1), padding="SAME", dimension_numbers=CANONICAL)
    assert targets(ours, images, kernel) == set()


def test_bfloat16_is_rounded_once_from_sums_in_float32():
    images_shape, kernel_shape, window = PAPER
    found = all_passes(images_shape, kernel_shape, window, jnp.bfloat16)
    images, kernel, bias = arrays(0, images_shape, kernel_shape, kernel_shape[3:], dtype=jnp.bfloat16)
    (weights,) = arrays(1, found[0].shape, dtype=jnp.bfloat16)
    images, kernel, bias, weights = (np.asarray(each, np.float32) for each in (images, kernel, bias, weights))
    whole = (window.strides, window.padding, window.dilation, window.groups)
    expected = [definition.convolution(images, kernel, *whole) + bias]
    expected += definition.gradients(images, kernel, weights, *whole)
    for each, other in zip(found, expected, strict=True):
        assert each.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            np.asarray(each, np.float64), other, rtol=2**-8, atol=2**-8 * np.abs(other).max() / 16
        )


BITS = """
import hashlib, json, sys
from tests.kernels.test_native import SHAPES, all_passes, elementwise
import numpy as np
digest = lambda arrays: hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in arrays)).hexdigest()
found = {name: digest(all_passes(*shapes)) for name, shapes in SHAPES.items()}
print(json.dumps({**found, "elementwise": digest(elementwise())}))
"""


def elementwise():
    """Pools with their gradient, and a sum over channels, of arrays large enough for several parts."""
    (values,) = arrays(2, (50, 29, 28, 16))
    apart = pooling.Windows((2, 2), (2, 2))
    maxima, vjp = jax.vjp(lambda values: pooling.window_maxima(values, apart), values)
    overlapping = pooling.Windows((3, 3), (2, 2), ((1, 1), (1, 1)))
    others, vjp_of_others = jax.vjp(lambda values: pooling.window_maxima(values, overlapping), values)
    return [maxima, *vjp(maxima), others, *vjp_of_others(others), jax.jit(sums.channel_sum)(values)]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores can be chosen on Linux only")
def test_one_core_and_all_give_the_same_bits():
    cores = sorted(os.sched_getaffinity(0))

    def digests(on):
        done = subprocess.run(
            [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {on})\n{BITS}"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    everywhere = digests(cores)
    assert digests(cores[:1]) == everywhere
    assert len(set(everywhere.values())) == len(everywhere)


def test_threads_that_call_at_once_get_the_bits_of_one_that_calls_alone():
    def digest():
        found = [each for name in ("depthwise", "one image") for each in all_passes(*SHAPES[name])] + elementwise()
        return hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in found)).hexdigest()

    expected, found = digest(), []
    threads = [threading.Thread(target=lambda: found.extend(digest() for _ in range(5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 20


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX's: the child below uses none of it
def test_a_process_that_forks_after_a_call_goes_on_and_so_does_the_child():
    before = all_passes(*PAPER)
    child = os.fork()
    if not child:
        os._exit(0 if np.isfinite(np.ones(3)).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for each, other in zip(all_passes(*PAPER), before, strict=True):
        np.testing.assert_array_equal(each, other)


def test_a_nan_is_neither_hidden_by_a_bias_nor_by_a_pool():
    images, kernel, bias = arrays(0, (2, 8, 8, 16), (3, 3, 16, 16), (16,))
    window = Window((1, 1), ((1, 1), (1, 1)), (1, 1), 1, None, None)
    outputs = convolve(images.at[0, 4, 4, 0].set(jnp.nan), kernel, window, bias)
    assert jnp.isnan(outputs[0, 3:6, 3:6]).all()
    assert jnp.isnan(outputs).sum() == 9 * 16
    assert jnp.isnan(max_pool(outputs)[0, 1:3, 1:3]).all()
    assert jnp.isnan(jax.vjp(max_pool, outputs)[0][0, 1:3, 1:3]).all()  # the form that keeps the winners


def test_more_plans_than_are_kept_cost_no_memory_that_grows():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def make(sizes):
        for size in sizes:
            assert library.plan((0, 3, 0, 1, size, 8, 1, 1, 1, 1, size, 8, 1, 1, 1, 1, 0, 0, 0, 0, 1))

    make(range(8, 2008))
    before = resident()
    make(range(2008, 6008))
    assert resident() - before < 64 * 2**20


def test_a_description_of_the_wrong_length_is_refused():
    assert library.plan((0, 3, 0)) is None


def loss(images, kernel):
    window = Window((1, 1), ((1, 1), (1, 1)), (1, 1), 1, None, None)
    return jnp.mean(max_pool(convolve(images, kernel, window)) ** 2)


def test_no_arrays_at_all_are_mapped_to_none():
    images, kernel = jnp.zeros((0, 2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    gradient = jax.jit(jax.vmap(jax.grad(loss, argnums=(0, 1)), in_axes=(0, None)))
    assert [each.shape for each in gradient(images, kernel)] == [(0, 2, 8, 8, 3), (0, 3, 3, 3, 4)]


def test_a_program_for_export_has_xlas_own_operations():
    images, kernel = arrays(0, (2, 8, 8, 3), (3, 3, 3, 4))
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    exported = jax.export.export(gradient)(images, kernel)
    assert "@flaxcnn_" not in exported.mlir_module()
    for each, other in zip(exported.call(images, kernel), gradient(images, kernel), strict=True):
        np.testing.assert_allclose(each, other, rtol=0, atol=1e-6)
