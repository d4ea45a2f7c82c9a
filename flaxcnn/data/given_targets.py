"""Convert targets and groups from a user to the few types that a data set holds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import DataError

_INT32 = np.iinfo(np.int32)
_MOST_CLASSES = 1_000_000  # named by their numbers; larger numbers are identifiers, not classes


class _Given(NamedTuple):
    """An array as it was given: what it is of, and which examples lack it."""

    kind: str  # "class names", "class numbers", "numbers" or "labels"
    array: npt.NDArray[Any]
    lacking: npt.NDArray[np.bool_]
    where: str


def targets_of(parts: Sequence[Any], names: Any, wheres: Sequence[str]) -> tuple[list[Any], Any]:
    """Return the targets of several splits as a data set holds them, and what their values are called.

    Args:
        parts: of each split, what `flaxcnn.data.from_arrays` takes.
        names: a tuple, of a dictionary of targets a dictionary of tuples; None, or without a key, for those made here.
        wheres: what to call each in an error.

    Raises:
        DataError: something else, or not the same in each split.
    """
    return _tree(parts, names, wheres, may_lack=False)


def groups_of(parts: Sequence[Any], wheres: Sequence[str]) -> list[npt.NDArray[np.int32] | None]:
    """Return the groups of several splits, int32: their numbers, or those of the sorted names in all splits.

    Raises:
        DataError: they are neither integers of 32 bits nor strings, or not the same in each split.
    """
    arrays = [None if part is None else _array(part, where) for part, where in zip(parts, wheres, strict=True)]
    given = [array for array in arrays if array is not None]
    for array, where in zip(arrays, wheres, strict=True):
        if array is not None and (array.ndim != 1 or array.dtype.kind not in "iuUT"):
            found = f"{array.dtype} {array.shape}"
            expected = "an integer or a string for each example"
            raise DataError("groups of the wrong kind", where=where, expected=expected, found=found)
    if len({array.dtype.kind in "UT" for array in given}) > 1:
        found = " and ".join(str(array.dtype) for array in given)
        raise DataError(
            "groups of different kinds", where=wheres[-1], expected="all integers or all strings", found=found
        )
    named = sorted({str(name) for array in given if array.dtype.kind in "UT" for name in array})
    return [
        None if array is None else _indices(array, named) if named else _int32(array, where)
        for array, where in zip(arrays, wheres, strict=True)
    ]


def _tree(parts: Sequence[Any], names: Any, wheres: Sequence[str], may_lack: bool) -> tuple[list[Any], Any]:
    if not any(isinstance(part, Mapping) for part in parts):
        given = [_given(part, where, may_lack) for part, where in zip(parts, wheres, strict=True)]
        return _leaf(given, names, wheres[0].rpartition("/")[2] if may_lack else "target")
    first = parts[0]
    for part, where in zip(parts, wheres, strict=True):
        found = _keys(part) if isinstance(part, Mapping) else "an array"
        if isinstance(part, Mapping) != isinstance(first, Mapping) or (
            isinstance(part, Mapping) and part.keys() != first.keys()
        ):
            expected = f"{_keys(first) if isinstance(first, Mapping) else 'an array'}, as {wheres[0]}"
            raise DataError("other targets than in training", where=where, expected=expected, found=found)
        if isinstance(part, Mapping) and not (part and all(isinstance(key, str) and key for key in part)):
            raise DataError("targets without names", where=where, expected="strings as keys", found=found)
    if names is not None and (not isinstance(names, Mapping) or not names.keys() <= first.keys()):
        found = _keys(names) if isinstance(names, Mapping) else type(names).__name__
        raise DataError(
            "target_names do not match the targets",
            where=wheres[0],
            expected=f"a dictionary with some of {_keys(first)}",
            found=found,
        )
    trees: list[dict[str, Any]] = [{} for _ in parts]
    called = {}
    for key in sorted(first):
        below, called[key] = _tree(
            [part[key] for part in parts],
            None if names is None else names.get(key),
            [f"{where}/{key}" for where in wheres],
            may_lack=True,
        )
        for tree, each in zip(trees, below, strict=True):
            tree[key] = each
    return list(trees), called


def _leaf(parts: list[_Given], names: Any, called: str) -> tuple[list[Any], tuple[str, ...]]:
    """Return one array of targets of each split, and its names; a single number is called as its target is."""
    first = next((part for part in parts if not _all_lack(part)), parts[0])
    parts = [_as(part, first) if _all_lack(part) else part for part in parts]
    for part in parts:
        if part.kind != first.kind:
            expected = f"{first.kind} as {first.where}"
            raise DataError("other targets than in training", where=part.where, expected=expected, found=part.kind)
    if names is not None:
        names = _checked_names(names, first.where)
    if first.kind == "class names":
        if names is None:
            names = tuple(sorted({str(name) for part in parts for name in part.array[~part.lacking]}))
        return [_numbered(part, names) for part in parts], names
    if first.kind == "class numbers":
        numbers = [_int32(part.array, part.where) for part in parts]
        if names is None:
            names = _numbers(_classes(numbers, parts))
        return list(numbers), names
    if first.kind == "numbers":
        with np.errstate(over="ignore"):  # what is infinite then is refused by `Split`
            arrays = [part.array.astype(np.float32, copy=False) for part in parts]
    else:
        arrays = [part.array for part in parts]
    columns = first.array.shape[1] if first.array.ndim == 2 else 1
    if names is None:
        names = (called,) if columns == 1 and first.kind == "numbers" else _numbers(columns)
    return list(arrays), names


def _given(values: Any, where: str, may_lack: bool) -> _Given:
    array = _array(values, where)
    lacking = np.zeros(len(array) if array.ndim else 0, bool)
    if array.dtype == object and array.ndim == 1:
        lacking = np.asarray([_is_absent(value) for value in array], bool)
        array = _array([value for value in array if not _is_absent(value)], where)
    if array.dtype.kind in "iuUT" and array.ndim == 2 and array.shape[1] == 1:  # as Keras gives class numbers
        array = array[:, 0]
    kinds = {"U": "class names", "T": "class names", "i": "class numbers", "u": "class numbers"}
    kind = {**kinds, "f": "numbers", "b": "labels"}.get(array.dtype.kind)
    ranks = {"numbers": (1, 2), "labels": (2,)}.get(kind or "", (1,))
    if kind is None or array.ndim not in ranks or (array.ndim == 2 and not array.shape[1]):
        fix = ""
        if kind == "labels":
            fix = "for one label give [:, None], for two classes the numbers 0 and 1"
        elif kind == "class numbers":
            fix = "give several numbers of an example as floats, labels of which any may hold as bool"
        raise DataError(
            "targets of the wrong kind",
            where=where,
            expected="integers (N,), strings (N,), floats (N,) or (N, T), bool (N, L), or a dictionary of these",
            found=f"{array.dtype} {array.shape}",
            fix=fix,
        )
    if lacking.any():
        if not may_lack or kind == "labels":
            raise DataError(
                "an example without a target",
                where=where,
                expected="a target for each example",
                found=f"none at position {np.flatnonzero(lacking)[0]} ({np.count_nonzero(lacking)} such examples)",
                fix="" if may_lack else "remove the example, or use a dictionary of targets, which may lack some",
            )
        array = _spread(array, lacking, kind)
    return _Given(kind, array, lacking, where)


def _all_lack(part: _Given) -> bool:
    return bool(len(part.lacking) and part.lacking.all())


def _as(part: _Given, like: _Given) -> _Given:
    """Return a part of which every example lacks the target as one of the same kind as another part."""
    if like.kind == "labels":
        return part
    return part._replace(kind=like.kind, array=_spread(like.array[:0], part.lacking, like.kind))


def _is_absent(value: Any) -> bool:
    """Return whether a value says that there is none: None, or among strings NaN, as pandas has it."""
    return value is None or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _spread(present: npt.NDArray[Any], lacking: npt.NDArray[np.bool_], kind: str) -> npt.NDArray[Any]:
    """Return an array with a row for each example, those that lack one with what says so."""
    absent: Any = {"class names": "", "class numbers": -1, "numbers": np.nan}[kind]
    dtype = np.int64 if kind == "class numbers" else present.dtype
    out = np.full((len(lacking), *present.shape[1:]), absent, dtype)
    out[~lacking] = present
    return out


def _numbered(part: _Given, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
    unknown = sorted({str(name) for name in part.array[~part.lacking]} - set(names))
    if unknown:
        raise DataError(
            "a class that target_names does not have", where=part.where, expected=", ".join(names), found=unknown[0]
        )
    numbers = np.full(len(part.array), -1, np.int32)
    numbers[~part.lacking] = _indices(part.array[~part.lacking], names)
    return numbers


def _indices(array: npt.NDArray[Any], names: Sequence[str]) -> npt.NDArray[np.int32]:
    origins = {name: place for place, name in enumerate(names)}
    return np.asarray([origins[str(name)] for name in array], np.int32)


def _int32(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.int32]:
    wrong = np.flatnonzero((array < _INT32.min) | (array > _INT32.max))
    if len(wrong):
        raise DataError(
            "an integer out of range",
            where=where,
            expected="integers of 32 bits",
            found=f"{array[wrong[0]]} at position {wrong[0]}",
        )
    return array.astype(np.int32, copy=False)


def _classes(numbers: list[npt.NDArray[np.int32]], parts: list[_Given]) -> int:
    classes = 1 + max((int(np.max(array)) for array in numbers if len(array)), default=-1)
    if classes > _MOST_CLASSES:
        raise DataError(
            "class numbers too large",
            where=parts[0].where,
            expected=f"0 to {_MOST_CLASSES - 1:,}",
            found=f"{classes - 1:,}",
            fix="number the classes from 0: np.unique(targets, return_inverse=True)",
        )
    return classes


def _checked_names(names: Any, where: str) -> tuple[str, ...]:
    found = () if isinstance(names, (str, Mapping)) else tuple(names)
    if not found or not all(isinstance(name, str) for name in found):
        raise DataError("target_names of the wrong kind", where=where, expected="a tuple of strings", found=repr(names))
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise DataError("a name twice in target_names", where=where, expected="different names", found=twice)
    return tuple(map(str, found))


def _array(values: Any, where: str) -> npt.NDArray[Any]:
    """Return an array; one of objects that are strings, or integers, or numbers, as an array of these."""
    try:
        array = np.asarray(values)
        if array.dtype == object and array.size:
            kinds = {type(value) for value in array.flat}
            if all(issubclass(kind, str) for kind in kinds):
                array = array.astype(str)
            elif all(issubclass(kind, (int, float, np.number)) and kind is not bool for kind in kinds):
                array = np.asarray(array.tolist())
    except ValueError as error:  # rows of different lengths
        raise DataError("no array", where=where, expected="rows of one length", found=str(error)) from error
    return array


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _keys(mapping: Mapping[Any, Any]) -> str:
    return ", ".join(repr(key) for key in mapping) or "no key"
