"""The order of examples in an epoch: a pure function of (seed, epoch), equal in every process.

NumPy guarantees the streams of its bit generators across versions, but not the results of `Generator.permutation`.
The order is therefore the sort order of the raw words of Philox4x64-10, a counter-based generator that anyone can
recompute: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from operator import index

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import ConfigError

_PURPOSE = int.from_bytes(b"order", "big")  # half of the key: a stream for another purpose has another one
_MOST_EXAMPLES = 2**31


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
    generator = np.random.Philox(
        key=np.array([seed, _PURPOSE], np.uint64),
        counter=np.array([0, 0, 0, epoch], np.uint64),
    )
    # A tie, one in 2**64 for a pair, keeps the smaller position first: the result is defined whatever the words are.
    return np.argsort(generator.random_raw(examples), stable=True).astype(np.int32)
