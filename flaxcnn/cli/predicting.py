"""The command `predict`."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tyro.conf import Positional

from flaxcnn.cli.computing import computing
from flaxcnn.cli.overrides import ModelOverride, TaskOverride, named_again
from flaxcnn.command_line import parse
from flaxcnn.config.checks import require


@dataclass(frozen=True)
class PredictOptions:
    """Say what is in images: a finished run's answer for each, without the run's data.

    A classifier names the most probable classes, a regression its numbers, and each head of several tasks its own.
    Where the run has validation images, probabilities and intervals are calibrated by them, and `familiar` says how
    often an image like them looks as strange.
    """

    run: Positional[str]
    """Folder of a finished run, or a model file that `flaxcnn export` wrote."""
    images: Positional[tuple[str, ...]] = ()
    """Image files, folders of them at any depth, or - for an image on standard input."""
    format: Literal["table", "jsonl", "csv"] = "table"
    """A line for each image, an object of JSON for each, or a table in CSV."""
    top: int = 3
    """How many classes to name."""
    precision: float | None = None
    """A classifier withholds answers below the probability from which on this fraction of its answers was right on the
    run's validation images, such as 0.95. None answers always."""
    prepare: Literal["as_trained", "digits"] = "as_trained"
    """digits: photographs of one digit each become as MNIST's are: light on dark, centred, 28×28."""
    pictures: str | None = None
    """Of a detector: a new folder for each photograph with the boxes of what is found, and each object as an image."""
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)

    def __post_init__(self) -> None:
        require(self.top >= 1, "--top", "at least 1", self.top)
        sound = self.precision is None or 0 < self.precision <= 1
        require(sound, "--precision", "above 0, at most 1", self.precision)


def predict(arguments: Sequence[str]) -> int:
    """Say what is in images."""
    options = parse(PredictOptions, arguments, program="flaxcnn predict")
    from flaxcnn.errors import ConfigError
    from flaxcnn.prediction.images import find_images, opened

    if not options.images:
        raise ConfigError("no images", where="flaxcnn predict", fix="name files, a folder, or - for standard input")
    found = find_images(options.images)
    with computing():
        import numpy as np

        from flaxcnn.prediction.answers import Answered, Writer
        from flaxcnn.prediction.loading import load
        from flaxcnn.prediction.objects import object_files
        from flaxcnn.prediction.preparing import Preparation, saying
        from flaxcnn.prediction.trained import BATCH

        trained = load(options.run, named_again(options.task, options.model))
        if trained.absent:
            print(f"flaxcnn: {trained.absent}", file=sys.stderr)
        preparation = Preparation(trained, options.prepare)
        abstains = None if options.precision is None else trained.abstention(options.precision)
        if abstains is not None:
            print(f"flaxcnn: {abstains.line}", file=sys.stderr)
        files = None if options.pictures is None else object_files(options.pictures, trained)
        say = saying(trained, options.top, abstains)
        writer, faults = Writer(options.format, [each.name for each in found]), 0
        stdin = io.BytesIO() if sys.stdin is None else sys.stdin.buffer  # None where it is closed
        for batch in opened(found, preparation.decode, BATCH, stdin, inspects=trained.task.detects):
            pixels = [each.pixels for each in batch if each.pixels is not None]
            said = iter(say(trained.predictions(np.stack(pixels))) if pixels else [])
            for each in batch:
                answer = None if each.pixels is None else trained.locate(next(said), each.info)
                if files is not None and answer is not None and each.again is not None:
                    files.write(each.name, each.again(), answer)
                answered = Answered(each.name, answer, each.fault)
                for line in writer.lines(answered):
                    print(line, flush=sys.stdout.isatty())
                faults += bool(each.fault)
        for line in writer.last():
            print(line)
        if hint := preparation.hint(len(found)):
            print(f"flaxcnn: {hint}", file=sys.stderr)
        if files is not None:
            print(f"flaxcnn: {files.line}", file=sys.stderr)
    if faults:
        print(f"flaxcnn: {faults:,} of {len(found):,} images cannot be used", file=sys.stderr)
    return 1 if faults else 0
