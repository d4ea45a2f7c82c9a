"""A model's variables as an `.npz` file that NumPy alone can read, and their digest."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from flaxcnn.contracts import Contract, check_shapes
from flaxcnn.data import array_digest
from flaxcnn.errors import RunFolderError
from flaxcnn.files.npz import Form, read_npz
from flaxcnn.layers.pixels import CONSTANTS
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.training import TrainState

WEIGHTS = "weights.npz"  # in a run's folder


def flat(variables: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a tree of variables by path, in the paths' order: `params/conv1/kernel`."""
    arrays = traverse_util.flatten_dict(variables, sep="/")
    return {name: np.asarray(arrays[name]) for name in sorted(arrays)}


def sha256_of(variables: Any) -> str:
    """Return the SHA-256 of a tree of arrays: of a line for each, in the paths' order, with its path and own digest.

    The digests are of dtype, shape and little-endian bytes, so that they do not depend on the machine.
    """
    lines = (f"{name} {array_digest(array)}\n" for name, array in flat(variables).items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256_of_state(state: TrainState) -> str:
    """Return the SHA-256 of all that a training state holds, the optimizer's state included, as `sha256_of`."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return sha256_of({jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves})


def save_weights(folder: RunFolder, variables: Any) -> None:
    """Write a model's variables into a run's folder; raises as `RunFolder.write` does."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **flat(variables))  # type: ignore[arg-type]

    folder.write(WEIGHTS, write)


def load_weights(
    path: Path, contract: Contract, classes: int, shapes: Any, constants: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """Read what `save_weights` wrote; no array is read before all of them are known to be the model's.

    Args:
        path: the file.
        contract: of the model that they are for.
        classes: how many outputs the model has.
        shapes: the model's variables, arrays or their shapes: `jax.eval_shape(model.init, ...)`.
        constants: those that the file has beside them, for their shapes; None for none.

    Returns:
        The variables, {"params": ..., "batch_stats": ..., "constants": ...}; a collection that is empty is left out.

    Raises:
        RunFolderError: the file is missing or damaged, or an array is of another type.
        ContractError: a variable is missing, not declared or of another shape.
    """
    accept, most = acceptance(path, contract, classes, shapes, constants)
    try:
        arrays = read_npz(path, accept, most=most, what="weights that flaxcnn saved")
    except FileNotFoundError as error:
        raise RunFolderError("file missing from this run", where=path, fix="name a run that ended") from error
    tree: dict[str, Any] = traverse_util.unflatten_dict(arrays, sep="/")
    return tree


def acceptance(
    path: Path, contract: Contract, classes: int, shapes: Any, constants: Mapping[str, np.ndarray] | None = None
) -> tuple[Callable[[Mapping[str, Form]], None], int]:
    """Return a function that raises unless arrays are a model's variables, by their forms, and their bytes.

    Arguments and errors: see `load_weights`.
    """
    fixed = {f"{CONSTANTS}/{name}": Form(array.dtype, array.shape) for name, array in (constants or {}).items()}
    wanted = {name: Form(np.dtype(leaf.dtype), leaf.shape) for name, leaf in _leaves(shapes).items()} | fixed

    def accept(forms: Mapping[str, Form]) -> None:
        learned = {tuple(name.split("/")): form.shape for name, form in forms.items() if name not in fixed}
        check_shapes(learned, contract, classes)
        for name, form in fixed.items():
            if name not in forms or forms[name].shape != form.shape:
                found = forms[name].shape if name in forms else "none"
                raise RunFolderError("of another model", where=f"{path}: {name}", expected=form.shape, found=found)
        for name, form in wanted.items():
            if forms[name].dtype.newbyteorder("=") != form.dtype:
                raise RunFolderError(
                    "of another type", where=f"{path}: {name}", expected=form.dtype, found=forms[name].dtype
                )

    return accept, sum(form.nbytes for form in wanted.values())


def _leaves(variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = traverse_util.flatten_dict(nn.unbox(variables), sep="/")
    return found
