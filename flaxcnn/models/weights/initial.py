"""Weights of a file as a model's variables: our own files, and those of other libraries by their names."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from flaxcnn.adapters import FlaxModule
from flaxcnn.errors import ConfigError, DataError, nearest
from flaxcnn.files import open_regular
from flaxcnn.keys import compiler_options
from flaxcnn.layers.pixels import CONSTANTS, split_constants
from flaxcnn.models import MODELS
from flaxcnn.models.detector import Detector
from flaxcnn.models.transfer import replace_head
from flaxcnn.models.variant import Layout
from flaxcnn.models.weights.convert import places, to_ours
from flaxcnn.models.weights.reading import read_weights

OWN = "flaxcnn"  # the layout of files that this library wrote
SAVED = "weights.npz"  # in a run's folder
_HEAD = ("params", "head", "kernel")
_COLLECTIONS = ("params", "batch_stats", CONSTANTS)
_LEAST, _TIMES = 1 << 30, 10  # a file may have so many bytes, or so many times the model's: optimizers keep several


class Converted(NamedTuple):
    """The weights of a file as variables.

    Attributes:
        variables: {"params": ..., "batch_stats": ...}, float32; of layers that the file has not, shapes.
        layout: whose names the file has.
        classes: how many outputs its head has.
    """

    variables: dict[str, Any]
    layout: str
    classes: int


class Initial(NamedTuple):
    """What a model begins with.

    Attributes:
        variables: the model's.
        digest: SHA-256 of the file.
        line: where they are from, and whether the head is new.
    """

    variables: dict[str, Any]
    digest: str
    line: str


def read_initial(
    place: Path, name: str, model: FlaxModule, outputs: int, image_shape: tuple[int, int, int], key: jax.Array
) -> Initial:
    """Return a file's weights for a model; where the number of outputs differs, with a new head.

    Args:
        place: a file of weights, our own or another library's, or the folder of a run that ended.
        name: the model's.
        model: the model.
        outputs: of the model.
        image_shape: (H, W, C) of the images that it will be given.
        key: random key of layers that the file has not; a new head begins at zero.

    Raises:
        DataError: the file cannot be read, or is another model's.
        ContractError: the weights are of other shapes.
    """
    file = place / SAVED if place.is_dir() else place
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    shapes = jax.eval_shape(model.init, key, images)
    tensors, digest = _read(file, shapes)
    found = converted(tensors, name, str(file))
    variables, line = found.variables, f"{file}, with the names of {found.layout}"
    new = _shapes_in(variables)
    if new:
        variables = _filled(variables, model, image_shape, key)
        line += f"; new are {', '.join(sorted({path[1] for path in new}))}"
    unlike = _unlike(name, found.layout, model)
    if unlike:
        line += f"; they were published for {unlike}, which this model has not"
    if isinstance(model, Detector):
        if _shape_of_head(variables) != _shape_of_head(shapes):
            variables = replace_head(model, variables, image_shape, key)
            line += "; the head, with its pyramid, is new"
    elif _HEAD in new:
        variables = _with_zeros_in_head(variables)
    elif found.classes and found.classes != outputs:
        variables = _with_zeros_in_head(replace_head(model, variables, image_shape, key))
        line += f"; the head is new: it has {found.classes:,} outputs there, and {outputs:,} here"
    return Initial(variables, digest, line)


def _with_zeros_in_head(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables whose head gives every class the same output.

    What is drawn for training from nothing may be far too large here: EfficientNet's ±1/√classes makes a first loss of
    4.6 of two classes, whose gradient tears the trained trunk apart. At zero the first gradient is the head's alone.
    Source: A. Kolesnikov et al., "Big Transfer (BiT)", ECCV 2020, section 3.3.
    """
    params = {**variables["params"], "head": jax.tree.map(jnp.zeros_like, variables["params"]["head"])}
    return {**variables, "params": params}


def _shape_of_head(variables: Mapping[str, Any]) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Return the shapes of a head's parameters by path."""
    return {path: leaf.shape for path, leaf in flatten_dict(dict(variables["params"].get("head", {}))).items()}


