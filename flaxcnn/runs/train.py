"""Train an experiment in a run's folder, in one or several sessions.

This module defines the order of events. Other modules compute, write and print.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from flaxcnn.config import Experiment, ExperimentFile, Mesh, with_data
from flaxcnn.evaluation.reproduction import require_possible
from flaxcnn.files import user_path
from flaxcnn.processes import is_first, together
from flaxcnn.runs.cautions import cautions
from flaxcnn.runs.first_choice import said
from flaxcnn.runs.folder.lock import locked
from flaxcnn.runs.folder.named import NOTHING, Named
from flaxcnn.runs.folder.record import CONFIG, read_config, read_summary
from flaxcnn.runs.folder.run_folder import RunFolder, make_run_folder
from flaxcnn.runs.given import NOTHING_GIVEN, Given, Loaded
from flaxcnn.runs.one_session import go_on, logged
from flaxcnn.runs.output.chosen_loggers import chosen_loggers
from flaxcnn.runs.output.console import RunConsole
from flaxcnn.runs.output.loggers import Logger, Loggers
from flaxcnn.runs.output.profile import parse_steps
from flaxcnn.runs.output.report import comparable
from flaxcnn.runs.running import Clocks, Hook
from flaxcnn.runs.sessions import Session
from flaxcnn.runs.setup import Setup, set_up


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
                with Loggers(unsent, logged(session, begun.training), console.warn) as log:
                    log.summary(read_summary(folder))
            return Ended(0, folder, setup)
        for line in cautions(setup):
            console.warn(line)
        return Ended(go_on(session, begun.training, console, profile, hooks, loggers), folder, setup)


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
