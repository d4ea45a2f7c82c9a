"""Data sets from a user's arrays in memory."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset, Split, target_digests
from flaxcnn.data.given_targets import groups_of, targets_of
from flaxcnn.data.images import Images, StoredImages
from flaxcnn.data.validation import split_test
from flaxcnn.errors import ConfigError, DataError


class Examples(NamedTuple):
    """Examples as the user passed them, unchecked.

    Attributes:
        images: uint8 (N, H, W, C) or (N, H, W).
        targets: class numbers, class names, numbers or labels, or a dictionary of these.
        groups: the number or name of each example's group; None for no groups.
        names: names of the examples; None for no names.
        images_digest: `array_digest` of the images; None if unknown.
    """

    images: Any
    targets: Any
    groups: Any = None
    names: Sequence[str] | None = None
    images_digest: str | None = None


def from_arrays(
    images: Any,
    targets: Any,
    *,
    test: Any = None,
    test_fraction: float | None = None,
    groups: Any = None,
    names: Sequence[str] | None = None,
    target_names: Any = None,
    source: str = "arrays",
) -> Dataset:
    """Create a data set from arrays.

    Targets are one of

    - class numbers, integers (N,) or (N, 1), from 0;
    - class names, strings (N,): the classes are the sorted names;
    - numbers, floats (N,) or (N, T);
    - any number of labels per image, bool (N, L);
    - a dictionary of these. In it, an example may lack a target: -1 for a class number, NaN for a number, None for a
      class name.

    Args:
        images: uint8 (N, H, W, C), or (N, H, W) for one channel.
        targets: as above, arrays or lists.
        test: the test split: a mask, bool (N,), that selects test examples, or separate test examples as a tuple
            (images, targets), (images, targets, groups) or (images, targets, groups, names).
        test_fraction: instead of `test`, the approximate fraction of test examples, more than 0 and less than 1. They
            are chosen by a hash of the pixels or of the group (`flaxcnn.data.split_validation`), so the choice is
            reproducible and does not divide copies or groups.
        groups: an integer or a string per example that identifies its group (a person, a plant, a session). No group is
            divided between splits, and confidence intervals resample groups. Separate test examples share the same
            group identifiers.
        names: a name for each example, such as its file's path.
        target_names: a tuple with a name for each class, label or number; for a dictionary of targets, a dictionary of
            such tuples, which may be incomplete. Default: the class names; for a single number, the name of its target
            or "target"; else numbers, "0", "1" and so on.
        source: the name of the data set.

    Returns:
        The data set; arrays of the right type are not copied.

    Raises:
        ConfigError: neither or both of `test` and `test_fraction` are given, or the fraction is out of range.
        DataError: invalid data, such as images that are not uint8, integers that do not fit in int32, differing numbers
            of targets and images, or a group in both splits.

    >>> images = np.zeros((4, 8, 8, 3), np.uint8)
    >>> dataset = from_arrays(images, ["cat", "dog", "dog", "cat"], test=np.array([False, False, True, True]))
    >>> dataset.target_names, dataset.train.targets
    (('cat', 'dog'), array([0, 1], dtype=int32))
    """
    given = Examples(images, targets, groups, names)
    if isinstance(test, tuple):
        if not 2 <= len(test) <= 4:
            raise DataError(
                "test examples of the wrong kind",
                where=f"{source} test",
                expected="a mask, or a tuple (images, targets), (…, groups) or (…, groups, names)",
                found=f"a tuple of {len(test)}",
            )
        return assemble(source, given, Examples(*test), test_fraction, target_names)
    return assemble(source, given, None if test is None else _mask(test, f"{source} test"), test_fraction, target_names)


def assemble(
    source: str,
    given: Examples,
    test: Examples | npt.NDArray[np.bool_] | None,
    test_fraction: float | None,
    target_names: Any,
) -> Dataset:
    """Create a data set from examples and either test examples, a mask or a fraction; raises as `from_arrays`."""
    if (test is None) == (test_fraction is None):
        raise ConfigError(
            "no test examples" if test is None else "test examples given twice",
            where=f"{source} test",
            expected="test or test_fraction",
            found="neither" if test is None else "both",
        )
    parts = {"train": given, "test": test} if isinstance(test, Examples) else {"": given}
    called = [f"{source} {name}".strip() for name in parts]
    targets, target_names = targets_of(
        [part.targets for part in parts.values()], target_names, [f"{each} targets" for each in called]
    )
    groups = groups_of([part.groups for part in parts.values()], [f"{each} groups" for each in called])
    splits = [
        Split(
            images_of(part.images, f"{each} images"),
            of_part,
            of_groups,
            None if part.names is None else tuple(map(str, part.names)),
            {"images": f"{each} images", "labels": f"{each} targets"},
        )
        for part, each, of_part, of_groups in zip(parts.values(), called, targets, groups, strict=True)
    ]
    digests: dict[str, str] = {}
    if test_fraction is not None:
        train_split, test_split = split_test(splits[0], test_fraction)
    elif isinstance(test, np.ndarray):
        (whole,) = splits
        if len(test) != len(whole):
            raise DataError(
                "image and mask lengths differ", where=f"{source} test", expected=f"{len(whole)}", found=len(test)
            )
        train_split, test_split = (whole.choose(np.flatnonzero(side)) for side in (~test, test))
    else:
        train_split, test_split = splits
        for (name, part), split in zip(parts.items(), splits, strict=True):
            if part.images_digest is not None:
                digests |= {f"{name}/images": part.images_digest, **target_digests(name, split)}
    origins = {f"{name}/labels": f"{source} {name} targets" for name in ("train", "test")}
    return Dataset(source, train_split, test_split, target_names, digests, origins=origins)


def channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether a shape is (…, C, H, W) instead of (…, H, W, C): no image has a height of 1 or 3."""
    return shape[-3] in (1, 3) and shape[-1] > 4 and shape[-2] > 4