def _shapes_in(variables: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the paths of what a file had no numbers for."""
    return [path for path, leaf in flatten_dict(dict(variables)).items() if isinstance(leaf, jax.ShapeDtypeStruct)]


def _filled(
    variables: Mapping[str, Any], model: FlaxModule, image_shape: tuple[int, int, int], key: jax.Array
) -> dict[str, Any]:
    """Return variables with those that `model.init` draws where there are none."""
    flat, new = flatten_dict(dict(variables)), _shapes_in(variables)

    def draw(key: jax.Array) -> list[jax.Array]:
        every = flatten_dict(dict(model.init(key, jnp.zeros((1, *image_shape)))))
        return [every[path] for path in new]

    drawn = jax.jit(draw, compiler_options=compiler_options())(key)
    return unflatten_dict({**flat, **dict(zip(new, drawn, strict=True))})


def _unlike(name: str, layout: str, model: FlaxModule) -> str:
    """Return the fields with which a model would be what weights were published for, where it has others."""
    fields = MODELS[name].layouts[layout].fields if name in MODELS and layout != OWN else {}
    return ", ".join(f"{field}={value!r}" for field, value in fields.items() if getattr(model, field, value) != value)


def _read(file: Path, shapes: Any) -> tuple[dict[str, np.ndarray], str]:
    """Return a file's tensors and its SHA-256."""
    bytes_ = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    tensors = read_weights(file, most=max(_LEAST, _TIMES * bytes_))
    digest = hashlib.sha256()
    with open_regular(file, error=DataError) as opened:
        while part := opened.read(1 << 20):
            digest.update(part)
    return tensors, digest.hexdigest()


def read_converted(file: Path, name: str, layout: str | None = None) -> Converted:
    """Return a file's weights for a model of the library, with as many classes as the file's.

    Args:
        file: the file.
        name: the model's.
        layout: whose names the file has; None to see from the names.

    Raises:
        ConfigError: the model has no such layout.
        DataError: the file cannot be read, or is another model's.
    """
    tensors, _ = _read(file, _shapes(name, MODELS[name].classes))
    found = converted(tensors, name, str(file), layout)
    if _shapes_in(found.variables):
        fix = f"name the file itself: --model.name {name} --model.init {file}"
        raise DataError(f"not all of {name}'s layers are in these weights", where=file, fix=fix)
    if found.layout == OWN:
        _require_same(flattened(found.variables), flattened(_shapes(name, found.classes or 1)), str(file))
    return found


def _require_same(found: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Raise DataError where our own file has other arrays than the model."""
    for each in sorted({*found, *wanted}):
        ours, theirs = (tree[each].shape if each in tree else "none" for tree in (wanted, found))
        if ours != theirs:
            raise DataError("weights of another model", where=f"{where}: {each}", expected=ours, found=theirs)


def converted(tensors: Mapping[str, np.ndarray], name: str, where: str, layout: str | None = None) -> Converted:
    """Return tensors as a model's variables; arguments and errors as for `read_converted`."""
    if layout == OWN or (layout is None and all(each.partition("/")[0] in _COLLECTIONS for each in tensors)):
        found = _own(tensors, where)
        layout = OWN
    elif name not in MODELS or not MODELS[name].layouts:
        fix = "use a file that flaxcnn wrote, or a model of `flaxcnn models --json` with layouts"
        raise DataError(f"weights of another library, whose names are not known of {name}", where=where, fix=fix)
    else:
        layout = _seen(tensors, name, where) if layout is None else layout
        found = _theirs(tensors, name, layout, where)
    for path, array in flatten_dict(found).items():
        if not isinstance(array, jax.ShapeDtypeStruct) and not np.isfinite(array).all():
            raise DataError("numbers that are not finite", where=f"{where}: {'/'.join(path)}")
    head = flatten_dict(found).get(_HEAD)
    return Converted(found, layout, 0 if head is None else head.shape[-1])


def _own(tensors: Mapping[str, np.ndarray], where: str) -> dict[str, Any]:
    """Return what `flaxcnn` saved, without the constants of the data that the run was trained on."""
    for name, array in tensors.items():
        if array.dtype.newbyteorder("=") != np.float32 and not name.startswith(f"{CONSTANTS}/"):
            raise DataError("of another type", where=f"{where}: {name}", expected="float32", found=array.dtype)
    tree = unflatten_dict(dict(tensors), sep="/")
    if "params" not in tree:
        raise DataError("no weights that flaxcnn saved", where=where, expected="names that begin with params/")
    return split_constants(tree)[0]


def flattened(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return a model's variables by path, `params/conv1/kernel`, as `_own` takes them."""
    found: dict[str, np.ndarray] = flatten_dict(dict(variables), sep="/")
    return found


def _seen(tensors: Mapping[str, np.ndarray], name: str, where: str) -> str:
    """Return the layout whose names a file has most of."""
    shapes = _shapes(name, MODELS[name].classes)
    shared = {
        layout: len({place.name for place in places(each, shapes).values()} & set(tensors))
        for layout, each in MODELS[name].layouts.items()
    }
    best = max(shared, key=shared.__getitem__)
    if not shared[best]:
        some = ", ".join(sorted(tensors)[:3]) or "none"
        raise DataError(
            f"weights of no {name}", where=where, expected=f"the names of {', '.join(shared)}", found=f"such as {some}"
        )
    return best


def _theirs(tensors: Mapping[str, np.ndarray], name: str, layout: str, where: str) -> dict[str, Any]:
    known = layout_of(name, layout)
    shapes = _shapes(name, MODELS[name].classes)
    head = places(known, shapes).get(_HEAD)
    if head is not None and head.name in tensors and tensors[head.name].ndim > 1:
        axis = 0 if known.style == "torch" else -1
        classes = tensors[head.name].shape[axis]
        if classes != MODELS[name].classes and classes > 0:
            shapes = _shapes(name, classes)
    return to_ours(tensors, known, shapes, where)


def layout_of(name: str, layout: str) -> Layout:
    """Return a layout of a model; raises ConfigError where it has no such one."""
    layouts = MODELS[name].layouts
    if layout not in layouts:
        fix = nearest(layout, layouts) if layouts else "no other library's names are known of this model"
        raise ConfigError(f"{name} has no such layout", where=layout, fix=fix)
    return layouts[layout]


def _shapes(name: str, classes: int) -> Any:
    variant = MODELS[name]
    model = variant.create(classes=classes, dtype=jnp.float32)
    images = jax.ShapeDtypeStruct((1, *variant.size), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)
