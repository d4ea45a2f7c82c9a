"""Where a report goes: a new file, or in the place of an earlier report."""

from pathlib import Path

from flaxcnn.errors import ConfigError
from flaxcnn.files import user_path
from flaxcnn.reports.page import MADE_BY
from flaxcnn.runs.folder.run_folder import RunFolder

REPORT = "report.html"
_MARK = f'<meta name="generator" content="{MADE_BY}">'.encode()
_HEAD = 1024  # bytes of a file in which the mark stands


def report_file(out: str | None, runs: list[RunFolder]) -> Path:
    """Return the file of a report, which is new or an earlier report.

    Args:
        out: as the user named it; None for `report.html` in the folder of a single run.
        runs: that the report is of.

    Raises:
        ConfigError: several runs without a file, a file that is no report, or no folder for it.
    """
    if out is None:
        if len(runs) > 1:
            raise ConfigError("--out is missing", where="flaxcnn report", expected="a file for several runs")
        path = runs[0].path / REPORT
    else:
        path = user_path(out, "--out")
    if path.is_symlink() or (path.exists() and not _is_report(path)):
        fix = "name another file with --out"
        raise ConfigError("exists already, and is no report", where=path, fix=fix)
    if not path.parent.is_dir():
        raise ConfigError("no such folder", where=path.parent, fix="make it, or name another file with --out")
    return path


def write(path: Path, content: bytes) -> None:
    """Write a report whole; raises RunFolderError where the disk is full or the folder cannot be written to."""
    RunFolder(path.parent).write(path.name, lambda temporary: _write(temporary, content))


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK in file.read(_HEAD)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
