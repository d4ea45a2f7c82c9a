"""The numbers of a trained model on the test set: while it trains, at the end, and again from a run's folder."""

import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flaxcnn.config import with_data
from flaxcnn.contracts import check_variables, derive_contract
from flaxcnn.data import Split
from flaxcnn.evaluation import Sums, evaluate
from flaxcnn.runs.folder import RunFolder
from flaxcnn.runs.record import SUMMARY, read_config, require_same_data
from flaxcnn.runs.setup import set_up
from flaxcnn.runs.weights import WEIGHTS, load_weights, sha256_of


class Evaluator:
    """A test set on the device, and the one compiled program that evaluates any first part of it.

    Args:
        model: the model.
        variables: any of its variables, for their shapes.
        test: the test split.
        first: how many of its first images `first_sums` evaluates; all of them where there are fewer.
    """

    def __init__(self, model: nn.Module, variables: Any, test: Split, first: int):
        self.examples, self.first = len(test), min(first, len(test))
        self._images, self._labels = jnp.asarray(test.images), jnp.asarray(test.labels)
        started = time.perf_counter()
        self._program = evaluate.lower(model, variables, self._images, self._labels, jnp.int32(0)).compile()
        self.compile_seconds = time.perf_counter() - started
        self.seconds = 0.0  # spent evaluating, so far

    def first_sums(self, variables: Any) -> Sums:
        """Return the sums over the first images."""
        return self._run(variables, self.first)[0]

    def final_numbers(self, variables: Any) -> tuple[dict[str, Any], jax.Array]:
        """Return the numbers that a summary reports, and the logits of all test images."""
        everything, logits = self._run(variables, self.examples)
        numbers = {
            "test_accuracy": everything.accuracy,
            f"test_accuracy_first_{self.first}": self.first_sums(variables).accuracy,
            "test_loss": everything.mean_loss,
            "test_examples": self.examples,
        }
        return numbers, logits

    def _run(self, variables: Any, examples: int) -> tuple[Sums, jax.Array]:
        started = time.perf_counter()
        sums, logits = self._program(variables, self._images, self._labels, jnp.int32(examples))
        jax.block_until_ready(logits)
        self.seconds += time.perf_counter() - started
        return sums, logits


def evaluate_run(
    folder: RunFolder, source: str | None = None, data_dir: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evaluate the weights that a run saved, on the test set that it was trained beside.

    Args:
        folder: the run's.
        source: where its data lie now; None for where they lay.
        data_dir: likewise, for TensorFlow data sets.

    Returns:
        The numbers now, and the same ones as the run's `summary.json` has them.

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
    check_variables(saved, derive_contract(setup.model, setup.dataset.image_shape), setup.dataset.classes)
    variables = jax.tree.map(jnp.asarray, saved)
    evaluator = Evaluator(setup.model, variables, setup.dataset.test, experiment.logging.test_examples)
    numbers, _ = evaluator.final_numbers(variables)
    numbers["weights_sha256"] = sha256_of(variables["params"])
    return numbers, {key: recorded.get(key) for key in numbers}
