"""Evaluation of a model on a data set in one compiled program, counting every example exactly once."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from flaxcnn.adapters import FlaxModule
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.layers.examples import check_examples, check_images
from flaxcnn.layers.pixels import normalised, split_constants, to_float
from flaxcnn.models.views import OverViews
from flaxcnn.tasks import Task, default_task

_CPU_BATCH = 50  # the paper's model on 2 cores: 42 ms for 2,000 images in batches of 40 or 50, 50 of 100, 64 of 250
_ACCELERATOR_BATCH = 500  # not measured
_FEATURES = "features"  # the endpoint before the last layer

Compute: TypeAlias = Callable[[FlaxModule, Any, jax.Array], Any]


@flax.struct.dataclass
class Sums:
    """Sums over examples. Sums of several parts of a data set can be added; the division comes last.

    Attributes:
        loss: sum of the plain losses, float32.
        statistics: sums of the task's statistics by name: int32 for booleans and integers, else float32.
        examples: number of examples, int32.
        task: the task that defines the statistics; static.
    """

    loss: jax.Array
    statistics: dict[str, jax.Array]
    examples: jax.Array
    task: Task = flax.struct.field(pytree_node=False)

    @property
    def measures(self) -> dict[str, float]:
        """The task's logged metrics by name; raises DataError where no example was counted."""
        arrays = {name: np.asarray(value) for name, value in self.statistics.items()}
        numbers = {
            name: array.item() if array.ndim == 0 else array.astype(np.float64) for name, array in arrays.items()
        }
        return {name: float(value) for name, value in self.task.measures(numbers, self._counted).items()}

    @property
    def mean_loss(self) -> float:
        """The mean of the plain losses; raises DataError if no example was counted."""
        return float(self.loss) / self._counted

    @property
    def _counted(self) -> int:
        examples = int(self.examples)
        if examples < 1:
            raise DataError("no images to average over", expected="at least one evaluated image", found=examples)
        return examples


def sums_of(
    task: Task, constants: Mapping[str, jax.Array], outputs_NxO: jax.Array, targets: Any, counted_N: jax.Array
) -> Sums:
    """Return the sums over the examples that the boolean mask `counted_N` selects."""
    losses = task.losses(None, constants, outputs_NxO, targets)

    def total(values: jax.Array) -> jax.Array:
        counted = counted_N.reshape(-1, *[1] * (values.ndim - 1))
        if values.dtype == bool:
            return jnp.sum(values & counted, axis=0, dtype=jnp.int32)
        return jnp.sum(jnp.where(counted, values, 0), axis=0)

    return Sums(
        loss=jnp.sum(jnp.where(counted_N, losses, 0)),
        statistics=jax.tree.map(total, task.statistics(constants, outputs_NxO, targets)),
        examples=jnp.sum(counted_N, dtype=jnp.int32),
        task=task,
    )


@partial(jax.jit, static_argnames=("model", "task", "batch_size", "sharding", "check_targets"))
def evaluate(
    model: FlaxModule,
    variables: Any,
    images_NHWC: jax.Array,
    targets: Any,
    examples: jax.Array | int | None = None,
    *,
    task: Task | None = None,
    batch_size: int | None = None,
    sharding: NamedSharding | None = None,
    check_targets: bool = False,
) -> tuple[Sums, dict[str, jax.Array]]:
    """Evaluate a model on the first `examples` images, each exactly once for any batch size.

    Args:
        model: a module whose `apply(variables, images, train=False)` returns (outputs, endpoints).
        variables: its variables, such as `state.variables` of a training state.
        images_NHWC: uint8 or floating-point images, (N, H, W, C), on the device.
        targets: the images' targets, arrays with N rows; for a classifier integers in [0, classes). A label out of
            range counts as wrong and makes the loss NaN.
        examples: the number of images to evaluate, from the first; a runtime value, so a change does not recompile.
            None for all.
        task: the task; static. None for classification.
        batch_size: number of images computed at once; static. None for a default that suits the devices.
        sharding: sharding of a batch over several devices along its first axis; static. None for one device.
        check_targets: whether the program checks the targets' range, for `chex.chexify` or `checkify.checkify`, as in
            `flaxcnn.train_step`; static.

    Returns:
        The sums, and the predictions by name, arrays with N rows, zero past the evaluated images; for a classifier
        "logits", float32 (N, classes).

    Raises:
        DataError: images that are not (N, H, W, C), no images, or targets that do not fit.
        ConfigError: `batch_size` is less than 1. All are raised when the function is traced.
        TypeError: images that are neither uint8 nor floating-point.
    """
    task = default_task() if task is None else task
    check_examples(images_NHWC, targets)
    if batch_size is not None and batch_size < 1:
        raise ConfigError("out of range", where="batch_size", expected="at least 1", found=batch_size)
    total = images_NHWC.shape[0]
    if batch_size is None:
        batch_size = _batch(sharding)
    batch_size = min(batch_size, total)
    if sharding is not None and batch_size % sharding.mesh.shape["data"]:
        sharding = None  # too few images to divide: every device computes all of them
    examples = total if examples is None else jnp.minimum(examples, total)
    found = _outputs(model, variables, images_NHWC, examples, batch_size, sharding)
    constants = split_constants(variables)[1]
    if check_targets:
        task.check_range(jax.tree.leaves(found)[0].shape[-1], targets)
    counted_N = jnp.arange(total) < examples

    def where_counted(array: jax.Array) -> jax.Array:
        return jnp.where(counted_N.reshape(-1, *[1] * (array.ndim - 1)), array, jnp.zeros((), array.dtype))

    predictions = jax.tree.map(where_counted, task.decode(constants, found))
    return sums_of(task, constants, found, targets, counted_N), predictions


