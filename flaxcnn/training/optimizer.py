"""Optax optimizers with runtime hyperparameters, so changing a value does not recompile.

The kind of optimizer, whether gradients are clipped, and the schedule are part of the compiled program. All other
numbers are part of the state.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax

from flaxcnn.training.schedules import CONSTANT, Schedule


@dataclass(frozen=True)
class RuntimeOptimizer:
    """An optax optimizer whose hyperparameters are part of its state, in the dictionary `opt_state.hyperparams`.

    It has the `init` and `update` of `optax.GradientTransformation`. Its state is a tree of arrays: hyperparameters are
    float32 scalars, and `opt_state.count`, an int32 scalar, counts the updates for the schedule. Optimizers that differ
    only in hyperparameter values compare equal, because only `init` reads the values; a jitted step therefore compiles
    once for all of them. To change a value in a state, replace it by a `jnp.float32`.

    Attributes:
        make: one of this module's functions from named hyperparameters to an optax optimizer.
        hyperparameters: the values that `init` puts into the state; `learning_rate` is the peak.
        schedule: the learning rate's factor for each update.
        names: the names of the hyperparameters; derived.
    """

    make: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, float] = field(compare=False)
    schedule: Schedule = CONSTANT
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.hyperparameters))

    def init(self, params: Any) -> optax.OptState:
        """Return the initial state for float32 parameters."""
        return self._injected.init(params)

    def with_own_values(self, state: optax.OptState) -> optax.OptState:
        """Return the state with this optimizer's hyperparameter values; an equal optimizer may have created it."""
        values = {name: jnp.float32(value) for name, value in self.hyperparameters.items()}
        return state._replace(hyperparams=values)

    def update(self, gradients: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        """Return the updates to add to the parameters, and the next state.

        Args:
            gradients: gradients with the structure of the parameters.
            state: from `init` or the previous update.
            params: the parameters; only `adam` does not need them.
        """
        peak = jnp.asarray(state.hyperparams["learning_rate"], jnp.float32)
        scheduled = state._replace(hyperparams={**state.hyperparams, "learning_rate": self.learning_rate(state)})
        updates, next_state = self._injected.update(gradients, scheduled, params)
        return updates, next_state._replace(hyperparams={**next_state.hyperparams, "learning_rate": peak})

    def learning_rate(self, state: optax.OptState) -> jax.Array:
        """Return the learning rate of the next update, a float32 scalar: the peak times the schedule's factor."""
        return jnp.asarray(state.hyperparams["learning_rate"] * self.schedule(state.count), jnp.float32)

    @property
    def _injected(self) -> optax.GradientTransformation:
        # Integers become floats, because optax would keep them int32. The dtype is float32 for all parameters, because
        # bfloat16 rounds 0.999 to 1.
        values = {name: float(value) for name, value in self.hyperparameters.items()}
        return optax.inject_hyperparams(self.make, hyperparam_dtype=jnp.float32)(**values)


def adam(
    learning_rate: float = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    clip_norm: float | None = None,
    schedule: Schedule = CONSTANT,
) -> RuntimeOptimizer:
    """Return `optax.adam` with runtime hyperparameters. It has no weight decay.

    Source: D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.

    Args:
        learning_rate: learning rate at the schedule's peak.
        b1: decay rate of the first moment.
        b2: decay rate of the second moment.
        eps: added to the square root of the second moment.
        clip_norm: maximum global norm of the gradients; larger gradients are scaled down first. None for no clipping.
        schedule: learning-rate schedule.
    """
    rule = {"learning_rate": learning_rate, "b1": b1, "b2": b2, "eps": eps}
    return RuntimeOptimizer(_adam, _with_clipping(rule, clip_norm), schedule)


def adamw(
    learning_rate: float = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    weight_decay: float = 1e-2,
    clip_norm: float | None = None,
    schedule: Schedule = CONSTANT,
) -> RuntimeOptimizer:
    """Return `optax.adamw`, Adam with decoupled weight decay: it subtracts learning_rate x weight_decay x kernel.

    Only kernels decay (parameters with two or more axes), not biases, of any shape, or normalisation scales.

    Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2, with alpha = 1
    and, as in optax and PyTorch, with the decay multiplied by the learning rate.

    Args:
        learning_rate: learning rate at the schedule's peak.
        b1: decay rate of the first moment.
        b2: decay rate of the second moment.
        eps: added to the square root of the second moment.
        weight_decay: fraction of a kernel that an update subtracts, divided by the learning rate.
        clip_norm: as for `adam`.
        schedule: schedule of the learning rate, and so of the decay.
    """
    rule = {"learning_rate": learning_rate, "weight_decay": weight_decay, "b1": b1, "b2": b2, "eps": eps}
    return RuntimeOptimizer(_adamw, _with_clipping(rule, clip_norm), schedule)


def sgd(
    learning_rate: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    *,
    clip_norm: float | None = None,
    schedule: Schedule = CONSTANT,
) -> RuntimeOptimizer:
    """Return stochastic gradient descent with momentum as in PyTorch: velocity = momentum x velocity + gradient.

    Weight decay is L2 regularisation: weight_decay x kernel is added to the gradient, after clipping and before
    momentum. Only kernels decay (parameters with two or more axes), not biases, of any shape, or normalisation scales.

    Source: I. Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, in the
    form of `torch.optim.SGD` with a dampening of 0; the recipe of K. He et al., "Deep Residual Learning", CVPR 2016.

    Args:
        learning_rate: learning rate at the schedule's peak.
        momentum: decay rate of the velocity; 0 for none.
        nesterov: step along momentum x velocity + gradient instead of the velocity.
        weight_decay: weight decay of kernels.
        clip_norm: as for `adam`.
        schedule: learning-rate schedule.
    """
    rule = {"learning_rate": learning_rate, "momentum": momentum, "weight_decay": weight_decay}
    return RuntimeOptimizer(_nesterov_sgd if nesterov else _sgd, _with_clipping(rule, clip_norm), schedule)


def lion(
    learning_rate: float = 1e-4,
    b1: float = 0.9,
    b2: float = 0.99,
    *,
    weight_decay: float = 1e-3,
    clip_norm: float | None = None,
    schedule: Schedule = CONSTANT,
) -> RuntimeOptimizer:
    """Return `optax.lion`, which uses the sign of each update, with decoupled weight decay as for `adamw`.

    Source: X. Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, algorithm 2.

    Args:
        learning_rate: learning rate at the schedule's peak; usually a tenth to a third of Adam's.
        b1: weight of the momentum, against the gradient, in the update direction.
        b2: decay rate of the momentum.
        weight_decay: as for `adamw`; usually three to ten times Adam's.
        clip_norm: as for `adam`.
        schedule: schedule of the learning rate, and so of the decay.
    """
    rule = {"learning_rate": learning_rate, "weight_decay": weight_decay, "b1": b1, "b2": b2}
    return RuntimeOptimizer(_lion, _with_clipping(rule, clip_norm), schedule)


def _with_clipping(rule: Mapping[str, float], clip_norm: float | None) -> dict[str, float]:
    return dict(rule) if clip_norm is None else {**rule, "clip_norm": clip_norm}


# The values of `RuntimeOptimizer.make`. Their arguments have the names of the hyperparameters in the state.

_Number = jax.Array | float


def _adam(
    learning_rate: _Number, b1: _Number, b2: _Number, eps: _Number, clip_norm: _Number | None = None
) -> optax.GradientTransformation:
    return _clipped(clip_norm, optax.adam(learning_rate, b1, b2, eps))


def _adamw(
    learning_rate: _Number,
    weight_decay: _Number,
    b1: _Number,
    b2: _Number,
    eps: _Number,
    clip_norm: _Number | None = None,
) -> optax.GradientTransformation:
    rule = optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=_decays)
    return _clipped(clip_norm, rule)


