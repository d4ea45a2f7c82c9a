"""The main job: from an experiment to a run's folder, in one session or in many.

What computes, writes and prints stands elsewhere; here is the order of things.
"""

import hashlib
import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import jax
import numpy as np

from flaxcnn.config import Experiment, ExperimentFile, with_data
from flaxcnn.errors import RunFolderError, TrainingError
from flaxcnn.evaluation.table import Columns, LoggedRow
from flaxcnn.models import fold, folded
from flaxcnn.runs.choice import best_row
from flaxcnn.runs.console import RunConsole, command
from flaxcnn.runs.crash import leave_crash
from flaxcnn.runs.environment import device_line
from flaxcnn.runs.evaluate import Evaluator
from flaxcnn.runs.folder import RunFolder, as_line, make_run_folder
from flaxcnn.runs.lock import locked
from flaxcnn.runs.record import METRICS, SUMMARY, read_config
from flaxcnn.runs.report import comparable, draw_first_batch, write_report
from flaxcnn.runs.sessions import Session, Times
from flaxcnn.runs.setup import set_up
from flaxcnn.runs.steps import Diverged, Progress, run_steps
from flaxcnn.runs.stop import StopRequest
from flaxcnn.runs.tensorboard import EventFiles, require_tensorboard
from flaxcnn.runs.weights import save_weights, sha256_of, sha256_of_state
from flaxcnn.training.checkpoints import import_orbax
from flaxcnn.training.loop import BlockRunner


def train(file: ExperimentFile, experiment: Experiment, out: str | None, *, started: float) -> int:
    """Train an experiment, or go on with it, and leave its run's folder.

    Args:
        file: the experiment's file, for its name and the values that a paper published.
        experiment: the experiment to run: the file's, with what the command line changed.
        out: the run's folder, new or of the same run; None for the next `runs/CONFIG-NNN`.
        started: `time.perf_counter()` when the command started, for `total_seconds`.

    Returns:
        The exit code: 0, or 130 or 143 where a signal stopped the run.

    Raises:
        ConfigError, DataError, ContractError: before anything is written.
        RunFolderError: the folder holds another run, or a file cannot be written.
        TrainingError: the loss, a gradient, an update or the final test loss is not finite.
    """
    if experiment.logging.tensorboard:
        require_tensorboard()
    experiment = with_data(experiment)
    setup, console = set_up(experiment), RunConsole()
    folder = make_run_folder(out, file.name)
    ran = ExperimentFile(file.name, experiment, comparable(file, experiment))
    with locked(folder.path):
        session = Session(folder, ran, setup, console.warn)
        progress = session.start()
        if session.complete:
            console.complete(progress.step, setup.plan.total_steps, folder.path)
            return 0
        return _run(session, progress, console, started)


def resume(folder: RunFolder, source: str | None, data_dir: str | None, *, started: float) -> int:
    """Go on with a run as its folder says, its data elsewhere where that is said; as `train`."""
    if (folder.path / "step.json").exists():
        fix = f"look into it with: {command('replay', folder.path)}"
        raise RunFolderError("the folder of a crash, not of a run", where=folder.path, fix=fix)
    file = read_config(folder).file
    file = file._replace(experiment=with_data(file.experiment, source, data_dir))
    return train(file, file.experiment, str(folder.path), started=started)


