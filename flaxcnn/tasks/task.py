"""The interface of a task: how a model's outputs become losses, predictions and metrics.

Training, evaluation, runs and sweeps use only this interface and name no metric.
"""

import abc
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np

from flaxcnn.data import Images
from flaxcnn.data.targets import leaves
from flaxcnn.errors import ConfigError, DataError, nearest
from flaxcnn.layers.augmentation.mosaic import Tiles
from flaxcnn.pages.parts import Part
from flaxcnn.tasks.arithmetic import as_json, largest_difference

Interval: TypeAlias = Callable[[np.ndarray, np.ndarray], tuple[float, float]]
"""Of two masks of the examples, bool (N,): the 95 % interval of the share of the second that are in the first, too."""


class Metric(NamedTuple):
    """The properties of a metric that a task reports.

    Attributes:
        higher_is_better: whether larger values are better.
        fraction: whether the metric is in [0, 1], like an accuracy.
        unit: the metric's unit for display; "" for none.
    """

    higher_is_better: bool
    fraction: bool = False
    unit: str = ""


class Scores(Protocol):
    """The metrics of a set of predictions, computed for weighted examples (resampling counts)."""

    def measure(self, counts_BxN: np.ndarray, names: Collection[str] | None = None) -> Mapping[str, np.ndarray]:
        """Return the metrics for each of B rows of counts, (B,) each.

        Args:
            counts_BxN: how many times each example counts, integers; each row has at least one count above 0.
            names: the metrics to compute; None for all. The result may hold more.
        """
        ...


class Picture(NamedTuple):
    """A picture of predictions: its file name and a function that draws it (`flaxcnn.pictures.drawn`)."""

    name: str
    draw: Callable[[BinaryIO], None]


class Mistakes(NamedTuple):
    """How wrong each prediction is, and which are worst.

    Attributes:
        measure: what its mean over examples is called, such as "share of mistakes".
        errors_N: how wrong, float64, 0 for right; NaN for an example that has no target.
        counted: whether errors are 0 or 1, so that a mean is a share.
        worst: positions of the worst ones, the worst first.
        said: what to say of each of these.
        head: of which head; "" of a task that is no head.
        of: what to explain of each of these, as `explained_names` and heads are called; None for what was answered.
    """

    measure: str
    errors_N: np.ndarray  # noqa: N815
    counted: bool
    worst: Sequence[int]
    said: Sequence[str]
    head: str = ""
    of: Sequence[str] | None = None


