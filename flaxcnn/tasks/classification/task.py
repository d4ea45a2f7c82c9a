"""The classification task: one class per image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxcnn.data.dataset import check_class_range, holds_classes
from flaxcnn.data.targets import described_targets
from flaxcnn.errors import DataError
from flaxcnn.layers.examples import check_labels, label_in_range_check, with_none_negative
from flaxcnn.pages.parts import Part
from flaxcnn.tasks.arithmetic import rows_where
from flaxcnn.tasks.calibration import DISTANCE, as_low, evidence, softmax, temperature_of_classes
from flaxcnn.tasks.classification.comparison import mcnemar_lines
from flaxcnn.tasks.classification.confusion import confusion_matrix, most_confident_mistakes
from flaxcnn.tasks.classification.metrics import METRICS, CountedExamples, classification_metrics
from flaxcnn.tasks.classification.parts import mistakes_of, parts_of
from flaxcnn.tasks.classification.pictures import draw_confusion, draw_mistakes
from flaxcnn.tasks.task import Interval, Mistakes, Picture, Predicted, Task, require_names

_MOST_MISTAKES = 30
_LEAST_MISS = 1e-7  # 1 - p is at least this in a focal loss


@dataclass(frozen=True)
class Classification(Task):
    """One class per image. Targets are class numbers, int32 (N,)."""

    name = "classification"
    metrics = METRICS
    logged = ("accuracy",)
    compared = ("accuracy", "log_loss")
    tabled = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "calibration_error")
    uses = frozenset({"label_smoothing", "class_weights", "focal_gamma", "sampling", "mixup"})
    counted = MappingProxyType({"accuracy": "correct"})

    @property
    def reported(self) -> tuple[str, ...]:
        """The accuracy; `test_metrics.json` holds all other metrics."""
        return self.logged

    def check(self, targets: Any, names: Any, where: str) -> None:
        """Raise DataError if the targets are not one class number per image."""
        if not holds_classes(targets):
            raise DataError(
                "not one class number per image",
                where=f"{where} targets",
                expected="int32 (N,) for the task classification",
                found=described_targets(targets),
                fix="choose a task that fits these targets with --task.name",
            )
        require_names(names, None, where)
        check_class_range(targets, len(names), f"{where} targets")

    def outputs(self, targets: Any, names: Any) -> int:
        """Return the number of classes."""
        return len(names)

    def described(self, targets: Any, names: Any) -> str:
        """Return "10 classes"."""
        return f"{len(names)} classes"

    def class_counts(self, train_targets: Any, outputs: int) -> np.ndarray:
        """Return the number of training examples of each class, (K,)."""
        return np.bincount(train_targets, minlength=outputs)

    def present(self, targets: Any) -> Any:
        """Return which examples have a label, that is, a label that is not negative."""
        return rows_where(lambda labels: labels >= 0, targets)

    def losses(self, values: Any, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> jax.Array:
        """Return softmax cross-entropy in nats with smoothed labels, weighted by class, float32 (B,).

        With smoothing s, the label's class has the weight 1 - s + s / K and every other class s / K, as in
        `optax.smooth_labels`. Source: C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
        CVPR 2016, section 7. The batch mean divides by the number of examples, not by the sum of their class weights,
        so that the means of a batch's parts can be averaged. A label out of range has the loss NaN.

        With a focal gamma, each class's cross-entropy is multiplied by (1 - p)^gamma, p being its probability. Source:
        T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 3.2; their alpha is a class
        weight.

        Raises:
            DataError: the labels are not one integer per row of logits, or there is not one class weight per class.
        """
        check_labels(targets, outputs.shape[0])
        classes = outputs.shape[-1]
        logits, labels = outputs.astype(jnp.float32), with_none_negative(targets, classes)
        of_label = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if values is None:
            return of_label
        if values.focal_gamma is None:
            of_all = jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
        else:
            of_label = _focal(of_label, values.focal_gamma)
            of_all = _focal(-jax.nn.log_softmax(logits), values.focal_gamma).mean(-1)
        share, weights = values.label_smoothing, values.class_weights
        losses = (1 - share) * of_label + share * of_all
        if weights is not None and weights.shape != (classes,):
            raise DataError("not one weight per class", where="class_weights", expected=(classes,), found=weights.shape)
        return losses if weights is None else losses * weights[labels]

    def statistics(self, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> dict[str, jax.Array]:
        """Return which examples are classified correctly; those with a label out of range are not."""
        return {"correct": jnp.argmax(outputs, -1) == targets}

    def measures(self, sums: Mapping[str, Any], examples: Any) -> dict[str, Any]:
        """Return the accuracy."""
        return {"accuracy": sums["correct"] / examples}

    def decode(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> dict[str, jax.Array]:
        """Return the logits, float32 (B, K)."""
        return {"logits": outputs}

    def check_range(self, outputs: int, targets: Any) -> None:
        """Check that labels are in 0 to K - 1."""
        label_in_range_check(targets, outputs)

    def scores(self, predicted: Predicted) -> CountedExamples:
        """Return the metrics of `CountedExamples`."""
        return CountedExamples(predicted.targets, predicted.prediction("logits"))

    def calibration(self, validation: Predicted) -> dict[str, Any]:
        """Return the temperature, and how much evidence the validation images give, which tells strange images."""
        logits_NxK = validation.prediction("logits")
        found = {
            "temperature": temperature_of_classes(logits_NxK, validation.targets),
            "evidence": np.sort(evidence(logits_NxK)).tolist(),
        }
        if DISTANCE in validation.predictions:
            found[DISTANCE] = np.sort(-validation.prediction(DISTANCE)).tolist()
        return found

    def answers(self, predicted: Predicted, calibration: Mapping[str, Any], top: int) -> list[dict[str, Any]]:
        """Return each image's class and probability, and the most probable classes with theirs.

        With a calibration also `familiar`, a p value: how often an image from where the validation images are from
        looks as strange (`as_low`). An image of something else may have a small one, whatever class is named.
        `familiar_by` has the p values that it is made of: `evidence`, by how little evidence there is for any class at
        all, and `features`, by how far the image's features are from those of every class, where the model knows of
        them (`flaxcnn.evaluation.familiarity`). `familiar` is twice the smaller one, which holds as a p value, too
        (Bonferroni): each finds images that the other does not.
        """
        temperature, names = calibration.get("temperature", 1.0), predicted.names
        logits_NxK = predicted.prediction("logits")
        by = {}
        if "evidence" in calibration:
            by["evidence"] = as_low(evidence(logits_NxK), calibration["evidence"])
            if DISTANCE in calibration and DISTANCE in predicted.predictions:
                by["features"] = as_low(-predicted.prediction(DISTANCE).astype(np.float64), calibration[DISTANCE])
        found: list[dict[str, Any]] = []
        for place, of_each in enumerate(softmax(logits_NxK, temperature)):
            ranked = np.argsort(-of_each, kind="stable")[:top]
            best = [{"class": names[one], "probability": float(of_each[one])} for one in ranked]
            found.append({**best[0], "top": best})
            if by:
                each = {name: float(values_N[place]) for name, values_N in by.items()}
                found[-1] |= {"familiar": min(1.0, len(each) * min(each.values())), "familiar_by": each}
        return found

    def report(self, predicted: Predicted) -> dict[str, Any]:
        """Return every metric, including those per class."""
        found = classification_metrics(predicted.targets, predicted.prediction("logits"))
        return {"class_names": predicted.names, **found.to_json()}

    def pictures(self, predicted: Predicted) -> Iterable[Picture]:
        """Return the confusion matrix and the most confident mistakes."""
        labels, names, logits = predicted.targets, predicted.names, predicted.prediction("logits")
        yield Picture("confusion.png", partial(draw_confusion, confusion_matrix(labels, logits), names))
        if predicted.images is not None:
            mistakes = most_confident_mistakes(labels, logits, _MOST_MISTAKES)
            yield Picture("mistakes.png", partial(draw_mistakes, predicted.images, mistakes, names))

    def parts(self, test: Predicted, validation: Predicted | None, interval: Interval) -> Iterable[Part]:
        """Return each class, the confusion, the reliability, and precision over recall."""
        return parts_of(test, validation, interval)

    def mistakes(self, predicted: Predicted, calibration: Mapping[str, Any], most: int) -> Sequence[Mistakes]:
        """Return the most confident mistakes."""
        return (mistakes_of(predicted, calibration, most),)

    def differences(self, a: Predicted, b: Predicted, called: tuple[str, str]) -> Sequence[str]:
        """Return the result of McNemar's exact test on the two models' accuracies."""
        return mcnemar_lines(a.targets, a.prediction("logits"), b.prediction("logits"), called)


def _focal(losses: jax.Array, gamma: jax.Array) -> jax.Array:
    """Return cross-entropies -log p, each multiplied by (1 - p)^gamma."""
    # A derivative of a power is infinite at 0, and 0 where what is raised is held above it.
    return losses * jnp.maximum(-jnp.expm1(-losses), _LEAST_MISS) ** gamma
