"""The bare imports of a program, for its memory: which modules it had imported at its end, and importing those alone.

    python -m benchmarks.imports record FILE MODULE [ARGUMENT ...]   runs `python -m MODULE ...`, then writes the names
    python -m benchmarks.imports load FILE                           imports what FILE names

Needs the standard library alone, so that it runs in another library's environment too.
"""

import contextlib
import importlib
import runpy
import sys
from pathlib import Path


def record(file: Path, module: str, arguments: list[str]) -> None:
    """Run a module as a program, and write which modules there are when it ends."""
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as exit_:
        if exit_.code:
            raise
    names = [name for name, each in list(sys.modules.items()) if getattr(each, "__spec__", None) and name != "__main__"]
    file.write_text("\n".join(names))


def load(file: Path) -> None:
    """Import all modules that are named; some parts of others cannot be imported by themselves."""
    for name in file.read_text().split("\n"):
        with contextlib.suppress(Exception):
            importlib.import_module(name)


if __name__ == "__main__":
    mode, file, *rest = sys.argv[1:]
    if mode == "record":
        record(Path(file), rest[0], rest[1:])
    else:
        load(Path(file))
