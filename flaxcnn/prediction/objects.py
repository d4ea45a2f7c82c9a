"""Photographs with the objects that are found in them, and each object as an image of its own, in a new folder."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from flaxcnn.data.photographs.decoding import Shape, decode_file, inspect
from flaxcnn.errors import ConfigError
from flaxcnn.files import cannot_write, user_path
from flaxcnn.prediction.trained import Trained

CROPS = "crops"
"""The folder for the objects, below that of the photographs; in it a folder for each class."""
_QUALITY = 90
_COLOURS = (
    *("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4"),
    *("#008080", "#9a6324", "#f032e6", "#808000", "#000075"),
)
_UNPLAIN = re.compile(r"[^\w.-]+")  # what a name in a folder that is written does not have
_LONGEST = (
    60  # letters of such a name, of 4 bytes at most: file systems allow 255 bytes, with the number and the ending
)


class ObjectFiles:
    """Writes photographs with boxes, and objects, into a new folder.

    A file is called as the photograph is, or as the class, without what leads out of the folder; a number follows
    where two would have one name.

    Args:
        folder: does not exist; is made with the first photograph.
        classes: of the detector, in their order: each has a colour.

    Raises:
        ConfigError: the folder exists already.
    """

    def __init__(self, folder: Path, classes: Sequence[str]):
        if folder.exists() or folder.is_symlink():
            raise ConfigError("exists already", where=folder, expected="a new folder", fix="name another")
        if not folder.parent.is_dir():
            raise ConfigError("no such folder", where=folder.parent, fix="make it, or name another")
        self._folder = folder
        self._colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(classes)}
        self._taken: set[str] = set()
        self._crops = {name: self._unique(_plain(name)) for name in classes}
        self._taken = {CROPS}  # photographs lie beside the folder of the objects
        self._photographs = self._objects = 0

    def write(self, name: str, encoded: bytes, answer: Mapping[str, Any]) -> None:
        """Write a photograph with the boxes of its answer, and each object.

        Args:
            name: of the photograph.
            encoded: its file.
            answer: of `Trained.locate`: its boxes are in pixels of the upright photograph.

        Raises:
            DataError: it is no image.
            RunFolderError: the disk is full, or nothing may be written there.
        """
        info = inspect(encoded, name)
        pixels = decode_file(encoded, Shape(info.height, info.width, 3, "stretch"), name)
        stem = self._unique(_plain(os.path.splitext(os.path.basename(name))[0]))
        objects = answer["objects"]
        try:
            self._folder.mkdir(exist_ok=True)
            self._drawn(pixels, objects).save(self._folder / f"{stem}.jpg", quality=_QUALITY)
            for number, each in enumerate(objects, 1):
                self._objects += self._write_object(pixels, each, f"{stem}-{number}.jpg")
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._photographs += 1

    @property
    def line(self) -> str:
        """What was written, in words."""
        if not self._photographs:
            return "no picture was written: no image could be used"
        return f"{self._folder}: {self._photographs:,} photographs with boxes, {self._objects:,} objects in {CROPS}/"

    def _write_object(self, pixels: npt.NDArray[np.uint8], found: Mapping[str, Any], name: str) -> bool:
        """Write an object; return whether it has a pixel."""
        y0, x0 = (int(np.floor(side)) for side in found["box"][:2])
        y1, x1 = (int(np.ceil(side)) for side in found["box"][2:])
        part = pixels[y0:y1, x0:x1]
        if not part.size:
            return False
        folder = self._folder / CROPS / self._crops[found["class"]]
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(part).save(folder / name, quality=_QUALITY)
        return True

    def _drawn(self, pixels: npt.NDArray[np.uint8], objects: Sequence[Mapping[str, Any]]) -> PIL.Image.Image:
        picture = PIL.Image.fromarray(pixels)
        pen, side = PIL.ImageDraw.Draw(picture), max(picture.size)
        line, font = max(1, round(side / 250)), PIL.ImageFont.load_default(max(10, side / 40))
        for each in reversed(objects):  # the surest is drawn last
            colour, (y0, x0, y1, x1) = self._colours[each["class"]], each["box"]
            pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=line)
            said = f"{each['class']} {100 * each['score']:.0f} %"
            left, top, right, bottom = pen.textbbox((0, 0), said, font=font)
            high = bottom - top + 2 * line
            down = y0 - high if y0 >= high else y0  # above the box where there is room
            pen.rectangle((x0, down, x0 + right - left + 2 * line, down + high), fill=colour)
            pen.text((x0 + line - left, down + line - top), said, fill="white", font=font)
        return picture

    def _unique(self, stem: str) -> str:
        """Return a name that was not returned before, without regard to capitals: some file systems have none."""
        name, number = stem, 2
        while name.lower() in self._taken:
            name, number = f"{stem}-{number}", number + 1
        self._taken.add(name.lower())
        return name


def object_files(folder: str, trained: Trained) -> ObjectFiles:
    """Return what writes the objects that a detector finds.

    Raises:
        ConfigError: it is no detector; or the folder exists already.
    """
    if not trained.task.detects:
        raise ConfigError("not for this task", where="--pictures", expected="a detector", found=trained.task.name)
    return ObjectFiles(user_path(folder, "--pictures"), trained.form.target_names["classes"])


def _plain(name: str) -> str:
    """Return a name without what has a meaning in paths.

    >>> _plain("../a b/c"), _plain("..")
    ('a_b_c', '_')
    """
    return _UNPLAIN.sub("_", name).strip("._-")[:_LONGEST] or "_"
