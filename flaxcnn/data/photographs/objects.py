"""Targets of what is annotated by boxes: the boxes themselves, which classes an image has, or how many objects.

Targets say what the fitted image shows: a box moves with the pixels and is clipped to them, and an object whose centre
is cropped away is left out, as SSD does when it crops (https://arxiv.org/abs/1512.02325, section 2.2).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import FileInfo, FileObjects
from flaxcnn.data.photographs.decoding import Area, Placement, Shape, placement, scale_of
from flaxcnn.data.photographs.listing import Fitted
from flaxcnn.errors import ConfigError

KINDS = ("labels", "boxes", "counts", "count")
"""What `data.target` may be for annotated images; the first is the default."""
FRACTIONS = (1, 1)
"""The size of an image whose boxes are fractions of its height and width."""

MOST_OBJECTS = 10_000
"""Objects of an image, at most: boxes take as much memory in each image as in the fullest."""
MOST_CLASSES = 10_000


class Object(NamedTuple):
    """One object of an image.

    Attributes:
        number: of its class.
        box: in pixels of the upright image, or in fractions of it.
        crowd: whether it is a region of several objects that nobody counted.
    """

    number: int
    box: Area
    crowd: bool = False


class Annotated(NamedTuple):
    """What is annotated of one image.

    Attributes:
        objects: its objects, in the file's order.
        size: height and width of the image that was annotated, or `FRACTIONS`; None where it is not said.
    """

    objects: tuple[Object, ...]
    size: tuple[int, int] | None = None


class ObjectTargets:
    """Makes the targets of annotated images, one `Annotated` each (`flaxcnn.data.photographs.listing.FitTargets`).

    Args:
        kinds: of `KINDS`; () for the first. Several become a dictionary, with the kind as the key.
        classes: their names, by number.

    Raises:
        ConfigError: there is no such kind.
    """

    def __init__(self, kinds: Sequence[str], classes: Sequence[str]):
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            expected = " or ".join(KINDS)
            raise ConfigError("no target of annotated images", where="data.target", expected=expected, found=unknown[0])
        self._kinds, self._classes = tuple(kinds) or KINDS[:1], tuple(classes)

    @property
    def names(self) -> Any:
        """The targets' names, as `flaxcnn.data.Dataset` takes them."""
        names: dict[str, tuple[str, ...]] = {}
        for kind in self._kinds:
            if kind == "boxes":
                names |= {"boxes": ("y0", "x0", "y1", "x1"), "classes": self._classes, "scale": ("scale",)}
            else:
                names[kind] = ("count",) if kind == "count" else self._classes
        return names if len(names) > 1 else names[self._kinds[0]]

    def __call__(self, known: Sequence[Annotated], infos: Sequence[FileInfo], shape: Shape) -> Fitted:
        """Return the targets of fitted images, what is wrong with some, and how many objects are not in them."""
        bad: dict[int, str] = {}
        shown: list[list[Object]] = []
        given: list[list[Object]] = []
        cut = objects = crowds = 0
        for position, (each, info) in enumerate(zip(known, infos, strict=True)):
            original = in_pixels(each, info)
            moved = original if isinstance(original, str) else _moved(original, info, shape)
            if isinstance(original, str) or isinstance(moved, str):
                bad[position] = str(moved)
                original, moved = [], []
            cut += len(original) - len(moved)
            objects += len(original)
            crowds += sum(one.crowd for one in moved)
            shown.append(moved)
            given.append(original)
        notes = []
        if cut:
            notes.append(
                f"{cut:,} of {objects:,} objects are left out: their centre is outside of what {shape.fit} keeps;"
                " --data.fit letterbox keeps all"
            )
        if crowds:
            notes.append(f"{crowds:,} crowds, regions of several objects, are in no box and no count, but in labels")
        scales_N = np.asarray([scale_of(info.height, info.width, shape) for info in infos], np.float32)
        made: dict[str, Any] = {}
        for kind in self._kinds:
            made |= {kind: self._counted(kind, shown)} if kind != "boxes" else {**_boxes(shown), "scale": scales_N}
        targets = made if len(made) > 1 else made[self._kinds[0]]
        return Fitted(targets, bad, tuple(notes), self._gathered(given))

    def _gathered(self, given: Sequence[Sequence[Object]]) -> FileObjects:
        """Return objects as arrays."""
        every = [one for each in given for one in each]
        return FileObjects(
            self._classes,
            np.asarray([len(each) for each in given], np.int64),
            np.asarray([one.box for one in every], np.float64).reshape(-1, 4),
            np.asarray([one.number for one in every], np.int32),
            np.asarray([one.crowd for one in every], np.bool_),
        )

    def _counted(self, kind: str, shown: Sequence[Sequence[Object]]) -> npt.NDArray[Any]:
        if kind == "count":
            return np.asarray([sum(not one.crowd for one in each) for each in shown], np.float32)
        counts: npt.NDArray[Any] = np.zeros(
            (len(shown), len(self._classes)), np.bool_ if kind == "labels" else np.float32
        )
        for position, each in enumerate(shown):
            for one in each:
                if kind == "labels":
                    counts[position, one.number] = True
                elif not one.crowd:
                    counts[position, one.number] += 1
        return counts


