"""Options that override what a run recorded."""

from dataclasses import dataclass

from flaxcnn.config.checks import require_address
from flaxcnn.config.own_code import names_of_heads


@dataclass(frozen=True)
class DataOverride:
    """The data's new location, if the data moved. The digests must match."""

    source: str | None = None
    """As --data.source of train; None for the recorded source. Your own data, FILE.py:NAME, must be named again.
    --data is the short form."""
    dir: str | None = None
    """As --data.dir of train; None for the recorded folder."""


@dataclass(frozen=True)
class MeshOverride:
    """The devices to use from now on. A different mesh may change the results by rounding."""

    data: int | None = None
    """As --mesh.data of train; None for the recorded number."""
    model: int | None = None
    """As --mesh.model of train; None for the recorded number."""


@dataclass(frozen=True)
class LoggingOverride:
    """Where the rows go, too."""

    mlflow: str | None = None
    """As --logging.mlflow of train. It must be named again, or in MLFLOW_TRACKING_URI: no command sends anything to a
    server because a run's folder says so."""

    def __post_init__(self) -> None:
        if self.mlflow is not None:
            require_address(self.mlflow, "--logging.mlflow")


@dataclass(frozen=True)
class ModelOverride:
    """Your own model, which must be named again: no command imports code because a run's folder says so."""

    name: str | None = None
    """FILE.py:NAME, as --model.name of train; the file's digest must match. None for a model of the library.
    --model is the short form."""


@dataclass(frozen=True)
class TaskOverride:
    """Your own task, which must be named again: no command imports code because a run's folder says so."""

    name: str | None = None
    """FILE.py:NAME, as --task.name of train; the file's digest must match. None for a task of the library.
    --task is the short form."""
    heads: tuple[str, ...] = ()
    """NAME=FILE.py:NAME, as --task.heads of train, for each head with a task of your own."""


def named_again(
    task: TaskOverride, model: ModelOverride | None = None, data: DataOverride | None = None
) -> dict[str, str | None]:
    """Return the code and data that the user named, by field, as `flaxcnn.runs.folder.named` takes them."""
    named = {"task.name": task.name, **names_of_heads(task.heads)}
    if model is not None:
        named["model.name"] = model.name
    if data is not None:
        named["data.source"] = data.source
    return named
