"""Targets of images: an array with one row per example, or a dictionary of such arrays.

This module stores, selects and checks them for length. The task (`flaxcnn.tasks`) checks whether they fit it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import DataError

Targets: TypeAlias = npt.NDArray[Any] | Mapping[str, "Targets"]
"""int32 class numbers (N,), bool labels (N, L), float32 numbers (N,) or (N, T), or a dictionary of these by name.

Of objects in images, a dictionary holds "boxes", float32 (N, M, 4), and "classes", int32 (N, M); where they come from
image files also "scale", float32 (N,).
"""

_BOXES, _OBJECT_CLASSES = "boxes", "classes"
_DTYPES = tuple(map(np.dtype, (np.int32, np.float32, np.bool_)))


def leaves(targets: Targets, name: str = "") -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield each array with its name, such as "species" or "species/genus"; a single array has the name ""."""
    if isinstance(targets, Mapping):
        for key in sorted(targets):
            yield from leaves(targets[key], f"{name}/{key}" if name else key)
    else:
        yield name, targets


def is_classes(array: npt.NDArray[Any]) -> bool:
    """Return whether an array holds one class number per example, int32 (N,)."""
    return array.dtype == np.int32 and array.ndim == 1


def is_object_classes(name: str, array: npt.NDArray[Any]) -> bool:
    """Return whether an array holds class numbers of up to M objects in each example: "classes", int32 (N, M).

    Args:
        name: as `leaves` gives it.
        array: of the targets.
    """
    return name.rpartition("/")[2] == _OBJECT_CLASSES and array.dtype == np.int32 and array.ndim == 2


def holds_boxes(targets: Any) -> bool:
    """Return whether targets are the boxes and classes of objects."""
    return isinstance(targets, Mapping) and {_BOXES, _OBJECT_CLASSES} <= set(targets)


def map_targets(change: Callable[[npt.NDArray[Any]], Any], targets: Targets) -> Any:
    """Apply a function to each array and return the results in the same tree."""
    if isinstance(targets, Mapping):
        return {key: map_targets(change, targets[key]) for key in sorted(targets)}
    return change(targets)


def choose_targets(targets: Targets, positions: Any) -> Any:
    """Return the targets of some examples, by an index along the first axis."""
    return map_targets(lambda array: array[positions], targets)


def name_leaves(targets: Targets, names: Any) -> list[tuple[str, npt.NDArray[Any], Any]]:
    """Return each array with its name, as `leaves` does, and with the names of its values."""
    named = dict(leaves(names))
    return [(name, array, named[name]) for name, array in leaves(targets)]


def target_rows(targets: Targets) -> list[Any]:
    """Return each example's target as comparable Python values; None for a target that it lacks.

    A class number becomes an integer, labels a list of booleans, numbers a number or a list, a dictionary a dictionary.
    """
    if isinstance(targets, Mapping):
        columns = {key: target_rows(targets[key]) for key in sorted(targets)}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if is_classes(targets):
        return [None if number < 0 else number for number in targets.tolist()]
    return [_without_nan(row) for row in targets.tolist()]


def row_text(row: Any, names: Any) -> str:
    """Return an example's target, one of `target_rows`, as readable text.

    >>> row_text({"species": 1, "weight": 2.5, "marks": [True, False]}, {
    ...     "species": ("ant", "bee"), "weight": ("mg",), "marks": ("spots", "wings")})
    'species bee, weight 2.5, marks spots'
    """
    if isinstance(row, dict):
        return ", ".join(f"{key} {_row_of_key(key, value, names[key])}" for key, value in row.items())
    if row is None:
        return "–"
    if isinstance(row, bool) or (isinstance(row, list) and all(isinstance(value, bool) for value in row)):
        holding = [name for name, holds in zip(names, [row] if isinstance(row, bool) else row, strict=True) if holds]
        return " ".join(holding) or "none"
    if isinstance(row, list):
        return " ".join(map(_number_text, row))
    return str(names[row]) if isinstance(row, int) else _number_text(row)


def _number_text(value: Any) -> str:
    if isinstance(value, list):
        return "…"
    return "–" if value is None else f"{value:.6g}"


def _row_of_key(key: str, value: Any, names: Any) -> str:
    if key == _OBJECT_CLASSES and isinstance(value, list) and all(type(each) is int for each in value):
        return " ".join(str(names[number]) for number in value if number >= 0) or "none"
    return row_text(value, names)


def _without_nan(row: Any) -> Any:
    if isinstance(row, list):
        return [_without_nan(value) for value in row]
    return None if isinstance(row, float) and row != row else row


def described_targets(targets: Targets) -> str:
    """Describe targets for an error: "int32 (100,)", or the names in a dictionary."""
    if isinstance(targets, Mapping):
        return f"a dictionary of {', '.join(sorted(targets))}"
    return f"{targets.dtype} {targets.shape}"


def read_only(targets: Any) -> Any:
    """Return the arrays as read-only views, so that a data set cannot change during training."""

    def view(array: Any) -> npt.NDArray[Any]:
        seen = np.asarray(array).view()
        seen.setflags(write=False)
        return seen

    return map_targets(view, targets)


def check_targets(targets: Targets, examples: int, where: str, images_where: str) -> None:
    """Raise DataError if an array has a dtype that no task accepts, or does not have one row per image."""
    found = list(leaves(targets))
    if not found:
        raise DataError("no targets", where=where, expected="an array, or a dictionary of arrays", found="none")
    for name, array in found:
        place = f"{where}/{name}" if name else where
        if array.dtype not in _DTYPES or array.ndim < 1:
            raise DataError(
                "targets of the wrong kind",
                where=place,
                expected="int32 (N,), float32 (N, ...) or bool (N, ...)",
                found=f"{array.dtype} {array.shape}",
            )
        if len(array) != examples:
            raise DataError(
                "image and target counts differ",
                where=place,
                expected=f"{examples} targets, as {images_where} has images",
                found=len(array),
            )
