"""Likely label errors of a run's data, for the page of `flaxcnn data --run`."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flaxcnn.data import Dataset, Split
from flaxcnn.data.inspection.examples import Examples
from flaxcnn.data.inspection.findings import MOST_ITEMS, Finding, Item
from flaxcnn.data.sources.by_name import uses
from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.label_errors import LabelErrors, label_errors
from flaxcnn.models import folded
from flaxcnn.runs.evaluate import saved_variables
from flaxcnn.runs.evaluator import Evaluator
from flaxcnn.runs.folder.named import NOTHING, Named
from flaxcnn.runs.folder.record import read_config, require_same_data
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import anywhere
from flaxcnn.runs.setup import set_up
from flaxcnn.tasks.classification.task import Classification

_HELD_OUT = (
    "The run is confident of another class than the given one, by the thresholds of confident learning (Northcutt et"
    " al. 2021). It was not trained on these images. The worst is first."
)
_TRAINED = (
    "As for the other splits, but the run was trained on these images, and may have learned their wrong labels: errors"
    " may be missing here. To check all images, train runs with other test splits."
)


class Checked(NamedTuple):
    """A run's data as the run divided them, and the labels that are probably wrong."""

    dataset: Dataset
    findings: list[Finding]


def check_labels(folder: RunFolder, source: str, data_dir: str | None = None, named: Named = NOTHING) -> Checked:
    """Return a run's data and their likely label errors: of the test and validation images, and of those of training.

    Files that became unusable since the run are skipped, and not an error, as long as the data are the same.

    Args:
        folder: of a finished run of the task classification.
        source: the data's source.
        data_dir: the folder of the data, as `data.dir`; None for the recorded one.
        named: the run's user code, by field, named again.

    Raises:
        ConfigError: the run has another task.
        RunFolderError: a file of the run is missing or damaged.
        DataError: the data are not the run's.
        ContractError: the weights do not fit the model.
    """
    experiment = anywhere(read_config(folder, named).file.experiment, source, data_dir)
    if experiment.task.name != Classification.name:
        raise ConfigError(
            "label errors need one class per image",
            where="--run",
            expected="a run of the task classification",
            found=experiment.task.name,
        )
    if "on_bad" in uses(source):
        experiment = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, on_bad="skip"))
    setup = set_up(experiment)
    require_same_data(folder, setup.dataset)
    variables = saved_variables(folder, setup)
    evaluator = Evaluator(setup, folded(setup.model), variables)
    dataset = dataclasses.replace(setup.dataset, train=setup.train, validation=setup.validation)
    examples = Examples(dataset)
    starts = dict(zip(examples.split_names, examples.starts.tolist(), strict=False))

    def finding(what: str, advice: str, splits: Sequence[str]) -> list[Finding]:
        chosen = [dataset.splits[name] for name in splits]
        numbers = np.concatenate(
            [starts[name] + np.arange(len(split)) for name, split in zip(splits, chosen, strict=True)]
        )
        labels = np.concatenate([split.targets for split in chosen])
        probabilities = np.concatenate([_probabilities(evaluator, variables, split) for split in chosen])
        found = label_errors(labels, probabilities)
        items = _items(examples, numbers, labels, found)
        return [Finding(what, len(found.positions), advice, items)] if items else []

    held_out = [name for name in dataset.splits if name != "train"]
    return Checked(
        dataset,
        finding(f"likely label errors in {' and '.join(held_out)}", _HELD_OUT, held_out)
        + finding("likely label errors in training, on which the run was trained", _TRAINED, ["train"]),
    )


def _probabilities(evaluator: Evaluator, variables: object, split: Split) -> np.ndarray:
    """Return each class's probability, float64 (N, K)."""
    logits = evaluator.predictions_of(variables, split)["logits"].astype(np.float64)
    powers = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    return powers / np.sum(powers, axis=1, keepdims=True)


def _items(examples: Examples, numbers: np.ndarray, labels: np.ndarray, found: LabelErrors) -> tuple[Item, ...]:
    names = examples.dataset.target_names
    return tuple(
        Item(
            f"{examples.name_of(number)}: given {names[labels[position]]} ({given:.3f}), predicted {names[other]}"
            f" ({predicted:.3f})",
            (number,),
        )
        for position, number, other, given, predicted in zip(
            found.positions[:MOST_ITEMS].tolist(),
            numbers[found.positions[:MOST_ITEMS]].tolist(),
            found.classes.tolist(),
            found.given.tolist(),
            found.predicted.tolist(),
            strict=False,
        )
    )
