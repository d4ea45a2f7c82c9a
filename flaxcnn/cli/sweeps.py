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
    """Search for the best settings of an experiment: many trainings, few of them to the end.

    The same command goes on with a sweep that was stopped or killed; several of them, on several machines, share it.
    """

    config: Positional[str] = "mnist_lr"
    """Name of a sweep or config of the library, or path of a .py file: it binds `experiment`, and perhaps `sweep`."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    search: str | None = None
    """Name or path of the sweep file that binds `sweep`; None for the config itself."""
    batch_size: BatchSize = None
    """Short for --training.batch_size; or auto, for the largest power of two that the device's memory holds; trials are
    then trained one after the other."""
    trials: int | None = None
    """How many trials; None for what the sweep file says, as for the three below."""
    searcher: Literal["grid", "random", "sobol", "tpe", "cmaes", "gp"] | None = None
    """What proposes the trials, with its defaults."""
    scheduler: Literal["none", "halving", "hyperband", "asha", "pbt"] | None = None
    """What says how far each is trained, with its defaults."""
    seed: int | None = None
    """Of the proposals; that of the trainings is --training.seed."""
    execution: Annotated[Execution, arg(name="")] = field(default_factory=Execution)


def sweep(arguments: Sequence[str]) -> int:
    """Search for the best settings of an experiment."""
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
        if batch_size == "auto":  # a sweep goes on with the number that it began with
            execution = _one_after_the_other(execution)
            batch_size = recorded_batch_size(execution.out, name) or batch_size
        return sweep(name, asked, with_batch_size(options.experiment, batch_size), execution)


def _one_after_the_other(execution: Execution) -> Execution:
    """Return how to train with a batch that fills the memory: no two trials' steps are made at once."""
    if execution.executor not in ("auto", "map"):
        raise ConfigError(
            "fills the memory with one trial's batch, and several are trained at once",
            where="--batch_size auto",
            expected="a number, or --executor map",
            found=f"--executor {execution.executor}",
        )
    return replace(execution, executor="map")


def _load_searched(name: str) -> tuple[SweepFile, Experiment]:
    file = load_sweep_file(name)
    if file.experiment is None:
        fix = f"bind one, or name a config and give this file as --search {name}"
        raise ConfigError("no experiment in this sweep file", where=name, fix=fix)
    return file, file.experiment
