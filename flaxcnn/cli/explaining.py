"""The command `explain`."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tyro.conf import Positional

from flaxcnn.cli.computing import computing
from flaxcnn.cli.overrides import ModelOverride, TaskOverride, named_again
from flaxcnn.command_line import parse


@dataclass(frozen=True)
class ExplainOptions:
    """Show what a finished run's answers rest on: a picture for each image, the image beside a map over it.

    A map is of one number: the logit of the answered class, or of the one that --of names.
    """

    run: Positional[str]
    """Folder of a finished run, or a model file that `flaxcnn export` wrote."""
    images: Positional[tuple[str, ...]] = ()
    """Image files, folders of them at any depth, or - for an image on standard input."""
    out: str | None = None
    """New folder for the pictures, and for explanations.jsonl, which says what each explains."""
    method: Literal["gradcam", "integrated_gradients", "occlusion"] = "gradcam"
    """gradcam: where features that speak for it are active. integrated_gradients: its change from a baseline, divided
    among the pixels. occlusion: what it loses where a part is covered."""
    of: str | None = None
    """What is explained: the name of a class, a label, a number or a head. None for what was answered."""
    endpoint: str | None = None
    """The activation at which it is explained. None for the last one with rows and columns (gradcam), or the pixels."""
    baseline: Literal["zero", "black", "white"] | None = None
    """Where integrated gradients begin, and what a covered part shows. None for zero, which is what the model's first
    layer takes as 0: the mean colour where pixels are standardised, else black."""
    steps: int | None = None
    """Of integrated gradients, how many at first; they are doubled until a map is complete to 1 %. None for 32."""
    patch: int | None = None
    """Of occlusion, the side of the square that is covered. None for a seventh of the image's shorter side."""
    stride: int | None = None
    """Of occlusion, from one square to the next. None for half the patch."""
    prepare: Literal["as_trained", "digits"] = "as_trained"
    """digits: photographs of one digit each become as MNIST's are: light on dark, centred, 28×28."""
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)


def explain(arguments: Sequence[str]) -> int:
    """Show what a finished run's answers rest on."""
    options = parse(ExplainOptions, arguments, program="flaxcnn explain")
    from flaxcnn.errors import ConfigError, printable
    from flaxcnn.explanations.folder import ExplanationFolder
    from flaxcnn.explanations.options import How
    from flaxcnn.files import user_path
    from flaxcnn.prediction.images import find_images, opened

    if not options.images:
        raise ConfigError("no images", where="flaxcnn explain", fix="name files, a folder, or - for standard input")
    if options.out is None:
        raise ConfigError("--out is missing", where="flaxcnn explain", expected="a new folder")
    folder = ExplanationFolder(user_path(options.out, "--out"))
    how = How(
        options.method,
        options.endpoint,
        options.of,
        options.baseline,
        options.steps,
        options.patch,
        options.stride,
    )
    found = find_images(options.images)
    with computing():
        import numpy as np

        from flaxcnn.explanations.explaining import explained
        from flaxcnn.explanations.picture import picture
        from flaxcnn.explanations.words import incomplete, lines_of, said_of
        from flaxcnn.prediction.answers import words_of
        from flaxcnn.prediction.loading import load
        from flaxcnn.prediction.preparing import Preparation
        from flaxcnn.prediction.trained import BATCH

        trained = load(options.run, named_again(options.task, options.model))
        preparation, subject = Preparation(trained, options.prepare), trained.subject
        faults, errors = 0, list[float]()
        stdin = io.BytesIO() if sys.stdin is None else sys.stdin.buffer  # None where it is closed
        for batch in opened(found, preparation.decode, BATCH, stdin):
            pixels = [each.pixels for each in batch if each.pixels is not None]
            if pixels:
                images = np.stack(pixels)
                explanation = explained(subject, images, how)
                answers = trained.answers(trained.predictions(images), 1)
                errors += [] if explanation.errors is None else explanation.errors.tolist()
            place = 0
            for each in batch:
                if each.pixels is None:
                    faults += 1
                    folder.add(each.name, {"fault": each.fault}, None)
                    print(printable(f"{each.name}  - {each.fault}"))
                    continue
                answer = words_of(answers[place])
                lines = [answer, *lines_of(explanation, place, how.method)]
                drawn = picture(each.pixels, explanation.maps[place], explanation.signed, lines)
                said = said_of(explanation, place, how.method)
                name = folder.add(each.name, {**said, "answer": answers[place]}, drawn)
                print(printable(f"{each.name}  {answer}  {folder.path / name}"), flush=sys.stdout.isatty())
                place += 1
    for line in (preparation.hint(len(found)), incomplete(errors)):
        if line:
            print(f"flaxcnn: {line}", file=sys.stderr)
    if faults:
        print(f"flaxcnn: {faults:,} of {len(found):,} images cannot be used", file=sys.stderr)
    return 1 if faults else 0
