"""Tell boxes that are written in another order, or in another unit, than their format has.

One such box is a slip, and its image cannot be used. Where most boxes of a file are so, the file was written by a tool
with other habits: each box by itself may look sound, and only all of them together show it.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import DataError

_BEYOND, _PIXEL = 0.01, 1.0  # of a side, and pixels, by which rounded coordinates may reach out of an image
_MOST, _NEARLY_ALL = 0.5, 0.95


def refuse_corners(
    given_K4: npt.NDArray[np.float64],
    sides_K4: npt.NDArray[np.float64],
    sizes_K2: npt.NDArray[np.float64],
    name: Callable[[int], str],
    where: object,
    expected: str,
) -> None:
    """Refuse boxes that are two corners, x0 y0 x1 y1, where a format has a place and a width and height.

    They are refused where more than half of them would reach out of their images, and nearly all would lie within as
    corners.

    Args:
        given_K4: the four numbers of each box, in their order.
        sides_K4: x0, y0, x1 and y1 of each box, as the format has it.
        sizes_K2: width and height of each box's image.
        name: returns what to call a box in an error, by its place.
        where: the file.
        expected: what the format has.

    Raises:
        DataError: they are corners.
    """
    if not len(given_K4):
        return
    room_K2 = sizes_K2 * _BEYOND + np.where(sizes_K2 > 1, _PIXEL, 0)
    beyond_K = ((sides_K4[:, 2:] > sizes_K2 + room_K2) | (sides_K4[:, :2] < -room_K2)).any(axis=1)
    within_K = (given_K4[:, :2] >= -room_K2).all(axis=1) & (given_K4[:, 2:] <= sizes_K2 + room_K2).all(axis=1)
    corners_K = (given_K4[:, 2:] > given_K4[:, :2]).all(axis=1) & within_K
    if np.mean(beyond_K) <= _MOST or np.mean(corners_K) < _NEARLY_ALL:
        return
    first = int(np.argmax(beyond_K & corners_K))
    raise DataError(
        f"boxes that look like two corners: {np.mean(beyond_K):.0%} of {len(beyond_K):,} reach out of their image",
        where=where,
        expected=expected,
        found=name(first),
        fix="write the width x1 - x0 and the height y1 - y0 instead of x1 and y1",
    )


def refuse_fractions(sides_K4: npt.NDArray[np.float64], name: Callable[[int], str], where: object) -> None:
    """Refuse boxes that are fractions of their images where a format has pixels.

    They are refused where more than half of them lie within the first pixel, and not on its edges.

    Args:
        sides_K4: the coordinates of each box's sides.
        name: returns what to call a box in an error, by its place.
        where: the file, or the folder.

    Raises:
        DataError: they are fractions.
    """
    within_K = ((sides_K4 >= 0) & (sides_K4 <= 1)).all(axis=1) & (sides_K4 != np.round(sides_K4)).any(axis=1)
    if len(within_K) and np.mean(within_K) > _MOST:
        raise DataError(
            f"boxes that look like fractions: {np.mean(within_K):.0%} of {len(within_K):,} lie within one pixel",
            where=where,
            expected="pixels",
            found=name(int(np.argmax(within_K))),
            fix="multiply them by the width and the height of their image",
        )
