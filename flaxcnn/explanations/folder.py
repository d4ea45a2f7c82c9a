"""The folder of explanations: a picture for each image, and a line of JSON for each."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxcnn.errors import ConfigError
from flaxcnn.files.writing import cannot_write

LINES = "explanations.jsonl"
_MOST = 60  # characters of an image's name in its picture's


class ExplanationFolder:
    """A new folder, made when it is first written.

    Args:
        path: does not exist, or is an empty folder.

    Raises:
        ConfigError: it is something else.
    """

    def __init__(self, path: Path):
        fix = "name another folder with --out, or remove this one"
        if path.is_symlink() or path.exists():
            if not path.is_dir():
                raise ConfigError("not a folder", where=path, fix=fix)
            if any(path.iterdir()):
                raise ConfigError("holds something already", where=path, expected="a new or empty folder", fix=fix)
        self.path, self._count = path, 0

    def add(self, image: str, said: Mapping[str, Any], picture: bytes | None) -> str:
        """Write what is said of an image, and its picture if there is one; return the picture's name, "" without.

        Args:
            image: its name.
            said: as JSON has it.
            picture: a PNG file.

        Raises:
            RunFolderError: the folder cannot be written.
        """
        self._count += 1
        name = "" if picture is None else f"{self._count:05}_{_plain(image)}.png"
        line = json.dumps({"image": image, **({"picture": name} if name else {}), **said}, allow_nan=False)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if picture is not None:
                (self.path / name).write_bytes(picture)
            with (self.path / LINES).open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return name


def _plain(image: str) -> str:
    """Return an image's name without its folders and ending, of characters that every file system takes.

    >>> _plain("more/../a b?.png")
    'a_b_'
    """
    stem = image.replace("\\\\", "/").rpartition("/")[2].rpartition(".")[0] or "image"
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem)[:_MOST]
