"""Paths from a user or a file: text that is valid as a path, with `~` for the user's home folder."""

import os
from pathlib import Path

from flaxcnn.errors import ConfigError


def user_path(text: str, where: object) -> Path:
    """Return the path that a text names, `~` and `~user` at its beginning expanded.

    Args:
        text: the path.
        where: the option or field that it was given for, for the error.

    Raises:
        ConfigError: as `require_path`; or there is no such user.
    """
    require_path(text, where)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = Path(text).parts[0]
        fix = "set HOME" if user == "~" else f"for a file of that name write ./{text}"
        raise ConfigError("no home folder is known for this user", where=where, found=user, fix=fix) from error


def require_path(text: str, where: object) -> None:
    """Raise ConfigError where no path can be so: it is empty, or holds a null byte or what has no bytes."""
    if not text:
        raise ConfigError("an empty path", where=where, expected="a file or folder")
    if "\0" in text:
        raise ConfigError("a path cannot hold a null byte", where=where, found=repr(text))
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ConfigError("a path cannot hold half a character", where=where, found=ascii(text)) from error
