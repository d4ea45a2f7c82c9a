"""The folder of a page: written whole under another name, and renamed."""

import json
import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from flaxcnn.export.web.runtime import Runtime
from flaxcnn.files import cannot_write, remove, sync, sync_tree

MODEL = "model.onnx"
_OWN = ("index.html", "site.js", "answers.js", "digits.js", "pixels.js")
_SHARED = ("page.css", "asking.js", "choosing.js", "drawing.js", "showing.js")  # with the page of `flaxcnn serve`


def write_folder(to: Path, form: Mapping[str, Any], runtime: Runtime, write_model: Callable[[Path], None]) -> None:
    """Write the folder of a page.

    Args:
        to: the folder, which does not exist.
        form: of the model (`form_of_page`).
        runtime: what runs it.
        write_model: writes the model as ONNX, and raises where it is not what it should be.

    Raises:
        RunFolderError: the disk is full, or nothing may be written there; or as `write_model`.
    """
    partial = to.with_name(f".{to.name}.partial-{os.getpid()}")
    try:
        (partial / "runtime").mkdir(parents=True)
        write_model(partial / MODEL)
        for package, folder, names in (("flaxcnn.export.web", "page", _OWN), ("flaxcnn.pages", "browser", _SHARED)):
            for name in names:
                (partial / name).write_bytes((files(package) / folder / name).read_bytes())
        (partial / "model.json").write_text(json.dumps(form, allow_nan=False), encoding="utf-8")
        for name, content in runtime.files.items():
            (partial / "runtime" / name).write_bytes(content)
        sync_tree(partial)
        partial.rename(to)
        sync(to.parent)
    except OSError as error:
        raise cannot_write(to, error) from error
    finally:
        remove(partial)
