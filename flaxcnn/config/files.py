"""Config files: Python that binds `experiment`, and optionally the results to compare with.

`published` holds a paper's values for logged rows. `expected` holds ranges for the mean over seeds.
"""

import math
import os
import runpy
import types
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flaxcnn.config.experiment import Experiment
from flaxcnn.config.own_code import with_code_beside
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files import user_path
from flaxcnn.files.neighbours import neighbours
from flaxcnn.files.user_code import error_in

Bound = TypeVar("Bound")
Row = TypeVar("Row", "PublishedRow", "Expectation")


class PublishedRow(NamedTuple):
    """A paper's published values for one logged row."""

    step: int  # the row's step, counted from 0: the row is measured after its update
    train_loss: float | None  # mean cross-entropy in nats of that step's batch
    test_metric: float | None  # the task's first logged metric on the first test images: a classifier's accuracy


class Expectation(NamedTuple):
    """The expected range of a metric's mean over seeds; `flaxcnn reproduce` checks it."""

    metric: str  # a key of `summary.json`
    at_least: float = -math.inf
    at_most: float = math.inf


class ExperimentFile(NamedTuple):
    """The contents of a config file."""

    name: str  # the file's name without its extension
    experiment: Experiment
    published: tuple[PublishedRow, ...]
    expected: tuple[Expectation, ...] = ()
    chosen: tuple[str, ...] = ()  # fields whose values suit the data, such as "model.name"
    notes: tuple[str, ...] = ()  # lines for the user at the start of a run


def experiments() -> dict[str, Path]:
    """Return the library's config files by name."""
    return library_files(".")


def library_files(folder: str) -> dict[str, Path]:
    """Return the library's config files in a folder, by name.

    Args:
        folder: a folder within `configs`.
    """
    package = Path(__file__).parent.parent
    # `configs` is inside the package in an installed wheel, and beside it in a checkout.
    root = next((path for path in (package / "configs", package.parent / "configs") if path.is_dir()), None)
    return {} if root is None else {path.stem: path for path in sorted((root / folder).glob("*.py"))}


def load_experiment(name_or_path: str) -> ExperimentFile:
    """Load an experiment from a config file, by a library config's name or by a path.

    Raises:
        ConfigError: the file does not exist, fails to run, or binds no `experiment`.
    """
    path, bound = run_file(name_or_path, experiments())
    form = "experiment = Experiment(...)"
    experiment = bound_to(bound, "experiment", Experiment, form, path)
    if experiment is None:
        raise ConfigError("no experiment in this config file", where=path, expected=form, found="nothing of that name")
    published = _rows(
        bound.get("published", ()),
        PublishedRow,
        lambda row: type(row[0]) is int and {type(row[1]), type(row[2])} <= {int, float, types.NoneType},
        "published = ((step, train_loss or None, test_metric or None), ...)",
        path,
    )
    _require_each(published, _published_fault, "published", path)
    expected = _rows(
        bound.get("expected", ()),
        Expectation,
        lambda row: type(row[0]) is str and {type(row[1]), type(row[2])} <= {int, float},
        'expected = (("test_accuracy", at_least, at_most), ...)',
        path,
    )
    expected = tuple(Expectation(row.metric, _as_float(row.at_least), _as_float(row.at_most)) for row in expected)
    _require_each(expected, _expectation_fault, "expected", path)
    return ExperimentFile(path.stem, with_code_beside(experiment, path), published, expected)


def run_file(name_or_path: str, known: Mapping[str, Path]) -> tuple[Path, dict[str, Any]]:
    """Run a config file and return its path and its variables by name.

    Args:
        name_or_path: the name of a library file, or a path.
        known: the library files by name.

    Raises:
        ConfigError: the file does not exist or fails to run. The error names the line if there is one.
    """
    path = user_path(name_or_path, "the config")
    if name_or_path in known:
        path = known[name_or_path]
    elif path.suffix != ".py" and os.sep not in name_or_path:
        raise ConfigError(
            "unknown config",
            where=name_or_path,
            expected="the name of a config or the path of a .py file",
            fix=nearest(name_or_path, known),
        )
    elif not path.is_file():
        raise ConfigError("no such config file", where=path, fix=f"or name one of the library's: {', '.join(known)}")
    beside: Set[str] = set()
    try:
        with neighbours(path) as beside:
            return path, runpy.run_path(str(path))
    except ConfigError as error:
        raise ConfigError(f"in this config file: {error}", where=path) from error
    except Exception as error:  # whatever the user's own Python raises
        raise error_in(error, path, beside, "the config file") from error


def bound_to(bound: Mapping[str, Any], name: str, kind: type[Bound], form: str, path: Path) -> Bound | None:
    """Return the value of a config file's variable, or None if the file does not bind it.

    Args:
        bound: the variables from `run_file`.
        name: the variable's name.
        kind: the expected type.
        form: the expected line of the file, for the error.
        path: the file's path, for the error.

    Raises:
        ConfigError: the value has another type.
    """
    value = bound.get(name)
    if value is not None and not isinstance(value, kind):
        found = type(value).__name__
        raise ConfigError(f"no {name} in this config file", where=path, expected=form, found=found)
    return value


def _rows(bound: Any, kind: type[Row], fits: Callable[[Any], bool], form: str, path: Path) -> tuple[Row, ...]:
    """Return a config file's rows; raises ConfigError with the expected form if one differs."""
    error = ConfigError("values in the wrong form", where=path, expected=form)
    try:
        rows = tuple(kind(*row) for row in bound)
    except TypeError as cause:
        raise error from cause
    if not all(map(fits, rows)):
        raise error
    return rows


def _require_each(rows: Sequence[Row], fault: Callable[[Row], str], name: str, path: Path) -> None:
    """Raise ConfigError at the first row with a fault or with a repeated step or metric."""
    for place, row in enumerate(rows):
        if what := fault(row):
            raise ConfigError(what, where=f"{path}: {name}[{place}]", found=tuple(row))
        if row[0] in [other[0] for other in rows[:place]]:
            raise ConfigError("duplicate row", where=f"{path}: {name}[{place}]", found=repr(row[0]))


def _published_fault(row: PublishedRow) -> str:
    if row.step < 0:
        return "a step below 0"
    if row.train_loss is not None and not math.isfinite(_as_float(row.train_loss)):
        return "a loss that is not finite"
    measured = row.test_metric
    return "" if measured is None or math.isfinite(_as_float(measured)) else "a metric that is not finite"


def _expectation_fault(row: Expectation) -> str:
    if math.isnan(row.at_least) or math.isnan(row.at_most):
        return "a bound is NaN"
    if row.at_least > row.at_most:
        return "at_least is greater than at_most"
    nothing = math.isinf(row.at_least) and math.isinf(row.at_most)
    return "no bound: give at_least, at_most or both" if nothing else ""


def _as_float(number: float) -> float:
    """Return a number as a float; an integer too large for a float becomes infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
