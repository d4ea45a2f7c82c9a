"""One training step, and a block of them in one program."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from flaxcnn.errors import DataError
from flaxcnn.keys import Purpose, key_for
from flaxcnn.layers.augmentation import augment, mix, sources
from flaxcnn.layers.examples import check_examples
from flaxcnn.layers.pixels import normalised, to_float
from flaxcnn.training.batches import Batches
from flaxcnn.training.optimizer import RuntimeOptimizer
from flaxcnn.training.state import TrainState, as_variables

_Carry = tuple[jax.Array, TrainState, jax.Array, dict[str, jax.Array]]  # of a block: index, state, losses, metrics


class Batch(NamedTuple):
    """What a step learns from, augmented.

    Attributes:
        images: float32 (B, H, W, C).
        targets: what is learned from them, arrays (B, ...).
        partners: the targets of the images that were mixed in, int32 (B,); None without MixUp.
        shares: of `targets` in the loss, the rest being of `partners`, float32 (B,); None without MixUp.
    """

    images: jax.Array
    targets: Any
    partners: Any = None
    shares: jax.Array | None = None


@partial(jax.jit, donate_argnums=0, static_argnames="check_targets")
def train_step(
    state: TrainState, images_BHWC: jax.Array, targets: Any, *, check_targets: bool = False
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Make one update on one batch: augment, the task's loss, its gradient, the optimizer's step.

    The function is pure, and compiled once for a shape of batch. What is random in it follows from the state's seed and
    step. It takes over the memory of the state that it is given (`donate_argnums`): go on with the one that it returns.

    Where the state says to cut the batch, its parts are computed one after the other and their gradients averaged: the
    update is that of the whole batch up to rounding, but for batch normalisation, which sees one part at a time, and
    for dropout, which draws again for each part.

    Args:
        state: as `create_state` or the last step gave it.
        images_BHWC: uint8, divided by 255 here, or floating-point, taken as they are; (B, H, W, C).
        targets: what is to be learned from them, arrays (B, ...); of a classifier integers in [0, classes). A label out
            of this range makes `loss` NaN and `finite` False; the update made with it is not to be used.
        check_targets: whether the program checks their range and names the first that is wrong; static. It is for
            `chex.chexify` or `checkify.checkify`, without which a program with checks cannot be compiled, and takes
            time: without it, targets cost a step nothing.

    Returns:
        The next state, and float32 scalars of this batch and update: `loss`, the mean over the batch of what is
        minimised (`Task.losses`), and the task's logged metrics, all computed before the
        update; `learning_rate` of the update; `gradient_norm`, the gradient's over all parameters, before clipping;
        `update_ratio`, the norm of the update over that of the parameters before it. And `finite`, a boolean: whether
        all of these, every gradient and every updated parameter and statistic are.

    Raises:
        DataError: images that are not (B, H, W, C) or of which there is none; targets that do not fit; or a
            batch that cannot be cut into the state's parts. All are raised when the step is traced.
        TypeError: images that are neither uint8 nor floating-point.

    >>> import chex
    >>> from flaxcnn.models import create
    >>> from flaxcnn.training import adam, create_state
    >>> state = create_state(create("paper_cnn", classes=10), adam(), image_shape=(28, 28, 1))
    >>> checked_step = chex.chexify(partial(train_step, check_targets=True), async_check=False)
    >>> checked_step(state, jnp.zeros((2, 28, 28, 1)), jnp.asarray([3, 10]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jax...JaxRuntimeError: labels: out of range; expected 0 to 9, found 10 (`check` failed)
    """
    check_examples(images_BHWC, targets)
    if images_BHWC.shape[0] % state.accumulate:
        raise DataError(
            "a batch that does not divide into equal parts",
            where="images",
            expected=f"a multiple of the state's accumulate, {state.accumulate}",
            found=images_BHWC.shape[0],
        )
    if check_targets:
        state.task.check_range(_width(state, images_BHWC), targets)
    batch = augmented_batch(state, images_BHWC, targets)
    loss, measures, gradients, batch_stats = _gradients(state, batch)
    updates, opt_state = state.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {
        "loss": loss,
        **measures,
        "gradient_norm": optax.tree.norm(gradients),
        "update_ratio": optax.tree.norm(updates) / optax.tree.norm(state.params),
    }
    computed = (metrics, gradients, params, batch_stats)
    metrics["finite"] = jnp.stack([jnp.isfinite(each).all() for each in jax.tree.leaves(computed)]).all()
    if isinstance(state.optimizer, RuntimeOptimizer):
        metrics["learning_rate"] = state.optimizer.learning_rate(state.opt_state)
    next_state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        average=_next_average(state, as_variables(params, batch_stats)),
    )
    return next_state, metrics


