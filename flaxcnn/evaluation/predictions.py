"""A model's predictions for each example of a test set, as an `.npz` file that NumPy alone can read.

Every metric can be recomputed from it, and two models can be compared on the same examples. Equal predictions give
equal bytes, so the file's digest identifies them.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flaxcnn.data.targets import leaves
from flaxcnn.errors import RunFolderError
from flaxcnn.files.npz import Form, read_npz
from flaxcnn.tasks import Predicted

_DTYPES = ("<i8", "<i4", "<f4", "|b1")  # little-endian by name, so that the bytes do not depend on the machine
VALIDATION = "validation_predictions.npz"  # of a run that has validation images
_TARGET, _CONSTANT = "target", "constant"


class Predictions(NamedTuple):
    """The predictions for N examples, in the data set's order.

    Attributes:
        index_N: int64, each example's position in its split.
        targets: the examples' targets, arrays with N rows.
        predictions: the task's predictions by name, arrays with N rows; for a classifier "logits", (N, K).
        constants: the model's constants by name.
        groups_N: int32, the group of each example; None without groups.
    """

    index_N: np.ndarray  # noqa: N815
    targets: Any
    predictions: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray] = {}
    groups_N: np.ndarray | None = None  # noqa: N815

    def predicted(self) -> Predicted:
        """Return the predictions in the form that a task takes."""
        return Predicted(self.targets, self.predictions, self.constants)

    def target_arrays(self) -> dict[str, np.ndarray]:
        """Return the targets by their names in the file: "target", or "target/NAME" for several."""
        return {f"{_TARGET}/{name}" if name else _TARGET: array for name, array in leaves(self.targets)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every array by its name in the file."""
        groups = {} if self.groups_N is None else {"group": self.groups_N}
        constants = {f"{_CONSTANT}/{name}": np.asarray(array) for name, array in self.constants.items()}
        return {"index": self.index_N, **groups, **self.target_arrays(), **self.predictions, **constants}


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions uncompressed; equal predictions give equal bytes.

    An existing file is overwritten, not atomically; `RunFolder.write` writes atomically.

    Args:
        path: the file, which ends with `.npz`.
        predictions: arrays of int64, int32, float32 or bool.

    Raises:
        OSError: the file cannot be written.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in predictions.arrays().items():
            content = io.BytesIO()
            little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
            np.lib.format.write_array(content, little_endian, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, on every system
            archive.writestr(member, content.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Read a file from `save_predictions`. The types and lengths of all arrays are checked before any is read.

    The task checks whether the predictions fit it.

    Raises:
        RunFolderError: the file is missing, cannot be read, is damaged, or holds something else.
    """
    try:
        arrays = read_npz(
            path,
            lambda forms: _require_forms(forms, path),
            most=path.stat().st_size,  # they are not compressed
            what="predictions that flaxcnn saved",
        )
    except FileNotFoundError as error:
        raise RunFolderError(
            "no predictions", where=path, fix="name the folder of a finished run, or resume an unfinished one"
        ) from error
    return _of_arrays(arrays, path)


def predictions_of(arrays: Mapping[str, np.ndarray], path: Path) -> Predictions:
    """Return predictions from `Predictions.arrays`; raises RunFolderError where they are none, naming a file."""
    _require_forms({name: Form(array.dtype, array.shape) for name, array in arrays.items()}, path)
    return _of_arrays(dict(arrays), path)


def _of_arrays(arrays: dict[str, np.ndarray], path: Path) -> Predictions:
    index, groups, targets = arrays.pop("index"), arrays.pop("group", None), arrays.pop(_TARGET, None)
    constants: dict[str, np.ndarray] = {}
    for name in list(arrays):
        kind, slash, rest = name.partition("/")
        if slash and kind == _CONSTANT:
            constants[rest] = arrays.pop(name)
        elif slash and kind == _TARGET:
            targets = _put({} if targets is None else targets, rest, arrays.pop(name), path)
    return Predictions(index, targets, arrays, constants, groups)


def _put(tree: Any, name: str, array: np.ndarray, path: Path) -> Any:
    """Return a tree of dictionaries with an array added; raises RunFolderError if its name is taken."""
    key, slash, rest = name.partition("/")
    if not isinstance(tree, dict) or (slash and not isinstance(tree.get(key, {}), dict)) or (not slash and key in tree):
        raise RunFolderError("damaged: two targets with the same name", where=path, found=name)
    tree[key] = _put(tree.get(key, {}), rest, array, path) if slash else array
    return tree


def _require_forms(forms: Mapping[str, Form], path: Path) -> None:
    """Raise RunFolderError if an archive's headers are not those of predictions."""
    index = forms.get("index")
    kinds = [name.partition("/")[0] for name in forms]
    predictions = set(kinds) - {"index", "group", _TARGET, _CONSTANT}
    wrong = [name for name, form in forms.items() if form.dtype.str not in _DTYPES or len(name) > 1000]
    whole = index is not None and index.dtype.str == "<i8" and len(index.shape) == 1
    if index is None or not whole or _TARGET not in kinds or not predictions or wrong:
        raise RunFolderError(
            "not the arrays of predictions",
            where=path,
            expected="index, target and predictions, of int64, int32, float32 or bool",
            found="; ".join(f"{name} {form.dtype.str} {form.shape}" for name, form in forms.items())[:300] or "nothing",
            fix="name a file that flaxcnn saved",
        )
    if "group" in forms and (forms["group"].dtype.str != "<i4" or len(forms["group"].shape) != 1):
        raise RunFolderError("damaged at group", where=path, expected="int32 (N,)", found=forms["group"].shape)
    for name, form in forms.items():
        if not name.startswith(f"{_CONSTANT}/") and form.shape[:1] != index.shape:
            raise RunFolderError(
                "damaged: arrays of different lengths",
                where=f"{path}: {name}",
                expected=f"a row for each of {index.shape[0]} examples",
                found=form.shape,
            )
