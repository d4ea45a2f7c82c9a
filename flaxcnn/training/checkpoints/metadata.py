"""What is known of a checkpoint besides its arrays, as strict JSON."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_KINDS: Mapping[str, tuple[type, ...]] = {
    "step": (int,),
    "epoch": (int,),
    "config": (dict,),
    "contract_digest": (str,),
    "data_digests": (dict,),
    "versions": (dict,),
    "rows": (int,),
    "train_seconds": (int, float),
    "eval_seconds": (int, float),
    "metric": (int, float, type(None)),
    "extra": (dict,),
}


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
    config: Mapping[str, Any]
    contract_digest: str
    data_digests: Mapping[str, str]
    versions: Mapping[str, str]
    rows: int
    train_seconds: float
    eval_seconds: float
    metric: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

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
            ValueError: a field is missing, unknown, of another type or negative; the message says which.
        """
        missing, unknown = _KINDS.keys() - value.keys(), value.keys() - _KINDS.keys()
        if missing or unknown:
            raise ValueError(f"{'lacks' if missing else 'has an unknown'} field {min(missing or unknown)!r}")
        for name, kinds in _KINDS.items():
            found = value[name]
            if not isinstance(found, kinds) or isinstance(found, bool):
                wanted = " or ".join(kind.__name__ for kind in kinds)
                raise ValueError(f"field {name!r} is of type {type(found).__name__}, not {wanted}")
        for name in ("step", "epoch", "rows", "train_seconds", "eval_seconds"):
            if value[name] < 0:
                raise ValueError(f"field {name!r} is negative: {value[name]}")
        return cls(**value)
