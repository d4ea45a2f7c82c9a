"""What a page has to know of a model, as JSON: how an image becomes its pixels, and its outputs an answer."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from flaxcnn.layers.pixels import CONSTANTS
from flaxcnn.prediction.digits import SHAPE
from flaxcnn.prediction.model_file import drawn_images
from flaxcnn.prediction.preparing import Prepare, decoding
from flaxcnn.prediction.trained import Trained
from flaxcnn.tasks import Classification, Detection, Multilabel, Regression, Several, Task

TOP = 10
"""Classes that the page names, the most probable first."""


def form_of_page(trained: Trained, prepare: Prepare) -> dict[str, Any]:
    """Return what the page reads as `model.json`; nothing of where the run and its data lie.

    Args:
        trained: the model.
        prepare: how image files become pixels, as `decoding` has it; what is drawn is a digit in any case.

    Raises:
        ConfigError: the model is for other images than digits.
    """
    decoding(trained, prepare)
    trained = trained._replace(familiarity=None)  # the graph has the network's outputs alone
    height, width, channels = trained.form.image_shape
    outputs = trained.predictions(drawn_images(trained.form.image_shape)[:1])
    constants = {name: np.asarray(value) for name, value in trained.variables.get(CONSTANTS, {}).items()}
    return {
        "title": ": ".join(trained.names),
        "parameters": trained.parameters,
        "images": {"height": height, "width": width, "channels": channels, "fit": trained.experiment.data.fit},
        "prepare": prepare,
        "draws": trained.form.image_shape == SHAPE,
        "answer": _answer(trained.task, trained.form.target_names, trained.calibration, constants, outputs),
    }


def _answer(
    task: Task,
    names: Any,
    calibration: Mapping[str, Any],
    constants: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    head: str = "",
) -> dict[str, Any]:
    """Return how outputs become what `Task.answers` returns.

    Args:
        task: of the model, or of one of its heads.
        names: of its targets' values.
        calibration: its own.
        constants: of the model, by name.
        outputs: of the model for one image, by name.
        head: how the names of its own outputs and constants begin.
    """
    temperature = calibration.get("temperature", 1.0)
    if _is(task, Several):
        assert isinstance(task, Several)
        heads = [
            {
                "name": each.name,
                "answer": _answer(
                    each.task,
                    names[each.name] if isinstance(names, Mapping) else None,
                    calibration.get(each.name, {}),
                    constants,
                    outputs,
                    f"{each.name}.",
                ),
            }
            for each in task.heads
        ]
        return {"kind": "several", "heads": heads}
    if _is(task, Classification):
        output = {"output": f"{head}logits", "names": list(names)}
        return {"kind": "classification", **output, "temperature": temperature, "top": TOP}
    if _is(task, Multilabel):
        output = {"output": f"{head}logits", "names": list(names)}
        thresholds = constants[f"{head}thresholds"].tolist()
        return {"kind": "multilabel", **output, "temperature": temperature, "thresholds": thresholds}
    if _is(task, Regression):
        count = outputs[f"{head}numbers"].shape[1]
        called = list(task.explained_names(names, count))
        widths = calibration.get("half_width_90", [None] * count)
        return {"kind": "regression", "output": f"{head}numbers", "names": called, "half_widths": widths}
    if _is(task, Detection):
        return {"kind": "detection", "names": list(names["classes"]), "thresholds": constants["thresholds"].tolist()}
    own = {name.removeprefix(head): name for name in outputs if name.startswith(head)}
    return {"kind": "own", "outputs": own}


def _is(task: Task, kind: type[Task]) -> bool:
    """Return whether a task answers as one of the library: a subclass of the user's own may not."""
    return isinstance(task, kind) and type(task).answers is kind.answers and type(task).decode is kind.decode
