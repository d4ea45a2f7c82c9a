"""How a convolution is written for XLA:CPU: canonical, as a product of patches, and in parts of a large batch."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from flaxcnn.layers.convolution import convolution
from tests.layers.agreement import CANONICAL, agree, arrays, descend, plain

pytestmark = pytest.mark.usefixtures("on_xla")


def test_in_a_loop_on_cpu_every_compiled_convolution_is_canonical(problem):
    params, images = problem
    looped = jax.jit(lambda params: lax.fori_loop(0, 3, lambda _, carry: descend(carry, images), params))
    text = looped.trace(params).lower(lowering_platforms=("cpu",)).compile().as_text()
    labels = re.findall(r"dim_labels=(\S+?)[,\s]", text)
    assert "while" in text
    # The second layer's forward, its images' gradient, and both kernels' gradients; the first layer's forward is a
    # product of patches, and its images need no gradient.
    assert len(labels) >= 4
    assert set(labels) == {"b01f_01io->b01f"}
    # XLA's own kernel gradient is not: what this test looks for can be there.
    own = jax.jit(jax.grad(lambda kernel: plain(jnp.ones((4, 9, 9, 8)), kernel, (1, 1), "SAME").sum()))
    assert "b01f_01io->b01f" not in re.findall(r"dim_labels=(\S+?)[,\s]", own.lower(params[1]).as_text("hlo"))


@pytest.mark.parametrize(
    ("images", "kernel", "operation"),
    [
        ((50, 28, 28, 1), (5, 5, 1, 16), "dot"),  # the paper's first layer, twice as fast as a product
        ((50, 14, 14, 16), (5, 5, 16, 32), "convolution"),  # its second
        ((500, 28, 28, 1), (5, 5, 1, 16), "dot"),  # 39 MB of patches, made in parts
        ((1, 3000, 3000, 1), (5, 5, 1, 16), "convolution"),  # an image alone has 900 MB of them
        ((10, 28, 28, 4), (5, 5, 4, 16), "convolution"),  # and here have 100 values each
    ],
)
def test_few_short_patches_are_multiplied_and_others_convolved(images, kernel, operation):
    def forward(images, kernel):
        return convolution(images, kernel, (1, 1), "SAME", dimension_numbers=CANONICAL)

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (images, kernel)]
    text = jax.jit(forward).trace(*shapes).lower(lowering_platforms=("cpu",)).as_text()
    assert [name for name in ("dot", "convolution") if f"stablehlo.{name}" in text] == [operation]


# Batches that are taken in parts: 240 has divisors that are multiples of 4, 130 only even ones, 211 none.
@pytest.mark.parametrize("batch", [240, 130, 211])
@pytest.mark.parametrize(("size", "channels", "features"), [(28, 1, 16), (14, 16, 32)])
def test_large_batches_are_taken_in_parts_and_agree_with_xla(batch, size, channels, features):
    images, kernel = arrays(0, (batch, size, size, channels), (5, 5, channels, features))
    ours = lambda images, kernel: convolution(images, kernel, (1, 1), "SAME", dimension_numbers=CANONICAL)  # noqa: E731
    agree(ours, lambda images, kernel: plain(images, kernel, (1, 1), "SAME"), images, kernel)
    text = jax.jit(jax.grad(lambda kernel: jnp.sum(ours(images, kernel) ** 2))).lower(kernel).compile().as_text()
    assert " while(" in text, "it was computed at once: nothing was tested"
