"""A sheet of images with their boxes, for a data set's page. Boxes and names are drawn over the pictures as SVG."""

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import ImageFiles
from flaxcnn.data.inspection.boxes import Boxes
from flaxcnn.data.inspection.examples import called
from flaxcnn.data.photographs.decoding import Shape, decode_file
from flaxcnn.data.photographs.encoded import Files
from flaxcnn.errors import DataError
from flaxcnn.pages.html import text
from flaxcnn.pages.pictures import data_uri

_PICTURES = 12
_SIDE = 320  # pixels of a picture
_LETTERS = 24  # so many fit into the width of a picture
_LONGEST = 24  # letters of a name
_COLORS = 10


def sheet(boxes: Boxes, files: ImageFiles, splits_N: npt.NDArray[np.str_]) -> list[str]:
    """Return HTML of some images with their boxes, those of each class in turn; they are decoded as they are.

    Args:
        boxes: of the files, at least one.
        files: the image files.
        splits_N: the split of each.
    """
    classes = _names(files)
    pictures = [_picture(boxes, files, file, str(splits_N[file])) for file in _chosen(boxes, len(classes))]
    shown = [picture for picture in pictures if picture is not None]
    keys = [f'<span><i class="c{n}"></i>{text(name)}</span>' for n, name in enumerate(classes)]
    return [
        f"<h3>Images with their boxes <small>{len(shown):,} of {len(np.unique(boxes.files)):,}</small></h3>",
        f'<div class="sheet">{"".join(shown)}</div>',
        f'<div class="legend">{"".join(keys)}</div>' if len(classes) <= _COLORS else "",
    ]


def _names(files: ImageFiles) -> tuple[str, ...]:
    return () if files.objects is None else files.objects.classes


def _chosen(boxes: Boxes, classes: int) -> list[int]:
    """Return files to show: of each class in turn some at even distances, until there are enough."""
    of_class = [np.unique(boxes.files[boxes.numbers == number]) for number in range(classes)]
    present = [files for files in of_class if len(files)]
    most = -(-_PICTURES // len(present)) + 1  # one more than its part, since a file may have several classes
    spread = [files[np.arange(min(most, len(files))) * len(files) // min(most, len(files))] for files in present]
    turns = [int(files[place]) for place in range(most) for files in spread if place < len(files)]
    return sorted(list(dict.fromkeys(turns))[:_PICTURES])


def _picture(boxes: Boxes, files: ImageFiles, file: int, split: str) -> str | None:
    """Return an image with its boxes and their classes; None where its file is gone, or damaged."""
    (path, info), classes = list(files.headers.items())[file], _names(files)
    scale = min(1.0, _SIDE / max(info.height, info.width))
    shape = Shape(max(1, round(info.height * scale)), max(1, round(info.width * scale)), 3, "stretch")
    try:
        pixels = decode_file(Files(files.root).read(path), shape, path)
    except DataError:
        return None
    own = np.flatnonzero(boxes.files == file)
    letter = info.width / _LETTERS
    drawn, names = [], []
    # The largest first, so that what lies within is over it.
    for k in own[np.argsort(-boxes.areas[own], kind="stable")].tolist():
        (top, left, bottom, right), number = boxes.boxes[k].tolist(), int(boxes.numbers[k])
        color = f"c{number % _COLORS}"
        size = f'width="{right - left:.1f}" height="{bottom - top:.1f}"'
        drawn.append(f'<rect class="{color}" x="{left:.1f}" y="{top:.1f}" {size}/>')
        down = min(max(top, 0) + letter, info.height - letter / 4)
        names.append(
            f'<text class="{color}" x="{left + letter / 4:.1f}" y="{down:.1f}" font-size="{letter:.1f}">'
            f"{text(classes[number], _LONGEST)}</text>"
        )
    label = text(path)
    over = f'<svg viewBox="0 0 {info.width} {info.height}" role="img" aria-label="boxes">{"".join(drawn + names)}</svg>'
    return (
        f'<figure class="boxed"><div><img src="{data_uri(pixels, _SIDE)}" alt="{label}" title="{label}"'
        f' width="{shape.width}" height="{shape.height}" loading="lazy">'
        f"{over}</div>"
        f"<figcaption>{label} · {called(split)} · {len(own):,} boxes</figcaption></figure>"
    )
