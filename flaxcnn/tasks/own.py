"""A user's own task, `FILE.py:NAME`: created, and tested before training."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.data.targets import map_targets
from flaxcnn.errors import ConfigError, FlaxcnnError
from flaxcnn.files.user_code import Outside, error_in, load_outside
from flaxcnn.tasks.task import Metric, Task

WHERE = "task.name"
_KIND = "a subclass of flaxcnn.tasks.Task, or an instance of one"
_BATCH = 8  # of the examples with which a task is tried; nothing is computed


def create_own(name: str) -> Task:
    """Import the file that a user named and return its task.

    Raises:
        ConfigError: as `load_outside`; or the object is no task, or one that lacks what a task needs.
    """
    code = load_outside(name, WHERE, fits=_is_task, expected=_KIND)
    task = code.object
    if isinstance(task, type):
        _require_whole(task, name)
        try:
            task = _made(task)
        except Exception as error:  # whatever the user's own Python raises
            raise error_in(error, code.path, frozenset(), "the task") from error
    try:
        hash(task)
    except TypeError as error:
        raise ConfigError(
            "a task without a hash, which a part of a compiled program needs",
            where=name,
            expected="a frozen dataclass with fields that have one",
            found=str(error),
        ) from error
    _require_named(task, name)
    return task


@cache  # one instance of a class: what JAX compiled for it serves the next training too
def _made(kind: type[Task]) -> Task:
    return kind()


def _require_whole(kind: type[Task], name: str) -> None:
    """Raise ConfigError where a class lacks methods of a task, or needs arguments."""
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        found = f"none of {', '.join(missing)}" if len(missing) > 1 else f"no {missing[0]}"
        raise ConfigError("a task that is not whole", where=name, expected="all methods of a task", found=found)
    needed = [
        key
        for key, each in inspect.signature(kind).parameters.items()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if needed:
        raise ConfigError(
            "a task that needs arguments",
            where=name,
            expected="a default for each",
            found=f"none for {', '.join(needed)}",
            fix=f"make one beside the class and name that: task = {kind.__name__}({needed[0]}=...)",
        )


def _is_task(value: object) -> bool:
    return isinstance(value, Task) or (isinstance(value, type) and issubclass(value, Task))


def _require_named(task: Task, where: str) -> None:
    """Raise ConfigError where a task's metrics do not go together."""
    kinds = task.metrics
    if not isinstance(kinds, Mapping) or not all(isinstance(each, Metric) for each in kinds.values()):
        raise ConfigError(
            "no metrics", where=f"{where}, metrics", expected="a dictionary of flaxcnn.tasks.Metric", found=repr(kinds)
        )
    for part in ("logged", "reported", "compared"):
        names = getattr(task, part)
        unknown = [name for name in names if name not in kinds]
        if unknown or not names or isinstance(names, str):
            found = ", ".join(unknown) or repr(names)
            raise ConfigError(
                "not metrics of the task", where=f"{where}, {part}", expected=f"some of {', '.join(kinds)}", found=found
            )


def require_computable(task: Task, name: str, constants: Mapping[str, np.ndarray], targets: Any, outputs: int) -> None:
    """Raise ConfigError where what a task gives for a batch has not the shape that the interface says.

    Nothing is computed.

    Args:
        task: that is trained: the user's own, or several of which one is.
        name: of the user's own, FILE.py:NAME, for errors.
        constants: the task's.
        targets: of any examples, arrays with a row for each.
        outputs: how many numbers the model's last layer gives.
    """
    code = load_outside(name, WHERE)

    def shapes(compute: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return jax.eval_shape(compute, *arguments)
        except FlaxcnnError:
            raise
        except Exception as error:  # whatever the user's own Python raises
            raise error_in(error, code.path, frozenset(), "the task") from error

    outputs_BxK = jax.ShapeDtypeStruct((_BATCH, outputs), jnp.float32)
    batch = map_targets(lambda array: jax.ShapeDtypeStruct((_BATCH, *array.shape[1:]), array.dtype), targets)
    given = jax.tree.map(jnp.asarray, dict(constants))
    losses = shapes(partial(task.losses, None), given, outputs_BxK, batch)
    explained = shapes(task.explained, given, outputs_BxK)
    statistics, decoded = shapes(task.statistics, given, outputs_BxK, batch), shapes(task.decode, given, outputs_BxK)
    of_losses = (getattr(losses, "shape", None), getattr(losses, "dtype", None))
    _require(code, "losses", "float32 (B,)", losses, of_losses == ((_BATCH,), jnp.float32))
    of_explained = (getattr(explained, "shape", (0,)), getattr(explained, "dtype", None))
    fits = len(of_explained[0]) == 2 and of_explained[0][0] == _BATCH and of_explained[1] == jnp.float32
    _require(code, "explained", "float32 (B, K)", explained, fits)
    for part, arrays in (("statistics", statistics), ("decode", decoded)):
        _require(code, part, "a dictionary of arrays", arrays, isinstance(arrays, dict))
        for key, array in arrays.items():
            _require(code, f"{part} {key}", "(B, ...)", array, array.shape[:1] == (_BATCH,))
    means = {key: jax.ShapeDtypeStruct(array.shape[1:], jnp.float32) for key, array in statistics.items()}
    measures = shapes(task.measures, means, jnp.float32(1))
    _require(code, "measures", "a dictionary of numbers", measures, isinstance(measures, dict))
    for key in task.logged:
        found = measures.get(key)
        _require(code, f"measures {key}", "one number", found, getattr(found, "shape", None) == ())


def _require(code: Outside, part: str, expected: str, found: Any, holds: bool) -> None:
    if not holds:
        shape = getattr(found, "shape", None)
        if shape is not None:
            sizes = ["B" if place == 0 and size == _BATCH else str(size) for place, size in enumerate(shape)]
            found = f"{found.dtype} ({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
        raise ConfigError(
            "of another shape", where=f"{code.path}: {code.name}.{part}", expected=expected, found=found or "nothing"
        )
