"""What learns of features without a regression: the nearest neighbours, a tree, and the commonest target."""

import numpy as np

from flaxcnn.errors import ConfigError
from flaxcnn.probing.examples import Array, Examples, Head, Said, of_each
from flaxcnn.tasks import Classification, Regression, Several, Task

_TEMPERATURE = 0.07  # of the neighbours' weights
_LEAST = 1e-6  # probability that votes leave to a class, so that every logit is finite
_BLOCK = 1 << 24  # similarities at a time: 64 MB


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
            return of_each(task, fit, train, features, validation)
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
        return of_each(task, commonest, train, features, validation)
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
        return of_each(task, tree, train, features, validation)
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
