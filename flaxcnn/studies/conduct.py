"""Carry out a study in one or several sessions: the order of events. Other modules train, measure, write and draw."""

import dataclasses
import time
from collections.abc import Mapping
from functools import partial

from flaxcnn.config import Experiment, outside_names
from flaxcnn.errors import ConfigError, TrainingError, nearest
from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.runs.folder.environment import device_line
from flaxcnn.runs.folder.kinds import PLAN
from flaxcnn.runs.folder.lock import locked
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.setup import Setup, set_up
from flaxcnn.runs.stop import StopRequest
from flaxcnn.studies.console import StudyConsole, introduced
from flaxcnn.studies.examples import FoldData, Keys, Order, require_whole
from flaxcnn.studies.folder import RUNS, SEARCHES, make_study_folder, study_folder_path
from flaxcnn.studies.jobs import Done, Failed, JobConsole, Stopped, train_job
from flaxcnn.studies.outcome import Described, Trained, outcome_of
from flaxcnn.studies.plan import Entry, Fold, Plan
from flaxcnn.studies.planning import with_setting
from flaxcnn.studies.probes import ProbedNetwork
from flaxcnn.studies.report import write_report
from flaxcnn.studies.results import pooled
from flaxcnn.studies.search import Search, is_searched, search_on
from flaxcnn.studies.speed import Speed, Speeds, speed_of
from flaxcnn.sweeps.metric import ranked_by
from flaxcnn.tasks import Several, Task, measured


def conduct(plan: Plan, out: str | None, again: str) -> int:
    """Carry out a study, or go on with it, and leave its folder.

    Args:
        plan: the study's.
        out: its folder; None for `runs/study-NAME`.
        again: the command that makes it again.

    Returns:
        The exit code: 0; 1 where an entry could not be trained; 130 or 143 where a signal stopped the study.

    Raises:
        ConfigError, DataError, ContractError: before anything is written.
        RunFolderError: a file is damaged or cannot be written.
        TrainingError: no entry could be trained.
    """
    first = FoldData()
    probes = {entry.name: ProbedNetwork(entry.probe, entry.experiment) for entry in plan.entries if entry.probe}
    setup, *_ = [_checked(plan, entry, probes.get(entry.name), first) for entry in plan.entries]
    described, introduction = Described.of(setup), introduced(plan, setup)
    del setup, _  # they hold images
    main = _main_metric(plan, described.task)
    begun = (study_folder_path(plan, out) / PLAN).exists()
    folder, stop, console = make_study_folder(plan, out), StopRequest(), StudyConsole(plan)
    with locked(folder.path), stop:
        console.started(introduction, folder.path, begun)
        work = _Work(plan, folder, console, stop, described.task, main, probes)
        code = work.run(first)
        if code:
            console.stopped(folder.path)
            return code
        trained = work.trained()
        if not trained:
            told = "; ".join(f"{name}: {reason}" for name, reason in work.failures.items())
            raise TrainingError("no entry could be trained", where=folder.path, found=told)
        outcome = outcome_of(plan, described, main, trained, work.failures, work.sizes, device_line(devices=1))
        write_report(folder, outcome, again, console.warn)
        console.finished(outcome, folder.path)
    return 1 if work.failures else 0


