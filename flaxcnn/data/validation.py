"""Choose the images to hold out, for validation or as a test split, by a hash of their pixels.

An image therefore stays on the same side on every machine, in any order, and when other images are added or relabelled.
Copies of an image are on the same side, so validation never uses a training image.

If examples have groups, each group goes to one side as a whole, by a hash of the smallest hash of its images. The
result does not depend on group numbers, the order of examples, or other groups. Large and small groups are equally
likely to be held out. A group stays on its side when images are added to it, unless one of them has the smallest hash.
Copies of an image in two groups may be on different sides, because the groups define which images belong together.
"""

import hashlib
import math

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Split
from flaxcnn.data.images import Images, in_pieces
from flaxcnn.errors import ConfigError, DataError

# BLAKE2's personalisations, at most 16 bytes: the hashes for different purposes are independent.
_IMAGES = {"validation": b"flaxcnn.validate", "test": b"flaxcnn.test"}
_GROUPS = {"validation": b"flaxcnn.vgroup", "test": b"flaxcnn.tgroup"}


def split_validation(train: Split, fraction: float) -> tuple[Split, Split]:
    """Return the training images that stay, and those that are for validation (`validation_mask`), whole groups each.

    Args:
        train: the examples to divide.
        fraction: about how much goes to validation, more than 0 and less than 1. As every image is drawn by its hash,
            the count varies as that of a biased coin: of 60,000 images, 0.1 takes 6,000 with a standard deviation of
            73. Of groups it is the groups that are drawn.

    Returns:
        Training and validation; together all the examples of `train`, each in the order it had there. Where the images
        of `train` stay on disk, so do theirs.

    Raises:
        ConfigError: the fraction is out of its range.
        DataError: one of the two would be empty.
    """
    return _divide(train, validation_mask(train.images, fraction, train.groups), f"data.validation {fraction}")


def split_test(examples: Split, fraction: float) -> tuple[Split, Split]:
    """Return the examples to train on, and those drawn as the test split.

    They are drawn as by `split_validation`, by a hash that is independent of its: a validation split of what stays
    takes its own fraction of that.

    Args:
        examples: the examples to divide.
        fraction: about how much goes to the test split, more than 0 and less than 1; of groups, of the groups.

    Raises:
        ConfigError: the fraction is out of its range.
        DataError: one of the two would be empty.
    """
    held_out = _drawn(examples.images, fraction, examples.groups, "test")
    return _divide(examples, held_out, f"test_fraction {fraction}", "test")


def _divide(
    examples: Split, held_out: npt.NDArray[np.bool_], where: str, purpose: str = "validation"
) -> tuple[Split, Split]:
    taken = int(np.count_nonzero(held_out))
    if taken in (0, len(examples)):
        groups = "" if examples.groups is None else f", of {len(np.unique(examples.groups)):,} groups"
        raise DataError(
            "nothing left to train on" if taken else f"no images for {purpose}",
            where=where,
            expected=f"at least one image to train on and one for {purpose}",
            found=f"{taken:,} of {len(examples):,} drawn for {purpose}{groups}",
            fix=f"choose a {'smaller' if taken else 'larger'} fraction",
        )
    training, other = (examples.choose(np.flatnonzero(side)) for side in (~held_out, held_out))
    return training, other


def validation_mask(
    images_NHWC: Images, fraction: float, groups_N: npt.NDArray[np.int32] | None = None
) -> npt.NDArray[np.bool_]:
    """Return which images are for validation.

    They are those whose hash, read as a big-endian number of 64 bits, is less than `fraction` × 2**64. The hash is
    BLAKE2b (RFC 7693) of 8 bytes, with the personalisation "flaxcnn.validate", over "HEIGHT WIDTH CHANNELS" in ASCII
    digits, a line feed, and the pixels in C order. The images of a smaller fraction are among those of a larger one.

    With groups, the number that is compared is the group's: the hash of 8 bytes, with the personalisation
    "flaxcnn.vgroup", over the smallest of the hashes of its images, as 8 bytes, big-endian.

    Args:
        images_NHWC: uint8 (N, H, W, C).
        fraction: more than 0, less than 1.
        groups_N: int32 (N,); None where each image stands for itself.

    Returns:
        bool (N,).

    Raises:
        ConfigError: the fraction is out of its range.
    """
    return _drawn(images_NHWC, fraction, groups_N, "validation")


def _drawn(
    images_NHWC: Images, fraction: float, groups_N: npt.NDArray[np.int32] | None, purpose: str
) -> npt.NDArray[np.bool_]:
    if not 0 < fraction < 1:
        raise ConfigError("out of range", where="fraction", expected="more than 0 and less than 1", found=fraction)
    hashes_N = _image_hashes(images_NHWC, _IMAGES[purpose])
    if groups_N is not None:
        hashes_N = _group_hashes(hashes_N, groups_N, _GROUPS[purpose])
    # The product is exact, and an integer is below it where it is below the next integer up.
    return hashes_N < np.uint64(math.ceil(fraction * 2**64))


def _image_hashes(images_NHWC: Images, purpose: bytes) -> npt.NDArray[np.uint64]:
    shape = " ".join(str(extent) for extent in images_NHWC.shape[1:])
    start = hashlib.blake2b(f"{shape}\n".encode("ascii"), digest_size=8, person=purpose)
    digests = bytearray()
    for piece in in_pieces(images_NHWC):
        for image in piece:
            state = start.copy()
            state.update(np.ascontiguousarray(image).data)
            digests += state.digest()
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def _group_hashes(
    hashes_N: npt.NDArray[np.uint64], groups_N: npt.NDArray[np.int32], purpose: bytes
) -> npt.NDArray[np.uint64]:
    """Return for each image the hash of its group."""
    numbers_G, members_N = np.unique(groups_N, return_inverse=True)
    smallest_G = np.full(len(numbers_G), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest_G, members_N, hashes_N)
    digests = b"".join(
        hashlib.blake2b(smallest.to_bytes(8, "big"), digest_size=8, person=purpose).digest()
        for smallest in smallest_G.tolist()
    )
    return np.frombuffer(digests, ">u8").astype(np.uint64)[members_N]
