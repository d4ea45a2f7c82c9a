"""`csv:FILE`, `parquet:FILE` and `jsonl:FILE`: a table with a row for each image file.

path,species,area,split
a/1.jpg,ant,2.5,train
a/2.jpg,bee,,test

The paths begin in the table's folder, or in --data.dir.
"""

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import DECODED, DIVIDED, GROUPED, Request
from flaxcnn.data.photographs.listing import Listing
from flaxcnn.data.photographs.prepare import prepare
from flaxcnn.data.sources.folder import SPLIT_FOLDERS
from flaxcnn.data.sources.tables.columns import (
    Target,
    find_column,
    find_targets,
    first_column,
    numbers_of_table,
    sorted_names,
    targets_of_table,
)
from flaxcnn.data.sources.tables.reading import Cell, Table, read_table
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.files import user_path

USES = DECODED | DIVIDED | GROUPED | {"dir", "target"}
PATHS = ("path", "file", "filename", "file_name", "image", "image_path")
"""The column of the image files: the first of these that is there."""
SPLIT = "split"
"""The column of the split, if it is there."""
CLIPS = (*PATHS, "video", "clip")
"""The column of the video files."""
STARTS, ENDS = ("start", "start_time", "start_seconds"), ("end", "end_time", "end_seconds")
"""The columns of a range's first second and of its last, if they are there."""

_SHOWN = 10


class Roles(NamedTuple):
    """Which columns say what.

    Attributes:
        path: the image file, or the video.
        targets: what is learned.
        group: what belongs together; None for no groups.
        split: the split; None where the test split is drawn.
        start, end: of a range of a video; None where it begins with the video, or ends with it.
    """

    path: str
    targets: tuple[Target, ...]
    group: str | None
    split: str | None
    start: str | None = None
    end: str | None = None

    @property
    def others(self) -> tuple[str, ...]:
        """The columns that say something of a row's file, each once."""
        named = (*(target.column for target in self.targets), self.group, self.split)
        return tuple(dict.fromkeys(name for name in named if name is not None and name != self.path))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, each once."""
        named = (self.path, *self.others, self.start, self.end)
        return tuple(dict.fromkeys(name for name in named if name is not None))


class Rows(NamedTuple):
    """A table that is read.

    Attributes:
        table: with the columns of the roles.
        roles: of its columns.
        root: the folder in which its paths begin.
        paths: of each row's file.
    """

    table: Table
    roles: Roles
    root: Path
    paths: list[str]


def load(request: Request) -> Dataset:
    """Return the data set of a table; raises as `list_table` and `prepare`."""
    return prepare(list_table(request), request)


def list_table(request: Request) -> Listing:
    """Return the image files of a table, in the order of its rows.

    Rows that repeat another one are left out, with a note.

    Raises:
        ConfigError, DataError: as `open_rows` and `targets_of_table`; or two rows of one file differ, or a row has an
            unknown split.
    """
    rows, notes = _one_row_each(open_rows(request, request.source.partition(":")[0]), request.source)
    return listing_of(rows, request.source, notes, request.options.group_size)


def open_rows(request: Request, kind: str, clips: bool = False) -> Rows:
    """Return the rows of a table, with the columns that are asked for.

    Args:
        request: names the table, and the columns.
        kind: as `read_table`.
        clips: whether a row is a video, or a range of one.

    Raises:
        ConfigError: an option names a column that is not there, or a folder that is none.
        DataError: as `read_table`; or a row has no path, or there is no column of paths.
    """
    options = request.options
    path = user_path(request.name, "data.source")
    root = path.parent if options.dir is None else user_path(os.fspath(options.dir), "data.dir")
    if options.dir is not None and not root.is_dir():
        raise ConfigError("no such folder", where="data.dir", expected="the folder in which paths begin", found=root)
    found: list[Roles] = []

    def choose(names: tuple[str, ...]) -> tuple[str, ...]:
        found.append(find_roles(names, options.target, options.group, path, clips))
        return found[0].columns

    table = read_table(path, kind, choose)
    whole = f"{os.path.abspath(root)}/"
    expected = "a video file in each row" if clips else "an image file in each row"
    paths = [_below(text, whole) for text in _filled(table, found[0].path, expected, strip=False)]
    return Rows(table, found[0], root, paths)


def listing_of(rows: Rows, source: str, notes: Sequence[str], group_size: int = 1) -> Listing:
    """Return the files of rows with their targets, groups and splits; raises as `targets_of_table`, and of a split."""
    table, roles, root, paths = rows
    targets, names, told = targets_of_table(table, roles.targets, source)
    return Listing(
        source,
        root,
        tuple(paths),
        targets,
        names,
        None if roles.group is None else groups_of_table(table, roles.group, group_size, targets),
        None if roles.split is None else splits_of_table(table, roles.split),
        notes=(*notes, *told),
    )


def find_roles(names: tuple[str, ...], targets: Sequence[str], group: str | None, path: Path, clips: bool) -> Roles:
    """Return which columns say what; raises as `find_targets` and `find_column`, and where none has the paths."""
    known = CLIPS if clips else PATHS
    paths = first_column(known, names)
    if paths is None:
        what = f"no column of {'video' if clips else 'image'} files"
        expected = f"a column {', '.join(known[:-1])} or {known[-1]}"
        raise DataError(what, where=path, expected=expected, found=", ".join(names))
    others = [name for name in names if name != paths]
    return Roles(
        paths,
        find_targets(targets, others, path),
        None if group is None else find_column(group, names, "data.group", path),
        first_column((SPLIT,), names),
        first_column(STARTS, names) if clips else None,
        first_column(ENDS, names) if clips else None,
    )


def groups_of_table(table: Table, column: str, size: int, targets: Any) -> list[int]:
    """Return the number of each row's group.

    Args:
        table: with the column.
        column: of the groups, or of the numbers that order the rows.
        size: 1 for a group of each value, numbered as they are sorted. More for groups of so many rows of a class, in
            the order of their numbers; a class's last group may have fewer.
        targets: of the rows; only class numbers (N,) divide them into classes.

    Raises:
        DataError: a cell is empty, or, for groups of several values, no number.
    """
    texts = _filled(table, column, "a group in each row")
    if size > 1:
        return _blocks(numbers_of_table(table, column).tolist(), size, _class_list(targets))
    numbers = {name: number for number, name in enumerate(sorted_names(set(texts)))}
    return [numbers[text] for text in texts]


def _class_list(targets: Any) -> list[int] | None:
    """Return each example's class number; None where the targets are something else."""
    array = np.asarray(targets) if not isinstance(targets, Mapping) else None
    return array.tolist() if array is not None and array.ndim == 1 and array.dtype.kind == "i" else None


