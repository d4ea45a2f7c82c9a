"""Columns of a table as targets: classes, numbers, or any number of labels.

NAME           numbers where all are numbers and one has a decimal point or an exponent; otherwise classes
NAME:class     classes, whatever it holds
NAME:number    numbers
log(NAME)      natural logarithms of numbers above 0
NAME[]         any number of labels, divided by | or ;
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from flaxcnn.data.sources.tables.reading import Cell, Table
from flaxcnn.errors import ConfigError, DataError, nearest

Kind: TypeAlias = Literal["any", "class", "number", "log", "labels"]

DEFAULTS = ("label", "class", "target", "category", "species")
"""The column that is learned where none is named: the first of these that is there."""

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_DIVIDER = re.compile(r"[|;]")
_MOST_FLOAT = float(np.finfo(np.float32).max)
_MOST_LABELS = 1 << 30  # bytes of all rows' labels
_FEW_CLASSES = 20  # which are not wondered at
_SHOWN = 10


class Target(NamedTuple):
    """A column to learn, and how its cells are understood."""

    column: str
    kind: Kind = "any"


def find_column(name: str, names: Sequence[str], where: str, path: object) -> str:
    """Return the column of a name, or the only one that differs from it in case alone.

    Raises:
        ConfigError: there is none.
    """
    alike = [name] if name in names else [each for each in names if each.lower() == name.lower()]
    if len(alike) != 1:
        raise ConfigError(f"no column '{name}' in {path}", where=where, fix=nearest(name, names))
    return alike[0]


def first_column(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first of some columns that a table has, in any case."""
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in wanted if name in lower), None)


def find_targets(asked: Sequence[str], names: Sequence[str], path: object) -> tuple[Target, ...]:
    """Return the columns to learn.

    Args:
        asked: as the module has them; () for the first of `DEFAULTS`.
        names: of the table's columns.
        path: of the table.

    Raises:
        ConfigError: a column that is not there, or is named twice.
        DataError: none is named, and none has a name of `DEFAULTS`.
    """
    if not asked:
        column = first_column(DEFAULTS, names)
        if column is None:
            raise DataError(
                "no column to learn",
                where=path,
                expected=f"{', '.join(DEFAULTS[:-1])} or {DEFAULTS[-1]}",
                found=", ".join(names),
                fix="name it: --data.target NAME",
            )
        return (Target(column),)
    found = []
    for each in asked:
        kind: Kind = "any"
        name = each
        if each not in names:
            for ending, meant in ((":number", "number"), (":class", "class"), ("[]", "labels")):
                if each.endswith(ending):
                    name, kind = each.removesuffix(ending), meant  # type: ignore[assignment]
            if each.startswith("log(") and each.endswith(")"):
                name, kind = each[len("log(") : -1], "log"
        found.append(Target(find_column(name, names, "data.target", path), kind))
    columns = [target.column for target in found]
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise ConfigError("a column named twice", where="data.target", found=f"'{twice[0]}'")
    return tuple(found)