def _boxes(shown: Sequence[Sequence[Object]]) -> dict[str, npt.NDArray[Any]]:
    """Return "boxes", float32 (N, M, 4) as y0, x0, y1, x1, and "classes", int32 (N, M)."""
    counted = [[one for one in each if not one.crowd] for each in shown]
    most = max(1, *map(len, counted)) if counted else 1
    boxes = np.full((len(counted), most, 4), np.nan, np.float32)
    classes = np.full((len(counted), most), -1, np.int32)
    for position, each in enumerate(counted):
        if each:
            boxes[position, : len(each)] = [one.box for one in each]
            classes[position, : len(each)] = [one.number for one in each]
    return {"boxes": boxes, "classes": classes}


def in_pixels(annotated: Annotated, info: FileInfo) -> list[Object] | str:
    """Return the objects of an image in pixels of the upright image; or what is wrong with one of them.

    A box may reach out of the image; some of it lies within.
    """
    size = (info.height, info.width)
    if annotated.size is not None and annotated.size not in (FRACTIONS, size):
        return f"annotated as {annotated.size[0]}×{annotated.size[1]}, but {size[0]}×{size[1]} upright"
    if len(annotated.objects) > MOST_OBJECTS:
        return f"more than {MOST_OBJECTS:,} objects ({len(annotated.objects):,})"
    down, across = size if annotated.size == FRACTIONS else (1, 1)
    found = []
    for place, one in enumerate(annotated.objects, start=1):
        top, left, bottom, right = one.box
        if not (-math.inf < top < bottom < math.inf and -math.inf < left < right < math.inf):
            return f"a box of no extent (box {place}: {box_text(one.box)})"
        if down != 1 or across != 1:
            top, left, bottom, right = top * down, left * across, bottom * down, right * across
            one = one._replace(box=Area(top, left, bottom, right))
        if bottom <= 0 or right <= 0 or top >= info.height or left >= info.width:
            return f"a box outside the image (box {place}: {box_text(annotated.objects[place - 1].box)})"
        found.append(one)
    return found


def clipped(box: Area, info: FileInfo) -> Area | None:
    """Return what of a box lies in an image, both in pixels; None for nothing."""
    if box.top >= 0 and box.left >= 0 and box.bottom <= info.height and box.right <= info.width:
        return box
    top, bottom = (min(max(0.0, side), info.height) for side in (box.top, box.bottom))
    left, right = (min(max(0.0, side), info.width) for side in (box.left, box.right))
    return Area(top, left, bottom, right) if top < bottom and left < right else None


def _moved(objects: Sequence[Object], info: FileInfo, shape: Shape) -> list[Object] | str:
    """Return those of an image's objects that a fitted image shows, in its pixels; or what is wrong with one."""
    placed = placement(info.height, info.width, shape)
    moved = []
    for place, one in enumerate(objects, start=1):
        box = clipped(one.box, info)
        area = None if box is None else _shown(box, placed)
        if area is not None:
            if not (np.float32(area.top) < np.float32(area.bottom) and np.float32(area.left) < np.float32(area.right)):
                return f"a box of no extent (box {place}: {box_text(one.box)})"
            moved.append(one._replace(box=area))
    return moved


def _shown(box: Area, placed: Placement) -> Area | None:
    """Return a box in the fitted image, clipped to what it shows; None where its centre is not shown."""
    taken, shown = placed
    if not (
        taken.top <= (box.top + box.bottom) / 2 <= taken.bottom
        and taken.left <= (box.left + box.right) / 2 <= taken.right
    ):
        return None
    down, across = shown.height / taken.height, shown.width / taken.width
    return Area(
        shown.top + max(0.0, (box.top - taken.top) * down),
        shown.left + max(0.0, (box.left - taken.left) * across),
        min(shown.bottom, shown.top + (box.bottom - taken.top) * down),
        min(shown.right, shown.left + (box.right - taken.left) * across),
    )


def box_text(box: Area) -> str:
    """Return a box as text, such as "y 5 to 15, x 10 to 30"."""
    return f"y {box.top:.6g} to {box.bottom:.6g}, x {box.left:.6g} to {box.right:.6g}"
