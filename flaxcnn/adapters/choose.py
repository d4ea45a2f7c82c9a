"""Choose the adapter for a user's module."""

import dataclasses
import sys
from typing import Any

import flax.linen as nn

from flaxcnn.adapters.adapted import Adapted, class_of, parameters_of
from flaxcnn.adapters.linen import LinenModel
from flaxcnn.errors import ConfigError

MODULE_KINDS = "a class of flax.linen.Module or flax.nnx.Module, or a Linen module"


def is_flax_module(value: object) -> bool:
    """Return whether `adapt` accepts a value: a Linen module, a Linen or NNX class, or a partial of one."""
    value = class_of(value)
    if not isinstance(value, type):
        return isinstance(value, nn.Module)
    nnx = sys.modules.get("flax.nnx")  # imported by whoever made an NNX class; takes a tenth of a second
    return issubclass(value, nn.Module) or (nnx is not None and issubclass(value, nnx.Module))


def adapt(given: Any, where: object = None, **arguments: Any) -> Adapted:
    """Adapt a user's module to the library's interface.

    `flaxcnn.adapt(MyNet, classes=10)` is a model like those from `flaxcnn.create`.

    Args:
        given: a value that `is_flax_module` accepts.
        where: the user's name for it, for errors; None for its class's name.
        arguments: constructor arguments, passed as far as the module takes them.

    Raises:
        ConfigError: the module needs other arguments, or is not hashable.
    """
    if not is_flax_module(given):
        raise ConfigError("not a Flax module", where=where, expected=MODULE_KINDS, found=f"a {type(given).__name__}")
    kind = class_of(given)
    where = getattr(kind, "__name__", type(kind).__name__) if where is None else where
    if isinstance(given, nn.Module):
        known = {each.name for each in dataclasses.fields(given)}
        return _hashable(LinenModel(given.clone(**{key: arguments[key] for key in arguments if key in known})), where)
    taken = parameters_of(given)
    arguments = {key: value for key, value in arguments.items() if key in taken}
    needed = [
        key for key, each in taken.items() if each.default is each.empty and key not in arguments and key != "rngs"
    ]
    if needed:
        made = f"{kind.__name__}({needed[0]}=...)"
        if not issubclass(kind, nn.Module):
            made = f"functools.partial({kind.__name__}, {needed[0]}=...)"
        raise ConfigError(
            "module needs arguments",
            where=where,
            expected="a default for each field",
            found=f"none for {', '.join(needed)}",
            fix=f"create an instance beside the class and name that: net = {made}",
        )
    if issubclass(kind, nn.Module):
        return _hashable(LinenModel(given(**arguments)), where)
    from flaxcnn.adapters.nnx import NnxModel

    return _hashable(NnxModel(given, tuple(sorted(arguments.items()))), where)


def takes_argument(given: Any, name: str) -> bool:
    """Return whether a value for `adapt` takes a constructor argument of this name."""
    if isinstance(given, nn.Module):
        return name in {each.name for each in dataclasses.fields(given)}
    return name in parameters_of(given)


def _hashable(adapted: Adapted, where: object) -> Adapted:
    try:
        hash(adapted)
    except TypeError as error:
        raise ConfigError(
            "a field that is not hashable", where=where, expected="hashable values", found=error, fix="use tuples"
        ) from error
    return adapted
