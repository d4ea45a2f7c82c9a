"""A network with its weights, of which a probe takes the features: a finished run's, or a model's of the library."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from flaxcnn import config
from flaxcnn.adapters import FlaxModule
from flaxcnn.errors import ConfigError, DataError, RunFolderError, nearest
from flaxcnn.files import user_path
from flaxcnn.files.user_code import is_outside
from flaxcnn.layers.pixels import CONSTANTS, IMAGENET
from flaxcnn.models import MODELS, create, folded
from flaxcnn.models.weights.initial import converted
from flaxcnn.models.weights.reading import read_weights
from flaxcnn.runs.checked_model import published_weights
from flaxcnn.runs.folder.named import NOTHING, Named
from flaxcnn.runs.folder.record import read_config
from flaxcnn.runs.folder.run_folder import RunFolder, open_run_folder
from flaxcnn.runs.folder.weights import WEIGHTS, sha256_of
from flaxcnn.terminal import command

Normalization: TypeAlias = Literal["imagenet", "unit"]

_ENDPOINT, _HEAD = "features", "head"
_PIXELS = ("pixel_mean", "pixel_deviation")


class Network(NamedTuple):
    """A model with weights.

    Attributes:
        name: of the model.
        line: where the weights are from, for people.
        model: takes float images.
        variables: {"params": ..., "batch_stats": ..., "constants": {"pixel_mean": ...}}, NumPy arrays or JAX's.
        digest: SHA-256 of all variables.
        preparation: how it was given images: `size`, `fit` and `channels` of the section `data`.
    """

    name: str
    line: str
    model: FlaxModule
    variables: Mapping[str, Any]
    digest: str
    preparation: Mapping[str, Any]

    @property
    def pixel_mean(self) -> np.ndarray | None:
        """What is subtracted from pixels in [0, 1], by channel, float32 (C,); None for nothing."""
        found = self.variables.get(CONSTANTS, {}).get("pixel_mean")
        return None if found is None else np.asarray(found)

    def features(self, image_shape: tuple[int, int, int]) -> int:
        """Return how many features it has of an image.

        Raises:
            DataError: it cannot take images of that shape.
            ConfigError: it has no such features.
        """
        mean = self.pixel_mean
        if mean is not None and image_shape[2] != len(mean):
            fix = "decode image files with --data.channels rgb" if len(mean) == 3 else ""
            raise DataError(
                "images of other channels than the weights are for",
                where=self.name, expected=len(mean), found=image_shape[2], fix=fix,
            )  # fmt: skip
        learned = {name: tree for name, tree in self.variables.items() if name != CONSTANTS}
        images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        try:
            _, endpoints = jax.eval_shape(
                lambda kept, given: self.model.apply(kept, given, train=False), learned, images
            )
        except DataError:
            raise
        except Exception as error:  # Flax says with several classes of errors that a kernel has another shape
            height, width, channels = image_shape
            fix = "choose the size that the weights are for: --data.size"
            found = f"{height}×{width}×{channels}"
            raise DataError("images that these weights do not fit", where=self.name, found=found, fix=fix) from error
        if _ENDPOINT not in endpoints or len(endpoints[_ENDPOINT].shape) != 2:
            raise ConfigError(
                "this model has no features to probe",
                where=self.name,
                expected=f"an endpoint '{_ENDPOINT}' of the shape (B, F)",
                found=", ".join(endpoints) or "no endpoints",
            )
        return int(endpoints[_ENDPOINT].shape[1])


def find_network(
    name: str, init: str | None = None, named: Named = NOTHING, normalization: Normalization | None = None
) -> Network:
    """Return the network of a run's folder, or a model of the library with weights.

    Args:
        name: a run's folder, or a model's name.
        init: a model's weights, `imagenet` or a file; None for those that a package carries.
        named: the run's own code, by field, named again.
        normalization: how pixels are normalised for the weights of a file: as for ImageNet, or divided by 255 alone;
            None for ImageNet where the model takes colours. Other weights bring their own.

    Raises:
        ConfigError: neither of these, or a model without weights.
        RunFolderError: the run did not end, or is damaged.
        DataError, ContractError: the weights cannot be read, or are another model's.
    """
    if name in MODELS:
        return _of_model(name, init, normalization)
    path = user_path(name, "the network")
    if not path.exists() and not is_outside(name):
        known = ", ".join(each for each, variant in MODELS.items() if variant.weights)
        raise ConfigError(
            "neither a run nor a model", where=name, expected=f"the folder of a run, or a model such as {known}",
            fix=nearest(name, MODELS),
        )  # fmt: skip
    if is_outside(name):
        fix = f"name the folder of its run, and the model again: --model {name}"
        raise ConfigError("a model of your own has weights in a run's folder", where=name, fix=fix)
    folder = open_run_folder(name)
    if init is not None:
        fix = "leave it out: the run's own weights are probed"
        raise ConfigError("not for a run", where="--init", expected="a model's name before it", found=init, fix=fix)
    if normalization is not None:
        raise _brings_its_own(normalization)
    return of_run(folder, named)


def _brings_its_own(normalization: str) -> ConfigError:
    fix = "leave it out"
    return ConfigError("these weights bring their own", where="--normalization", found=normalization, fix=fix)


def of_run(folder: RunFolder, named: Named = NOTHING) -> Network:
    """Return a finished run's network; raises as `find_network`."""
    experiment = read_config(folder, named, "model.").file.experiment
    chosen, section = experiment.model, experiment.data
    path = folder.path / WEIGHTS
    if not path.exists():
        fix = f"resume it first: {command('resume', folder.path)}"
        raise RunFolderError("this run has no weights yet", where=path, expected="a finished run", fix=fix)
    variables = _tree_of(read_weights(path), path)
    head = variables.get("params", {}).get(_HEAD, {}).get("kernel")
    if head is None or head.ndim != 2:
        raise ConfigError(
            "the number of its outputs is not known",
            where=path,
            expected=f"a model whose last layer is called '{_HEAD}'",
            found=", ".join(variables.get("params", {})) or "no layers",
        )
    of_task = variables.pop(CONSTANTS, {})
    if constants := {name: of_task[name] for name in _PIXELS if name in of_task}:
        variables[CONSTANTS] = constants
    digest = sha256_of(variables)
    model = folded(create(chosen.name, head.shape[-1], chosen.dtype))
    preparation = {"size": section.size, "fit": section.fit, "channels": section.channels}
    return Network(chosen.name, f"of the run {folder.path}", model, variables, digest, preparation)


