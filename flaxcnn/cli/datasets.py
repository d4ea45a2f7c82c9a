"""The command `data`."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from flaxcnn.cli.overrides import ModelOverride, TaskOverride, named_again
from flaxcnn.command_line import parse

if TYPE_CHECKING:
    from flaxcnn.data import Options


_GRID = "data_grid.png"


@dataclass(frozen=True)
class FileOptions:
    """How the files of the data are read, as --data of train."""

    dir: str | None = None
    """As --data.dir of train: the folder of prepared TensorFlow data sets, or of a table's paths."""
    size: tuple[int, ...] | None = None
    """As --data.size of train: height and width, or one number for both."""
    fit: Literal["crop", "letterbox", "pad", "stretch", "imagenet"] = "crop"
    """As --data.fit of train."""
    channels: Literal["gray", "rgb"] | None = None
    """As --data.channels of train."""
    target: tuple[str, ...] = ()
    """As --data.target of train: the columns to learn."""
    group: str | None = None
    """As --data.group of train: the column of what belongs together."""
    group_size: int = 1
    """As --data.group_size of train."""
    class_level: int = 1
    """As --data.class_level of train."""
    frames: float = 1.0
    """As --data.frames of train."""
    test: float = 0.2
    """As --data.test of train."""
    folds: int | None = None
    """As --data.folds of train."""
    fold: int = 0
    """As --data.fold of train."""
    repeat: int = 0
    """As --data.repeat of train."""
    on_bad: Literal["error", "skip"] = "error"
    """As --data.on_bad of train. With --report or --strict, files that cannot be used are findings."""
    cache: bool = True
    """As --data.cache of train."""


@dataclass(frozen=True)
class DataOptions:
    """Verify and describe a data set, and draw a grid of examples, write a report, or convert its boxes."""

    source: Positional[str] = "mnist"
    """As --data.source of train: mnist, folder:DIR, idx:FOLDER, tfds:NAME and others."""
    data: FileOptions = field(default_factory=FileOptions)
    out: str = _GRID
    """Output file of the example grid; with --to, the new folder."""
    duplicates: bool = True
    """Search for duplicate images. The time grows with the number of training images times test images."""
    report: str | None = None
    """Write a page, FILE.html, with classes, sizes, examples, and what may be wrong: unreadable and odd files,
    duplicates and near duplicates, series. It takes the place of the grid and of the table of duplicates."""
    run: str | None = None
    """Folder of a finished run on these data: with --report, the labels that it doubts are findings, too."""
    strict: bool = False
    """Findings are an error, with exit code 2. Works without --report, too."""
    to: Literal["coco", "voc", "yolo"] | None = None
    """Write images with boxes in this format, as the new folder --out, which is a source again: all splits, boxes of
    the original images, and images without boxes."""
    images: Literal["copy", "hardlink", "symlink"] = "copy"
    """With --to: how the images come into the folder. Hard links take no space, on the same disk alone. Symbolic links
    are for other programs: flaxcnn follows no link that leads out of a folder."""
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)


def data(arguments: Sequence[str]) -> int:
    """Verify and describe a data set, and draw a grid of examples."""
    options = parse(DataOptions, arguments, program="flaxcnn data")
    from flaxcnn import config
    from flaxcnn.data import Options
    from flaxcnn.errors import ConfigError
    from flaxcnn.files import user_path

    config.Data(source=options.source, **asdict(options.data))  # which checks them
    of_files = Options(**asdict(options.data))
    if options.to is not None:
        return _convert(options, of_files)
    if options.images != DataOptions.images:
        raise ConfigError("not without --to", where="--images", fix="add --to coco, voc or yolo")
    # Reading the data may take minutes.
    page = None if options.report is None else _in_a_folder(user_path(options.report, "--report"), "--report")
    if page is not None or options.strict:
        from flaxcnn.cli.data_report import report

        named = named_again(options.task, options.model)
        return report(options.source, of_files, page, options.run, named, options.duplicates, options.strict)
    if options.run is not None:
        raise ConfigError("nothing to write it to", where="--run", fix="add --report FILE.html, or --strict")
    return _describe(options, of_files, _in_a_folder(user_path(options.out, "--out"), "--out"))


def _convert(options: DataOptions, of_files: "Options") -> int:
    from flaxcnn.data.conversion.convert import convert
    from flaxcnn.errors import ConfigError, printable
    from flaxcnn.files import user_path

    for name in ("report", "run", "strict", "duplicates", "task", "model"):
        if getattr(options, name) != getattr(DataOptions(), name):
            raise ConfigError("not together with --to", where=f"--{name}", fix="leave out one of the two")
    if options.out == _GRID:
        raise ConfigError("no folder to write to", where="--out", fix="name a new folder: --out DIR")
    lines = convert(options.source, str(options.to), user_path(options.out, "--out"), of_files, options.images)
    print("\n".join(map(printable, lines)))
    return 0


def _in_a_folder(path: Path, where: str) -> Path:
    """Return the path of a file to write; raises ConfigError where its folder is not there."""
    from flaxcnn.errors import ConfigError

    if not path.parent.is_dir():
        raise ConfigError("no such folder", where=where, found=path.parent, fix="make it, or name another file")
    return path


def _describe(options: DataOptions, of_files: "Options", out: Path) -> int:
    from flaxcnn.data import (
        describe,
        describe_absent,
        describe_duplicates,
        draw_examples,
        find_duplicates,
        load,
    )
    from flaxcnn.files import cannot_write
    from flaxcnn.pictures import PictureError

    dataset = load(options.source, of_files)
    print("\n".join(describe(dataset)))
    splits = {{"train": "training"}.get(name, name): split for name, split in dataset.splits.items()}
    if absent := describe_absent(splits, dataset.target_names):
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
