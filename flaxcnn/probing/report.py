"""What a probe found: as a table for people, as JSON, and as files of predictions."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.errors import printable
from flaxcnn.evaluation.predictions import save_predictions
from flaxcnn.files import cannot_write
from flaxcnn.probing.extra import NUMBERS
from flaxcnn.probing.measure import Result, shown
from flaxcnn.probing.probe import Probe
from flaxcnn.tasks.arithmetic import as_json

_NO = "–"


def table(found: Probe) -> list[str]:
    """Return a table: a row for each metric, with its 95 % interval, and below it the folds; a column for each head."""
    metrics, results = shown(found.task), list(found.results.values())
    titles = [_title(each) for each in results]
    rows: list[list[str]] = [["", *titles]]
    for metric in metrics:
        rows.append([metric.replace("_", " "), *(_with_interval(each, metric) for each in results)])
        if len(found.data.parts) > 1:
            rows.append([f"  {len(found.data.parts)} folds", *(_of_folds(each, metric) for each in results)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*map(printable, lines), *(f"caution: {printable(each)}" for each in found.cautions)]


def heading(found: Probe) -> list[str]:
    """Return lines that say what was probed on what."""
    data, network = found.data, found.network
    height, width, channels = data.dataset.image_shape
    described = found.task.described(data.targets, data.dataset.target_names)
    lines = [
        f"network   {network.name} {network.line}, {found.features:,} features",
        f"data      {data.dataset.source}: {len(data.images):,} images of {height}×{width}×{channels}, {described}",
    ]
    tested = sum(len(part.test) for part in data.parts)
    groups = "" if data.groups is None else f", {len(np.unique(data.groups)):,} whole groups"
    if len(data.parts) > 1:
        lines.append(f"measured  {len(data.parts)} folds{groups}: each image once, by what learned of the other folds")
    else:
        lines.append(f"measured  {tested:,} test images by what learned of {len(data.parts[0].train):,}{groups}")
    return [printable(line) for line in lines]


def to_json(found: Probe) -> dict[str, Any]:
    """Return the numbers as JSON has them: metrics, intervals, folds, what was chosen, and what was probed on what."""
    data, network = found.data, found.network
    return {
        "network": {"name": network.name, "weights": network.line, "sha256": network.digest},
        "features": found.features,
        "source": data.dataset.source,
        "images": len(data.images),
        "image_shape": list(data.dataset.image_shape),
        "preparation": {key: list(value) if isinstance(value, tuple) else value
                        for key, value in data.dataset.preparation.items()},
        "task": found.task.name,
        "target_names": as_lists(data.dataset.target_names),
        "groups": None if data.groups is None else len(np.unique(data.groups)),
        "test_examples": [len(part.test) for part in data.parts],
        "results": {key: _numbers(each) for key, each in found.results.items()},
        "cautions": found.cautions,
    }  # fmt: skip


def write(found: Probe, json_file: Path | None, folder: Path | None) -> None:
    """Write the numbers, and into a folder also the predictions of each head with the examples' names.

    Args:
        found: the probe.
        json_file: for the numbers; None for none.
        folder: made where it is missing; None for none.

    Raises:
        RunFolderError: something cannot be written.
    """
    text = json.dumps(to_json(found), indent=2, ensure_ascii=False) + "\n"
    place: Path | None = None
    try:
        if folder is not None:
            place = folder
            folder.mkdir(parents=True, exist_ok=True)
            for key, result in found.results.items():
                place = folder / f"predictions-{key}.npz"
                save_predictions(_beside(place), result.pooled)
                os.replace(_beside(place), place)
            names = found.data.names
            if names is not None:
                place = folder / "names.json"
                tested = [names[position] for part in found.data.parts for position in part.test.tolist()]
                _write_text(place, json.dumps(tested, ensure_ascii=False))
            place = folder / NUMBERS  # last: where it is, all is there
            _write_text(place, text)
        if json_file is not None:
            place = json_file
            _write_text(place, text)
    except OSError as error:
        assert place is not None, "nothing else is written"
        raise cannot_write(place, error) from error


def as_lists(names: Any) -> Any:
    """Return names of targets as JSON has them."""
    return {key: as_lists(below) for key, below in names.items()} if isinstance(names, Mapping) else list(names)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write_text(path: Path, text: str) -> None:
    _beside(path).write_text(text, encoding="utf-8")
    os.replace(_beside(path), path)


def _numbers(result: Result) -> dict[str, Any]:
    return {
        "title": result.title,
        "examples": len(result.pooled.index_N),
        "metrics": _as_json(result.values),
        "intervals_95": {name: as_json(np.asarray(ends)) for name, ends in result.intervals.items()},
        "folds": [_as_json(each) for each in result.of_folds],
        "chosen": result.chosen,
    }


def _as_json(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _title(result: Result) -> str:
    """Return a head's title, with what it chose."""
    chosen: dict[str, list[float]] = {}
    for fold in result.chosen:
        for name, value in fold.items():
            chosen.setdefault(name, []).append(value)
    parts = [f"{name} {_range(values)}" for name, values in chosen.items()]
    return ", ".join([result.title, *parts])


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _with_interval(result: Result, metric: str) -> str:
    value, (low, high) = result.values[metric], result.intervals[metric]
    if not math.isfinite(value):
        return _NO
    return f"{value:.4f} ({low:.4f} to {high:.4f})" if math.isfinite(low) else f"{value:.4f}"


def _of_folds(result: Result, metric: str) -> str:
    values = [fold[metric] for fold in result.of_folds if math.isfinite(fold[metric])]
    if not values:
        return _NO
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else f"{values[0]:.4f}"
