"""Load a user's own code, named as `FILE.py:NAME` on a command line or in a config, and compute its digest.

Only names from the user reach this module. Names that a run's folder recorded do not: see `flaxcnn.runs.folder.named`.
"""

import functools
import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from flaxcnn.errors import ConfigError, nearest
from flaxcnn.files.neighbours import neighbours
from flaxcnn.files.paths import user_path

FORM = "FILE.py:NAME"
_NAME = re.compile(r"(?s)(?![A-Za-z_]\w+:)(?P<file>.*\.py):(?P<name>[^:/\\]*)")  # "idx:x.py:y" is a folder of data


class Outside(NamedTuple):
    """What a user's file binds to a name.

    Attributes:
        object: the bound object.
        digest: SHA-256 of the file and of the modules beside it that it imports.
        path: the file, resolved.
        name: the name.
    """

    object: Any
    digest: str
    path: Path
    name: str


class _Loaded(NamedTuple):
    module: ModuleType
    files: Mapping[str, Path]  # the modules beside it that it imports, by path from its folder
    digest: str


_loaded: dict[Path, _Loaded] = {}


def is_outside(name: str) -> bool:
    """Return whether a name says where a user's own code is, `FILE.py:NAME`; nothing is read.

    >>> is_outside("nets/my_net.py:MyNet"), is_outside("paper_cnn"), is_outside("idx:folder.py:odd")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None


def outside_parts(name: str, where: object) -> tuple[Path, str]:
    """Return the file, not resolved, and the name in it; raises ConfigError where `name` has another form."""
    match = _NAME.fullmatch(name)
    if match is None or not match["name"].isidentifier():
        raise ConfigError("not the place of your own code", where=where, expected=FORM, found=name)
    return user_path(match["file"], where), match["name"]


def load_outside(
    name: str, where: object, *, fits: Callable[[Any], bool] | None = None, expected: str = "another object"
) -> Outside:
    """Import a user's file and return what it binds to a name.

    The file can import the modules beside it, at its top level. It runs once in a process, until it or one of these
    modules changes: the same name gives the same object, which JAX's caches rely on.

    Args:
        name: `FILE.py:NAME`; a relative path starts at the current folder.
        where: the option or field that has the name, for errors.
        fits: whether an object is of the kind that is asked for; None for any kind.
        expected: that kind in words, for the error.

    Raises:
        ConfigError: there is no such file or name, the file fails to run (the line is named), or the object is of
            another kind.
    """
    file, bound = outside_parts(name, where)
    if not _is_file(file):
        raise ConfigError("no such file", where=file)
    loaded = _load(file.resolve())
    namespace = vars(loaded.module)
    names = [each for each, value in namespace.items() if not each.startswith("_") and (fits is None or fits(value))]
    if fits is None:
        names = [each for each in names if getattr(namespace[each], "__module__", None) == loaded.module.__name__]
    hint = nearest(bound, names) if names else ""
    if bound not in namespace:
        raise ConfigError(f"no name '{bound}'", where=file, fix=hint)
    found = namespace[bound]
    if fits is not None and not fits(found):
        kind = "class" if isinstance(found, type) else type(found).__name__
        raise ConfigError("of another kind", where=name, expected=expected, found=f"a {kind}", fix=hint)
    return Outside(found, loaded.digest, file.resolve(), bound)


def loaded_digest(name: str, where: object) -> str:
    """Return the digest of the file that `name` names, as this process ran it last; raises as `load_outside`."""
    file, _ = outside_parts(name, where)
    known = _loaded.get(file.resolve())
    return load_outside(name, where).digest if known is None else known.digest


def outside_files() -> dict[str, Path]:
    """Return the users' files that this process ran, by the names that their modules have in it."""
    return {loaded.module.__name__: path for path, loaded in _loaded.items()}


def object_in(path: Path, qualified_name: str) -> Any:
    """Return what a user's file binds to a name such as "Outer.Inner"; raises as `load_outside` and AttributeError."""
    return functools.reduce(getattr, qualified_name.split("."), _load(path).module)


def place_of(error: BaseException, path: Path, beside: Set[str]) -> tuple[Path, int | None]:
    """Return the file and the line at which an error was raised, None for no line.

    Args:
        error: what a user's file raised.
        path: the file, which it is where no module beside it has raised the error.
        beside: the names of those modules.
    """
    if isinstance(error, SyntaxError) and error.filename is not None:
        found = Path(error.filename)
        return (path if found == path.resolve() else found), error.lineno
    file, line = path, None
    for frame, number in traceback.walk_tb(error.__traceback__):
        code, module = frame.f_code, str(frame.f_globals.get("__name__", ""))
        if code.co_filename == str(path) or module.partition(".")[0] in beside:
            file, line = Path(code.co_filename), number
    return file, line


def error_in(error: BaseException, path: Path, beside: Set[str], what: str) -> ConfigError:
    """Return the error of a user's file that raised one: one line with the file, the line and what was raised.

    Args:
        error: what it raised.
        path: the file.
        beside: the names of the modules beside it that it imported.
        what: the file in words, for the advice: "the config file".
    """
    file, line = place_of(error, path, beside)
    return ConfigError(
        f"{f'line {line}: ' if line else ''}{type(error).__name__}: {error}",
        where=file,
        fix=f"correct {what}" if file == path else f"correct the file, which {path} imports",
    )


def _load(path: Path) -> _Loaded:
    known = _loaded.get(path)
    if known is not None and _is_same(known, path):
        return known
    source, name = path.read_bytes(), _module_name(path)
    module = ModuleType(name)
    module.__file__ = str(path)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by its name
    beside: Set[str] = set()
    try:
        with neighbours(path) as beside:
            exec(compile(source, str(path), "exec"), vars(module))
            files = _files_of(beside, path.parent)
    except BaseException as error:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        if isinstance(error, Exception | SystemExit):
            raise error_in(error, path, beside, "the file") from error
        raise
    _loaded[path] = _Loaded(module, files, _digest(source, files))
    return _loaded[path]


def _is_same(known: _Loaded, path: Path) -> bool:
    try:
        return known.digest == _digest(path.read_bytes(), known.files)
    except OSError:  # a module beside it is gone: the import says which
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the system
        return False


def _module_name(path: Path) -> str:
    """Return a name under which a file's module hides no other: the file's own where nothing else has it."""
    stem = path.stem
    present = sys.modules.get(stem)
    if present is None and stem.isidentifier():
        try:
            spec = importlib.util.find_spec(stem)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin == str(path):
            return stem
    elif present is not None and getattr(present, "__file__", None) == str(path):
        return stem
    return f"_{stem}_{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:12]}"


def _files_of(names: Set[str], folder: Path) -> dict[str, Path]:
    """Return the files of the imported modules of these top-level names, by their paths from a folder."""
    files = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)  # None for a folder that is a package without __init__.py
        if name.partition(".")[0] in names and file is not None:
            path = Path(file)
            files[path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name] = path
    return files


def _digest(source: bytes, files: Mapping[str, Path]) -> str:
    """Return the SHA-256 of a file and the modules beside it; it depends on neither the folder nor the file's name."""
    lines = [hashlib.sha256(source).hexdigest()]
    lines += [f"{hashlib.sha256(files[name].read_bytes()).hexdigest()}  {name}" for name in sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
