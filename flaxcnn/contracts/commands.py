"""The command `flaxcnn contract`: find a module, and print, write, update or check its contract."""

import importlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from flaxcnn.adapters import MODULE_KINDS, FlaxModule, LinenModel, adapt, is_flax_module
from flaxcnn.contracts.contract import Contract, diff, missing_file, read_contract
from flaxcnn.contracts.derive import derive_contract
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files import sync
from flaxcnn.files.user_code import is_outside, load_outside


def find_module(spec: str) -> FlaxModule:
    """Import and return the Flax module that a word of a command line names.

    Args:
        spec: `path/to/file.py:Name` or `package.module:Name`; Name is a class of Linen or NNX modules that can be made
            without arguments (an NNX class with `rngs=` alone), or a Linen module. The current folder is put on
            Python's path for the latter, as `python -m` does.

    Raises:
        ConfigError: there is no such file or name, it is not a Flax module, or it has fields without a default; or the
            file fails to run. What an imported package itself raises goes through.
    """
    source, colon, name = spec.rpartition(":")
    if not (source and colon and name):
        raise ConfigError("not the place of a module", where=spec, expected="FILE.py:NAME or package.module:NAME")
    if is_outside(spec):
        found = load_outside(spec, spec, fits=is_flax_module, expected=MODULE_KINDS).object
    else:
        namespace = vars(_import_module(source))
        modules = [key for key, value in namespace.items() if is_flax_module(value)]
        hint = nearest(name, modules) if modules else ""
        if name not in namespace:
            raise ConfigError(f"no name '{name}'", where=source, fix=hint)
        found = namespace[name]
        if not is_flax_module(found):
            kind = f"a {type(found).__name__}"
            raise ConfigError("of another kind", where=spec, expected=MODULE_KINDS, found=kind, fix=hint)
    adapted = adapt(found, spec)
    return adapted.module if isinstance(adapted, LinenModel) else adapted


def parse_input_shape(text: str) -> tuple[int, ...]:
    """Return the shape of one image that a word of a command line says, "28,28,1".

    Raises:
        ConfigError: it is not a list of three positive whole numbers.
    """
    parts = [part.strip() for part in text.strip("()").removesuffix(",").split(",")]
    if len(parts) != 3 or not all(re.fullmatch("[0-9]{1,18}", part) and int(part) > 0 for part in parts):
        raise ConfigError("not the shape of an image", where="--input", expected="HEIGHT,WIDTH,CHANNELS", found=text)
    return tuple(int(part) for part in parts)


def sized(size: Sequence[int], declared: Sequence[int]) -> tuple[int, int, int]:
    """Return the shape of one image of a size, one number or two, with the channels of a declared shape.

    Raises:
        ConfigError: it is no size.
    """
    if len(size) not in (1, 2) or min(size) < 1:
        raise ConfigError("not a size", where="--size", expected="HEIGHT WIDTH, or one number", found=tuple(size))
    return size[0], size[-1], declared[2]


def show(module: FlaxModule, input_shape: Sequence[int]) -> str:
    """Return the text of a module's contract."""
    return str(derive_contract(module, input_shape))


def write(module: FlaxModule, input_shape: Sequence[int], path: str | Path) -> Contract:
    """Write a module's first contract and return it.

    Raises:
        ConfigError: the file exists, or it cannot be written.
        ContractError: no contract can be derived.
    """
    if os.path.lexists(path):
        raise ConfigError("file exists", where=path, fix=f"rewrite a contract that is there with --update {path}")
    contract = derive_contract(module, input_shape)
    _write(Path(path), f"{contract}\n")
    return contract


def update(module: FlaxModule, path: str | Path, input_shape: Sequence[int] | None = None) -> list[str]:
    """Rewrite the contract of a module that changed, and return the lines that moved, as `diff` does.

    Comment lines at the beginning of the file stay. A file whose contract has not changed is left as it is.

    Args:
        module: that the contract is of.
        path: the contract's file.
        input_shape: of one image; None for that of the contract.

    Raises:
        ConfigError: the file cannot be written; the old contract stays.
        ContractError: there is no such contract, it cannot be read, or none can be derived.
    """
    try:
        text = read_contract(path)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    old = Contract.parse(text, str(path))
    new = derive_contract(module, input_shape or old.input_shape)
    if new == old:
        return []
    heading = ""
    for line in text.splitlines(keepends=True):
        if line.strip() and not line.startswith("#"):
            break
        heading += line
    _write(Path(os.path.realpath(path)), f"{heading}{new}\n")
    return diff(old, new)


def _write(path: Path, text: str) -> None:
    """Write a contract whole: what is there stays until the new text is on the disk."""
    Contract.parse(text, str(path))  # what could not be read again is not written
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        try:
            partial.write_text(text, encoding="utf-8")
            if path.exists():
                shutil.copymode(path, partial)
            sync(partial)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:  # a null byte in the path
        found = getattr(error, "strerror", None) or error
        raise ConfigError("contract cannot be written", where=path, found=found) from error


def _import_module(source: str) -> ModuleType:
    if source.startswith("."):
        raise ConfigError("a relative name", where=source, expected="package.module, from the current folder")
    _put_on_path(os.getcwd())
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is None or not (source == error.name or source.startswith(f"{error.name}.")):
            raise  # a module that the user's module imports
        fix = f"for a file write {source}.py" if os.path.exists(f"{source}.py") else ""
        raise ConfigError(f"no module '{error.name}'", where=source, fix=fix) from error


def _put_on_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)
