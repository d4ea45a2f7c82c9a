"""Run a sweep from a space to the best settings, in one or several sessions and processes.

This module defines the order of events. Other modules decide, train, store and draw.
"""

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from flaxcnn.config import Experiment, with_data
from flaxcnn.errors import ConfigError, RunFolderError, TrainingError
from flaxcnn.files import cannot_write, user_path
from flaxcnn.runs.folder.kinds import SWEEP, kind_of
from flaxcnn.runs.folder.record import ENVIRONMENT
from flaxcnn.runs.folder.run_folder import PARTIAL, RunFolder
from flaxcnn.runs.stop import StopRequest
from flaxcnn.sweeps.confirm import confirmation_of
from flaxcnn.sweeps.execution.decisions import budget_of, scheduler_of
from flaxcnn.sweeps.execution.search import Search, work
from flaxcnn.sweeps.execution.worker import Progress
from flaxcnn.sweeps.execution.workers import work_in_processes
from flaxcnn.sweeps.files import Sweep, difference, fingerprint
from flaxcnn.sweeps.metric import ranked_by
from flaxcnn.sweeps.options import Execution
from flaxcnn.sweeps.report.config_source import experiment_source
from flaxcnn.sweeps.report.console import SweepConsole, Work
from flaxcnn.sweeps.report.pictures import draw_sweep
from flaxcnn.sweeps.report.results import measured, ranked, short_names, shown, shown_params, summary_lines, write_csv
from flaxcnn.sweeps.report.work import expected_trainings, steps_made
from flaxcnn.sweeps.schedulers import PopulationBased
from flaxcnn.sweeps.schedulers.population import lineage
from flaxcnn.sweeps.searchable import for_trials_of
from flaxcnn.sweeps.searchers import CMAES, GP, TPE
from flaxcnn.sweeps.space import with_params
from flaxcnn.sweeps.study import Study, file_url
from flaxcnn.sweeps.trials import Status, Trial
from flaxcnn.terminal import command

_LOOK_SECONDS = 0.5  # between two looks at the trials
_PARALLEL = 8  # where proposals do not wait for results


class _Identity(TypedDict):  # sweep.json
    name: str
    experiment: dict[str, dict[str, Any]]


class _SweepEnvironment(TypedDict):  # environment.json
    steps: int


def sweep(name: str, asked: Sweep, experiment: Experiment, execution: Execution) -> int:
    """Search an experiment's settings, or go on with it, and leave the sweep's folder.

    Args:
        name: of the sweep.
        asked: what is searched, and how.
        experiment: that is searched.
        execution: where it is kept and who trains.

    Returns:
        The exit code: 0, or 130 or 143 where a signal stopped the sweep.

    Raises:
        ConfigError, DataError, ContractError: before anything is trained.
        RunFolderError: a file cannot be written.
        TrainingError: no trial could be trained.
    """
    experiment = with_data(experiment)
    by = ranked_by(asked.metric, experiment)
    for_trials = for_trials_of(asked, experiment, by)
    if execution.confirm and isinstance(asked.scheduler, PopulationBased):
        raise ConfigError(
            "population-based training finds a schedule of settings, not one that could be trained again",
            where="--confirm",
            expected="0 with this scheduler",
            found=execution.confirm,
        )
    identity = {"name": name, **fingerprint(asked, for_trials, by)}
    folder = _make_folder(execution.out, identity)
    storage = execution.storage or file_url(folder.path.resolve() / "study.db")
    how = execution.executor if execution.executor in ("map", "vmap", "auto") else "map"
    one = execution.executor in ("processes", "ray") or isinstance(asked.searcher, TPE | CMAES | GP)
    parallel = execution.parallel or (1 if one else _PARALLEL)
    search = Search(name, asked, for_trials, by, folder.path, storage, how, parallel)
    study = search.open()
    folder.write_json(SWEEP, identity)
    stop = StopRequest()
    console = SweepConsole(budget_of(asked, for_trials), by)
    console.lines(_introduction(search, execution))
    with stop:
        compiled = _search(search, study, execution, console, stop)
        trials = study.trials()
        if stop.signal is None:
            _finish(search, experiment, trials, console, keep_best=not compiled and not execution.confirm)
            if execution.confirm:
                seeds, parallel = execution.confirm_seeds, execution.parallel or _PARALLEL
                confirmation = confirmation_of(search, experiment, trials, execution.confirm, seeds, parallel)
                console = SweepConsole(confirmation.search.sweep.trials, by)
                console.lines(["", *confirmation.introduction])
                compiled += _search(confirmation.search, confirmation.search.open(), execution, console, stop)
    if stop.signal is not None:
        console.lines([f"stopped; continue with the same command; the trials' states are in {folder.path}"])
        return stop.exit_code
    if execution.confirm:
        result = confirmation.results()
        folder.write_text("confirm.md", result.report)
        console.lines(["", result.report])
        _write_best(search, experiment, trials, result.best, result.words)
    console.lines(
        [
            "",
            f"compiled  {compiled} training {'program' if compiled == 1 else 'programs'} in this session",
            f"folder    {folder.path}: sweep.csv, best.py and pictures",
            f"train it  {command('train', folder.path / 'best.py')}",
        ]
    )
    return 0


