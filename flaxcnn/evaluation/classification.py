"""A model's logits and metrics over a data set in one program, every example exactly once."""

from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import NamedSharding

from flaxcnn.adapters import FlaxModule
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.layers.examples import check_examples, check_labels, label_in_range_check, with_none_negative
from flaxcnn.layers.pixels import to_float

_CPU_BATCH = 50  # the paper's model on 2 cores: 42 ms for 2,000 images in batches of 40 or 50, 50 of 100, 64 of 250
_ACCELERATOR_BATCH = 500  # not measured


@flax.struct.dataclass
class Sums:
    """Sums over examples, divided once, at the end; of several parts of a data set they add up.

    Attributes:
        correct: examples whose largest logit is their label's, int32.
        loss: sum of the cross-entropies in nats, float32.
        examples: how many, int32.
    """

    correct: jax.Array
    loss: jax.Array
    examples: jax.Array

    @property
    def accuracy(self) -> float:
        """The fraction that is correct; raises DataError where no example was counted."""
        return int(self.correct) / self._counted

    @property
    def mean_loss(self) -> float:
        """The mean cross-entropy in nats; raises DataError where no example was counted."""
        return float(self.loss) / self._counted

    @property
    def _counted(self) -> int:
        examples = int(self.examples)
        if examples < 1:
            raise DataError("no images to average over", expected="at least one that was evaluated", found=examples)
        return examples


def sums_of(logits_NxK: jax.Array, labels_N: jax.Array, counted_N: jax.Array) -> Sums:
    """Return the sums over the examples that `counted_N`, a boolean mask, lets through.

    A label that is out of range counts as wrong, and its loss is NaN. Raises DataError where the labels are not one
    integer for each row of logits.
    """
    check_labels(labels_N, logits_NxK.shape[0])
    usable_N = with_none_negative(labels_N, logits_NxK.shape[-1])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits_NxK.astype(jnp.float32), usable_N)
    correct = jnp.argmax(logits_NxK, -1) == labels_N
    return Sums(
        correct=jnp.sum(correct & counted_N, dtype=jnp.int32),
        loss=jnp.sum(jnp.where(counted_N, losses, 0)),
        examples=jnp.sum(counted_N, dtype=jnp.int32),
    )


@partial(jax.jit, static_argnames=("model", "batch_size", "sharding", "check_labels"))
def evaluate(
    model: FlaxModule,
    variables: Any,
    images_NHWC: jax.Array,
    labels_N: jax.Array,
    examples: jax.Array | int | None = None,
    *,
    batch_size: int | None = None,
    sharding: NamedSharding | None = None,
    check_labels: bool = False,
) -> tuple[Sums, jax.Array]:
    """Evaluate a model on the first `examples` images, each exactly once, whatever the batch size.

    Args:
        model: a module whose `apply(variables, images, train=False)` returns (logits, endpoints).
        variables: its variables, `state.variables` of a training state.
        images_NHWC: uint8 or floating-point images, (N, H, W, C), on the device.
        labels_N: integers in [0, classes); (N,). One out of this range counts as wrong and makes the loss NaN.
        examples: how many from the first on; a value, so that other numbers compile nothing new. None for all.
        batch_size: images that are computed at once; static. None for what suits the devices.
        sharding: how a batch lies on several devices, its first axis divided; static. None for one device.
        check_labels: whether the program checks the range of all labels, for `chex.chexify` or `checkify.checkify`, as
            `flaxcnn.train_step` does; static.

    Returns:
        The sums, and the logits, (N, classes) float32, zero after the last example that was asked for.

    Raises:
        DataError: images that are not (N, H, W, C) or of which there is none, or labels that are not integers, (N,).
        ConfigError: `batch_size` is less than 1. All are raised when the function is traced.
        TypeError: images that are neither uint8 nor floating-point.
    """
    check_examples(images_NHWC, labels_N)
    if batch_size is not None and batch_size < 1:
        raise ConfigError("out of range", where="batch_size", expected="at least 1", found=batch_size)
    total = images_NHWC.shape[0]
    if batch_size is None:
        batch_size = _CPU_BATCH if jax.default_backend() == "cpu" else _ACCELERATOR_BATCH
        batch_size *= 1 if sharding is None else sharding.mesh.shape["data"]
    batch_size = min(batch_size, total)
    if sharding is not None and batch_size % sharding.mesh.shape["data"]:
        sharding = None  # too few images to divide: every device computes all of them
    examples = total if examples is None else jnp.minimum(examples, total)

    def logits_of(images: jax.Array) -> jax.Array:
        logits, _ = model.apply(variables, to_float(images), train=False)
        return logits.astype(jnp.float32)

    def one(index: jax.Array, logits_NxK: jax.Array) -> jax.Array:
        # The last batch starts earlier where the examples end within it: some are computed twice, none counted twice.
        first = jnp.minimum(index * batch_size, total - batch_size)
        batch = lax.dynamic_slice_in_dim(images_NHWC, first, batch_size)
        if sharding is not None:
            batch = lax.with_sharding_constraint(batch, sharding)
        return lax.dynamic_update_slice_in_dim(logits_NxK, logits_of(batch), first, 0)

    classes = jax.eval_shape(logits_of, images_NHWC[:1]).shape[-1]
    if check_labels:
        label_in_range_check(labels_N, classes)
    batches = (examples + batch_size - 1) // batch_size
    logits_NxK = lax.fori_loop(0, batches, one, jnp.zeros((total, classes), jnp.float32))
    counted = jnp.arange(total) < examples
    return sums_of(logits_NxK, labels_N, counted), jnp.where(counted[:, None], logits_NxK, 0)