class _Work:
    """All searches and trainings of a study.

    Args:
        plan: of the study.
        folder: of the study, which is locked.
        console: says how it goes.
        stop: says whether to stop.
        task: of all entries.
        main: the metric by which they are compared.
        probes: the networks of the entries that are probes, by name.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        console: StudyConsole,
        stop: StopRequest,
        task: Task,
        main: str,
        probes: Mapping[str, ProbedNetwork],
    ):
        self._probes = probes
        self._plan, self._folder, self._console, self._stop = plan, folder, console, stop
        self._task, self._main, self._by = task, main, ranked_by(None, plan.entries[0].experiment)
        self._speeds, self._warned = Speeds(folder), set[str]()
        self._done: dict[tuple[str, Fold, int], Done] = {}
        self._searches: dict[str, dict[Fold, Search]] = {entry.name: {} for entry in plan.entries}
        self._speed: dict[str, Speed] = {}
        self._keys: dict[str, dict[Fold, tuple[Keys, Keys]]] = {entry.name: {} for entry in plan.entries}
        self.failures: dict[str, str] = {}  # why an entry is not trained on, by name
        self.sizes: dict[Fold, tuple[int, int]] = {}  # training and test examples

    def run(self, data: FoldData) -> int:
        """Do what is left to do, and return 0, or the exit code where a signal stopped it.

        Args:
            data: of the first fold, which is let go of with it.
        """
        for fold in self._plan.test_splits:
            for entry in self._plan.entries:
                if entry.name not in self.failures and (code := self._train(entry, fold, data)):
                    return code
            data.clear()
        return 0

    def trained(self) -> dict[str, Trained]:
        """Return the trainings of each entry that has all of them; raises DataError where folds do not divide."""
        found, order = {}, None
        for entry in self._plan.entries:
            if entry.name in self.failures:
                continue
            replicates = []
            for folds in self._divisions():
                keys = self._keys[entry.name]
                require_whole({fold: keys[fold] for fold in folds})
                tested = tuple(key for fold in folds for key in keys[fold][0])
                order = Order(tested) if order is None else order
                positions = order.positions(tested)
                for seed in self._plan.seeds_of(entry):
                    parts = [self._done[entry.name, fold, seed].predictions for fold in folds]
                    replicates.append(pooled(parts, positions))
            done = [job for (name, _, _), job in self._done.items() if name == entry.name]
            found[entry.name] = Trained(
                entry,
                replicates,
                self._searches[entry.name],
                done[0].parameters,
                self._speed[entry.name],
                [job.steps for job in done],
                [job.batch_size for job in done],
                [job.train_seconds for job in done],
            )
        return found

    def _divisions(self) -> list[list[Fold]]:
        """Return the folds of each division."""
        folds: dict[int | None, list[Fold]] = {}
        for fold in self._plan.test_splits:
            folds.setdefault(fold.repeat, []).append(fold)
        return list(folds.values())

    def _train(self, entry: Entry, fold: Fold, data: FoldData) -> int:
        """Search and train an entry on a fold; return 0, or the exit code where a signal stopped it."""
        experiment, below = self._plan.experiment(entry, fold), self._plan.below(entry, fold)
        if entry.name in self._probes:
            return self._probe(entry, fold, self._probes[entry.name], data)
        if entry.settings:
            try:
                search = self._search(entry, fold, experiment, data)
            except TrainingError as error:
                self._fail(entry, str(error))
                return 0
            if search is None:
                return self._stop.exit_code
            self._searches[entry.name][fold] = search
            experiment = with_setting(experiment, search.settings[search.chosen])
        for seed in self._plan.seeds:
            if self._stop.signal is not None:
                return self._stop.exit_code
            run = self._folder.path / RUNS / below / f"seed-{seed}"
            job, started, fresh = _with_seed(experiment, seed), time.perf_counter(), not (run / "summary.json").exists()
            found = train_job(
                job, entry.name, run, self._folder.path, data, outside_names(job), JobConsole(self._warned)
            )
            if isinstance(found, Stopped):
                return found.code
            if isinstance(found, Failed):
                self._fail(entry, f"{run.relative_to(self._folder.path)}: {found.reason}")
                return 0
            self._done[entry.name, fold, seed] = found
            if entry.name not in self._speed:
                measure = partial(speed_of, job, run, data)
                self._speed[entry.name] = self._speeds.of(entry.name, measure)
            told = f"{self._measured(found.predictions)} ({time.perf_counter() - started:.0f} s)" if fresh else ""
            self._console.trained(entry, fold, seed, told)
        self._know(entry, fold, experiment, data)
        return 0

    def _probe(self, entry: Entry, fold: Fold, probed: ProbedNetwork, data: FoldData) -> int:
        """Probe on a fold; return as `_train`."""
        if self._stop.signal is not None:
            return self._stop.exit_code
        folder = self._folder.path / RUNS / self._plan.below(entry, fold) / "probe"
        experiment, started = probed.prepared(self._plan.experiment(entry, fold)), time.perf_counter()
        fresh, seed = not folder.exists(), self._plan.seeds[0]
        found = probed.job(experiment, folder, self._folder.path, data)
        self._done[entry.name, fold, seed] = found
        if entry.name not in self._speed:
            self._speed[entry.name] = self._speeds.of(entry.name, partial(probed.speed, experiment, data))
        told = f"{self._measured(found.predictions)} ({time.perf_counter() - started:.0f} s)" if fresh else ""
        self._console.trained(entry, fold, None, told)
        self._know(entry, fold, experiment, data)
        return 0

    def _know(self, entry: Entry, fold: Fold, experiment: Experiment, data: FoldData) -> None:
        """Remember which examples an entry was tested on."""
        self._keys[entry.name][fold] = data.keys(experiment.data)
        dataset = data.dataset(experiment.data)
        if not entry.divides_groups:  # whose folds differ
            self.sizes.setdefault(fold, (len(dataset.train), len(dataset.test)))

    def _search(self, entry: Entry, fold: Fold, experiment: Experiment, data: FoldData) -> Search | None:
        folder, started = self._folder.path / SEARCHES / self._plan.below(entry, fold), time.perf_counter()
        known = is_searched(folder, entry)
        search = search_on(
            entry,
            _with_seed(experiment, self._plan.seeds[0]),
            self._plan.validation,
            data,
            folder,
            self._folder.path,
            self._by,
            lambda: self._stop.signal is not None,
        )
        if search is not None and not known:
            self._console.searched(entry, fold, search, time.perf_counter() - started)
        return search

    def _fail(self, entry: Entry, reason: str) -> None:
        self.failures[entry.name] = reason
        self._console.failed(entry, reason)

    def _measured(self, predictions: Predictions) -> str:
        scores = self._task.scores(predictions.predicted())
        value = measured(scores, len(predictions.index_N), [self._main])[self._main]
        return f"{self._main.replace('_', ' ')} {value:.4f}"


def _checked(plan: Plan, entry: Entry, probed: ProbedNetwork | None, data: FoldData) -> Setup:
    """Return what an entry is trained with on the first fold; raises as `conduct`, where it cannot be."""
    fold = next(iter(plan.test_splits))
    experiment = plan.experiment(entry, fold)
    experiment = data.prepared(experiment if probed is None else probed.prepared(experiment))
    setup = set_up(experiment, data.loaded(experiment))
    if plan.folds is not None and setup.validation is not None and _tunes(setup.task):
        raise ConfigError(
            f"the task {setup.task.name} chooses values on validation images, which differ from fold to fold",
            where=f"{entry.name}: data.validation",
            expected=0,
            found=experiment.data.validation,
        )
    return setup


def _tunes(task: Task) -> bool:
    """Return whether a task chooses constants on validation images."""
    if isinstance(task, Several):
        return any(_tunes(head.task) for head in task.heads)
    return type(task).tuned is not Task.tuned


def _main_metric(plan: Plan, task: Task) -> str:
    """Return the metric by which entries are compared; raises ConfigError where the task does not have it."""
    if plan.metric is None:
        return task.compared[0]
    if plan.metric not in task.metrics:
        expected, fix = ", ".join(task.metrics), nearest(plan.metric, task.metrics)
        raise ConfigError("no such metric", where="study.metric", expected=expected, found=plan.metric, fix=fix)
    return plan.metric


def _with_seed(experiment: Experiment, seed: int) -> Experiment:
    return dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, seed=seed))
