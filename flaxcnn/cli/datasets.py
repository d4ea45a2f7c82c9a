"""The command `data`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tyro.conf import Positional

from flaxcnn.command_line import parse


@dataclass(frozen=True)
class DataOptions:
    """Verify and describe a data set, and draw a grid of examples."""

    source: Positional[str] = "mnist"
    """mnist, idx:FOLDER or tfds:NAME."""
    dir: str | None = None
    """Folder of prepared TensorFlow data sets."""
    out: str = "data_grid.png"
    """Output file of the example grid."""
    duplicates: bool = True
    """Search for duplicate images. The time grows with the number of training images times test images."""


def data(arguments: Sequence[str]) -> int:
    """Verify and describe a data set, and draw a grid of examples."""
    options = parse(DataOptions, arguments, program="flaxcnn data")
    from flaxcnn.data import describe, describe_absent, describe_duplicates, draw_examples, find_duplicates, load
    from flaxcnn.files import cannot_write, user_path
    from flaxcnn.pictures import PictureError

    out = user_path(options.out, "--out")
    dataset = load(options.source, options.dir)
    print("\n".join(describe(dataset)))
    if absent := describe_absent({"training": dataset.train, "test": dataset.test}, dataset.target_names):
        print(f"flaxcnn: {absent}", file=sys.stderr)
    try:
        draw_examples(dataset, out)
        print(f"examples  {out}")
    except PictureError as error:
        print(f"flaxcnn: warning: {error}", file=sys.stderr)
    except OSError as error:
        raise cannot_write(out, error) from error
    if options.duplicates:
        tests, trains = len(dataset.test), len(dataset.train)
        print(f"\ncomparing {tests:,} test images with {trains:,} training images", flush=True)
        print("\n".join(describe_duplicates(find_duplicates(dataset), dataset.target_names)))
    return 0
