"""Where encoded images are read from: files below a folder, or what a source keeps within larger files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from flaxcnn.data.photographs.decoding import MAX_BYTES
from flaxcnn.data.photographs.stamps import Stamp, stamps_of
from flaxcnn.errors import DataError
from flaxcnn.files import read_bytes


class Encoded(Protocol):
    """Reads encoded images by their paths, in any thread. A pickle says where they are, and holds none of them.

    Attributes:
        root: the folder that all is in.
    """

    root: Path

    def stamps(self, paths: Sequence[str]) -> list[Stamp | str]:
        """Return of each image what changes with it, or why it cannot be read, in a few words."""

    def read(self, path: str) -> bytes:
        """Return an image's bytes, at most `MAX_BYTES`.

        Raises:
            DataError: it cannot be read.
        """


class Files:
    """Files below a folder."""

    def __init__(self, root: Path):
        self.root = root

    def stamps(self, paths: Sequence[str]) -> list[Stamp | str]:
        """Return the stamps of files, as `stamps_of`."""
        return stamps_of(self.root, paths)

    def read(self, path: str) -> bytes:
        """Return the file's bytes; raises DataError where it is gone, outside or too large."""
        try:
            return read_bytes(self.root / path, MAX_BYTES, within=self.root, error=DataError)
        except FileNotFoundError as error:
            raise DataError("the file is gone", where=self.root / path, expected="the file of the scan") from error
