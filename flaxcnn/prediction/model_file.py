"""A model file that checks itself: one safetensors file with all that an answer needs, and no code.

Beside the variables lie a few images with the outputs that they had where the file was written. Reading it verifies, in
this order, the digest of everything in it, the model's contract, and these outputs, computed here again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np

import flaxcnn
from flaxcnn.adapters import FlaxModule
from flaxcnn.config import GIVEN, Experiment, to_json
from flaxcnn.contracts import derive_contract
from flaxcnn.data import array_digest
from flaxcnn.errors import ContractError, DataError
from flaxcnn.evaluation.predictions import Predictions, predictions_of
from flaxcnn.files import open_regular, parse_json
from flaxcnn.files.npz import Form
from flaxcnn.models.views import OverViews
from flaxcnn.models.weights.safetensors import begins, read_with_metadata
from flaxcnn.models.weights.writing import write_safetensors
from flaxcnn.prediction.trained import OF_MODELS, Trained, built
from flaxcnn.runs.checked_model import published_weights
from flaxcnn.runs.familiar import arrays_of, familiarity_from, require_forms
from flaxcnn.runs.folder.form import FormFile, form_from, form_json
from flaxcnn.runs.folder.named import NOTHING, Named
from flaxcnn.runs.folder.record import ConfigFile, config_of
from flaxcnn.runs.folder.weights import acceptance, flat

SUFFIX = ".fcnn"
_VERSION = "1"
_TEXTS = ("flaxcnn_model", "written_by", "config", "form", "contract", "sha256")
_VARIABLES, _INPUTS, _OUTPUTS, _VALIDATION = "variables/", "check/images", "check/", "validation/"
_FAMILIAR = "familiar/"
_IMAGES = 4
TOLERANCE = 1e-4
"""By which outputs may differ, times the largest of them where that is above 1."""


def write_model_file(path: Path, trained: Trained, code: Mapping[str, str]) -> None:
    """Write a trained model into one file; an existing file is replaced, not atomically.

    Args:
        path: the file.
        trained: the model.
        code: SHA-256 of its user's own code, by field.

    Raises:
        OSError: it cannot be written.
    """
    images = drawn_images(trained.form.image_shape)
    model = trained.model.model if isinstance(trained.model, OverViews) else trained.model
    tensors = {f"{_VARIABLES}{name}": array for name, array in flat(jax.device_get(trained.variables)).items()}
    tensors |= {_INPUTS: images, **{_OUTPUTS + name: array for name, array in trained.predictions(images).items()}}
    if trained.validation is not None:
        kept = Predictions(
            np.arange(len(next(iter(trained.validation.predictions.values())))),
            trained.validation.targets,
            trained.validation.predictions,
            trained.validation.constants,
        )
        tensors |= {f"{_VALIDATION}{name}": np.asarray(array) for name, array in kept.arrays().items()}
    if trained.familiarity is not None:
        tensors |= {f"{_FAMILIAR}{name}": array for name, array in arrays_of(trained.familiarity).items()}
    code = {field: digest for field, digest in code.items() if field.startswith(OF_MODELS)}
    config = {
        "name": path.stem,
        **to_json(_shareable(trained.experiment)),
        "published": [],
        "changes": [],
        "code": code,
    }
    texts = {
        "flaxcnn_model": _VERSION,
        "written_by": f"flaxcnn {flaxcnn.__version__}, jax {jax.__version__}",
        "config": json.dumps(config, allow_nan=False),
        "form": json.dumps(form_json(trained.form), allow_nan=False),
        "contract": str(derive_contract(model, trained.form.image_shape)),
    }
    write_safetensors(path, tensors, {**texts, "sha256": _digest(tensors, texts)})


def _shareable(experiment: Experiment) -> Experiment:
    """Return an experiment that says nothing of where its data and its first weights lay, and of no server."""
    data = dataclasses.replace(experiment.data, source=f"{GIVEN}data", dir=None)
    model = experiment.model
    if published_weights(model) is None:
        model = dataclasses.replace(model, init=None)
    logging = dataclasses.replace(experiment.logging, mlflow=None)
    return dataclasses.replace(experiment, data=data, model=model, logging=logging)


def read_model_file(path: Path, named: Named = NOTHING) -> Trained:
    """Read what `write_model_file` wrote, and verify it.

    Args:
        path: the file.
        named: the model's own code, by field, named again.

    Raises:
        DataError: it is no model file, truncated, altered, or of another version; or it has other outputs here.
        ContractError: the library's model of this name has another contract now.
        RunFolderError: a part of it is damaged.
        ConfigError: it needs its user's own code, which is not named.
    """
    tensors, texts = _read(path)
    if texts["flaxcnn_model"] != _VERSION:
        fix = f"read it with what wrote it: {texts['written_by']}"
        raise DataError("of another version", where=path, expected=_VERSION, found=texts["flaxcnn_model"], fix=fix)
    found = _digest(tensors, {name: text for name, text in texts.items() if name != "sha256"})
    if found != texts["sha256"]:
        fix = "copy it again from where it was written"
        raise DataError("altered since it was written", where=path, expected=texts["sha256"], found=found, fix=fix)
    config = parse_json(texts["config"], ConfigFile, where=f"{path}: config")
    experiment = config_of(config, path, named, OF_MODELS).file.experiment
    kept = _below(tensors, _VALIDATION)
    form = form_from(parse_json(texts["form"], FormFile, where=f"{path}: form"), path)

    def variables(model: FlaxModule, outputs: int, constants: Mapping[str, np.ndarray]) -> Any:
        contract = derive_contract(model, form.image_shape)
        if str(contract) != texts["contract"]:
            raise ContractError(
                "the model has another contract in this version of the library",
                where=path,
                expected=texts["contract"].partition("\n")[0],
                found=str(contract).partition("\n")[0],
                fix=f"use what wrote it: {texts['written_by']}",
            )
        arrays = _below(tensors, _VARIABLES)
        shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *form.image_shape), np.float32))
        accept, _ = acceptance(path, contract, outputs, shapes, constants)
        accept({name: Form(array.dtype, array.shape) for name, array in arrays.items()})
        return flax.traverse_util.unflatten_dict(arrays, sep="/")

    familiarity = None
    if statistics := _below(tensors, _FAMILIAR):
        require_forms({name: Form(array.dtype, array.shape) for name, array in statistics.items()}, path)
        familiarity = familiarity_from(statistics, path)
    trained = built(experiment, form, path, variables, predictions_of(kept, path) if kept else None, familiarity)
    _require_outputs(trained, tensors, path)
    return trained


def _require_outputs(trained: Trained, tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Raise DataError where the stored images have other outputs here than where the file was written."""
    stored = {name: array for name, array in _below(tensors, _OUTPUTS).items() if name != "images"}
    worst = trained.task.difference(trained.predictions(tensors[_INPUTS]), stored)
    if not worst <= TOLERANCE:
        raise DataError(
            "other outputs on this machine than where it was written",
            where=path,
            expected=f"the same to {TOLERANCE:g} of the largest",
            found=f"a difference of {worst:.1e}",
            fix="compute on another device, or with another version of jax",
        )


