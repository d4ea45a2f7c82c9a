"""A user's own data, `FILE.py:NAME`: a `Dataset`, or a function that returns one."""

import inspect
from collections.abc import Callable
from typing import Any

from flaxcnn.data.dataset import Dataset
from flaxcnn.errors import ConfigError, FlaxcnnError
from flaxcnn.files.user_code import error_in, load_outside

_WHERE = "data.source"
_KIND = "a flaxcnn.data.Dataset, or a function without arguments that returns one"


def load_own(name: str) -> Dataset:
    """Import the file that a user named and return its data.

    Raises:
        ConfigError: as `load_outside`; or what is named, or what it returns, is no data set, or it needs arguments, or
            fails: the line is named.
    """
    code = load_outside(name, _WHERE, fits=_makes_data, expected=_KIND)
    if isinstance(code.object, Dataset):
        return code.object
    if needed := _arguments_of(code.object):
        raise ConfigError(
            "a function that needs arguments",
            where=name,
            expected="a default for each",
            found=f"none for {', '.join(needed)}",
        )
    try:
        dataset = code.object()
    except FlaxcnnError:
        raise
    except Exception as error:  # whatever the user's own Python raises
        raise error_in(error, code.path, frozenset(), "the file") from error
    if not isinstance(dataset, Dataset):
        raise ConfigError(
            "returns no data set", where=name, expected="a flaxcnn.data.Dataset", found=f"a {type(dataset).__name__}"
        )
    return dataset


def _makes_data(value: object) -> bool:
    return isinstance(value, Dataset) or callable(value)


def _arguments_of(made: Callable[..., Any]) -> list[str]:
    """Return the arguments without a default."""
    try:
        taken = inspect.signature(made).parameters
    except ValueError:  # of some that are written in C
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [key for key, each in taken.items() if each.default is each.empty and each.kind not in variable]
