"""What may be wrong with a data set: unreadable and odd files, duplicates, series, classes with too few images.

A finding says what was found, how often, what to do, and shows examples. It is a doubt for a person to look at, and
nothing is changed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.images import in_pieces
from flaxcnn.data.inspection.box_checks import odd_boxes
from flaxcnn.data.inspection.duplicates import image_digests
from flaxcnn.data.inspection.examples import Examples
from flaxcnn.data.inspection.file_checks import odd_files
from flaxcnn.data.inspection.perceptual import near_pairs
from flaxcnn.data.inspection.report import counts_of
from flaxcnn.data.inspection.series import find_series
from flaxcnn.data.inspection.signatures import Signatures, signatures
from flaxcnn.data.targets import is_classes, is_object_classes, name_leaves
from flaxcnn.errors import printable

MOST_ITEMS = 48
"""Examples of a finding that are kept; the others are counted."""

_ONE_COLOUR = 4  # gray levels between the darkest and the brightest pixel of each channel, at most
_READ = "Look at them. Remove one of each pair, or give what belongs together one group."


@dataclass(frozen=True)
class Item:
    """One case of a finding.

    Attributes:
        text: what was found here, such as a file's name with what is wrong.
        examples: numbers of the examples to show (`Examples`).
    """

    text: str
    examples: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that may be wrong with a data set.

    Attributes:
        what: the kind, in the plural, such as "unreadable files".
        count: how many there are, at least 1.
        advice: what it means, and what to do; a sentence or two.
        items: the first cases, at most `MOST_ITEMS`.
    """

    what: str
    count: int
    advice: str
    items: tuple[Item, ...]


def find_all(
    examples: Examples, duplicates: bool = True, progress: Callable[[str], None] = lambda doing: None
) -> list[Finding]:
    """Return all findings about a data set: of its files, its classes, duplicates, series.

    Args:
        examples: of the data set. Its images are read two or three times, in pieces.
        duplicates: whether to look for duplicates and series; the time grows with the square of the images.
        progress: is told what is under way.
    """
    found = [*_files(examples), *_absent(examples.dataset), *_one_colour(examples)]
    if duplicates and len(examples) > 1:
        progress(f"comparing {len(examples):,} images with each other")
        found += _duplicates(examples)
    return found


def _files(examples: Examples) -> Iterable[Finding]:
    files = examples.dataset.files
    if files is None:
        return
    bad = [Item(f"{path}: {files.bad[path]}") for path in sorted(files.bad)]
    yield from _finding("unreadable or unusable files", bad, "They are not used. Repair or remove them.")
    numbers = examples.by_name()
    for what, advice, odd in (*odd_files(files), *odd_boxes(files)):
        items = [Item(f"{path}: {detail}", (numbers[path],)) for path, detail in odd if path in numbers]
        yield from _finding(what, items, advice)


def _absent(dataset: Dataset) -> Iterable[Finding]:
    """Yield the classes, and labels, of which a split has no example, or all splits together one."""
    absent, single = [], []
    named = {name: name_leaves(split.targets, dataset.target_names) for name, split in dataset.splits.items()}
    for place, (name, array, classes) in enumerate(named["train"]):
        of_objects = is_object_classes(name, array)
        if not (of_objects or is_classes(array) or (array.dtype == bool and array.ndim <= 2)):
            continue
        counts = {split: counts_of(found[place][1], len(classes)) for split, found in named.items()}
        for number, called in enumerate(classes):
            whole = f"{name}: {called}" if name else str(called)
            without = [split for split in counts if not counts[split][number]]
            total = sum(count[number] for count in counts.values())
            if without:
                absent.append(Item(f"{whole}: no image in {' and '.join(without)}"))
            if total == 1 and not of_objects:
                single.append(Item(whole))
    advice = "A class without a training image cannot be learned; one without a test image is not measured."
    yield from _finding("classes missing in a split", absent, advice)
    yield from _finding("classes with a single image", single, "Add images, or leave the class out.")
    if dataset.files is not None and dataset.files.objects is not None:
        objects = dataset.files.objects
        used = set(objects.numbers_K[~objects.crowds_K].tolist())
        items = [Item(name) for number, name in enumerate(objects.classes) if number not in used]
        yield from _finding("classes without a box", items, "They cannot be found. Annotate some, or leave them out.")


def _one_colour(examples: Examples) -> Iterable[Finding]:
    items = []
    start = 0
    for split in examples.dataset.splits.values():
        for piece in in_pieces(split.images):
            spreads = np.max(piece, axis=(1, 2)).astype(np.int16) - np.min(piece, axis=(1, 2))
            for place in np.flatnonzero(np.max(spreads, axis=1) <= _ONE_COLOUR).tolist():
                items.append(Item(examples.name_of(start + place), (start + place,)))
            start += len(piece)
    yield from _finding("images of one colour", items, "A failed exposure or an empty file; remove them.")


