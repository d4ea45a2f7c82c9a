"""One training step, and a block of them in one program."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from flaxcnn.layers.pixels import to_float
from flaxcnn.training.state import TrainState, as_variables


@partial(jax.jit, donate_argnums=0)
def train_step(
    state: TrainState, images_BHWC: jax.Array, labels_B: jax.Array
) -> tuple[TrainState, Mapping[str, jax.Array]]:
    """Make one update on one batch: softmax cross-entropy, its gradient, the optimizer's step.

    The function is pure, and compiled once for a shape of batch. It takes over the memory of the state that it is given
    (`donate_argnums`): go on with the state that it returns.

    Args:
        state: as `create_state` or the last step gave it.
        images_BHWC: uint8, divided by 255 here, or floating-point, taken as they are; (B, H, W, C).
        labels_B: integers in [0, classes); (B,).

    Returns:
        The next state, and float32 scalars of this batch, computed before the update: `loss`, the mean cross-entropy in
        nats, and `accuracy`, a fraction of 1.
    """
    images = to_float(images_BHWC)

    def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        variables = as_variables(params, state.batch_stats)
        (logits, _), updated = state.model.apply(variables, images, train=True, mutable=["batch_stats"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels_B).mean()
        return loss, (logits, updated.get("batch_stats", state.batch_stats))

    (loss, (logits, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = state.optimizer.update(gradients, state.opt_state, state.params)
    next_state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    return next_state, {"loss": loss, "accuracy": jnp.mean(jnp.argmax(logits, -1) == labels_B)}


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
) -> tuple[TrainState, jax.Array]:
    """Make several steps in one program, each on the batch that the state's own step says.

    The number of steps is a value, not a constant: the loop is one compiled program for blocks of any length, so that
    where a run is logged, saved or interrupted changes neither its bits nor the number of compilations.

    Args:
        state: as for `train_step`; its memory is taken over.
        images_NHWC: all training images, uint8, on the device.
        labels_N: all training labels.
        order_N: the order of examples in the epoch that `state.step` is in, int32 indices.
        steps: how many, an int32 scalar, at most `most_steps` and not past the epoch's end.
        batch_size: images a step; static.
        most_steps: the longest block; static.

    Returns:
        The state after the block, and the loss of each step, (most_steps,) float32, NaN after the last.
    """
    steps_per_epoch = order_N.shape[0] // batch_size

    def one(index: jax.Array, carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
        state, losses = carry
        first = (state.step % steps_per_epoch) * batch_size
        batch = lax.dynamic_slice_in_dim(order_N, first, batch_size)
        state, metrics = train_step(state, images_NHWC[batch], labels_N[batch])
        return state, losses.at[index].set(metrics["loss"])

    return lax.fori_loop(0, steps, one, (state, jnp.full((most_steps,), jnp.nan)))
