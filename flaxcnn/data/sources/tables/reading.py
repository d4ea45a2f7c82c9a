"""Read columns of a table as text: CSV (RFC 4180), lines of JSON, or Parquet.

A file is read row by row, and of each row only the columns that are asked for are kept. Numbers of JSON and Parquet
become the text that CSV would have, so that a column means the same in every kind of file.
"""

import csv
import json
import math
import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from flaxcnn.errors import ConfigError, DataError, FlaxcnnError
from flaxcnn.files import open_regular, parse_json

MAX_BYTES = 512 << 20
"""The largest table that is read: 512 MiB."""
MAX_ROWS = 10_000_000
MAX_CELL = 1 << 20
"""The longest cell, in characters."""

Cell: TypeAlias = str | tuple[str, ...]
"""Text, "" where there is none; or the texts of a list, which JSON and Parquet have."""
Choose: TypeAlias = Callable[[tuple[str, ...]], Iterable[str]]
"""Is told the names of all columns, and returns those of the columns to read."""

_MOST_LINE = 16 << 20  # bytes
_MOST_COLUMNS = 10_000
_MOST_INFLATED = 2 * MAX_BYTES  # of a Parquet file's columns
_BATCH = 1 << 14  # rows of a Parquet file at a time
_DELIMITERS = (",", ";", "\t")
_QUOTED = re.compile(r'"[^"]*"')


class Table(NamedTuple):
    """Some columns of a table.

    Attributes:
        path: the file.
        columns: name -> the cell of each row.
        numbers: where each row is in the file: the line on which it begins, of Parquet the row, from 1.
        unit: what they count, "line" or "row".
    """

    path: Path
    columns: dict[str, list[Cell]]
    numbers: Sequence[int]
    unit: str

    def __len__(self) -> int:
        return len(self.numbers)

    def chosen(self, rows: Sequence[int]) -> "Table":
        """Return some of the rows, by position."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return Table(self.path, columns, [self.numbers[row] for row in rows], self.unit)

    def places(self, rows: Sequence[int], most: int = 10) -> str:
        """Return where some rows are, by position, such as "lines 3, 8 and 12 more"."""
        shown = ", ".join(f"{self.numbers[row]:,}" for row in rows[:most])
        more = f" and {len(rows) - most:,} more" if len(rows) > most else ""
        return f"{self.unit}{'s' if len(rows) > 1 else ''} {shown}{more}"


def read_table(path: Path, kind: str, choose: Choose) -> Table:
    """Return columns of a table.

    Args:
        path: the file.
        kind: "csv", "jsonl" or "parquet".
        choose: returns the columns to read.

    Raises:
        DataError: the file is missing, too large or damaged, or a cell of these columns is no text, number or list of
            texts.
        FlaxcnnError: what `choose` raises.
    """
    try:
        with open_regular(path, error=DataError) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise _too_much(path, f"{MAX_BYTES >> 20} MiB", f"{size / 2**20:,.0f} MiB")
            table = {"csv": _read_csv, "jsonl": _read_json_lines, "parquet": _read_parquet}[kind](file, path, choose)
    except FileNotFoundError as error:
        raise DataError("no such file", where=path, expected="a table with a row for each image") from error
    if not len(table):
        raise DataError("no rows", where=path, expected="a row for each image", found="an empty table")
    return table


def _read_csv(file: BinaryIO, path: Path, choose: Choose) -> Table:
    lines = _lines(file, path)
    first = next(lines, "")
    reader = csv.reader(chain([first], lines), delimiter=_delimiter(first), strict=True, skipinitialspace=True)
    numbers, number = array("q"), 1
    with _long_cells():
        try:
            names = tuple(name.strip() for name in next(reader, []))
            wanted = _wanted(names, choose, path)
            taken = [(names.index(name), cells) for name, cells in wanted.items()]
            number = reader.line_num + 1
            for row in reader:
                if len(row) == len(names) and (len(row) > 1 or row[0].strip()):
                    for place, cells in taken:
                        cells.append(row[place])
                    _count(numbers, number, path)
                elif any(each.strip() for each in row):  # what is none is a blank line
                    raise DataError(
                        "a row of another length",
                        where=f"{path}, line {number}",
                        expected=f"{len(names)} cells, as the first line has names",
                        found=len(row),
                    )
                number = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"damaged: {error}",
                where=f"{path}, line {number}",
                expected="cells separated by a comma, semicolon or tab, with pairs of quotes",
            ) from error
    return Table(path, wanted, numbers, "line")


def _read_json_lines(file: BinaryIO, path: Path, choose: Choose) -> Table:
    names: dict[str, None] = {}
    number = 0
    for number, line in enumerate(_lines(file, path), start=1):  # a row may lack what others have
        with suppress(ValueError, RecursionError):  # said below
            row = json.loads(line)
            names.update(dict.fromkeys(row if isinstance(row, dict) else ()))
        if len(names) > _MOST_COLUMNS:
            raise _too_much(f"{path}, line {number}", f"{_MOST_COLUMNS:,} columns", "more")
    wanted = _wanted(tuple(names), choose, path) if number else {}
    numbers = array("q")
    file.seek(0)
    for number, line in enumerate(_lines(file, path), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            row = parse_json(line, dict[str, Any], where=where, error=DataError)
            for name, cells in wanted.items():
                cells.append(cell_of(row.get(name), f"{where}, '{name}'"))
            _count(numbers, number, path)
    return Table(path, wanted, numbers, "line")


def _read_parquet(file: BinaryIO, path: Path, choose: Choose) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ConfigError("pyarrow is not installed", where="data.source", fix="install pyarrow") from error
    try:
        opened = pyarrow.parquet.ParquetFile(file)
        schema = opened.schema_arrow
        wanted = _wanted(tuple(schema.names), choose, path)
        for name in wanted:
            if not _has_texts(schema.field(name).type):
                raise DataError(
                    "a column of the wrong kind",
                    where=f"{path}, '{name}'",
                    expected="texts, numbers, or lists of these",
                    found=schema.field(name).type,
                )
        _require_bounded(opened.metadata, wanted, path)
        # One text in millions of rows is stored once: so it is read, too.
        texts = [name for name in wanted if _is_text(schema.field(name).type)]
        opened = pyarrow.parquet.ParquetFile(file, read_dictionary=texts)
        count = 0
        for batch in opened.iter_batches(_BATCH, columns=list(wanted)):
            count += batch.num_rows
            if count > MAX_ROWS:
                raise _too_much(path, f"{MAX_ROWS:,} rows", "more")
            for name, cells in wanted.items():
                column = batch.column(batch.schema.get_field_index(name))
                column.validate(full=True)
                where = f"{path}, '{name}'"
                if isinstance(column.type, pyarrow.DictionaryType):
                    texts_of = [cell_of(value, where) for value in column.dictionary.to_pylist()]
                    cells += ["" if index is None else texts_of[index] for index in column.indices.to_pylist()]
                else:
                    cells += [cell_of(value, where) for value in column.to_pylist()]
    except FlaxcnnError:
        raise
    except Exception as error:  # PyArrow promises no class for a damaged file
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError("damaged", where=path, expected="a Parquet file", found=found) from error
    return Table(path, wanted, range(1, count + 1), "row")


def _has_texts(kind: Any) -> bool:
    """Return whether a column of Arrow's holds what a cell can be."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    scalar = (types.is_integer, types.is_floating, types.is_boolean, types.is_null, types.is_decimal, types.is_date)
    return _is_text(kind) or any(is_one(kind) for is_one in scalar)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind)


