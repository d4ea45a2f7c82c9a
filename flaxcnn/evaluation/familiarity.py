"""How far an image's features are from those of a classifier's training images: a Mahalanobis distance.

Source: K. Lee, K. Lee, H. Lee and J. Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks", NeurIPS 2018, section 2.1: a Gaussian for each class with one covariance for all, of the features
before the last layer. Without their noise on inputs and their other layers, which have to be tuned by strange images.

Many features are projected to fewer by random signs, which nearly keeps distances (D. Achlioptas, "Database-friendly
random projections", JCSS 66, 2003), so that what a model file carries is 1 MiB at most.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from flaxcnn.adapters import FlaxModule
from flaxcnn.data import Images, Split
from flaxcnn.data.images import choose
from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.sums import features_of, predict_with_features
from flaxcnn.tasks import Task
from flaxcnn.tasks.calibration import DISTANCE

MOST_FEATURES = 512
"""What distances are computed of; more features are projected to so many."""
_LEAST = 2  # training images of a class, and features
_PIECE_BYTES = 8 << 20  # of the images that are computed at once, and of their features
_MOST_VALUES = 1 << 27  # features of one image times those that they are projected to


class Familiarity(NamedTuple):
    """What tells images like those of the training from others.

    Attributes:
        means_KxD: float32, the mean features of each class that has training images, whitened.
        whitening_DxD: float32; features, less than their mean, times it have the covariance 1 within classes.
        distances_M: float32, the distances of the validation images.
        signs_FxD: the projection of the features; None where they are not projected. It is in no file.
    """

    means_KxD: np.ndarray  # noqa: N815
    whitening_DxD: np.ndarray  # noqa: N815
    distances_M: np.ndarray  # noqa: N815
    signs_FxD: np.ndarray | None = None  # noqa: N815


def features_count(model: FlaxModule, variables: Any, image_shape: tuple[int, int, int]) -> int | None:
    """Return how many features a model's endpoint "features" has; None where it has no such endpoint, or too many."""
    shape = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
    try:
        found = jax.eval_shape(partial(features_of, model), variables, shape)
    except ConfigError:
        return None
    fits = found.shape[1] >= _LEAST and found.shape[1] * MOST_FEATURES <= _MOST_VALUES
    return found.shape[1] if fits else None


