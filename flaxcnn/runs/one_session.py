"""A session of a run, from the step where it stands to its end: the steps, the evaluation, the summary."""

import hashlib
import math
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

import jax

from flaxcnn.config import to_json
from flaxcnn.errors import RunFolderError
from flaxcnn.evaluation.predictions import VALIDATION, Predictions, save_predictions
from flaxcnn.evaluation.table import Columns, LoggedRow
from flaxcnn.models import fold, folded
from flaxcnn.processes import is_first
from flaxcnn.runs.ahead import import_ahead
from flaxcnn.runs.evaluator import Evaluator
from flaxcnn.runs.familiar import familiarity_of, save_familiarity
from flaxcnn.runs.fine_tuning import plan_lines, trained_parameters
from flaxcnn.runs.folder.environment import device_line, why_xla
from flaxcnn.runs.folder.form import form_of, write_form
from flaxcnn.runs.folder.named import options_again
from flaxcnn.runs.folder.record import METRICS, SUMMARY
from flaxcnn.runs.folder.run_folder import as_line
from flaxcnn.runs.folder.weights import save_weights, sha256_of, sha256_of_state
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.output.crash import leave_crash
from flaxcnn.runs.output.loggers import LoggedRun, Logger, Loggers, logged_run
from flaxcnn.runs.output.profile import Profiler, describe, parse_steps, read_operations
from flaxcnn.runs.output.report import draw_first_batch, write_report
from flaxcnn.runs.running import Diverged, Hook, Training
from flaxcnn.runs.sessions import Session
from flaxcnn.runs.steps import run_steps
from flaxcnn.runs.stop import StopRequest
from flaxcnn.training.device_queue import DeviceQueue
from flaxcnn.training.loop import BlockRunner


def logged(session: Session, training: Training) -> LoggedRun:
    """Return what a logger is told at the start of a session."""
    config = to_json(session.setup.experiment)
    return logged_run(session.file.name, session.folder.path, config, training.step, training.rows)


def go_on(
    session: Session,
    training: Training,
    console: RunConsole,
    profile: str | None,
    hooks: Sequence[Hook],
    loggers: Sequence[Logger],
) -> int:
    """Make a run's remaining steps and, if none is left, end it; return the exit code.

    Args:
        session: the run's folder and its experiment.
        training: where the run stands.
        console: prints the run.
        profile: the steps to trace, or None.
        hooks: functions to call every few steps.
        loggers: where the rows go, beside the run's own log.
    """
    return _Run(session, training, console, profile, hooks, loggers).go_on()


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
        self._loggers = Loggers(loggers if is_first() else (), logged(session, training), console.warn)
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
        save_familiarity(folder, familiarity_of(setup, model, variables))
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
