"""What a run's folder says of the run: its config, where it changed, and what it ran on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flaxcnn.config import Experiment, ExperimentFile, PublishedRow, from_json, to_json
from flaxcnn.data import Dataset
from flaxcnn.errors import DataError, RunFolderError
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.runs.folder import RunFolder

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.json", "environment.json", "metrics.jsonl", "summary.json"


class RecordedConfig(NamedTuple):
    """What `config.json` holds."""

    file: ExperimentFile  # the experiment as its last session ran it
    changes: list[dict[str, Any]]  # fields that a later session changed: step, field, before, now


def write_config(folder: RunFolder, file: ExperimentFile, changes: Sequence[dict[str, Any]] = ()) -> None:
    """Write `config.json`; raises as `RunFolder.write` does."""
    published = [list(row) for row in file.published]
    recorded = {"name": file.name, **to_json(file.experiment), "published": published, "changes": list(changes)}
    folder.write_json(CONFIG, recorded)


def read_config(folder: RunFolder) -> RecordedConfig:
    """Read `config.json`.

    Raises:
        RunFolderError: it is missing or damaged.
        ConfigError: a field is unknown or out of its range.
    """
    where = folder.path / CONFIG
    if not where.exists():
        raise RunFolderError(
            "this run was stopped before its config was written", where=where, fix="start it anew, with flaxcnn train"
        )
    recorded = folder.read_json(CONFIG)
    try:
        name, changes = str(recorded.pop("name")), list(recorded.pop("changes"))
        published = tuple(PublishedRow(*row) for row in recorded.pop("published"))
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"damaged: {error}", where=where, expected="name, published and changes") from error
    return RecordedConfig(ExperimentFile(name, from_json(recorded, where), published), changes)


def reported_numbers(experiment: Experiment, test_images: int) -> list[str]:
    """Return the names of the numbers that differ from run to run in the summaries of an experiment's runs.

    Args:
        experiment: the experiment.
        test_images: of its data.
    """
    first = min(experiment.logging.test_examples, test_images)
    return [
        *("test_accuracy", "test_loss"),
        *([f"test_accuracy_first_{first}"] if first else []),
        *(("validation_accuracy", "validation_loss") if experiment.data.validation else ()),
        *("train_accuracy", "train_loss", "generalization_gap", "generalization_gap_loss"),
        *("train_seconds", "save_seconds", "eval_seconds", "compile_seconds", "total_seconds", "images_per_second"),
    ]


def require_same_data(folder: RunFolder, dataset: Dataset) -> None:
    """Raise DataError if the data's digests are not those that the run recorded."""
    recorded = folder.read_json(ENVIRONMENT).get("data_sha256")
    require_same_digests(recorded if isinstance(recorded, dict) else {}, dataset)


def require_same_test_images(folder: RunFolder, other: RunFolder) -> None:
    """Raise DataError if two runs were measured on other test images."""
    ours, theirs = (_test_digests(each) for each in (folder, other))
    if ours != theirs:
        raise DataError(
            "these runs have other test images", where=other.path, expected=f"{ours} as {folder.path}", found=theirs
        )


def _test_digests(folder: RunFolder) -> dict[str, str]:
    digests = folder.read_json(ENVIRONMENT).get("data_sha256", {})
    return {name: digest for name, digest in digests.items() if name.startswith(("t10k", "test"))}


def require_same_digests(recorded: Mapping[str, str], dataset: Dataset) -> None:
    """Raise DataError if the data's digests are not the recorded ones."""
    for name, digest in dataset.digests.items():
        before = recorded.get(name)
        if before != digest:
            raise DataError(
                "the data changed since this run",
                where=f"{dataset.source}: {name}",
                expected=f"SHA-256 {before}",
                found=digest,
                fix="restore the data that the run was trained on",
            )


def read_rows(folder: RunFolder, count: int) -> list[LoggedRow]:
    """Return the first `count` rows of `metrics.jsonl`.

    Raises:
        RunFolderError: there are fewer whole rows, or one is damaged.
    """
    path = folder.path / METRICS
    rows = folder.read_rows(METRICS, count) if count else []
    try:
        return [LoggedRow(**row) for row in rows]
    except TypeError as error:
        raise RunFolderError(f"damaged: {error}", where=path, expected=f"rows of {LoggedRow._fields}") from error
