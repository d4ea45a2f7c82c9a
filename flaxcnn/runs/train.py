"""Train an experiment in a run's folder, in one or several sessions.

This module defines the order of events. Other modules compute, write and print.
"""

import dataclasses
import hashlib
import math
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import jax

from flaxcnn.config import Experiment, ExperimentFile, Mesh, to_json, with_data
from flaxcnn.errors import RunFolderError
from flaxcnn.evaluation.predictions import VALIDATION, Predictions, save_predictions
from flaxcnn.evaluation.reproduction import require_possible
from flaxcnn.evaluation.table import Columns, LoggedRow
from flaxcnn.files import user_path
from flaxcnn.models import fold, folded
from flaxcnn.processes import is_first, together
from flaxcnn.runs.ahead import import_ahead
from flaxcnn.runs.cautions import cautions
from flaxcnn.runs.evaluator import Evaluator
from flaxcnn.runs.familiar import familiarity_of, save_familiarity
from flaxcnn.runs.fine_tuning import plan_lines, trained_parameters
from flaxcnn.runs.first_choice import said
from flaxcnn.runs.folder.environment import device_line, why_xla
from flaxcnn.runs.folder.form import form_of, write_form
from flaxcnn.runs.folder.lock import locked
from flaxcnn.runs.folder.named import NOTHING, Named, options_again
from flaxcnn.runs.folder.record import CONFIG, METRICS, SUMMARY, read_config, read_summary
from flaxcnn.runs.folder.run_folder import RunFolder, as_line, make_run_folder
from flaxcnn.runs.folder.weights import save_weights, sha256_of, sha256_of_state
from flaxcnn.runs.output.chosen_loggers import chosen_loggers
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.output.crash import leave_crash
from flaxcnn.runs.output.loggers import LoggedRun, Logger, Loggers, logged_run
from flaxcnn.runs.output.profile import Profiler, describe, parse_steps, read_operations
from flaxcnn.runs.output.report import comparable, draw_first_batch, write_report
from flaxcnn.runs.running import Clocks, Diverged, Hook, Training
from flaxcnn.runs.sessions import Session
from flaxcnn.runs.setup import NOTHING_GIVEN, Given, Loaded, Setup, set_up
from flaxcnn.runs.steps import run_steps
from flaxcnn.runs.stop import StopRequest
from flaxcnn.training.device_queue import DeviceQueue
from flaxcnn.training.loop import BlockRunner


class Ended(NamedTuple):
    """The result of a run's session.

    Attributes:
        code: the exit code: 0, or 130 or 143 if a signal stopped the run.
        folder: the run's folder.
        setup: the setup of the experiment.
    """

    code: int
    folder: RunFolder
    setup: Setup


def train(
    file: ExperimentFile, experiment: Experiment, out: str | None, *, started: float, profile: str | None = None
) -> int:
    """Train or resume an experiment like `run`, and return the exit code."""
    return run(file, experiment, out, started=started, profile=profile).code


def run(
    file: ExperimentFile,
    experiment: Experiment,
    out: str | None,
    *,
    started: float,
    profile: str | None = None,
    given: Given = NOTHING_GIVEN,
    loaded: Loaded | None = None,
    hooks: Sequence[Hook] = (),
    loggers: Sequence[Logger] = (),
    console: RunConsole | None = None,
    recorded: bool = False,
) -> Ended:
    """Train or resume an experiment and write its run's folder.

    With several processes, each calls this with the same arguments; the first one creates and writes the folder.

    Args:
        file: the experiment's file, for its name and published values.
        experiment: the experiment to run: the file's, with changes from the command line.
        out: the run's folder, new or of the same run; None for the next free `runs/CONFIG-NNN`.
        started: `time.perf_counter()` at the start of the command, for `total_seconds`.
        profile: "FIRST:END", the steps to trace; None for none.
        given: data, a model and a task that replace those that the experiment names.
        loaded: the experiment's data, where they are loaded already; with none given.
        hooks: functions to call every few steps.
        loggers: where the rows go, too, beside those that the experiment names.
        console: prints the run; None for standard output.
        recorded: whether the run's folder alone names what the experiment logs to.

    Returns:
        The result of the session.

    Raises:
        ConfigError, DataError, ContractError: invalid arguments; nothing was written.
        RunFolderError: the folder holds another run, or a file cannot be written.
        TrainingError: the loss, a gradient, an update or the final test loss is not finite.
    """
    console = RunConsole(speaks=is_first()) if console is None else console
    loggers = chosen_loggers(experiment.logging, loggers, console.warn, out if recorded else None)
    experiment = given.named_in(with_data(experiment))
    notes = said(file, experiment)
    setup = set_up(experiment, loaded, given)
    if out is None or not (user_path(out, "--out") / CONFIG).exists():
        setup = setup.begun()  # before anything is written
    experiment = setup.experiment  # with what the source chose
    main = setup.task.logged[0]
    require_possible(file.published, main, setup.task.metrics[main])
    if profile is not None:
        parse_steps(profile, total_steps=setup.calendar.total_steps)
    folder = RunFolder(Path(together(lambda: str(make_run_folder(out, file.name).path))))
    ran = ExperimentFile(file.name, experiment, comparable(file, experiment), notes=notes)
    with ExitStack() as held:
        together(lambda: held.enter_context(locked(folder.path)))
        session = Session(folder, ran, setup, console.warn)
        begun = session.start(Clocks(started=started))
        if begun.complete_after is not None:
            console.complete(begun.complete_after, setup.calendar.total_steps, folder.path)
            unsent = [each for each in loggers if getattr(each, "catches_up", False)] if is_first() else []
            if unsent:
                with Loggers(unsent, _logged(session, begun.training), console.warn) as log:
                    log.summary(read_summary(folder))
            return Ended(0, folder, setup)
        for line in cautions(setup):
            console.warn(line)
        return Ended(_Run(session, begun.training, console, profile, hooks, loggers).go_on(), folder, setup)