def _run(session: Session, progress: Progress, console: RunConsole, started: float) -> int:
    """Run the steps that are left, and finish the run if all are done."""
    folder, setup, experiment = session.folder, session.setup, session.file.experiment
    variables = progress.state.variables
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    console.started(session.file, parameters, setup, device_line(), folder.path, progress.step)
    # Orbax takes about a second to import; here it does while the programs are compiled.
    threading.Thread(target=import_orbax, daemon=True).start()
    runner = BlockRunner(progress.state, setup.train, setup.plan, experiment.training.seed)
    evaluator = Evaluator(setup, setup.model, variables)
    draw_first_batch(folder, progress.state, setup.train, runner)
    columns = Columns(session.file.published, evaluator.first > 0, setup.validation is not None)

    def times() -> Times:
        before = session.times_before
        return {
            "eval_seconds": before["eval_seconds"] + evaluator.seconds,
            "compile_seconds": before["compile_seconds"] + runner.compile_seconds + evaluator.compile_seconds,
            "total_seconds": before["total_seconds"] + time.perf_counter() - started,
        }

    def save() -> None:
        session.store.save(progress.state, session.metadata(progress, times()))

    with ExitStack() as open_files:
        events = None
        if experiment.logging.tensorboard:
            events = open_files.enter_context(EventFiles(folder.path, first_step=progress.step))

        def log(row: LoggedRow) -> None:
            folder.append_row(METRICS, row._asdict())
            if events:
                events.logged(row)

        try:
            with StopRequest() as stop, console.training(setup.plan.total_steps, columns):
                run_steps(progress, experiment, runner, evaluator, log=log, save=save, console=console, stop=stop)
        except Diverged as diverged:
            metadata = session.metadata(progress, times())
            raise leave_crash(
                folder, progress.state, metadata, diverged.loss, runner.batch(progress.step)
            ) from diverged
    if stop.signal is not None:
        console.stopped(progress.step, setup.plan.total_steps, folder.path)
        return stop.exit_code
    _finish(session, progress, console, evaluator, columns, times)
    return 0


def _finish(
    session: Session,
    progress: Progress,
    console: RunConsole,
    evaluator: Evaluator,
    columns: Columns,
    times: Callable[[], Times],
) -> None:
    """Evaluate all test images and write what a finished run leaves, the summary last."""
    folder, file, plan = session.folder, session.file, session.setup.plan
    state, step = progress.state, progress.step
    if file.experiment.checkpoint.final == "best":
        step = progress.rows[best_row(progress.rows, str(file.experiment.checkpoint.keep_best))].step + 1
        try:
            state = session.store.restore(step, jax.eval_shape(lambda: state)).state
        except RunFolderError as error:
            fix = "train anew, with another --out; or with --checkpoint.final last"
            raise RunFolderError(f"the best checkpoint is lost: {error}", where=folder.path, fix=fix) from error
    model, variables = folded(session.setup.model), fold(session.setup.model, state.variables)
    final = evaluator
    if model != session.setup.model:  # what is measured at the end is what is kept
        final = Evaluator(session.setup, model, variables)
    numbers, logits = final.final_numbers(variables)
    if final is not evaluator:
        evaluator.seconds += final.seconds
        evaluator.compile_seconds += final.compile_seconds
    for name in ("test_loss", "train_loss", "validation_loss"):
        if not math.isfinite(numbers.get(name, 0.0)):
            raise TrainingError(
                f"the trained model's {name.replace('_', ' ')} is not finite",
                where=folder.path,
                found=numbers[name],
                fix="train anew, with a smaller learning rate",
            )
    save_weights(folder, variables)
    write_report(folder, file, session.setup.dataset, progress.rows, columns, np.asarray(logits))
    rows = [{**row._asdict(), "images_per_second": None} for row in progress.rows]
    summary: dict[str, Any] = {
        "name": file.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "steps": progress.step,
        "rows": len(progress.rows),
        "stopped_early": progress.step < plan.total_steps,
        "weights_step": step,
        **numbers,
        "train_seconds": progress.train_seconds,
        "save_seconds": progress.save_seconds,
        **times(),
        "images_per_second": progress.step * plan.batch_size / progress.train_seconds,
        "device": device_line(),
        "seed": file.experiment.training.seed,
        "weights_sha256": sha256_of(variables["params"]),
        "state_sha256": sha256_of_state(progress.state),
        "metrics_sha256": hashlib.sha256("".join(map(as_line, rows)).encode()).hexdigest(),
    }
    folder.write_json(SUMMARY, summary)
    console.finished(summary, evaluator.first, folder.path)
