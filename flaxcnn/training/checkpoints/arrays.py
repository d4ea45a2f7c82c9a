"""A pytree of arrays as a folder: all that the library asks of Orbax.

Orbax is imported by the first call, which takes about a second; `import_orbax` lets a run choose when.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from flaxcnn.errors import ContractError

# How TensorStore, which writes for Orbax, says what the operating system answered.
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")


def import_orbax() -> ModuleType:
    """Import Orbax's v1 interface and return it."""
    from orbax.checkpoint import v1

    return v1


def write_arrays(path: Path, tree: Any) -> None:
    """Write the arrays of a tree into a folder that does not exist, and return once they are written.

    Raises:
        OSError: the system would not write them.
    """
    ocp = import_orbax()
    context = ocp.Context()
    # Made asynchronously, a folder that cannot be made leaves Orbax waiting for it for twenty minutes.
    context.asynchronous.create_directories_asynchronously = False
    # Trained weights hardly compress (7 % measured), and trying takes a third of a save's time.
    context.array.saving.use_compression = False
    # Where arrays lay is the reader's choice, not the writer's: `read_arrays` always says it.
    context.array.saving.enable_write_sharding_file = False
    try:
        with context, _quiet_after_errors_too():
            ocp.save(path.absolute(), tree)
    except Exception as error:
        code = _OS_ERROR.search(str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def read_arrays(path: Path, target: Any) -> Any:
    """Read the arrays that `write_arrays` wrote.

    Args:
        path: the folder.
        target: a tree of the same structure of arrays or `jax.ShapeDtypeStruct`s, for shapes, dtypes and shardings; a
            leaf without a sharding is put on the first device.

    Returns:
        A tree of `target`'s structure, what is no leaf of it (a state's model and optimizer) included.
    """
    ocp = import_orbax()
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def placed(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or first)

    with _quiet():
        return ocp.load(path.absolute(), jax.tree.map(placed, target))


def describe(tree: Any) -> dict[str, str]:
    """Return each leaf's dtype and shape by its path: `{"params/conv1/bias": "float32 (16,)"}`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype} {tuple(leaf.shape)}"
        for path, leaf in leaves
    }


def check_fits(saved: dict[str, str], target: Any, where: Path) -> None:
    """Check that a checkpoint's arrays are those of a target.

    Raises:
        ContractError: at the first array that only one of them has, or that differs in dtype or shape.
    """
    wanted = describe(target)
    for name in [*wanted, *(name for name in saved if name not in wanted)]:
        if saved.get(name) != wanted.get(name):
            raise ContractError(
                f"checkpoint of another model or optimizer at {name}",
                where=where,
                expected=wanted.get(name, "no such array"),
                found=saved.get(name, "no such array"),
                fix="create the model and optimizer that the checkpoint's config says",
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax from printing tracebacks of what it raises anyway, and (0.12.0) doubts about files that are fine."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _quiet_after_errors_too() -> Iterator[None]:
    """Keep Orbax and TensorStore, after a save that failed, from printing what became of its other writes.

    They tell of it from their own threads, at any time after the error, so that they then stay quiet.
    """
    logger, hook_before = logging.getLogger("absl"), sys.unraisablehook
    level_before = logger.level

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook_before(unraisable)

    sys.unraisablehook = hook
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level_before)
    sys.unraisablehook = hook_before
