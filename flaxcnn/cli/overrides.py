"""Options that override what a run recorded: what may differ from where it began."""

from dataclasses import dataclass

from flaxcnn.config.own_code import names_of_heads


@dataclass(frozen=True)
class DataOverride:
    """Where the run's data lie now, if they were moved; their digests are checked."""

    source: str | None = None
    """As --data.source of train; None for what the run recorded. Your own, FILE.py:NAME, is named again.
    --data is short for it."""
    dir: str | None = None
    """As --data.dir of train; None for what the run recorded."""


@dataclass(frozen=True)
class MeshOverride:
    """The devices to go on with; on another mesh than before the bits may differ."""

    data: int | None = None
    """As --mesh.data of train; None for what the run recorded."""
    model: int | None = None
    """As --mesh.model of train; None for what the run recorded."""


@dataclass(frozen=True)
class ModelOverride:
    """Your own model, named again: a run's folder never makes a command import code."""

    name: str | None = None
    """FILE.py:NAME, as --model.name of train; its digest is checked. None for a model of the library. --model is short
    for it."""


@dataclass(frozen=True)
class TaskOverride:
    """Your own task, named again: a run's folder never makes a command import code."""

    name: str | None = None
    """FILE.py:NAME, as --task.name of train; its digest is checked. None for a task of the library. --task is short
    for it."""
    heads: tuple[str, ...] = ()
    """NAME=FILE.py:NAME, as --task.heads of train, for each head whose task is your own."""


def named_again(
    task: TaskOverride, model: ModelOverride | None = None, data: DataOverride | None = None
) -> dict[str, str | None]:
    """Return what the user of a command named, by field, as `flaxcnn.runs.folder.named` takes it."""
    named = {"task.name": task.name, **names_of_heads(task.heads)}
    if model is not None:
        named["model.name"] = model.name
    if data is not None:
        named["data.source"] = data.source
    return named
