"""A data set's page: one HTML file that describes it and shows what may be wrong, without anything from elsewhere.

Everything that comes from files (names, classes, paths) goes through `text`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.images import channel_moments
from flaxcnn.data.inspection.box_section import boxes_section
from flaxcnn.data.inspection.contents import MOST_CLASSES, galleries
from flaxcnn.data.inspection.examples import Examples, called
from flaxcnn.data.inspection.findings import Finding, Item
from flaxcnn.data.inspection.report import counts_of
from flaxcnn.data.targets import is_classes, is_object_classes, leaves, name_leaves
from flaxcnn.pages.charts import chart, histogram, share
from flaxcnn.pages.html import document, text, tile

_MOST_ROWS = 200  # of a table of classes


def page(examples: Examples, findings: Sequence[Finding]) -> bytes:
    """Return the page of a data set, in UTF-8.

    It has no script, and refers to nothing outside itself. The images are read twice more, in pieces.

    Args:
        examples: of the data set.
        findings: what may be wrong, in the order to show.
    """
    dataset = examples.dataset
    title = text(dataset.source)
    parts = [
        f"<header><h1>{title}</h1>",
        *_overview(examples),
        "</header>",
        *_found(findings),
        *_targets(dataset),
        *boxes_section(examples),
        *_files(dataset),
        *_channels(dataset),
        *_galleries(examples),
        *(line for place, finding in enumerate(findings) for line in _finding(examples, finding, place)),
    ]
    return document(f"Data: {dataset.source}", parts)


def _overview(examples: Examples) -> Iterator[str]:
    dataset = examples.dataset
    height, width, channels = dataset.image_shape
    counts = ", ".join(f"{len(split):,} {called(name)}" for name, split in dataset.splits.items())
    kind = {1: "gray", 3: "RGB"}.get(channels, f"{channels} channels")
    yield f"<p>{len(examples):,} images of {height}×{width}, {kind}: {counts}.</p>"
    groups = [
        f"{len(np.unique(split.groups)):,} {called(name)}"
        for name, split in dataset.splits.items()
        if split.groups is not None
    ]
    if groups:
        yield f"<p>Groups: {', '.join(groups)}.</p>"
    if dataset.notes:
        yield f"<ul>{''.join(f'<li>{text(note)}</li>' for note in dataset.notes)}</ul>"


def _found(findings: Sequence[Finding]) -> Iterator[str]:
    yield '<section><h2 id="findings">Findings</h2>'
    if findings:
        rows = "".join(
            f'<tr><td class="number">{finding.count:,}</td><td><a href="#finding-{place}">{text(finding.what)}</a></td>'
            "</tr>"
            for place, finding in enumerate(findings)
        )
        yield f'<div class="wide"><table class="narrow">{rows}</table></div>'
    else:
        yield "<p>Nothing suspicious was found.</p>"
    yield "</section>"


def _targets(dataset: Dataset) -> Iterator[str]:
    for name, array, names in name_leaves(dataset.train.targets, dataset.target_names):
        arrays = {split: dict(leaves(found.targets))[name] for split, found in dataset.splits.items()}
        if is_classes(array) or (array.dtype == bool and array.ndim <= 2):
            heading = "Classes" if is_classes(array) else "Labels"
            yield f"<section><h2>{heading}{f': {text(name)}' if name else ''}</h2>"
            yield from _counts(arrays, names)
            yield "</section>"
        elif array.ndim <= 2 and not is_object_classes(name, array):  # which the section of boxes counts
            yield f"<section><h2>Numbers{f': {text(name)}' if name else ''}</h2>"
            for column, title in enumerate(names):
                columns = {split: each.reshape(len(each), -1)[:, column] for split, each in arrays.items()}
                yield from _numbers(columns, str(title))
            yield "</section>"


def _counts(arrays: dict[str, npt.NDArray[np.generic]], names: Sequence[str]) -> Iterator[str]:
    columns = {split: np.asarray(counts_of(array, len(names))) for split, array in arrays.items()}
    totals = np.sum(list(columns.values()), axis=0)
    most, least = int(np.max(totals)), int(np.min(totals))
    if most == least:
        yield "<p>All have the same number of images.</p>"
    elif least:
        yield f"<p>The most frequent has {most / least:.3g} times the images of the rarest.</p>"
    head = "".join(f'<th class="number">{text(called(split))}</th>' for split in columns)
    head += '<th class="number">all</th><th class="fill"></th>'
    yield f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>'
    for row, name in enumerate(names[:_MOST_ROWS]):
        cells = "".join(
            f'<td class="number{"" if counts[row] else " none"}">{counts[row]:,}</td>' for counts in columns.values()
        )
        bar = share(totals[row] / max(1, most))
        yield f'<tr><th>{text(name)}</th>{cells}<td class="number">{totals[row]:,}</td><td class="fill">{bar}</td></tr>'
    yield "</tbody></table></div>"
    if len(names) > _MOST_ROWS:
        yield f"<p>And {len(names) - _MOST_ROWS:,} more.</p>"


def _numbers(columns: dict[str, npt.NDArray[np.floating]], title: str) -> Iterator[str]:
    present = {split: values[np.isfinite(values)].astype(np.float64) for split, values in columns.items()}
    whole = np.concatenate(list(present.values()))
    if not len(whole):
        yield f"<h3>{text(title)}</h3><p>No example has it.</p>"
        return
    low, high = float(np.min(whole)), float(np.max(whole))
    charts = []
    for split, values in present.items():
        missing = len(columns[split]) - len(values)
        told = f"mean {np.mean(values):.4g}, median {np.median(values):.4g}" if len(values) else "none"
        told += f", {missing:,} missing" if missing else ""
        charts.append(chart(f"{called(split)}: {told}", histogram(values, low, high), f"{low:.4g}", f"{high:.4g}"))
    yield f'<h3>{text(title)}</h3><div class="charts">{"".join(charts)}</div>'


def _files(dataset: Dataset) -> Iterator[str]:
    if dataset.files is None or not dataset.files.headers:
        return
    headers = list(dataset.files.headers.values())
    formats = {name: sum(info.format == name for info in headers) for name in sorted({h.format for h in headers})}
    told = ", ".join(f"{count:,} {name}" for name, count in formats.items())
    charts = []
    sizes = {(info.width, info.height) for info in headers}
    if len(sizes) == 1:
        ((width, height),) = sizes
        yield f"<section><h2>Files</h2><p>{told}; all have {width:,}×{height:,} pixels.</p></section>"
        return
    for title, values in (
        ("width in pixels", [info.width for info in headers]),
        ("height in pixels", [info.height for info in headers]),
        ("width / height", [info.width / info.height for info in headers]),
    ):
        low, high = min(values), max(values)
        median = f"{title}: median {np.median(values):.4g}"
        bars = histogram(values, low, high, log=title.endswith("height"))
        charts.append(chart(median, bars, f"{low:.4g}", f"{high:.4g}"))
    yield f"<section><h2>Files</h2><p>{told}; {len(sizes):,} sizes.</p>"
    yield f'<div class="charts">{"".join(charts)}</div></section>'


def _channels(dataset: Dataset) -> Iterator[str]:
    channels = dataset.image_shape[2]
    names = {1: ("gray",), 3: ("red", "green", "blue")}.get(channels, tuple(map(str, range(channels))))
    head = "".join(f'<th class="number">{name}</th>' for name in names)
    yield "<section><h2>Channels</h2><p>Mean ± standard deviation over all pixels, scaled to 0 to 1.</p>"
    yield f'<div class="wide"><table class="narrow"><thead><tr><th></th>{head}</tr></thead><tbody>'
    for name, split in dataset.splits.items():
        cells = "".join(
            f'<td class="number">{mean:.3f} ± {deviation:.3f}</td>'
            for mean, deviation in zip(*channel_moments(split.images), strict=True)
        )
        yield f"<tr><th>{called(name)}</th>{cells}</tr>"
    yield "</tbody></table></div></section>"


def _galleries(examples: Examples) -> Iterator[str]:
    found, total = galleries(examples)
    yield "<section><h2>Examples</h2><p>The first picture of each row is the mean of all images of the class.</p>"
    if total > MOST_CLASSES:
        yield f"<p>The first {MOST_CLASSES} of {total:,} classes.</p>"
    for gallery in found:
        yield f"<h3>{text(gallery.name)} <small>{gallery.images:,} images</small></h3>"
        mean = "" if gallery.mean is None else tile(gallery.mean, "mean")
        tiles = "".join(_example(examples, number, plain=True) for number in gallery.examples)
        yield f'<div class="tiles">{mean}{tiles}</div>'
    yield "</section>"


def _finding(examples: Examples, finding: Finding, place: int) -> Iterator[str]:
    what = finding.what[:1].upper() + finding.what[1:]
    yield f'<section><h2 id="finding-{place}">{text(what)} <small>{finding.count:,}</small></h2>'
    yield f"<p>{text(finding.advice)}</p>"
    if any(item.examples for item in finding.items):
        yield f'<div class="cases">{"".join(_case(examples, item) for item in finding.items)}</div>'
    else:
        yield f"<ul>{''.join(f'<li>{text(item.text)}</li>' for item in finding.items)}</ul>"
    if finding.count > len(finding.items):
        yield f"<p>{len(finding.items):,} are shown.</p>"
    yield '<p><a href="#findings">All findings</a></p></section>'


def _case(examples: Examples, item: Item) -> str:
    tiles = "".join(_example(examples, number) for number in item.examples)
    return f'<div class="case"><div class="tiles">{tiles}</div><p>{text(item.text)}</p></div>'


def _example(examples: Examples, number: int, plain: bool = False) -> str:
    """Return an example's picture, with its target and split; `plain` without the target."""
    split = called(examples.split_of(number))
    caption = split if plain else f"{examples.target_of(number)} · {split}"
    return tile(examples.pixels_of(number), caption, examples.name_of(number))
