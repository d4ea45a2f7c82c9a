"""A program that is traced as portable has JAX's own primitives alone, and nothing of it is left behind."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

import flaxcnn
from flaxcnn.kernels import library
from flaxcnn.layers.convolution import portable
from tests.layers.agreement import arrays


@pytest.fixture(scope="module")
def problem():
    model = flaxcnn.create("paper_cnn", classes=10)
    images, labels = arrays(0, (4, 28, 28, 1))[0], jnp.arange(4)
    variables = model.init(jax.random.key(0), images)

    def loss(variables):
        logits, _ = model.apply(variables, images)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), labels]), logits

    return jax.jit(jax.value_and_grad(loss, has_aux=True)), variables


OURS = {"convolution_with_bias", "convolution_kernel_gradient", "convolution_images_gradient", "pool_expand"}


def primitives(jaxpr):
    """The names of all primitives of a program, those within its loops and functions too."""
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda each: hasattr(each, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                names |= primitives(inner)
    return names


def of_ours(function, variables):
    return primitives(function.trace(variables).jaxpr.jaxpr) & OURS


def test_its_forward_and_gradient_have_jaxs_own_primitives(problem):
    gradient, variables = problem
    assert of_ours(gradient, variables) == OURS
    with portable(True):
        assert of_ours(gradient, variables) == set()
        assert "conv_general_dilated" in primitives(gradient.trace(variables).jaxpr.jaxpr)


def test_its_numbers_are_those_of_the_kernels_which_come_back_after_it(problem):
    gradient, variables = problem

    def calls():
        return "@flaxcnn_" in gradient.lower(variables).as_text()

    expected = gradient(variables)
    assert calls() == library.available()
    with portable(True):
        found = gradient(variables)
        assert not calls()
    assert calls() == library.available()
    for each, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(each, other, rtol=0, atol=1e-5 * np.abs(other).max())
    again = gradient(variables)
    jax.tree.map(np.testing.assert_array_equal, again, expected)
