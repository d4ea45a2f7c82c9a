"""The state of a training: one pytree, made from a seed and nothing else."""

from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from flaxcnn.adapters import FlaxModule
from flaxcnn.keys import Purpose, key_for
from flaxcnn.layers.augmentation import Augmentation, MixUp
from flaxcnn.training.hyperparameters import Hyperparameters
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
        hyperparameters: what else a step is told by value.
        augmentations: of the training images, in order; their strengths are leaves.
        mixup: mixes pairs of training examples; None for no mixing.
        average: the moving average of the variables; None where there is no decay for it.
        model: the module, part of the tree's structure and not of its leaves.
        optimizer: has optax's `init` and `update`; likewise.
        accumulate: parts into which a step cuts its batch; likewise.
    """

    step: jax.Array
    seed: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    hyperparameters: Hyperparameters
    augmentations: tuple[Augmentation, ...]
    mixup: MixUp | None
    average: Any
    model: FlaxModule = flax.struct.field(pytree_node=False)
    optimizer: RuntimeOptimizer | optax.GradientTransformation = flax.struct.field(pytree_node=False)
    accumulate: int = flax.struct.field(pytree_node=False, default=1)

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that are evaluated and kept, as `model.apply` takes them: the average where there is one."""
        return as_variables(self.params, self.batch_stats) if self.average is None else self.average


def as_variables(params: Any, batch_stats: Any) -> dict[str, Any]:
    """Return the variables of a model; a collection that is empty is left out, as `model.init` does."""
    return {"params": params, "batch_stats": batch_stats} if batch_stats else {"params": params}


def create_state(
    model: FlaxModule,
    optimizer: RuntimeOptimizer | optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: int = 0,
    augmentations: tuple[Augmentation, ...] = (),
    *,
    mixup: MixUp | None = None,
    hyperparameters: Hyperparameters | None = None,
    accumulate: int = 1,
) -> TrainState:
    """Return the state before the first step.

    Args:
        model: as `flaxcnn.models.create` gives it, or any module with its interface.
        optimizer: as `flaxcnn.training.adam` gives it, or any of optax's.
        image_shape: (H, W, C).
        seed: of the weights, of dropout and of augmentation.
        augmentations: of the training images, in order (`flaxcnn.layers.augmentation`).
        mixup: mixes pairs of training examples; None for no mixing.
        hyperparameters: smoothing, dropout, class weights and the average's decay; None for none of them.
        accumulate: parts into which a step cuts its batch.
    """
    params, batch_stats, opt_state = _initialize(jnp.uint32(seed), model, optimizer, image_shape)
    if isinstance(optimizer, RuntimeOptimizer):
        opt_state = optimizer.with_own_values(opt_state)
    hyperparameters = Hyperparameters.of() if hyperparameters is None else hyperparameters
    averaged = hyperparameters.ema_decay is not None
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        hyperparameters=_owned(hyperparameters),
        augmentations=_owned(augmentations),
        mixup=_owned(mixup),
        average=_owned(as_variables(params, batch_stats)) if averaged else None,
        model=model,
        optimizer=optimizer,
        accumulate=accumulate,
    )


@partial(jax.jit, static_argnums=(1, 2, 3))
def _initialize(
    seed: jax.Array,
    model: FlaxModule,
    optimizer: RuntimeOptimizer | optax.GradientTransformation,
    image_shape: tuple[int, int, int],
) -> tuple[Any, Any, optax.OptState]:
    """Return parameters, statistics and the optimizer's state; compiled once for all seeds and hyperparameters."""
    images = jnp.zeros((1, *image_shape), jnp.float32)
    variables = model.init(key_for(seed, Purpose.WEIGHTS), images)
    return variables["params"], variables.get("batch_stats", {}), optimizer.init(variables["params"])


def _owned(tree: Any) -> Any:
    """Return a tree's numbers as arrays of their own: a state is saved, and a step takes the memory of its state over.

    With a type of their own as well: Python's numbers are weakly typed, and a restored state would not fit the program.
    """
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.result_type(leaf)), tree)