def resume(
    folder: RunFolder,
    source: str | None,
    data_dir: str | None,
    mesh_data: int | None,
    mesh_model: int | None,
    *,
    named: Named = NOTHING,
    mlflow: str | None = None,
    started: float,
) -> int:
    """Resume a run from its folder, with a new data location or other devices if given; see `run`."""
    file = read_config(folder, named).file
    before = file.experiment.mesh
    mesh = Mesh(before.data if mesh_data is None else mesh_data, before.model if mesh_model is None else mesh_model)
    logging = file.experiment.logging
    if mlflow is not None:
        logging = dataclasses.replace(logging, mlflow=mlflow)
    experiment = dataclasses.replace(with_data(file.experiment, source, data_dir), mesh=mesh, logging=logging)
    file = file._replace(experiment=experiment)
    return run(file, experiment, str(folder.path), started=started, recorded=mlflow is None).code


def _logged(session: Session, training: Training) -> LoggedRun:
    """Return what a logger is told at the start of a session."""
    config = to_json(session.setup.experiment)
    return logged_run(session.file.name, session.folder.path, config, training.step, training.rows)


class _Run:
    """One session of a run.

    Args:
        session: the session of the run's folder.
        training: the training at the start of the session.
        console: prints the run.
        profile: the steps to trace.
        hooks: functions to call every few steps.
        loggers: where the rows go, beside the run's own log.
    """

    def __init__(
        self,
        session: Session,
        training: Training,
        console: RunConsole,
        profile: str | None,
        hooks: Sequence[Hook],
        loggers: Sequence[Logger],
    ):
        self._loggers = Loggers(loggers if is_first() else (), _logged(session, training), console.warn)
        self._session, self._training, self._console, self._hooks = session, training, console, hooks
        self._setup, self._folder = session.setup, session.folder
        self._profiler = None if profile is None else self._trace(profile)
        self._columns = Columns(
            self._setup.task.logged,
            session.file.published,
            tested=self._setup.experiment.logging.test_examples > 0,
            validated=self._setup.validation is not None,
        )

    def go_on(self) -> int:
        """Run the remaining steps, finish the run if all are done, and return the exit code."""
        with self._loggers:
            return self._go_on()

    def _go_on(self) -> int:
        training, setup, console = self._training, self._setup, self._console
        parameters = sum(leaf.size for leaf in jax.tree.leaves(training.current.params))
        devices = setup.layout.mesh.size
        device, kernels = device_line(devices), why_xla(devices)
        trained = plan_lines(training.current, setup.checked.contract)
        console.started(
            self._session.file, parameters, setup, device, self._folder.path, training.step, kernels, trained
        )
        stop, device_queue = StopRequest(), DeviceQueue(setup.layout)
        with closing(setup.batch_source()) as batch_source:
            runner = BlockRunner(
                training.current,
                setup.calendar,
                batch_source,
                setup.layout,
                wants_stop=lambda: stop.signal is not None,
                device_queue=device_queue,
            )
            training.clocks.compilation += runner.compile_seconds
            evaluator = Evaluator(setup, setup.model, training.current.variables, device_queue, training.clocks)
            import_ahead(pictures=is_first())
            if is_first():
                examples = setup.calendar.batch(setup.experiment.training.seed, 0)
                draw_first_batch(self._folder, training.current, setup.train, examples, console.warn)
            self._make_steps(runner, evaluator, stop)
        if runner.stopping:
            self._loggers.stopped()
            words = options_again(to_json(setup.experiment))
            if setup.experiment.logging.mlflow is not None:  # which no run folder makes a command send to
                words = [*words, "--logging.mlflow", setup.experiment.logging.mlflow]
            console.stopped(training.step, setup.calendar.total_steps, self._folder.path, words)
            return stop.exit_code or 128 + signal.SIGTERM  # of several processes, another one was asked to stop
        self._finish(evaluator)
        if self._profiler is not None and is_first():
            texts = [runner.text, *evaluator.texts]
            operations = [] if self._profiler.trace is None else read_operations(self._profiler.trace, texts)
            console.lines(["", *describe(self._profiler, operations)])
        return 0

    def _make_steps(self, runner: BlockRunner, evaluator: Evaluator, stop: StopRequest) -> None:
        """Run the remaining steps; if one diverges, write the crash folder."""
        training, session = self._training, self._session
        with ExitStack() as held:
            if self._profiler is not None:
                held.enter_context(self._profiler)
            held.enter_context(stop)
            held.enter_context(self._console.training(self._setup.calendar.total_steps, self._columns))
            try:
                run_steps(
                    training,
                    runner,
                    evaluator,
                    log=self._log,
                    save=lambda: session.store.save(training.current, session.metadata(training)),
                    console=self._console,
                    profiler=self._profiler,
                    hooks=self._hooks,
                )
            except Diverged as diverged:
                held.close()
                examples = self._setup.calendar.batch(self._setup.experiment.training.seed, training.step)
                metadata, loss = session.metadata(training), math.nan if diverged.loss is None else diverged.loss
                raise leave_crash(self._folder, training.current, metadata, loss, examples) from diverged

    def _log(self, row: LoggedRow) -> None:
        """Write a row to the run's log, and give it to the loggers."""
        if is_first():
            self._folder.append_row(METRICS, row.to_json())
        self._loggers.row(row)

    def _trace(self, profile: str) -> Profiler:
        """Return the profiler of the requested steps; each process traces its own programs."""
        path = self._folder.path / "profile"
        if not is_first():
            path /= f"process-{jax.process_index()}"
        steps = parse_steps(profile, total_steps=self._setup.calendar.total_steps, done=self._training.step)
        return Profiler(path, *steps)

    def _finish(self, evaluator: Evaluator) -> None:
        """Evaluate all test images and write the files of a finished run, the summary last."""
        training, setup, folder = self._training, self._setup, self._folder
        kept, step = self._kept()
        layout = setup.layout
        model, variables = folded(setup.model), fold(setup.model, kept)
        variables = jax.device_put(variables, layout.of_tree(variables))
        if model != setup.model:  # what is measured at the end is what is kept
            evaluator = Evaluator(setup, model, variables, clocks=training.clocks)

        def report(predictions: Predictions) -> None:
            if is_first():
                name, warn = self._session.file.name, self._console.warn
                write_report(folder, name, setup, training.rows, self._columns, predictions, warn)

        numbers, variables, _, validation = evaluator.final_numbers(variables, meanwhile=report)
        variables, whole_state = layout.whole(variables), layout.whole(training.current)
        if not is_first():
            return
        save_weights(folder, variables)
        write_form(folder, form_of(setup.dataset))
        if validation is not None:  # by which predictions are calibrated
            folder.write(VALIDATION, lambda path: save_predictions(path, validation))
        at = time.perf_counter()
        if (familiarity := familiarity_of(setup, model, variables)) is not None:
            save_familiarity(folder, familiarity)
        training.clocks.evaluation += time.perf_counter() - at
        summary = self._summary(step, numbers, variables, whole_state)
        folder.write_json(SUMMARY, summary)
        self._loggers.summary(summary)
        self._console.finished(summary, setup.task, evaluator.first, folder.path)

    def _kept(self) -> tuple[Any, int]:
        """Return the run's final variables, and their number of steps."""
        training, checkpoint = self._training, self._setup.experiment.checkpoint
        if checkpoint.final != "best":
            return training.current.variables, training.step
        step = training.best().step + 1
        try:
            return self._session.store.restore(step, self._setup.state_target()).state.variables, step
        except RunFolderError as error:
            fix = "train again in another folder, or with checkpoint.final last"
            raise RunFolderError(f"the best checkpoint is lost: {error}", where=self._folder.path, fix=fix) from error

    def _summary(self, step: int, numbers: dict[str, Any], variables: Any, whole_state: Any) -> dict[str, Any]:
        training, clocks, calendar = self._training, self._training.clocks, self._setup.calendar
        rows = [{**row.to_json(), "images_per_second": None} for row in training.rows]
        return {
            "name": self._session.file.name,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
            "trained_parameters": trained_parameters(training.current),
            "steps": training.step,
            "rows": len(training.rows),
            "stopped_early": training.step < calendar.total_steps,
            "weights_step": step,
            **numbers,
            "train_seconds": clocks.train,
            "save_seconds": clocks.save,
            "eval_seconds": clocks.evaluation,
            "compile_seconds": clocks.compilation,
            "total_seconds": clocks.total,
            "images_per_second": training.step * calendar.batch_size / clocks.train,
            "device": device_line(self._setup.layout.mesh.size),
            "seed": self._setup.experiment.training.seed,
            "weights_sha256": sha256_of(variables["params"]),
            "state_sha256": sha256_of_state(whole_state),
            "metrics_sha256": hashlib.sha256("".join(map(as_line, rows)).encode()).hexdigest(),
        }