def _blocks(numbers: Sequence[float], size: int, classes: Sequence[int] | None) -> list[int]:
    """Return the number of each row's block: of `size` rows of its class in the order of their numbers."""
    blocks = [0] * len(numbers)
    first = 0
    for each in sorted(set(classes)) if classes is not None else [None]:
        rows = [row for row in range(len(numbers)) if classes is None or classes[row] == each]
        for place, row in enumerate(sorted(rows, key=lambda row: numbers[row])):
            blocks[row] = first + place // size
        first += -(-len(rows) // size)
    return blocks


def splits_of_table(table: Table, column: str) -> tuple[str, ...]:
    """Return each row's split; raises DataError where a cell names none."""
    texts = [text.lower() for text in _filled(table, column, "a split in each row")]
    wrong = [row for row, text in enumerate(texts) if text not in SPLIT_FOLDERS]
    if wrong:
        raise DataError(
            f"{len(wrong):,} of {len(texts):,} rows have an unknown split",
            where=table.path,
            expected=f"{', '.join(SPLIT_FOLDERS)} in column '{column}'",
            found=f"'{texts[wrong[0]]}' in {table.places(wrong, _SHOWN)}",
        )
    return tuple(SPLIT_FOLDERS[text] for text in texts)


def _one_row_each(rows: Rows, source: str) -> tuple[Rows, list[str]]:
    """Return the first row of each file; raises DataError where a row has other values than an earlier one."""
    table, others = rows.table, rows.roles.others
    first: dict[str, int] = {}
    differing = []
    for row, path in enumerate(rows.paths):
        before = first.setdefault(path, row)
        if not same_values(table, others, before, row):
            differing.append(f"{path} in {table.places([before, row])}")
    refuse_rows("repeat a file with other values", differing, table, f"one value of {', '.join(others)} for each file")
    repeated = len(table) - len(first)
    if not repeated:
        return rows, []
    notes = [f"{source}: {repeated:,} rows repeat an earlier one and are left out"]
    return rows._replace(table=table.chosen(list(first.values())), paths=list(first)), notes


def same_values(table: Table, columns: Sequence[str], one: int, other: int) -> bool:
    """Return whether two rows agree in some columns."""
    return all(_stripped(table.columns[name][one]) == _stripped(table.columns[name][other]) for name in columns)


def refuse_rows(what: str, wrong: Sequence[str], table: Table, expected: str) -> None:
    """Raise DataError where rows are wrong.

    Args:
        what: what they do, after their number.
        wrong: what each is, and where.
        table: that they are in.
        expected: of them.
    """
    if wrong:
        more = f"; and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
        raise DataError(
            f"{len(wrong):,} of {len(table):,} rows {what}",
            where=table.path,
            expected=expected,
            found="; ".join(wrong[:_SHOWN]) + more,
        )


def _below(path: str, root: str) -> str:
    """Return a path below the root, so that one file has one spelling; what leads elsewhere is found when scanned."""
    if path.startswith(root):
        path = path[len(root) :]
    return path if ".." in path.split("/") else posixpath.normpath(path)


def _filled(table: Table, column: str, expected: str, strip: bool = True) -> list[str]:
    """Return a column's texts; raises DataError where a cell is empty or a list."""
    cells = table.columns[column]
    empty = [row for row, cell in enumerate(cells) if not isinstance(cell, str) or not cell.strip()]
    if empty:
        raise DataError(
            f"{len(empty):,} of {len(cells):,} rows have no '{column}'",
            where=table.path,
            expected=expected,
            found=f"none in {table.places(empty, _SHOWN)}",
        )
    return [cell.strip() if strip else cell for cell in cells if isinstance(cell, str)]


def _stripped(cell: Cell) -> Cell:
    return cell.strip() if isinstance(cell, str) else cell
