"""What a source lists before a pixel is decoded: files below a root, each with its targets, group and split."""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import FileInfo, FileObjects
from flaxcnn.data.options import OnBad
from flaxcnn.data.photographs.decoding import Shape
from flaxcnn.errors import DataError

if TYPE_CHECKING:
    from flaxcnn.data.photographs.encoded import Encoded
    from flaxcnn.data.photographs.remembered import Scanned

_LISTED = 10  # bad files that an error names
_MISSING = os.strerror(errno.ENOENT).lower()  # the reason of a file that is not there


class Fitted(NamedTuple):
    """Targets of fitted images.

    Attributes:
        targets: as `flaxcnn.data.Split` holds them.
        bad: positions of the files whose targets are none, with the reason of each.
        notes: what the user has to know of them, a line each.
        objects: what is annotated in the files, before it is fitted; nothing of those whose targets are none.
    """

    targets: Any
    bad: Mapping[int, str]
    notes: tuple[str, ...] = ()
    objects: FileObjects | None = None


class FitTargets(Protocol):
    """Makes targets of what is known of each file, where they depend on how its image is fitted."""

    def __call__(self, known: Sequence[Any], infos: Sequence[FileInfo], shape: Shape) -> Fitted:
        """Return the targets of files, by what `Listing.targets` holds of each and what its header says."""


class Decodable(Protocol):
    """Images that are decoded to one size.

    Attributes:
        shape: (N, H, W, C).
        decoder: what decodes them, with its version.
        units: positions that are decoded together, such as the frames of a video.
    """

    shape: tuple[int, int, int, int]
    decoder: str

    @property
    def units(self) -> Sequence[Sequence[int]]: ...  # noqa: D102

    def file(self, position: int) -> str:
        """Return the path of the file that an image is in."""

    def decode(self, positions: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield the images of a unit, each with its position; raises DataError where the file is damaged."""


class Examples(Protocol):
    """Reads examples that are no image files of their own.

    Attributes:
        count: of the files that they lie in.
    """

    count: int

    def scan(self, names: Sequence[str]) -> "list[Scanned]":
        """Return what each is."""

    def images(self, names: Sequence[str], shape: Shape) -> Decodable:
        """Return their images, to be decoded to one size."""


@dataclass(frozen=True)
class Listing:
    """Image files with what is known of them, in a fixed order.

    Attributes:
        source: the data set's name.
        root: the folder that all files lie in.
        paths: each file's path below the root, with forward slashes.
        targets: what `flaxcnn.data.from_arrays` takes for as many examples: class names, numbers, labels, or a
            dictionary of these. With `fit_targets`, what it takes for each file.
        target_names: their names, as `from_arrays` takes them; None for its default.
        groups: a number or name for each file; None for no groups.
        splits: "train", "validation" or "test" for each file; None where the source divides nothing.
        bad: files that cannot be used, with the reason of each; they are not among `paths`.
        notes: what the user has to know of how the files were understood, a line each.
        encoded: reads the images by their paths, where they are no files; None for files below the root.
        examples: reads what `paths` names, where that are no image files; None for image files.
        fit_targets: makes the targets, once it is known what the images are fitted to; None where they are there.
    """

    source: str
    root: Path
    paths: tuple[str, ...]
    targets: Any
    target_names: Any = None
    groups: Sequence[Any] | None = None
    splits: tuple[str, ...] | None = None
    bad: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    encoded: "Encoded | None" = None
    examples: Examples | None = None
    fit_targets: FitTargets | None = None


def refuse_bad(
    bad: Mapping[str, str],
    count: int,
    on_bad: OnBad,
    where: str,
    noun: str = "files",
    expected: str = "files that can be decoded",
) -> str | None:
    """Refuse files that cannot be used, or say in a line how many are skipped.

    Args:
        bad: path -> reason.
        count: how many files there are in all.
        on_bad: what to do.
        where: the data set's name.
        noun: what they are.
        expected: of each.

    Returns:
        The line; None where nothing is bad.

    Raises:
        DataError: something is bad, and `on_bad` is "error".
    """
    if not bad:
        return None
    told = _told(bad)
    if on_bad == "skip":
        return f"{where}: {len(bad):,} of {count:,} {noun} skipped: {told}"
    missing = set(bad.values()) == {_MISSING}
    way = "check the paths, and the folder in which they begin" if missing else "repair or remove them"
    raise DataError(
        f"{len(bad):,} of {count:,} {noun} cannot be used",
        where=where,
        expected=expected,
        found=told,
        fix=f"{way}, or leave them out with --data.on_bad skip",
    )


def _told(bad: Mapping[str, str]) -> str:
    """Return the first bad files with the reason of each; a reason that all have stands once."""
    names = sorted(bad)
    shown, more = names[:_LISTED], f"and {len(bad) - _LISTED:,} more"
    if len(names) > 1 and len(set(bad.values())) == 1:
        listed = f"{bad[names[0]]}: {', '.join(shown)}"
        return listed if len(shown) == len(names) else f"{listed} {more}"
    return "; ".join([*(f"{name}: {bad[name]}" for name in shown), *([more] if len(shown) < len(names) else [])])


def keep(listing: Listing, kept: Sequence[int]) -> Listing:
    """Return a listing of some of the files, by position."""

    def chosen(values: Any) -> Any:
        if isinstance(values, Mapping):
            return {key: chosen(below) for key, below in values.items()}
        return values[list(kept)] if hasattr(values, "dtype") else [values[position] for position in kept]

    return replace(
        listing,
        paths=tuple(listing.paths[position] for position in kept),
        targets=chosen(listing.targets),
        groups=None if listing.groups is None else chosen(listing.groups),
        splits=None if listing.splits is None else tuple(listing.splits[position] for position in kept),
    )
