"""Options of where a run goes on: what may differ from where it began."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataPlace:
    """Where the run's data lie now, if they were moved; their digests are checked."""

    source: str | None = None
    """As --data.source of train; None for what the run recorded."""
    dir: str | None = None
    """As --data.dir of train; None for what the run recorded."""


@dataclass(frozen=True)
class MeshPlace:
    """The devices to go on with; on another mesh than before the bits may differ."""

    data: int | None = None
    """As --mesh.data of train; None for what the run recorded."""
    model: int | None = None
    """As --mesh.model of train; None for what the run recorded."""


@dataclass(frozen=True)
class ModelPlace:
    """Your own model, named again: a run's folder never makes a command import code."""

    name: str | None = None
    """FILE.py:NAME, as --model.name of train; its digest is checked. None for a model of the library."""
