"""Which parameters a training changes, from which step on, and how fast each of them learns.

Frozen parameters have no gradient and no optimizer state. Their layers compute what they compute in evaluation: batch
normalisation by its running statistics, and no dropout.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

_SEPARATOR = "/"


@dataclass(frozen=True)
class Plan:
    """What is trained when. It is part of the compiled program, and compares by value.

    A phase begins with each group: phase p trains the groups up to p. Parameters of no group are frozen.

    >>> plan = Plan((("head/kernel",), ("conv/kernel",)), begins=(0, 100))
    >>> plan.phase_of(99), plan.phase_of(100), sorted(plan.trained(1))
    (0, 1, ['conv/kernel', 'head/kernel'])

    Attributes:
        groups: paths of parameters, such as "stage1_block1/expand/kernel", by group.
        begins: for each group the number of the step that first trains it, counted from 0; rising, the first one 0.
        depths: how many stages follow that of a parameter, for the decay of the learning rate by layer.
        rated: paths of the parameters of each factor of the learning rate.
    """

    groups: tuple[tuple[str, ...], ...]
    begins: tuple[int, ...] = (0,)
    depths: tuple[tuple[str, int], ...] = ()
    rated: tuple[tuple[str, ...], ...] = ()

    @property
    def phases(self) -> int:
        """The number of phases."""
        return len(self.groups)

    def phase_at(self, step: jax.Array) -> jax.Array:
        """Return a step's phase, an int32 scalar."""
        return jnp.sum(step >= jnp.asarray(self.begins[1:], jnp.int32), dtype=jnp.int32)

    def phase_of(self, step: int) -> int:
        """Return a step's phase."""
        return sum(step >= begin for begin in self.begins[1:])

    def trained(self, phase: int) -> frozenset[str]:
        """Return the paths of the parameters that a phase trains."""
        return frozenset(name for group in self.groups[: phase + 1] for name in group)

    def split(self, params: Any, phase: int) -> tuple[Any, dict[str, Any]]:
        """Return the parameters that a phase trains, as a tree, and all others by path."""
        trained, flat = self.trained(phase), flatten_dict(params, sep=_SEPARATOR)
        others = {name: array for name, array in flat.items() if name not in trained}
        return chosen(params, trained), others

    def still(self, phase: int, params: Any) -> frozenset[tuple[str, ...]]:
        """Return the outermost layers, by path, that a phase does not train at all, and that have parameters."""
        return _still(self.trained(phase), frozenset(flatten_dict(params, sep=_SEPARATOR)))

    def moved(self, variables: Any, before: Any, phase: int) -> Any:
        """Return variables in which what a phase does not train, parameters and statistics, is as it was before."""
        trained, still = self.trained(phase), self.still(phase, variables["params"])

        def stays(collection: str, name: str) -> bool:
            layer = tuple(name.split(_SEPARATOR)[:-1])
            of_still = any(layer[:size] in still for size in range(len(layer) + 1))
            return name not in trained if collection == "params" else of_still

        def of(collection: str) -> Any:
            old = flatten_dict(before[collection], sep=_SEPARATOR)
            new = flatten_dict(variables[collection], sep=_SEPARATOR)
            found = {name: old[name] if stays(collection, name) else array for name, array in new.items()}
            return unflatten_dict(found, sep=_SEPARATOR)

        return {collection: of(collection) for collection in variables}

    def factors(self, values: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Return by how much the learning rate of a parameter is multiplied, for those where it is not 1.

        Args:
            values: the optimizer's hyperparameters: "layer_decay" and "rate0", "rate1", …, as far as there are any.
        """
        found: dict[str, jax.Array] = {}
        if "layer_decay" in values:
            found = {name: values["layer_decay"] ** depth for name, depth in self.depths if depth}
        for number, names in enumerate(self.rated):
            rate = values[f"rate{number}"]
            found |= {name: rate * found[name] if name in found else rate for name in names}
        return found


def chosen(params: Any, names: Iterable[str]) -> Any:
    """Return the tree of the parameters with these paths."""
    wanted = frozenset(names)
    flat = flatten_dict(params, sep=_SEPARATOR)
    return unflatten_dict({name: array for name, array in flat.items() if name in wanted}, sep=_SEPARATOR)


def merged(trained: Any, others: Mapping[str, Any]) -> Any:
    """Return the tree that `Plan.split` split."""
    return unflatten_dict({**flatten_dict(trained, sep=_SEPARATOR), **others}, sep=_SEPARATOR)


@functools.lru_cache(maxsize=64)
def _still(trained: frozenset[str], every: frozenset[str]) -> frozenset[tuple[str, ...]]:
    def layers(names: Iterable[str]) -> set[tuple[str, ...]]:
        """Return all layers that have one of these parameters, or hold one that has."""
        parts = [tuple(name.split(_SEPARATOR)) for name in names]
        return {path[:size] for path in parts for size in range(len(path))}

    still = layers(every) - layers(trained)
    return frozenset(path for path in still if path[:-1] not in still)
