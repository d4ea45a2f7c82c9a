"""A run's saved weights, evaluated again: `flaxcnn evaluate`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxcnn.adapters import FlaxModule
from flaxcnn.contracts import derive_contract
from flaxcnn.evaluation.intervals import bootstrap_intervals
from flaxcnn.models import folded
from flaxcnn.runs.evaluator import Evaluator
from flaxcnn.runs.folder.environment import changed, hardware, versions
from flaxcnn.runs.folder.named import NOTHING, Named
from flaxcnn.runs.folder.record import read_config, read_last_environment, read_summary, require_same_data
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.folder.weights import WEIGHTS, load_weights, sha256_of
from flaxcnn.runs.given import anywhere
from flaxcnn.runs.setup import Setup, set_up
from flaxcnn.tasks import measured


class Evaluated(NamedTuple):
    """A run's weights, evaluated again."""

    numbers: dict[str, Any]  # as `summary.json` has them, but computed now
    recorded: dict[str, Any]  # the same ones from `summary.json`
    metrics: dict[str, tuple[float, tuple[float, float]]]  # of the test set, each with its 95 % bootstrap interval
    changed: list[tuple[str, str, str]]  # versions and hardware that differ from the run's: name, then, now


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
    recorded, before = read_summary(folder), read_last_environment(folder)
    setup = set_up(anywhere(read_config(folder, named).file.experiment, source, data_dir))
    require_same_data(folder, setup.dataset)
    variables = saved_variables(folder, setup)
    model = folded(setup.model)
    numbers, variables, predictions, _ = Evaluator(setup, model, variables).final_numbers(variables)
    numbers["weights_sha256"] = sha256_of(variables["params"])
    task, examples, groups = setup.task, len(predictions.index_N), predictions.groups_N
    scores = task.scores(predictions.predicted())
    values = measured(scores, examples, task.metrics)
    intervals = bootstrap_intervals(scores, task.metrics, examples, groups_N=groups)
    metrics = {name: (values[name], intervals[name]) for name in task.metrics}
    differs = changed(before, {**versions(), **hardware(setup.layout.mesh.size)})
    return Evaluated(numbers, {key: recorded.get(key) for key in numbers}, metrics, differs)


def saved_variables(folder: RunFolder, setup: Setup) -> Any:
    """Return a run's saved variables, on the devices, checked against its model; raises as `evaluate_run`."""
    saved = variables_of(folder, folded(setup.model), setup.dataset.image_shape, setup.outputs, setup.constants)
    return jax.device_put(saved, setup.layout.of_tree(saved))


def variables_of(
    folder: RunFolder,
    model: FlaxModule,
    image_shape: tuple[int, int, int],
    outputs: int,
    constants: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Return a run's saved variables, checked against its model.

    Args:
        folder: of the run.
        model: of the run, folded.
        image_shape: that it takes.
        outputs: how many it has.
        constants: that its task learned, for their shapes.

    Raises:
        RunFolderError, ContractError: as `load_weights`.
    """
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image_shape), np.float32))
    contract = derive_contract(model, image_shape)
    return load_weights(folder.path / WEIGHTS, contract, outputs, shapes, constants)
