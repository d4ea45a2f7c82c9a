"""How a sweep and its trials stand in an Optuna study: what Optuna has no field for, as attributes of JSON."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.files import difference
from flaxcnn.sweeps.trials import Status, Trial

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

FINGERPRINT = "sweep"  # the study's attribute that tells this sweep from another
ORIGIN = "origin"  # the trial's attribute that never changes: bracket, first rung, parent, what the searcher keeps
PROGRESS = "progress"  # the trial's attribute that one write changes as a whole: status, owner, scores, seconds, reason


class Progress(NamedTuple):
    """What changes of a trial, besides its reports."""

    status: Status
    owner: str | None = None  # who runs it; None where nobody does
    scores: tuple[float, ...] = ()
    seconds: float = 0.0
    reason: str = ""
    adopted: int = 0  # times that a process took it over from one that was gone, since it reached that step
    reached: int = 0  # the step that it had reached the last time

    def as_json(self) -> dict[str, object]:
        """Return the fields as an object for JSON."""
        return self._asdict()

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "Progress":
        """Return what `as_json` gave."""
        return cls(**{**values, "status": Status(values["status"]), "scores": tuple(values["scores"])})


def progress_of(frozen: "FrozenTrial") -> Progress:
    """Return what is written down of a trial's progress; one that another program ended has failed."""
    progress = Progress.of_json(frozen.user_attrs[PROGRESS])
    if frozen.state.is_finished() and not progress.status.ended:
        return progress._replace(status=Status.FAILED, owner=None, reason="ended by another program")
    return progress


def trial_of(frozen: "FrozenTrial", study: str, where: str) -> Trial:
    """Return a trial as it stands; raises ConfigError where no sweep made it, with the study's name and place."""
    if ORIGIN not in frozen.user_attrs:
        raise ConfigError(
            f"trial {frozen.number} of study '{study}' was made by another program",
            where=where,
            fix="name another --storage",
        )
    origin, progress = frozen.user_attrs[ORIGIN], progress_of(frozen)
    return Trial(
        number=frozen.number,
        params=frozen.params,
        status=progress.status,
        bracket=origin["bracket"],
        first_rung=origin["first_rung"],
        parent=origin["parent"],
        scores=progress.scores,
        reports=dict(sorted(frozen.intermediate_values.items())),
        seconds=progress.seconds,
        reason=progress.reason,
        attributes=origin["kept"],
        adopted=progress.adopted,
    )


def require_same_sweep(study: "optuna.Study", direction: str, fingerprint: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError where a study is of another sweep; one that is of none becomes this one's."""
    wanted = json.loads(json.dumps(fingerprint))
    found = study.user_attrs.get(FINGERPRINT)
    title = f"study '{study.study_name}'"
    if found is None:
        if study.trials or study.direction.name.lower() != direction:
            raise ConfigError(f"{title} was made by another program", where=where, fix="name another --storage")
        study.set_user_attr(FINGERPRINT, wanted)
    elif found != wanted:
        path, there, here = difference(found, wanted)
        raise ConfigError(
            f"{title} is of another sweep, by {path or 'all'}",
            where=where,
            expected=json.dumps(there),
            found=json.dumps(here),
            fix="go on with the sweep that it was made for, or name another --out or --storage",
        )
