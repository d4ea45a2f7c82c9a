"""What a finished run keeps to tell strange images by: `familiar.npz`, with statistics of features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.adapters import FlaxModule
from flaxcnn.errors import RunFolderError
from flaxcnn.evaluation.familiarity import MOST_FEATURES, Familiarity, features_count, fit
from flaxcnn.files.npz import Form, read_npz
from flaxcnn.jax_settings import pinned
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.setup import Setup
from flaxcnn.tasks import Classification

FAMILIAR = "familiar.npz"
NAMES = ("means", "whitening", "distances")
"""Of its arrays, in the order of `Familiarity`."""
_MOST_IMAGES = 10_000  # of the training that are looked at, and of the validation
_MOST_ROWS = 1 << 22  # classes, and validation images


def familiarity_of(setup: Setup, model: FlaxModule, variables: Any) -> Familiarity | None:
    """Return the familiarity of a finished training; None without one.

    It takes a classifier whose model names its features, and validation images, by which distances are judged. It looks
    at no more than 10,000 training images, not augmented.

    Args:
        setup: of the training.
        model: the trained one, folded.
        variables: of the model, on the host.
    """
    if setup.validation is None or not isinstance(setup.task, Classification):
        return None
    count = features_count(model, variables, setup.dataset.image_shape)
    if count is None:
        return None
    positions = some_of_each(setup.train.targets, _MOST_IMAGES)
    validation = setup.validation.first(min(len(setup.validation), _MOST_IMAGES))
    with pinned():
        return fit(model, variables, setup.train, positions, validation, count)


def some_of_each(classes_N: np.ndarray, most: int) -> np.ndarray:
    """Return positions of at most so many examples, in order: two of each class, and of the rest any, always the same.

    Those at equal distances would miss classes wherever examples are in the order of a cycle.
    """
    order = np.argsort(np.random.PCG64(0).random_raw(len(classes_N)), kind="stable")  # NumPy never changes these bits
    _, first_of, places = np.unique(classes_N[order], return_index=True, return_inverse=True)
    again = np.arange(len(order)) != first_of[places]
    left = np.flatnonzero(again)
    second_of = left[np.unique(classes_N[order][left], return_index=True)[1]]
    rank = np.full(len(order), 2)
    rank[second_of], rank[first_of] = 1, 0
    return np.sort(order[np.argsort(rank, kind="stable")[:most]])


def save_familiarity(folder: RunFolder, familiarity: Familiarity | None) -> None:
    """Write a run's familiarity, or remove that of an earlier end; raises as `RunFolder.write`."""
    if familiarity is None:
        (folder.path / FAMILIAR).unlink(missing_ok=True)
        return

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays_of(familiarity))  # type: ignore[arg-type]

    folder.write(FAMILIAR, write)


def load_familiarity(folder: RunFolder) -> Familiarity | None:
    """Read what `save_familiarity` wrote; None where the run has none.

    Raises:
        RunFolderError: it is damaged.
    """
    path = folder.path / FAMILIAR
    if not path.exists():
        return None
    most = path.stat().st_size  # they are not compressed
    arrays = read_npz(path, lambda forms: require_forms(forms, path), most=most, what="statistics that flaxcnn saved")
    return familiarity_from(arrays, path)


def arrays_of(familiarity: Familiarity) -> dict[str, np.ndarray]:
    """Return what is kept of a familiarity, by name."""
    return {name: np.asarray(array) for name, array in zip(NAMES, familiarity, strict=False)}


def familiarity_from(arrays: Mapping[str, np.ndarray], where: object) -> Familiarity:
    """Return a familiarity of its arrays; raises RunFolderError where a number is not finite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise RunFolderError(f"damaged at {name}", where=where, expected="finite numbers")
    return Familiarity(*(arrays[name] for name in NAMES))


def require_forms(forms: Mapping[str, Form], where: object) -> None:
    """Raise RunFolderError unless arrays have the names, types and shapes of a familiarity's."""
    shapes = {name: form.shape for name, form in forms.items() if form.dtype.str == "<f4"}
    sound = set(forms) == set(NAMES) == set(shapes)
    if sound:
        means, whitening, distances = (shapes[name] for name in NAMES)
        sound = (len(means), len(distances)) == (2, 1) and whitening == (means[1], means[1])
        sound = sound and 0 < means[1] <= MOST_FEATURES
        sound = sound and 0 < means[0] <= _MOST_ROWS and 0 < distances[0] <= _MOST_ROWS
    if not sound:
        found = "; ".join(f"{name} {form}" for name, form in forms.items())[:300] or "nothing"
        expected = "means (K, D), whitening (D, D), distances (M,) of float32"
        raise RunFolderError("not the statistics of features", where=where, expected=expected, found=found)
