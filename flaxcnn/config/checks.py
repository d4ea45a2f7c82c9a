"""Checks of a config's fields: declared types, values in range. Each failure is a one-line error."""

import dataclasses
import math
import struct
import types
import typing
import urllib.parse
from collections.abc import Collection, Mapping
from typing import Any, Literal

from flaxcnn.errors import ConfigError

_LISTS: Mapping[Any, type] = {tuple[float, ...]: float, tuple[int, ...]: int, tuple[str, ...]: str}


def require(holds: bool, where: str, expected: str, found: object) -> None:
    """Raise ConfigError if a value is out of range."""
    if not holds:
        raise ConfigError("out of range", where=where, expected=expected, found=found)


def require_address(address: str, where: str) -> None:
    """Raise ConfigError if an address is not that of an HTTP server, or holds a password, which would be recorded."""
    try:
        parts = urllib.parse.urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        sound = sound and not parts.query and not parts.fragment and address.isascii() and address.isprintable()
    except ValueError:
        sound = False
    if "@" in address:
        fix = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, which are recorded nowhere"
        raise ConfigError("an address with a user in it", where=where, expected="http://HOST:PORT", fix=fix)
    require(sound and " " not in address, where, "http://HOST:PORT or https://HOST:PORT", ascii(address))


def require_float32(value: float, where: str) -> None:
    """Raise ConfigError if a number is not a positive, finite, normal float32."""
    require(1.2e-38 < value < 3.4e38, where, "a number above 0 in the range of float32", value)


def require_at_least_0(value: float, where: str) -> None:
    """Raise ConfigError if a number is negative or too large for float32."""
    require(0 <= value < math.inf, where, "at least 0", value)
    require(value < 3.4e38, where, "a number in the range of float32", value)


def require_below_1(value: float, where: str, name: str) -> None:
    """Raise ConfigError if a number is not in [0, 1), or rounds to 1 in float32."""
    require(0 <= value < 1, where, f"0 <= {name} < 1", value)
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    require(rounded < 1, where, f"{name} < 1, also when it is rounded to float32", value)


def check_types(section: str, config: Any) -> None:
    """Check every field of a frozen config against its annotation; integers become floats in float fields.

    Args:
        section: the config's name, for the error.
        config: the dataclass, within its `__post_init__`.

    Raises:
        ConfigError: a field's value has the wrong type.
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
        if isinstance(given, list) and (tuple[str, ...] in options or tuple[int, ...] in options):
            value = tuple(given)  # as JSON has it
        known = type(value) in options or value in [word for word in options if isinstance(word, str)]
        listed = any(option in options and _are(value, item) for option, item in _LISTS.items())
        if not known and not listed:
            raise ConfigError("wrong type", where=f"{section}.{each.name}", expected=type_name(kind), found=repr(given))
        if value is not given:
            object.__setattr__(config, each.name, value)


def _are(value: Any, kind: type) -> bool:
    return isinstance(value, tuple) and all(type(each) is kind for each in value)


def _as_floats(value: Any) -> Any:
    """Return a list or tuple of numbers as a tuple of floats; return anything else unchanged."""
    numbers = isinstance(value, list | tuple) and all(type(each) in (int, float) for each in value)
    return tuple(map(float, value)) if numbers else value


def require_own(config: Any, section: str, fields: Mapping[str, Collection[str]]) -> None:
    """Raise ConfigError if a field is set that the chosen kind does not use.

    Args:
        config: a frozen config with a `name`.
        section: the config's section, for the error.
        fields: for each name, the fields it uses. Every name uses the fields that are not listed.
    """
    some = {field for names in fields.values() for field in names}
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    for field in sorted(some - set(fields.get(config.name, ()))):
        if getattr(config, field) != defaults[field]:
            users = [name for name, names in fields.items() if field in names]
            raise ConfigError(
                f"{config.name} does not use it",
                where=f"{section}.{field}",
                expected=f"{section}.name {' or '.join(users)}, or the default {defaults[field]}",
                found=getattr(config, field),
            )


def type_name(kind: Any) -> str:
    """Describe a field's type for an error: `float` is "a number", `str | None` is "text or None"."""
    words: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "True or False",
        types.NoneType: "None",
    }
    words |= {tuple[float, ...]: "numbers", tuple[int, ...]: "whole numbers", tuple[str, ...]: "texts"}
    options = (words.get(option, getattr(option, "__name__", repr(option))) for option in _options(kind))
    return " or ".join(options)


def _options(kind: Any) -> tuple[Any, ...]:
    """Return a field's possible types; for a Literal, its values."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return tuple(option for part in typing.get_args(kind) for option in _options(part))
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else (kind,)
