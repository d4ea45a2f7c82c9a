"""A data set of images whose objects are annotated by boxes, whatever file format the boxes come from."""

import os
import posixpath
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import DECODED, DIVIDED, Request
from flaxcnn.data.photographs.listing import Listing
from flaxcnn.data.photographs.objects import MOST_CLASSES, Annotated, ObjectTargets
from flaxcnn.data.photographs.prepare import prepare
from flaxcnn.data.photographs.stamps import stamps_of
from flaxcnn.errors import DataError

USES = DECODED | DIVIDED | {"target"}


class AnnotatedImage(NamedTuple):
    """An image file with its objects.

    Attributes:
        path: below the root, with forward slashes.
        annotated: its objects.
        split: "train", "validation" or "test"; None where the source divides nothing.
    """

    path: str
    annotated: Annotated
    split: str | None = None


class Annotations(NamedTuple):
    """What a source of annotated images holds.

    Attributes:
        root: the folder that all files lie in.
        images: the images, in a fixed order; either all have a split or none.
        classes: their names, by number.
        bad: what cannot be used, with the reason of each.
        notes: what the user has to know, a line each.
    """

    root: Path
    images: Sequence[AnnotatedImage]
    classes: tuple[str, ...]
    bad: dict[str, str]
    notes: tuple[str, ...] = ()


def prepare_annotated(found: Annotations, request: Request) -> Dataset:
    """Return the data set of annotated images.

    Raises:
        ConfigError: `data.target` is none of `flaxcnn.data.photographs.objects.KINDS`, or as `prepare`.
        DataError: no class or too many, an image twice, or as `prepare`.
    """
    targets = ObjectTargets(request.options.target, check_classes(found.classes, request.source))
    good, bad = usable(found, request.source)
    splits = tuple(image.split or "" for image in good.values())
    listing = Listing(
        request.source,
        found.root,
        tuple(good),
        [image.annotated for image in good.values()],
        targets.names,
        splits=splits if any(splits) else None,
        bad=bad,
        notes=(*found.notes, *_without(good.values())),
        fit_targets=targets,
    )
    return prepare(listing, request)


def usable(found: Annotations, where: object) -> tuple[dict[str, AnnotatedImage], dict[str, str]]:
    """Return the images whose files are there, by their paths, and what cannot be used, with the reason of each.

    Raises:
        DataError: an image twice.
    """
    places: dict[str, AnnotatedImage] = {}
    for image in found.images:
        path = posixpath.normpath(image.path)
        if path in places:
            what = "an image twice" if image.split == places[path].split else "an image in two splits"
            raise DataError(what, where=where, expected="each image once", found=path)
        places[path] = image
    bad = dict(found.bad)
    bad |= {
        path: stamp
        for path, stamp in zip(places, stamps_of(found.root, tuple(places)), strict=True)
        if isinstance(stamp, str)
    }
    return {path: image for path, image in places.items() if path not in bad}, bad


def _without(images: Collection[AnnotatedImage]) -> list[str]:
    """Return a line that counts the images without a box; none where there are none."""
    count = sum(not image.annotated.objects for image in images)
    return [f"{count:,} of {len(images):,} images have no box: they are kept, as images without objects"] * (count > 0)


def check_classes(names: Sequence[str], where: object) -> tuple[str, ...]:
    """Return the names of classes.

    Raises:
        DataError: there is none, there are too many, or a name is empty or stands twice.
    """
    if not 1 <= len(names) <= MOST_CLASSES:
        raise DataError("no class" if not names else "too many classes", where=where, expected=f"1 to {MOST_CLASSES:,}")
    seen: set[str] = set()
    for name in names:
        if not name.strip() or name in seen:
            what = "a class twice" if name in seen else "a class without a name"
            raise DataError(what, where=where, expected="different names", found=repr(name))
        seen.add(name)
    return tuple(names)


def missing(path: Path, expected: str) -> DataError:
    """Return the error of a source that is not there, or is of another form."""
    found = "no such file or folder" if not os.path.exists(path) else "a folder" if path.is_dir() else "a file"
    return DataError("cannot read the annotations", where=path, expected=expected, found=found)
