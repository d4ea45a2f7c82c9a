"""A trained model and what it needs to answer without its data: weights, names, preparation, calibration."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import numpy.typing as npt

from flaxcnn.adapters import FlaxModule
from flaxcnn.config import Experiment
from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.photographs.decoding import MAX_BYTES, Shape, decode_file, in_original, inspect
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation.familiarity import (
    MOST_FEATURES,
    Familiarity,
    features_count,
    predict_with_distance,
    projection,
)
from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.evaluation.sums import predict
from flaxcnn.explanations.explaining import Explanation, explained
from flaxcnn.explanations.options import Baseline, How, MethodName
from flaxcnn.explanations.programs import Subject
from flaxcnn.files import read_bytes
from flaxcnn.jax_settings import pinned
from flaxcnn.layers.pixels import CONSTANTS
from flaxcnn.models import folded
from flaxcnn.models.views import OverViews, over_views
from flaxcnn.prediction.abstaining import Abstention, abstention
from flaxcnn.runs.checked_model import checked_model, pixel_constants_of
from flaxcnn.runs.folder.form import ModelForm
from flaxcnn.tasks import Classification, Predicted, Task, create_task
from flaxcnn.tasks.calibration import DISTANCE

ReadVariables: TypeAlias = Callable[[FlaxModule, int, Mapping[str, np.ndarray]], Any]

OF_MODELS = ("model.", "task.")
"""How the names of the fields begin whose own code an answer needs; that of the data is not imported."""
BATCH = 32
"""Images that are computed at once; fewer are padded, so that one program serves all."""
TOP = 5
"""Classes that an answer names, the most probable first."""


class Trained(NamedTuple):
    """A model that was trained.

    Attributes:
        experiment: by which it was trained.
        task: what it learned.
        form: what it takes, and the names of what it answers.
        model: takes float images.
        variables: of the model.
        calibration: `Task.calibration`; {} where the run has no validation images.
        validation: its predictions of its validation images; None without.
        familiarity: what tells strange images by their features; None for a run or a file that has nothing of it.
    """

    experiment: Experiment
    task: Task
    form: ModelForm
    model: FlaxModule
    variables: Any
    calibration: Mapping[str, Any]
    validation: Predicted | None
    familiarity: Familiarity | None = None

    @property
    def shape(self) -> Shape:
        """What image files are decoded to, as those were that it was trained on."""
        return Shape(*self.form.image_shape, self.experiment.data.fit)

    @property
    def names(self) -> tuple[str, str]:
        """What the model and the task are called, without the folders that lead to own code."""
        return _last(self.experiment.model.name), _last(self.experiment.task.name)

    @property
    def parameters(self) -> int:
        """How many parameters the model has."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables.get("params", {})))

    def decode(self, encoded: bytes, where: str) -> npt.NDArray[np.uint8]:
        """Return an image file's pixels as the model takes them, uint8 (H, W, C).

        Args:
            encoded: the whole file.
            where: what to call it in an error.

        Raises:
            DataError: it is no image, or damaged.
        """
        return decode_file(encoded, self.shape, where)

    def locate(self, answer: Mapping[str, Any], info: FileInfo | None) -> dict[str, Any]:
        """Return an answer whose places, if it has any, are in pixels of the upright original image.

        Args:
            answer: for the image, in pixels of what `decode` returns.
            info: what the header of the image's file says; None for a task whose answers have no places.
        """
        if info is None or not self.task.detects:
            return dict(answer)
        return self.task.located(dict(answer), lambda box: in_original(box, info, self.shape))

    def predictions(self, images: npt.NDArray[np.uint8], size: int | None = None) -> dict[str, np.ndarray]:
        """Return the task's predictions, arrays with N rows by name; for a classifier "logits", float32 (N, classes).

        With `familiarity` also "distance", float32 (N,): the squared Mahalanobis distance of the image's features from
        the nearest class's.

        Args:
            images: uint8 (N, H, W, C), with the size of the training images.
            size: images that are computed at once; fewer are padded. Each size compiles a program. None for 1 where
                there is one image, and else for `BATCH`.

        Raises:
            DataError: the images have another dtype or size.
        """
        images = self._fitting(images)
        size = size or (1 if len(images) == 1 else BATCH)
        parts = []
        with pinned():
            for first in range(0, len(images), size):
                part = images[first : first + size]
                given = np.pad(part, [(0, size - len(part)), (0, 0), (0, 0), (0, 0)])
                found = jax.device_get(self._predict(given))
                parts.append({name: np.asarray(array)[: len(part)] for name, array in found.items()})
        return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}

    @property
    def absent(self) -> str:
        """A line on what `familiar` lacks where the model could have it, as one of an older version; "" for nothing."""
        asks = isinstance(self.task, Classification) and self.validation is not None and self.familiarity is None
        model = self.model.model if isinstance(self.model, OverViews) else self.model
        if not asks or features_count(model, self.variables, self.form.image_shape) is None:
            return ""
        kept = "nothing was kept of the model's features, as in a run of an older version or with too few images"
        return f"familiar goes by the logits alone: {kept}"

    def _predict(self, images: npt.NDArray[np.uint8]) -> dict[str, jax.Array]:
        given = self.model, self.variables, images
        if self.familiarity is None:
            return predict(*given, task=self.task)
        return predict_with_distance(*given, self.familiarity, task=self.task)

    def answers(self, predictions: Mapping[str, np.ndarray], top: int = TOP) -> list[dict[str, Any]]:
        """Return predictions in names and numbers, as JSON has it (`Task.answers`)."""
        constants = {name: np.asarray(value) for name, value in self.variables.get(CONSTANTS, {}).items()}
        predicted = Predicted(None, predictions, constants, self.form.target_names)
        return self.task.answers(predicted, self.calibration, top)

    def predict(
        self, images: npt.NDArray[np.uint8] | Sequence[str | Path | bytes], top: int = TOP
    ) -> list[dict[str, Any]]:
        """Return the answer for each image: of a classifier its class, and the most probable classes.

        Args:
            images: uint8 (N, H, W, C) with the size of the training images; or paths of image files, or their bytes.
                Boxes are in pixels of these images.
            top: how many classes to name.

        Raises:
            DataError: an image cannot be read, or does not fit.
        """
        answers = self.answers(self.predictions(self._pixels(images)), top)
        if isinstance(images, np.ndarray) or not self.task.detects:
            return answers
        headers = [inspect(*self._encoded(image, place)) for place, image in enumerate(images)]
        return [self.locate(answer, info) for answer, info in zip(answers, headers, strict=True)]

    def explain(
        self,
        images: npt.NDArray[np.uint8] | Sequence[str | Path | bytes],
        method: MethodName = "gradcam",
        endpoint: str | None = None,
        of: str | None = None,
        *,
        baseline: Baseline | None = None,
        steps: int | None = None,
        patch: int | None = None,
        stride: int | None = None,
    ) -> Explanation:
        """Return what the answer for each image rests on: a map over its pixels.

        Where answers are means over views of an image (`--model.tta`), the image as it is is explained.

        Args:
            images: as for `predict`.
            method: gradcam, integrated_gradients or occlusion.
            endpoint: the activation at which to explain; None for Grad-CAM's last one with rows and columns, and for
                the pixels in the other two.
            of: what is explained: the name of a class, a label, a number or a head; None for what was answered.
            baseline: of integrated gradients, where the path begins; of occlusion, what a covered part shows: black,
                white or zero, which is what the model's first layer takes as 0. None for zero.
            steps: of integrated gradients, how many at first; None for 32.
            patch: of occlusion, the side of what is covered; None for a seventh of the shorter side.
            stride: of occlusion, from one square to the next; None for half the patch.

        Raises:
            DataError: an image cannot be read, or does not fit.
            ConfigError: an option is not the method's or out of range, or there is no such endpoint, class or number.
        """
        how = How(method, endpoint, of, baseline, steps, patch, stride)
        return explained(self.subject, self._fitting(self._pixels(images)), how)

    @property
    def subject(self) -> Subject:
        """What explanations are of: the model over one view, with what names its numbers."""
        model = self.model.model if isinstance(self.model, OverViews) else self.model
        return Subject(model, self.variables, self.task, self.form.target_names, self.form.image_shape)

    def abstention(self, precision: float) -> Abstention:
        """Return from which probability on a classifier's answers have a precision on the run's validation images.

        Raises:
            ConfigError: it is no classifier, the run has no validation images, or no threshold has the precision.
        """
        if not isinstance(self.task, Classification):
            raise ConfigError("not for this task", where="--precision", expected="a classifier", found=self.task.name)
        if self.validation is None:
            fix = "train with --data.validation 0.1"
            raise ConfigError("the run has no validation images", where="--precision", fix=fix)
        answers = self.task.answers(self.validation, self.calibration, 1)
        classes = [self.form.target_names[place] for place in self.validation.targets]
        return abstention(answers, classes, precision)

    def _pixels(self, images: npt.NDArray[np.uint8] | Sequence[str | Path | bytes]) -> npt.NDArray[np.uint8]:
        if isinstance(images, np.ndarray):
            return images
        if not len(images):
            raise DataError("no images", where="images", expected="at least one")
        return np.stack([self.decode(*self._encoded(image, place)) for place, image in enumerate(images)])

    def _fitting(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != self.form.image_shape or not len(images):
            raise DataError(
                "images do not fit this model",
                where="images",
                expected=f"uint8 (N, {', '.join(map(str, self.form.image_shape))})",
                found=f"{images.dtype} {images.shape}",
            )
        return images

    @staticmethod
    def _encoded(image: str | Path | bytes, place: int) -> tuple[bytes, str]:
        """Return an image file's bytes, and what to call it in an error."""
        if isinstance(image, bytes):
            return image, f"image {place}"
        return read_bytes(Path(image), MAX_BYTES, error=DataError), str(image)


def _last(name: str) -> str:
    """Return a name without the folders that lead to it: own code is named by its file."""
    return name.replace("\\", "/").rpartition("/")[2]


def built(
    experiment: Experiment,
    form: ModelForm,
    where: object,
    read: ReadVariables,
    validation: Predictions | None,
    familiarity: Familiarity | None = None,
) -> Trained:
    """Return a trained model of its parts.

    Args:
        experiment: by which it was trained.
        form: what it takes and answers.
        where: what the form comes from, for errors.
        read: reads its variables, checked against the model, its outputs and its constants' shapes.
        validation: its predictions of its validation images; None without.
        familiarity: as the run kept it; None without.

    Raises:
        ConfigError, DataError, ContractError: the parts do not go together.
    """
    task = create_task(experiment.task)
    task.check(form.targets, form.target_names, str(where))
    task = task.fitted(form.targets, form.target_names)
    outputs = task.outputs(form.targets, form.target_names)
    model = folded(checked_model(experiment, outputs, form.image_shape, detects=task.detects).module)
    constants = {**pixel_constants_of(experiment.model, form.image_shape[2]), **task.constants(form.targets)}
    variables = jax.device_put(read(model, outputs, constants))
    views = over_views(model, experiment.model.tta)
    if validation is None:
        return Trained(experiment, task, form, views, variables, {}, None)
    said = validation.predicted()._replace(names=form.target_names)
    one = jax.ShapeDtypeStruct((1, *form.image_shape), np.uint8)
    _require_predictions(task, said, jax.eval_shape(partial(predict, views, task=task), variables, one), where)
    if familiarity is None:
        return Trained(experiment, task, form, views, variables, task.calibration(said), said)
    familiarity = _fitting(familiarity, task, model, variables, form, len(validation.index_N), where)
    calibration = task.calibration(_with_distance(said, familiarity))
    return Trained(experiment, task, form, views, variables, calibration, said, familiarity)


def _with_distance(said: Predicted, familiarity: Familiarity) -> Predicted:
    """Return the predictions of the validation images of which there are distances, the first ones, with these."""
    known = len(familiarity.distances_M)
    return said._replace(predictions={**said.predictions, DISTANCE: np.asarray(familiarity.distances_M)[:known]})


def _fitting(
    familiarity: Familiarity, task: Task, model: FlaxModule, variables: Any, form: ModelForm, most: int, where: object
) -> Familiarity:
    """Return a familiarity on the device, with its projection; raises DataError where it is another model's."""
    count = features_count(model, variables, form.image_shape) if isinstance(task, Classification) else None
    found = familiarity.means_KxD.shape[1], len(familiarity.distances_M)
    if count is None or found[0] != min(count, MOST_FEATURES) or found[1] > most:
        expected = f"of {min(count or 0, MOST_FEATURES)} features, and of {most} validation images at most"
        raise DataError("statistics of another model's features", where=where, expected=expected, found=found)
    placed: Familiarity = jax.device_put(familiarity._replace(signs_FxD=projection(count)))
    return placed


def _require_predictions(task: Task, said: Predicted, shapes: Mapping[str, Any], where: object) -> None:
    """Raise DataError unless predictions are of a task's and finite, and their targets fit it."""
    task.check(said.targets, said.names, f"{where}: validation")
    for name, shape in shapes.items():
        found = said.prediction(name)
        if found.shape[1:] != shape.shape[1:] or not np.isfinite(found).all():
            expected = f"finite numbers, (N, {', '.join(map(str, shape.shape[1:]))})"
            raise DataError(
                "not this model's", where=f"{where}: validation {name}", expected=expected, found=found.shape
            )
