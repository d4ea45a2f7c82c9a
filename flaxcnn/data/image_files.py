"""What is known of the image files that a data set was made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class FileInfo(NamedTuple):
    """What an image file's header says.

    Attributes:
        format: such as "JPEG" (`flaxcnn.data.photographs.decoding.FORMATS`).
        height, width: in pixels, upright.
        gray: whether it has no colour: one channel, or a palette of grays alone.
        bits: of a channel, 8 or 16.
    """

    format: str
    height: int
    width: int
    gray: bool
    bits: int


class FileObjects(NamedTuple):
    """The objects that are annotated in image files, those of a file behind each other.

    Attributes:
        classes: their names, by number.
        counts_N: how many each file has, int64 (N,), in the order of `ImageFiles.headers`.
        boxes_K4: float64 (K, 4), y0, x0, y1, x1 in pixels of the upright image, as they are annotated: a box may reach
            out of it.
        numbers_K: of each one's class, int32 (K,).
        crowds_K: whether each is a region of several objects that nobody counted, bool (K,).
    """

    classes: tuple[str, ...]
    counts_N: npt.NDArray[np.int64]  # noqa: N815
    boxes_K4: npt.NDArray[np.float64]  # noqa: N815
    numbers_K: npt.NDArray[np.int32]  # noqa: N815
    crowds_K: npt.NDArray[np.bool_]  # noqa: N815

    def choose(self, positions: Sequence[int]) -> "FileObjects":
        """Return what is annotated in some of the files, by their places, in ascending order."""
        chosen_N = np.zeros(len(self.counts_N), np.bool_)
        chosen_N[list(positions)] = True
        kept_K = np.repeat(chosen_N, self.counts_N)
        arrays = (self.boxes_K4[kept_K], self.numbers_K[kept_K], self.crowds_K[kept_K])
        return FileObjects(self.classes, self.counts_N[chosen_N], *arrays)


class ImageFiles(NamedTuple):
    """The files of a data set.

    Attributes:
        root: the folder that they lie in.
        headers: the header of each file that is used, by its path below the root: the names of the examples.
        bad: the files that are not used, with the reason of each.
        objects: what is annotated in them; None where nothing is.
    """

    root: Path
    headers: Mapping[str, FileInfo]
    bad: Mapping[str, str]
    objects: FileObjects | None = None
