"""One training step, and a block of steps in one compiled program."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from flaxcnn.adapters import evaluating, keeping
from flaxcnn.errors import DataError
from flaxcnn.keys import Purpose, key_for
from flaxcnn.layers.augmentation import Mosaic, augment, mix, sources, tiled
from flaxcnn.layers.augmentation.mosaic import PARTS
from flaxcnn.layers.examples import check_examples
from flaxcnn.layers.pixels import normalised, to_float
from flaxcnn.training.batches import Batches
from flaxcnn.training.optimizer import RuntimeOptimizer
from flaxcnn.training.plan import merged
from flaxcnn.training.state import TrainState, as_variables

_Carry = tuple[jax.Array, TrainState, jax.Array, dict[str, jax.Array]]  # of a block: index, state, losses, metrics


class Batch(NamedTuple):
    """An augmented batch of training examples.

    Attributes:
        images: float32 (B, H, W, C).
        targets: the images' targets, arrays (B, ...).
        partners: targets of the images mixed in by MixUp or CutMix, like `targets`; None without.
        shares: weight of `targets` in the loss, float32 (B,); `partners` have the rest. None without.
    """

    images: jax.Array
    targets: Any
    partners: Any = None
    shares: jax.Array | None = None


@partial(jax.jit, donate_argnums=0, static_argnames="check_targets")
def train_step(
    state: TrainState, images_BHWC: jax.Array, targets: Any, *, check_targets: bool = False
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Run one training step on a batch: augmentation, the task's loss, its gradient, the optimizer's update.

    The function is pure and compiled once per batch shape. All randomness follows from the state's seed and step. The
    function donates the memory of `state` (`donate_argnums`), so use only the returned state afterwards.

    With gradient accumulation (`state.accumulate`), the parts of the batch are computed one after the other and their
    gradients are averaged. The update equals that of the whole batch up to rounding, with two exceptions: batch
    normalisation sees one part at a time, and dropout draws a new mask for each part.

    Args:
        state: from `create_state` or the previous step.
        images_BHWC: uint8, divided by 255 here, or floating-point, used unchanged; (B, H, W, C).
        targets: the images' targets, arrays (B, ...); for a classifier integers in [0, classes). A label out of range
            makes `loss` NaN and `finite` False; do not use that update.
        check_targets: whether the program checks the targets' range and names the first wrong one; static. It needs
            `chex.chexify` or `checkify.checkify`, which compile programs with checks, and costs time.

    Returns:
        The next state, and float32 scalars of this batch and update: `loss`, the mean over the batch of what is
        minimised (`Task.losses`), and the task's logged metrics, all computed before the
        update; `learning_rate` of the update; `gradient_norm`, the gradient's over all parameters, before clipping;
        `update_ratio`, the norm of the update over that of the parameters before it. And `finite`, a boolean: whether
        all of these, every gradient and every updated parameter and statistic are.

    Raises:
        DataError: images that are not (B, H, W, C) or an empty batch; targets that do not fit; or a batch that does
            not divide into the state's parts. All are raised when the step is traced.
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
    batch, plan = augmented_batch(state, images_BHWC, targets), state.plan
    if plan is None or plan.phases == 1:
        return _updated(state, batch, 0)
    phases = [partial(_updated, phase=phase) for phase in range(plan.phases)]
    return lax.switch(plan.phase_at(state.step), phases, state, batch)


def _updated(state: TrainState, batch: Batch, phase: int) -> tuple[TrainState, dict[str, jax.Array]]:
    """Return the state after an update by an augmented batch, and the metrics of it, as `train_step`."""
    loss, measures, gradients, batch_stats = _gradients(state, batch, phase)
    updates, opt_state = state.optimizer.update(gradients, state.opt_state, state.params)
    trained, others = parted(state, phase)
    gradient_norm, update_norm, norm = map(optax.tree.norm, (gradients, updates, state.params))
    params = optax.apply_updates(trained, updates)
    params = params if others is None else merged(params, others)
    metrics = {"loss": loss, **measures, "gradient_norm": gradient_norm, "update_ratio": update_norm / norm}
    # A sum of squares is finite only where all that is summed is, and two numbers of finite norm have a finite sum: so
    # the norms speak for every gradient, update and parameter, old and new. To ask each array takes a quarter of the
    # program's loops.
    computed = (metrics, update_norm, norm, batch_stats)
    metrics["finite"] = jnp.stack([jnp.isfinite(each).all() for each in jax.tree.leaves(computed)]).all()
    if isinstance(state.optimizer, RuntimeOptimizer):
        metrics["learning_rate"] = state.optimizer.learning_rate(state.opt_state)
    next_state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        average=_next_average(state, as_variables(params, batch_stats), phase),
    )
    return next_state, metrics


def parted(state: TrainState, phase: int) -> tuple[Any, dict[str, Any] | None]:
    """Return the parameters that a phase trains, as a tree, and the others by path; None where there are no others."""
    return (state.params, None) if state.plan is None else state.plan.split(state.params, phase)


def _width(state: TrainState, images_BHWC: jax.Array) -> int:
    """Return the number of outputs of a state's model, without computing them."""
    outputs, _ = jax.eval_shape(lambda: apply_for_training(state, state.params, to_float(images_BHWC)))
    return int(jax.tree.leaves(outputs)[0].shape[-1])


