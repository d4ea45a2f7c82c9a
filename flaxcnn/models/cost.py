"""What a model costs: the multiply-adds of its convolutions and matrix products, for one image."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from flaxcnn.adapters import FlaxModule
from flaxcnn.layers.convolution import portable


def multiply_adds(model: FlaxModule, size: Sequence[int]) -> int:
    """Return the number of multiplications, each with an addition, of a model's evaluation of one image.

    Convolutions and matrix products count, as papers count them; normalisations, activations and pools do not.

    Args:
        model: the model.
        size: of the image, (H, W, C).

    >>> from flaxcnn.models import create
    >>> multiply_adds(create("paper_cnn", 10), (28, 28, 1))  # 784 x 25 x 16 + 196 x 25 x 16 x 32 + 1568 x 10
    2838080
    """
    images = jax.ShapeDtypeStruct((1, *size), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    with portable(True):
        traced = jax.make_jaxpr(model.apply)(variables, images)
    return sum(map(_cost, _equations(traced.jaxpr)))


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def _cost(equation: Any) -> int:
    name = equation.primitive.name
    if name not in ("conv_general_dilated", "dot_general"):
        return 0
    left, right = (each.aval.shape for each in equation.invars[:2])
    outputs = math.prod(equation.outvars[0].aval.shape)
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return outputs * math.prod(left[axis] for axis in contracted)
    filters = right[equation.params["dimension_numbers"].rhs_spec[0]]
    return outputs * math.prod(right) // filters
