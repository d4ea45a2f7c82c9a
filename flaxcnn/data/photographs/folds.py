"""Divide examples into folds by the content of their files: stratified, whole groups, the same on every machine.

Every unit (a group, or else the copies of one file) has a hash of its content and of the repetition. The units are
dealt one after the other, the largest first, those of one class together, in the order of their hashes: each to the
fold that has the least of its classes, of these to the smallest. Where each unit is one example, a class's counts in
two folds differ by at most 1, and so do the folds' sizes. Of groups this is a greedy choice, as that of scikit-learn's
StratifiedGroupKFold; where all differ in size, every repetition deals them alike.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import ConfigError, DataError

MOST_FOLDS = 1000
MOST_REPEATS = 2**31 - 1

_PURPOSE = b"flaxcnn.folds"  # BLAKE2's personalisation; the repetition is its salt


class _Unit(NamedTuple):
    """Examples that stay together: what orders them, their positions, and how many of each class."""

    key: tuple[Any, ...]
    members: list[int]
    counts: dict[Hashable, int]


def fold_numbers(
    digests: Sequence[str],
    folds: int,
    classes: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
    repeat: int = 0,
) -> npt.NDArray[np.int64]:
    """Return the fold of each example; every fold has at least one.

    Args:
        digests: of each example's content, in hex.
        folds: how many, 2 to `MOST_FOLDS`.
        classes: each example's class; None where they have none.
        groups: what each example belongs to; None where each stands for itself.
        repeat: which repetition, 0 to `MOST_REPEATS`; each divides the examples in another way.

    Returns:
        int64 (N,), 0 to `folds` - 1. Examples of one group, and without groups those of equal content, are in one fold.
        It does not depend on the order of the examples.

    Raises:
        ConfigError: a number is out of range.
        DataError: there are fewer groups, or different files, than folds.

    >>> digests = [f"{number:02x}" * 8 for number in range(10)]
    >>> numbers = fold_numbers(digests, 5, classes=list("aaaaabbbbb"))
    >>> sorted(numbers[:5].tolist()), sorted(numbers[5:].tolist())
    ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    """
    for name, value, least, most in (("folds", folds, 2, MOST_FOLDS), ("repeat", repeat, 0, MOST_REPEATS)):
        if not least <= value <= most:
            raise ConfigError("out of range", where=f"data.{name}", expected=f"{least} to {most:,}", found=value)
    units = _units(digests, classes, groups, repeat)
    if len(units) < folds:
        noun = "groups" if groups is not None else "different images"
        raise DataError(
            f"fewer {noun} than folds",
            where="data.folds",
            expected=f"at most {len(units):,}, as there are {noun}",
            found=folds,
            fix="choose fewer folds",
        )
    totals: Counter[Hashable] = Counter()
    for unit in units:
        totals.update(unit.counts)
    sizes_K = np.zeros(folds, np.int64)
    of_class = {each: np.zeros(folds, np.int64) for each in totals}
    numbers_N = np.zeros(len(digests), np.int64)
    for unit in _in_order(units):
        costs_K = np.zeros(folds)  # how much the squares of the classes' shares grow: each operation is exact or IEEE's
        for each, count in unit.counts.items():
            costs_K += of_class[each] * (count / totals[each] ** 2)
        cheapest_J = np.flatnonzero(costs_K == np.min(costs_K))
        fold = int(cheapest_J[np.argmin(sizes_K[cheapest_J])])
        for each, count in unit.counts.items():
            of_class[each][fold] += count
        sizes_K[fold] += len(unit.members)
        numbers_N[unit.members] = fold
    return numbers_N


def _units(
    digests: Sequence[str],
    classes: Sequence[Hashable] | None,
    groups: Sequence[Hashable] | None,
    repeat: int,
) -> list[_Unit]:
    """Return the units, the one with the least key first."""
    members: dict[Hashable, list[int]] = {}
    for position, digest in enumerate(digests):
        members.setdefault(digest if groups is None else groups[position], []).append(position)
    salt = repeat.to_bytes(8, "big")
    units = []
    for unit, positions in members.items():
        contents = sorted(digests[position] for position in positions)
        least = bytes.fromhex(contents[0])
        hashed = hashlib.blake2b(least, digest_size=8, person=_PURPOSE, salt=salt).digest()
        counts = Counter(None if classes is None else classes[position] for position in positions)
        # Two groups of the same first content differ in the others, or else only in their name.
        key = (hashed, contents, str(sorted(counts.items(), key=str)), str(unit))
        units.append(_Unit(key, positions, counts))
    return sorted(units, key=lambda unit: unit.key)


def _in_order(units: Sequence[_Unit]) -> list[_Unit]:
    """Return units in the order in which they are dealt: classes in the order of their first unit, whatever they are.

    A unit of several classes stands with its commonest one, and has its classes in that order.
    """
    places: dict[Hashable, int] = {}
    for unit in units:
        for each in sorted(unit.counts, key=lambda each: (-unit.counts[each], str(each))):
            places.setdefault(each, len(places))
    ordered = []
    for unit in units:
        classes = sorted(unit.counts, key=lambda each: (-unit.counts[each], places[each]))
        squares = sum(count**2 for count in unit.counts.values())
        same = _Unit(unit.key, unit.members, {each: unit.counts[each] for each in classes})
        ordered.append(((-squares, places[classes[0]]), same))
    return [unit for _, unit in sorted(ordered, key=lambda each: each[0])]
