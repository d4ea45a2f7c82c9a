"""Let a user's file import the modules beside it, as `python FILE` does.

Nothing remains afterwards: Python's path does not change, and the modules are forgotten once the file has run, so files
in two folders can each have a neighbour with the same name.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class _Neighbours:
    """Finds the modules of a folder before any others of the same name.

    Python's own and flaxcnn are found first, and a file never imports itself in the place of a library: `random.py`,
    `optuna.py` and `flaxcnn` are names that folders of configs have. A folder without `__init__.py` is a package where
    nothing else has its name.
    """

    def __init__(self, file: Path):
        self._folder = str(file.parent)
        self._not_found = {*sys.stdlib_module_names, "__main__", "__mp_main__", "flaxcnn", file.stem}
        self.found: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or name in self._not_found:  # a package's own folder leads to what is in it
            return None
        spec = PathFinder.find_spec(name, [self._folder])
        if spec is not None and spec.loader is None and self._stands_elsewhere(name):
            return None
        if spec is not None:
            self.found.add(name)
        return spec

    def _stands_elsewhere(self, name: str) -> bool:
        return any(finder.find_spec(name, None) is not None for finder in sys.meta_path if finder is not self)

    def has(self, name: str) -> bool:
        """Return whether a module of this name, which Python may know from elsewhere, is the folder's."""
        if name in self._not_found:
            return False
        spec = PathFinder.find_spec(name, [self._folder])
        return spec is not None and spec.loader is not None


@contextmanager
def neighbours(file: Path) -> Iterator[Set[str]]:
    """While entered, `import` finds the modules and packages in the folder of a file; yields the names of those found.

    Args:
        file: the file, which need not be resolved.
    """
    finder = _Neighbours(file.resolve())
    importlib.invalidate_caches()  # a neighbour may have been written a moment ago
    own = {name for name in {each.partition(".")[0] for each in sys.modules} if finder.has(name)}
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in own}
    for name in hidden:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield finder.found
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in finder.found]:
            del sys.modules[name]
        sys.modules.update(hidden)
