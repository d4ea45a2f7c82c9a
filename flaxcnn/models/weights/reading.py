"""Read a file of weights, of any library: its tensors by name, as data.

A file may come from a stranger. Nothing in it is executed, no compressed data are expanded but those of NumPy's
archives up to a limit, and no more memory is taken than the file has bytes, or twice as many of bfloat16.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from flaxcnn.errors import DataError
from flaxcnn.files import hdf5, open_regular
from flaxcnn.files.npz import read_npz
from flaxcnn.models.weights import safetensors
from flaxcnn.models.weights.archive import members
from flaxcnn.models.weights.pytorch import read_archive, read_legacy
from flaxcnn.models.weights.tensors import RefusedError

MOST = 8 << 30  # bytes of a file, unless the caller says otherwise
FORMATS = "safetensors, PyTorch's .pth, Keras' .weights.h5, or .npz"
_COMPRESSED = 64 << 20  # bytes that an archive of NumPy's may hold beside four times its size: numbers compress little
_DAMAGED = (EOFError, ValueError, KeyError, OSError, RuntimeError, TypeError, OverflowError, struct.error)

_Reader = Callable[[BinaryIO, int], dict[str, np.ndarray]]


def read_weights(path: Path, *, most: int = MOST) -> dict[str, np.ndarray]:
    """Return the tensors of a file by name.

    Args:
        path: a regular file in safetensors, in one of PyTorch's formats, in HDF5 as Keras writes it (with h5py), or an
            archive of NumPy's. What it begins with tells which, not its name.
        most: bytes that it may have.

    Returns:
        Arrays of numbers, bfloat16 as float32; they may share memory and cannot be written to.

    Raises:
        DataError: there is no such file, it is damaged, too large or in no such format, or holds something else than
            tensors.
        ConfigError: it is in HDF5, and h5py is missing.
    """
    try:
        with open_regular(path, error=DataError) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise DataError("too large", where=path, expected=f"at most {most:,} bytes", found=f"{size:,}")
            reader = _reader(file, size, path)
            if reader is None:
                most = min(most, 4 * size + _COMPRESSED)
                return read_npz(path, lambda _: None, most=most, what="an archive of arrays", error=DataError)
            file.seek(0)
            return reader(file, size)
    except FileNotFoundError as error:
        raise DataError("no such file", where=path, expected=FORMATS) from error
    except RefusedError as error:
        raise DataError(str(error), where=path, fix=error.fix) from error
    except _DAMAGED as error:
        raise DataError(
            f"damaged: {str(error).strip() or type(error).__name__}", where=path, expected="weights"
        ) from error


def _reader(file: BinaryIO, size: int, path: Path) -> _Reader | None:
    """Return the reader of a file's format; None for an archive of NumPy's."""
    start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        if path.suffix != ".npz" and any(name.endswith("/data.pkl") for name in members(file, size)):
            return read_archive
        return None
    if start.startswith(hdf5.BEGINNING):
        return hdf5.read_hdf5
    if start.startswith(b"\x80"):
        return read_legacy
    if safetensors.begins(start):
        return safetensors.read_safetensors
    if start[257:262] == b"ustar":
        raise RefusedError("a file of PyTorch before 0.1.10", "load it with PyTorch 1 or 2 and save it again")
    raise DataError("in no known format", where=path, expected=FORMATS)
