"""The optimizer: optax's Adam with hyperparameters that are values at run time, so one compilation serves them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optax


@dataclass(frozen=True)
class RuntimeOptimizer:
    """An optax optimizer whose hyperparameters stand in its state, as `opt_state.hyperparams`, by name.

    It has the `init` and `update` of `optax.GradientTransformation`. Two of the same kind are equal whatever their
    hyperparameters, which only `init` reads: so a jitted step is compiled once for all of them.

    Attributes:
        make: the optax optimizer, `optax.adam`.
        hyperparameters: the values that `init` puts into the state.
    """

    make: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, float] = field(compare=False)

    def init(self, params: Any) -> optax.OptState:
        """Return the state before the first update."""
        return self._injected.init(params)

    def update(self, gradients: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        """Return the updates to add to the parameters, and the next state."""
        return self._injected.update(gradients, state, params)

    @property
    def _injected(self) -> optax.GradientTransformation:
        return optax.inject_hyperparams(self.make)(**self.hyperparameters)


def adam(learning_rate: float = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> RuntimeOptimizer:
    """Return `optax.adam` with hyperparameters that are values at run time.

    Source: D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.

    Args:
        learning_rate: step size.
        b1: decay of the mean of gradients.
        b2: decay of the mean of squared gradients.
        eps: added to the root of the second mean.
    """
    return RuntimeOptimizer(optax.adam, {"learning_rate": learning_rate, "b1": b1, "b2": b2, "eps": eps})
