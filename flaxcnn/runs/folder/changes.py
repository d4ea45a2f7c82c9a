"""Changes that are allowed between the sessions of a run, and those that are not because they change its results."""

from typing import Any, NamedTuple

from flaxcnn.config import Experiment, to_json
from flaxcnn.errors import ConfigError

# They move where a run ends, what is written, where the data (whose digests are checked) lie, and on what the work is
# done; never what is computed.
_MAY_CHANGE = (
    *("training.epochs", "training.steps"),
    *("logging.every", "logging.tensorboard", "logging.csv", "logging.mlflow"),
    *("checkpoint.every", "checkpoint.keep"),
    *("data.source", "data.dir", "data.device_memory", "data.workers"),
    *("mesh.data", "mesh.model"),  # another division of the work rounds otherwise, as the run then says
)


def may_change(experiment: Experiment) -> list[str]:
    """Return the fields, `section.field`, that a later session of a run may change.

    The epochs may not where the learning rate is spread over them, nor the logged rows where something is chosen by
    them.
    """
    fixed = set()
    if experiment.schedule.name in ("cosine", "one_cycle", "linear"):
        fixed.add("training.epochs")
    if experiment.checkpoint.keep_best is not None or experiment.training.patience is not None:
        fixed.add("logging.every")
    return [name for name in _MAY_CHANGE if name not in fixed]


class Change(NamedTuple):
    """A field that has another value than when the run began."""

    field: str
    before: Any
    now: Any


def changes(before: Experiment, now: Experiment) -> list[Change]:
    """Return the fields, `section.field`, that differ."""
    old, new = to_json(before), to_json(now)
    return [
        Change(f"{section}.{name}", old[section][name], new[section][name])
        for section in new
        for name in new[section]
        if old[section][name] != new[section][name]
    ]


def allowed_changes(before: Experiment, now: Experiment, where: object) -> list[Change]:
    """Return the fields that differ, all of which may.

    Raises:
        ConfigError: a field differs that decides about the weights; all such fields are listed.
    """
    found = changes(before, now)
    refused = [each for each in found if each.field not in may_change(before)]
    if refused:
        raise ConfigError(
            "holds a run with another config",
            where=where,
            expected=", ".join(f"{each.field} {each.before!r}" for each in refused),
            found=", ".join(f"{each.now!r}" for each in refused),
            fix="restore these values",
            elsewhere="another folder",
        )
    return found
