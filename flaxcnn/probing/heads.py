"""What learns of features: logistic or ridge regression, and the nearest neighbours. All choices are made in training.

The predictions have the form of a task's (`flaxcnn.evaluation.predictions`), so that a probe is measured, compared and
reported like a run.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.photographs.folds import fold_numbers
from flaxcnn.data.targets import choose_targets
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.probing.extra import require_sklearn
from flaxcnn.tasks import Classification, Regression, Several, Task

Array = npt.NDArray[Any]

_ALPHAS = np.logspace(1, 6, 11)  # of ridge regression
_ITERATIONS = 3000
_TEMPERATURE = 0.07  # of the neighbours' weights
_FOLDS = 5  # of the training examples, to choose C
_ABSENT = -100.0  # the logit of a class without a training example
_LEAST = 1e-6  # probability that votes leave to a class, so that every logit is finite
_BLOCK = 1 << 24  # similarities at a time: 64 MB


class Examples(NamedTuple):
    """Examples that a head learns of.

    Attributes:
        features: float32 (N, F).
        targets: of the task, arrays with N rows.
        digests: of each example's content, in hex; they divide the examples where something is to be chosen.
        groups: int32 (N,); None for no groups.
    """

    features: Array
    targets: Any
    digests: Sequence[str]
    groups: Array | None = None

    def choose(self, positions: Array) -> "Examples":
        """Return some of the examples."""
        return Examples(
            self.features[positions],
            choose_targets(self.targets, positions),
            [self.digests[position] for position in positions.tolist()],
            None if self.groups is None else self.groups[positions],
        )


class Said(NamedTuple):
    """What a head predicts.

    Attributes:
        predictions: of the task, by name: "logits" or "numbers", float32.
        constants: of the task, by name.
        chosen: what was chosen in training, by name, such as {"c": 0.01}; and "not converged", how many regressions
            had not when their iterations ended.
    """

    predictions: dict[str, Array]
    constants: dict[str, Array]
    chosen: dict[str, float]


Head = Callable[[Task, Examples, Array, "Examples | None"], Said]
"""Learns of training examples, and predicts for the features of others, float32 (M, F)."""


def linear(c: Sequence[float] = (0.01,)) -> Head:
    """Return a linear head: scikit-learn's logistic regression of standardised features, or ridge regression.

    Ridge regression has the alpha of the least leave-one-out error, of 11 from 10 to 1,000,000. Several values of `c`
    are compared by their accuracy (for labels the log loss) on the validation examples, or else in 5 folds of the
    training examples, whole groups each; of equal ones the smallest is chosen.

    Args:
        c: the inverse of the regularisation's strength, above 0.

    Raises:
        ConfigError: scikit-learn is not installed, or `c` is out of range.
    """
    require_sklearn()
    if not c or not all(0 < each < np.inf for each in c):
        raise ConfigError("out of range", where="--c", expected="numbers above 0", found=tuple(c))

    def fit(task: Task, train: Examples, features: Array, validation: Examples | None = None) -> Said:
        if isinstance(task, Several):
            return _of_each(task, fit, train, features, validation)
        scaler, scaled = _scaled(train.features)
        others = scaler(features)
        if isinstance(task, Regression):
            return _ridge(task, scaled, train.targets, others)
        best = c[0] if len(c) == 1 else _best(task, sorted(set(c)), train, validation)
        logits, unfinished = _logistic(task, scaled, train.targets, others, best)
        chosen = {"c": best, **({"not converged": unfinished} if unfinished else {})}
        return Said({"logits": logits}, task.constants(train.targets), chosen)

    return fit


def neighbours(count: int = 20) -> Head:
    """Return a head that asks the nearest training examples, by the cosine of the features.

    Each has the weight exp(cosine / 0.07); logits are logarithms of a class's share of the weights, numbers weighted
    means. Source: Z. Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018,
    section 3.4.

    Args:
        count: how many; all where there are fewer.

    Raises:
        ConfigError: it is less than 1.
    """
    if count < 1:
        raise ConfigError("out of range", where="--neighbours", expected="at least 1", found=count)

    def fit(task: Task, train: Examples, features: Array, validation: Examples | None = None) -> Said:
        if isinstance(task, Several):
            return _of_each(task, fit, train, features, validation)
        if isinstance(task, Classification):
            classes = int(np.max(train.targets)) + 1
            values = np.eye(classes)[train.targets]
        else:
            values = np.asarray(train.targets, np.float64).reshape(len(train.targets), -1)
        means = _votes(train.features, values, features, count)
        constants = task.constants(train.targets)
        if isinstance(task, Regression):
            return Said({"numbers": means.astype(np.float32)}, constants, {})
        shares = np.clip(means, _LEAST, 1 - _LEAST)
        logits = np.log(shares) if isinstance(task, Classification) else np.log(shares) - np.log1p(-shares)
        return Said({"logits": logits.astype(np.float32)}, constants, {})

    return fit


def commonest(task: Task, train: Examples, features: Array, validation: Examples | None = None) -> Said:
    """Predict without looking: the training examples' shares of the classes and labels, or their mean."""
    if isinstance(task, Several):
        return _of_each(task, commonest, train, features, validation)
    constants = task.constants(train.targets)
    targets = np.asarray(train.targets)
    if isinstance(task, Regression):
        row = targets.reshape(len(targets), -1).mean(0)
        return Said({"numbers": np.tile(row, (len(features), 1)).astype(np.float32)}, constants, {})
    shares = np.bincount(targets) / len(targets) if isinstance(task, Classification) else targets.mean(0)
    shares = np.clip(shares, _LEAST, 1 - _LEAST)
    row = np.log(shares) if isinstance(task, Classification) else np.log(shares) - np.log1p(-shares)
    return Said({"logits": np.tile(row, (len(features), 1)).astype(np.float32)}, constants, {})


