"""The main job: from an experiment to a run's folder.

What computes, writes and prints stands elsewhere; here is the order of things.
"""

import time
from contextlib import ExitStack
from typing import Any

import jax
import numpy as np

from flaxcnn import data
from flaxcnn.config import Experiment, ExperimentFile, to_json
from flaxcnn.data import Dataset
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.models import create_checked
from flaxcnn.runs.console import RunConsole
from flaxcnn.runs.environment import device_line, environment
from flaxcnn.runs.evaluate import Evaluator
from flaxcnn.runs.folder import create_run_folder
from flaxcnn.runs.report import comparable, write_report
from flaxcnn.runs.steps import Progress, run_steps
from flaxcnn.runs.stop import StopRequest
from flaxcnn.runs.tensorboard import EventFiles, require_tensorboard
from flaxcnn.runs.weights import save_weights, sha256_of
from flaxcnn.training import adam, create_state
from flaxcnn.training.loop import BlockRunner, Plan


def train(file: ExperimentFile, experiment: Experiment, out: str | None, *, started: float | None = None) -> int:
    """Train an experiment, print how it goes, and leave its run's folder.

    Args:
        file: the experiment's file, for its name and the values that a paper published.
        experiment: the experiment to run: the file's, with what the command line changed.
        out: the run's folder, new or empty; None for the next `runs/CONFIG-NNN`.
        started: `time.perf_counter()` when the command started, for `total_seconds`.

    Returns:
        The exit code: 0, or 130 or 143 where a signal stopped the run.

    Raises:
        ConfigError, DataError, ContractError: before anything is written.
        RunFolderError: a file cannot be written.
    """
    started = time.perf_counter() if started is None else started
    console = RunConsole()
    if experiment.logging.tensorboard:
        require_tensorboard()
    dataset = data.load(experiment.data.source, experiment.data.dir)
    plan = _plan(experiment, dataset)
    model = create_checked(experiment.model.name, dataset.classes)
    folder = create_run_folder(out, file.name)
    folder.write_json("config.json", {"name": file.name, **to_json(experiment)})
    folder.write_json("environment.json", environment(dataset.digests))

    settings = experiment.optimizer
    optimizer = adam(settings.learning_rate, settings.b1, settings.b2, settings.eps)
    state = create_state(model, optimizer, dataset.image_shape, experiment.training.seed)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    console.started(file.name, experiment, parameters, dataset, device_line(), folder.path)
    runner = BlockRunner(state, dataset.train, plan, experiment.training.seed)
    evaluator = Evaluator(model, state.variables, dataset.test, experiment.logging.test_examples)
    published = comparable(file, experiment)

    progress = Progress(state)
    with ExitStack() as open_files, StopRequest() as stop:
        events = open_files.enter_context(EventFiles(folder.path)) if experiment.logging.tensorboard else None

        def log(row: LoggedRow) -> None:
            folder.append_row("metrics.jsonl", row._asdict())
            if events:
                events.logged(row)

        with console.training(plan.total_steps, published):
            run_steps(progress, runner, evaluator, log=log, console=console, stop=stop)

    variables = progress.state.variables
    save_weights(folder, "weights.npz", variables)
    if progress.step < plan.total_steps:
        console.stopped(progress.step, plan.total_steps, len(progress.rows), folder.path)
        return stop.exit_code
    numbers, logits = evaluator.final_numbers(variables)
    write_report(folder, file.name, dataset, progress.rows, published, np.asarray(logits))
    summary: dict[str, Any] = {
        "name": file.name,
        "parameters": parameters,
        "steps": progress.step,
        **numbers,
        "train_seconds": progress.train_seconds,
        "eval_seconds": evaluator.seconds,
        "compile_seconds": runner.compile_seconds + evaluator.compile_seconds,
        "total_seconds": time.perf_counter() - started,
        "images_per_second": progress.step * plan.batch_size / progress.train_seconds,
        "device": device_line(),
        "seed": experiment.training.seed,
        "weights_sha256": sha256_of(variables["params"]),
    }
    folder.write_json("summary.json", summary)  # last: a run that has one is complete
    console.finished(summary, evaluator.first, folder.path)
    return 0


def _plan(experiment: Experiment, dataset: Dataset) -> Plan:
    training = experiment.training
    return Plan.of(
        len(dataset.train),
        batch_size=training.batch_size,
        epochs=training.epochs,
        steps=training.steps,
        log_every=experiment.logging.every,
    )
