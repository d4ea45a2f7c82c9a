"""Save a pytree of arrays to a folder with Orbax: the library's only use of Orbax.

The first call imports Orbax, which takes about a second; `import_orbax` lets a run choose when. `stored` reads the
files.
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
from flaxcnn.files import sync

# How TensorStore, which writes for Orbax, says what the operating system answered.
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")

_asked: set[int] = set()  # whether they know fsync: file systems, by their device's number


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
    context.array.saving.use_zarr3 = context.array.saving.use_ocdbt = True  # what `stored` reads
    # Where arrays lay is the reader's choice, not the writer's: `stored` asks its target.
    context.array.saving.enable_write_sharding_file = False
    try:
        with context, _quiet_after_errors_too():
            _ask_for_no_more_than(path.parent)
            ocp.save(path.absolute(), tree)
    except Exception as error:
        code = _OS_ERROR.search(str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


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
                f"checkpoint of another model or optimizer at {name[:200]}",
                where=where,
                expected=wanted.get(name, "no such array"),
                found=saved.get(name, "no such array")[:200],
                fix="create the model and optimizer that the checkpoint's config says",
            )


def _ask_for_no_more_than(folder: Path) -> None:
    """Let TensorStore ask for no fsync where a folder's file system, which is asked once, knows none.

    It would take that for an error. Orbax has no option for it, but a dictionary that it copies for each save.
    """
    device = folder.stat().st_dev
    if device in _asked:
        return
    _asked.add(device)
    if not sync(folder):
        from orbax.checkpoint._src.serialization import tensorstore_utils

        for context in (tensorstore_utils._BASE_TS_CONTEXT, tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT):
            context["file_io_sync"] = False


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
