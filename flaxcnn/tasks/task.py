"""What a task is, for those who use one and those who write another.

A task says what is learned from an image: how outputs become losses, predictions and metrics. Training, evaluation,
runs and sweeps are written once against this interface and name no metric.
"""

import abc
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol

import jax
import numpy as np

from flaxcnn.data import Images
from flaxcnn.data.targets import leaves
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.tasks.arithmetic import as_json


class Metric(NamedTuple):
    """One number that a task reports.

    Attributes:
        higher_is_better: which end is best.
        fraction: whether it lies in [0, 1], as an accuracy does.
        unit: of the number, for people; "" for a fraction and where there is none.
    """

    higher_is_better: bool
    fraction: bool = False
    unit: str = ""


class Scores(Protocol):
    """The metrics of one set of predictions, for examples that count several times or not at all."""

    def measure(self, counts_BxN: np.ndarray, names: Collection[str] | None = None) -> Mapping[str, np.ndarray]:
        """Return metrics for each of B countings of the examples, (B,) each.

        Args:
            counts_BxN: how often each example counts, integers; at least one of a row is more than 0.
            names: of the metrics that are wanted; None for all. More may be given.
        """
        ...


class Picture(NamedTuple):
    """A picture of predictions: the name of its file, and what draws it (`flaxcnn.pictures.drawn`)."""

    name: str
    draw: Callable[[BinaryIO], None]


