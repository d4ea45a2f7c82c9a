"""The record of a run in its folder: its config, config changes, environment, logged rows and summary."""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from flaxcnn.config import Experiment, ExperimentFile, PublishedRow, from_json, to_json
from flaxcnn.data import Dataset
from flaxcnn.errors import DataError, RunFolderError
from flaxcnn.evaluation.table import LoggedLine, LoggedRow
from flaxcnn.runs.folder.named import NOTHING, Named, with_named_code
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.tasks import Task

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.json", "environment.json", "metrics.jsonl", "summary.json"
LAYERS = "layers.contract"  # of a user's own model


_NAME_BYTES = 255  # of a file, from which a config has its name


class RecordedChange(TypedDict):
    """A field that a later session of the run changed."""

    step: int
    field: str
    before: Any
    now: Any


class RecordedConfig(NamedTuple):
    """What `config.json` says."""

    file: ExperimentFile  # the experiment as its last session ran it, with code of its user's own where it is named
    changes: list[RecordedChange]


class ConfigFile(TypedDict):
    """A config as JSON has it; the experiment's sections stand beside these fields."""

    name: str
    published: list[tuple[int, float | None, float | None]]
    changes: list[RecordedChange]
    code: NotRequired[dict[str, str]]


class _Computed(TypedDict):
    """With what a session of a run computed."""

    packages: NotRequired[dict[str, str]]
    hardware: NotRequired[dict[str, str]]


class Environment(_Computed):
    """What is read of `environment.json`; what else it has is for people."""

    data_sha256: dict[str, str]
    initial: NotRequired[dict[str, str]]  # the file of weights that it began with, and its SHA-256
    resumed: NotRequired[list[_Computed]]  # later sessions, what differs from the first


class Summary(TypedDict):
    """What every `summary.json` has; besides, numbers by name."""

    name: str
    parameters: int
    steps: int
    rows: int
    stopped_early: bool
    weights_step: int
    device: str
    seed: int
    weights_sha256: str
    state_sha256: str
    metrics_sha256: str


_COUNTS = ("parameters", "steps", "rows", "weights_step", "seed")
_Measured = bool | int | float | str | None | list[float]  # a value of a summary


def write_config(
    folder: RunFolder, file: ExperimentFile, code: Mapping[str, str], changes: Sequence[RecordedChange] = ()
) -> None:
    """Write `config.json`; raises as `RunFolder.write` does.

    Args:
        folder: the run's.
        file: what it ran.
        code: SHA-256 of the user's code in it, by field.
        changes: what later sessions changed.
    """
    published = [list(row) for row in file.published]
    recorded = {"name": file.name, **to_json(file.experiment), "published": published, "changes": list(changes)}
    folder.write_json(CONFIG, {**recorded, "code": dict(code)} if code else recorded)


def read_config(folder: RunFolder, named: Named = NOTHING, needs: str | tuple[str, ...] = "") -> RecordedConfig:
    """Read `config.json`.

    Args:
        folder: the run's.
        named: the code that the user of the command named, by field. No other code is imported.
        needs: as for `with_named_code`: "task." where nothing else is imported.

    Raises:
        RunFolderError: it is missing or damaged.
        ConfigError: a field is unknown or out of its range; or the run has code of its own, and it is not named, or
            not the same.
    """
    where = folder.path / CONFIG
    if not where.exists():
        raise RunFolderError(
            "this run was stopped before its config was written", where=where, fix="start it again, with flaxcnn train"
        )
    return config_of(folder.read_json(CONFIG, ConfigFile), where, named, needs)


def config_of(recorded: Any, where: Path, named: Named = NOTHING, needs: str | tuple[str, ...] = "") -> RecordedConfig:
    """Return what a run's `config.json` says, from its JSON; see `read_config`."""
    recorded = dict(recorded)
    name, changes, rows = (recorded.pop(each) for each in ("name", "changes", "published"))
    if not name.isprintable() or not 0 < len(name.encode(errors="replace")) <= _NAME_BYTES:
        raise RunFolderError("damaged at name", where=where, expected="the name of a config file", found=name)
    code = recorded.pop("code", {})
    published = tuple(PublishedRow(*row) for row in rows)
    experiment = with_named_code(from_json(recorded, where), code, named, where, needs)
    return RecordedConfig(ExperimentFile(name, experiment, published), changes)


