"""What a study may have measured instead of its subject: the background, the files, or groups on both sides.

Each is learned and measured on the same splits as the whole image.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from flaxcnn.data import Options
from flaxcnn.data.image_files import ImageFiles
from flaxcnn.errors import DataError
from flaxcnn.probing.examples import Array
from flaxcnn.probing.measure import Result, main_metrics
from flaxcnn.tasks import Task

FACTS = ("width", "height", "aspect", "bytes", "bytes a pixel", "bits", "gray", "format")
"""What `facts_of` knows of a file, without a pixel of it."""

_TOLD_BY = {
    "border": "the border alone, an eighth of each side: the targets may be told by the background",
    "facts": "the files' sizes and formats alone: the targets may be told by how the files were made",
}


def facts_of(files: ImageFiles | None, names: Sequence[str] | None) -> Array | None:
    """Return facts of each example's file, float64 (N, 8) as `FACTS`; None where the source has no image files.

    Args:
        files: of the data set.
        names: of the examples, which are paths of files.

    Raises:
        DataError: a file is gone.
    """
    if files is None or names is None:
        return None
    formats = sorted({header.format for header in files.headers.values()})
    rows = []
    for name in names:
        header = files.headers[name]
        try:
            size = os.stat(files.root / name).st_size
        except OSError as error:
            raise DataError((error.strerror or str(error)).lower(), where=files.root / name) from error
        pixels = header.width * header.height
        rows.append(
            [header.width, header.height, header.width / header.height, size, size / pixels, header.bits, header.gray,
             formats.index(header.format)]
        )  # fmt: skip
    return np.asarray(rows, np.float64)


def without_groups(options: Options) -> Options | None:
    """Return a source's options with its groups divided, so that a number leaks; None where it has no groups."""
    return None if options.group is None else replace(options, group=None, group_size=1)


def cautions(task: Task, results: Mapping[str, Result]) -> list[str]:
    """Return a sentence for each shortcut that reaches more than half of what the whole image adds to chance.

    The low end of its 95 % interval has to be there. Where groups are divided, the value that leaks has to be beyond
    the interval of that which does not.

    Args:
        task: what is learned.
        results: by key: "linear" of the whole image, "commonest" without looking, "border", "facts" and "leak".
    """
    said = []
    whole, chance = results["linear"], results["commonest"]
    for metric in main_metrics(task):
        floor = chance.values[metric]
        floor = 0.0 if not np.isfinite(floor) else floor
        half = (whole.values[metric] + floor) / 2
        for key, meaning in _TOLD_BY.items():
            found = results.get(key)
            if found is not None and whole.values[metric] > floor and found.intervals[metric][0] > half:
                said.append(
                    f"{_shown(found, metric)} by {meaning} (the whole image: {_shown(whole, metric)}; without looking:"
                    f" {floor:.4f})"
                )
        leak = results.get("leak")
        if leak is not None and leak.values[metric] > whole.intervals[metric][1]:
            said.append(
                f"{_shown(leak, metric)} where groups are divided between training and test, which leaks; whole groups:"
                f" {_shown(whole, metric)}"
            )
    return said


def _shown(result: Result, metric: str) -> str:
    low, high = result.intervals[metric]
    return f"{metric.replace('_', ' ')} {result.values[metric]:.4f} ({low:.4f} to {high:.4f})"
