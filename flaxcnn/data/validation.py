"""Which training images are held out for validation: decided by a hash of each image's pixels alone.

So an image never changes sides: not on another machine, in another order, or when others are added or relabelled; and
copies of an image are all on one side, so that nothing is validated on what it was trained on.
"""

import hashlib
import math

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Split
from flaxcnn.data.images import Images, in_pieces
from flaxcnn.errors import ConfigError, DataError

_PURPOSE = b"flaxcnn.validate"  # BLAKE2's personalisation, 16 bytes: a hash for another purpose is independent of this


def split_validation(train: Split, fraction: float) -> tuple[Split, Split]:
    """Return the training images that stay, and those that are for validation (`validation_mask`).

    Args:
        train: the examples to divide.
        fraction: about how much goes to validation, more than 0 and less than 1. As every image is drawn by its hash,
            the count varies as that of a biased coin: of 60,000 images, 0.1 takes 6,000 with a standard deviation of
            73.

    Returns:
        Training and validation; together all the examples of `train`, each in the order it had there. Where the images
        of `train` stay on disk, so do theirs.

    Raises:
        ConfigError: the fraction is out of its range.
        DataError: one of the two would be empty.
    """
    held_out = validation_mask(train.images, fraction)
    taken = int(np.count_nonzero(held_out))
    if taken in (0, len(train)):
        raise DataError(
            "nothing left to train on" if taken else "no images for validation",
            where=f"data.validation {fraction}",
            expected="at least one image to train on and one for validation",
            found=f"{taken:,} of {len(train):,} drawn for validation",
            fix=f"choose a {'smaller' if taken else 'larger'} fraction",
        )
    training, validation = (train.choose(np.flatnonzero(side)) for side in (~held_out, held_out))
    return training, validation


def validation_mask(images_NHWC: Images, fraction: float) -> npt.NDArray[np.bool_]:
    """Return which images are for validation.

    They are those whose hash, read as a big-endian number of 64 bits, is less than `fraction` × 2**64. The hash is
    BLAKE2b (RFC 7693) of 8 bytes, with the personalisation "flaxcnn.validate", over "HEIGHT WIDTH CHANNELS" in ASCII
    digits, a line feed, and the pixels in C order. The images of a smaller fraction are among those of a larger one.

    Args:
        images_NHWC: uint8 (N, H, W, C).
        fraction: more than 0, less than 1.

    Returns:
        bool (N,).

    Raises:
        ConfigError: the fraction is out of its range.
    """
    if not 0 < fraction < 1:
        raise ConfigError("out of range", where="fraction", expected="more than 0 and less than 1", found=fraction)
    shape = " ".join(str(extent) for extent in images_NHWC.shape[1:])
    start = hashlib.blake2b(f"{shape}\n".encode("ascii"), digest_size=8, person=_PURPOSE)
    digests = bytearray()
    for piece in in_pieces(images_NHWC):
        for image in piece:
            state = start.copy()
            state.update(np.ascontiguousarray(image).data)
            digests += state.digest()
    # The product is exact, and an integer is below it where it is below the next integer up.
    return np.frombuffer(digests, ">u8") < np.uint64(math.ceil(fraction * 2**64))
