"""An optimizer that follows a plan: some parameters are frozen, begin later, or learn at another rate."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from flaxcnn.training.optimizer import RuntimeOptimizer
from flaxcnn.training.plan import Plan, chosen


class PlannedState(NamedTuple):
    """The state of a `PlannedOptimizer`.

    Attributes:
        count: number of updates, an int32 scalar.
        hyperparams: the hyperparameters, float32 scalars by name.
        groups: the state of the rule for each of the plan's groups, which counts that group's own updates.
    """

    count: jax.Array  # type: ignore[assignment]  # a tuple's method has this name too; optax's states do the same
    hyperparams: dict[str, jax.Array]
    groups: tuple[optax.OptState, ...]


@dataclass(frozen=True)
class PlannedOptimizer(RuntimeOptimizer):
    """An optimizer that follows a plan: groups of parameters begin one after the other, each at its own rate.

    Each group has a state of its own, which begins with the group. So Adam's moments of parameters that have just
    begun to be trained are corrected as in a first step. Frozen parameters have no state. Gradients are clipped by
    their norm over all groups that are trained.

    Attributes:
        plan: what is trained when.
    """

    plan: Plan = field(kw_only=True)

    def init(self, params: Any) -> PlannedState:
        """Return the initial state for float32 parameters, frozen ones included."""
        values = {name: jnp.float32(value) for name, value in self.hyperparameters.items()}
        states = tuple(self._rule(values).init(chosen(params, group)) for group in self.plan.groups)
        return PlannedState(jnp.zeros((), jnp.int32), values, states)

    def update(self, gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        """Return the updates to add to the parameters, and the next state.

        Args:
            gradients: of the parameters of the groups that are trained now, as a tree.
            state: from `init` or the previous update.
            params: all parameters.
        """
        values = {**state.hyperparams, "learning_rate": self.learning_rate(state)}
        if "clip_norm" in values:
            gradients, _ = optax.clip_by_global_norm(values["clip_norm"]).update(gradients, optax.EmptyState())
        rule, factors = self._rule(values), self.plan.factors(values)
        present = flatten_dict(gradients, sep="/")
        updates: dict[str, Any] = {}
        states = list(state.groups)
        for number, group in enumerate(self.plan.groups):
            if group[0] in present:
                own, states[number] = rule.update(chosen(gradients, group), states[number], chosen(params, group))
                updates |= flatten_dict(own, sep="/")
        rated = {name: factors[name] * update if name in factors else update for name, update in updates.items()}
        next_state = state._replace(count=optax.safe_increment(state.count), groups=tuple(states))
        return unflatten_dict(rated, sep="/"), next_state

    def _rule(self, values: Mapping[str, jax.Array]) -> optax.GradientTransformation:
        """Return the rule for a group; what concerns all groups is done outside of it."""
        taken = inspect.signature(self.make).parameters
        return self.make(**{name: value for name, value in values.items() if name in taken and name != "clip_norm"})


def planned(
    optimizer: RuntimeOptimizer, plan: Plan, layer_decay: float | None = None, rates: Sequence[float] = ()
) -> PlannedOptimizer:
    """Return an optimizer that follows a plan.

    Args:
        optimizer: from `adam` or one of its siblings.
        plan: what is trained when.
        layer_decay: factor of the learning rate from each of the plan's stages to the one before; None for none. As in
            K. Clark et al., "ELECTRA", ICLR 2020, and timm. A hyperparameter of this name.
        rates: factors of the learning rate of `plan.rated`; hyperparameters "rate0", "rate1", ….
    """
    values = dict(optimizer.hyperparameters)
    if layer_decay is not None:
        values["layer_decay"] = layer_decay
    values |= {f"rate{number}": rate for number, rate in enumerate(rates)}
    return PlannedOptimizer(optimizer.make, values, optimizer.schedule, plan=plan)
