"""Config files: Python that binds `experiment`, and what is to be compared with its results.

`published` holds what a paper printed for logged rows, `expected` what the mean over seeds has to be.
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
    """What a paper printed for one logged row."""

    step: int  # the row's step, counted from 0: the row is measured after its update
    train_loss: float | None  # mean cross-entropy in nats of that step's batch
    test_metric: float | None  # the task's first logged metric on the first test images: a classifier's accuracy


class Expectation(NamedTuple):
    """A range in which the mean of a summary's number over seeds has to lie; `flaxcnn reproduce` checks it."""

    metric: str  # a number of `summary.json`
    at_least: float = -math.inf
    at_most: float = math.inf


class ExperimentFile(NamedTuple):
    """What an experiment file holds."""

    name: str  # the file's, without its ending
    experiment: Experiment
    published: tuple[PublishedRow, ...]
    expected: tuple[Expectation, ...] = ()


def experiments() -> dict[str, Path]:
    """Return the experiment files that come with the library, by name."""
    return library_files(".")


def library_files(folder: str) -> dict[str, Path]:
    """Return the config files that come with the library, by name.

    Args:
        folder: within `configs`.
    """
    package = Path(__file__).parent.parent
    # In an installed wheel `configs` lies in the package, in a checkout beside it.
    root = next((path for path in (package / "configs", package.parent / "configs") if path.is_dir()), None)
    return {} if root is None else {path.stem: path for path in sorted((root / folder).glob("*.py"))}


def load_experiment(name_or_path: str) -> ExperimentFile:
    """Read an experiment from a file of the library's, by its name, or from a file of the user's, by its path.

    Raises:
        ConfigError: there is no such file, it fails to run, or it binds no `experiment`.
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
    """Run a config file and return its path and what it binds, by name.

    Args:
        name_or_path: the name of a file of the library's, or the path of one.
        known: the library's, by name.

    Raises:
        ConfigError: there is no such file, or it fails to run; the line is named where there is one.
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
    """Return what a config file binds to a name, or None where it binds nothing to it.

    Args:
        bound: as `run_file` gave it.
        name: the name.
        kind: of which it has to be.
        form: what the file should say, for the error.
        path: of the file, for the error.

    Raises:
        ConfigError: it is of another kind.
    """
    value = bound.get(name)
    if value is not None and not isinstance(value, kind):
        found = type(value).__name__
        raise ConfigError(f"no {name} in this config file", where=path, expected=form, found=found)
    return value


def _rows(bound: Any, kind: type[Row], fits: Callable[[Any], bool], form: str, path: Path) -> tuple[Row, ...]:
    """Return the rows that a config file binds to a name; raises ConfigError with the form where one differs."""
    error = ConfigError("values in another form", where=path, expected=form)
    try:
        rows = tuple(kind(*row) for row in bound)
    except TypeError as cause:
        raise error from cause
    if not all(map(fits, rows)):
        raise error
    return rows


def _require_each(rows: Sequence[Row], fault: Callable[[Row], str], name: str, path: Path) -> None:
    """Raise ConfigError at the first row in which something is wrong, or whose step or metric stood there before."""
    for place, row in enumerate(rows):
        if what := fault(row):
            raise ConfigError(what, where=f"{path}: {name}[{place}]", found=tuple(row))
        if row[0] in [other[0] for other in rows[:place]]:
            raise ConfigError("stands there twice", where=f"{path}: {name}[{place}]", found=repr(row[0]))


def _published_fault(row: PublishedRow) -> str:
    if row.step < 0:
        return "a step below 0"
    if row.train_loss is not None and not math.isfinite(_as_float(row.train_loss)):
        return "a loss that is not finite"
    measured = row.test_metric
    return "" if measured is None or math.isfinite(_as_float(measured)) else "a metric that is not finite"


def _expectation_fault(row: Expectation) -> str:
    if math.isnan(row.at_least) or math.isnan(row.at_most):
        return "a bound that is no number"
    if row.at_least > row.at_most:
        return "no number is so: at_least is above at_most"
    nothing = math.isinf(row.at_least) and math.isinf(row.at_most)
    return "expects nothing: give at_least, at_most or both" if nothing else ""


def _as_float(number: float) -> float:
    """Return a number as a float, infinite where it is a whole one that no float holds."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
