"""Read columns of Arrow's streams: encoded images where they lie, mapped into memory, and cells of a table."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc

from flaxcnn.data.photographs.decoding import MAX_BYTES
from flaxcnn.data.photographs.stamps import Stamp, stamps_of
from flaxcnn.data.sources.tables.reading import MAX_ROWS, Cell, cell_of
from flaxcnn.errors import DataError, FlaxcnnError
from flaxcnn.files import open_regular

_MOST_COPIED = 1 << 30  # bytes of a file's columns that are not mapped, as compressed ones are not
_BYTES = "bytes"  # the field of an image's struct


class ArrowImages:
    """Encoded images in Arrow files, by paths "SPLIT/POSITION", or "POSITION" in the split "": an `Encoded`.

    Args:
        root: the folder.
        column: of the images, each a struct with its bytes.
        files: the files of each split, below the root.
        counts: how many rows each has.
    """

    def __init__(
        self, root: Path, column: str, files: Mapping[str, Sequence[str]], counts: Mapping[str, Sequence[int]]
    ):
        self.root, self._column, self._files = root, column, files
        self._ends = {split: list(accumulate(counts[split])) for split in files}
        self._opened: dict[str, Any] = {}

    def stamps(self, paths: Sequence[str]) -> list[Stamp | str]:
        """Return of each image the stamp of the file that it lies in, or why that cannot be read."""
        files = [self._place(path)[0] for path in paths]
        names = list(dict.fromkeys(files))
        stamps = dict(zip(names, stamps_of(self.root, names), strict=True))
        return [stamps[file] for file in files]

    def read(self, path: str) -> bytes:
        """Return an image's bytes; raises DataError where there are none, or too many."""
        file, row = self._place(path)
        if file not in self._opened:
            self._opened[file] = open_columns(self.root, file, [self._column]).column(0)
        column = self._opened[file]
        if row >= len(column):
            raise DataError(
                "changed since the data set was loaded", where=self.root / file, found=f"{len(column)} rows"
            )
        value = column[row]
        found = value[_BYTES].as_buffer() if value.is_valid and value[_BYTES].is_valid else None
        if found is None:
            raise DataError("no bytes, but the path of a file", where=path, expected="the bytes of an image")
        if found.size > MAX_BYTES:
            raise DataError("too large", where=path, expected=f"at most {MAX_BYTES:,} bytes", found=f"{found.size:,}")
        content: bytes = found.to_pybytes()
        return content

    def _place(self, path: str) -> tuple[str, int]:
        """Return the file of an image and its row there."""
        split, _, position = path.rpartition("/")
        ends = self._ends[split]
        place = bisect_right(ends, int(position))
        return self._files[split][place], int(position) - (ends[place - 1] if place else 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}


def open_columns(root: Path, file: str, names: Sequence[str]) -> Any:
    """Return some columns of a stream as a checked `pyarrow.Table`, in the order of `names`.

    Args:
        root: the folder that the file has to lie in.
        file: below the root.
        names: of the columns.

    Raises:
        DataError: the file is missing, damaged, too large, or lacks a column.
    """
    path = root / file
    with _damage(path):
        try:
            with open_regular(path, within=root, error=DataError):
                source = pyarrow.memory_map(str(path))
        except FileNotFoundError as error:
            raise DataError("no such file", where=path, expected="a file that state.json names") from error
        schema = pyarrow.ipc.open_stream(source).schema
        for name in names:
            if schema.names.count(name) != 1:
                raise DataError(f"no column '{name}'", where=path, found=", ".join(schema.names))
        source.seek(0)
        places = [schema.names.index(name) for name in names]
        options = pyarrow.ipc.IpcReadOptions(included_fields=places)
        reader = pyarrow.ipc.open_stream(source, options=options)
        batches, rows, before = [], 0, pyarrow.total_allocated_bytes()
        for batch in reader:
            batch.validate(full=True)
            batches.append(batch)
            rows += batch.num_rows
            if rows > MAX_ROWS or pyarrow.total_allocated_bytes() - before > _MOST_COPIED:
                raise DataError("too large", where=path, expected=f"at most {MAX_ROWS:,} rows, not compressed")
        return pyarrow.Table.from_batches(batches, reader.schema).select(list(names))


def require_images(table: Any, column: str, path: Path) -> None:
    """Raise DataError where a column has no bytes of images."""
    kind = table.schema.field(column).type
    sound = pyarrow.types.is_struct(kind) and kind.get_field_index(_BYTES) >= 0
    if not sound or kind.field(_BYTES).type not in (pyarrow.binary(), pyarrow.large_binary()):
        raise DataError("no images", where=path, expected=f"'{column}': a struct with bytes", found=kind)


def cells_of(table: Any, column: str, names: Sequence[str], path: Path) -> list[Cell]:
    """Return a column's cells.

    Args:
        table: has the column.
        column: its name.
        names: of the classes that its integers number, -1 for none; () where they are no classes.
        path: the file, for the error.

    Raises:
        DataError: a cell is neither text nor a number nor a list of these, or numbers no class.
    """
    where = f"{path}, '{column}'"
    with _damage(path):
        values = table.column(column).to_pylist()
    if not names:
        return [cell_of(value, where) for value in values]

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(each) for each in value]
        if value is None or value == -1:
            return None
        if not isinstance(value, int) or not 0 <= value < len(names):
            raise DataError("labels out of range", where=where, expected=f"0 to {len(names) - 1}, or -1", found=value)
        return names[value]

    return [cell_of(named(value), where) for value in values]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FlaxcnnError:
        raise
    except Exception as error:  # PyArrow promises no class for a damaged file
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError("damaged", where=path, expected="a stream of Arrow", found=found) from error
