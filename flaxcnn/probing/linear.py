"""Logistic and ridge regression of features, by scikit-learn. All choices are made in training."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flaxcnn.data.photographs.folds import fold_numbers
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.probing.examples import ABSENT, Array, Examples, Head, Said, of_each
from flaxcnn.probing.extra import require_sklearn
from flaxcnn.tasks import Classification, Regression, Several, Task

_ALPHAS = np.logspace(1, 6, 11)  # of ridge regression
_ITERATIONS = 3000
_FOLDS = 5  # of the training examples, to choose C


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
            return of_each(task, fit, train, features, validation)
        scaler, scaled = _scaled(train.features)
        others = scaler(features)
        if isinstance(task, Regression):
            return _ridge(task, scaled, train.targets, others)
        best = c[0] if len(c) == 1 else _best(task, sorted(set(c)), train, validation)
        logits, unfinished = _logistic(task, scaled, train.targets, others, best)
        chosen = {"c": best, **({"not converged": unfinished} if unfinished else {})}
        return Said({"logits": logits}, task.constants(train.targets), chosen)

    return fit


def _scaled(features: Array) -> tuple[Callable[[Array], Array], Array]:
    """Return what standardises features as the training examples', and those of these, float64."""
    from sklearn.preprocessing import StandardScaler

    fitted = StandardScaler().fit(features.astype(np.float64))
    return lambda others: fitted.transform(others.astype(np.float64)), fitted.transform(features.astype(np.float64))


def _logistic(task: Task, scaled: Array, targets: Any, others: Array, c: float) -> tuple[Array, int]:
    """Return the logits of others, float32 (M, K) or (M, L), and how many regressions did not converge."""
    if isinstance(task, Classification):
        present = np.unique(targets)
        logits = np.full((len(others), int(present.max()) + 1), ABSENT, np.float32)
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
    return np.maximum(fitted.predict_log_proba(others), ABSENT), converged


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
