"""The state of a training: one pytree, made from a seed and nothing else."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from flaxcnn.adapters import FlaxModule
from flaxcnn.errors import ContractError
from flaxcnn.keys import Purpose, key_for
from flaxcnn.layers.augmentation import Augmentation, MixUp
from flaxcnn.layers.pixels import CONSTANTS, split_constants
from flaxcnn.tasks import Task, default_task
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
        constants: what training data fixed, as the means of pixels; {} for nothing. No update changes it.
        model: the module, part of the tree's structure and not of its leaves.
        optimizer: has optax's `init` and `update`; likewise.
        task: says what is learned; likewise.
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
    constants: dict[str, jax.Array]
    model: FlaxModule = flax.struct.field(pytree_node=False)
    optimizer: RuntimeOptimizer | optax.GradientTransformation = flax.struct.field(pytree_node=False)
    task: Task = flax.struct.field(pytree_node=False)
    accumulate: int = flax.struct.field(pytree_node=False, default=1)

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that are evaluated and kept, as `model.apply` takes them: the average where there is one."""
        learned = as_variables(self.params, self.batch_stats) if self.average is None else self.average
        return {**learned, CONSTANTS: self.constants} if self.constants else learned


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
    task: Task | None = None,
    constants: Mapping[str, ArrayLike] | None = None,
    variables: Any = None,
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
        task: says what is learned; None for classification.
        constants: what training data fix (`Task.constants`, and `pixel_mean` and `pixel_deviation`); None for nothing.
        variables: to start from, as `model.init` gives them, in place of those that the seed draws.

    Raises:
        ContractError: the variables to start from are not the model's.
    """
    params, batch_stats, opt_state = _initialize(jnp.uint32(seed), model, optimizer, image_shape)
    if variables is not None:
        params, batch_stats = _given(variables, params, batch_stats)
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
        constants=_owned(dict(constants or {})),
        model=model,
        optimizer=optimizer,
        task=default_task() if task is None else task,
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


def _given(variables: Any, params: Any, batch_stats: Any) -> tuple[Any, Any]:
    """Return parameters and statistics to start from; raises ContractError where they are not those of the model."""
    wanted, found = as_variables(params, batch_stats), split_constants(variables)[0]
    ours, theirs = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): (jnp.shape(leaf), str(jnp.result_type(leaf)))
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (wanted, found)
    )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            expected, got = ours.get(name, "no such variable"), theirs.get(name, "none")
            raise ContractError("not the model's variables", where=name, expected=str(expected), found=str(got))
    given = _owned(found)
    return given["params"], given.get("batch_stats", {})


def _owned(tree: Any) -> Any:
    """Return a tree's numbers as arrays of their own: a state is saved, and a step takes the memory of its state over.

    With a type of their own as well: Python's numbers are weakly typed, and a restored state would not fit the program.
    """
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.result_type(leaf)), tree)
