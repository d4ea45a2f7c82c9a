"""Check JSON values against type annotations, so that a file's content is declared once, as a type.

Supported are `int`, `float`, `str`, `bool`, `None`, `Any`, unions, `Literal`, an `Enum`, `list[X]`, `tuple[X, ...]`,
`tuple[X, Y]`, `dict[str, X]`, a dataclass, a `NamedTuple` and a `TypedDict`.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal


class MismatchError(ValueError):
    """A value of another type than declared.

    Args:
        place: which part of the value: `trials[3].params`; empty for all of it.
        expected: in words.
        found: in words.
    """

    def __init__(self, place: str, expected: str, found: str):
        self.place, self.expected, self.found = place, expected, found
        super().__init__(f"{place or 'value'}: expected {expected}, found {found}")


def conform(value: Any, kind: Any, place: str = "") -> Any:
    """Return a value as an instance of a type.

    An object becomes the dataclass or the NamedTuple that is asked for, which have to know each of its fields; fields
    with a default may be missing. Of a TypedDict the declared keys are checked, and others stay. A list becomes the
    tuple that is asked for, and a whole number the float; True is no number.

    Args:
        value: made of what JSON has.
        kind: the type.
        place: of the value within a larger one, for the error.

    Raises:
        MismatchError: it is of another type.

    >>> conform([1, 2], tuple[float, ...])
    (1.0, 2.0)
    >>> conform({"steps": "many"}, dict[str, int])
    Traceback (most recent call last):
    ...
    flaxcnn.files.schema.MismatchError: steps: expected a whole number, found 'many'
    """
    if kind is Any:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, arguments, kind, place)
    if origin is Literal:
        if not any(type(value) is type(each) and value == each for each in arguments):
            raise _mismatch(value, kind, place)
        return value
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        if value not in [each.value for each in kind]:
            raise _mismatch(value, kind, place)
        return kind(value)
    if kind is None or kind is types.NoneType:
        if value is not None:
            raise _mismatch(value, kind, place)
        return None
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise MismatchError(place, "a number", "one too large for a float") from error
    if kind in (int, float, str, bool):
        if type(value) is not kind:
            raise _mismatch(value, kind, place)
        return value
    if origin in (list, tuple):
        return _sequence(value, kind, place)
    if origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(value, kind, place)
        return {name: conform(each, arguments[1], _join(place, name)) for name, each in value.items()}
    return _record(value, kind, place)


def _one_of(value: Any, kinds: tuple[Any, ...], kind: Any, place: str) -> Any:
    # The exact type first: 1 of `float | int` stays an int.
    for each in sorted(kinds, key=lambda option: type(value) is not option):
        try:
            return conform(value, each, place)
        except MismatchError as mismatch:
            if mismatch.place != place:  # of the right type outside, so that the fault lies within
                raise
    raise _mismatch(value, kind, place)


def _sequence(value: Any, kind: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if not isinstance(value, list):
        raise _mismatch(value, kind, place)
    if origin is list or arguments[-1] is Ellipsis:
        items = [arguments[0]] * len(value)
    else:
        items = list(arguments)
        if len(items) != len(value):
            raise MismatchError(place, f"{len(items)} values", str(len(value)))
    return origin(
        conform(each, item, f"{place}[{number}]") for number, (each, item) in enumerate(zip(value, items, strict=True))
    )


def _record(value: Any, kind: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(value, kind, place)
    hints = typing.get_type_hints(kind)
    required, extra = _fields(kind)
    for name in sorted(required):
        if name not in value:
            raise MismatchError(place, f"a field '{name}'", "none")
    if not extra:
        for name in value:
            if name not in hints:
                raise MismatchError(place, f"the fields {', '.join(hints)}", f"'{name}'")
    values = {name: conform(each, hints.get(name, Any), _join(place, name)) for name, each in value.items()}
    return values if extra else kind(**values)


def _fields(kind: Any) -> tuple[frozenset[str], bool]:
    """Return the fields that must be there, and whether others may."""
    if dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        needed = (each.name for each in dataclasses.fields(kind) if each.default is missing is each.default_factory)
        return frozenset(needed), False
    if typing.is_typeddict(kind):
        return kind.__required_keys__, True
    return frozenset(kind._fields) - frozenset(kind._field_defaults), False


def _mismatch(value: Any, kind: Any, place: str) -> MismatchError:
    return MismatchError(place, in_words(kind), _found(value))


def _found(value: Any) -> str:
    words: Mapping[type, str] = {dict: "an object", list: "a list", bool: str(value), types.NoneType: "null"}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        return "text" if len(value) > 40 or not value else f"'{value}'"
    return words.get(type(value), type(value).__name__)


def in_words(kind: Any) -> str:
    """Return the words for a type in an error.

    >>> in_words(int | None)
    'a whole number or null'
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(in_words, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(repr(each.value) for each in kind)
    words: Mapping[Any, str] = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        types.NoneType: "null",
        None: "null",
    }
    if origin in (list, tuple):
        return "a list"
    return words.get(kind, "an object")


def _join(place: str, name: str) -> str:
    shown = name if len(name) <= 60 else f"{name[:57]}..."
    return f"{place}.{shown}" if place else shown