def _width(state: TrainState, images_BHWC: jax.Array) -> int:
    """Return how many outputs a state's model has; nothing is computed."""
    outputs, _ = jax.eval_shape(lambda: apply_for_training(state, state.params, to_float(images_BHWC)))
    return int(jax.tree.leaves(outputs)[0].shape[-1])


def augmented_batch(state: TrainState, images_BHWC: jax.Array, targets: Any) -> Batch:
    """Return a batch as the state's step sees it: floats, augmented, and mixed where the state says so."""
    key = key_for(state.seed, Purpose.AUGMENTATION, state.step)
    images = augment(state.augmentations, key, to_float(images_BHWC))
    if state.task.moves and state.augmentations:
        batch, height, width, _ = images.shape
        targets = jax.vmap(state.task.move)(targets, sources(state.augmentations, key, batch, (height, width)))
    if state.mixup is None:
        return Batch(images, targets)
    images, shares = mix(state.mixup, key_for(state.seed, Purpose.MIXUP, state.step), images)
    return Batch(images, targets, jax.tree.map(lambda array: jnp.roll(array, -1, axis=0), targets), shares)


def parts_of(state: TrainState, batch: Batch) -> list[Batch]:
    """Return the parts into which a step cuts its batch, in order."""
    cut = _cut(state, batch)
    return [jax.tree.map(lambda array, part=part: array[part], cut) for part in range(state.accumulate)]


def _cut(state: TrainState, batch: Batch) -> Batch:
    """Return a batch with an axis for its parts before that for their examples."""
    cut: Batch = jax.tree.map(lambda array: array.reshape(state.accumulate, -1, *array.shape[1:]), batch)
    return cut


def loss_of(state: TrainState, params: Any, batch: Batch, part: jax.Array | int = 0) -> tuple[jax.Array, Any]:
    """Return what a step minimises, and beside it the task's logged metrics and the next batch statistics.

    Args:
        state: for all but the parameters.
        params: the parameters.
        batch: a batch, or one of the parts into which it is cut.
        part: the number of the part.
    """
    outputs, batch_stats = apply_for_training(state, params, batch.images, part)
    task, constants = state.task, state.constants

    def of(targets: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        losses = task.losses(state.hyperparameters, constants, outputs, targets)  # first: it says what does not fit
        statistics = task.statistics(constants, outputs, targets)
        return losses, jax.tree.map(lambda array: array.astype(jnp.float32), statistics)

    found = of(batch.targets)
    if batch.partners is not None and batch.shares is not None:
        of_batch = batch.shares

        def mixed(own: jax.Array, other: jax.Array) -> jax.Array:
            shares = of_batch.reshape(-1, *[1] * (own.ndim - 1))
            return shares * own + (1 - shares) * other

        found = jax.tree.map(mixed, found, of(batch.partners))
    losses, statistics = found
    measures = task.measures(jax.tree.map(lambda array: jnp.mean(array, axis=0), statistics), 1)
    return losses.mean(), (measures, batch_stats)


def apply_for_training(
    state: TrainState, params: Any, images_BHWC: jax.Array, part: jax.Array | int = 0, **options: Any
) -> tuple[jax.Array, Any]:
    """Return the outputs for float images as a step computes them, dropout included, and the next batch statistics.

    Args:
        state: for all but the parameters.
        params: the parameters.
        images_BHWC: float images, augmented.
        part: the number of the part of the batch that they are.
        options: more for the model's `apply`.
    """
    key = key_for(state.seed, Purpose.DROPOUT, state.step)
    if state.accumulate > 1:
        key = jax.random.fold_in(key, part)
    if state.hyperparameters.dropout is not None:
        options["dropout"] = state.hyperparameters.dropout
    (outputs, _), updated = state.model.apply(
        as_variables(params, state.batch_stats),
        normalised(state.constants, images_BHWC),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key},
        **options,
    )
    return outputs, updated.get("batch_stats", state.batch_stats)