def recorded_code(folder: RunFolder) -> dict[str, str]:
    """Return the digests of the user's own code in a run, by field; raises as `read_config`."""
    found: ConfigFile = folder.read_json(CONFIG, ConfigFile)
    return found.get("code", {})


def read_environment(folder: RunFolder) -> Environment:
    """Read `environment.json`; raises RunFolderError where it is missing or damaged."""
    found: Environment = folder.read_json(ENVIRONMENT, Environment)
    return found


def read_last_environment(folder: RunFolder) -> dict[str, str]:
    """Return the versions and the hardware of a run's last session, by name; raises as `read_environment`."""
    first = read_environment(folder)
    last = (first.get("resumed") or [{}])[-1]
    packages = last.get("packages", first.get("packages", {}))
    return {**packages, **last.get("hardware", first.get("hardware", {}))}


def read_summary(folder: RunFolder) -> dict[str, Any]:
    """Read `summary.json`, which has the fields of `Summary` and numbers by name.

    Raises:
        RunFolderError: it is missing or damaged.
    """
    folder.read_json(SUMMARY, dict[str, _Measured])
    found: dict[str, Any] = folder.read_json(SUMMARY, Summary)
    for name in _COUNTS:
        if found[name] < 0:
            where = folder.path / SUMMARY
            raise RunFolderError(f"damaged at {name}", where=where, expected="at least 0", found=found[name])
    return found


def reported_numbers(experiment: Experiment, task: Task, test_images: int) -> list[str]:
    """Return the names of the numbers that differ from run to run in the summaries of an experiment's runs.

    Args:
        experiment: the experiment.
        task: its task.
        test_images: of its data.
    """
    first = min(experiment.logging.test_examples, test_images)
    logged = [*task.logged, "loss"]
    return [
        *(f"test_{name}" for name in dict.fromkeys((*task.reported, *logged))),
        *([f"test_{name}_first_{first}" for name in task.logged] if first else []),
        *([f"validation_{name}" for name in logged] if experiment.data.validation else ()),
        *(f"train_{name}" for name in logged),
        *("generalization_gap", "generalization_gap_loss"),
        *("train_seconds", "save_seconds", "eval_seconds", "compile_seconds", "total_seconds", "images_per_second"),
    ]


def require_same_initial(folder: RunFolder, digest: str, where: object) -> None:
    """Raise DataError if a run that has no checkpoint yet would begin with another file of weights than it did."""
    before = read_environment(folder).get("initial", {}).get("sha256")
    if before != digest:
        raise DataError(
            "the weights changed since this run",
            where=where,
            expected=f"SHA-256 {before}",
            found=digest,
            fix="restore the file that the run began with",
        )


def require_same_data(folder: RunFolder, dataset: Dataset) -> None:
    """Raise DataError if the data's digests are not those that the run recorded."""
    require_same_digests(read_environment(folder)["data_sha256"], dataset)


def require_same_test_images(folder: RunFolder, other: RunFolder) -> None:
    """Raise DataError if two runs were measured on other test images."""
    ours, theirs = (_test_digests(each) for each in (folder, other))
    if ours != theirs:
        raise DataError(
            "these runs have other test images", where=other.path, expected=f"{ours} as {folder.path}", found=theirs
        )


def _test_digests(folder: RunFolder) -> dict[str, str]:
    digests = read_environment(folder)["data_sha256"]
    return {name: digest for name, digest in digests.items() if name.startswith(("t10k", "test"))}


def require_same_digests(recorded: Mapping[str, str], dataset: Dataset) -> None:
    """Raise DataError if the data's digests are not the recorded ones."""
    for name in [*dataset.digests, *recorded]:  # such as groups that the data no longer have
        before, digest = recorded.get(name), dataset.digests.get(name)
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
        RunFolderError: there are fewer whole rows, one is damaged, or their steps do not rise.
    """
    lines: list[dict[str, Any]] = folder.read_rows(METRICS, count, LoggedLine) if count else []
    before = -1
    for number, line in enumerate(lines, 1):
        where = f"{folder.path / METRICS}, line {number}"
        for name, value in line.items():
            if type(value) not in (int, float, types.NoneType):
                raise RunFolderError(f"damaged at {name}", where=where, expected="a number or null", found=value)
        if line["step"] <= before or line["epoch"] < 0:
            raise RunFolderError("damaged at step", where=where, expected=f"at least {before + 1}", found=line["step"])
        before = line["step"]
    return [LoggedRow.from_json(line) for line in lines]