def projection(count: int) -> npt.NDArray[np.float32] | None:
    """Return signs that project features to `MOST_FEATURES`, (count, D), over √D; None where there are no more.

    They are the bits of a PCG64 generator that begins at 0, which NumPy never changes.
    """
    if count <= MOST_FEATURES:
        return None
    numbers = np.random.PCG64(0).random_raw(count * MOST_FEATURES // 64).astype("<u8")
    bits = np.unpackbits(numbers.view(np.uint8), bitorder="little").reshape(count, MOST_FEATURES)
    one = np.float32(1 / math.sqrt(MOST_FEATURES))
    return np.where(bits, one, -one)


def fit(
    model: FlaxModule, variables: Any, train: Split, positions: npt.NDArray[np.int64], validation: Split, count: int
) -> Familiarity | None:
    """Return the familiarity of a trained classifier; None where too few images, or equal features, give none.

    Args:
        model: the classifier.
        variables: of the model.
        train: the images that it was trained on, with their classes; what is below 0 is none.
        positions: of those that are looked at.
        validation: images that it was not trained on.
        count: of its features (`features_count`).
    """
    features_NxD = projected(model, variables, train.images, positions, count)
    classes, places_N, sizes_K = np.unique(train.targets[positions], return_inverse=True, return_counts=True)
    kept = np.flatnonzero((classes >= 0) & (sizes_K >= _LEAST))
    if not len(kept) or not np.isfinite(features_NxD).all():
        return None
    means_KxD = np.stack([features_NxD[places_N == each].mean(0) for each in kept])
    of_kept = np.isin(places_N, kept)
    covariance = shrunk_covariance(features_NxD[of_kept] - means_KxD[np.searchsorted(kept, places_N[of_kept])])
    if covariance is None:
        return None
    try:
        whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
    except np.linalg.LinAlgError:  # to rounding it is of fewer dimensions
        return None
    means = (means_KxD @ whitening).astype(np.float32)
    found = Familiarity(means, whitening.astype(np.float32), np.zeros(0, np.float32))
    each = projected(model, variables, validation.images, np.arange(len(validation)), count)
    found = found._replace(distances_M=np.asarray(distances(jnp.asarray(each, jnp.float32), found)))
    return found if all(np.isfinite(array).all() for array in found[:3]) else None


def shrunk_covariance(centred_NxD: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return the covariance of vectors with the mean 0, shrunk to a multiple of 1; None where they are all 0.

    Source: Y. Chen, A. Wiesel, Y. Eldar and A. Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", IEEE
    Transactions on Signal Processing 58, 2010, formula 23 (OAS): for few vectors of many numbers, without a choice. As
    scikit-learn has it, without the terms in 2 over the size.
    """
    count, size = centred_NxD.shape
    covariance = centred_NxD.T @ centred_NxD / count
    mean = np.trace(covariance) / size
    if not mean > 0:
        return None
    squares = float(np.mean(covariance**2))
    below = (count + 1) * (squares - mean**2 / size)
    share = min(1.0, (squares + mean**2) / below) if below > 0 else 1.0
    found: npt.NDArray[np.float64] = (1 - share) * covariance
    found[np.diag_indices(size)] += share * mean
    return found


def projected(
    model: FlaxModule, variables: Any, images: Images, positions: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64]:
    """Return the projected features of some images, float64 (N, D)."""
    signs = projection(count)
    placed = None if signs is None else jnp.asarray(signs)
    pieces = _pieces(images, positions, count)
    found = [np.asarray(_projected(model, variables, piece, placed))[:size] for piece, size in pieces]
    return np.concatenate(found).astype(np.float64)


def distances(features_NxD: jax.Array, familiarity: Familiarity) -> jax.Array:
    """Return the squared Mahalanobis distance of projected features from the nearest class's mean, float32 (N,)."""
    highest = jax.lax.Precision.HIGHEST
    whitened = jnp.matmul(features_NxD, jnp.asarray(familiarity.whitening_DxD), precision=highest)

    def to_class(mean_D: jax.Array) -> jax.Array:
        return jnp.sum((whitened - mean_D) ** 2, axis=1)  # the squares of a difference: a difference of squares cancels

    return jnp.min(jax.lax.map(to_class, jnp.asarray(familiarity.means_KxD)), axis=0)  # one class after the other


@partial(jax.jit, static_argnames=("model", "task"))
def predict_with_distance(
    model: FlaxModule,
    variables: Any,
    images_NHWC: jax.Array,
    familiarity: Familiarity,
    *,
    task: Task,
) -> dict[str, jax.Array]:
    """Return predictions as `predict` does, and the images' distances, float32 (N,), by the name "distance".

    Args:
        model: as `predict` has it.
        variables: of the model.
        images_NHWC: uint8 images.
        familiarity: of the model, with the projection.
        task: as `predict` has it.
    """
    predictions, features = predict_with_features(model, variables, images_NHWC, task)
    return {**predictions, DISTANCE: distances(_times(features, familiarity.signs_FxD), familiarity)}


@partial(jax.jit, static_argnames="model")
def _projected(model: FlaxModule, variables: Any, images: jax.Array, signs_FxD: jax.Array | None) -> jax.Array:
    return _times(features_of(model, variables, images), signs_FxD)


def _times(features_NxF: jax.Array, signs_FxD: Any) -> jax.Array:
    if signs_FxD is None:
        return features_NxF
    return jnp.matmul(features_NxF, signs_FxD, precision=jax.lax.Precision.HIGHEST)


def _pieces(images: Images, positions: npt.NDArray[np.int64], count: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield images in pieces of one size, the last one padded, with how many of them are images."""
    most = max(1, _PIECE_BYTES // max(math.prod(images.shape[1:]), 4 * count))
    size = min(most, len(positions))
    for first in range(0, len(positions), size):
        piece = np.asarray(choose(images, positions[first : first + size]))
        yield np.pad(piece, [(0, size - len(piece)), (0, 0), (0, 0), (0, 0)]), len(piece)