def augmented_batch(state: TrainState, images_BHWC: jax.Array, targets: Any) -> Batch:
    """Return the batch that the state's step trains on: as floats, augmented, and mixed if the state says so."""
    key = key_for(state.seed, Purpose.AUGMENTATION, state.step)
    images = augment(state.augmentations, key, to_float(images_BHWC))
    if state.task.moves and state.augmentations:
        batch, height, width, _ = images.shape
        targets = jax.vmap(state.task.move)(targets, sources(state.augmentations, key, batch, (height, width)))
    if state.mixup is None:
        return Batch(images, targets)
    key = key_for(state.seed, Purpose.MIXUP, state.step)
    if isinstance(state.mixup, Mosaic):
        images, tiles = tiled(state.mixup, key, images)
        parts = [jax.tree.map(partial(jnp.roll, shift=-part, axis=0), targets) for part in range(PARTS)]
        return Batch(images, jax.vmap(state.task.tile)(parts, tiles))
    images, shares = mix(state.mixup, key, images)
    return Batch(images, targets, jax.tree.map(lambda array: jnp.roll(array, -1, axis=0), targets), shares)


def parts_of(state: TrainState, batch: Batch) -> list[Batch]:
    """Return the parts into which a step splits its batch, in order."""
    cut = _cut(state, batch)
    return [jax.tree.map(lambda array, part=part: array[part], cut) for part in range(state.accumulate)]


def _cut(state: TrainState, batch: Batch) -> Batch:
    """Return a batch with a leading axis for its parts."""
    cut: Batch = jax.tree.map(lambda array: array.reshape(state.accumulate, -1, *array.shape[1:]), batch)
    return cut


def loss_of(
    state: TrainState, params: Any, batch: Batch, part: jax.Array | int = 0, phase: int = 0
) -> tuple[jax.Array, Any]:
    """Return the training loss, with the task's logged metrics and the next batch statistics.

    Args:
        state: provides everything except the parameters.
        params: the parameters.
        batch: a batch, or one of its parts.
        part: the number of the part.
        phase: of the state's plan.
    """
    outputs, batch_stats = apply_for_training(state, params, batch.images, part, phase)
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
    state: TrainState, params: Any, images_BHWC: jax.Array, part: jax.Array | int = 0, phase: int = 0, **options: Any
) -> tuple[jax.Array, Any]:
    """Return the outputs for float images in training mode, with dropout, and the next batch statistics.

    Args:
        state: provides everything except the parameters.
        params: the parameters.
        images_BHWC: float images, augmented.
        part: the number of this part of the batch.
        phase: of the state's plan; layers that it does not train compute as in evaluation.
        options: additional arguments of the model's `apply`.
    """
    key = key_for(state.seed, Purpose.DROPOUT, state.step)
    if state.accumulate > 1:
        key = jax.random.fold_in(key, part)
    if state.hyperparameters.dropout is not None:
        options["dropout"] = state.hyperparameters.dropout
    still = frozenset() if state.plan is None else state.plan.still(phase, params)
    with evaluating(still), keeping(state.norm_momentum):
        (outputs, _), updated = state.model.apply(
            as_variables(params, state.batch_stats),
            normalised(state.constants, images_BHWC),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
            **options,
        )
    return outputs, updated.get("batch_stats", state.batch_stats)


