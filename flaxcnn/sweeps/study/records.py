"""The records of a sweep in an Optuna study: data without an Optuna field, stored as JSON attributes."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from flaxcnn.errors import ConfigError
from flaxcnn.files import checked
from flaxcnn.sweeps.files import difference
from flaxcnn.sweeps.space import Space, domain_of
from flaxcnn.sweeps.study.owners import Owner
from flaxcnn.sweeps.trials import Status, Trial, Value

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from flaxcnn.sweeps.study.storage import Database

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


class Origin(NamedTuple):
    """What never changes of a trial, besides its params."""

    bracket: int
    first_rung: int
    parent: int | None
    kept: dict[str, Any]  # by its searcher


@dataclass(frozen=True)
class Step:
    """A step of a plan."""

    do: Literal["add", "go on", "stop"]
    trial: int
    bracket: int = 0  # of one that is added, as the rest
    first_rung: int = 0
    parent: int | None = None
    params: dict[str, Value] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


Misfit = Callable[[Trial], str]
"""Says why a trial could not stand so in a sweep: what it would have to have; "" where it could."""


class Reader(NamedTuple):
    """Reads what a study holds, which may be anybody's.

    Attributes:
        space: that the trials' params come from.
        misfit: by the sweep's scheduler.
        where: the study, for errors.
    """

    space: Space
    misfit: Misfit
    where: str

    def progress(self, attributes: Mapping[str, Any], number: int) -> Progress:
        """Return what is written down of a trial's progress; raises ConfigError where it is none."""
        where = self._place(number)
        found: Progress = checked(attributes.get(PROGRESS), Progress, where=f"{where}, progress", error=ConfigError)
        self._require(not any(map(math.isnan, found.scores)), number, "scores that are numbers", found.scores)
        self._require(found.adopted >= 0 and math.isfinite(found.seconds), number, "a finite time", found.seconds)
        self._require((found.owner is not None) == (found.status is Status.RUNNING), number, "an owner", found.owner)
        scored = bool(found.scores) or found.status not in (Status.COMPLETE, Status.STOPPED)
        self._require(scored, number, f"a score of a trial that is {found.status}", "none")
        if found.owner is not None:
            try:
                Owner.named(found.owner)
            except ValueError as error:
                raise self._damaged(number, "the owner of a running trial", found.owner) from error
        return found

    def progress_of(self, frozen: "FrozenTrial") -> Progress:
        """Return a trial's progress; one that another program ended has failed. Raises as `progress`."""
        progress = self.progress(frozen.user_attrs, frozen.number)
        if frozen.state.is_finished() and not progress.status.ended:
            return progress._replace(status=Status.FAILED, owner=None, reason="ended by another program")
        return progress

    def trial(self, frozen: "FrozenTrial") -> Trial:
        """Return a trial as it stands.

        Raises:
            ConfigError: no sweep made it, or it could not stand so in this one.
        """
        number = frozen.number
        if ORIGIN not in frozen.user_attrs:
            fix = "name another --storage"
            raise ConfigError(f"trial {number} was made by another program", where=self.where, fix=fix)
        place = f"{self._place(number)}, origin"
        origin: Origin = checked(frozen.user_attrs[ORIGIN], Origin, where=place, error=ConfigError)
        progress = self.progress_of(frozen)
        self._require_params(number, frozen.params)
        reports = frozen.intermediate_values
        sound = all(type(step) is int and step >= 0 and type(value) is float for step, value in reports.items())
        self._require(sound, number, "reports by step", reports)
        trial = Trial(
            number=number,
            params=frozen.params,
            status=progress.status,
            bracket=origin.bracket,
            first_rung=origin.first_rung,
            parent=origin.parent,
            scores=progress.scores,
            reports=dict(sorted(reports.items())),
            seconds=progress.seconds,
            reason=progress.reason,
            attributes=origin.kept,
            adopted=progress.adopted,
        )
        self._require_fit(trial)
        return trial

    def plan(self, found: Any, trials: int) -> list[Step] | None:
        """Return what was decided and is not carried out yet, None where nothing is left of it.

        Args:
            found: in the study.
            trials: how many there are.

        Raises:
            ConfigError: it is no plan, or not one for this sweep.
        """
        plan: list[Step] | None = checked(found, list[Step] | None, where=f"{self.where}, plan", error=ConfigError)
        for step in plan or ():
            number, adds = step.trial, step.do == "add"
            self._require(0 <= number < trials + adds, number, f"a plan for {trials} trials", step.do)
            if adds:
                trials = max(trials, number + 1)
                self._require_params(number, step.params)
                place = step.bracket, step.first_rung, step.parent
                self._require_fit(Trial(number, step.params, Status.RUNNING, *place))
        return plan

    def _require_params(self, number: int, params: Mapping[str, Any]) -> None:
        for path, value in params.items():
            fits = path in self.space and domain_of(self.space[path]).holds(value)
            self._require(fits, number, "values of this sweep's space", f"{path} {value!r}")

    def _require_fit(self, trial: Trial) -> None:
        wanted = self.misfit(trial)
        standing = f"bracket {trial.bracket}, first rung {trial.first_rung}, parent {trial.parent}"
        self._require(not wanted, trial.number, wanted, f"{trial.status}, {standing}, scores {list(trial.scores)}")

    def _place(self, number: int) -> str:
        return f"{self.where}, trial {number}"

    def _require(self, holds: bool, number: int, expected: str, found: object) -> None:
        if not holds:
            raise self._damaged(number, expected, found)

    def _damaged(self, number: int, expected: str, found: object) -> ConfigError:
        return ConfigError("damaged", where=self._place(number), expected=expected, found=found)


def require_same_sweep(
    study: "optuna.Study", direction: str, fingerprint: Mapping[str, Any], database: "Database"
) -> None:
    """Raise ConfigError where a study is of another sweep; one that is of none becomes this one's."""
    wanted = json.loads(json.dumps(fingerprint))
    where, title = database.shown, f"study '{study.study_name}'"
    with database.understood():
        found = study.user_attrs.get(FINGERPRINT)
        empty = found is None and not study.trials and study.direction.name.lower() == direction
    checked(found, dict[str, Any] | None, where=f"{where}, {title}", error=ConfigError)
    if found is None:
        if not empty:
            raise ConfigError(f"{title} was made by another program", where=where, fix="name another --storage")
        study.set_user_attr(FINGERPRINT, wanted)
    elif found != wanted:
        path, there, here = difference(found, wanted)
        raise ConfigError(
            f"{title} is of another sweep, by {path or 'all'}",
            where=where,
            expected=json.dumps(there),
            found=json.dumps(here),
            fix="continue the sweep that created it, or name another --out or --storage",
        )
