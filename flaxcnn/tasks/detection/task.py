"""The detection task: objects of an image, each with its class and its box."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.data.targets import described_targets
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.layers.augmentation.mosaic import Tiles
from flaxcnn.layers.boxes import clipped, moved, overlaps
from flaxcnn.layers.detection_head import BOX, CLASSES, QUALITY
from flaxcnn.pages.parts import Part
from flaxcnn.tasks.arithmetic import ratio
from flaxcnn.tasks.detection.agreement import apart
from flaxcnn.tasks.detection.decoding import OVERLAP, Suppression, at_places, found_in_image
from flaxcnn.tasks.detection.evaluated import evaluated, tuned_thresholds
from flaxcnn.tasks.detection.losses import GAMMA, loss_of_image
from flaxcnn.tasks.detection.operating_point import UNKNOWN
from flaxcnn.tasks.detection.parts import mistakes_of, parts_of
from flaxcnn.tasks.detection.pictures import draw_counts, draw_precision_recall, draw_worst
from flaxcnn.tasks.detection.report import report_of
from flaxcnn.tasks.detection.scores import METRICS, DetectionScores
from flaxcnn.tasks.task import Interval, Mistakes, Picture, Predicted, Task, require_names

_RIGHT = 0.5  # least overlap of a box with the object that it is said to be around
_FEWEST = 1e-3  # objects of an image in the mean: a divisor
_LEAST = 0.3  # share of an object's box that has to be left in an augmented image


@dataclass(frozen=True)
class Detection(Task):
    """Objects with boxes. Targets are a dictionary of three arrays.

    "boxes", float32 (N, M, 4), are y0, x0, y1, x1 in pixels of the image, and "classes", int32 (N, M), their class
    numbers; NaN and -1 where an image has fewer than M. "scale", float32 (N,), is how many pixels of the image are one
    of the original photograph, by which small and large objects are told apart.
    """

    classes: int = 0
    """Number of classes; known when the task is fitted to data."""
    suppression: Suppression = "class"
    """What becomes of a box that a surer one overlaps (`flaxcnn.tasks.detection.decoding`)."""
    overlap: float = OVERLAP
    """The greatest overlap of two boxes that are both found."""

    name = "detection"
    detects = True
    moves = True
    metrics = METRICS
    logged = ("main_box",)
    tabled = ("ap", "ap50", "ap75", "f1", "count_error", "main_box")
    uses = frozenset({"focal_gamma", "mosaic"})

    @property
    def reported(self) -> tuple[str, ...]:
        """The average precision, at all overlaps and at 0.5, and the share of images whose surest box is right."""
        return ("ap", "ap50", "main_box")

    def __post_init__(self) -> None:
        if self.suppression in ("soft", "none") and self.overlap != OVERLAP:
            expected = f"task.suppression class or any, or the default {OVERLAP:g}"
            raise ConfigError(
                f"the suppression {self.suppression} does not use it",
                where="task.overlap",
                expected=expected,
                found=self.overlap,
            )

    def check(self, targets: Any, names: Any, where: str) -> None:
        """Raise DataError if the targets are not boxes with their classes."""
        known = isinstance(targets, Mapping) and set(targets) == {"boxes", "classes", "scale"}
        boxes, classes = (np.asarray(targets[name] if known else 0) for name in ("boxes", "classes"))
        if boxes.shape[:2] != classes.shape or boxes.shape[2:] != (4,):
            raise DataError(
                "not boxes with their classes",
                where=f"{where} targets",
                expected="boxes (N, M, 4), classes (N, M) and scale (N,) for the task detection",
                found=described_targets(targets),
                fix="add --data.target boxes",
            )
        require_names(names["classes"], None, where)
        wrong = classes >= len(names["classes"])
        if wrong.any():
            expected = f"0 to {len(names['classes']) - 1}"
            raise DataError("a class without a name", where=f"{where} targets", expected=expected, found=classes.max())
        if not (classes >= 0).any():
            raise DataError("no box", where=f"{where} targets", expected="one at least", found="none in any image")

    def outputs(self, targets: Any, names: Any) -> int:
        """Return the number of classes."""
        return len(names["classes"])

    def shape_of(self, outputs: int) -> tuple[int, ...]:
        """Return the shape of one place's outputs: what is decoded does not depend on how many places there are."""
        return (1, CLASSES + outputs)

    def described(self, targets: Any, names: Any) -> str:
        """Return "465 boxes of 3 classes"."""
        boxes, classes = int((targets["classes"] >= 0).sum()), len(names["classes"])
        return f"{boxes:,} {'box' if boxes == 1 else 'boxes'} of {classes:,} {'class' if classes == 1 else 'classes'}"

    def fitted(self, targets: Any, names: Any) -> "Detection":
        """Return the task of these classes."""
        return replace(self, classes=len(names["classes"]))

    def constants(self, train_targets: Any) -> dict[str, np.ndarray]:
        """Return how many objects a training image has in the mean, and each class's score from which on they count."""
        objects = (np.asarray(train_targets["classes"]) >= 0).sum(-1).mean()
        return {
            "objects": np.asarray(max(objects, _FEWEST), np.float32),
            "thresholds": np.full(self.classes, UNKNOWN, np.float32),
        }

    def losses(self, values: Any, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> jax.Array:
        """Return focal loss, generalised overlap and quality of each image's places, float32 (B,)."""
        asked = None if values is None else values.focal_gamma
        gamma = GAMMA if asked is None else asked
        of_each = partial(loss_of_image, objects=constants["objects"], gamma=gamma)
        return jax.vmap(of_each)(outputs, targets["boxes"], targets["classes"])

    def statistics(self, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> dict[str, jax.Array]:
        """Return whether each image has objects, and whether its surest box is right in class and in place."""
        scores_BxLxK = jax.nn.sigmoid(outputs[..., CLASSES:]) * jax.nn.sigmoid(outputs[..., QUALITY, None])
        count = scores_BxLxK.shape[-1]
        surest_B = scores_BxLxK.reshape(len(outputs), -1).argmax(-1)
        box_Bx1x4 = jnp.take_along_axis(outputs[..., BOX], (surest_B // count)[:, None, None], axis=1)
        hit_BxM = (targets["classes"] == (surest_B % count)[:, None]) & (
            overlaps(box_Bx1x4, targets["boxes"]) >= _RIGHT
        )
        return {"right": hit_BxM.any(-1), "with_objects": (targets["classes"] >= 0).any(-1)}

    def measures(self, sums: Mapping[str, Any], examples: Any) -> dict[str, Any]:
        """Return the share of images with objects whose surest box is right."""
        return {"main_box": ratio(sums["right"], sums["with_objects"])}

    def decode(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> dict[str, jax.Array]:
        """Return what is found in each image, as `found_in_image`; without suppression, as `at_places`."""
        if self.suppression == "none":
            return dict(jax.vmap(at_places)(outputs))
        found = partial(found_in_image, suppression=self.suppression, overlap=self.overlap)
        return dict(jax.vmap(found)(outputs))

    def explained(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> jax.Array:
        """Return the largest logit of each class in an image, float32 (B, K)."""
        return outputs[..., CLASSES:].max(1)

    def explained_names(self, names: Any, count: int) -> tuple[str, ...]:
        """Return the names of the classes."""
        return tuple(names["classes"])

    def answers(self, predicted: Predicted, calibration: Mapping[str, Any], top: int) -> list[dict[str, Any]]:
        """Return each image's "objects", the surest first, and the "counts" of every class.

        An object has its "class", its "score", and its "box": y0, x0, y1, x1 in pixels. Named are objects whose score
        reaches the threshold of their class.
        """
        names, thresholds_K = predicted.names["classes"], predicted.constant("thresholds", (self.classes,))
        arrays = (predicted.prediction(name) for name in ("boxes", "scores", "classes"))
        found = []
        for boxes_Dx4, scores_D, classes_D in zip(*arrays, strict=True):
            named = np.flatnonzero((classes_D >= 0) & (scores_D >= thresholds_K[classes_D]))
            objects = [
                {"class": names[classes_D[at]], "score": float(scores_D[at]), "box": boxes_Dx4[at].tolist()}
                for at in named
            ]
            counts = np.bincount(classes_D[named], minlength=len(names)).tolist()
            found.append({"objects": objects, "counts": dict(zip(names, counts, strict=True))})
        return found

    def located(self, answer: dict[str, Any], place: Callable[[Sequence[float]], list[float]]) -> dict[str, Any]:
        """Return the answer with the boxes of its objects in pixels of the original image."""
        return {**answer, "objects": [{**each, "box": place(each["box"])} for each in answer["objects"]]}

    def difference(self, found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
        """Return how far the detections are apart, as `flaxcnn.tasks.detection.agreement`; of places, the largest."""
        largest = super().difference(found, wanted)
        return largest if self.suppression == "none" or largest == math.inf else apart(found, wanted)

    def scores(self, predicted: Predicted) -> DetectionScores:
        """Return the metrics of `DetectionScores`."""
        return evaluated(self._named(predicted)).scores

    def tuned(self, predicted: Predicted) -> dict[str, np.ndarray]:
        """Return the constants with each class's threshold of best F1 on these validation images."""
        return {**predicted.constants, "thresholds": tuned_thresholds(self._named(predicted))}

    def report(self, predicted: Predicted) -> dict[str, Any]:
        """Return every metric, and of each class its precision and counts; the kinds of errors, and the confusion."""
        return report_of(predicted)

    def pictures(self, predicted: Predicted) -> Iterable[Picture]:
        """Return precision over recall, counted over true objects, and the images with the most mistakes."""
        found = evaluated(predicted)
        ap50_K = found.scores.measure(np.ones((1, found.objects.images), np.int32), {"ap50_of_each"})["ap50_of_each"]
        yield Picture("precision_recall.png", partial(draw_precision_recall, found, ap50_K[0]))
        yield Picture("counts.png", partial(draw_counts, found))
        if predicted.images is not None:
            yield Picture("worst.png", partial(draw_worst, predicted.images, found))

    def parts(self, test: Predicted, validation: Predicted | None, interval: Interval) -> Iterable[Part]:
        """Return each class, counts, errors, confusion, sizes, and precision over recall."""
        return parts_of(test, validation, interval)

    def mistakes(self, predicted: Predicted, calibration: Mapping[str, Any], most: int) -> Sequence[Mistakes]:
        """Return the images with the most wrong detections and missed objects."""
        return (mistakes_of(predicted, most),)

    def _named(self, predicted: Predicted) -> Predicted:
        """Return predictions with names: scores are computed without them, and only count the classes."""
        return predicted._replace(names={"classes": tuple(map(str, range(self.classes)))})

    def move(self, targets: Any, source_2HW: jax.Array) -> Any:
        """Return the boxes where their pixels are now, without those of which less than 0.3 is left."""
        _, height, width = source_2HW.shape
        boxes = clipped(moved(targets["boxes"], source_2HW), (0, 0, height, width), _LEAST)
        return _without_what_left(targets, boxes)

    def tile(self, parts: Sequence[Any], tiles: Tiles) -> Any:
        """Return the boxes of all four parts where they are now, of each that has 0.3 of it in its part."""
        kept = []
        for targets, area_4, shift_2 in zip(parts, tiles.areas, tiles.shifts, strict=True):
            boxes = targets["boxes"] + jnp.concatenate([shift_2, shift_2]).astype(jnp.float32)
            kept.append(_without_what_left(targets, clipped(boxes, area_4.astype(jnp.float32), _LEAST)))
        joined = {name: jnp.concatenate([each[name] for each in kept]) for name in ("boxes", "classes")}
        return {**parts[0], **joined}


def _without_what_left(targets: Any, boxes_Mx4: jax.Array) -> Any:
    """Return targets with boxes that were moved, and no class where nothing of a box is left."""
    classes = jnp.where(jnp.isfinite(boxes_Mx4).all(-1), targets["classes"], -1)
    return {**targets, "boxes": boxes_Mx4, "classes": classes}
