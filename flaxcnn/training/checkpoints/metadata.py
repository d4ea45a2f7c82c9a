"""A checkpoint's metadata, everything besides its arrays, as strict JSON in `metadata.json`."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flaxcnn.files.reading import JSON_BYTES
from flaxcnn.files.schema import MismatchError, conform
from flaxcnn.training.checkpoints.manifest import DamagedCheckpointError, ListedFiles, read_object, write_json

SCHEMA = 1  # of the layout and of metadata.json: raised when a reader of the old one would read the new one wrongly
_NAME = "metadata.json"


@dataclass(frozen=True)
class Metadata:
    """Where a run stood when a checkpoint was made, and what made it. Every value is one that JSON has.

    Attributes:
        step: updates made so far.
        epoch: the epoch that the next step belongs to, counted from 0.
        config: the experiment, fully resolved.
        contract_digest: of the model's contract.
        data_digests: of the data, as `Dataset.digests`.
        versions: of flaxcnn, jax, flax and optax, by name.
        rows: rows logged so far.
        train_seconds: what the steps so far took.
        eval_seconds: what the evaluations so far took.
        metric: what `keep_best` ranks by; None where it was not measured. One that is not finite is kept as None.
        extra: anything else.
    """

    step: int
    epoch: int
    config: dict[str, Any]
    contract_digest: str
    data_digests: dict[str, str]
    versions: dict[str, str]
    rows: int
    train_seconds: float
    eval_seconds: float
    metric: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metric is not None and not math.isfinite(self.metric):
            object.__setattr__(self, "metric", None)  # JSON has no NaN, and a NaN is nobody's best

    def to_json(self) -> dict[str, Any]:
        """Return the fields as an object for JSON."""
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Metadata":
        """Return what `to_json` gave.

        Raises:
            MismatchError: a field is missing, unknown, of another type or negative; it says which.
        """
        metadata: Metadata = conform(value, cls)
        for name in ("step", "epoch", "rows", "train_seconds", "eval_seconds"):
            if getattr(metadata, name) < 0:
                raise MismatchError(name, "no negative number", str(getattr(metadata, name)))
        return metadata


class Saved(NamedTuple):
    """What a checkpoint says of itself."""

    metadata: Metadata
    arrays: dict[str, str]  # the dtype and shape of each
    files: ListedFiles


def write_metadata(folder: Path, metadata: Metadata, arrays: dict[str, str]) -> None:
    """Write `metadata.json`; raises OSError."""
    write_json(folder / _NAME, {"schema": SCHEMA, **metadata.to_json(), "arrays": arrays})


def read_metadata(folder: Path, step: int) -> Saved:
    """Return what the checkpoint of a step says of itself, once its manifest agrees; no other file is looked at.

    Raises:
        DamagedCheckpointError: the file or the manifest is damaged, or another version of this layout wrote it.
    """
    path = folder / _NAME
    fields = read_object(path)
    schema = fields.pop("schema", None)
    if schema != SCHEMA:  # first, since another version may have another manifest
        raise DamagedCheckpointError("unknown schema version", where=path, expected=SCHEMA, found=str(schema)[:40])
    files = ListedFiles(folder)
    files.check([_NAME], most=JSON_BYTES)
    try:
        arrays = conform(fields.pop("arrays", None), dict[str, str], "arrays")
        metadata = Metadata.from_json(fields)
    except MismatchError as mismatch:
        what = f"damaged at {mismatch.place}" if mismatch.place else "damaged"
        raise DamagedCheckpointError(what, where=path, expected=mismatch.expected, found=mismatch.found) from mismatch
    if metadata.step != step:
        raise DamagedCheckpointError("of another step than its name says", where=path, found=metadata.step)
    return Saved(metadata, arrays, files)
