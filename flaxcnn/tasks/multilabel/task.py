"""The multilabel task: any number of labels per image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxcnn.data.targets import described_targets
from flaxcnn.errors import DataError
from flaxcnn.pages.parts import Part
from flaxcnn.tasks.arithmetic import as_json, ratio
from flaxcnn.tasks.calibration import sigmoid, temperature_of_labels
from flaxcnn.tasks.multilabel.parts import mistakes_of, parts_of
from flaxcnn.tasks.multilabel.pictures import draw_labels
from flaxcnn.tasks.multilabel.scores import METRICS, MultilabelScores, best_thresholds
from flaxcnn.tasks.task import Interval, Mistakes, Picture, Predicted, Task, require_names


@dataclass(frozen=True)
class Multilabel(Task):
    """Any number of labels per image. Targets are bool (N, L): whether an image has each label.

    A label is predicted if its logit is above the label's threshold. With validation images, the threshold is the one
    with the best F1 on them; otherwise it is 0, a probability of 0.5. The thresholds are saved with the weights.
    """

    name = "multilabel"
    metrics = METRICS
    logged = ("micro_f1", "subset_accuracy", "hamming_loss")
    uses = frozenset({"label_smoothing", "class_weights", "focal_gamma", "mixup"})

    @property
    def reported(self) -> tuple[str, ...]:
        """Every metric; mean average precision first."""
        return tuple(METRICS)

    @property
    def compared(self) -> tuple[str, ...]:
        """Mean average precision, which needs no thresholds, and micro F1, which does."""
        return ("mean_average_precision", "micro_f1")

    def check(self, targets: Any, names: Any, where: str) -> None:
        """Raise DataError if the targets are not one row of booleans per image."""
        if not isinstance(targets, np.ndarray) or targets.dtype != bool or targets.ndim != 2:
            raise DataError(
                "not one row of labels per image",
                where=f"{where} targets",
                expected="bool (N, L) for the task multilabel",
                found=described_targets(targets),
            )
        require_names(names, targets.shape[1], where)

    def outputs(self, targets: Any, names: Any) -> int:
        """Return the number of labels."""
        return len(names)

    def described(self, targets: Any, names: Any) -> str:
        """Return "14 labels"."""
        return f"{len(names)} {'label' if len(names) == 1 else 'labels'}"

    def constants(self, train_targets: Any) -> dict[str, np.ndarray]:
        """Return the initial threshold of each label, 0."""
        return {"thresholds": np.zeros(train_targets.shape[1], np.float32)}

    def class_counts(self, train_targets: Any, outputs: int) -> np.ndarray:
        """Return the number of training images with each label, (L,)."""
        return np.asarray(train_targets).sum(0)

    def losses(self, values: Any, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> jax.Array:
        """Return sigmoid cross-entropy in nats, averaged over the labels with their weights; float32 (B,).

        With smoothing s, the target of a label is 1 - s / 2 if the image has it and s / 2 if not, as in Keras. With a
        focal gamma, the terms of presence and absence are multiplied by (1 - p)^gamma and p^gamma, p being the label's
        probability (Lin et al., ICCV 2017).

        Raises:
            DataError: there is not one class weight per label.
        """
        wanted = targets.astype(jnp.float32)
        if values is None:
            return optax.sigmoid_binary_cross_entropy(outputs, wanted).mean(-1)
        wanted = wanted * (1 - values.label_smoothing) + values.label_smoothing / 2
        losses, weights = _cross_entropies(outputs, wanted, values.focal_gamma), values.class_weights
        if weights is not None:
            if weights.shape != outputs.shape[-1:]:
                expected, found = outputs.shape[-1:], weights.shape
                raise DataError("not one weight per label", where="class_weights", expected=expected, found=found)
            losses = losses * weights
        return losses.mean(-1)

    def statistics(self, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> dict[str, jax.Array]:
        """Return each example's counts of true positives, of labels and predictions, and its share of wrong labels."""
        predicted = outputs > constants["thresholds"]
        wrong = predicted != targets
        return {
            "both": (predicted & targets).sum(-1, dtype=jnp.int32),
            "either": predicted.sum(-1, dtype=jnp.int32) + targets.sum(-1, dtype=jnp.int32),
            "exact": ~wrong.any(-1),
            "wrong": wrong.mean(-1, dtype=jnp.float32),
        }

    def measures(self, sums: Mapping[str, Any], examples: Any) -> dict[str, Any]:
        """Return micro F1 (0 without any labels and predictions), subset accuracy and Hamming loss."""
        return {
            "micro_f1": ratio(2 * sums["both"], sums["either"]),
            "subset_accuracy": sums["exact"] / examples,
            "hamming_loss": sums["wrong"] / examples,
        }

    def decode(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> dict[str, jax.Array]:
        """Return the logits, float32 (B, L)."""
        return {"logits": outputs}

    def explained(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> jax.Array:
        """Return how far each label's logit is above its threshold, float32 (B, L): above 0 the label is named."""
        return outputs - constants["thresholds"]

    def scores(self, predicted: Predicted) -> MultilabelScores:
        """Return the metrics of `MultilabelScores`."""
        logits = predicted.prediction("logits")
        return MultilabelScores(predicted.targets, logits, predicted.constant("thresholds", logits.shape[1:]))

    def tuned(self, predicted: Predicted) -> dict[str, np.ndarray]:
        """Return the constants with each label's threshold of best F1 on these validation images."""
        thresholds = best_thresholds(predicted.targets, predicted.prediction("logits"))
        return {**predicted.constants, "thresholds": thresholds}

    def calibration(self, validation: Predicted) -> dict[str, Any]:
        """Return the temperature of the probabilities; which labels are named is decided by the thresholds."""
        return {"temperature": temperature_of_labels(validation.prediction("logits"), validation.targets)}

    def answers(self, predicted: Predicted, calibration: Mapping[str, Any], top: int) -> list[dict[str, Any]]:
        """Return each image's labels, and the probability of every label, the most probable first."""
        logits_NxL, names = predicted.prediction("logits"), predicted.names
        present_NxL = logits_NxL > predicted.constant("thresholds", logits_NxL.shape[1:])
        probabilities_NxL = sigmoid(logits_NxL, calibration.get("temperature", 1.0))
        found = []
        for present, of_each in zip(present_NxL, probabilities_NxL, strict=True):
            ranked = np.argsort(-of_each, kind="stable")
            labels = [names[place] for place in ranked if present[place]]
            found.append({"labels": labels, "probabilities": {names[each]: float(of_each[each]) for each in ranked}})
        return found

    def report(self, predicted: Predicted) -> dict[str, Any]:
        """Return every metric, and each label's support, threshold, average precision and F1."""
        found = self.scores(predicted).measure(np.ones((1, len(predicted.targets)), np.int32))
        values = {name: value[0].tolist() for name, value in found.items()}
        of_labels = {
            "labels": predicted.names,
            "support": np.asarray(predicted.targets).sum(0).tolist(),
            "thresholds": np.asarray(predicted.constants["thresholds"]).tolist(),
            "average_precision": as_json(values.pop("average_precision")),
            "f1": values.pop("f1"),
        }
        return {**{name: as_json(value) for name, value in values.items()}, **of_labels}

    def pictures(self, predicted: Predicted) -> Iterable[Picture]:
        """Return a plot of each label's average precision and F1."""
        found = self.scores(predicted).measure(np.ones((1, len(predicted.targets)), np.int32))
        support = np.asarray(predicted.targets).sum(0)
        values = found["average_precision"][0], found["f1"][0]
        yield Picture("labels.png", partial(draw_labels, predicted.names, support, *values))

    def parts(self, test: Predicted, validation: Predicted | None, interval: Interval) -> Iterable[Part]:
        """Return each label, the reliability, and precision over recall."""
        return parts_of(test, validation, interval)

    def mistakes(self, predicted: Predicted, calibration: Mapping[str, Any], most: int) -> Sequence[Mistakes]:
        """Return the images whose wrong labels are surest."""
        return (mistakes_of(predicted, calibration, most),)


def _cross_entropies(outputs: jax.Array, wanted: jax.Array, gamma: jax.Array | None) -> jax.Array:
    """Return the sigmoid cross-entropy of each label, or its focal loss."""
    if gamma is None:
        return optax.sigmoid_binary_cross_entropy(outputs, wanted)
    present, absent = jax.nn.log_sigmoid(outputs), jax.nn.log_sigmoid(-outputs)
    return -wanted * jnp.exp(gamma * absent) * present - (1 - wanted) * jnp.exp(gamma * present) * absent
