"""Runs with a user's own code: no command imports that code because a run's folder says so.

The user names the file again, and its digest must be the recorded one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxcnn.config import Experiment, field_of, outside_names, with_names
from flaxcnn.config.own_code import names_in, options_of
from flaxcnn.errors import ConfigError, RunFolderError
from flaxcnn.files.user_code import is_outside, load_outside, outside_parts

Named = Mapping[str, str | None]  # what the user named, by field: {"model.name": "my_net.py:MyNet"}
NOTHING: Named = {}


def with_named_code(
    experiment: Experiment, digests: Mapping[str, str], named: Named, where: Path, needs: str | tuple[str, ...] = ""
) -> Experiment:
    """Return a recorded experiment with its code where the user named it.

    Args:
        experiment: as a run's folder recorded it.
        digests: of its code, by field, as the folder recorded them.
        named: what the user named; a field may be None or missing.
        where: the file that recorded it.
        needs: what the names of those fields begin with whose code the command imports; "" for all. Other code keeps
            its recorded name.

    Raises:
        ConfigError: the run has code of its user's own that is not named again, or it is named but another; or a file
            that is named cannot be loaded.
        RunFolderError: no digest is recorded.
    """
    recorded = {field: name for field, name in outside_names(experiment).items() if field.startswith(needs)}
    for field, given in named.items():
        moved = field == "data.source" and given is not None and not is_outside(given)  # where the data lie now
        if given is None or field in recorded or moved:
            continue
        before = field_of(experiment, field)
        if given != before:
            raise ConfigError("not what this run has", where=f"--{field}", expected=before, found=given)
    for field, name in recorded.items():
        if digests.get(field) is None:
            raise RunFolderError("damaged at code", where=where, expected=f"the digest of {field}", found="nothing")
        if named.get(field) is None:
            raise ConfigError(
                "this run has code of its own, which no run folder makes a command import",
                where=f"{where}: {field}",
                expected="the file named again",
                found=name,
                fix=f"if you trust it, add {' '.join(options_of(recorded))}",
            )
    again = {field: _checked(field, name, digests[field], str(named[field]), where) for field, name in recorded.items()}
    return with_names(experiment, again)


def options_again(sections: Mapping[str, Any]) -> list[str]:
    """Return the options that name a run's own code again, for the command that a message proposes.

    Args:
        sections: the run's experiment, as `to_json` gives it.
    """
    return options_of(names_in(sections))


def _checked(field: str, recorded: str, digest: str, given: str, where: Path) -> str:
    """Return the name that the user gave, if it is of the code that the run recorded."""
    _, name = outside_parts(recorded, f"{where}: {field}")
    file, other = outside_parts(given, f"--{field}")
    if other != name:
        raise ConfigError("not what this run has", where=f"--{field}", expected=f"{file}:{name}", found=given)
    now = load_outside(given, f"--{field}").digest
    if now != digest:
        raise ConfigError(
            "the code changed since this run",
            where=file,
            expected=f"SHA-256 {digest}",
            found=now,
            fix="restore the file, and the modules beside it that it imports, as the run had them",
        )
    return given
