"""Image files that are decoded each time they are read."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from flaxcnn.data.images import StoredImages
from flaxcnn.data.photographs.decoding import Shape, decode_file
from flaxcnn.data.photographs.encoded import Encoded
from flaxcnn.data.photographs.scanning import fault_of
from flaxcnn.errors import DataError, FlaxcnnError


class FileImages(StoredImages):
    """Image files that are decoded each time they are read, and have to hold what they held when they were scanned.

    Args:
        encoded: reads them.
        paths: of the files.
        digests: of each file's content, BLAKE2b of 32 bytes in hex.
        shape: what to decode them to.
    """

    decoder = f"Pillow {PIL.__version__}"

    def __init__(self, encoded: Encoded, paths: Sequence[str], digests: Sequence[str], shape: Shape):
        super().__init__((len(paths), shape.height, shape.width, shape.channels))
        self._encoded, self._paths, self._digests, self._shape = encoded, tuple(paths), tuple(digests), shape

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array, as `StoredImages.read`."""
        for place, position in enumerate(positions_K.tolist()):
            out_KHWC[place] = self.one(position)

    @property
    def units(self) -> list[tuple[int]]:
        """Every position by itself."""
        return [(position,) for position in range(len(self))]

    def file(self, position: int) -> str:
        """Return an image's path."""
        return self._paths[position]

    def decode(self, positions: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield images with their positions; raises as `one`."""
        for position in positions:
            yield position, self.one(position)

    def one(self, position: int) -> npt.NDArray[np.uint8]:
        """Return the pixels of an image.

        Raises:
            DataError: its file is damaged, or has changed.
        """
        path = self._paths[position]
        encoded = self._encoded.read(path)
        found = hashlib.blake2b(encoded, digest_size=32).hexdigest()
        if found != self._digests[position]:
            raise DataError(
                "the file changed since the data set was loaded",
                where=self._encoded.root / path,
                expected=f"digest {self._digests[position][:16]}…",
                found=f"{found[:16]}…",
                fix="start again with the files as they are now",
            )
        return decode_file(encoded, self._shape, path)


class FaultTolerant:
    """Reads image files and tells which of them it cannot (`flaxcnn.data.workers.workers.Reader`).

    Args:
        files: the image files.
    """

    def __init__(self, files: FileImages):
        self.shape, self._files = files.shape, files

    def read(
        self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]
    ) -> list[tuple[int, str]] | None:
        """Read images into an array; return the positions of those that cannot be, each with the reason."""
        faults = []
        for place, position in enumerate(positions_K.tolist()):
            try:
                out_KHWC[place] = self._files.one(position)
            except FlaxcnnError as error:
                faults.append((position, fault_of(error)))
        return faults or None
