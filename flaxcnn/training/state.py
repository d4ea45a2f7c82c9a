"""The training state: one pytree, created from a seed."""

import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from flaxcnn.adapters import FlaxModule
from flaxcnn.errors import ContractError
from flaxcnn.keys import Purpose, compiler_options, key_for
from flaxcnn.layers.augmentation import Augmentation, Mixing, Mosaic
from flaxcnn.layers.pixels import CONSTANTS, split_constants
from flaxcnn.tasks import Task, default_task
from flaxcnn.training.hyperparameters import Hyperparameters
from flaxcnn.training.optimizer import RuntimeOptimizer
from flaxcnn.training.plan import Plan
from flaxcnn.training.planned import PlannedOptimizer


@flax.struct.dataclass
class TrainState:
    """Everything that a training step reads and updates.

    Attributes:
        step: number of updates so far, an int32 scalar.
        seed: seed of all randomness, a uint32 scalar; the state carries no random key (`flaxcnn.keys`).
        params: the model's parameters.
        batch_stats: the model's running statistics; {} if it has none.
        opt_state: the optimizer's state, including the learning rate and other hyperparameters.
        hyperparameters: further runtime hyperparameters of a step.
        augmentations: augmentations of the training images, in order; their strengths are leaves.
        mixup: MixUp, CutMix or mosaics of training examples; None for none.
        average: exponential moving average of the variables; None without one.
        constants: constants computed from training data, such as pixel means; {} for none. Updates do not change them.
        model: the module; static, part of the pytree's structure.
        optimizer: an optimizer with optax's `init` and `update`; static.
        task: the task; static.
        accumulate: number of parts into which a step splits its batch; static.
        norm_momentum: share of the running statistics that a step of batch normalisation keeps; None for the layers'
            own; static.
    """

    step: jax.Array
    seed: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    hyperparameters: Hyperparameters
    augmentations: tuple[Augmentation, ...]
    mixup: Mixing | Mosaic | None
    average: Any
    constants: dict[str, jax.Array]
    model: FlaxModule = flax.struct.field(pytree_node=False)
    optimizer: RuntimeOptimizer | optax.GradientTransformation = flax.struct.field(pytree_node=False)
    task: Task = flax.struct.field(pytree_node=False)
    accumulate: int = flax.struct.field(pytree_node=False, default=1)
    norm_momentum: float | None = flax.struct.field(pytree_node=False, default=None)

    @property
    def plan(self) -> Plan | None:
        """What is trained when; None where every step trains everything."""
        return self.optimizer.plan if isinstance(self.optimizer, PlannedOptimizer) else None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for evaluation, as `model.apply` takes them: the moving average if there is one."""
        learned = as_variables(self.params, self.batch_stats) if self.average is None else self.average
        return {**learned, CONSTANTS: self.constants} if self.constants else learned


def as_variables(params: Any, batch_stats: Any) -> dict[str, Any]:
    """Return a model's variables without empty collections, like `model.init`."""
    return {"params": params, "batch_stats": batch_stats} if batch_stats else {"params": params}


def create_state(
    model: FlaxModule,
    optimizer: RuntimeOptimizer | optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: int = 0,
    augmentations: tuple[Augmentation, ...] = (),
    *,
    mixup: Mixing | Mosaic | None = None,
    hyperparameters: Hyperparameters | None = None,
    accumulate: int = 1,
    norm_momentum: float | None = None,
    task: Task | None = None,
    constants: Mapping[str, ArrayLike] | None = None,
    variables: Any = None,
) -> TrainState:
    """Create the initial training state.

    Args:
        model: from `flaxcnn.models.create`, or any module with the same interface.
        optimizer: from `flaxcnn.training.adam` and its siblings, or any optax optimizer; `planned` freezes parameters,
            lets them begin later, or learn at other rates.
        image_shape: (H, W, C).
        seed: seed of the weights, of dropout and of augmentation.
        augmentations: augmentations of the training images, in order (`flaxcnn.layers.augmentation`).
        mixup: MixUp, CutMix or mosaics of training examples; None for none.
        hyperparameters: label smoothing, dropout, class weights and the decay of the moving average; None for none.
        accumulate: number of parts into which a step splits its batch.
        norm_momentum: share of the running statistics that a step of batch normalisation keeps, from 0 to below 1;
            None for the layers' own.
        task: the task; None for classification.
        constants: constants from training data (`Task.constants`, `pixel_mean` and `pixel_deviation`); None for none.
        variables: initial variables, as from `model.init`; None to draw them from the seed.

    Raises:
        ContractError: `variables` do not have the model's names, shapes and dtypes.
    """
    from_seed = jnp.uint32(seed)
    traced = isinstance(from_seed, jax.core.Tracer)  # then whoever traces says how it is compiled
    draw, start = _programs(quickly=not traced)
    if variables is None:
        params, batch_stats, opt_state = draw(from_seed, model, optimizer, image_shape)
    else:
        drawn = partial(_draw, model=model, optimizer=optimizer, image_shape=image_shape)
        params, batch_stats = _given(variables, *jax.eval_shape(drawn, from_seed)[:2])
        opt_state = _owned(start(params, optimizer))
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
        norm_momentum=norm_momentum,
    )


@functools.cache
def _programs(quickly: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return `_draw` and `_start`, compiled once for all seeds and hyperparameters."""
    compiled = partial(jax.jit, compiler_options=compiler_options() if quickly else None)
    return compiled(_draw, static_argnums=(1, 2, 3)), compiled(_start, static_argnums=1)


def _draw(
    seed: jax.Array,
    model: FlaxModule,
    optimizer: RuntimeOptimizer | optax.GradientTransformation,
    image_shape: tuple[int, int, int],
) -> tuple[Any, Any, optax.OptState]:
    """Return parameters, batch statistics and the optimizer's state."""
    images = jnp.zeros((1, *image_shape), jnp.float32)
    variables = model.init(key_for(seed, Purpose.WEIGHTS), images)
    return variables["params"], variables.get("batch_stats", {}), optimizer.init(variables["params"])


def _start(params: Any, optimizer: RuntimeOptimizer | optax.GradientTransformation) -> optax.OptState:
    """Return the optimizer's state for given parameters, which it may keep a copy of."""
    return optimizer.init(params)


def _given(variables: Any, params: Any, batch_stats: Any) -> tuple[Any, Any]:
    """Return the given parameters and batch statistics; raises ContractError if they do not fit the model."""
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
    """Return a tree with its numbers copied to new arrays, because a step donates the memory of its state.

    The arrays are strongly typed: Python numbers are weakly typed, and a restored state would trigger a recompilation.
    """
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.result_type(leaf)), tree)
