"""Convert weights between another library's names and arrangement and ours, each tensor exactly once.

What a family declares (`flaxcnn.models.variant.Layout`) is a name for each layer; the rest follows from the kind of the
variable: a kernel (H, W, C, F) is PyTorch's weight (F, C, H, W), a dense kernel (C, F) its weight (F, C).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from flaxcnn.errors import DataError
from flaxcnn.models.variant import Layout

_Arrange = Callable[[np.ndarray], np.ndarray]
_OF_CONVOLUTION = ("kernel", "conv_bias")  # variables of a `ConvNorm` that are its convolution's
_OF_NORMALISATION = ("scale", "bias", "mean", "var")
_TORCH = {
    "kernel": "weight",
    "conv_bias": "bias",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_COUNTERS = ".num_batches_tracked"  # PyTorch counts a normalisation's updates; nothing uses the number
_SHOWN = 5  # names in an error


class Place(NamedTuple):
    """Where a variable of ours is in other weights.

    Attributes:
        name: the tensor's.
        shape: the tensor's.
        to_ours: arranges the tensor as ours.
        to_theirs: the way back.
    """

    name: str
    shape: tuple[int, ...]
    to_ours: _Arrange
    to_theirs: _Arrange


def places(layout: Layout, variables: Mapping[str, Any]) -> dict[tuple[str, ...], Place]:
    """Return for each of a model's variables, by its path ("params", "stem", "kernel"), where it is in other weights.

    Variables of layers that the layout calls new are in none.

    Args:
        layout: of the other weights.
        variables: the model's, arrays or their shapes.
    """
    names = dict(layout.names())
    found = {}
    every = flatten_dict(dict(variables))
    beside: dict[str, set[str]] = {}
    for path in every:
        beside.setdefault("/".join(path[1:-1]), set()).add(path[-1])
    for path, leaf in every.items():
        shape = tuple(np.shape(leaf))
        *layer, variable = path[1:]
        key = "/".join(layer)
        if f"{key}/".startswith(tuple(f"{new}/" for new in layout.new)):
            continue
        if f"{key}/{variable}" in names:
            name = names[f"{key}/{variable}"]
            found[path] = Place(name, shape, _same, _same)
            if name.endswith(layout.channels_first or "\0"):
                found[path] = Place(
                    name, (*shape, 1, 1), lambda array: array[..., 0, 0], lambda array: array[..., None, None]
                )
            continue
        if key not in names:
            raise KeyError(f"the layout has no name for the layer {key}")
        conv, _, norm = names[key].partition(" ")
        owner = conv if variable in _OF_CONVOLUTION or not norm else norm
        if layout.style == "keras":
            number = _order(variable, beside[key]).index(variable)
            found[path] = Place(f"layers/{owner}/vars/{number}", shape, _same, _same)
        else:
            name, flattened = f"{owner}.{_TORCH[variable]}", layout.flattened.get(key)
            found[path] = _kernel(name, shape, flattened) if variable == "kernel" else Place(name, shape, _same, _same)
        if variable == "var" and layout.epsilon:
            found[path] = found[path]._replace(
                to_ours=partial(_plus, -layout.epsilon), to_theirs=partial(_plus, layout.epsilon)
            )
    return found


def _plus(added: float, array: np.ndarray) -> np.ndarray:
    return array + np.float32(added)


def _order(variable: str, beside: set[str]) -> list[str]:
    """Return in Keras' order the variables of the layer of theirs that has this one, of a layer of ours with these."""
    if variable in _OF_CONVOLUTION:
        order: tuple[str, ...] = _OF_CONVOLUTION
    else:
        order = ("kernel", "bias") if "kernel" in beside and "mean" not in beside else _OF_NORMALISATION
    return [each for each in order if each in beside]


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _kernel(name: str, shape: tuple[int, ...], flattened: tuple[int, int] | None) -> Place:
    """Return the place of a kernel in PyTorch's arrangement."""
    if len(shape) == 4:
        return Place(
            name,
            (shape[3], shape[2], shape[0], shape[1]),
            lambda array: array.transpose(2, 3, 1, 0),
            lambda array: array.transpose(3, 2, 0, 1),
        )
    if flattened is None:
        return Place(name, shape[::-1], np.transpose, np.transpose)
    (height, width), (inputs, outputs) = flattened, shape
    channels = inputs // (height * width)

    def to_ours(array: np.ndarray) -> np.ndarray:
        return array.reshape(outputs, channels, height, width).transpose(2, 3, 1, 0).reshape(inputs, outputs)

    def to_theirs(array: np.ndarray) -> np.ndarray:
        return array.reshape(height, width, channels, outputs).transpose(3, 2, 0, 1).reshape(outputs, inputs)

    return Place(name, (outputs, inputs), to_ours, to_theirs)


def to_ours(
    tensors: Mapping[str, np.ndarray], layout: Layout, variables: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return a model's variables from other weights.

    Args:
        tensors: the other weights by name.
        layout: of theirs.
        variables: the model's own, arrays or their shapes.
        where: the weights' file, for errors.

    Returns:
        Float32 arrays in the structure of `variables`; what is in new layers is as it was given.

    Raises:
        DataError: a tensor is missing, left over, of another shape or not of floating point.
    """
    wanted = places(layout, variables)
    missing = sorted({place.name for place in wanted.values()} - set(tensors))
    used = {place.name for place in wanted.values()}
    passed = {*used, *layout.beside()}
    left = [
        name
        for name in tensors
        if name not in passed and not name.endswith(_COUNTERS) and not name.startswith(layout.unused or ("\0",))
    ]
    if missing or left:
        raise DataError(
            "weights of another model",
            where=where,
            expected=f"each tensor once; missing: {_listed(missing)}",
            found=f"left over: {_listed(left)}",
            fix="name the model and the library that the weights are from",
        )
    arrays = flatten_dict(dict(variables))
    for path, place in wanted.items():
        tensor = np.asarray(tensors[place.name])
        if not _alike(tensor.shape, place.shape):
            raise DataError(
                "a tensor of another shape", where=f"{where}: {place.name}", expected=place.shape, found=tensor.shape
            )
        arrays[path] = np.ascontiguousarray(place.to_ours(tensor.reshape(place.shape)), np.float32)
    return unflatten_dict(arrays)


def to_theirs(variables: Mapping[str, Any], layout: Layout) -> dict[str, np.ndarray]:
    """Return a model's variables by another library's names, in its arrangement, float32, and what it saves beside."""
    arrays = flatten_dict(dict(variables))
    found = {
        place.name: np.ascontiguousarray(place.to_theirs(np.asarray(arrays[path], np.float32)))
        for path, place in places(layout, variables).items()
    }
    return {**found, **layout.beside()}


def _alike(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether shapes are the same but for axes of length 1: a dense layer may be a 1×1 convolution there.

    It may also be a convolution of all that it sees, and then has the order of PyTorch's flattened activations.
    """
    if len(wanted) == 2 and len(shape) == 4:
        shape = (shape[0], int(np.prod(shape[1:])))
    return [length for length in shape if length != 1] == [length for length in wanted if length != 1]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) or "none"
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