def _tree_of(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Return a file's arrays as variables; raises DataError where their names are no paths in a tree."""
    names = sorted(arrays)
    if inside := [name for name, after in pairwise(names) if after.startswith(f"{name}/")]:
        raise DataError("damaged: an array where a layer belongs", where=path, found=inside[0])
    tree: dict[str, Any] = unflatten_dict(dict(arrays), sep="/")
    if not all(isinstance(found, dict) for found in tree.values()):
        raise DataError("no weights that flaxcnn saved", where=path, expected="names that begin with params/")
    return tree


def _of_model(name: str, init: str | None, normalization: Normalization | None) -> Network:
    """Return a model of the library with a package's weights, or with a file's; raises as `find_network`."""
    variant = MODELS[name]
    if init is None and not variant.weights:
        known = ", ".join(each for each, other in MODELS.items() if other.weights)
        fix = f"name a file: --init FILE; weights without one has {known}"
        raise ConfigError("no weights to probe", where=name, expected="pretrained weights", found="none", fix=fix)
    chosen = config.Model(name, init=init or next(iter(sorted(variant.weights))))
    published = published_weights(chosen)
    place = user_path(str(chosen.init), "--init") if published is None else published.place()
    if published is not None and normalization is not None:
        raise _brings_its_own(normalization)
    if place.is_dir():
        fix = f"probe the run itself: {command('probe', place, 'SOURCE')}"
        raise ConfigError("a folder, not a file of weights", where="--init", found=place, fix=fix)
    found = converted(read_weights(place), name, str(place))
    flat = flatten_dict(found.variables)
    missing = [path for path, leaf in flat.items() if isinstance(leaf, jax.ShapeDtypeStruct)]
    if unknown := ["/".join(path) for path in missing if path[1] != _HEAD]:
        raise DataError(f"not all of {name}'s layers are in these weights", where=place, found=f"no {unknown[0]}")
    flat |= {path: np.zeros(flat[path].shape, np.float32) for path in missing}  # of a head, which is not asked
    variables: dict[str, Any] = unflatten_dict(flat)
    model = create(name, found.classes or variant.classes)
    moments = IMAGENET if published is None else (published.pixel_mean, published.pixel_deviation)
    wanted = normalization or ("imagenet" if len(moments[0]) == variant.size[2] else "unit")
    if wanted == "imagenet":
        constants = zip(_PIXELS, moments, strict=True)
        variables[CONSTANTS] = {each: np.asarray(numbers, np.float32) for each, numbers in constants}
    fit, channels = ("imagenet", "rgb") if variant.size[2] == 3 else ("crop", "gray")
    preparation = {"size": variant.size[:2], "fit": fit, "channels": channels}
    line = f"with the weights {chosen.init if published is not None else place}"
    return Network(name, line, model, variables, sha256_of(variables), preparation)