def _duplicates(examples: Examples) -> Iterable[Finding]:
    """Yield exact and near duplicates, those across splits and across classes by themselves, and series."""
    splits = examples.dataset.splits.values()
    digests = [digest for split in splits for digest in image_digests(split.images)]
    first: dict[bytes, int] = {}
    links = [(first.setdefault(digest, number), number) for number, digest in enumerate(digests)]
    exact = [(one, other, "equal pixels") for one, other in links if one != other]
    yield from _pairs(examples, "exact duplicates", exact)
    unique = np.asarray(list(first.values()))
    parts = [signatures(split.images) for split in splits]
    signed = Signatures(*map(np.concatenate, zip(*parts, strict=True)))
    near = [
        (int(unique[pair.first]), int(unique[pair.second]), _described(pair.similarity, pair.mirrored, pair.shift))
        for pair in near_pairs(Signatures(*(array[unique] for array in signed)))
    ]
    yield from _pairs(examples, "near duplicates", near)
    if all(split.groups is None for split in splits):
        yield from _series(examples, signed)


def _pairs(examples: Examples, kind: str, pairs: Sequence[tuple[int, int, str]]) -> Iterable[Finding]:
    """Yield pairs across splits, those across classes, and the others; each counts the images that have a partner."""
    split_of, targets = examples.splits_of_all(), examples.target_rows()
    across_splits = [pair for pair in pairs if split_of[pair[0]] != split_of[pair[1]]]
    across_classes = [pair for pair in pairs if targets[pair[0]] != targets[pair[1]]]
    others = [pair for pair in pairs if split_of[pair[0]] == split_of[pair[1]] and targets[pair[0]] == targets[pair[1]]]
    for where, chosen, advice in (
        ("across splits", across_splits, f"What is tested was seen in training: the score is too high. {_READ}"),
        ("with different targets", across_classes, "At least one of the two targets is wrong, or both are vague."),
        ("within a split", others, "They weigh more than other images in training, and in the score."),
    ):
        items = [
            Item(f"{examples.name_of(one)} – {examples.name_of(other)}: {how}", (one, other))
            for one, other, how in _varied(chosen)[:MOST_ITEMS]
        ]
        yield from _finding(f"{kind} {where}", items, advice, count=len({other for _, other, _ in chosen}))


def _varied(pairs: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Return pairs so that those of other images come first: one session's pairs would fill the page."""
    shown: set[int] = set()
    fresh: list[tuple[int, int, str]] = []
    rest: list[tuple[int, int, str]] = []
    for pair in pairs:
        (rest if shown & set(pair[:2]) else fresh).append(pair)
        shown.update(pair[:2])
    return fresh + rest


def _series(examples: Examples, signed: Signatures) -> Iterable[Finding]:
    series = find_series(examples, signed)
    images = sum(map(len, series))
    items = []
    for numbers in sorted(series, key=len, reverse=True)[:MOST_ITEMS]:
        shown = tuple(map(int, _spread(numbers)))
        text = f"{len(numbers):,} images: {examples.name_of(shown[0])} to {examples.name_of(shown[-1])}"
        items.append(Item(text, shown))
    advice = (
        f"{images:,} images form {len(series):,} series of nearly equal neighbours in the order of the files, such as"
        " recording sessions, and no groups are given. Give --data.group (a column of a table, csv:FILE), or groups in"
        " Python, so that no series is divided between training and test."
    )
    yield from _finding("images in series of nearly equal neighbours", items, advice, count=images)


def _spread(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the first, the middle one and the last."""
    return numbers[[0, len(numbers) // 2, len(numbers) - 1]]


def _described(similarity: float, mirrored: bool, shift: tuple[float, float]) -> str:
    parts = [f"similarity {min(similarity, 0.999):.3f}"]  # 1 is a copy's
    if mirrored:
        parts.append("mirrored")
    if max(map(abs, shift)) > 0.02:
        parts.append(f"shifted by {max(map(abs, shift)):.0%}")
    return ", ".join(parts)


def _finding(what: str, items: Sequence[Item], advice: str, count: int | None = None) -> Iterable[Finding]:
    """Yield a finding if there is something to find."""
    if items:
        yield Finding(what, len(items) if count is None else count, advice, tuple(items[:MOST_ITEMS]))


def summary(findings: Sequence[Finding]) -> list[str]:
    """Return a line for each finding: how many, what, and the first ones."""
    width = max((len(f"{finding.count:,}") for finding in findings), default=0)
    return [f"{finding.count:>{width},}  {finding.what}, such as {_first(finding.items)}" for finding in findings]


def _first(items: Sequence[Item], longest: int = 100) -> str:
    text = printable(items[0].text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def in_one_line(findings: Sequence[Finding]) -> str:
    """Return the counts of all findings in one line."""
    return ", ".join(f"{finding.count:,} {finding.what}" for finding in findings)