def tree(task: Task, train: Examples, features: Array, validation: Examples | None = None) -> Said:
    """Predict by scikit-learn's decision tree of at most 32 leaves, which needs neither scales nor smoothness."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if isinstance(task, Several):
        return _of_each(task, tree, train, features, validation)
    constants = task.constants(train.targets)
    options = {"max_leaf_nodes": 32, "min_samples_leaf": 3, "random_state": 0}
    if isinstance(task, Regression):
        numbers = DecisionTreeRegressor(**options).fit(train.features, train.targets).predict(features)
        return Said({"numbers": numbers.reshape(len(features), -1).astype(np.float32)}, constants, {})

    def shares(targets: Array) -> tuple[Array, Array]:
        fitted = DecisionTreeClassifier(**options).fit(train.features, targets)
        return fitted.classes_, fitted.predict_proba(features)

    if isinstance(task, Classification):
        present, found = shares(train.targets)
        logits = np.full((len(features), int(present.max()) + 1), np.log(_LEAST))
        logits[:, present] = np.log(np.clip(found, _LEAST, 1))
    else:
        logits = np.empty((len(features), train.targets.shape[1]))
        for label, has in enumerate(train.targets.T):
            present, found = shares(has)
            share = found[:, 1] if len(present) == 2 else np.full(len(features), float(present[0]))
            share = np.clip(share, _LEAST, 1 - _LEAST)
            logits[:, label] = np.log(share) - np.log1p(-share)
    return Said({"logits": logits.astype(np.float32)}, constants, {})


def with_outputs(said: Said, task: Task, outputs: int) -> Said:
    """Return predictions with a logit for each class, also for those without a training example."""
    if not isinstance(task, Classification):
        return said
    logits = said.predictions["logits"]
    missing = outputs - logits.shape[1]
    padded = np.pad(logits, ((0, 0), (0, missing)), constant_values=_ABSENT)
    return said._replace(predictions={"logits": padded})


def _scaled(features: Array) -> tuple[Callable[[Array], Array], Array]:
    """Return what standardises features as the training examples', and those of these, float64."""
    from sklearn.preprocessing import StandardScaler

    fitted = StandardScaler().fit(features.astype(np.float64))
    return lambda others: fitted.transform(others.astype(np.float64)), fitted.transform(features.astype(np.float64))


def _logistic(task: Task, scaled: Array, targets: Any, others: Array, c: float) -> tuple[Array, int]:
    """Return the logits of others, float32 (M, K) or (M, L), and how many regressions did not converge."""
    if isinstance(task, Classification):
        present = np.unique(targets)
        logits = np.full((len(others), int(present.max()) + 1), _ABSENT, np.float32)
        logits[:, present], converged = _log_probabilities(scaled, targets, others, c)
        return logits, int(not converged)
    unfinished = 0
    logits = np.empty((len(others), targets.shape[1]), np.float32)
    for label, has in enumerate(targets.T):
        if has.all() or not has.any():  # nothing to learn: as sure as so many examples make it
            logits[:, label] = np.log(len(has) + 1) * (1 if has.all() else -1)
        else:
            found, converged = _log_probabilities(scaled, has, others, c)
            logits[:, label] = found[:, 1] - found[:, 0]
            unfinished += not converged
    return logits, unfinished


