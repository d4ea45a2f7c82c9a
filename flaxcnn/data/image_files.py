"""What is known of the image files that a data set was made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


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


class ImageFiles(NamedTuple):
    """The files of a data set.

    Attributes:
        root: the folder that they lie in.
        headers: the header of each file that is used, by its path below the root: the names of the examples.
        bad: the files that are not used, with the reason of each.
    """

    root: Path
    headers: Mapping[str, FileInfo]
    bad: Mapping[str, str]
