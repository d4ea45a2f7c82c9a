"""The task of finding which of several labels an image has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxcnn.data.targets import described_targets
from flaxcnn.errors import DataError
from flaxcnn.tasks.arithmetic import as_json, ratio
from flaxcnn.tasks.multilabel.pictures import draw_labels
from flaxcnn.tasks.multilabel.scores import METRICS, MultilabelScores, best_thresholds
from flaxcnn.tasks.task import Picture, Predicted, Task, require_names


@dataclass(frozen=True)
class Multilabel(Task):
    """Any number of labels for each image. Targets are bool (N, L): which of the labels an image has.

    A label is predicted where its logit is above its threshold: 0, a probability of one half, or what has the best F1
    on the validation images where there are any. The thresholds travel with the weights.
    """

    name = "multilabel"
    metrics = METRICS
    logged = ("micro_f1", "subset_accuracy", "hamming_loss")
    uses = frozenset({"label_smoothing", "class_weights", "mixup"})

    @property
    def reported(self) -> tuple[str, ...]:
        """Every metric, the mean average precision first."""
        return tuple(METRICS)

    @property
    def compared(self) -> tuple[str, ...]:
        """The two that do and do not depend on thresholds."""
        return ("mean_average_precision", "micro_f1")

    def check(self, targets: Any, names: Any, where: str) -> None:
        """Raise DataError where there is not one row of booleans for each image."""
        if not isinstance(targets, np.ndarray) or targets.dtype != bool or targets.ndim != 2:
            raise DataError(
                "no row of labels for each image",
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
        """Return a threshold for each label, 0 until it is chosen."""
        return {"thresholds": np.zeros(train_targets.shape[1], np.float32)}

    def class_counts(self, train_targets: Any, outputs: int) -> np.ndarray:
        """Return how many training images have each label, (L,)."""
        return np.asarray(train_targets).sum(0)

    def losses(self, values: Any, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> jax.Array:
        """Return sigmoid cross-entropy in nats, the mean over the labels, each times its weight; float32 (B,).

        Smoothing takes a label for 1 - s / 2 where an image has it and for s / 2 where it has not, as Keras does.

        Raises:
            DataError: the class weights are not one for each label.
        """
        wanted = targets.astype(jnp.float32)
        if values is None:
            return optax.sigmoid_binary_cross_entropy(outputs, wanted).mean(-1)
        wanted = wanted * (1 - values.label_smoothing) + values.label_smoothing / 2
        losses, weights = optax.sigmoid_binary_cross_entropy(outputs, wanted), values.class_weights
        if weights is not None:
            if weights.shape != outputs.shape[-1:]:
                expected, found = outputs.shape[-1:], weights.shape
                raise DataError("not one weight for each label", where="class_weights", expected=expected, found=found)
            losses = losses * weights
        return losses.mean(-1)

    def statistics(self, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> dict[str, jax.Array]:
        """Return how many labels each example has and is rightly predicted to have, and how many are wrong."""
        predicted = outputs > constants["thresholds"]
        wrong = predicted != targets
        return {
            "both": (predicted & targets).sum(-1, dtype=jnp.int32),
            "either": predicted.sum(-1, dtype=jnp.int32) + targets.sum(-1, dtype=jnp.int32),
            "exact": ~wrong.any(-1),
            "wrong": wrong.mean(-1, dtype=jnp.float32),
        }

    def measures(self, sums: Mapping[str, Any], examples: Any) -> dict[str, Any]:
        """Return micro F1, 0 where nothing is to be found or predicted, subset accuracy and Hamming loss."""
        return {
            "micro_f1": ratio(2 * sums["both"], sums["either"]),
            "subset_accuracy": sums["exact"] / examples,
            "hamming_loss": sums["wrong"] / examples,
        }

    def decode(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> dict[str, jax.Array]:
        """Return the logits, float32 (B, L)."""
        return {"logits": outputs}

    def scores(self, predicted: Predicted) -> MultilabelScores:
        """Return the metrics of `MultilabelScores`."""
        logits = predicted.prediction("logits")
        return MultilabelScores(predicted.targets, logits, predicted.constant("thresholds", logits.shape[1:]))

    def tuned(self, predicted: Predicted) -> dict[str, np.ndarray]:
        """Return the thresholds that have the best F1 of each label on these, the validation images."""
        thresholds = best_thresholds(predicted.targets, predicted.prediction("logits"))
        return {**predicted.constants, "thresholds": thresholds}

    def report(self, predicted: Predicted) -> dict[str, Any]:
        """Return every metric, and of each label its support, threshold, average precision and F1."""
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
        """Return the average precision and F1 of each label."""
        found = self.scores(predicted).measure(np.ones((1, len(predicted.targets)), np.int32))
        support = np.asarray(predicted.targets).sum(0)
        values = found["average_precision"][0], found["f1"][0]
        yield Picture("labels.png", partial(draw_labels, predicted.names, support, *values))