def _sgd(
    learning_rate: _Number,
    momentum: _Number,
    weight_decay: _Number,
    clip_norm: _Number | None = None,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    decay = optax.add_decayed_weights(weight_decay, mask=_decays)
    return _clipped(clip_norm, optax.chain(decay, optax.sgd(learning_rate, momentum, nesterov)))


def _nesterov_sgd(
    learning_rate: _Number, momentum: _Number, weight_decay: _Number, clip_norm: _Number | None = None
) -> optax.GradientTransformation:
    return _sgd(learning_rate, momentum, weight_decay, clip_norm, nesterov=True)


def _lion(
    learning_rate: _Number, weight_decay: _Number, b1: _Number, b2: _Number, clip_norm: _Number | None = None
) -> optax.GradientTransformation:
    return _clipped(clip_norm, optax.lion(learning_rate, b1, b2, weight_decay=weight_decay, mask=_decays))


def _clipped(clip_norm: _Number | None, rule: optax.GradientTransformation) -> optax.GradientTransformation:
    return rule if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), rule)


def _decays(params: Any) -> Any:
    """Return which parameters decay: kernels, by their axes, since a user may call one otherwise; no bias has that many
    but those of positions in attention, by their name.
    """

    def decays(path: Any, parameter: Any) -> bool:
        return parameter.ndim >= 2 and not str(getattr(path[-1] if path else "", "key", "")).endswith("bias")

    return jax.tree_util.tree_map_with_path(decays, params)
