"""Find the folder of a prepared data set, DATA_DIR/NAME[/CONFIG]/VERSION, or say how to prepare it."""

import os
import re
from pathlib import Path

from flaxcnn.errors import ConfigError, DataError

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>\w[\w.\-]*))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def find_folder(name: str, root: Path) -> Path:
    """Return the folder of one version of a prepared data set.

    Args:
        name: NAME[/CONFIG][:VERSION]; the newest version, and the only config, where not given.
        root: of all prepared data sets.

    Raises:
        ConfigError: `name` is not a name.
        DataError: no such data set is prepared there, or several configs are.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise ConfigError(
            "not a data set's name",
            where="data.source",
            expected="tfds:NAME[/CONFIG][:VERSION]",
            found=f"'tfds:{name}'",
        )
    home = root / match["name"]
    if match["config"]:
        home /= match["config"]
    elif not _versions(home):
        configs = [config for config in _subfolders(home) if _versions(config)]
        if len(configs) > 1:
            names = [f"{match['name']}/{config.name}" for config in configs]
            raise DataError(
                "several configs prepared", where=home, expected="one of them named", found=", ".join(names)
            )
        home = configs[0] if configs else home
    versions = _versions(home)
    if match["version"]:
        versions = [version for version in versions if version.name == match["version"]]
    if not versions:
        prepared = ", ".join(_prepared(root)[:20]) or ("none" if os.path.isdir(root) else "no such folder")
        raise DataError(
            f"no prepared data set '{name}'",
            where=root,
            expected=f"{home.relative_to(root)}/{match['version'] or 'VERSION'}/dataset_info.json",
            found=f"prepared: {prepared}",
            fix=f"prepare it with {_build_command(name, root)}",
        )
    return versions[-1]


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if os.path.isdir(child))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError("cannot read the folder", where=folder, found=(error.strerror or str(error)).lower()) from error


def _versions(folder: Path) -> list[Path]:
    """Return the folders of the prepared versions in a data set's folder, oldest first."""
    found = [
        child
        for child in _subfolders(folder)
        if _VERSION.fullmatch(child.name) and os.path.isfile(child / "dataset_info.json")
    ]
    return sorted(found, key=lambda version: [int(number) for number in version.name.split(".")])


def _prepared(root: Path) -> list[str]:
    """Return the names of all data sets prepared in a folder, each with its config and version."""
    homes = [home for top in _subfolders(root) for home in (top, *_subfolders(top))]
    return [f"{home.relative_to(root).as_posix()}:{version.name}" for home in homes for version in _versions(home)]


def _build_command(name: str, root: Path) -> str:
    return f"`pip install 'flaxcnn[tensorflow]'` and `tfds build {name} --file_format=array_record --data_dir={root}`"
