"""What can be refused before anything is imported or computed: a package that is missing, places to write to."""

from importlib.util import find_spec
from pathlib import Path

from flaxcnn.errors import ConfigError

NUMBERS = "probe.json"  # in the folder of results


def require_sklearn() -> None:
    """Raise ConfigError where scikit-learn is not installed; imports nothing."""
    if find_spec("sklearn") is None:
        fix = "run pip install 'flaxcnn[study]'"
        raise ConfigError("scikit-learn is not installed", where="the probe's methods", fix=fix)


def require_writable(json_file: Path | None, folder: Path | None) -> None:
    """Raise ConfigError where results could not be written: a folder is missing, or holds something else."""
    if json_file is not None and (json_file.is_dir() or not json_file.parent.is_dir()):
        what = "a folder, not a file" if json_file.is_dir() else "no such folder"
        found = json_file if json_file.is_dir() else json_file.parent
        raise ConfigError(what, where="--json", found=found, fix="name another file")
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError("a file, not a folder", where="--out", found=folder, fix="name another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / NUMBERS).is_file():
        raise ConfigError("the folder holds something else", where="--out", found=folder, fix="name a new folder")
