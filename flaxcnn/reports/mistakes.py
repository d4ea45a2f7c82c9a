"""Where a run is wrong: the worst mistakes with what they rest on, and mistakes by brightness, size and group."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from flaxcnn.data import Dataset
from flaxcnn.data.images import in_pieces
from flaxcnn.errors import FlaxcnnError
from flaxcnn.explanations.overlay import overlay
from flaxcnn.pages.html import image, text
from flaxcnn.pages.parts import Block, Part, Table, Text
from flaxcnn.pages.render import blocks
from flaxcnn.reports.material import Material
from flaxcnn.tasks import Mistakes

MOST = 18
"""Mistakes of each head that a report shows."""
_BINS = 5
_MOST_GROUPS = 10


def worst(run: Material, found: Mistakes) -> Iterator[str]:
    """Yield the worst mistakes as HTML, each image beside the map of what its answer rests on."""
    yield f"<h3>{text(_titled(found))}</h3>"
    if not len(found.worst):
        yield "<p>None.</p>"
        return
    if run.dataset is None:
        rows = [
            [f"test image {run.test.index_N[each]:,}", line] for each, line in zip(found.worst, found.said, strict=True)
        ]
        yield from blocks([Table(["image", "said"], rows)])
        return
    images = np.stack([run.dataset.test.images[int(each)] for each in found.worst])
    maps, of, why = _maps(run, images, found)
    yield f'<p>{text(why)}</p><div class="pairs">'
    names = run.dataset.test.names
    for place, (each, line) in enumerate(zip(found.worst, found.said, strict=True)):
        called = f"test image {run.test.index_N[each]:,}" if names is None else names[each]
        drawn = image(images[place], called) + (image(maps[place], f"why {of[place]}") if maps is not None else "")
        yield f'<figure class="pair"><div>{drawn}</div><figcaption>{text(line)}<br>{text(called)}</figcaption></figure>'
    yield "</div>"


def _maps(
    run: Material, images: npt.NDArray[np.uint8], found: Mistakes
) -> tuple[list[npt.NDArray[np.uint8]] | None, tuple[str, ...], str]:
    """Return the explanations as pictures, what each explains, and a sentence about them."""
    if run.trained is None:
        return None, (), "Without the model, there are no explanations."
    drawn: list[npt.NDArray[np.uint8]] = list(images)
    explained = [""] * len(images)
    wanted: Sequence[str | None] = found.of or [None] * len(images)
    for of in dict.fromkeys(wanted):
        places = [place for place, each in enumerate(wanted) if each == of]
        try:
            explanation = run.trained.explain(images[places], of=of)
        except FlaxcnnError as error:
            return None, (), f"No explanations: {error}"
        for place, map_HW, name in zip(places, explanation.maps, explanation.of, strict=True):
            drawn[place], explained[place] = overlay(images[place], map_HW, explanation.signed), name
    told = (
        f"Beside each image its Grad-CAM at {explanation.endpoint}: where features are active that speak for the"
        " answer, from dark violet, a little, to yellow. Each map has its own scale."
    )
    return drawn, tuple(explained), told


def by_properties(run: Material, found: Mistakes) -> Part | None:
    """Return how wrong a run is by brightness, size and group; None where nothing of that is known."""
    blocks: list[Block] = []
    known = np.isfinite(found.errors_N)
    if run.dataset is not None:
        brightness = brightness_of(run.dataset)
        blocks += _by(run, found, known, "brightness", brightness, "mean of all pixels, 0 to 255", 1)
        sizes = sizes_of(run.dataset)
        if sizes is not None and len(np.unique(sizes[np.isfinite(sizes)])) > 1:
            usable = known & np.isfinite(sizes)
            blocks += _by(run, found, usable, "size of the file's image", sizes, "pixels of its longer side", 0)
    if run.test.groups_N is not None:
        blocks += _by_group(run, found, known, run.test.groups_N)
    return Part(f"Mistakes by brightness, size and group{_of(found)}", blocks) if blocks else None


def _by(
    run: Material,
    found: Mistakes,
    known: npt.NDArray[np.bool_],
    name: str,
    values_N: np.ndarray,
    what: str,
    digits: int,
) -> list[Block]:
    """Return a table over fifths of the images by a property; equal values are never divided."""
    ranked = np.sort(values_N[known])
    if not len(ranked):
        return []
    edges = np.unique([ranked[len(ranked) * place // _BINS] for place in range(1, _BINS)])
    bins = np.searchsorted(edges, values_N, side="right")
    rows, bars = [], []
    most = max(float(np.mean(found.errors_N[known & (bins == each)])) for each in np.unique(bins[known]))
    for each in np.unique(bins[known]).tolist():
        inside = known & (bins == each)
        mean = float(found.errors_N[inside].mean())
        ends = f"{values_N[inside].min():,.{digits}f} to {values_N[inside].max():,.{digits}f}"
        rows.append(
            [ends, f"{inside.sum():,}", f"{mean:.4f}" if found.counted else f"{mean:.4g}", *_sure(run, found, inside)]
        )
        bars.append(mean / most if most else 0.0)
    return [Text(f"By {name} ({what}):"), Table([name, "images", found.measure, *_head(found)], rows, bars)]


def _by_group(run: Material, found: Mistakes, known: npt.NDArray[np.bool_], groups_N: np.ndarray) -> list[Block]:
    means = {int(each): float(found.errors_N[known & (groups_N == each)].mean()) for each in np.unique(groups_N[known])}
    if not means:
        return []
    order = sorted(means, key=lambda each: (-means[each], each))
    rows = [
        [f"group {each}", f"{(known & (groups_N == each)).sum():,}", f"{means[each]:.4g}"]
        for each in order[:_MOST_GROUPS]
    ]
    middle, none = np.median(list(means.values())), sum(value == 0 for value in means.values())
    told = f"Of {len(means):,} groups, {none:,} have no mistake; the median is {middle:.4g}. The worst:"
    return [Text(told), Table(["group", "images", found.measure], rows)]


def brightness_of(dataset: Dataset) -> npt.NDArray[np.float64]:
    """Return the mean of all pixels of each test image, float64 (N,), 0 to 255."""
    return np.concatenate([piece.reshape(len(piece), -1).mean(1) for piece in in_pieces(dataset.test.images)])


def sizes_of(dataset: Dataset) -> npt.NDArray[np.float64] | None:
    """Return the longer side of each test image's file in pixels, NaN where it is not known; None without files."""
    if dataset.files is None or dataset.test.names is None:
        return None
    headers = dataset.files.headers
    found = [headers.get(name) for name in dataset.test.names]
    return np.array([np.nan if each is None else max(each.width, each.height) for each in found], np.float64)


def _head(found: Mistakes) -> list[str]:
    return ["95 % interval"] if found.counted else []


def _sure(run: Material, found: Mistakes, inside: npt.NDArray[np.bool_]) -> list[str]:
    if not found.counted:
        return []
    low, high = run.interval(found.errors_N > 0, inside)
    return ["–" if np.isnan(low) else f"{low:.3f} to {high:.3f}"]


def _of(found: Mistakes) -> str:
    return f": {found.head}" if found.head else ""


def _titled(found: Mistakes) -> str:
    return ("The most confident mistakes" if found.counted else "The largest errors") + _of(found)