def targets_of_table(
    table: Table, wanted: Sequence[Target], source: str, given: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[Any, Any, list[str]]:
    """Return the targets of a table's rows, their names, and lines that say what the user has to know.

    Args:
        table: with the columns that are wanted.
        wanted: one column for a single target, several for a dictionary of targets, in which a row may lack some.
        source: the data set's name.
        given: by column, the names of all classes or labels in their order, where the data set declares them.

    Returns:
        Targets and names as `flaxcnn.data.from_arrays` takes them: class numbers int32 (N,), numbers float64 (N,), or
        labels bool (N, L), or a dictionary of these. Classes are sorted: by their numbers where all are integers,
        otherwise as text.

    Raises:
        DataError: an empty cell of a single target, a cell that is no number, or a column without values.
    """
    targets: dict[str, Any] = {}
    names: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for column, kind in wanted:
        cells = table.columns[column]
        declared = (given or {}).get(column)
        if kind == "labels":
            targets[column], names[column] = _labels(table, column, declared)
            continue
        texts = _texts(table, column)
        empty = [row for row, text in enumerate(texts) if not text]
        if len(empty) == len(texts) or (empty and len(wanted) == 1):
            raise DataError(
                f"{len(empty):,} of {len(texts):,} rows have no '{column}'",
                where=table.path,
                expected="a value in each row" if len(wanted) == 1 else "a value in some rows",
                found=f"none in {table.places(empty)}",
                fix="fill or remove these rows" + ("" if len(wanted) > 1 else ", or name several columns to learn"),
            )
        if kind == "log":
            targets[column], names[column] = _logarithms(table, column, texts), (f"log({column})",)
            continue
        if kind == "number" or (kind == "any" and declared is None and _are_numbers(table, column, texts)):
            targets[column], names[column] = numbers_of_table(table, column), (column,)
            continue
        names[column] = declared or sorted_names({text for text in texts if text})
        targets[column] = _class_numbers(table, column, texts, names[column])
        count = len(names[column])
        if declared is None and count > max(_FEW_CLASSES, len(cells) // 10):
            advice = f"; for numbers write {column}:number" if all(map(_INTEGER.fullmatch, names[column])) else ""
            notes.append(f"{source}: column '{column}' has {count:,} classes in {len(cells):,} rows{advice}")
    if len(wanted) == 1:
        (column,) = targets
        return targets[column], names[column], notes
    return targets, names, notes


def sorted_names(names: set[str]) -> tuple[str, ...]:
    """Return names in order: as numbers where all are integers, otherwise as text.

    >>> sorted_names({"10", "9"}), sorted_names({"10", "9", "ant"})
    (('9', '10'), ('10', '9', 'ant'))
    """
    if all(len(name) < 20 and _INTEGER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _texts(table: Table, column: str) -> list[str]:
    cells = table.columns[column]
    listed = [row for row, cell in enumerate(cells) if not isinstance(cell, str)]
    if listed:
        raise DataError(
            f"lists in column '{column}'",
            where=table.path,
            expected="a text or a number in each row",
            found=table.places(listed),
            fix=f"for any number of labels write {column}[]",
        )
    return [cell.strip() for cell in cells if isinstance(cell, str)]


def _are_numbers(table: Table, column: str, texts: Sequence[str]) -> bool:
    """Return whether a column holds numbers, not classes.

    Raises:
        DataError: it has numbers with a decimal point, and others or texts beside: one is a mistake.
    """
    integers = numbers = 0
    others, commas = [], 0
    for row, text in enumerate(texts):
        if _INTEGER.fullmatch(text):
            integers += 1
        elif _NUMBER.fullmatch(text):
            numbers += 1
        elif text:
            others.append(row)
            commas += _COMMA.fullmatch(text) is not None
    if commas and commas == len(others):
        raise DataError(
            f"decimal commas in column '{column}'",
            where=table.path,
            expected="a decimal point",
            found=_cells(table, others, texts),
            fix=f"write points, or for classes {column}:class",
        )
    if numbers and others:
        raise DataError(
            f"numbers and texts in column '{column}'",
            where=table.path,
            expected="one of them",
            found=f"{numbers + integers:,} numbers, and {_cells(table, others, texts)}",
            fix=f"correct or empty these cells, or write {column}:class",
        )
    return bool(numbers)


def numbers_of_table(table: Table, column: str) -> npt.NDArray[np.float64]:
    """Return a column's numbers, NaN for an empty cell; raises DataError where a cell is no number."""
    texts = _texts(table, column)
    found = np.full(len(texts), np.nan)
    wrong = []
    for row, text in enumerate(texts):
        if not text:
            continue
        number = float(text) if _NUMBER.fullmatch(text) else np.inf
        if abs(number) <= _MOST_FLOAT:
            found[row] = number
        else:
            wrong.append(row)
    if wrong:
        raise DataError(
            f"{len(wrong):,} of {len(texts):,} rows have no number in '{column}'",
            where=table.path,
            expected="finite numbers, such as 1.5",
            found=_cells(table, wrong, texts),
        )
    return found


def _logarithms(table: Table, column: str, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the natural logarithms of a column's numbers, NaN for an empty cell; raises as `numbers_of_table`."""
    numbers = numbers_of_table(table, column)
    wrong = np.flatnonzero(numbers <= 0).tolist()
    if wrong:
        raise DataError(
            f"{len(wrong):,} of {len(texts):,} rows have no logarithm of '{column}'",
            where=table.path,
            expected="numbers above 0",
            found=_cells(table, wrong, texts),
        )
    return np.log(numbers)


def _class_numbers(table: Table, column: str, texts: Sequence[str], names: tuple[str, ...]) -> npt.NDArray[np.int32]:
    """Return the number of each row's class, -1 for an empty cell."""
    places = {"": -1, **{name: place for place, name in enumerate(names)}}
    _require_known(table, column, [row for row, text in enumerate(texts) if text not in places], texts, names)
    return np.fromiter((places[text] for text in texts), np.int32, len(texts))


def _labels(table: Table, column: str, names: tuple[str, ...] | None) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    """Return which labels each row has, bool (N, L); an empty cell has none."""
    cells: Sequence[Cell] = table.columns[column]
    held = [
        {label.strip() for label in (_DIVIDER.split(cell) if isinstance(cell, str) else cell)} - {""} for cell in cells
    ]
    names = names or sorted_names(set().union(*held))
    if not names:
        raise DataError(f"no labels in column '{column}'", where=table.path, expected="labels divided by | or ;")
    if len(names) * len(held) > _MOST_LABELS:
        raise DataError(
            f"too many labels in column '{column}'",
            where=table.path,
            expected=f"at most {_MOST_LABELS >> 20} MiB of labels",
            found=f"{len(names):,} labels in {len(held):,} rows",
        )
    places = {name: place for place, name in enumerate(names)}
    texts = ["|".join(sorted(labels)) for labels in held]
    _require_known(table, column, [row for row, labels in enumerate(held) if labels - places.keys()], texts, names)
    found = np.zeros((len(held), len(names)), np.bool_)
    for row, labels in enumerate(held):
        found[row, [places[label] for label in labels]] = True
    return found, names


def _require_known(
    table: Table, column: str, unknown: Sequence[int], texts: Sequence[str], names: tuple[str, ...]
) -> None:
    if unknown:
        raise DataError(
            f"classes in column '{column}' that the data set does not declare",
            where=table.path,
            expected=", ".join(names),
            found=_cells(table, unknown, texts),
        )


def _cells(table: Table, rows: Sequence[int], texts: Sequence[str]) -> str:
    """Return some rows' cells with their places, such as "'a' in line 3, 'b' in line 9 and 2 more"."""
    shown = ", ".join(f"'{texts[row][:40]}' in {table.unit} {table.numbers[row]:,}" for row in rows[:_SHOWN])
    return shown + (f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else "")