def recorded_batch_size(out: str | None, name: str) -> int | None:
    """Return the batch size of the sweep that a folder holds, None where it holds none; `out` as in `Execution`."""
    folder = RunFolder(_folder_path(out, name))
    if not (folder.path / SWEEP).exists():
        return None
    recorded: _Identity = folder.read_json(SWEEP, _Identity)
    size = recorded["experiment"].get("training", {}).get("batch_size")
    if type(size) is not int or size < 1:
        expected = "a whole number above 0"
        raise ConfigError("damaged at batch_size", where=folder.path / SWEEP, expected=expected, found=size)
    return size


def _search(search: Search, study: Study, execution: Execution, console: SweepConsole, stop: StopRequest) -> int:
    """Carry out a search, and return how many programs were compiled."""
    display = _Display(search, study, console)

    def wants_stop() -> bool:
        return stop.signal is not None

    display.look({}, 0, now=True)  # from what is there now on, everything is told
    with console.live():
        if execution.executor == "processes":
            count = execution.workers or _cores()
            worked = work_in_processes(search, count, wants_stop=wants_stop, look=lambda n: display.look({}, n))
        elif execution.executor == "ray":
            from flaxcnn.sweeps.execution.on_ray import work_on_ray

            worked = work_on_ray(search, study, execution, wants_stop=wants_stop, look=lambda n: display.look({}, n))
        else:
            worked = work(
                search,
                study,
                wants_stop=wants_stop,
                look=lambda progress, cohorts: display.look(progress, cohorts.compilations),
            )
        display.look({}, worked.compilations, now=True)
    return worked.compilations


class _Display:
    """Shows a search on the console, a few times a second at most."""

    def __init__(self, search: Search, study: Study, console: SweepConsole):
        self._search, self._study, self._console = search, study, console
        self._scheduler = scheduler_of(search.sweep, search.experiment)
        self._expected = expected_trainings(
            self._scheduler, budget_of(search.sweep, search.experiment), search.parallel
        )
        self._total_steps = 0  # of a training, once a process has loaded the data
        self._next = 0.0

    def look(self, progress: Progress, compilations: int, *, now: bool = False) -> None:
        if not now and time.monotonic() < self._next:
            return
        trials = self._study.trials()
        if not self._total_steps and (self._search.folder / ENVIRONMENT).exists():
            self._total_steps = max(
                0, RunFolder(self._search.folder).read_json(ENVIRONMENT, _SweepEnvironment)["steps"]
            )
        done = steps_made(trials, progress, self._scheduler, self._total_steps)
        expected = max(done, round(self._expected * self._total_steps))
        self._console.updated(trials, progress, Work(done, expected, compilations))
        self._next = time.monotonic() + _LOOK_SECONDS


