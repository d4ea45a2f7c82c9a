"""The numbers of a trained model: while it trains, at the end, and again from a run's folder."""

import math
import operator
import time
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxcnn.adapters import FlaxModule
from flaxcnn.contracts import derive_contract
from flaxcnn.data import Split, choose
from flaxcnn.evaluation import Sums, evaluate
from flaxcnn.evaluation.intervals import binomial_interval, bootstrap_intervals
from flaxcnn.evaluation.metrics import SCALARS, classification_metrics
from flaxcnn.models import folded
from flaxcnn.runs.folder import RunFolder
from flaxcnn.runs.named import NOTHING, Named
from flaxcnn.runs.record import read_config, read_summary, require_same_data
from flaxcnn.runs.setup import Setup, anywhere, set_up
from flaxcnn.runs.weights import WEIGHTS, load_weights, sha256_of
from flaxcnn.training.timeline import Timeline

_PIECE_BYTES = 32 * 2**20  # of images that are brought to the devices to be evaluated, at once


class _Piece(NamedTuple):
    """Some images of a split: `bring` returns them and their labels, on the devices; the rest is padding."""

    bring: Callable[[], tuple[jax.Array, jax.Array]]
    examples: int


Numbers = tuple[Sums, np.ndarray]  # of a split: its sums and its logits


class StartedRow(NamedTuple):
    """The evaluation of a logged row that is being computed: sums on the device, None where there is nothing."""

    test: Sums | None
    validation: Sums | None
    at: float


