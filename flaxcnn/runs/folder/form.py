"""What a finished model takes, and what its outputs stand for: `form.json` in a run's folder. It needs no data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from flaxcnn.data import Dataset
from flaxcnn.data.targets import leaves
from flaxcnn.errors import RunFolderError
from flaxcnn.runs.folder.run_folder import RunFolder

FORM = "form.json"
_DTYPES = ("int32", "float32", "bool")
_MOST_NUMBERS = 1 << 20  # of an example's targets
_MOST_PIXELS = 1 << 28  # of an image, all channels


class _Array(TypedDict):
    dtype: str
    shape: list[int]


class FormFile(TypedDict):
    """A form as JSON has it."""

    image_shape: list[int]
    target_names: Any
    targets: dict[str, _Array]


class ModelForm(NamedTuple):
    """What a model takes and answers.

    Attributes:
        image_shape: of an image, (height, width, channels), uint8.
        target_names: of the data set that it was trained on (`Dataset.target_names`).
        targets: of one example, all zeros: arrays with one row, as `Split.targets` has them.
    """

    image_shape: tuple[int, int, int]
    target_names: Any
    targets: Any


def form_of(dataset: Dataset) -> ModelForm:
    """Return the form of the models that learn of a data set."""
    nothing = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in leaves(dataset.train.targets)}
    return ModelForm(dataset.image_shape, dataset.target_names, _tree(nothing))


def write_form(folder: RunFolder, form: ModelForm) -> None:
    """Write a model's form into its run's folder; raises as `RunFolder.write_json`."""
    folder.write_json(FORM, form_json(form))


def form_json(form: ModelForm) -> FormFile:
    """Return a form as JSON has it."""
    targets = {name: _Array(dtype=str(each.dtype), shape=list(each.shape[1:])) for name, each in leaves(form.targets)}
    return FormFile(image_shape=list(form.image_shape), target_names=_listed(form.target_names), targets=targets)


def read_form(folder: RunFolder) -> ModelForm:
    """Read what `write_form` wrote; raises RunFolderError where it is missing or damaged."""
    return form_from(folder.read_json(FORM, FormFile), folder.path / FORM)


def form_from(found: FormFile, where: Path) -> ModelForm:
    """Return a form from its JSON, that of a file; raises RunFolderError where it is damaged."""
    shape = found["image_shape"]
    if len(shape) != 3 or not all(0 < side <= _MOST_PIXELS for side in shape) or np.prod(shape) > _MOST_PIXELS:
        raise RunFolderError("damaged at image_shape", where=where, expected="[height, width, channels]", found=shape)
    nothing = {}
    for name, each in found["targets"].items():
        sound = each["dtype"] in _DTYPES and all(0 <= size <= _MOST_NUMBERS for size in each["shape"])
        if not sound or np.prod(each["shape"], initial=1.0) > _MOST_NUMBERS:
            raise RunFolderError("damaged at targets", where=where, expected="an array's dtype and shape", found=name)
        nothing[name] = np.zeros((1, *each["shape"]), each["dtype"])
    if not nothing:
        raise RunFolderError("damaged at targets", where=where, expected="one at least", found="none")
    return ModelForm((shape[0], shape[1], shape[2]), _checked_names(found["target_names"], where), _tree(nothing))


def _tree(arrays: Mapping[str, np.ndarray]) -> Any:
    """Return arrays by their names, such as "species/genus", as `leaves` takes them apart; a single one is ""."""
    if set(arrays) == {""}:
        return arrays[""]
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *above, last = name.split("/")
        place = tree
        for each in above:
            place = place.setdefault(each, {})
        place[last] = array
    return tree


def _listed(names: Any) -> Any:
    if isinstance(names, Mapping):
        return {key: _listed(value) for key, value in names.items()}
    return None if names is None else list(names)


def _checked_names(found: Any, where: Any) -> Any:
    """Return names as a data set has them; raises RunFolderError where they are something else."""
    if found is None:
        return None
    if isinstance(found, dict):
        return {key: _checked_names(value, where) for key, value in found.items()}
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise RunFolderError("damaged at target_names", where=where, expected="names", found=repr(found)[:80])
    return tuple(found)
