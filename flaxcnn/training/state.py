"""The state of a training: one pytree, made from a seed and nothing else."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from flaxcnn.keys import Purpose, key_for
from flaxcnn.layers.augmentation import Augmentation
from flaxcnn.training.optimizer import RuntimeOptimizer


@flax.struct.dataclass
class TrainState:
    """Everything that a step reads and writes.

    Attributes:
        step: updates made so far, an int32 scalar.
        seed: of all randomness, a uint32 scalar; no key is carried (`flaxcnn.keys`).
        params: the model's parameters.
        batch_stats: the model's running statistics; {} where it has none.
        opt_state: the optimizer's state, its learning rate and other hyperparameters included.
        model: the module, part of the tree's structure and not of its leaves.
        optimizer: has optax's `init` and `update`; likewise.
        augmentations: of the training images, in order; likewise.
    """

    step: jax.Array
    seed: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    model: nn.Module = flax.struct.field(pytree_node=False)
    optimizer: RuntimeOptimizer | optax.GradientTransformation = flax.struct.field(pytree_node=False)
    augmentations: tuple[Augmentation, ...] = flax.struct.field(pytree_node=False, default=())

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as `model.apply` takes them."""
        return as_variables(self.params, self.batch_stats)


def as_variables(params: Any, batch_stats: Any) -> dict[str, Any]:
    """Return the variables of a model; a collection that is empty is left out, as `model.init` does."""
    return {"params": params, "batch_stats": batch_stats} if batch_stats else {"params": params}


def create_state(
    model: nn.Module,
    optimizer: RuntimeOptimizer | optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: int = 0,
    augmentations: tuple[Augmentation, ...] = (),
) -> TrainState:
    """Return the state before the first step.

    Args:
        model: as `flaxcnn.models.create` gives it, or any module with its interface.
        optimizer: as `flaxcnn.training.adam` gives it, or any of optax's.
        image_shape: (H, W, C).
        seed: of the weights, of dropout and of augmentation.
        augmentations: of the training images, in order (`flaxcnn.layers.augmentation`).
    """

    def initialize() -> tuple[Any, Any, optax.OptState]:
        images = jnp.zeros((1, *image_shape), jnp.float32)
        variables = model.init(key_for(seed, Purpose.WEIGHTS), images)
        return variables["params"], variables.get("batch_stats", {}), optimizer.init(variables["params"])

    params, batch_stats, opt_state = jax.jit(initialize)()
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        model=model,
        optimizer=optimizer,
        augmentations=augmentations,
    )