class Evaluator:
    """The images to measure on, and the compiled programs that evaluate any first part of them.

    Images lie on the devices; those of a split that does not fit there are brought to them piece by piece.

    Args:
        setup: the data, where they go, and how many test images a row looks at.
        model: the setup's, or what it is folded into.
        variables: any of the model's variables, for their shapes.
        timeline: of the devices, shared with what else they do; None for one of its own.
    """

    def __init__(self, setup: Setup, model: FlaxModule, variables: Any, timeline: Timeline | None = None):
        self.first = min(setup.experiment.logging.test_examples, len(setup.dataset.test))
        self.seconds = self.compile_seconds = 0.0  # so far
        self._setup, self._model = setup, model
        self._timeline = Timeline(setup.placement) if timeline is None else timeline
        self._variables = setup.placement.targets(variables)
        self._programs: dict[int, Any] = {}  # by the number of images
        # Where no row looks at the test images, they are placed when all of them are measured, at the end.
        self._test = self._place(setup.dataset.test) if self.first else None
        self._validation = None if setup.validation is None else self._place(setup.validation)

    @property
    def texts(self) -> list[str]:
        """The compiled programs, as XLA prints them."""
        return [program.as_text() for program in self._programs.values()]

    def start_row(self, variables: Any) -> StartedRow:
        """Start to evaluate what a logged row shows: the first test images, and all validation images."""
        at = time.perf_counter()
        test = None if self._test is None else self._sums(variables, self._test, self.first)
        validation = None if self._validation is None else self._sums(variables, self._validation)
        return StartedRow(test, validation, at)

    def finish_row(self, started: StartedRow) -> dict[str, float | None]:
        """Wait for a row's evaluation, and return its numbers by its fields' names."""
        test, validation = jax.device_get((started.test, started.validation))
        self.seconds += self._timeline.lap(started.at)
        return {
            "test_accuracy": None if test is None else test.accuracy,
            "validation_accuracy": None if validation is None else validation.accuracy,
            "validation_loss": None if validation is None else validation.mean_loss,
        }

    def final_numbers(self, variables: Any) -> tuple[dict[str, Any], np.ndarray]:
        """Return the numbers that a summary reports, and the logits of all test images.

        The training images are the first ones, as many as there are test images and none of them changed: what the
        model does better on them than on the test images is the generalisation gap.
        """
        at, compiled = time.perf_counter(), self.compile_seconds
        test, logits = self._numbers(variables, self._test or self._place(self._setup.dataset.test))
        numbers = {
            "test_accuracy": test.accuracy,
            "test_accuracy_interval_95": list(binomial_interval(int(test.correct), int(test.examples))),
            "test_loss": test.mean_loss,
            "test_examples": int(test.examples),
        }
        if self.first:
            correct = np.argmax(logits[: self.first], -1) == self._setup.dataset.test.labels[: self.first]
            numbers[f"test_accuracy_first_{self.first}"] = int(correct.sum()) / self.first
        if self._validation is not None:
            validation = self._sums(variables, self._validation)
            numbers |= {
                "validation_accuracy": validation.accuracy,
                "validation_loss": validation.mean_loss,
                "validation_examples": int(validation.examples),
            }
        seen = self._setup.train
        count = min(len(seen), len(self._setup.dataset.test))
        train = self._sums(variables, self._place(Split(choose(seen.images, np.arange(count)), seen.labels[:count])))
        numbers |= {
            "train_accuracy": train.accuracy,
            "train_loss": train.mean_loss,
            "train_examples": count,
            "generalization_gap": train.accuracy - test.accuracy,
            "generalization_gap_loss": test.mean_loss - train.mean_loss,
        }
        self.seconds += self._timeline.lap(at) - (self.compile_seconds - compiled)
        return numbers, logits

    def _place(self, split: Split) -> list[_Piece]:
        """Return a split in the pieces in which it is evaluated, once there is a program for so many images.

        One that fits is one piece, on the devices.
        """
        placement = self._setup.placement
        if self._setup.fits(split):
            images, labels = placement.put(np.asarray(split.images)), placement.put(split.labels)
            self._compile(images.shape)
            return [_Piece(lambda: (images, labels), len(split))]
        size = min(len(split), max(1, _PIECE_BYTES // math.prod(split.images.shape[1:])))
        self._compile((size, *split.images.shape[1:]))

        def bring(first: int) -> tuple[jax.Array, jax.Array]:
            images, labels = split.images[first : first + size], split.labels[first : first + size]
            missing = [(0, size - len(images))]
            padded = np.pad(images, missing + [(0, 0)] * 3), np.pad(labels, missing)
            return placement.put(padded[0]), placement.put(padded[1])

        return [_Piece(partial(bring, first), min(size, len(split) - first)) for first in range(0, len(split), size)]

    def _compile(self, shape: tuple[int, ...]) -> None:
        if shape[0] in self._programs:
            return
        started, placement = time.perf_counter(), self._setup.placement
        images, labels = (
            jax.ShapeDtypeStruct(of, dtype, sharding=placement.replicated)
            for of, dtype in ((shape, np.uint8), (shape[:1], np.int32))
        )
        lowered = evaluate.lower(
            self._model,
            self._variables,
            images,
            labels,
            self._timeline.after_last(np.int32(0)),
            sharding=placement.batch if placement.data > 1 else None,
        )
        self._programs[shape[0]] = lowered.compile()
        self.compile_seconds += time.perf_counter() - started

    def _run(self, variables: Any, pieces: list[_Piece], first: int | None) -> Iterator[tuple[Sums, jax.Array, int]]:
        """Yield sums, logits and number of images of each piece of which any of the first images is part."""
        left = sum(piece.examples for piece in pieces) if first is None else first
        before: Sums | None = None
        for piece in pieces:
            examples = min(left, piece.examples)
            if examples == 0:
                break
            if before is not None:  # no more than two pieces lie on the devices, since one waits for the other
                jax.block_until_ready(before)
            images, labels = piece.bring()
            counted = self._timeline.after_last(np.int32(examples))
            sums, logits = self._programs[len(images)](variables, images, labels, counted)
            self._timeline.started(sums.examples)
            yield sums, logits, examples
            left, before = left - examples, sums

    def _sums(self, variables: Any, pieces: list[_Piece], first: int | None = None) -> Sums:
        """Return the sums over the first images, all where `first` is None; those of one piece are not waited for."""
        return reduce(partial(jax.tree.map, operator.add), (sums for sums, *_ in self._run(variables, pieces, first)))

    def _numbers(self, variables: Any, pieces: list[_Piece]) -> Numbers:
        """Return the sums over all images, and their logits."""
        found = [(sums, np.asarray(logits)[:count]) for sums, logits, count in self._run(variables, pieces, None)]
        return reduce(partial(jax.tree.map, operator.add), (sums for sums, _ in found)), np.concatenate(
            [logits for _, logits in found]
        )


class Evaluated(NamedTuple):
    """A run's weights, evaluated again."""

    numbers: dict[str, Any]  # as `summary.json` has them, but computed now
    recorded: dict[str, Any]  # the same ones from `summary.json`
    metrics: dict[str, tuple[float, tuple[float, float]]]  # of the test set, each with its 95 % bootstrap interval


def evaluate_run(
    folder: RunFolder, source: str | None = None, data_dir: str | None = None, named: Named = NOTHING
) -> Evaluated:
    """Evaluate the weights that a run saved, on the data that it was trained on and beside.

    Args:
        folder: the run's.
        source: where its data lie now; None for where they lay.
        data_dir: likewise, for TensorFlow data sets.
        named: the user's own code of the run, by field, named again.

    Raises:
        RunFolderError: a file of the run is missing or damaged.
        DataError: the data are no longer those of the run.
        ContractError: the weights do not fit the model.
    """
    recorded = read_summary(folder)
    setup = set_up(anywhere(read_config(folder, named).file.experiment, source, data_dir))
    require_same_data(folder, setup.dataset)
    model, image = folded(setup.model), setup.dataset.image_shape
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image), np.float32))
    contract = derive_contract(model, image)
    saved = load_weights(folder.path / WEIGHTS, contract, setup.dataset.classes, shapes)
    variables = jax.device_put(saved, setup.placement.of_tree(saved))
    numbers, logits = Evaluator(setup, model, variables).final_numbers(variables)
    numbers["weights_sha256"] = sha256_of(variables["params"])
    labels, logits_NxK = setup.dataset.test.labels, logits
    measured, intervals = classification_metrics(labels, logits_NxK), bootstrap_intervals(labels, logits_NxK)
    metrics = {name: (getattr(measured, name), intervals[name]) for name in SCALARS}
    return Evaluated(numbers, {key: recorded.get(key) for key in numbers}, metrics)