def _require_bounded(metadata: Any, wanted: Iterable[str], path: Path) -> None:
    """Raise DataError where a Parquet file says that it holds too much."""
    if metadata.num_rows > MAX_ROWS:
        raise _too_much(path, f"{MAX_ROWS:,} rows", f"{metadata.num_rows:,}")
    names, inflated = set(wanted), 0
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            if column.path_in_schema.partition(".")[0] in names or column.path_in_schema in names:
                inflated += max(0, column.total_uncompressed_size)
    if inflated > _MOST_INFLATED:
        raise _too_much(path, f"{_MOST_INFLATED >> 20} MiB uncompressed", f"{inflated >> 20:,} MiB")


def cell_of(value: Any, where: str) -> Cell:
    """Return a value of JSON, Parquet or Arrow as a cell; raises DataError where it is none."""
    if isinstance(value, list | tuple):
        return tuple(_scalar(each, where) for each in value)
    return _scalar(value, where)


def _scalar(value: Any, where: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | bytes):
        expected = "text, a number, or a list of these"
        raise DataError("a cell of the wrong kind", where=where, expected=expected, found=type(value).__name__)
    text = value if isinstance(value, str) else str(value)
    if len(text) > MAX_CELL:
        raise _too_much(where, f"{MAX_CELL:,} characters in a cell", f"{len(text):,}")
    if "\0" in text:
        raise DataError("a null byte", where=where, expected="text", found=text[:80])
    return text


def _wanted(names: tuple[str, ...], choose: Choose, path: Path) -> dict[str, list[Cell]]:
    """Return an empty column for each that is to be read."""
    if not any(names):
        raise DataError("no names of columns", where=path, expected="a name for each column", found="none")
    if len(names) > _MOST_COLUMNS:
        raise _too_much(path, f"{_MOST_COLUMNS:,} columns", f"{len(names):,}")
    if twice := [name for name, count in Counter(names).items() if name and count > 1]:
        raise DataError("two columns of one name", where=path, expected="different names", found=f"'{twice[0]}'")
    return {name: [] for name in choose(tuple(filter(None, names)))}  # a nameless one counts rows, as pandas writes it


def _lines(file: BinaryIO, path: Path) -> Iterator[str]:
    """Yield a file's lines with their ends, without the mark that UTF-8 may begin with."""
    number, total = 0, 0
    while line := file.readline(_MOST_LINE + 1):
        number, total = number + 1, total + len(line)
        where = f"{path}, line {number}"
        if len(line) > _MOST_LINE:
            raise _too_much(where, f"{_MOST_LINE >> 20} MiB in a line", "more")
        if total > MAX_BYTES:  # it grows
            raise _too_much(path, f"{MAX_BYTES >> 20} MiB", "more")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte {line[error.start]:#04x}"
            raise DataError("not text in UTF-8", where=where, found=found, fix="save it as UTF-8") from error
        if "\0" in text:
            raise DataError("a null byte", where=where, expected="text in UTF-8", fix="save it as UTF-8")
        yield text


def _delimiter(line: str) -> str:
    """Return what separates the names in the first line: what is most often outside of quotes."""
    bare = _QUOTED.sub("", line)
    return max(_DELIMITERS, key=bare.count)


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let `csv` read cells of up to `MAX_CELL`; its limit is one of the whole process."""
    before = csv.field_size_limit(MAX_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _count(numbers: "array[int]", number: int, path: Path) -> None:
    if len(numbers) == MAX_ROWS:
        raise _too_much(path, f"{MAX_ROWS:,} rows", "more")
    numbers.append(number)


def _too_much(where: object, most: str, found: str) -> DataError:
    return DataError("too large", where=where, expected=f"at most {most}", found=found)