def _make_folder(out: str | None, identity: Mapping[str, Any]) -> RunFolder:
    """Make the folder of a new sweep, or return that of the same one."""
    path = _folder_path(out, identity["name"])
    try:
        path.mkdir(parents=True, exist_ok=True)
        holds = sorted(each.name for each in path.iterdir())
    except OSError as error:
        raise cannot_write(path, error) from error
    folder = RunFolder(path)
    for name in holds:  # a folder that came from elsewhere may lead to any file of the user's
        if (path / name).is_symlink() and (name.startswith("study.db") or name in ("trials", "journal")):
            raise RunFolderError("a link", where=path / name, expected="a sweep's own", fix="name another --out")
    if SWEEP in holds:
        field, there, here = difference(folder.read_json(SWEEP, _Identity), identity)
        if field:
            expected, found = json.dumps(there), json.dumps(here)
            raise ConfigError(
                f"holds another sweep, by {field}", where=path, expected=expected, found=found, fix="name another --out"
            )
    elif kind_of(path) is not None:
        raise ConfigError(f"holds {kind_of(path)}, no sweep", where=path, fix="name another --out")
    elif any(not name.startswith("study.db") and f".{PARTIAL}-" not in name for name in holds):
        raise ConfigError("holds files but no sweep", where=path, found=", ".join(holds[:3]), fix="name another --out")
    return folder


def _folder_path(out: str | None, name: str) -> Path:
    return user_path(out, "--out") if out is not None else Path("runs") / f"sweep-{name}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _introduction(search: Search, execution: Execution) -> list[str]:
    sweep = search.sweep
    budget = budget_of(sweep, search.experiment)
    trials = f"{budget:,} {'trial' if budget == 1 else 'trials'}"
    return [
        f"{search.name}: {trials} of {search.experiment.model.name}, by {search.by.words}",
        f"  search    {', '.join(sweep.space)}",
        f"  by        {_described(sweep.searcher)}, {_described(sweep.scheduler)}, seed {sweep.seed}",
        f"  executor  {execution.executor}, up to {search.parallel} trials side by side",
        f"  folder    {search.folder}",
    ]


def _described(value: Any) -> str:
    """Return a frozen dataclass in words, with the numbers that can be set."""
    numbers = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.compare}
    fields = (f"{name} {shown(number)}" for name, number in numbers.items() if isinstance(number, int | float))
    return " ".join([type(value).__name__, *fields])


def _finish(
    search: Search, experiment: Experiment, trials: Sequence[Trial], console: SweepConsole, *, keep_best: bool
) -> None:
    """Write what a finished sweep leaves; the config of a best setting that was confirmed stays where it may.

    Raises:
        TrainingError: no trial is complete.
    """
    folder, sweep = RunFolder(search.folder), search.sweep
    folder.write("sweep.csv", lambda path: write_csv(trials, list(sweep.space), search.by, path))
    console.lines(["", *summary_lines(trials, search.by), ""])
    best = ranked(trials)[0]
    if best.status is not Status.COMPLETE:
        raise TrainingError(
            "no trial could be trained to its end",
            where=search.folder,
            found=f"{sum(trial.status is Status.FAILED for trial in trials)} of {len(trials)} failed",
            fix="see the reasons above, and in sweep.csv",
        )
    console.lines(draw_sweep(trials, sweep.space, search.by, search.folder))
    words = f"{search.by.words} {measured(best, search.by):.4f}, the best of {len(trials)} trials"
    if not (keep_best and (folder.path / "confirm.md").exists()):
        _write_best(search, experiment, trials, best, words)


def _write_best(
    search: Search, experiment: Experiment, trials: Sequence[Trial], best: Trial | None, words: str
) -> None:
    """Write the config of the best trial; with None, the config's own setting, which no confirmed trial surpassed."""
    lines = [f"The config's own setting, which the best of the sweep {search.name} do not surpass: {words}."]
    if best is not None:
        lines = [
            f"Trial {best.number} of the sweep {search.name}: {words}.",
            "",
            shown_params(best.params, short_names(best.params)),
        ]
    if best is not None and best.parent is not None:
        ends = scheduler_of(search.sweep, search.experiment).fractions(best.bracket)
        lines += ["", "Population-based training went to it by way of other settings, which this file does not repeat:"]
        lines += [
            f"until {ends[segment.end_rung - 1]:.0%} of the steps: "
            f"{shown_params(segment.params, short_names(segment.params))}"
            for segment in lineage(trials, best.number)
        ]
    found = experiment if best is None else with_params(experiment, best.params)
    RunFolder(search.folder).write_text("best.py", experiment_source(found, "\n".join(lines)))
