"""One training step, and a block of them in one program."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from flaxcnn.keys import Purpose, key_for
from flaxcnn.layers.augmentation import augment
from flaxcnn.layers.pixels import to_float
from flaxcnn.training.state import TrainState, as_variables


@partial(jax.jit, donate_argnums=0)
def train_step(
    state: TrainState, images_BHWC: jax.Array, labels_B: jax.Array
) -> tuple[TrainState, Mapping[str, jax.Array]]:
    """Make one update on one batch: augment, softmax cross-entropy, its gradient, the optimizer's step.

    The function is pure, and compiled once for a shape of batch. What is random in it follows from the state's seed and
    step. It takes over the memory of the state that it is given (`donate_argnums`): go on with the one that it returns.

    Args:
        state: as `create_state` or the last step gave it.
        images_BHWC: uint8, divided by 255 here, or floating-point, taken as they are; (B, H, W, C).
        labels_B: integers in [0, classes); (B,).

    Returns:
        The next state, and scalars of this batch, computed before the update: `loss`, the mean cross-entropy in nats,
        float32; `accuracy`, a fraction of 1, float32; `finite`, whether the loss, every gradient and every updated
        parameter and statistic is, a boolean.
    """
    images = augment(state.augmentations, key_for(state.seed, Purpose.AUGMENTATION, state.step), to_float(images_BHWC))

    def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        logits, batch_stats = apply_for_training(state, params, images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels_B).mean()
        return loss, (logits, batch_stats)

    (loss, (logits, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = state.optimizer.update(gradients, state.opt_state, state.params)
    next_state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    computed = (loss, gradients, next_state.params, next_state.batch_stats)
    finite = jnp.stack([jnp.isfinite(each).all() for each in jax.tree.leaves(computed)]).all()
    return next_state, {"loss": loss, "accuracy": jnp.mean(jnp.argmax(logits, -1) == labels_B), "finite": finite}


def apply_for_training(state: TrainState, params: Any, images_BHWC: jax.Array, **options: Any) -> tuple[jax.Array, Any]:
    """Return the logits of float images as a step computes them, dropout included, and the next batch statistics.

    Args:
        state: for all but the parameters.
        params: the parameters.
        images_BHWC: float images, augmented.
        options: more for the model's `apply`.
    """
    (logits, _), updated = state.model.apply(
        as_variables(params, state.batch_stats),
        images_BHWC,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key_for(state.seed, Purpose.DROPOUT, state.step)},
        **options,
    )
    return logits, updated.get("batch_stats", state.batch_stats)


@partial(jax.jit, donate_argnums=0, static_argnames=("batch_size", "most_steps"))
def train_block(
    state: TrainState,
    images_NHWC: jax.Array,
    labels_N: jax.Array,
    order_N: jax.Array,
    steps: jax.Array,
    *,
    batch_size: int,
    most_steps: int,
) -> tuple[TrainState, jax.Array, jax.Array]:
    """Make several steps in one program, each on the batch that the state's own step says.

    The number of steps is a value, not a constant: the loop is one compiled program for blocks of any length, so that
    where a run is logged, saved or interrupted changes neither its bits nor the number of compilations. A step whose
    loss, gradient or update is not finite ends the block, and its update is not made.

    Args:
        state: as for `train_step`; its memory is taken over.
        images_NHWC: all training images, uint8, on the device.
        labels_N: all training labels.
        order_N: the order of examples in the epoch that `state.step` is in, int32 indices.
        steps: how many, an int32 scalar, at most `most_steps` and not past the epoch's end.
        batch_size: images a step; static.
        most_steps: the longest block; static.

    Returns:
        The state after the block; the loss of each step, (most_steps,) float32, NaN after the last; and whether all
        losses, gradients and updates were finite, a boolean: where not, the state is the one before the faulty step.
    """

    def go_on(carry: tuple[jax.Array, TrainState, jax.Array, jax.Array]) -> jax.Array:
        index, _, _, finite = carry
        return (index < steps) & finite

    def one(
        carry: tuple[jax.Array, TrainState, jax.Array, jax.Array],
    ) -> tuple[jax.Array, TrainState, jax.Array, jax.Array]:
        index, state, losses, _ = carry
        batch = batch_indices(order_N, state.step, batch_size)
        next_state, metrics = train_step(state, images_NHWC[batch], labels_N[batch])
        next_state = jax.tree.map(partial(jnp.where, metrics["finite"]), next_state, state)
        return index + 1, next_state, losses.at[index].set(metrics["loss"]), metrics["finite"]

    start = (jnp.int32(0), state, jnp.full((most_steps,), jnp.nan), jnp.bool(True))
    _, state, losses, finite = lax.while_loop(go_on, one, start)
    return state, losses, finite


def batch_indices(order_N: jax.Array, step: jax.Array, batch_size: int) -> jax.Array:
    """Return which examples a step sees: its part of its epoch's order, int32 (batch_size,)."""
    steps_per_epoch = order_N.shape[0] // batch_size
    return lax.dynamic_slice_in_dim(order_N, (step % steps_per_epoch) * batch_size, batch_size)
