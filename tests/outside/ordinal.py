"""A task that flaxcnn does not know: ordered classes, by cumulative links.

Of K classes in order the model gives K - 1 logits, the k-th of which says whether the class is above k; an image's
class is the number of those that are positive (E. Frank and M. Hall, "A simple approach to ordinal classification",
ECML 2001). The quadratic weighted kappa is no sum over examples (J. Cohen, Psychological Bulletin 70, 1968).
"""

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
import optax

from flaxcnn.errors import DataError
from flaxcnn.pictures import new_figure
from flaxcnn.tasks import Metric, Picture, Task


@dataclass(frozen=True)
class Ordinal(Task):
    name = "ordinal"
    metrics = MappingProxyType(
        {
            "accuracy": Metric(higher_is_better=True, fraction=True),
            "class_error": Metric(higher_is_better=False, unit="classes"),
            "kappa": Metric(higher_is_better=True),
        }
    )
    logged = ("class_error", "accuracy")
    reported = ("kappa", "class_error", "accuracy")
    counted = MappingProxyType({"accuracy": "correct"})

    def check(self, targets, names, where):
        if isinstance(targets, dict) or targets.dtype != np.int32 or targets.ndim != 1:
            raise DataError("no ordered classes", where=where, expected="int32 (N,)")

    def outputs(self, targets, names):
        return len(names) - 1

    def losses(self, values, constants, outputs, targets):
        return jnp.sum(optax.sigmoid_binary_cross_entropy(outputs, above(targets, outputs.shape[-1])), -1)

    def statistics(self, constants, outputs, targets):
        predicted = jnp.sum(outputs > 0, -1)
        return {
            "correct": predicted == targets,
            "error": jnp.abs(predicted - targets).astype(jnp.float32),
        }

    def measures(self, sums, examples):
        return {"class_error": sums["error"] / examples, "accuracy": sums["correct"] / examples}

    def decode(self, constants, outputs):
        return {"cumulative_logits": outputs}

    def scores(self, predicted):
        return OrdinalScores(predicted.targets, np.sum(predicted.prediction("cumulative_logits") > 0, -1))

    def pictures(self, predicted):
        said = np.sum(predicted.prediction("cumulative_logits") > 0, -1)
        yield Picture("ordinal.png", partial(draw, predicted.targets, said))


class OrdinalScores:
    def __init__(self, targets_N, predicted_N):
        self.true_N, self.said_N = targets_N.astype(np.float64), predicted_N.astype(np.float64)

    def measure(self, counts_BxN, names=None):
        n_B = counts_BxN.sum(-1)

        def total(values_N):
            return counts_BxN @ values_N

        true, said = self.true_N, self.said_N
        by_chance = total(true**2) + total(said**2) - 2 * total(true) * total(said) / n_B
        with np.errstate(invalid="ignore"):  # 0 / 0 where one class alone occurs: not defined
            kappa = 1 - total((said - true) ** 2) / by_chance
        return {
            "accuracy": total(said == true) / n_B,
            "class_error": total(np.abs(said - true)) / n_B,
            "kappa": kappa,
        }


def above(targets_B, links):
    """Return whether each target is above 0, 1, …, float32 (B, links)."""
    return (targets_B[:, None] > jnp.arange(links)).astype(jnp.float32)


def draw(true_N, said_N, file):
    figure = new_figure(5, 4)
    axes = figure.subplots()
    axes.hist(said_N - true_N, bins=np.arange(-9.5, 10))
    axes.set(xlabel="predicted - true class", ylabel="images")
    figure.savefig(file)
