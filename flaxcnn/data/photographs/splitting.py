"""Draw a test split by the content of files: stratified, whole groups, the same on every machine.

Every unit (a group, or else the copies of one file) has a hash of its content. In each class the units with the
smallest hashes are drawn, until the class has given its share. Of a set of one class the draw is that of
`flaxcnn.data.validation` but for the exact count: a file that is added moves at most one unit at the boundary.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import ConfigError

_PURPOSE = b"flaxcnn.files"  # BLAKE2's personalisation


def stratified(
    digests: Sequence[str],
    fraction: float,
    classes: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> npt.NDArray[np.bool_]:
    """Return which examples are drawn.

    Args:
        digests: of each example's content, in hex.
        fraction: of each class's examples that is drawn, more than 0 and less than 1: of a class with at least two
            units at least one unit, and never all.
        classes: each example's class; None where they have none.
        groups: what each example belongs to; None where each stands for itself.

    Returns:
        bool (N,). Examples of one group, and without groups those of equal content, are on one side.

    Raises:
        ConfigError: the fraction is out of range.

    >>> digests = [f"{number:02x}" * 8 for number in range(10)]
    >>> drawn = stratified(digests, 0.2, classes=list("aaaaabbbbb"))
    >>> int(drawn[:5].sum()), int(drawn[5:].sum())
    (1, 1)
    """
    if not 0 < fraction < 1:
        raise ConfigError("out of range", where="data.test", expected="more than 0 and less than 1", found=fraction)
    units: dict[Hashable, list[int]] = {}
    for position, digest in enumerate(digests):
        units.setdefault(digest if groups is None else groups[position], []).append(position)
    strata: dict[Hashable, list[tuple[bytes, list[int]]]] = {}
    for members in units.values():
        least = min(digests[position] for position in members)
        key = hashlib.blake2b(bytes.fromhex(least), digest_size=8, person=_PURPOSE).digest()
        stratum = None if classes is None else _commonest([classes[position] for position in members])
        strata.setdefault(stratum, []).append((key, members))
    drawn = np.zeros(len(digests), bool)
    for found in strata.values():
        found.sort(key=lambda unit: unit[0])
        wanted = fraction * sum(len(members) for _, members in found)
        taken = 0
        for _, members in found[:-1]:  # one unit at least stays
            if taken and taken + len(members) / 2 > wanted:  # the count that is nearest
                break
            drawn[members] = True
            taken += len(members)
    return drawn


def _commonest(values: Sequence[Hashable]) -> Hashable:
    return Counter(values).most_common(1)[0][0]