class Predicted(NamedTuple):
    """The predictions of some examples, on the host.

    Attributes:
        targets: what was to be predicted, arrays with N rows (`Split.targets`).
        predictions: what `Task.decode` gave, arrays with N rows by name.
        constants: the model's (`Task.constants`), by name.
        names: what the targets' values are called (`Dataset.target_names`); None where that does not matter.
        images: the examples' images; None where there is nothing to draw.
    """

    targets: Any
    predictions: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray]
    names: Any = None
    images: Images | None = None

    def prediction(self, name: str) -> np.ndarray:
        """Return one array of the predictions; raises DataError where there is none of that name."""
        if name not in self.predictions:
            found = ", ".join(self.predictions) or "none"
            raise DataError("predictions of another task", where="predictions", expected=name, found=found)
        return self.predictions[name]

    def constant(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return one of the constants; raises DataError where there is none of that name and shape."""
        found = self.constants.get(name)
        if found is None or np.shape(found) != shape:
            shown = "none" if found is None else np.shape(found)
            raise DataError("predictions of another task", where=f"constant {name}", expected=shape, found=shown)
        return np.asarray(found)


class Task(abc.ABC):
    """What is learned from an image. Implementations are frozen dataclasses: a task is part of the compiled program.

    Attributes:
        name: as `--task.name` says it; of a user's own, the class's name where it has no other.
        moves: whether augmentation moves its targets, by `move`; a label of the whole image stays what it is.
        uses: the options it has a use for, of "label_smoothing", "class_weights" and "mixup".
        counted: logged metrics that are the fraction of the examples for which a boolean statistic holds, with its
            name: their intervals are exact where examples stand for themselves.
    """

    name: ClassVar[str]
    moves: ClassVar[bool] = False
    uses: ClassVar[frozenset[str]] = frozenset()
    counted: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "name"):
            cls.name = cls.__name__

    @property
    @abc.abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Every number that the task reports, by name."""

    @property
    @abc.abstractmethod
    def logged(self) -> tuple[str, ...]:
        """What each logged row measures, besides the loss; the first is the one that a run is judged by."""

    @property
    def reported(self) -> tuple[str, ...]:
        """What a run's summary gives for the test images with intervals; the first is the headline."""
        return self.logged

    @property
    def compared(self) -> tuple[str, ...]:
        """What `flaxcnn compare` sets side by side; by the first it says which is better."""
        return self.reported

    # On the host, before training.

    @abc.abstractmethod
    def check(self, targets: Any, names: Any, where: str) -> None:
        """Raise DataError, in one clear line, where the targets of a split do not fit the task.

        Args:
            targets: of the split, arrays with N rows; of one of several tasks, 0 where an example lacks its target.
            names: what the targets' values are called (`Dataset.target_names`).
            where: the split, for the error.
        """

    @abc.abstractmethod
    def outputs(self, targets: Any, names: Any) -> int:
        """Return how many numbers the model's last layer gives, for targets and names as `check` takes them."""

    def described(self, targets: Any, names: Any) -> str:
        """Return what is to be learned in a few words, for the console: "10 classes"."""
        return f"{self.outputs(targets, names):,} outputs"

    def fitted(self, targets: Any, names: Any) -> "Task":
        """Return the task as it is trained, where the compiled program has to know sizes that the data have."""
        return self

    def constants(self, train_targets: Any) -> dict[str, np.ndarray]:
        """Return what training data fix and predictions need, float32; it is kept with the model's weights."""
        return {}

    def class_counts(self, train_targets: Any, outputs: int) -> np.ndarray | None:
        """Return the training examples of each class, by which `class_weights balanced` weighs; None for no classes."""
        return None

    def present(self, targets: Any) -> Any:
        """Return which examples have a target, bool (N,), of arrays of NumPy's or JAX's; by default all have.

        Where a task is one of several, an example may lack its target (`flaxcnn.tasks.several`). It is asked before
        `check`, of any arrays.
        """
        first = jax.tree.leaves(targets)[0]
        return np.ones(first.shape[0], bool)

    # In the compiled program: pure functions of arrays.

    @abc.abstractmethod
    def losses(self, values: Any, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> jax.Array:
        """Return the loss of each example, float32 (B,).

        Args:
            values: has `label_smoothing` and `class_weights`, arrays or None
                (`flaxcnn.training.Hyperparameters`); None for the plain loss, which evaluation reports.
            constants: as `constants` gave them.
            outputs: of the model, float32 (B, outputs).
            targets: of the examples, arrays (B, ...).
        """

    @abc.abstractmethod
    def statistics(self, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> dict[str, jax.Array]:
        """Return numbers of each example, (B, ...) each, of whose sums over examples `measures` makes logged metrics.

        Booleans are counted exactly.
        """

    @abc.abstractmethod
    def measures(self, sums: Mapping[str, Any], examples: Any) -> dict[str, Any]:
        """Return the logged metrics from the sums of `statistics` over so many examples.

        In the compiled step the sums are means, and `examples` is 1, so that it is plain arithmetic that arrays of
        NumPy's and JAX's and numbers know; and finite, whatever the sums.
        """

    def examples(self, sums: Mapping[str, Any]) -> dict[str, int]:
        """Return how many examples some of the metrics are over, where not all are: by the beginning of their names."""
        return {}

    @abc.abstractmethod
    def decode(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> dict[str, jax.Array]:
        """Return the predictions of each example, arrays (B, ...) of a fixed size, by name."""

    def move(self, targets: Any, source_2HW: jax.Array) -> Any:
        """Return one example's targets after augmentation; called where `moves` is True.

        Args:
            targets: of one example, arrays without their first axis: a box, points, a mask.
            source_2HW: for each pixel of the augmented image the row and the column of the original at which it is
                read, in pixels, float32; outside of the original for what is padded.
        """
        return targets

    def check_range(self, outputs: int, targets: Any) -> None:  # noqa: B027 -- most have nothing to check
        """Put checks of the targets' values into the program (`checkify`); for `check_targets=True`."""

    # On the host, in float64.

    @abc.abstractmethod
    def scores(self, predicted: Predicted) -> Scores:
        """Return the metrics of predictions; raises DataError where a prediction is not finite."""

    def tuned(self, predicted: Predicted) -> dict[str, np.ndarray]:
        """Return the constants, with those that are chosen on validation predictions."""
        return dict(predicted.constants)

    def report(self, predicted: Predicted) -> dict[str, Any]:
        """Return what `test_metrics.json` says, as JSON has it: every metric, None for one that is not defined."""
        found = measured(self.scores(predicted), len(leaf(predicted.targets)))
        return {name: as_json(value) for name, value in found.items()}

    def pictures(self, predicted: Predicted) -> Iterable[Picture]:
        """Return the pictures that help to understand the predictions."""
        return ()

    def differences(self, a: Predicted, b: Predicted, called: tuple[str, str]) -> Sequence[str] | None:
        """Return lines that judge two models on the same examples by a test of the task's own; None for none."""
        return None


def require_names(names: Any, count: int | None, where: str) -> None:
    """Raise DataError where the values of targets have no names, or not so many; `count` is None for any number."""
    if not isinstance(names, Sequence) or isinstance(names, str) or not names or count not in (None, len(names)):
        called = isinstance(names, Sequence) and not isinstance(names, str)
        raise DataError(
            "not one name for each value",
            where=f"{where} target names",
            expected="one for each" if count is None else count,
            found=len(names) if called else "none",
        )


def leaf(targets: Any) -> np.ndarray:
    """Return one array of the targets, for the number of examples."""
    return next(array for _, array in leaves(targets))


def measured(scores: Scores, examples: int, names: Collection[str] | None = None) -> dict[str, float]:
    """Return metrics with every example counted once; those that are not numbers of their own are left out."""
    found = scores.measure(np.ones((1, examples), np.int32), names)
    return {name: value[0].item() for name, value in found.items() if value.ndim == 1}


def require_used(task: Task, option: str, asked: bool, where: str) -> None:
    """Raise ConfigError where an option is set of which the task makes no use: it would do nothing."""
    if asked and option not in task.uses:
        raise ConfigError(f"the task {task.name} has no use for it", where=where, fix="leave it out")
