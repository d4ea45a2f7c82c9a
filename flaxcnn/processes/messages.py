"""The messages between processes: lines of JSON objects, with the fields of each kind.

Every received line is checked here before any other code sees it: its length, form, fields, types and ranges.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

LONGEST_TEXT = 4000  # characters of an error
LONGEST_LINE = 16 << 20  # bytes; the longest of a run, digests of all files of its data by all processes, has some kB
LONGEST_GREETING = 4096  # bytes of a line by which a connection says what it is
_MOST_PROCESSES = 1 << 20
_DEEPEST = 20  # lists and objects in each other


class MessageError(ValueError):
    """A line that no process of a run sends."""


class Lines:
    """The lines of a connection, of the parts in which its bytes come.

    Args:
        longest: bytes of a line.
    """

    def __init__(self, longest: int):
        self._longest = longest
        self._rest = bytearray()

    def take(self, data: bytes) -> list[bytes]:
        """Return the lines that end with this part.

        Raises:
            MessageError: a line is too long.
        """
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0], self._rest = bytes(self._rest) + lines[0], bytearray()
        self._rest += rest
        if max(map(len, (self._rest, *lines))) > self._longest:
            raise MessageError("too long a line")
        return lines

    @property
    def whole(self) -> bool:
        """Whether nothing follows the last line."""
        return not self._rest


def write(kind: str, **fields: Any) -> bytes:
    """Return the line of a message; its values are made of what JSON has."""
    return json.dumps({"kind": kind, **fields}).encode() + b"\n"


def read(line: bytes, *kinds: str) -> dict[str, Any]:
    """Return the fields of a message, and its `kind`.

    Args:
        line: without its end.
        kinds: that are possible here.

    Raises:
        MessageError: it is none of them, or not as its kind is.
    """
    try:
        message = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise MessageError("no JSON") from error
    if not isinstance(message, dict) or message.get("kind") not in kinds:
        raise MessageError(f"none of {', '.join(kinds)}")
    fields = _FIELDS[message["kind"]]
    if message.keys() != {"kind", *fields}:
        raise MessageError(f"other fields than those of {message['kind']}")
    for name, fits in fields.items():
        if not fits(message[name]):
            raise MessageError(f"{message['kind']} with a {name} that cannot be")
    return message


def is_error(value: object) -> bool:
    """Return whether a value is an error, as `agreement` sends it."""
    if not isinstance(value, dict) or value.keys() != _ERROR.keys():
        return False
    return all(fits(value[name]) for name, fits in _ERROR.items())


def _whole(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _text(longest: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest


def _maybe_text(value: object) -> bool:
    return value is None or _text(LONGEST_TEXT)(value)


def _digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and all(each in "0123456789abcdef" for each in value)


def _versions(value: object) -> bool:
    return isinstance(value, dict) and len(value) <= 10 and all(map(_text(100), (*value, *value.values())))


def _shallow(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return True
    return False


_EXIT_CODE = _whole(1, 255)  # an end is no success
_FIELDS: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    # A connection begins with these: of process 0, what is to be signed; of the other, what it wants, signed.
    "challenge": {"nonce": _digest},
    "claim": {"purpose": lambda value: value in ("run", "jax"), "nonce": _digest, "proof": _digest},
    "proof": {"proof": _digest},
    "stranger": {},
    # Of a process that joins, and the answer.
    "hello": {"index": _whole(1, _MOST_PROCESSES), "count": _whole(2, _MOST_PROCESSES), "versions": _versions},
    "welcome": {},
    "refused": {"line": _text(LONGEST_TEXT)},
    # Between processes that have joined.
    "ping": {},
    "say": {"number": _whole(1, 1 << 60), "name": _text(200), "value": _shallow},
    "bye": {},
    "end": {"process": _whole(0, _MOST_PROCESSES), "line": _maybe_text, "exit_code": _EXIT_CODE},
}
_ERROR: Mapping[str, Callable[[object], bool]] = {
    "kind": _text(200),
    "what": _text(LONGEST_TEXT),
    "where": _maybe_text,
    "expected": _maybe_text,
    "found": _maybe_text,
    "fix": _text(LONGEST_TEXT),
    "elsewhere": _text(LONGEST_TEXT),
    "exit_code": _EXIT_CODE,
}