def _below(tensors: Mapping[str, np.ndarray], start: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(start): array for name, array in tensors.items() if name.startswith(start)}


def drawn_images(image_shape: tuple[int, int, int]) -> np.ndarray:
    """Return a few images to verify with, uint8: noise of four sizes of grain, so that every scale has something."""
    height, width, channels = image_shape
    rng, images = np.random.default_rng(0), []
    for grain in (1, 2, 4, 8)[:_IMAGES]:
        coarse = rng.integers(0, 256, (-(-height // grain), -(-width // grain), channels), np.uint8)
        images.append(coarse.repeat(grain, 0).repeat(grain, 1)[:height, :width])
    return np.stack(images)


def _digest(tensors: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
    lines = [f"{name} {array_digest(array)}" for name, array in sorted(tensors.items())]
    content = json.dumps([lines, sorted(texts.items())])
    return hashlib.sha256(content.encode()).hexdigest()


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    expected = f"a model file that `flaxcnn export RUN --to model{SUFFIX}` wrote"
    try:
        with open_regular(path, error=DataError) as file:
            size = path.stat().st_size
            start = file.read(9)
            if not begins(start):
                raise DataError("no model file", where=path, expected=expected, found="another format")
            file.seek(0)
            tensors, texts = read_with_metadata(file, size)
    except FileNotFoundError as error:
        raise DataError("no such file", where=path, expected=expected) from error
    except (EOFError, ValueError, MemoryError) as error:
        found = str(error).strip() or type(error).__name__
        raise DataError("damaged", where=path, expected=expected, found=found) from error
    missing = [name for name in _TEXTS if name not in texts]
    if missing or _INPUTS not in tensors:
        raise DataError("no model file", where=path, expected=expected, found=f"no {(*missing, _INPUTS)[0]}")
    return tensors, texts
