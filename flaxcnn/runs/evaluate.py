"""A run's saved weights, evaluated again: `flaxcnn evaluate`."""

from typing import Any, NamedTuple

import jax
import numpy as np

from flaxcnn.contracts import derive_contract
from flaxcnn.evaluation.intervals import bootstrap_intervals
from flaxcnn.models import folded
from flaxcnn.runs.evaluator import Evaluator
from flaxcnn.runs.folder.named import NOTHING, Named
from flaxcnn.runs.folder.record import read_config, read_summary, require_same_data
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.folder.weights import WEIGHTS, load_weights, sha256_of
from flaxcnn.runs.setup import Setup, anywhere, set_up
from flaxcnn.tasks import measured


class Evaluated(NamedTuple):
    """A run's weights, evaluated again."""

    numbers: dict[str, Any]  # as `summary.json` has them, but computed now
    recorded: dict[str, Any]  # the same ones from `summary.json`
    metrics: dict[str, tuple[float, tuple[float, float]]]  # of the test set, each with its 95 % bootstrap interval


def evaluate_run(
    folder: RunFolder, source: str | None = None, data_dir: str | None = None, named: Named = NOTHING
) -> Evaluated:
    """Evaluate a run's saved weights on the run's data.

    Args:
        folder: the run's folder.
        source: the data's new source; None for the recorded source.
        data_dir: the new folder of TensorFlow data sets; None for the recorded one.
        named: the run's user code, by field, named again.

    Raises:
        RunFolderError: a file of the run is missing or damaged.
        DataError: the data changed.
        ContractError: the weights do not fit the model.
    """
    recorded = read_summary(folder)
    setup = set_up(anywhere(read_config(folder, named).file.experiment, source, data_dir))
    require_same_data(folder, setup.dataset)
    variables = saved_variables(folder, setup)
    model = folded(setup.model)
    numbers, variables, predictions = Evaluator(setup, model, variables).final_numbers(variables)
    numbers["weights_sha256"] = sha256_of(variables["params"])
    task, examples, groups = setup.task, len(predictions.index_N), predictions.groups_N
    scores = task.scores(predictions.predicted())
    values = measured(scores, examples, task.metrics)
    intervals = bootstrap_intervals(scores, task.metrics, examples, groups_N=groups)
    metrics = {name: (values[name], intervals[name]) for name in task.metrics}
    return Evaluated(numbers, {key: recorded.get(key) for key in numbers}, metrics)


def saved_variables(folder: RunFolder, setup: Setup) -> Any:
    """Return a run's saved variables, on the devices, checked against its model; raises as `evaluate_run`."""
    model, image = folded(setup.model), setup.dataset.image_shape
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image), np.float32))
    contract = derive_contract(model, image)
    saved = load_weights(folder.path / WEIGHTS, contract, setup.outputs, shapes, setup.constants)
    return jax.device_put(saved, setup.layout.of_tree(saved))
