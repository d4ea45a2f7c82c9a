"""The durable study of a sweep: its trials in a database that all processes share, and which process trains which.

The database is Optuna's, so any tool for Optuna studies can read a sweep. Searchers and schedulers, which decide on
trials, and the trainers are separate. The study stores everything, so a process may be killed at any time.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flaxcnn.sweeps.distributions import distribution
from flaxcnn.sweeps.space import Space
from flaxcnn.sweeps.study.journal import Journal
from flaxcnn.sweeps.study.owners import Heartbeats, Owner, this_process
from flaxcnn.sweeps.study.records import ORIGIN, PROGRESS, Misfit, Progress, Reader, Step, require_same_sweep
from flaxcnn.sweeps.study.storage import Database, import_optuna
from flaxcnn.sweeps.trials import Proposal, Status, Trial

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

PLAN = "plan"  # the study's attribute that says what was decided and is not carried out yet


class LostTrialError(Exception):
    """A trial that this process trained is another's now: this one was thought to be gone, since it was silent."""

    def __init__(self, number: int):
        self.number = number
        super().__init__(f"trial {number} is not this process's any more")


class Study:
    """The trials of a sweep, in a database; every process of the sweep opens it for itself.

    What changes a trial's status is called within `deciding`. Only the owner of a running trial may report of it; what
    another one reports raises LostTrialError and changes nothing.

    Optuna knows no pause: a trial that is waiting, running or paused here is running there. A stopped one is pruned,
    with its last score, and a complete one has its last score, both as the metric's value.
    """

    def __init__(
        self,
        database: Database,
        storage: "RDBStorage",
        study: "optuna.Study",
        space: Space,
        *,
        higher_is_better: bool,
        journal: Journal,
        heartbeat: float,
        grace: float,
        misfit: Misfit,
    ):
        self._database, self._storage, self._study, self._space = database, storage, study, space
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._reader = Reader(space, misfit, f"{database.shown}, study '{study.study_name}'")
        self._ids: dict[int, int] = {}  # Optuna's number of a trial among those of all studies, by ours
        self._sign = 1 if higher_is_better else -1
        self._journal, self._heartbeats = journal, Heartbeats(database.engine)
        self._heartbeat, self._grace = heartbeat, grace
        self._is_deciding = False

    @classmethod
    def open(
        cls,
        url: str,
        name: str,
        fingerprint: Mapping[str, Any],
        space: Space,
        *,
        higher_is_better: bool,
        journal: Journal,
        heartbeat: float = 5.0,
        grace: float = 30.0,
        misfit: Misfit = lambda trial: "",
    ) -> "Study":
        """Return the study of a name, which is made where there is none.

        Args:
            url: of the database: `sqlite:///FILE`, or any of PostgreSQL that Optuna takes.
            name: of the study in it.
            fingerprint: what makes this sweep another than any other; JSON values.
            space: that its trials' params come from.
            higher_is_better: whether the metric's highest value is its best.
            journal: where what this process does to the trials is written down.
            heartbeat: seconds from one sign of life to the next.
            grace: seconds of silence after which a process is taken for dead.
            misfit: what the sweep's scheduler says of a trial that could not be one of its own.

        Raises:
            ConfigError: the database cannot be reached or is damaged, its study of that name is of another sweep, or it
                is a SQLite file and a process on another machine lives that has opened it.
        """
        optuna = import_optuna()
        database = Database(url)
        direction = "maximize" if higher_is_better else "minimize"
        try:
            with database.exclusive("tables"):
                with database.understood():
                    storage = database.storage()
                    study = optuna.create_study(
                        study_name=name, storage=storage, direction=direction, load_if_exists=True
                    )
                require_same_sweep(study, direction, fingerprint, database)
                with database.understood():
                    opened = cls(
                        database,
                        storage,
                        study,
                        space,
                        higher_is_better=higher_is_better,
                        journal=journal,
                        heartbeat=heartbeat,
                        grace=grace,
                        misfit=misfit,
                    )
                opened._heartbeats.prepare()
            if database.backend == "sqlite":
                with database.reached(), database.understood():
                    opened._heartbeats.refuse_other_machines(grace, heartbeat / 2, database.shown)
        except BaseException:
            database.close()
            raise
        return opened

    def close(self) -> None:
        """Close the connections to the database."""
        self._database.close()

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """While entered, no other process of the sweep decides, on any machine; a process that dies lets go of it.

        Raises:
            ProcessError: another process has held it for ten minutes.
            ConfigError: the database cannot be reached.
        """
        if self._is_deciding:
            raise RuntimeError("already deciding")
        with self._database.exclusive(f"study {self._study.study_name}"):
            self._heartbeats.beat(this_process())
            self._is_deciding = True
            try:
                yield
            finally:
                self._is_deciding = False

    @contextmanager
    def beating(self) -> Iterator[None]:
        """While entered, a thread tells the database again and again that this process lives."""
        with self._database.reached():
            self._heartbeats.beat(this_process())
        with self._heartbeats.beating(self._heartbeat):
            yield

    def plan(self) -> list[Step] | None:
        """Return what was decided and is not carried out yet; None where nothing is left of it.

        Raises:
            ConfigError: the study holds no such plan.
        """
        self._require_deciding()
        with self._database.understood():
            found = self._study.user_attrs.get(PLAN)
        return self._reader.plan(found, len(self._frozen()))

    def set_plan(self, plan: Sequence[Step] | None) -> None:
        """Write down a decision before it is carried out, and None once it is."""
        self._require_deciding()
        self._study.set_user_attr(PLAN, None if plan is None else [dataclasses.asdict(step) for step in plan])

    def trials(self) -> list[Trial]:
        """Return all trials as they stand, by number.

        Raises:
            ConfigError: the database cannot be reached, or holds trials that this sweep could not have made.
        """
        with self._database.reached():
            found = self._frozen()
            if self._is_deciding:
                self._repair(found)
        return [self._reader.trial(frozen) for frozen in found]

    def add(self, proposal: Proposal, *, bracket: int = 0, first_rung: int = 0, parent: int | None = None) -> int:
        """Make a trial that this process runs, and return its number: one more than that of the trial before it.

        Args:
            proposal: its params, within the space, and what the searcher keeps with it.
            bracket: as in `Trial`.
            first_rung: as in `Trial`.
            parent: as in `Trial`.
        """
        import optuna

        self._require_deciding()
        origin = {"bracket": bracket, "first_rung": first_rung, "parent": parent, "kept": dict(proposal.attributes)}
        template = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=dict(proposal.params),
            distributions={path: distribution(self._space[path]) for path in proposal.params},
            user_attrs={ORIGIN: origin, PROGRESS: Progress(Status.RUNNING, str(this_process())).as_json()},
        )
        with self._database.understood():
            trial_id = self._storage.create_new_trial(self._study_id, template)
            number = self._storage.get_trial_number_from_id(trial_id)
        standing = {"bracket": bracket, "first_rung": first_rung, "parent": parent}
        self._journal.record("added", trial=number, params=dict(proposal.params), **standing)
        return number

    def claim(self, number: int) -> None:
        """Run a paused or waiting trial in this process."""
        progress = self._in(number, Status.PAUSED, Status.WAITING)
        self._put(number, progress._replace(status=Status.RUNNING, owner=str(this_process())))
        self._journal.record("claimed", trial=number)

    def report(self, number: int, step: int, value: float) -> None:
        """Keep what was measured after so many steps of a trial, at any time.

        Raises:
            LostTrialError: the trial isn't this process's any more.
            ConfigError: the database cannot be reached.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        with self._database.reached():
            self._own(number)
            try:
                with self._database.understood():
                    self._storage.set_trial_intermediate_value(self._id(number), step, value)
            except UpdateFinishedTrialError as error:
                raise LostTrialError(number) from error
        self._journal.record("reported", trial=number, step=step, value=value)

    def end_rung(self, number: int, score: float, seconds: float, *, last: bool) -> None:
        """Pause a trial of this process at the end of a rung, or complete it.

        Args:
            number: of the trial.
            score: at the rung's end, higher is better, a number.
            seconds: that training took since they were last told.
            last: whether it was the trial's last rung.

        Raises:
            LostTrialError: the trial isn't this process's any more.
        """
        if math.isnan(score):
            raise ValueError(f"trial {number}: not a number cannot be ranked; let it fail")
        self._require_deciding()
        before = self._own(number)
        status = Status.COMPLETE if last else Status.PAUSED
        ended = Progress(status, None, (*before.scores, score), before.seconds + seconds)
        self._put(number, ended)
        self._journal.record(status.value, trial=number, score=score, seconds=seconds)

    def fail(self, number: int, reason: str, seconds: float) -> None:
        """End a trial of this process that cannot go on.

        Args:
            number: of the trial.
            reason: in one line.
            seconds: that training took since they were last told.

        Raises:
            LostTrialError: the trial isn't this process's any more.
        """
        self._require_deciding()
        before = self._own(number)
        self._put(number, Progress(Status.FAILED, None, before.scores, before.seconds + seconds, reason))
        self._journal.record("failed", trial=number, reason=reason, seconds=seconds)

    def stop(self, number: int) -> None:
        """End a paused trial where it stands."""
        self._put(number, self._in(number, Status.PAUSED)._replace(status=Status.STOPPED))
        self._journal.record("stopped", trial=number)

    def release(self, number: int) -> None:
        """Leave a running trial of this process to whoever is free, at an orderly end.

        Raises:
            LostTrialError: the trial isn't this process's any more.
        """
        self._require_deciding()
        self._put(number, self._own(number)._replace(status=Status.WAITING, owner=None))
        self._journal.record("released", trial=number)

    def abandoned(self) -> list[int]:
        """Return the numbers of the running trials whose process has ended, or was silent for the time of grace."""
        self._require_deciding()
        with self._database.understood():
            here, beats = this_process(), self._heartbeats.last()
        return [
            frozen.number
            for frozen in self._frozen()
            if (name := self._reader.progress_of(frozen).owner) is not None
            if (owner := Owner.named(name)) != here
            if owner.ended or owner not in beats or beats[owner].age > self._grace
        ]

    def adopt(self, number: int, reached: int = 0) -> int:
        """Run an abandoned trial in this process.

        Args:
            number: of the trial.
            reached: the step that it has got to.

        Returns:
            How often the trial was adopted without having got any further in between, this time included.
        """
        progress = self._in(number, Status.RUNNING)
        adopted = 1 + (progress.adopted if reached <= progress.reached else 0)
        self._put(number, progress._replace(owner=str(this_process()), adopted=adopted, reached=reached))
        self._journal.record("adopted", trial=number, owner=progress.owner)
        return adopted

    def owns(self, number: int) -> bool:
        """Return whether a trial is running and this process's; another may have taken it over while this one hung.

        Raises:
            ConfigError: the database cannot be reached.
        """
        with self._database.reached():
            return self._read(number).owner == str(this_process())

    def _repair(self, found: list["FrozenTrial"]) -> None:
        """Tell Optuna of the trials that ended here by a process that was killed before it could."""
        for frozen in found:
            if PROGRESS in frozen.user_attrs and not frozen.state.is_finished():
                progress = self._reader.progress_of(frozen)
                if progress.status.ended:
                    self._end(frozen.number, progress)

    def _in(self, number: int, *statuses: Status) -> Progress:
        self._require_deciding()
        progress = self._read(number)
        if progress.status not in statuses:
            raise ValueError(f"trial {number} is {progress.status}, not {' or '.join(statuses)}")
        return progress

    def _own(self, number: int) -> Progress:
        progress = self._read(number)
        if progress.owner != str(this_process()):
            raise LostTrialError(number)
        return progress

    def _read(self, number: int) -> Progress:
        with self._database.understood():
            attributes = self._storage.get_trial_user_attrs(self._id(number))
        return self._reader.progress(attributes, number)

    def _frozen(self) -> list["FrozenTrial"]:
        """Return the trials as Optuna has them, by number from 0 on."""
        with self._database.understood():
            found = self._study.get_trials(deepcopy=False)
            for number, frozen in enumerate(found):
                if frozen.number != number:
                    raise ValueError(f"trial {frozen.number} where {number} should be")
        return found

    def _put(self, number: int, progress: Progress) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            with self._database.understood():
                self._storage.set_trial_user_attr(self._id(number), PROGRESS, progress.as_json())
        except UpdateFinishedTrialError as error:  # by Optuna's own means: its dashboard may do so
            raise LostTrialError(number) from error
        if progress.status.ended:
            self._end(number, progress)

    def _end(self, number: int, progress: Progress) -> None:
        from optuna.trial import TrialState

        states = {Status.COMPLETE: TrialState.COMPLETE, Status.STOPPED: TrialState.PRUNED}
        state = states.get(progress.status, TrialState.FAIL)
        values = None if state == TrialState.FAIL else [self._sign * progress.scores[-1]]
        with self._database.understood():
            self._storage.set_trial_state_values(self._id(number), state, values)

    def _id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._ids[number]

    def _require_deciding(self) -> None:
        if not self._is_deciding:
            raise RuntimeError("a trial's status is changed while deciding")
