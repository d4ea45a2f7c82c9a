"""How a source's files become a data set."""

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, TypeAlias

from flaxcnn.errors import ConfigError

Fit: TypeAlias = Literal["crop", "letterbox", "pad", "stretch", "imagenet"]
OnBad: TypeAlias = Literal["error", "skip"]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many files are done, and of how many."""

DECODED = frozenset({"size", "fit", "channels", "on_bad", "cache"})
"""The options of every source that decodes image files."""
DIVIDED = frozenset({"test", "folds", "fold", "repeat"})
"""Those of every source whose files are divided into splits, where it has none of its own."""
GROUPED = frozenset({"group", "group_size"})
"""Those of every table of images."""


@dataclass(frozen=True)
class Options:
    """What a source takes beside its name: the fields of the section `data` that say how its files are read.

    Attributes:
        dir: folder of prepared TensorFlow data sets.
        size: height and width that images are fitted to, or one number for both; None to choose it by their sizes.
        fit: how an image of another shape is fitted (`flaxcnn.data.photographs.decoding.Shape`).
        channels: "gray" or "rgb"; None for gray where all images are.
        target: columns, or kinds of targets, to learn; () for the source's own choice.
        group: the column that says what belongs together.
        group_size: 1 where each value of that column is a group; more for a group of so many examples of a class, in
            the order of the column's numbers.
        class_level: how many levels of folders make a class's name.
        test: fraction of the examples drawn for the test split, where the source has none.
        folds: divide the examples into so many folds instead, of which one is the test split; None for `test`.
        fold: the one that is the test split, from 0.
        repeat: which division into folds; each is another one.
        on_bad: whether files that cannot be used are an error or left out.
        cache: whether decoded images are kept on disk.
        frames: frames of a video a second.
    """

    dir: str | os.PathLike[str] | None = None
    size: tuple[int, ...] | None = None
    fit: Fit = "crop"
    channels: Literal["gray", "rgb"] | None = None
    target: tuple[str, ...] = ()
    group: str | None = None
    group_size: int = 1
    class_level: int = 1
    test: float = 0.2
    folds: int | None = None
    fold: int = 0
    repeat: int = 0
    on_bad: OnBad = "error"
    cache: bool = True
    frames: float = 1.0

    def refuse_others(self, used: frozenset[str], source: str) -> None:
        """Raise ConfigError where an option is set that a source does not use."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in used and value != field.default:
                expected = ", ".join(f"data.{name}" for name in sorted(used)) or "none"
                raise ConfigError(
                    "not an option of this source",
                    where=f"data.{field.name}",
                    expected=f"for {source}: {expected}",
                    found=value,
                )


class Request(NamedTuple):
    """What a source's module is asked to load.

    Attributes:
        source: the whole argument of `flaxcnn.data.load`, such as "folder:photos".
        name: what follows the kind of the source, such as "photos".
        options: of the source.
        in_memory: bytes; the images of a split that take more stay on disk, as far as the source allows.
        progress: is told how many files are decoded.
    """

    source: str
    name: str
    options: Options = Options()
    in_memory: int = 256 << 20
    progress: Progress | None = None
