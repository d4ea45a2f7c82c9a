"""A model's variables as one `.npz` file that NumPy alone can read, and their digest."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from flaxcnn.data import array_digest
from flaxcnn.errors import RunFolderError
from flaxcnn.runs.folder import RunFolder
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


def load_weights(path: Path) -> dict[str, Any]:
    """Read what `save_weights` wrote.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise RunFolderError("file missing from this run", where=path, fix="name a run that ended") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise RunFolderError(f"damaged: {error}", where=path, expected="weights that flaxcnn saved") from error
    tree: dict[str, Any] = traverse_util.unflatten_dict(arrays, sep="/")
    return tree
