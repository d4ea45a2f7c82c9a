"""Find odd boxes: those that reach out of their image, those that are annotated twice, those of less than a pixel."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import ImageFiles
from flaxcnn.data.inspection.boxes import DOUBLED, Boxes, boxes_of, overlaps
from flaxcnn.data.inspection.file_checks import Odd
from flaxcnn.data.photographs.decoding import Area
from flaxcnn.data.photographs.objects import box_text

_PIXEL = 1.0  # by which a rounded box may reach out


def odd_boxes(files: ImageFiles) -> Iterator[Odd]:
    """Yield each kind of odd box that there is. Boxes of a file count from 1, in the order of its annotations.

    A box is doubled where another one of its class has an intersection over union of 0.95 or more with it.
    """
    boxes = boxes_of(files)
    if boxes is None or files.objects is None:
        return
    given = files.objects.boxes_K4[~files.objects.crowds_K]
    beyond = (given[:, :2] < -_PIXEL) | (given[:, 2:] > boxes.sizes + _PIXEL)
    tiny = np.flatnonzero((boxes.sides < _PIXEL).any(axis=1)).tolist()
    paths, classes = list(files.headers), files.objects.classes
    _, doubled = overlaps(boxes)
    for what, advice, found in (
        (
            "boxes that reach out of their image",
            "They are clipped to it. Where there are many, they may be of another image, or in another unit.",
            [
                (_path(boxes, paths, k), _described(boxes, classes, k, given[k]))
                for k in np.flatnonzero(beyond.any(axis=1)).tolist()
            ],
        ),
        (
            "doubled boxes",
            f"Two boxes of a class with an intersection over union of {DOUBLED} or more: one object, annotated twice."
            " Remove one of the two: a detector is punished for finding it once.",
            [
                (
                    _path(boxes, paths, one),
                    f"{_described(boxes, classes, one)}, and {_described(boxes, classes, other)}",
                )
                for one, other, _ in doubled
            ],
        ),
        (
            "boxes of less than a pixel",
            "A click without a drag, or fractions of the image where pixels belong.",
            [(_path(boxes, paths, k), _described(boxes, classes, k)) for k in tiny],
        ),
    ):
        if found:
            yield what, advice, found


def _path(boxes: Boxes, paths: list[str], number: int) -> str:
    return paths[int(boxes.files[number])]


def _described(
    boxes: Boxes, classes: tuple[str, ...], number: int, given: npt.NDArray[np.float64] | None = None
) -> str:
    """Return a box as text: which of its file, of what class, where; `given` in the place of the clipped box."""
    sides = boxes.boxes[number] if given is None else given
    return f"box {boxes.places[number]}, {classes[boxes.numbers[number]]}, {box_text(Area(*sides.tolist()))}"