def _gradients(state: TrainState, batch: Batch) -> tuple[jax.Array, Any, Any, Any]:
    """Return loss, measures, gradients and the next batch statistics of a batch, computed in the state's parts."""

    def of_part(state: TrainState, batch: Batch, part: jax.Array | int) -> tuple[Any, Any]:
        value_and_grad = jax.value_and_grad(partial(loss_of, state, batch=batch, part=part), has_aux=True)
        (loss, (measures, batch_stats)), gradients = value_and_grad(state.params)
        return (loss, measures, gradients), batch_stats

    if state.accumulate == 1:
        means, batch_stats = of_part(state, batch, 0)
        return *means, batch_stats

    def one(carry: tuple[Any, Any], numbered: tuple[jax.Array, Batch]) -> tuple[tuple[Any, Any], None]:
        sums, batch_stats = carry
        means, batch_stats = of_part(dataclasses.replace(state, batch_stats=batch_stats), numbered[1], numbered[0])
        return (jax.tree.map(jnp.add, sums, means), batch_stats), None

    nothing = {name: jnp.float32(0) for name in state.task.logged}
    zeros = (jnp.float32(0), nothing, jax.tree.map(jnp.zeros_like, state.params))
    (sums, batch_stats), _ = lax.scan(
        one, (zeros, state.batch_stats), (jnp.arange(state.accumulate), _cut(state, batch))
    )
    return *jax.tree.map(lambda total: total / state.accumulate, sums), batch_stats


def _next_average(state: TrainState, variables: Any) -> Any:
    """Return the moving average after an update.

    Its decay is at most (1 + n) / (10 + n) after n updates, so that it soon forgets the first weights: as TensorFlow's
    ExponentialMovingAverage has it, and timm's.
    """
    decay = state.hyperparameters.ema_decay
    if decay is None:
        return None
    updates = jnp.asarray(state.step + 1, jnp.float32)
    decay = jnp.minimum(decay, (1 + updates) / (10 + updates))
    return optax.incremental_update(variables, state.average, 1 - decay)


def run_block(
    state: TrainState,
    batches: Batches,
    steps: jax.Array,
    finite: jax.Array | bool = True,
    process_flags: jax.Array | None = None,
    *,
    most_steps: int,
) -> tuple[TrainState, jax.Array, dict[str, jax.Array]]:
    """Make several steps in one program, each on the batch that the state's own step says.

    The number of steps is a value, not a constant: the loop is one compiled program for blocks of any length, so that
    where a run is logged, saved or interrupted changes neither its bits nor the number of compilations. A step whose
    loss, gradient or update is not finite ends the block, and its update is not made.

    Args:
        state: as for `train_step`; its memory is taken over.
        batches: of the block's steps.
        steps: how many, an int32 scalar, at most `most_steps` and not past the end of the batches.
        finite: whether the block before this one was; where not, no step is made. So a block can be started before it
            is known how the one before it ends.
        process_flags: what each process has to tell the others, int32 (devices, K); None where there is only one.
        most_steps: the longest block; static.

    Returns:
        The state after the block; the loss of each step, (most_steps,) float32, 0 after the last; and the metrics of
        the last step, as `train_step` gives them. Where their `finite` is False, the state is the one before that step.
        With them `steps`, how many were made, the faulty one included, and the largest of each column of the flags.
    """

    def go_on(carry: _Carry) -> jax.Array:
        index, _, _, metrics = carry
        return (index < steps) & metrics["finite"]

    def one(carry: _Carry) -> _Carry:
        index, state, losses, _ = carry
        next_state, metrics = train_step(state, *batches.batch(state.step))
        next_state = jax.tree.map(partial(jnp.where, metrics["finite"]), next_state, state)
        return index + 1, next_state, losses.at[index].set(metrics["loss"]), metrics

    kinds = jax.eval_shape(lambda: train_step(state, *batches.batch(state.step)))[1]
    nothing = {**jax.tree.map(lambda kind: jnp.zeros(kind.shape, kind.dtype), kinds), "finite": jnp.asarray(finite)}
    start = (jnp.int32(0), state, jnp.zeros((most_steps,)), nothing)
    made, state, losses, metrics = lax.while_loop(go_on, one, start)
    metrics["steps"] = made
    if process_flags is not None:
        # Made to need the loop's result: XLA:CPU keeps the order of the sums over processes of one computation, but not
        # with those of a loop in it, and takes one for the other. A barrier would not do, since XLA removes it before.
        metrics["process_flags"] = jnp.where(made >= 0, process_flags, 0).max(0)
    return state, losses, metrics


train_block = jax.jit(run_block, donate_argnums=0, static_argnames="most_steps")
"""`run_block` as one program, which takes over the memory of the state that it is given."""
