"""The numbers of a trained model: while it trains, at the end, and again from a run's folder."""

import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.config import with_data
from flaxcnn.contracts import check_variables, derive_contract
from flaxcnn.data import Split
from flaxcnn.evaluation import Sums, evaluate
from flaxcnn.evaluation.intervals import binomial_interval, bootstrap_intervals
from flaxcnn.evaluation.metrics import SCALARS, classification_metrics
from flaxcnn.models import folded
from flaxcnn.runs.folder import RunFolder
from flaxcnn.runs.record import SUMMARY, read_config, require_same_data
from flaxcnn.runs.setup import Setup, set_up
from flaxcnn.runs.weights import WEIGHTS, load_weights, sha256_of


class Evaluator:
    """The images to measure on, on the device, and the compiled programs that evaluate any first part of them.

    Args:
        setup: the data, and how many test images a row looks at.
        model: the setup's, or what it is folded into.
        variables: any of the model's variables, for their shapes.
    """

    def __init__(self, setup: Setup, model: nn.Module, variables: Any):
        self.first = min(setup.experiment.logging.test_examples, len(setup.dataset.test))
        self.seconds = self.compile_seconds = 0.0  # so far
        self._setup, self._model, self._variables = setup, model, jax.eval_shape(lambda: variables)
        self._programs: dict[int, Any] = {}  # by the number of images
        self._test = self._place(setup.dataset.test)
        self._validation = None if setup.validation is None else self._place(setup.validation)

    def row_numbers(self, variables: Any) -> dict[str, float | None]:
        """Return what a logged row says of the first test images and of the validation images, by its fields' names."""
        test = self._run(variables, self._test, self.first)[0] if self.first else None
        validation = None if self._validation is None else self._run(variables, self._validation)[0]
        return {
            "test_accuracy": None if test is None else test.accuracy,
            "validation_accuracy": None if validation is None else validation.accuracy,
            "validation_loss": None if validation is None else validation.mean_loss,
        }

    def final_numbers(self, variables: Any) -> tuple[dict[str, Any], jax.Array]:
        """Return the numbers that a summary reports, and the logits of all test images.

        The training images are the first ones, as many as there are test images and none of them changed: what the
        model does better on them than on the test images is the generalisation gap.
        """
        test, logits = self._run(variables, self._test)
        numbers = {
            "test_accuracy": test.accuracy,
            "test_accuracy_interval_95": list(binomial_interval(int(test.correct), int(test.examples))),
            "test_loss": test.mean_loss,
            "test_examples": int(test.examples),
        }
        if self.first:
            numbers[f"test_accuracy_first_{self.first}"] = self._run(variables, self._test, self.first)[0].accuracy
        if self._validation is not None:
            validation = self._run(variables, self._validation)[0]
            numbers |= {
                "validation_accuracy": validation.accuracy,
                "validation_loss": validation.mean_loss,
                "validation_examples": int(validation.examples),
            }
        seen = self._setup.train
        count = min(len(seen), len(self._setup.dataset.test))
        train = self._run(variables, self._place(Split(seen.images[:count], seen.labels[:count])))[0]
        return {
            **numbers,
            "train_accuracy": train.accuracy,
            "train_loss": train.mean_loss,
            "train_examples": count,
            "generalization_gap": train.accuracy - test.accuracy,
            "generalization_gap_loss": test.mean_loss - train.mean_loss,
        }, logits

    def _place(self, split: Split) -> tuple[jax.Array, jax.Array]:
        """Return a split on the device, once there is a program for so many images."""
        images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
        if len(split) not in self._programs:
            started = time.perf_counter()
            lowered = evaluate.lower(self._model, self._variables, images, labels, jnp.int32(0))
            self._programs[len(split)] = lowered.compile()
            self.compile_seconds += time.perf_counter() - started
        return images, labels

    def _run(
        self, variables: Any, placed: tuple[jax.Array, jax.Array], first: int | None = None
    ) -> tuple[Sums, jax.Array]:
        started = time.perf_counter()
        images, labels = placed
        examples = len(images) if first is None else first
        sums, logits = self._programs[len(images)](variables, images, labels, jnp.int32(examples))
        jax.block_until_ready(logits)
        self.seconds += time.perf_counter() - started
        return sums, logits


class Evaluated(NamedTuple):
    """A run's weights, evaluated again."""

    numbers: dict[str, Any]  # as `summary.json` has them, but computed now
    recorded: dict[str, Any]  # the same ones from `summary.json`
    metrics: dict[str, tuple[float, tuple[float, float]]]  # of the test set, each with its 95 % bootstrap interval


def evaluate_run(folder: RunFolder, source: str | None = None, data_dir: str | None = None) -> Evaluated:
    """Evaluate the weights that a run saved, on the data that it was trained on and beside.

    Args:
        folder: the run's.
        source: where its data lie now; None for where they lay.
        data_dir: likewise, for TensorFlow data sets.

    Raises:
        RunFolderError: a file of the run is missing or damaged.
        DataError: the data are no longer those of the run.
        ContractError: the weights do not fit the model.
    """
    recorded = folder.read_json(SUMMARY)
    experiment = with_data(read_config(folder).file.experiment, source, data_dir)
    setup = set_up(experiment)
    require_same_data(folder, setup.dataset)
    saved = load_weights(folder.path / WEIGHTS)
    model = folded(setup.model)
    check_variables(saved, derive_contract(model, setup.dataset.image_shape), setup.dataset.classes)
    variables = jax.tree.map(jnp.asarray, saved)
    numbers, logits = Evaluator(setup, model, variables).final_numbers(variables)
    numbers["weights_sha256"] = sha256_of(variables["params"])
    labels, logits_NxK = setup.dataset.test.labels, np.asarray(logits)
    measured, intervals = classification_metrics(labels, logits_NxK), bootstrap_intervals(labels, logits_NxK)
    metrics = {name: (getattr(measured, name), intervals[name]) for name in SCALARS}
    return Evaluated(numbers, {key: recorded.get(key) for key in numbers}, metrics)
