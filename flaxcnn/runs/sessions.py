"""The sessions of a run: start it, or resume it from the newest intact checkpoint in the same folder.

Resuming removes the rows logged after that checkpoint, so the rows equal those of an uninterrupted run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from flaxcnn.config import ExperimentFile, outside_names
from flaxcnn.errors import ConfigError, ContractError, DataError, RunFolderError
from flaxcnn.evaluation.table import LoggedRow, measured_columns
from flaxcnn.files import refuse_links
from flaxcnn.files.schema import MismatchError, conform
from flaxcnn.processes import gather, together
from flaxcnn.runs.choice import higher_is_better
from flaxcnn.runs.folder.changes import Change, allowed_changes
from flaxcnn.runs.folder.environment import changed, environment, hardware, versions
from flaxcnn.runs.folder.record import (
    ENVIRONMENT,
    LAYERS,
    METRICS,
    SUMMARY,
    RecordedChange,
    RecordedConfig,
    read_config,
    read_environment,
    read_rows,
    read_summary,
    require_same_data,
    require_same_initial,
    write_config,
)
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.running import Clocks, Training
from flaxcnn.runs.setup import Setup
from flaxcnn.training.checkpoints import CheckpointStore, Metadata, Restored
from flaxcnn.training.device_layout import DeviceLayout


class Begun(NamedTuple):
    """A run at the start of a session.

    Attributes:
        training: the training so far.
        complete_after: the number of steps of a complete run; None if the run continues.
    """

    training: Training
    complete_after: int | None = None


class _Extra(NamedTuple):
    """The additional metadata that a run saves with a checkpoint."""

    compile_seconds: float
    total_seconds: float
    save_seconds: float
    hardware: dict[str, str]


class Session:
    """A session of a run in one process. The caller has locked the run's folder.

    Args:
        folder: the run's folder.
        file: the run's name, experiment and published values.
        setup: the setup of the experiment.
        warn: called with each warning for the user.
    """

    def __init__(self, folder: RunFolder, file: ExperimentFile, setup: Setup, warn: Callable[[str], None]):
        self.folder, self.file, self.setup, self._warn = folder, file, setup, warn
        self._contract = setup.checked.contract_digest
        keep, best = file.experiment.checkpoint.keep, file.experiment.checkpoint.keep_best
        self.store = CheckpointStore(
            folder.path / "checkpoints",
            keep=keep,
            keep_best=0 if best is None else 1,
            higher_is_better=best is None or higher_is_better(setup.task, best),
        )

    def start(self, clocks: Clocks) -> Begun:
        """Start or resume the run; a complete run stays unchanged.

        Args:
            clocks: this session's clocks; the times of earlier sessions are added to them.

        Raises:
            ConfigError: the folder holds a run with another config.
            DataError, ContractError: its data or its model changed since.
            RunFolderError: its files are damaged, no checkpoint is intact, or the folder cannot be written to.
        """
        if any(digests != dict(self.setup.dataset.digests) for digests in gather(dict(self.setup.dataset.digests))):
            raise DataError("not the same data in all processes", where=self.setup.dataset.source)
        if any(code != self.setup.code for code in gather(self.setup.code)):
            names = ", ".join(outside_names(self.file.experiment).values())
            raise ConfigError("not the same code in all processes", where=names)
        digest = None if self.setup.initial is None else self.setup.initial.digest
        if any(other != digest for other in gather(digest)):
            raise DataError("not the same weights in all processes", where=self.file.experiment.model.init)
        together(lambda: refuse_links(self.store.folder, self.folder.path))
        if together(self._begin):
            return Begun(Training(self.setup, self.setup.first_state(), clocks=clocks))
        restored = self.store.restore_newest(self.setup.state_target())
        training = Training(self.setup, None, clocks=clocks)
        if restored is None:
            begun = self.setup.begun()
            if begun.initial is not None:
                require_same_initial(self.folder, begun.initial.digest, self.file.experiment.model.init)
            training.state = begun.first_state()
        else:
            self._restore(training, restored)
        finished = together(lambda: self._finished_steps(training.step))
        if finished is not None:
            return Begun(training, finished)
        if training.step > self.setup.calendar.total_steps:
            raise ConfigError(
                "this run has made more steps",
                where=self.folder.path,
                expected=f"at least {training.step}",
                found=self.setup.calendar.total_steps,
                fix="ask for more epochs or steps, or train in another folder",
            )
        together(lambda: self._go_on(training))
        return Begun(training)

    def _begin(self) -> bool:
        """Write what a new run begins with and return True, or check that it is this run that the folder holds."""
        if not (self.folder.path / "config.json").exists():
            recorded = {**environment(self.setup.dataset.digests, self.setup.layout.mesh.size), "resumed": []}
            if self.setup.initial is not None:
                file = self.file.experiment.model.init
                recorded["initial"] = {"file": file, "sha256": self.setup.initial.digest}
            self.folder.write_json(ENVIRONMENT, recorded)
            if self.setup.code:
                self.folder.write_text(LAYERS, f"{self.setup.checked.contract}\n")
            write_config(self.folder, self.file, self.setup.code)
            return True
        allowed_changes(self._recorded().file.experiment, self.file.experiment, self.folder.path)
        require_same_data(self.folder, self.setup.dataset)
        return False

    def _recorded(self) -> RecordedConfig:
        """Return the recorded config; code of its user's own has to be the code that this session runs."""
        return read_config(self.folder, outside_names(self.file.experiment))

    def _go_on(self, training: Training) -> None:
        """Record with what the run goes on, and take back the rows that were logged after the checkpoint."""
        recorded = self._recorded()
        changed = allowed_changes(recorded.file.experiment, self.file.experiment, self.folder.path)
        write_config(self.folder, self.file, self.setup.code, [*recorded.changes, *_as_json(changed, training.step)])
        self._record_environment(training.step)
        self.folder.write_rows(METRICS, (row.to_json() for row in training.rows))

    def _finished_steps(self, done: int) -> int | None:
        """Return the steps of a run that has nothing left to do, else None.

        A summary of fewer steps than are now asked for is put aside.
        """
        summary = self.folder.path / SUMMARY
        if not summary.exists():
            return None
        recorded = read_summary(self.folder)
        steps: int = recorded["steps"]
        if steps >= self.setup.calendar.total_steps or recorded["stopped_early"]:
            return steps
        if done == 0:
            raise RunFolderError(
                "this run ended, and there is no checkpoint to resume from",
                where=self.folder.path / "checkpoints",
                fix="train again, in another folder",
            )
        summary.rename(summary.with_name(f"summary-step-{steps}.json"))
        return None

    def metadata(self, training: Training) -> Metadata:
        """Return what is saved with the state of a training as it stands."""
        calendar, best, clocks = self.setup.calendar, self.file.experiment.checkpoint.keep_best, training.clocks
        # A checkpoint between two rows is ranked by neither: the best one has exactly the weights of the best row.
        row = training.rows[-1] if training.rows and training.rows[-1].step == training.step - 1 else None
        return Metadata(
            step=training.step,
            epoch=calendar.epoch(training.step),
            config=self.folder.read_json("config.json"),
            contract_digest=self._contract,
            data_digests=dict(self.setup.dataset.digests),
            versions=versions(),
            rows=len(training.rows),
            train_seconds=clocks.train,
            eval_seconds=clocks.evaluation,
            metric=None if best is None or row is None else row.number(best),
            extra=_Extra(
                compile_seconds=clocks.compilation,
                total_seconds=clocks.total,
                save_seconds=clocks.save,
                hardware=self._hardware(),
            )._asdict(),
        )

    def _restore(self, training: Training, restored: Restored) -> None:
        """Let a training go on from a checkpoint."""
        metadata = restored.metadata
        for line in restored.rejected:
            self._warn(f"warning: checkpoint not used: {line}")
        if metadata.contract_digest != self._contract:
            raise ContractError(
                "the model's contract changed since this run",
                where=self.setup.checked.contract_place,
                expected=f"SHA-256 {metadata.contract_digest}",
                found=self._contract,
                fix="use the version of the library that trained the run",
            )
        try:
            extra: _Extra = conform(metadata.extra, _Extra, "extra")
        except MismatchError as mismatch:
            raise RunFolderError(
                f"damaged at {mismatch.place}",
                where=self.store.path(metadata.step),
                expected=mismatch.expected,
                found=mismatch.found,
                fix="delete this checkpoint to continue from the previous one",
            ) from mismatch
        now = {**versions(), **self._hardware()}
        for name, before, after in changed({**metadata.versions, **extra.hardware}, now):
            self._warn(
                f"warning: this run was trained with {name} {before}, and continues with {after}: "
                "results may differ in the last bits from an uninterrupted run"
            )
        clocks = training.clocks
        clocks.train, clocks.evaluation = metadata.train_seconds, metadata.eval_seconds
        clocks.compilation, clocks.save, clocks.before = extra.compile_seconds, extra.save_seconds, extra.total_seconds
        training.state, training.step, training.rows = restored.state, metadata.step, self._rows(metadata)

    def _rows(self, metadata: Metadata) -> list[LoggedRow]:
        """Return the rows logged before a checkpoint, after checking that they have this run's columns."""
        rows = read_rows(self.folder, metadata.rows)
        tested, validated = self.file.experiment.logging.test_examples > 0, self.setup.validation is not None
        measured = measured_columns(self.setup.task.logged, tested=tested, validated=validated)
        for number, row in enumerate(rows, 1):
            where = f"{self.folder.path / METRICS}, line {number}"
            missing = [name for name in measured if row.number(name) is None]
            unknown = [name for name, value in row.measured.items() if value is not None and name not in measured]
            if unknown:
                expected = f"of what is measured: {', '.join(measured) or 'nothing'}"
                raise RunFolderError(f"damaged at {unknown[0]}", where=where, expected=expected, found="a number")
            if missing or row.step >= metadata.step:
                raise RunFolderError(
                    f"damaged at {missing[0] if missing else 'step'}",
                    where=where,
                    expected="a number" if missing else f"less than {metadata.step}, the checkpoint's",
                    found="null" if missing else row.step,
                )
        return rows

    def _hardware(self) -> dict[str, str]:
        layout = self.setup.layout
        return {**hardware(layout.mesh.size), "mesh": _described(layout)}

    def _record_environment(self, step: int) -> None:
        recorded: dict[str, Any] = {**read_environment(self.folder)}
        now = environment(self.setup.dataset.digests, self.setup.layout.mesh.size)
        differs = {name: value for name, value in now.items() if recorded.get(name) != value}
        recorded["resumed"] = [*recorded.get("resumed", []), {"step": step, **differs}]
        self.folder.write_json(ENVIRONMENT, recorded)


def _described(layout: DeviceLayout) -> str:
    processes = "" if layout.processes == 1 else f" of {layout.processes} processes"
    return f"{layout.data} × {layout.model} devices{processes}"


def _as_json(changed: list[Change], step: int) -> list[RecordedChange]:
    return [RecordedChange(step=step, field=field, before=before, now=now) for field, before, now in changed]
