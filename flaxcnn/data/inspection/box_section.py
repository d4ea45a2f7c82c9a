"""The part of a data set's page that counts and measures its boxes: how many, how large, and where they are."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.inspection.box_sheet import sheet
from flaxcnn.data.inspection.boxes import LARGE, OVERLAPS, SMALL, Boxes, boxes_of, overlaps
from flaxcnn.data.inspection.examples import Examples, called
from flaxcnn.pages.charts import chart, heat_map, histogram, share
from flaxcnn.pages.html import text

_MOST_ROWS = 200  # of the table of classes
_BINS = 32
_CELLS = 20  # of the map of middles, in each direction


class _Part(NamedTuple):
    """The boxes with what they belong to: names of classes, each file's split, overlaps, and how many are doubled."""

    boxes: Boxes
    classes: Sequence[str]
    splits_N: npt.NDArray[np.str_]  # noqa: N815
    overlaps_K: npt.NDArray[np.float64]  # noqa: N815
    doubled: int
    crowds: int


def boxes_section(examples: Examples) -> Iterator[str]:
    """Yield the section of the boxes; nothing where nothing is annotated.

    Sizes are in pixels of the original images. Some of these are decoded once more, for pictures.
    """
    files = examples.dataset.files
    boxes = None if files is None else boxes_of(files)
    if boxes is None or files is None or files.objects is None:
        return
    numbers = examples.by_name()
    greatest, doubled = overlaps(boxes)
    part = _Part(
        boxes,
        files.objects.classes,
        np.asarray([examples.split_of(numbers[path]) for path in files.headers]),
        greatest,
        len(doubled),
        int(np.count_nonzero(files.objects.crowds_K)),
    )
    yield '<section><h2 id="boxes">Boxes</h2>'
    yield from _overview(part)
    if len(boxes.numbers):
        yield from _classes(part, examples.split_names)
        yield from _charts(part, examples.split_names)
        yield from sheet(boxes, files, part.splits_N)
    yield "</section>"


def _overview(part: _Part) -> Iterator[str]:
    boxes, images = part.boxes, len(part.splits_N)
    without = images - len(np.unique(boxes.files))
    yield f"<p>{len(boxes.numbers):,} boxes of {len(part.classes):,} classes in {images - without:,} images.</p>"
    if without:
        yield f"<p>{without:,} images have no box: they are kept, as images without objects.</p>"
    if part.crowds:
        yield f"<p>{part.crowds:,} crowds, regions of several objects, are not counted.</p>"
    if len(boxes.numbers):
        overlapping = float(np.mean(part.overlaps_K > OVERLAPS))
        yield (
            f"<p>{overlapping:.1%} of the boxes have an intersection over union of more than {OVERLAPS} with another"
            " one of their class: suppression of neighbours would take one of the two for the other."
            f" {part.doubled:,} pairs are doubled{': see the findings' if part.doubled else ''}.</p>"
        )


def _classes(part: _Part, splits: Sequence[str]) -> Iterator[str]:
    """Yield the table of classes: boxes by split, images, sizes as COCO divides them, overlaps."""
    boxes, count = part.boxes, len(part.classes)
    total_L = np.bincount(boxes.numbers, minlength=count)
    split_K = part.splits_N[boxes.files]
    heads = [*map(called, splits), "all", "images", "median side", "small", "medium", "large", "overlapping"]
    yield (
        "<p>A side is the root of a box's area in pixels of the original image. Small, medium and large are COCO's:"
        f" areas below {SMALL**0.5:.0f}² pixels, and from {LARGE**0.5:.0f}² on.</p>"
    )
    head = "".join(f'<th class="number">{text(name)}</th>' for name in heads)
    yield f'<div class="wide"><table><thead><tr><th></th>{head}<th class="fill"></th></tr></thead><tbody>'
    for number, name in list(enumerate(part.classes))[:_MOST_ROWS]:
        own = boxes.numbers == number
        counts = [int(np.count_nonzero(own & (split_K == split))) for split in splits]
        areas = boxes.areas[own]
        cells = [f'<td class="number{"" if each else " none"}">{each:,}</td>' for each in counts]
        others = [f"{total_L[number]:,}", f"{len(np.unique(boxes.files[own])):,}"]
        if len(areas):
            small, large = float(np.mean(areas < SMALL)), float(np.mean(areas >= LARGE))
            overlapping = float(np.mean(part.overlaps_K[own] > OVERLAPS))
            shares = (small, 1 - small - large, large, overlapping)
            others += [f"{np.median(np.sqrt(areas)):.0f}", *(f"{max(0.0, each):.0%}" for each in shares)]
        else:
            others += ["–"] * 5
        cells += [f'<td class="number">{each}</td>' for each in others]
        bar = share(total_L[number] / max(1, int(np.max(total_L))))
        yield f'<tr><th>{text(name)}</th>{"".join(cells)}<td class="fill">{bar}</td></tr>'
    yield "</tbody></table></div>"
    if count > _MOST_ROWS:
        yield f"<p>And {count - _MOST_ROWS:,} more.</p>"


def _charts(part: _Part, splits: Sequence[str]) -> Iterator[str]:
    boxes = part.boxes
    a_file_N = np.bincount(boxes.files, minlength=len(part.splits_N))
    most = int(np.max(a_file_N))
    charts = []
    for split in splits:
        counts = a_file_N[part.splits_N == split]
        told = f"mean {np.mean(counts):.3g}, median {np.median(counts):.3g}, most {np.max(counts):,}"
        drawn = histogram(counts, -0.5, most + 0.5, min(_BINS, most + 1))
        charts.append(chart(f"boxes an image, {called(split)}: {told}", drawn, "0", f"{most:,}"))
    sides, shares = np.sqrt(boxes.areas), np.sqrt(boxes.shares)
    ratios = boxes.sides[:, 1] / boxes.sides[:, 0]
    for title, values in (
        ("side in pixels, the root of the area", sides),
        ("side as a fraction of the image's", shares),
        ("width / height", ratios),
    ):
        low, high = float(np.min(values)), float(np.max(values))
        drawn = histogram(values, low, high, _BINS, log=True)
        charts.append(chart(f"{title}: median {np.median(values):.3g}", drawn, f"{low:.3g}", f"{high:.3g}"))
    ends = [np.linspace(0, 1, _CELLS + 1)] * 2
    middles, _, _ = np.histogram2d(boxes.middles[:, 0], boxes.middles[:, 1], ends)
    places = chart("middles of boxes, as fractions of the image", heat_map(middles.astype(np.int64)), "left", "right")
    yield f'<div class="charts">{"".join(charts)}</div><div class="charts">{places}</div>'
