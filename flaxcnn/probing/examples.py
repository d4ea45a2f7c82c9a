"""What a head learns of and what it says, and a head for several targets.

The predictions have the form of a task's (`flaxcnn.evaluation.predictions`), so that a probe is measured, compared and
reported like a run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.targets import choose_targets
from flaxcnn.errors import DataError
from flaxcnn.tasks import Classification, Several, Task

Array = npt.NDArray[Any]

ABSENT = -100.0
"""The logit of a class without a training example."""


class Examples(NamedTuple):
    """Examples that a head learns of.

    Attributes:
        features: float32 (N, F).
        targets: of the task, arrays with N rows.
        digests: of each example's content, in hex; they divide the examples where something is to be chosen.
        groups: int32 (N,); None for no groups.
    """

    features: Array
    targets: Any
    digests: Sequence[str]
    groups: Array | None = None

    def choose(self, positions: Array) -> "Examples":
        """Return some of the examples."""
        return Examples(
            self.features[positions],
            choose_targets(self.targets, positions),
            [self.digests[position] for position in positions.tolist()],
            None if self.groups is None else self.groups[positions],
        )


class Said(NamedTuple):
    """What a head predicts.

    Attributes:
        predictions: of the task, by name: "logits" or "numbers", float32.
        constants: of the task, by name.
        chosen: what was chosen in training, by name, such as {"c": 0.01}; and "not converged", how many regressions
            had not when their iterations ended.
    """

    predictions: dict[str, Array]
    constants: dict[str, Array]
    chosen: dict[str, float]


Head = Callable[[Task, Examples, Array, "Examples | None"], Said]
"""Learns of training examples, and predicts for the features of others, float32 (M, F)."""


def with_outputs(said: Said, task: Task, outputs: int) -> Said:
    """Return predictions with a logit for each class, also for those without a training example."""
    if not isinstance(task, Classification):
        return said
    logits = said.predictions["logits"]
    missing = outputs - logits.shape[1]
    padded = np.pad(logits, ((0, 0), (0, missing)), constant_values=ABSENT)
    return said._replace(predictions={"logits": padded})


def of_each(task: Several, fit: Head, train: Examples, features: Array, validation: Examples | None) -> Said:
    """Return what a head says of each of several targets, learned of the examples that have it."""
    predictions: dict[str, Array] = {}
    constants: dict[str, Array] = {}
    chosen: dict[str, float] = {}
    for head in task.heads:
        own = _having(head.name, head.task, train)
        if own is None:
            raise DataError(
                "no targets", where=f"training targets {head.name}", expected="at least one image with a target",
                found="none",
            )  # fmt: skip
        checked = None if validation is None else _having(head.name, head.task, validation)
        said = with_outputs(fit(head.task, own, features, checked), head.task, head.width)
        predictions |= {f"{head.name}.{name}": array for name, array in said.predictions.items()}
        constants |= {f"{head.name}.{name}": array for name, array in said.constants.items()}
        chosen |= {f"{head.name} {name}": value for name, value in said.chosen.items()}
    return Said(predictions, constants, chosen)


def _having(name: str, task: Task, examples: Examples) -> Examples | None:
    """Return the examples that have a target, with that target alone; None where none has it."""
    targets: Mapping[str, Array] = examples.targets
    present = np.flatnonzero(np.asarray(task.present(targets[name])))
    return examples._replace(targets=targets[name]).choose(present) if len(present) else None