def images_of(images: Any, where: str) -> Images:
    """Return images as a data set holds them, uint8 (N, H, W, C); raises DataError where they are of another kind."""
    if isinstance(images, StoredImages):
        return images
    try:
        array = np.asarray(images)
    except ValueError as error:
        expected = "images of one size, uint8 (N, H, W, C) or (N, H, W)"
        raise DataError("not an array of images", where=where, expected=expected, found=str(error)) from error
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8, copy=False)
    check_images(array.dtype, array.shape, where)
    return array[..., None] if array.ndim == 3 else array


def check_images(dtype: np.dtype[Any], shape: tuple[int, ...], where: object) -> None:
    """Raise DataError where an array is not of images, uint8 (N, H, W, C) or (N, H, W)."""
    expected, found = "uint8 (N, H, W, C) or (N, H, W)", f"{dtype} {shape}"
    if dtype != np.uint8:
        fix = "use uint8 pixels from 0 to 255; the device converts them to floats"
        raise DataError("images of the wrong kind", where=where, expected=expected, found=found, fix=fix)
    if len(shape) not in (3, 4):
        raise DataError("images of the wrong kind", where=where, expected=expected, found=found)
    if len(shape) == 4 and channels_first(shape):
        fix = "move the channels to the end: np.moveaxis(images, 1, -1)"
        raise DataError("images with channels first", where=where, expected=expected, found=found, fix=fix)


def _mask(test: Any, where: str) -> npt.NDArray[np.bool_]:
    array = None if isinstance(test, (str, Mapping)) else np.asarray(test)
    if array is None or array.dtype != bool or array.ndim != 1:
        raise DataError(
            "test examples of the wrong kind",
            where=where,
            expected="a mask, bool (N,), or a tuple (images, targets)",
            found=type(test).__name__ if array is None else f"{array.dtype} {array.shape}",
        )
    return array
