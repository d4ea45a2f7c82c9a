"""Evaluation of a model during training, at the end, and again from a run's folder."""

import math
import operator
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxcnn.adapters import FlaxModule
from flaxcnn.data import Split
from flaxcnn.data.targets import choose_targets, map_targets
from flaxcnn.errors import TrainingError
from flaxcnn.evaluation import Sums, evaluate
from flaxcnn.evaluation.intervals import binomial_interval, bootstrap_intervals
from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.evaluation.table import measured_columns
from flaxcnn.layers.pixels import CONSTANTS
from flaxcnn.models.views import over_views
from flaxcnn.runs.running import Clocks
from flaxcnn.runs.setup import Setup
from flaxcnn.tasks import Predicted, Task, measured
from flaxcnn.training.device_queue import DeviceQueue

_PIECE_BYTES = 32 * 2**20  # maximum size of the images that are sent to the devices at once for evaluation


class _Piece(NamedTuple):
    """Some images of a split: `bring` returns them and their targets, on the devices; the rest is padding."""

    bring: Callable[[], tuple[jax.Array, Any]]
    examples: int


Numbers = tuple[Sums, dict[str, np.ndarray]]  # of a split: its sums and its predictions


class Final(NamedTuple):
    """What a finished training is worth.

    Attributes:
        numbers: of the summary.
        variables: of the model, with the constants that the task chose on the validation images.
        test: the predictions for the test images.
        validation: those for the validation images; None without.
    """

    numbers: dict[str, Any]
    variables: Any
    test: Predictions
    validation: Predictions | None


class StartedRow(NamedTuple):
    """A running evaluation of a logged row: sums on the device, None for those not computed."""

    test: Sums | None
    validation: Sums | None
    at: float


