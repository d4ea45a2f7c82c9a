"""The order of examples in an epoch: a pure function of (seed, epoch), equal in every process.

NumPy guarantees the streams of its bit generators across versions, but not the results of `Generator.permutation`.
The order is therefore the sort order of the raw words of Philox4x64-10, a counter-based generator that anyone can
recompute: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from collections.abc import Callable
from operator import index
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import ConfigError

_PURPOSE = int.from_bytes(b"order", "big")  # half of the key: a stream for another purpose has another one
_PICKING = int.from_bytes(b"picking", "big")
_MOST_EXAMPLES = 2**31

Order: TypeAlias = Callable[[int, int, int], npt.NDArray[np.int32]]
"""The order of an epoch from seed, epoch and the number of examples: `epoch_order` or a `BalancedOrder`."""


def epoch_order(seed: int, epoch: int, examples: int) -> npt.NDArray[np.int32]:
    """Return the positions of all examples in the order in which an epoch visits them.

    The k-th example visited is the one whose Philox word is the k-th smallest; key (seed, purpose), counter starting at
    (0, 0, 0, epoch), so that no two of (seed, epoch) share a word of their streams.

    Args:
        seed: 0 to 2**63 - 1.
        epoch: 0 to 2**63 - 1, the first being 0.
        examples: how many there are, 0 to 2**31.

    Returns:
        A permutation of 0 to examples - 1, int32 (examples,).

    Raises:
        ConfigError: an argument out of its range.
    """
    for name, value, largest in (
        ("seed", seed, 2**63 - 1),
        ("epoch", epoch, 2**63 - 1),
        ("examples", examples, _MOST_EXAMPLES),
    ):
        if not 0 <= index(value) <= largest:
            raise ConfigError("out of range", where=name, expected=f"0 to {largest}", found=value)
    # A tie, one in 2**64 for a pair, keeps the smaller position first: the result is defined whatever the words are.
    return np.argsort(_words(seed, _PURPOSE, epoch, examples), stable=True).astype(np.int32)


class BalancedOrder:
    """The order of epochs in which each class comes equally often: a pure function of (seed, epoch, labels).

    An epoch has as many examples as there are, drawn with replacement within each class: some of a frequent class are
    left out, and those of a rare one come several times.

    Args:
        labels: each example's class, integers (N,), N at least 1. A class without an example is left out.
    """

    def __init__(self, labels: npt.NDArray[np.integer]):
        self._by_class = np.argsort(labels, stable=True).astype(np.int32)
        _, self._counts = np.unique(labels, return_counts=True)
        self._starts = np.cumsum(self._counts) - self._counts

    def __call__(self, seed: int, epoch: int, examples: int) -> npt.NDArray[np.int32]:
        """Return the positions of the examples in the order in which an epoch visits them.

        The places that `epoch_order` shuffles are dealt out to the classes in turn, beginning with another class in
        each epoch, so that two classes' numbers differ by at most 1. Another stream of Philox words picks the example
        within the class: word modulo the number of its examples.

        Args:
            seed: as for `epoch_order`.
            epoch: as for `epoch_order`.
            examples: the number of labels.

        Returns:
            Positions, int32 (examples,).
        """
        classes = (epoch_order(seed, epoch, examples) + epoch % len(self._counts)) % len(self._counts)
        words = _words(seed, _PICKING, epoch, examples)
        within = (words % self._counts[classes].astype(np.uint64)).astype(np.int64)
        return self._by_class[self._starts[classes] + within]


def _words(seed: int, purpose: int, epoch: int, count: int) -> npt.NDArray[np.uint64]:
    """Return the first words of the stream of a seed, a purpose and an epoch."""
    generator = np.random.Philox(
        key=np.array([seed, purpose], np.uint64),
        counter=np.array([0, 0, 0, epoch], np.uint64),
    )
    return generator.random_raw(count)
