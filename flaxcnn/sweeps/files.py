"""Sweep files: Python that binds `sweep`, and optionally the `experiment` to search.

experiment = Experiment(data=Data(validation=0.1))
sweep = Sweep(space={"optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}, searcher=TPE(), trials=24)
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flaxcnn.config import CODE_FIELDS, Experiment, experiments, outside_names, to_json
from flaxcnn.config.checks import require
from flaxcnn.config.files import bound_to, library_files, run_file
from flaxcnn.config.own_code import with_code_beside
from flaxcnn.errors import ConfigError
from flaxcnn.files.user_code import is_outside, load_outside
from flaxcnn.sweeps.metric import RankedBy
from flaxcnn.sweeps.schedulers import SCHEDULERS, Straight
from flaxcnn.sweeps.searchers import SEARCHERS, Listed, Random, Searcher
from flaxcnn.sweeps.space import Space, domain_of
from flaxcnn.sweeps.trials import Scheduler


@dataclass(frozen=True)
class Sweep:
    """What is searched, and how.

    Attributes:
        space: the domains of the searched fields, by path; in order, as a field may depend on earlier ones.
        searcher: proposes the values of each trial.
        scheduler: says how far each trial is trained.
        trials: how many there are, those aside that begin with another's state; at least 1.
        metric: by which trials are ranked, on the images that are set aside for validation: `validation_loss`, or
            `validation_` and a metric that the experiment's task logs; None for the first of these metrics.
        seed: of the proposals, 0 to 2**32 - 1; each trial's training has its own, `training.seed`.
    """

    space: Space
    searcher: Searcher = field(default_factory=Random)
    scheduler: Scheduler = field(default_factory=Straight)
    trials: int = 16
    metric: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.space, Mapping):
            expected = '{"section.field": Float(...), ...}'
            raise ConfigError("wrong type", where="sweep.space", expected=expected, found=repr(self.space))
        for name, kinds in (("searcher", (*SEARCHERS.values(), Listed)), ("scheduler", (*SCHEDULERS.values(),))):
            given = getattr(self, name)
            if not isinstance(given, kinds):
                expected = " or ".join(f"{kind.__name__}()" for kind in kinds)
                raise ConfigError("wrong type", where=f"sweep.{name}", expected=expected, found=repr(given))
        for name, value in (("trials", self.trials), ("seed", self.seed)):
            if type(value) is not int:
                raise ConfigError("wrong type", where=f"sweep.{name}", expected="a whole number", found=repr(value))
        require(self.trials >= 1, "sweep.trials", "at least 1", self.trials)
        require(0 <= self.seed < 2**32, "sweep.seed", "0 to 2**32 - 1", self.seed)
        if not isinstance(self.metric, str | None):
            raise ConfigError("wrong type", where="sweep.metric", expected="a name or None", found=repr(self.metric))


class SweepFile(NamedTuple):
    """What a sweep file holds; at least one of the two."""

    name: str  # the file's, without its ending
    experiment: Experiment | None
    sweep: Sweep | None


def sweeps() -> dict[str, Path]:
    """Return the sweep files that come with the library, by name."""
    return library_files("sweeps")


def load_sweep_file(name_or_path: str) -> SweepFile:
    """Read a sweep, an experiment or both from a file of the library's, by its name, or of the user's, by its path.

    Raises:
        ConfigError: there is no such file, it fails to run, or it binds neither `sweep` nor `experiment`.
    """
    path, bound = run_file(name_or_path, {**experiments(), **sweeps()})
    experiment = bound_to(bound, "experiment", Experiment, "experiment = Experiment(...)", path)
    sweep = bound_to(bound, "sweep", Sweep, "sweep = Sweep(...)", path)
    if experiment is None and sweep is None:
        expected = "sweep = Sweep(...), or experiment = Experiment(...)"
        raise ConfigError("nothing to do in this config file", where=path, expected=expected, found="neither")
    if experiment is not None:
        experiment = with_code_beside(experiment, path)
    return SweepFile(path.stem, experiment, sweep)


def fingerprint(sweep: Sweep, experiment: Experiment, by: RankedBy) -> dict[str, Any]:
    """Return what tells a sweep from another, as JSON has it: all but the number of trials, which may be raised later.

    Args:
        sweep: the sweep.
        experiment: that is searched.
        by: what its trials are ranked by.
    """
    values = {
        "space": {path: _as_json(entry) for path, entry in sweep.space.items()},
        "order": list(sweep.space),
        "searcher": _as_json(sweep.searcher),
        "scheduler": _as_json(sweep.scheduler),
        "metric": by.name,
        "seed": sweep.seed,
        "experiment": to_json(experiment),
    }
    names = {path: [name] for path, name in outside_names(experiment).items()}
    for path in set(CODE_FIELDS) & set(sweep.space):
        options = getattr(domain_of(sweep.space[path]), "options", ())  # of a Choice
        names.setdefault(path, []).extend(each for each in options if isinstance(each, str) and is_outside(each))
    code = {name: load_outside(name, path).digest for path, every in names.items() for name in every}
    if code:  # of the user's own, which may change between two sessions
        values["code"] = code
    return json.loads(json.dumps(values))  # with lists for tuples, as it comes back from a file


def difference(there: Any, here: Any, path: str = "") -> tuple[str, Any, Any]:
    """Return where two fingerprints first differ, "" for nowhere, and what stands there in each; None for nothing."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in [*here, *(name for name in there if name not in here)]:
            if there.get(name) != here.get(name):
                return difference(there.get(name), here.get(name), f"{path}.{name}" if path else name)
    return path, there, here


def _as_json(value: Any) -> Any:
    """Return a frozen dataclass as its name with the fields by which it is compared; anything else as it is."""
    if not dataclasses.is_dataclass(value):
        return value
    fields = {each.name: _as_json(getattr(value, each.name)) for each in dataclasses.fields(value) if each.compare}
    return {"kind": type(value).__name__, **fields}
