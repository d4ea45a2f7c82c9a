"""What a model said of each example of a test set, as one `.npz` file that NumPy alone can read.

From it every metric can be computed again, and two models compared on the same examples. The same predictions give the
same bytes, so that a digest of the file is one of the predictions.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flaxcnn.errors import RunFolderError
from flaxcnn.files.npz import Form, read_npz

# Little-endian by name, so that the file's bytes don't depend on the machine.
_FORMATS = {"index": ("<i8", 1), "label": ("<i4", 1), "logits": ("<f4", 2)}  # name: dtype, dimensions


class Predictions(NamedTuple):
    """The logits of N examples for K classes, in the data set's order."""

    index_N: np.ndarray  # noqa: N815 – int64, each example's place in its split
    label_N: np.ndarray  # noqa: N815 – int32, class numbers
    logits_NxK: np.ndarray  # noqa: N815 – float32


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions: `index`, `label` and `logits`, not compressed, with the same bytes whenever they are the same.

    A file that is there is overwritten; to write whole or not at all is `RunFolder.write`'s work.

    Args:
        path: the file, which ends with `.npz`.
        predictions: arrays of the types that `Predictions` says, or that convert to them.

    Raises:
        OSError: the system would not write it.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for (name, (dtype, _)), array in zip(_FORMATS.items(), predictions, strict=True):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array, dtype), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, on every system
            archive.writestr(member, content.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote; no array is read before the types and lengths of all of them are known.

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
            "no predictions", where=path, fix="name the folder of a run that ended; go on with one that did not"
        ) from error
    found = Predictions(arrays["index"], arrays["label"], arrays["logits"])
    wrong = found.label_N[(found.label_N < 0) | (found.label_N >= found.logits_NxK.shape[1])]
    if wrong.size:
        raise RunFolderError(
            "damaged: a label without logits",
            where=path,
            expected=f"0 to {found.logits_NxK.shape[1] - 1}",
            found=wrong[0],
        )
    return found


def _require_forms(forms: Mapping[str, Form], path: Path) -> None:
    """Raise RunFolderError where an archive's headers are not those of predictions."""
    described = {name: f"{form.dtype.str} in {len(form.shape)}" for name, form in forms.items()}
    wanted = {name: f"{dtype} in {dimensions}" for name, (dtype, dimensions) in _FORMATS.items()}
    if described != wanted:
        raise RunFolderError(
            "not the arrays of predictions",
            where=path,
            expected=_listed(wanted),
            found=_listed(described),
            fix="name a file that flaxcnn saved",
        )
    lengths = {name: form.shape[0] for name, form in forms.items()}
    if len(set(lengths.values())) > 1:
        raise RunFolderError(
            "damaged: arrays of several lengths",
            where=path,
            expected="an index, a label and logits for each example",
            found=", ".join(f"{length} {name}" for name, length in lengths.items()),
        )


def _listed(formats: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {description} dimension(s)" for name, description in formats.items()) or "nothing"