class Evaluator:
    """Evaluates a model on the test and validation images, or on the first of them, with compiled programs.

    Images are on the devices; a split that does not fit is sent piece by piece.

    Args:
        setup: the data, the device layout, and the number of test images per row.
        model: the setup's model, or its folded form.
        variables: any variables of the model, for their shapes.
        device_queue: the devices' queue, shared with other work on them; None for a new one.
        clocks: the clocks to add evaluation time to; None for new ones.
    """

    def __init__(
        self,
        setup: Setup,
        model: FlaxModule,
        variables: Any,
        device_queue: DeviceQueue | None = None,
        clocks: Clocks | None = None,
    ):
        self.first = min(setup.experiment.logging.test_examples, len(setup.dataset.test))
        self.clocks = Clocks() if clocks is None else clocks
        self._setup, self._model = setup, over_views(model, setup.experiment.model.tta)
        self._device_queue = DeviceQueue(setup.layout) if device_queue is None else device_queue
        self._variables = setup.layout.targets(variables)
        self._programs: dict[int, Any] = {}  # by the number of images
        # If no row uses the test images, they are placed at the end, when all of them are evaluated.
        self._test = self._place(setup.dataset.test) if self.first else None
        self._validation = None if setup.validation is None else self._place(setup.validation)

    @property
    def texts(self) -> list[str]:
        """The texts of the compiled programs, from XLA."""
        return [program.as_text() for program in self._programs.values()]

    def start_row(self, variables: Any) -> StartedRow:
        """Start the evaluation for a logged row: the first test images, and all validation images."""
        at = time.perf_counter()
        test = None if self._test is None else self._sums(variables, self._test, self.first)
        validation = None if self._validation is None else self._sums(variables, self._validation)
        return StartedRow(test, validation, at)

    def finish_row(self, started: StartedRow) -> dict[str, float | None]:
        """Wait for a row's evaluation and return its numbers by field name."""
        test, validation = jax.device_get((started.test, started.validation))
        self.clocks.evaluation += self._device_queue.lap(started.at)
        columns = measured_columns(
            self._setup.task.logged, tested=True, validated=True
        )  # of every log, measured or not
        found: dict[str, float | None] = dict.fromkeys(columns)
        for kind, sums in (("test", test), ("validation", validation)):
            if sums is not None:
                found |= {f"{kind}_{name}": value for name, value in sums.measures.items()}
        if validation is not None:
            found["validation_loss"] = validation.mean_loss
        return found

    def final_numbers(
        self, variables: Any, meanwhile: Callable[[Predictions], None] = lambda predictions: None
    ) -> Final:
        """Return the summary's numbers, the variables with tuned constants, and the predictions.

        The training images are the first ones, as many as there are test images and none of them changed: what the
        model does better on them than on the test images is the generalisation gap. What a task chooses on validation
        images, a threshold as it may be, is chosen before the test images are looked at.

        Args:
            variables: the trained model's.
            meanwhile: called in a thread with the predictions of the test images, while the training images are
                evaluated; what it raises goes through.

        Raises:
            TrainingError: a loss is not finite, so that no metric means anything.
        """
        at, compiled = time.perf_counter(), self.clocks.compilation
        setup, task = self._setup, self._setup.task
        validated, of_validation = None, None
        if self._validation is not None and setup.validation is not None:
            validated, said = self._numbers(variables, self._validation)
            _require_finite(validated, "validation")
            tuned = self._tuned(variables, setup.validation, said)
            if tuned is not variables:
                variables, validated = tuned, self._sums(tuned, self._validation)
            of_validation = _predictions(setup.validation, said, variables)
        test, said = self._numbers(variables, self._test or self._place(setup.dataset.test))
        _require_finite(test, "test")
        of_test = setup.dataset.test
        count = min(len(setup.train), len(of_test))
        train = self._sums(variables, self._place(setup.train.first(count)))  # under way until it is read
        predictions = _predictions(of_test, said, variables)
        with ThreadPoolExecutor(1) as thread:
            reported = thread.submit(meanwhile, predictions)
            _require_finite(train, "train")
            self.clocks.evaluation += self._device_queue.lap(at) - (self.clocks.compilation - compiled)
            reported.result()
        numbers = {**_test_numbers(task, test, predictions, of_test.groups), "test_examples": int(test.examples)}
        if self.first:
            few = np.arange(self.first)
            first = Predicted(
                choose_targets(of_test.targets, few),
                {name: array[few] for name, array in said.items()},
                predictions.constants,
            )
            for name, value in measured(task.scores(first), self.first, task.logged).items():
                if name in task.logged:
                    numbers[f"test_{name}_first_{self.first}"] = value if math.isfinite(value) else None
        if validated is not None:
            numbers |= {
                **{f"validation_{name}": value for name, value in validated.measures.items()},
                "validation_loss": validated.mean_loss,
                "validation_examples": int(validated.examples),
            }
        main = task.logged[0]
        ends = train.measures[main], test.measures[main]
        better, worse = ends if task.metrics[main].higher_is_better else reversed(ends)
        numbers |= {
            **{f"train_{name}": value for name, value in train.measures.items()},
            "train_loss": train.mean_loss,
            "train_examples": count,
            "generalization_gap": better - worse,
            "generalization_gap_loss": test.mean_loss - train.mean_loss,
        }
        return Final(numbers, variables, predictions, of_validation)

    def predictions_of(self, variables: Any, split: Split) -> dict[str, np.ndarray]:
        """Return the task's predictions for each example of any split, by name."""
        return self._numbers(variables, self._place(split))[1]

    def _tuned(self, variables: Any, validation: Split, predictions: Mapping[str, np.ndarray]) -> Any:
        """Return the variables with the constants that the task chooses on the validation images."""
        constants = _constants(variables)
        tuned = self._setup.task.tuned(Predicted(validation.targets, predictions, constants))
        if all(tuned[name] is constants[name] for name in tuned):
            return variables
        return {**variables, CONSTANTS: {name: self._setup.layout.put(value) for name, value in tuned.items()}}

    def _place(self, split: Split) -> list[_Piece]:
        """Return a split's pieces for evaluation, after compiling a program for their number of images.

        A split that fits is a single piece, on the devices.
        """
        layout = self._setup.layout
        if self._setup.fits(split):
            images, targets = jax.tree.map(layout.put, (np.asarray(split.images), split.targets))
            self._compile(images.shape, split.targets)
            return [_Piece(lambda: (images, targets), len(split))]
        size = min(len(split), max(1, _PIECE_BYTES // math.prod(split.images.shape[1:])))
        self._compile((size, *split.images.shape[1:]), split.targets)

        def bring(first: int) -> tuple[jax.Array, Any]:
            chosen = split.images[first : first + size], choose_targets(split.targets, slice(first, first + size))

            def padded(array: np.ndarray) -> jax.Array:
                return layout.put(np.pad(array, [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)))

            images, targets = jax.tree.map(padded, chosen)
            return images, targets

        return [_Piece(partial(bring, first), min(size, len(split) - first)) for first in range(0, len(split), size)]

    def _compile(self, shape: tuple[int, ...], targets: Any) -> None:
        if shape[0] in self._programs:
            return
        started, layout = time.perf_counter(), self._setup.layout

        def shaped(of: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(of, dtype, sharding=layout.replicated)

        lowered = evaluate.lower(
            self._model,
            self._variables,
            shaped(shape, np.uint8),
            map_targets(lambda array: shaped((shape[0], *array.shape[1:]), array.dtype), targets),
            self._device_queue.after_last(np.int32(0)),
            task=self._setup.task,
            sharding=layout.batch if layout.data > 1 else None,
        )
        self._programs[shape[0]] = lowered.compile()
        self.clocks.compilation += time.perf_counter() - started

    def _run(self, variables: Any, pieces: list[_Piece], first: int | None) -> Iterator[tuple[Sums, Any, int]]:
        """Yield sums, predictions and number of images of each piece that contains some of the first images."""
        left = sum(piece.examples for piece in pieces) if first is None else first
        before: Sums | None = None
        for piece in pieces:
            examples = min(left, piece.examples)
            if examples == 0:
                break
            if before is not None:  # no more than two pieces lie on the devices, since one waits for the other
                jax.block_until_ready(before)
            images, targets = piece.bring()
            counted = self._device_queue.after_last(np.int32(examples))
            sums, predictions = self._programs[len(images)](variables, images, targets, counted)
            self._device_queue.started(sums.examples)
            yield sums, predictions, examples
            left, before = left - examples, sums

    def _sums(self, variables: Any, pieces: list[_Piece], first: int | None = None) -> Sums:
        """Return the sums over the first images, or over all if `first` is None; does not wait for a single piece."""
        return reduce(partial(jax.tree.map, operator.add), (sums for sums, *_ in self._run(variables, pieces, first)))

    def _numbers(self, variables: Any, pieces: list[_Piece]) -> Numbers:
        """Return the sums over all images, and all predictions."""
        found = [
            (sums, {name: np.asarray(array)[:count] for name, array in predictions.items()})
            for sums, predictions, count in self._run(variables, pieces, None)
        ]
        sums = reduce(partial(jax.tree.map, operator.add), (sums for sums, _ in found))
        return sums, {name: np.concatenate([each[name] for _, each in found]) for name in found[0][1]}


def _constants(variables: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in variables.get(CONSTANTS, {}).items()}


def _predictions(split: Split, said: Mapping[str, np.ndarray], variables: Any) -> Predictions:
    index = np.arange(len(split), dtype=np.int64)
    return Predictions(index, split.targets, said, _constants(variables), split.groups)


def _require_finite(sums: Sums, split: str) -> None:
    """Raise TrainingError where a trained model's loss on a split is not finite."""
    if not math.isfinite(sums.mean_loss):
        raise TrainingError(
            f"the trained model's {split} loss is not finite",
            where=f"{split} images",
            found=sums.mean_loss,
            fix="train again, with a smaller learning rate",
        )


def _test_numbers(task: Task, sums: Sums, predictions: Predictions, groups_N: np.ndarray | None) -> dict[str, Any]:
    """Return what a summary says of the test images: metrics with their intervals, and the loss.

    The interval of a fraction of examples that stand for themselves is exact; others are the bootstrap's, over groups
    where there are groups.
    """
    names = list(dict.fromkeys((*task.reported, *task.logged)))
    examples = len(predictions.index_N)
    numbers: dict[str, Any] = {}
    scores = task.scores(predictions.predicted())
    scored = measured(scores, examples, names)
    values = {**scored, **sums.measures}
    exact = set(task.counted) if groups_N is None else set()
    drawn = [name for name in names if name not in exact]
    intervals = bootstrap_intervals(scores, drawn, examples, groups_N=groups_N) if drawn else {}
    for name in names:
        numbers[f"test_{name}"] = values[name] if math.isfinite(scored[name]) else None
        if name in exact:
            interval = binomial_interval(int(sums.statistics[task.counted[name]]), examples)
        else:
            interval = intervals[name]
        if all(map(math.isfinite, interval)):
            numbers[f"test_{name}_interval_95"] = list(interval)
    for beginning, count in task.examples(sums.statistics).items():
        numbers[f"test_{beginning}_examples"] = count
    if groups_N is not None:
        numbers["test_groups"] = len(np.unique(groups_N))
    numbers["test_loss"] = sums.mean_loss
    return numbers
