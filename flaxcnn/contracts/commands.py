"""What `flaxcnn contract` does: find a module, print its contract, write the file, rewrite it and say what moved."""

import dataclasses
import importlib
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import flax.linen as nn

from flaxcnn.contracts.contract import Contract, diff, missing_file, read_contract
from flaxcnn.contracts.derive import derive_contract
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files import sync


def find_module(spec: str) -> nn.Module:
    """Import and return the Flax module that a word of a command line names.

    The folder of the file, or the current folder, is put on Python's path first, as `python FILE` and `python -m` do.

    Args:
        spec: `path/to/file.py:Name` or `package.module:Name`; Name is a class of modules whose fields all have
            defaults, or a module.

    Raises:
        ConfigError: there is no such file or name, it is not a Flax module, or it has fields without a default. What
            the imported file itself raises goes through.
    """
    source, colon, name = spec.rpartition(":")
    if not (source and colon and name):
        raise ConfigError("not the place of a module", where=spec, expected="FILE.py:NAME or package.module:NAME")
    namespace = vars(_import_file(source) if source.endswith(".py") else _import_module(source))
    modules = [key for key, value in namespace.items() if _is_module(value)]
    if name not in namespace:
        raise ConfigError(f"no name '{name}'", where=source, fix=nearest(name, modules) if modules else "")
    found = namespace[name]
    if isinstance(found, nn.Module):
        return found
    if not _is_module(found):
        raise ConfigError(
            "not a Flax module",
            where=spec,
            expected="a flax.linen.Module or a class of them",
            found=f"a {type(found).__name__}",
            fix=nearest(name, modules) if modules else "",
        )
    needed = [
        each.name
        for each in dataclasses.fields(found)
        if each.init and each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]
    if needed:
        raise ConfigError(
            "module needs arguments",
            where=spec,
            expected="a default for each field",
            found=f"none for {', '.join(needed)}",
            fix=f"make one beside the class and name that: net = {name}({needed[0]}=...)",
        )
    return found()


def parse_input_shape(text: str) -> tuple[int, ...]:
    """Return the shape of one image that a word of a command line says, "28,28,1".

    Raises:
        ConfigError: it is not a list of three positive whole numbers.
    """
    parts = [part.strip() for part in text.strip("()").removesuffix(",").split(",")]
    if len(parts) != 3 or not all(re.fullmatch("[0-9]{1,18}", part) and int(part) > 0 for part in parts):
        raise ConfigError("not the shape of an image", where="--input", expected="HEIGHT,WIDTH,CHANNELS", found=text)
    return tuple(int(part) for part in parts)


def show(module: nn.Module, input_shape: Sequence[int]) -> str:
    """Return the text of a module's contract."""
    return str(derive_contract(module, input_shape))


def write(module: nn.Module, input_shape: Sequence[int], path: str | Path) -> Contract:
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


def update(module: nn.Module, path: str | Path, input_shape: Sequence[int] | None = None) -> list[str]:
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


def _is_module(value: object) -> bool:
    return isinstance(value, nn.Module) or (isinstance(value, type) and issubclass(value, nn.Module))


def _import_file(source: str) -> ModuleType:
    if not os.path.isfile(source):  # False also for a name that is too long for the system
        raise ConfigError("no such file", where=source)
    path = Path(source).resolve()
    _put_on_path(str(path.parent))
    name = path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path):
        name = f"_{name}"  # a file jax.py is not the library of that name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ConfigError("cannot be imported", where=source)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by its name
    try:
        # As `python FILE`, not the loader's kept bytecode: that is told apart by size and second of the last change.
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except BaseException:  # as an import statement that fails leaves nothing behind
        sys.modules.pop(name, None)
        raise
    return module


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
