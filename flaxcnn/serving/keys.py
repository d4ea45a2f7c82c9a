"""The API key: read from a file, compared in constant time.

A file alone: the words of a command are seen by every user of the machine, and an environment is handed on to every
process that is started, and into many reports of a crash.
"""

import hmac
from pathlib import Path

from flaxcnn.errors import ConfigError
from flaxcnn.files import read_bytes, user_path

_LEAST, _MOST = 16, 1024  # characters


def read_key(name: str) -> bytes:
    """Return the key that a file holds, without the space around it.

    Raises:
        ConfigError: there is no such file, or no key in it.
    """
    path = user_path(name, "--api_key_file")
    try:
        key = read_bytes(Path(path), 2 * _MOST, error=ConfigError).strip()
    except FileNotFoundError as error:
        raise ConfigError("no such file", where=f"--api_key_file {name}") from error
    if not _LEAST <= len(key) <= _MOST or not all(33 <= each <= 126 for each in key):
        raise ConfigError(
            "no key in this file",
            where=f"--api_key_file {name}",
            expected=f"{_LEAST} to {_MOST:,} visible ASCII characters in one word",
            fix="write one with: openssl rand -hex 32",
        )
    return key


def holds_key(authorization: bytes, key: bytes) -> bool:
    """Return whether a request's header Authorization holds the key: "Bearer KEY"."""
    scheme, _, given = authorization.partition(b" ")
    return hmac.compare_digest(given.strip(), key) and scheme.lower() == b"bearer"
