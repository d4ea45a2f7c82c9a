"""The checks of a config's fields: types as declared, values in their range, each failure one line."""

import dataclasses
import math
import struct
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal

from flaxcnn.errors import ConfigError


def require(holds: bool, where: str, expected: str, found: object) -> None:
    """Raise ConfigError where a value is out of its range."""
    if not holds:
        raise ConfigError("out of range", where=where, expected=expected, found=found)


def require_float32(value: float, where: str) -> None:
    """Raise ConfigError where a number above 0 is none in float32, in which it is computed with."""
    require(1.2e-38 < value < 3.4e38, where, "a number above 0 in the range of float32", value)


def require_at_least_0(value: float, where: str) -> None:
    """Raise ConfigError where a number is less than 0, or too large for float32."""
    require(0 <= value < math.inf, where, "at least 0", value)
    require(value < 3.4e38, where, "a number in the range of float32", value)


def require_below_1(value: float, where: str, name: str) -> None:
    """Raise ConfigError where a number is not in [0, 1), or rounds to 1 in float32, in which it is computed with."""
    require(0 <= value < 1, where, f"0 <= {name} < 1", value)
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    require(rounded < 1, where, f"{name} < 1, also when it is rounded to float32", value)


def check_types(section: str, config: Any) -> None:
    """Check every field of a frozen config against its annotation; whole numbers become floats where those are meant.

    Args:
        section: its name, for the error.
        config: the dataclass, within its `__post_init__`.

    Raises:
        ConfigError: a field has a value of another type.
    """
    hints = typing.get_type_hints(type(config))
    for each in dataclasses.fields(config):
        given, kind = getattr(config, each.name), hints[each.name]
        options = _options(kind)
        try:
            value = _as_floats(given) if tuple[float, ...] in options else given
            if type(value) is int and float in options:
                value = float(value)
        except OverflowError as error:
            where = f"{section}.{each.name}"
            raise ConfigError("too large", where=where, expected="a number of at most 1.8e308") from error
        if tuple[str, ...] in options and isinstance(given, list):
            value = tuple(given)  # as JSON has it
        known = type(value) in options or value in [word for word in options if isinstance(word, str)]
        listed = (tuple[float, ...] in options and _are(value, float)) or (
            tuple[str, ...] in options and _are(value, str)
        )
        if not known and not listed:
            raise ConfigError("wrong type", where=f"{section}.{each.name}", expected=type_name(kind), found=repr(given))
        if value is not given:
            object.__setattr__(config, each.name, value)


def _are(value: Any, kind: type) -> bool:
    return isinstance(value, tuple) and all(type(each) is kind for each in value)


def _as_floats(value: Any) -> Any:
    """Return numbers, in JSON a list, as a tuple of floats; anything else as it is."""
    numbers = isinstance(value, list | tuple) and all(type(each) in (int, float) for each in value)
    return tuple(map(float, value)) if numbers else value


def require_own(config: Any, section: str, fields: Mapping[str, Collection[str]]) -> None:
    """Raise ConfigError where a field was set of which the chosen kind makes no use: it would do nothing.

    Args:
        config: a frozen config with a `name`.
        section: its own, for the error.
        fields: by name, those of which it makes use; what no name lists, every one uses.
    """
    some = {field for names in fields.values() for field in names}
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    for field in sorted(some - set(fields.get(config.name, ()))):
        if getattr(config, field) != defaults[field]:
            users = [name for name, names in fields.items() if field in names]
            raise ConfigError(
                f"{config.name} has no use for it",
                where=f"{section}.{field}",
                expected=f"{section}.name {' or '.join(users)}, or the default {defaults[field]}",
                found=getattr(config, field),
            )


def type_name(kind: Any) -> str:
    """Return the words for a field's type in an error: `float` is "a number", `str | None` "text or None"."""
    words: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "True or False",
        types.NoneType: "None",
    }
    words[tuple[float, ...]], words[tuple[str, ...]] = "numbers", "texts"
    options = (words.get(option, getattr(option, "__name__", repr(option))) for option in _options(kind))
    return " or ".join(options)


def _options(kind: Any) -> tuple[Any, ...]:
    """Return the types and, of a Literal, the values that a field may have."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return tuple(option for part in typing.get_args(kind) for option in _options(part))
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else (kind,)
