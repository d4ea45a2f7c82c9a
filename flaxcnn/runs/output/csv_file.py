"""The logged rows as a table for spreadsheets: `metrics.csv` in a run's folder, in the form of `Logger`."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flaxcnn.errors import RunFolderError
from flaxcnn.files import cannot_write, open_own
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.output.loggers import Ending, LoggedRun

TABLE = "metrics.csv"


class CsvFile:
    """Writes a line for each row, its step first, with what was measured; the numbers are those of `metrics.jsonl`."""

    def __init__(self) -> None:
        self._folder: RunFolder | None = None
        self._columns: Sequence[str] = ()

    def begin(self, run: LoggedRun) -> None:
        """Write the rows of earlier sessions again, so that none is missing and none of a killed session is left."""
        self._folder, self._columns = RunFolder(run.folder), ()
        lines = [line for step, numbers in run.rows for line in self._lines(step, numbers)]
        if lines:
            self._folder.write_text(TABLE, _text(lines))
        else:
            (run.folder / TABLE).unlink(missing_ok=True)

    def row(self, step: int, numbers: Mapping[str, float]) -> None:
        """Append a row; before the first one, a head. Raises RunFolderError where the file cannot be written."""
        assert self._folder is not None, "begin comes first"
        path = self._folder.path / TABLE
        try:
            with open_own(path) as file:
                file.write(_text(self._lines(step, numbers)).encode())
        except OSError as error:
            raise cannot_write(path, error) from error

    def summary(self, numbers: Mapping[str, Any]) -> None:
        """Write nothing: `summary.json` has the final numbers."""

    def close(self, ending: Ending) -> None:
        """Do nothing: each row is written at once."""

    def _lines(self, step: int, numbers: Mapping[str, float]) -> list[list[Any]]:
        """Return a row's line, and before the first one the head."""
        head = []
        if not self._columns:
            self._columns = list(numbers)
            head = [["step", *self._columns]]
        if unknown := [name for name in numbers if name not in self._columns]:
            raise RunFolderError("a column that its head has not", where=TABLE, found=unknown[0])
        return [*head, [step, *(numbers.get(name, "") for name in self._columns)]]


def _text(lines: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()
