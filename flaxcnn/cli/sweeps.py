"""The command `sweep`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from flaxcnn.cli.computing import computing
from flaxcnn.cli.experiment import BatchSize, load_config, parse_experiment, with_batch_size
from flaxcnn.config import Experiment
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps import SweepFile, load_sweep_file
from flaxcnn.sweeps.options import Execution
from flaxcnn.sweeps.schedulers import SCHEDULERS
from flaxcnn.sweeps.searchers import SEARCHERS


@dataclass(frozen=True)
class SweepOptions:
    """Search for an experiment's best hyperparameters with many trials, most of them stopped early.

    Run the same command again to continue a stopped or killed sweep. Several processes or machines can share a sweep.
    """

    config: Positional[str] = "mnist_lr"
    """Name of a sweep or config of the library, or path of a .py file that binds `experiment`, optionally `sweep`."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    search: str | None = None
    """Name or path of the sweep file that binds `sweep`; None for the config itself."""
    batch_size: BatchSize = None
    """Short form of --training.batch_size; or auto, for the largest power of two that fits in the device's memory, with
    trials trained one after the other."""
    trials: int | None = None
    """Number of trials; None for the sweep file's number."""
    searcher: Literal["grid", "random", "sobol", "tpe", "cmaes", "gp"] | None = None
    """Search algorithm that proposes the trials, with its defaults; None for the sweep file's."""
    scheduler: Literal["none", "halving", "hyperband", "asha", "pbt"] | None = None
    """Scheduler that stops weak trials early, with its defaults; None for the sweep file's."""
    seed: int | None = None
    """Seed of the searcher; None for the sweep file's. --training.seed is the seed of the trainings."""
    execution: Annotated[Execution, arg(name="")] = field(default_factory=Execution)


def sweep(arguments: Sequence[str]) -> int:
    """Search for an experiment's best hyperparameters."""
    file, options = parse_experiment(SweepOptions, arguments, "flaxcnn sweep", _load_searched)
    asked, name = file.sweep, file.name
    if options.search is not None:
        found = load_config(load_sweep_file, options.search)
        asked, name = found.sweep, f"{file.name}-{found.name}"
    if asked is None:
        where = options.search or options.config
        raise ConfigError("no sweep in this file", where=where, fix="name a file that binds `sweep` with --search")
    changes: dict[str, Any] = {"trials": options.trials, "seed": options.seed}
    for each, kinds in (("searcher", SEARCHERS), ("scheduler", SCHEDULERS)):
        chosen = getattr(options, each)
        changes[each] = None if chosen is None else kinds[chosen]()
    asked = replace(asked, **{key: value for key, value in changes.items() if value is not None})
    with computing():
        from flaxcnn.sweeps.sweep import recorded_batch_size, sweep

        batch_size, execution = options.batch_size, options.execution
        if batch_size == "auto":  # a continued sweep keeps the batch size it started with
            execution = _one_after_the_other(execution)
            batch_size = recorded_batch_size(execution.out, name) or batch_size
        return sweep(name, asked, with_batch_size(options.experiment, batch_size), execution)


def _one_after_the_other(execution: Execution) -> Execution:
    """Return the execution with the executor map: a batch that fills the memory allows one trial at a time."""
    if execution.executor not in ("auto", "map"):
        raise ConfigError(
            "one trial's batch fills the memory, but this executor trains several trials at once",
            where="--batch_size auto",
            expected="a number, or --executor map",
            found=f"--executor {execution.executor}",
        )
    return replace(execution, executor="map")


def _load_searched(name: str, _asked: object) -> tuple[SweepFile, Experiment]:
    file = load_sweep_file(name)
    if file.experiment is None:
        fix = f"bind `experiment` in it, or name a config and pass this file with --search {name}"
        raise ConfigError("no experiment in this sweep file", where=name, fix=fix)
    return file, file.experiment
