"""The optimizers: optax's, with hyperparameters that are values at run time, so one compilation serves them all.

What kind it is, whether gradients are clipped and how the learning rate is scheduled is part of the program; every
number but the schedule's is part of the state.
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
    """An optax optimizer whose hyperparameters stand in its state, as `opt_state.hyperparams`, by name.

    It has the `init` and `update` of `optax.GradientTransformation`. Its state is a tree of arrays: hyperparameters are
    float32 scalars, and `opt_state.count`, an int32 scalar, is the number of updates made, which the schedule goes by.
    Two that differ in the values of their hyperparameters alone are equal, for only `init` reads these: so a jitted
    step is compiled once for all of them. To change a value in a state, put a `jnp.float32` in its place.

    Attributes:
        make: one of this module's functions from hyperparameters, by name, to an optax optimizer.
        hyperparameters: the values that `init` puts into the state; `learning_rate` is the peak.
        schedule: the factor of the learning rate, for each update.
        names: of the hyperparameters; follows from them.
    """

    make: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, float] = field(compare=False)
    schedule: Schedule = CONSTANT
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.hyperparameters))

    def init(self, params: Any) -> optax.OptState:
        """Return the state before the first update, for parameters of float32."""
        return self._injected.init(params)

    def with_own_values(self, state: optax.OptState) -> optax.OptState:
        """Return a state, which an equal optimizer may have made, with this one's hyperparameters."""
        values = {name: jnp.float32(value) for name, value in self.hyperparameters.items()}
        return state._replace(hyperparams=values)

    def update(self, gradients: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        """Return the updates to add to the parameters, and the next state.

        Args:
            gradients: of the parameters, a tree of their structure.
            state: as `init` or the last update gave it.
            params: the parameters; only `adam` can do without.
        """
        peak = jnp.asarray(state.hyperparams["learning_rate"], jnp.float32)
        scheduled = state._replace(hyperparams={**state.hyperparams, "learning_rate": self.learning_rate(state)})
        updates, next_state = self._injected.update(gradients, scheduled, params)
        return updates, next_state._replace(hyperparams={**next_state.hyperparams, "learning_rate": peak})

    def learning_rate(self, state: optax.OptState) -> jax.Array:
        """Return the learning rate of the next update, the peak times the schedule's factor; a float32 scalar."""
        return jnp.asarray(state.hyperparams["learning_rate"] * self.schedule(state.count), jnp.float32)

    @property
    def _injected(self) -> optax.GradientTransformation:
        # Whole numbers are made floats, for optax would leave them int32; and float32 whatever the parameters are, for
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
    """Return `optax.adam` with hyperparameters that are values at run time; it has no weight decay.

    Source: D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.

    Args:
        learning_rate: step size, at the schedule's peak.
        b1: decay of the mean of gradients.
        b2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
        clip_norm: gradients of a larger norm, over all parameters together, are first scaled down to it; None for no
            clipping.
        schedule: of the learning rate.
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
    """Return `optax.adamw`, Adam with decoupled weight decay: each update takes off learning_rate x weight_decay.

    Kernels decay (parameters of two axes or more); biases and the scales of normalisations do not.

    Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2, whose alpha is
    1 here and whose decay is, as in optax and PyTorch, times the learning rate.

    Args:
        learning_rate: step size, at the schedule's peak.
        b1: decay of the mean of gradients.
        b2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
        weight_decay: what a kernel loses in an update, as a fraction of itself and of the learning rate.
        clip_norm: as for `adam`.
        schedule: of the learning rate, and so of the decay.
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
    """Return stochastic gradient descent with momentum, as PyTorch has it: velocity = momentum x velocity + gradient.

    The decay is L2 regularisation: weight_decay x kernel is added to the gradient, after clipping and before momentum.
    Kernels decay (parameters of two axes or more); biases and the scales of normalisations do not.

    Source: I. Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, in the
    form of `torch.optim.SGD` with a dampening of 0; the recipe of K. He et al., "Deep Residual Learning", CVPR 2016.

    Args:
        learning_rate: step size, at the schedule's peak.
        momentum: decay of the velocity; 0 for none.
        nesterov: step along momentum x velocity + gradient instead of the velocity.
        weight_decay: of kernels.
        clip_norm: as for `adam`.
        schedule: of the learning rate.
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
    """Return `optax.lion`, which steps by signs, with decoupled weight decay of kernels as for `adamw`.

    Source: X. Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, algorithm 2.

    Args:
        learning_rate: step size, at the schedule's peak; a tenth to a third of Adam's.
        b1: share of the momentum, not of the gradient, in the direction of the step.
        b2: decay of the momentum.
        weight_decay: as for `adamw`; three to ten times Adam's.
        clip_norm: as for `adam`.
        schedule: of the learning rate, and so of the decay.
    """
    rule = {"learning_rate": learning_rate, "weight_decay": weight_decay, "b1": b1, "b2": b2}
    return RuntimeOptimizer(_lion, _with_clipping(rule, clip_norm), schedule)


def _with_clipping(rule: Mapping[str, float], clip_norm: float | None) -> dict[str, float]:
    return dict(rule) if clip_norm is None else {**rule, "clip_norm": clip_norm}


# What `RuntimeOptimizer.make` can be. The names of the arguments are those of the hyperparameters in the state.

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
    return jax.tree.map(lambda each: each.ndim >= 2, params)