def _log_probabilities(scaled: Array, targets: Array, others: Array, c: float) -> tuple[Array, bool]:
    """Return logarithms of the probabilities of the classes that occur, (M, classes), and whether it converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(targets)) == 1:
        return np.zeros((len(others), 1)), True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is said with the result
        fitted = LogisticRegression(C=c, max_iter=_ITERATIONS).fit(scaled, targets)
    converged = bool(np.max(fitted.n_iter_) < _ITERATIONS)
    return np.maximum(fitted.predict_log_proba(others), _ABSENT), converged


def _ridge(task: Task, scaled: Array, targets: Array, others: Array) -> Said:
    from sklearn.linear_model import RidgeCV

    fitted = RidgeCV(_ALPHAS).fit(scaled, targets.astype(np.float64))
    numbers = fitted.predict(others).reshape(len(others), -1).astype(np.float32)
    return Said({"numbers": numbers}, task.constants(targets), {"alpha": float(fitted.alpha_)})


def _best(task: Task, c: Sequence[float], train: Examples, validation: Examples | None) -> float:
    """Return the value of C that is best on the validation examples, or in folds of the training examples."""
    if validation is not None:
        parts = [(train, validation)]
    else:
        classes = train.targets.tolist() if isinstance(task, Classification) else None
        groups = None if train.groups is None else train.groups.tolist()
        units = len(set(train.digests if groups is None else groups))
        if units < 2:
            raise DataError(
                "too few training examples to choose C", where="--c", expected="two groups or different images",
                found=units, fix="give one value",
            )  # fmt: skip
        numbers = fold_numbers(train.digests, min(_FOLDS, units), classes, groups)
        parts = [
            (train.choose(np.flatnonzero(numbers != fold)), train.choose(np.flatnonzero(numbers == fold)))
            for fold in range(int(np.max(numbers)) + 1)
        ]
    worth = np.zeros(len(c))
    for inner, outer in parts:
        scaler, scaled = _scaled(inner.features)
        others = scaler(outer.features)
        for place, each in enumerate(c):
            logits, _ = _logistic(task, scaled, inner.targets, others, each)
            worth[place] += _worth(task, logits, outer.targets)
    return c[int(np.argmax(np.round(worth, 9)))]


def _worth(task: Task, logits: Array, targets: Array) -> float:
    """Return how many examples are right; of labels, the negative log loss."""
    if isinstance(task, Classification):
        return float(np.count_nonzero(logits.argmax(1) == targets))
    signed = np.where(targets, logits, -logits).astype(np.float64)
    return -float(np.logaddexp(0, -signed).sum())


def _votes(train: Array, values: Array, others: Array, count: int) -> Array:
    """Return the weighted mean of the nearest examples' values, float64 (M, V)."""
    near = _directions(train)
    count = min(count, len(near))
    found = np.empty((len(others), values.shape[1]))
    rows = max(1, _BLOCK // len(near))
    for start in range(0, len(others), rows):
        cosines = _directions(others[start : start + rows]) @ near.T
        # Of equally near ones the first: which of them a partition takes differs between machines.
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(cosines, nearest, 1)
        weights = np.exp((best - best[:, :1]) / _TEMPERATURE)
        weights /= weights.sum(1, keepdims=True)
        found[start : start + rows] = np.einsum("mk,mkv->mv", weights, values[nearest])
    return found


def _directions(features: Array) -> Array:
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def _of_each(task: Several, fit: Head, train: Examples, features: Array, validation: Examples | None) -> Said:
    """Return what a head says of each of several targets, learned of the examples that have it."""
    predictions: dict[str, Array] = {}
    constants: dict[str, Array] = {}
    chosen: dict[str, float] = {}
    for head in task.heads:
        own = _having(head.name, head.task, train)
        if own is None:
            raise DataError(
                "no targets", where=f"training targets {head.name}", expected="at least one image with a target",
                found="none",
            )  # fmt: skip
        checked = None if validation is None else _having(head.name, head.task, validation)
        said = with_outputs(fit(head.task, own, features, checked), head.task, head.width)
        predictions |= {f"{head.name}.{name}": array for name, array in said.predictions.items()}
        constants |= {f"{head.name}.{name}": array for name, array in said.constants.items()}
        chosen |= {f"{head.name} {name}": value for name, value in said.chosen.items()}
    return Said(predictions, constants, chosen)


def _having(name: str, task: Task, examples: Examples) -> Examples | None:
    """Return the examples that have a target, with that target alone; None where none has it."""
    targets: Mapping[str, Array] = examples.targets
    present = np.flatnonzero(np.asarray(task.present(targets[name])))
    return examples._replace(targets=targets[name]).choose(present) if len(present) else None