class Predicted(NamedTuple):
    """Predictions for some examples, on the host.

    Attributes:
        targets: the examples' targets, arrays with N rows (`Split.targets`).
        predictions: the result of `Task.decode`, arrays with N rows by name.
        constants: the model's constants (`Task.constants`), by name.
        names: the names of the targets' values (`Dataset.target_names`); None if not needed.
        images: the examples' images; None if not needed.
    """

    targets: Any
    predictions: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray]
    names: Any = None
    images: Images | None = None

    def prediction(self, name: str) -> np.ndarray:
        """Return one array of the predictions; raises DataError if there is none of that name."""
        if name not in self.predictions:
            found = ", ".join(self.predictions) or "none"
            raise DataError("predictions of another task", where="predictions", expected=name, found=found)
        return self.predictions[name]

    def constant(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return one of the constants; raises DataError if there is none of that name and shape."""
        found = self.constants.get(name)
        if found is None or np.shape(found) != shape:
            shown = "none" if found is None else np.shape(found)
            raise DataError("predictions of another task", where=f"constant {name}", expected=shape, found=shown)
        return np.asarray(found)


class Task(abc.ABC):
    """What a model learns to predict from an image. Subclass it as a frozen dataclass: compiled programs contain it.

    Attributes:
        name: as `--task.name` says it; of a user's own, the class's name where it has no other.
        detects: whether its model is a detector, on the trunk of the network that is named (`flaxcnn.models.detector`).
        moves: whether augmentation moves its targets, by `move`; a label of the whole image stays what it is.
        uses: the options it has a use for, of "label_smoothing", "class_weights", "focal_gamma", "sampling"
            (targets are then one class number an image), "mixup", which stands for MixUp and CutMix, and "mosaic"
            (`tile`).
        counted: logged metrics that are the fraction of the examples for which a boolean statistic holds, with its
            name: their intervals are exact where examples stand for themselves.
    """

    name: ClassVar[str]
    detects: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    uses: ClassVar[frozenset[str]] = frozenset()
    counted: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "name"):
            cls.name = cls.__name__

    @property
    @abc.abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """All metrics that the task reports, by name."""

    @property
    @abc.abstractmethod
    def logged(self) -> tuple[str, ...]:
        """The metrics in each logged row besides the loss; the first is the main metric of a run."""

    @property
    def reported(self) -> tuple[str, ...]:
        """The test metrics in a run's summary, with confidence intervals; the first is the headline."""
        return self.logged

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that `flaxcnn compare` compares; the first decides which run is better."""
        return self.reported

    @property
    def tabled(self) -> tuple[str, ...]:
        """The metrics in a study's table; by default all."""
        return tuple(self.metrics)

    # On the host, before training.

    @abc.abstractmethod
    def check(self, targets: Any, names: Any, where: str) -> None:
        """Raise DataError if a split's targets do not fit the task.

        Args:
            targets: the split's targets, arrays with N rows; for one of several tasks, 0 for examples without a target.
            names: the names of the targets' values (`Dataset.target_names`).
            where: the split, for the error.
        """

    @abc.abstractmethod
    def outputs(self, targets: Any, names: Any) -> int:
        """Return the number of outputs of the model's last layer, for targets and names as in `check`."""

    def shape_of(self, outputs: int) -> tuple[int, ...]:
        """Return a shape of one example's outputs by their number; what `decode` makes of it has the same shapes."""
        return (outputs,)

    def described(self, targets: Any, names: Any) -> str:
        """Describe the targets in a few words for the console, such as "10 classes"."""
        return f"{self.outputs(targets, names):,} outputs"

    def fitted(self, targets: Any, names: Any) -> "Task":
        """Return the task to train, with sizes from the data that the compiled program needs; by default itself."""
        return self

    def constants(self, train_targets: Any) -> dict[str, np.ndarray]:
        """Return constants from the training targets that predictions need, float32; saved with the model's weights."""
        return {}

    def class_counts(self, train_targets: Any, outputs: int) -> np.ndarray | None:
        """Return the number of training examples per class, for `class_weights balanced`; None without classes."""
        return None

    def present(self, targets: Any) -> Any:
        """Return which examples have a target, bool (N,), for NumPy or JAX arrays; by default all.

        If the task is one of several, an example may lack its target (`flaxcnn.tasks.several`). This method is called
        before `check`, so it must accept any arrays.
        """
        first = jax.tree.leaves(targets)[0]
        return np.ones(first.shape[0], bool)

    # In the compiled program: pure functions of arrays.

    @abc.abstractmethod
    def losses(self, values: Any, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> jax.Array:
        """Return the loss of each example, float32 (B,).

        Args:
            values: an object with `label_smoothing`, `class_weights` and `focal_gamma`, arrays or None
                (`flaxcnn.training.Hyperparameters`); None for the plain loss, which evaluation reports.
            constants: the result of `constants`.
            outputs: the model's outputs, float32 (B, outputs).
            targets: the examples' targets, arrays (B, ...).
        """

    @abc.abstractmethod
    def statistics(self, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> dict[str, jax.Array]:
        """Return per-example statistics, (B, ...) each; `measures` computes the logged metrics from their sums.

        Booleans are counted exactly.
        """

    @abc.abstractmethod
    def measures(self, sums: Mapping[str, Any], examples: Any) -> dict[str, Any]:
        """Return the logged metrics from the sums of `statistics` over a number of examples.

        In the compiled step the sums are means and `examples` is 1. Use only plain arithmetic that works for numbers,
        NumPy arrays and JAX arrays, and return finite values for all sums.
        """

    def examples(self, sums: Mapping[str, Any]) -> dict[str, int]:
        """Return the number of examples behind metrics that do not cover all examples, by the metrics' name prefix."""
        return {}

    @abc.abstractmethod
    def decode(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> dict[str, jax.Array]:
        """Return the predictions for each example, arrays (B, ...) of fixed size, by name."""

    def explained(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> jax.Array:
        """Return the numbers of each example that can be explained, float32 (B, K); by default the outputs.

        A pure function with a useful gradient: a class's logit rather than its probability, which saturates.
        """
        return outputs

    def move(self, targets: Any, source_2HW: jax.Array) -> Any:
        """Return one example's targets after augmentation; called where `moves` is True.

        Args:
            targets: of one example, arrays without their first axis: a box, points, a mask.
            source_2HW: for each pixel of the augmented image the row and the column of the original at which it is
                read, in pixels, float32; outside of the original for what is padded.
        """
        return targets

    def tile(self, parts: Sequence[Any], tiles: Tiles) -> Any:
        """Return the targets of an image that is made of parts of four; called where `uses` names "mosaic".

        Args:
            parts: the targets of each of the four images, arrays without their first axis.
            tiles: where in the image each part lies, and by how much its image was moved.
        """
        what = f"the task {self.name} names mosaic among what it uses, and has no method for it"
        raise ConfigError(what, where=f"{self.name}.tile", fix="write the method, or leave out the name")

    def check_range(self, outputs: int, targets: Any) -> None:  # noqa: B027 -- most have nothing to check
        """Add checks of the targets' values to the program (`checkify`), for `check_targets=True`."""

    # On the host, in float64.

    def difference(self, found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
        """Return how far predictions are from those wanted of the same images: a file is held against its model so.

        By default the largest difference, as a fraction of the largest wanted number where that is above 1.

        Args:
            found: the result of `decode`, on another machine or in another program.
            wanted: the same, of the model.

        Returns:
            Infinity where they are not the same arrays by name and shape, or one is not a number.
        """
        return largest_difference(found, wanted)

    @abc.abstractmethod
    def scores(self, predicted: Predicted) -> Scores:
        """Return the metrics of predictions; raises DataError if a prediction is not finite."""

    def tuned(self, predicted: Predicted) -> dict[str, np.ndarray]:
        """Return the constants, including those chosen on these validation predictions."""
        return dict(predicted.constants)

    def report(self, predicted: Predicted) -> dict[str, Any]:
        """Return the content of `test_metrics.json`: every metric, None for an undefined one."""
        found = measured(self.scores(predicted), len(leaf(predicted.targets)))
        return {name: as_json(value) for name, value in found.items()}

    def pictures(self, predicted: Predicted) -> Iterable[Picture]:
        """Return pictures that illustrate the predictions; by default none."""
        return ()

    def parts(self, test: Predicted, validation: Predicted | None, interval: Interval) -> Iterable[Part]:
        """Return what a report of a run says of its predictions beside the metrics; by default nothing.

        Args:
            test: the predictions of the test images, with names.
            validation: those of the validation images, by which the model is calibrated; None without any.
            interval: of a share of the test images; over groups where there are some.
        """
        return ()

    def mistakes(self, predicted: Predicted, calibration: Mapping[str, Any], most: int) -> Sequence[Mistakes]:
        """Return how wrong predictions are; of several heads, of each. By default nothing is known of it.

        Args:
            predicted: the predictions, with targets and names.
            calibration: as the method of this name returns it; {} where there were no validation images.
            most: how many of the worst to name.
        """
        return ()

    def calibration(self, validation: Predicted) -> dict[str, Any]:
        """Return what makes `answers` as sure as they should be, chosen on validation predictions, as JSON has it."""
        return {}

    def answers(self, predicted: Predicted, calibration: Mapping[str, Any], top: int) -> list[dict[str, Any]]:
        """Return what is predicted of each example in names and numbers, as JSON has it.

        Args:
            predicted: the predictions, with names; targets and images are not looked at.
            calibration: as the method of this name returns it; {} where there were no validation images.
            top: how many classes to name, the most probable first.
        """
        found = {name: np.asarray(array).tolist() for name, array in predicted.predictions.items()}
        return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]

    def located(self, answer: dict[str, Any], place: Callable[[Sequence[float]], list[float]]) -> dict[str, Any]:
        """Return an answer of `answers` whose places are those of the original image; most answers have none.

        Args:
            answer: of one image, in pixels of the image that the model was given.
            place: returns a box y0, x0, y1, x1 of that image in pixels of the original, clipped to it.
        """
        return answer

    def explained_names(self, names: Any, count: int) -> tuple[str, ...]:
        """Return what each of the K numbers of `explained` is called, K different names.

        Args:
            names: the names of the targets' values (`Dataset.target_names`).
            count: K.
        """
        if isinstance(names, Sequence) and not isinstance(names, str) and len(names) == count:
            return tuple(map(str, names))
        return tuple(f"output_{number}" for number in range(1, count + 1))

    def chosen(self, of: str | None, names: Any, numbers_NxK: np.ndarray) -> np.ndarray:
        """Return which of its numbers is explained of each example, int (N,).

        Args:
            of: one of `explained_names`; None for what the task answers, by default the largest number.
            names: as for `explained_names`.
            numbers_NxK: the result of `explained`.

        Raises:
            ConfigError: there is no number of that name.
        """
        if of is None:
            return numbers_NxK.argmax(1)
        return np.full(len(numbers_NxK), position_of(of, self.explained_names(names, numbers_NxK.shape[1])))

    def differences(self, a: Predicted, b: Predicted, called: tuple[str, str]) -> Sequence[str] | None:
        """Return lines with the task's own significance test of two models on the same examples; None for none."""
        return None


def require_names(names: Any, count: int | None, where: str) -> None:
    """Raise DataError if there are no names for the targets' values, or not `count` names; None for any number."""
    if not isinstance(names, Sequence) or isinstance(names, str) or not names or count not in (None, len(names)):
        called = isinstance(names, Sequence) and not isinstance(names, str)
        raise DataError(
            "not one name for each value",
            where=f"{where} target names",
            expected="one name for each value" if count is None else count,
            found=len(names) if called else "none",
        )


def position_of(of: str, known: Sequence[str]) -> int:
    """Return the position of what is to be explained among the names that there are; raises ConfigError without it."""
    if of not in known:
        raise ConfigError("not among what this model answers", where="of", found=of, fix=nearest(str(of), known))
    return known.index(of)


def leaf(targets: Any) -> np.ndarray:
    """Return one array of the targets, to read the number of examples from."""
    return next(array for _, array in leaves(targets))


def measured(scores: Scores, examples: int, names: Collection[str] | None = None) -> dict[str, float]:
    """Return the scalar metrics with every example counted once."""
    found = scores.measure(np.ones((1, examples), np.int32), names)
    return {name: value[0].item() for name, value in found.items() if value.ndim == 1}


def require_used(task: Task, option: str, asked: bool, where: str) -> None:
    """Raise ConfigError if an option is set that the task does not support."""
    if asked and option not in task.uses:
        raise ConfigError(f"the task {task.name} does not use it", where=where, fix="remove it")
