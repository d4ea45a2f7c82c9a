"""The main job: from an experiment to a run's folder, in one session or in many.

What computes, writes and prints stands elsewhere; here is the order of things.
"""

import dataclasses
import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax

from flaxcnn.config import Experiment, ExperimentFile, Mesh, with_data
from flaxcnn.errors import RunFolderError, TrainingError
from flaxcnn.evaluation.reproduction import require_possible
from flaxcnn.evaluation.table import Columns, LoggedRow
from flaxcnn.models import fold, folded
from flaxcnn.processes import is_first, together
from flaxcnn.runs.cautions import cautions
from flaxcnn.runs.choice import best_row
from flaxcnn.runs.console import RunConsole
from flaxcnn.runs.crash import leave_crash
from flaxcnn.runs.environment import device_line
from flaxcnn.runs.evaluate import Evaluator
from flaxcnn.runs.folder import RunFolder, as_line, make_run_folder
from flaxcnn.runs.lock import locked
from flaxcnn.runs.profile import Profiler, describe, parse_steps, read_operations
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
from flaxcnn.training.timeline import Timeline


def train(
    file: ExperimentFile, experiment: Experiment, out: str | None, *, started: float, profile: str | None = None
) -> int:
    """Train an experiment, or go on with it, and leave its run's folder.

    Of several processes, each calls this with the same arguments; the first one makes and writes the folder.

    Args:
        file: the experiment's file, for its name and the values that a paper published.
        experiment: the experiment to run: the file's, with what the command line changed.
        out: the run's folder, new or of the same run; None for the next `runs/CONFIG-NNN`.
        started: `time.perf_counter()` when the command started, for `total_seconds`.
        profile: "FIRST:END", the steps to trace; None for none.

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
    setup, console = set_up(experiment), RunConsole(speaks=is_first())
    main = setup.task.logged[0]
    require_possible(file.published, main, setup.task.metrics[main])
    if profile is not None:
        parse_steps(profile, total_steps=setup.plan.total_steps)
    folder = RunFolder(Path(together(lambda: str(make_run_folder(out, file.name).path))))
    ran = ExperimentFile(file.name, experiment, comparable(file, experiment))
    with ExitStack() as held:
        together(lambda: held.enter_context(locked(folder.path)))
        session = Session(folder, ran, setup, console.warn)
        progress = session.start()
        if session.complete:
            console.complete(progress.step, setup.plan.total_steps, folder.path)
            return 0
        for line in cautions(setup):
            console.warn(line)
        return _run(session, progress, console, started, profile)


def resume(
    folder: RunFolder,
    source: str | None,
    data_dir: str | None,
    mesh_data: int | None,
    mesh_model: int | None,
    *,
    started: float,
) -> int:
    """Go on with a run as its folder says, its data or the devices others where that is said; as `train`."""
    file = read_config(folder).file
    before = file.experiment.mesh
    mesh = Mesh(before.data if mesh_data is None else mesh_data, before.model if mesh_model is None else mesh_model)
    file = file._replace(experiment=dataclasses.replace(with_data(file.experiment, source, data_dir), mesh=mesh))
    return train(file, file.experiment, str(folder.path), started=started)


def _run(session: Session, progress: Progress, console: RunConsole, started: float, profile: str | None) -> int:
    """Run the steps that are left, and finish the run if all are done."""
    folder, setup, experiment = session.folder, session.setup, session.file.experiment
    variables = progress.state.variables
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    profiler = None if profile is None else _profiler(profile, session, progress)
    console.started(session.file, parameters, setup, device_line(), folder.path, progress.step)
    stop, timeline = StopRequest(), Timeline(setup.placement)
    with ExitStack() as held:
        feeder = held.enter_context(closing(setup.feeder()))
        runner = BlockRunner(
            progress.state,
            setup.plan,
            feeder,
            setup.placement,
            wants_stop=lambda: stop.signal is not None,
            timeline=timeline,
        )
        evaluator = Evaluator(setup, setup.model, variables, timeline)
        # Orbax takes about a second to import; here it does while the first steps are computed.
        threading.Thread(target=import_orbax, daemon=True).start()
        columns = Columns(
            setup.task.logged,
            session.file.published,
            tested=evaluator.first > 0,
            validated=setup.validation is not None,
        )
        if is_first():
            examples = setup.plan.batch(experiment.training.seed, 0)
            draw_first_batch(folder, progress.state, setup.train, examples, console.warn)

        def times() -> Times:
            before = session.times_before
            return {
                "eval_seconds": before["eval_seconds"] + evaluator.seconds,
                "compile_seconds": before["compile_seconds"] + runner.compile_seconds + evaluator.compile_seconds,
                "total_seconds": before["total_seconds"] + time.perf_counter() - started,
            }

        def save() -> None:
            session.store.save(progress.state, session.metadata(progress, times()))

        events = None
        if experiment.logging.tensorboard and is_first():
            events = held.enter_context(EventFiles(folder.path, first_step=progress.step))

        def log(row: LoggedRow) -> None:
            if is_first():
                folder.append_row(METRICS, row.to_json())
            if events:
                events.logged(row)

        try:
            if profiler is not None:
                held.enter_context(profiler)
            with stop, console.training(setup.plan.total_steps, columns):
                run_steps(progress, setup, runner, evaluator, log=log, save=save, console=console, profiler=profiler)
        except Diverged as diverged:
            metadata = session.metadata(progress, times())
            examples = setup.plan.batch(experiment.training.seed, progress.step)
            raise leave_crash(folder, progress.state, metadata, diverged.loss, examples) from diverged
    if runner.stopping:
        console.stopped(progress.step, setup.plan.total_steps, folder.path)
        return stop.exit_code or 128 + signal.SIGTERM  # of several processes, another one was asked to stop
    _finish(session, progress, console, evaluator, columns, times)
    if profiler is not None and is_first():
        operations = [] if profiler.trace is None else read_operations(profiler.trace, [runner.text, *evaluator.texts])
        console.lines(["", *describe(profiler, operations)])
    return 0


def _profiler(profile: str, session: Session, progress: Progress) -> Profiler:
    """Return what traces the steps that are asked for; each process its own programs."""
    path = session.folder.path / "profile"
    if not is_first():
        path /= f"process-{jax.process_index()}"
    return Profiler(path, *parse_steps(profile, total_steps=session.setup.plan.total_steps, done=progress.step))


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
        step = (
            progress.rows[best_row(progress.rows, session.setup.task, str(file.experiment.checkpoint.keep_best))].step
            + 1
        )
        try:
            state = session.store.restore(step, session.setup.state_target()).state
        except RunFolderError as error:
            fix = "train again in another folder, or with checkpoint.final last"
            raise RunFolderError(f"the best checkpoint is lost: {error}", where=folder.path, fix=fix) from error
    placement = session.setup.placement
    model, variables = folded(session.setup.model), fold(session.setup.model, state.variables)
    variables = jax.device_put(variables, placement.of_tree(variables))
    final = evaluator
    if model != session.setup.model:  # what is measured at the end is what is kept
        final = Evaluator(session.setup, model, variables)
    numbers, variables, predictions = final.final_numbers(variables)
    if final is not evaluator:
        evaluator.seconds += final.seconds
        evaluator.compile_seconds += final.compile_seconds
    for name in ("test_loss", "train_loss", "validation_loss"):
        if not math.isfinite(numbers.get(name, 0.0)):
            raise TrainingError(
                f"the trained model's {name.replace('_', ' ')} is not finite",
                where=folder.path,
                found=numbers[name],
                fix="train again, with a smaller learning rate",
            )
    variables, whole_state = placement.whole(variables), placement.whole(progress.state)
    if not is_first():
        return
    save_weights(folder, variables)
    write_report(folder, file.name, session.setup, progress.rows, columns, predictions, console.warn)
    rows = [{**row.to_json(), "images_per_second": None} for row in progress.rows]
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
        "state_sha256": sha256_of_state(whole_state),
        "metrics_sha256": hashlib.sha256("".join(map(as_line, rows)).encode()).hexdigest(),
    }
    folder.write_json(SUMMARY, summary)
    console.finished(summary, session.setup.task, evaluator.first, folder.path)
