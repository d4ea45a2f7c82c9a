"""The compiled functions that explanations are made of.

Each is compiled once for a model, a task, an endpoint and a batch's shape. Pixels are float32 in [0, 1], before the
model's normalisation, so that maps are of what people see.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.adapters import FlaxModule
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.explanations.divided import Endpoint, after, endpoints_of, in_order, named
from flaxcnn.layers.pixels import normalised, split_constants
from flaxcnn.tasks import Task

BATCH = 16
"""Images that are computed at once; fewer are padded, so that one program serves all."""


class Subject(NamedTuple):
    """What is explained.

    Attributes:
        model: takes float images, returns (outputs, endpoints).
        variables: of the model, with its constants.
        task: what it learned.
        names: of the targets' values (`Dataset.target_names`).
        image_shape: (H, W, C).
    """

    model: FlaxModule
    variables: Any
    task: Task
    names: Any
    image_shape: tuple[int, int, int]


@partial(jax.jit, static_argnames=("model", "task"))
def numbers(model: FlaxModule, variables: Any, images_BHWC: jax.Array, *, task: Task) -> jax.Array:
    """Return the numbers that can be explained (`Task.explained`), float32 (B, K)."""
    outputs, _ = _forward(model, variables, images_BHWC)
    return task.explained(split_constants(variables)[1], outputs.astype(jnp.float32))


@partial(jax.jit, static_argnames=("model", "endpoint"))
def activations(model: FlaxModule, variables: Any, images_BHWC: jax.Array, *, endpoint: str | None) -> jax.Array:
    """Return an endpoint's activations, (B, h, w, C); the images themselves for None."""
    return images_BHWC if endpoint is None else named(_forward(model, variables, images_BHWC)[1])[endpoint]


@partial(jax.jit, static_argnames=("model",))
def every_activation(model: FlaxModule, variables: Any, images_BHWC: jax.Array) -> dict[str, jax.Array]:
    """Return the activations of all endpoints by name; images are float32 (B, H, W, C)."""
    return named(_forward(model, variables, images_BHWC)[1])


@partial(jax.jit, static_argnames=("model", "task", "endpoint"))
def values(
    model: FlaxModule,
    variables: Any,
    at: jax.Array,
    images_BHWC: jax.Array,
    chosen_B: jax.Array,
    *,
    task: Task,
    endpoint: str | None,
) -> jax.Array:
    """Return each image's explained number as a function of an endpoint's activation, float32 (B,).

    Args:
        model: as `Subject` has it.
        variables: as `Subject` has them.
        at: the activation, (B, h, w, C); the pixels where the endpoint is None.
        images_BHWC: float32 images, for what reaches the outputs beside the endpoint.
        chosen_B: which of its numbers, int32.
        task: as `Subject` has it.
        endpoint: its name; None for the pixels.
    """
    if endpoint is None:
        outputs, _ = _forward(model, variables, at)
    else:
        forward = partial(_forward, model)
        outputs = after(forward, endpoint, variables, images_BHWC)(at, variables, images_BHWC)
    explained = task.explained(split_constants(variables)[1], outputs.astype(jnp.float32))
    return jnp.take_along_axis(explained, chosen_B[:, None], axis=1)[:, 0]


@partial(jax.jit, static_argnames=("model", "task", "endpoint"))
def gradients(
    model: FlaxModule,
    variables: Any,
    at: jax.Array,
    images_BHWC: jax.Array,
    chosen_B: jax.Array,
    *,
    task: Task,
    endpoint: str | None,
) -> jax.Array:
    """Return the gradient of `values` with respect to the activation, of its shape, float32.

    In evaluation no image's outputs depend on another's, so one gradient of the sum is that of each.
    """

    def total(at: jax.Array) -> jax.Array:
        return values(model, variables, at, images_BHWC, chosen_B, task=task, endpoint=endpoint).sum()

    return jax.grad(total)(at).astype(jnp.float32)


def spatial_endpoints(subject: Subject) -> list[Endpoint]:
    """Return the model's endpoints with more than one cell, in the order in which they are computed."""
    return endpoints_of(partial(_forward, subject.model), subject.variables, _one(subject))


def layers_of(subject: Subject) -> list[str]:
    """Return the names of all of the model's endpoints, in the order in which they are computed."""
    return list(in_order(partial(_forward, subject.model), subject.variables, _one(subject)))


def _one(subject: Subject) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *subject.image_shape), jnp.float32)


def find_endpoint(subject: Subject, name: str | None) -> Endpoint:
    """Return a model's endpoint by its name; the last one with more than one cell for None.

    Raises:
        ConfigError: there is none of that name, or it has no rows and columns.
    """
    known = spatial_endpoints(subject)
    names = [each.name for each in known]
    if not known:
        fix = "explain by another method, of the pixels; or return {name: activation} beside the outputs"
        raise ConfigError("the model names no activation with rows and columns", where="endpoint", fix=fix)
    if name is None:
        return known[-1]
    if name not in names:
        expected = "an activation with rows and columns"
        raise ConfigError("unknown endpoint", where="endpoint", expected=expected, found=name, fix=nearest(name, names))
    return known[names.index(name)]


def in_batches(compute: Callable[..., jax.Array], *arrays: np.ndarray, alone: bool = True) -> np.ndarray:
    """Return a compiled function's results for any number of rows, computed in batches.

    Args:
        compute: of arrays (B, ...), returns an array (B, ...).
        arrays: with the same number of rows, at least 1.
        alone: whether a single row has a program of its own, which spares the padding.
    """
    count, found = len(arrays[0]), []
    for first in range(0, count, BATCH):
        parts = [array[first : first + BATCH] for array in arrays]
        rows = len(parts[0])
        padding = 0 if alone and count == 1 else BATCH - rows
        padded = [np.concatenate([part, np.repeat(part[-1:], padding, axis=0)]) for part in parts]
        found.append(np.asarray(compute(*padded))[:rows])
    return np.concatenate(found)


def _forward(model: FlaxModule, variables: Any, images_BHWC: jax.Array) -> Any:
    learned, constants = split_constants(variables)
    return model.apply(learned, normalised(constants, images_BHWC), train=False)