def _gradients(state: TrainState, batch: Batch, phase: int) -> tuple[jax.Array, Any, Any, Any]:
    """Return loss, measures, gradients and the next batch statistics of a batch, computed in the state's parts.

    The gradients are those of the parameters that the phase trains.
    """
    trained, others = parted(state, phase)

    def of_part(state: TrainState, batch: Batch, part: jax.Array | int) -> tuple[Any, Any]:
        def loss(trained: Any) -> tuple[jax.Array, Any]:
            return loss_of(state, trained if others is None else merged(trained, others), batch, part, phase)

        (value, (measures, batch_stats)), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
        return (value, measures, gradients), batch_stats

    if state.accumulate == 1:
        means, batch_stats = of_part(state, batch, 0)
        return *means, batch_stats

    def one(carry: tuple[Any, Any], numbered: tuple[jax.Array, Batch]) -> tuple[tuple[Any, Any], None]:
        sums, batch_stats = carry
        means, batch_stats = of_part(dataclasses.replace(state, batch_stats=batch_stats), numbered[1], numbered[0])
        return (jax.tree.map(jnp.add, sums, means), batch_stats), None

    nothing = {name: jnp.float32(0) for name in state.task.logged}
    zeros = (jnp.float32(0), nothing, jax.tree.map(jnp.zeros_like, trained))
    (sums, batch_stats), _ = lax.scan(
        one, (zeros, state.batch_stats), (jnp.arange(state.accumulate), _cut(state, batch))
    )
    return *jax.tree.map(lambda total: total / state.accumulate, sums), batch_stats


def _next_average(state: TrainState, variables: Any, phase: int) -> Any:
    """Return the moving average after an update; what the phase does not train stays as it is.

    Its decay is at most (1 + n) / (10 + n) after n updates, so that it soon forgets the first weights: as TensorFlow's
    ExponentialMovingAverage has it, and timm's.
    """
    decay = state.hyperparameters.ema_decay
    if decay is None:
        return None
    updates = jnp.asarray(state.step + 1, jnp.float32)
    decay = jnp.minimum(decay, (1 + updates) / (10 + updates))
    average = optax.incremental_update(variables, state.average, 1 - decay)
    return average if state.plan is None else state.plan.moved(average, state.average, phase)


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

    The number of steps is a runtime value, so one compiled program serves blocks of any length. Where a run is logged,
    saved or interrupted therefore changes neither its results nor the number of compilations. A step with a non-finite
    loss, gradient or update ends the block, and its update is discarded.

    Args:
        state: as for `train_step`; its memory is donated.
        batches: the block's batches.
        steps: the number of steps, an int32 scalar, at most `most_steps` and not past the end of the batches.
        finite: whether the previous block was finite; if not, no step runs. This allows a block to start before the
            result of the previous one is known.
        process_flags: each process's flags for the other processes, int32 (devices, K); None for a single process.
        most_steps: the maximum block length; static.

    Returns:
        The state after the block; each step's loss, float32 (most_steps,), 0 after the last step; and the metrics of
        the last step, as from `train_step`. If their `finite` is False, the state is from before that step. The metrics
        also hold `steps`, the number of steps run including the faulty one, and `process_flags`, the maximum of each
        column of the flags.
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
"""`run_block`, compiled; it donates the memory of its state."""
