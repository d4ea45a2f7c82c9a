"""Multi-task learning: several tasks per image, as named heads on one trunk.

The heads are slices of the model's last layer, so no head's output depends on another head's weights.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.config.own_code import HEAD_FORM, HEADS, parse_head
from flaxcnn.data.targets import choose_targets, described_targets
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.pages.parts import Part
from flaxcnn.tasks.arithmetic import ratio
from flaxcnn.tasks.task import Interval, Metric, Mistakes, Picture, Predicted, Scores, Task, leaf, position_of


class Head(NamedTuple):
    """One of several tasks.

    Attributes:
        name: the key of its target in the dictionary of targets.
        task: its task.
        weight: the weight of its loss in the total loss.
        width: its number of model outputs; 0 until the data are known.
    """

    name: str
    task: Task
    weight: float = 1.0
    width: int = 0


@dataclass(frozen=True)
class Several(Task):
    """Several named tasks on one trunk. Targets are a dictionary with an array for each.

    An example may lack a target: a class number of -1, or a number that is NaN. That head's loss and metrics then skip
    the example. The loss is the weighted sum of the heads' losses. Metrics and predictions are prefixed with the head's
    name: `species_accuracy`, `species.logits`.
    """

    heads: tuple[Head, ...]

    name = "several"

    @classmethod
    def of(cls, heads: Collection[str], create: Callable[[str], Task]) -> "Several":
        """Create the task from heads as in a config: `species=classification`, `area=regression:0.5`.

        Args:
            heads: one or more heads.
            create: creates a task from its name.

        Raises:
            ConfigError: there are no heads, or one has another form.
        """
        if not heads:
            raise ConfigError("no heads", where=HEADS, expected=HEAD_FORM, found="none")
        made: list[Head] = []
        for written in heads:
            head = parse_head(written)
            if head.task == cls.name:
                raise ConfigError("not a head", where=HEADS, expected=HEAD_FORM, found=repr(written))
            if head.name in [other.name for other in made]:
                raise ConfigError("two heads with the same name", where=HEADS, found=head.name)
            made.append(Head(head.name, create(head.task), float(head.weight or 1)))
            if made[-1].task.detects:
                raise ConfigError("a detector is no head beside others", where=HEADS, found=repr(written))
        for position, of_heads in enumerate(made):
            taken = {f"{other.name}_{name}" for other in made[:position] for name in other.task.metrics}
            if same := taken.intersection(f"{of_heads.name}_{name}" for name in of_heads.task.metrics):
                raise ConfigError("two metrics with the same name", where=HEADS, found=min(same), fix="rename a head")
        return cls(tuple(made))

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of all heads."""
        return {f"{head.name}_{name}": kind for head in self.heads for name, kind in head.task.metrics.items()}

    @property
    def logged(self) -> tuple[str, ...]:
        """The logged metrics of all heads: first each head's first, then each head's second, and so on."""
        ranks = zip_longest(*([f"{head.name}_{name}" for name in head.task.logged] for head in self.heads))
        return tuple(name for rank in ranks for name in rank if name is not None)

    @property
    def reported(self) -> tuple[str, ...]:
        """The reported metrics of all heads."""
        return tuple(f"{head.name}_{name}" for head in self.heads for name in head.task.reported)

    @property
    def compared(self) -> tuple[str, ...]:
        """The first compared metric of each head."""
        return tuple(f"{head.name}_{head.task.compared[0]}" for head in self.heads)

    @property
    def tabled(self) -> tuple[str, ...]:
        """The metrics of all heads in a study's table."""
        return tuple(f"{head.name}_{name}" for head in self.heads for name in head.task.tabled)

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """MixUp if every head supports it, label smoothing and focal loss if any does.

        Never class weights, which name no head.
        """
        mixes = {"mixup"} if all("mixup" in head.task.uses for head in self.heads) else set()
        used = {option for head in self.heads for option in head.task.uses}
        return frozenset(mixes | (used & {"label_smoothing", "focal_gamma"}))

    def check(self, targets: Any, names: Any, where: str) -> None:
        """Raise DataError if a head has no targets, or targets that do not fit its task."""
        wanted = [head.name for head in self.heads]
        if not isinstance(targets, Mapping) or set(targets) != set(wanted):
            raise DataError(
                "not the targets of these heads",
                where=f"{where} targets",
                expected=f"a dictionary of {', '.join(sorted(wanted))}",
                found=described_targets(targets),
                fix="name a head for each target with --task.heads",
            )
        for head, own, _ in self._filled(targets):
            head.task.check(own, _of(names, head.name), f"{where} {head.name}")

    def outputs(self, targets: Any, names: Any) -> int:
        """Return the total number of outputs."""
        return sum(head.task.outputs(targets[head.name], _of(names, head.name)) for head in self.heads)

    def described(self, targets: Any, names: Any) -> str:
        """Describe each head's targets, with the number of training images that lack one."""
        parts = []
        for head in self.heads:
            own = targets[head.name]
            lacking = int((~np.asarray(head.task.present(own))).sum())
            without = f" ({lacking:,} images lack it)" if lacking else ""
            parts.append(f"{head.name}: {head.task.described(own, _of(names, head.name))}{without}")
        return ", ".join(parts)

    def fitted(self, targets: Any, names: Any) -> "Several":
        """Return the task with each head's width."""
        heads = []
        for head in self.heads:
            own, called = targets[head.name], _of(names, head.name)
            width = head.task.outputs(own, called)
            heads.append(head._replace(task=head.task.fitted(own, called), width=width))
        return replace(self, heads=tuple(heads))

    def constants(self, train_targets: Any) -> dict[str, np.ndarray]:
        """Return the constants of all heads, each from the examples that have its target."""
        found: dict[str, Any] = {}
        for head in self.heads:
            own = train_targets[head.name]
            present = np.asarray(head.task.present(own))
            if not present.any():
                where = f"training targets {head.name}"
                raise DataError("no targets", where=where, expected="at least one image with a target", found="none")
            own = choose_targets(own, present)
            found |= {f"{head.name}.{name}": value for name, value in head.task.constants(own).items()}
        return found

    def losses(self, values: Any, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> jax.Array:
        """Return the weighted sum of the heads' losses, float32 (B,); 0 for a target that an example lacks."""
        total = jnp.zeros(outputs.shape[0], jnp.float32)
        for head, own_outputs, own_targets, present in self._each(outputs, targets):
            losses = head.task.losses(values, _own(constants, head), own_outputs, own_targets)
            total = total + head.weight * jnp.where(present, losses, 0)
        return total

    def statistics(self, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> dict[str, jax.Array]:
        """Return the statistics of all heads, and which examples have each head's target."""
        found: dict[str, Any] = {}
        for head, own_outputs, own_targets, present in self._each(outputs, targets):
            found[f"{head.name}.present"] = present
            for name, values in head.task.statistics(_own(constants, head), own_outputs, own_targets).items():
                mask = present.reshape(-1, *[1] * (values.ndim - 1))
                found[f"{head.name}.{name}"] = jnp.where(mask, values, jnp.zeros((), values.dtype))
        return found

    def measures(self, sums: Mapping[str, Any], examples: Any) -> dict[str, Any]:
        """Return the metrics of all heads, over the examples that have their targets."""
        found: dict[str, Any] = {}
        for head in self.heads:
            own = _own(sums, head)
            present = own.pop("present")
            shares = {name: ratio(value, present) for name, value in own.items()}  # sums over present, divided
            found |= {f"{head.name}_{name}": value for name, value in head.task.measures(shares, 1).items()}
        return found

    def examples(self, sums: Mapping[str, Any]) -> dict[str, int]:
        """Return the number of examples with each head's target."""
        return {head.name: int(sums[f"{head.name}.present"]) for head in self.heads}

    def decode(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> dict[str, jax.Array]:
        """Return the predictions of all heads, also for examples that lack targets."""
        found: dict[str, Any] = {}
        for head, own_outputs in self._slices(outputs):
            decoded = head.task.decode(_own(constants, head), own_outputs)
            found |= {f"{head.name}.{name}": array for name, array in decoded.items()}
        return found

    def check_range(self, outputs: int, targets: Any) -> None:
        """Check the targets that are present."""
        for head, own, _ in self._filled(targets):
            head.task.check_range(head.width, own)

    def scores(self, predicted: Predicted) -> Scores:
        """Return the metrics of all heads, each over the examples that have its target."""
        return _SeveralScores(self, predicted)

    def tuned(self, predicted: Predicted) -> dict[str, np.ndarray]:
        """Return the constants with those chosen by the heads, each on the examples that have its target."""
        found = dict(predicted.constants)
        for head, own, present in self.predicted(predicted):
            if present.any():
                found |= {f"{head.name}.{name}": value for name, value in head.task.tuned(own).items()}
        return found

    def calibration(self, validation: Predicted) -> dict[str, Any]:
        """Return each head's calibration by its name, from the examples that have its target."""
        heads = self.predicted(validation)
        return {head.name: head.task.calibration(own) for head, own, present in heads if present.any()}

    def answers(self, predicted: Predicted, calibration: Mapping[str, Any], top: int) -> list[dict[str, Any]]:
        """Return each image's answer of every head, by the head's name."""
        of_heads = {}
        for head in self.heads:
            predictions, constants = _own(predicted.predictions, head), _own(predicted.constants, head)
            own = Predicted(None, predictions, constants, _of(predicted.names, head.name))
            of_heads[head.name] = head.task.answers(own, calibration.get(head.name, {}), top)
        return [dict(zip(of_heads, each, strict=True)) for each in zip(*of_heads.values(), strict=True)]

    def explained(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> jax.Array:
        """Return the numbers of all heads, one head's after the other's."""
        return jnp.concatenate(
            [head.task.explained(_own(constants, head), own) for head, own in self._slices(outputs)], axis=1
        )

    def explained_names(self, names: Any, count: int) -> tuple[str, ...]:
        """Return the names of all heads' numbers, prefixed with the head's: `species.bee`."""
        return tuple(
            f"{head.name}.{name}"
            for head in self.heads
            for name in head.task.explained_names(_of(names, head.name), head.width)
        )

    def chosen(self, of: str | None, names: Any, numbers_NxK: np.ndarray) -> np.ndarray:
        """Return which number is explained, int (N,): what a head answers where a head is named; else the first's."""
        wanted, first = self.heads[0].name if of is None else of, 0
        for head in self.heads:
            if head.name == wanted:
                own = numbers_NxK[:, first : first + head.width]
                return first + head.task.chosen(None, _of(names, head.name), own)
            first += head.width
        known = self.explained_names(names, numbers_NxK.shape[1])
        if wanted not in known:
            known = (*(head.name for head in self.heads), *known)  # for the error's advice
        return np.full(len(numbers_NxK), position_of(wanted, known))

    def report(self, predicted: Predicted) -> dict[str, Any]:
        """Return each head's report, with the number of test images that have its target."""
        return {
            head.name: {"examples": int(present.sum()), **(head.task.report(own) if present.any() else {})}
            for head, own, present in self.predicted(predicted)
        }

    def pictures(self, predicted: Predicted) -> Iterable[Picture]:
        """Return the pictures of all heads, prefixed with the head's name."""
        for head, own, present in self.predicted(predicted):
            for picture in head.task.pictures(own) if present.any() else ():
                yield Picture(f"{head.name}_{picture.name}", picture.draw)

    def parts(self, test: Predicted, validation: Predicted | None, interval: Interval) -> Iterable[Part]:
        """Return the parts of all heads, of the examples that have their targets; titles begin with the head's name."""
        heads = () if validation is None else self.predicted(validation)
        validated = {head.name: own for head, own, present in heads if present.any()}
        for head, own, present in self.predicted(test):
            given = own, validated.get(head.name), _among(interval, present)
            for part in head.task.parts(*given) if present.any() else ():
                yield part._replace(title=f"{head.name}: {part.title}")

    def mistakes(self, predicted: Predicted, calibration: Mapping[str, Any], most: int) -> Sequence[Mistakes]:
        """Return the mistakes of all heads, each called by its head's name; NaN for examples without its target."""
        found = []
        for head, own, present in self.predicted(predicted):
            places = np.flatnonzero(present)
            for each in head.task.mistakes(own, calibration.get(head.name, {}), most) if len(places) else ():
                errors = np.full(len(present), np.nan)
                errors[places] = each.errors_N
                worst = [int(places[position]) for position in each.worst]
                of = [head.name] * len(worst) if each.of is None else [f"{head.name}.{name}" for name in each.of]
                found.append(each._replace(errors_N=errors, worst=worst, head=head.name, of=of))
        return found

    def predicted(self, predicted: Predicted) -> Iterator[tuple[Head, Predicted, np.ndarray]]:
        """Yield each head with the predictions for the examples that have its target, and a mask of these examples."""
        for head in self.heads:
            if not isinstance(predicted.targets, Mapping) or head.name not in predicted.targets:
                found = described_targets(predicted.targets)
                raise DataError("predictions of another task", where="targets", expected=head.name, found=found)
            targets = predicted.targets[head.name]
            present = np.asarray(head.task.present(targets))
            images = predicted.images
            own = Predicted(
                choose_targets(targets, present),
                {name: array[present] for name, array in _own(predicted.predictions, head).items()},
                _own(predicted.constants, head),
                _of(predicted.names, head.name),
                None if images is None else images if present.all() else images[np.flatnonzero(present)],
            )
            yield head, own, present

    def _slices(self, outputs: jax.Array) -> Iterator[tuple[Head, jax.Array]]:
        first = 0
        for head in self.heads:
            yield head, outputs[:, first : first + head.width]
            first += head.width

    def _each(self, outputs: jax.Array, targets: Any) -> Iterator[tuple[Head, jax.Array, Any, jax.Array]]:
        """Yield each head with its outputs, its targets (0 if missing), and a mask of the examples that have one."""
        for (head, own_outputs), (_, own_targets, present) in zip(
            self._slices(outputs), self._filled(targets), strict=True
        ):
            yield head, own_outputs, own_targets, jnp.asarray(present)

    def _filled(self, targets: Any) -> Iterator[tuple[Head, Any, Any]]:
        """Yield each head with its targets (0 if missing) and a mask of the examples that have one."""
        for head in self.heads:
            own = targets[head.name]
            present = head.task.present(own)
            arrays = np if isinstance(present, np.ndarray) and isinstance(leaf(own), np.ndarray) else jnp

            def filled(array: Any, present: Any = present, arrays: Any = arrays) -> Any:
                return arrays.where(present.reshape(-1, *[1] * (array.ndim - 1)), array, arrays.zeros((), array.dtype))

            yield head, jax.tree.map(filled, own), present


class _SeveralScores:
    """The metrics of all heads."""

    def __init__(self, task: Several, predicted: Predicted):
        self._heads = [
            (head, head.task.scores(own) if present.any() else None, present)
            for head, own, present in task.predicted(predicted)
        ]

    def measure(self, counts_BxN: np.ndarray, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Return each metric, (B,); NaN for a row of counts in which no example has the head's target."""
        found: dict[str, Any] = {}
        for head, scores, present_N in self._heads:
            prefix = f"{head.name}_"
            own = None if names is None else [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
            if scores is None:
                found |= {prefix + name: np.full(len(counts_BxN), np.nan) for name in head.task.metrics}
                continue
            counts = counts_BxN[:, present_N]
            empty_B = counts.sum(-1) == 0
            usable = np.where(empty_B[:, None], 1, counts)
            for name, values in scores.measure(usable, own).items():
                if values.ndim == 1:
                    found[prefix + name] = np.where(empty_B, np.nan, values)
        return found


def _own(tree: Mapping[str, Any], head: Head) -> dict[str, Any]:
    """Return the entries prefixed with a head's name, without the prefix."""
    prefix = f"{head.name}."
    return {name.removeprefix(prefix): value for name, value in tree.items() if name.startswith(prefix)}


def _among(interval: Interval, present_N: np.ndarray) -> Interval:
    """Return an interval over the examples that are present, of masks of these."""

    def found(hits: np.ndarray, among: np.ndarray) -> tuple[float, float]:
        whole = np.zeros((2, len(present_N)), bool)
        whole[:, present_N] = hits, among
        return interval(whole[0], whole[1])

    return found


def _of(names: Any, head: str) -> Any:
    return names.get(head) if isinstance(names, Mapping) else None