@partial(jax.jit, static_argnames=("model", "task", "batch_size"))
def predict(
    model: FlaxModule,
    variables: Any,
    images_NHWC: jax.Array,
    *,
    task: Task | None = None,
    batch_size: int | None = None,
) -> dict[str, jax.Array]:
    """Return a model's predictions for images, arrays with N rows by name. Arguments and errors: see `evaluate`."""
    task = default_task() if task is None else task
    check_images(images_NHWC)
    total = images_NHWC.shape[0]
    found = _outputs(model, variables, images_NHWC, total, min(batch_size or _batch(None), total), None)
    return task.decode(split_constants(variables)[1], found)


def features_of(model: FlaxModule, variables: Any, images_NHWC: jax.Array) -> jax.Array:
    """Return what a model's last layer takes, its endpoint "features", float32 (N, F); of the images without views.

    Arguments: see `evaluate`. A pure function, to be compiled with what is done with the features.

    Raises:
        ConfigError: the model has no such endpoint.
    """
    total = images_NHWC.shape[0]
    features: jax.Array = _outputs(model, variables, images_NHWC, total, min(_batch(None), total), None, _seen)
    return features


def predict_with_features(
    model: FlaxModule, variables: Any, images_NHWC: jax.Array, task: Task
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Return predictions as `predict` does, and features as `features_of` does; without views, of one pass."""
    total = images_NHWC.shape[0]
    found, features = _outputs(model, variables, images_NHWC, total, min(_batch(None), total), None, _both)
    return task.decode(split_constants(variables)[1], found), features


def _said(model: FlaxModule, learned: Any, images: jax.Array) -> Any:
    return model.apply(learned, images, train=False)[0]


def _seen(model: FlaxModule, learned: Any, images: jax.Array) -> Any:
    return _features(_without_views(model).apply(learned, images, train=False)[1])


def _both(model: FlaxModule, learned: Any, images: jax.Array) -> Any:
    if isinstance(model, OverViews):
        return _said(model, learned, images), _seen(model, learned, images)
    outputs, endpoints = model.apply(learned, images, train=False)
    return outputs, _features(endpoints)


def _without_views(model: FlaxModule) -> FlaxModule:
    return model.model if isinstance(model, OverViews) else model


def _features(endpoints: Mapping[str, Any]) -> Any:
    found = endpoints.get(_FEATURES)
    if getattr(found, "ndim", None) != 2:  # a model of one's own may nest its endpoints
        names = ", ".join(map(str, endpoints)) or "none"
        raise ConfigError("no such endpoint", where=_FEATURES, expected="(B, F)", found=names)
    return found


def _batch(sharding: NamedSharding | None) -> int:
    """Return the default batch size."""
    batch_size = _CPU_BATCH if jax.default_backend() == "cpu" else _ACCELERATOR_BATCH
    return batch_size * (1 if sharding is None else sharding.mesh.shape["data"])


def _outputs(
    model: FlaxModule,
    variables: Any,
    images_NHWC: jax.Array,
    examples: jax.Array | int,
    batch_size: int,
    sharding: NamedSharding | None,
    compute: Compute | None = None,
) -> Any:
    """Return the outputs for the first `examples` images, batch by batch; do not use the other outputs.

    With `compute` they are what it returns of the model, its variables and normalised images, arrays with a row each.
    """
    total = images_NHWC.shape[0]
    learned, constants = split_constants(variables)

    def outputs_of(images: jax.Array) -> Any:
        found = (compute or _said)(model, learned, normalised(constants, to_float(images)))
        return jax.tree.map(lambda array: array.astype(jnp.float32), found)

    def one(index: jax.Array, found: Any) -> Any:
        # The last batch starts earlier where the examples end within it: some are computed twice, none counted twice.
        first = jnp.minimum(index * batch_size, total - batch_size)
        batch = lax.dynamic_slice_in_dim(images_NHWC, first, batch_size)
        if sharding is not None:
            batch = lax.with_sharding_constraint(batch, sharding)
        put = partial(lax.dynamic_update_slice_in_dim, start_index=first, axis=0)
        return jax.tree.map(put, found, outputs_of(batch))

    shapes = jax.eval_shape(outputs_of, images_NHWC[:1])
    batches = (examples + batch_size - 1) // batch_size
    nothing = jax.tree.map(lambda shape: jnp.zeros((total, *shape.shape[1:]), jnp.float32), shapes)
    return lax.fori_loop(0, batches, one, nothing)
