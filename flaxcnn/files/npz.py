"""Archives of NumPy arrays (`.npz`), of which no array is read before its name, type and shape were looked at.

A member's header says how large its array is, and a megabyte that is compressed may hold a gigabyte; so the headers are
read first, and the caller says whether those are the arrays that it wants.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from flaxcnn.errors import FlaxcnnError, RunFolderError
from flaxcnn.files.reading import Fault, open_regular

_OVERHEAD = 1 << 16  # bytes of an archive beside its arrays, and as many again for each array
_UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,  # a kind of compression that there is not
    OverflowError,
    RecursionError,  # within a header
    RuntimeError,  # encrypted
    SyntaxError,  # within a header
    TypeError,  # within a header
    ValueError,
)


class Form(NamedTuple):
    """What an array's header says."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.str} {self.shape}"


def read_npz(
    path: Path,
    accept: Callable[[Mapping[str, Form]], None],
    *,
    most: int,
    what: str,
    error: Fault = RunFolderError,
) -> dict[str, np.ndarray]:
    """Return the arrays of an archive.

    Args:
        path: a regular file.
        accept: called with what the headers say, before any array is read; raises what it does not accept.
        most: bytes that all arrays together may take.
        what: the archive should be, for the error: "weights that flaxcnn saved".
        error: what to raise.

    Returns:
        The arrays by name, without `.npy`.

    Raises:
        FileNotFoundError: there is no such file.
        FlaxcnnError: of the kind `error`: it is damaged, encrypted, too large, or cannot be read.
    """
    with open_regular(path, error=error) as file:
        try:
            # The archive's own list is read whole, so that it is bounded by the file's size.
            if path.stat().st_size > 2 * most + _OVERHEAD:
                raise error("too large", where=path, expected=f"at most {most:,} bytes of arrays")
            with zipfile.ZipFile(file) as archive:
                members = _members(archive)
                forms = {name: _form(archive, member) for name, member in members.items()}
                accept(forms)
                total = sum(form.nbytes for form in forms.values())
                if total > most:
                    raise error("too large", where=path, expected=f"at most {most:,} bytes of arrays", found=total)
                return {name: _array(archive, member, forms[name]) for name, member in members.items()}
        except FlaxcnnError:
            raise
        except _UNREADABLE as cause:
            raise error(f"damaged: {str(cause).strip() or type(cause).__name__}", where=path, expected=what) from cause


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in members:
            raise zipfile.BadZipFile(f"a member that is no array, or stands there twice: {member.filename!r}")
        members[name] = member
    return members


def _form(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Form:
    with archive.open(member) as stream:
        form, _ = _header(stream)
    return form


def _header(stream: IO[bytes]) -> tuple[Form, bool]:
    """Read an array's header; return what it says, and whether the array is stored in Fortran's order."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array in format {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject or dtype.kind not in "biufc" or dtype.names is not None:
        raise ValueError(f"an array of {dtype}, which is no number")
    if any(length < 0 for length in shape) or len(shape) > 16:
        raise ValueError(f"an array of shape {shape}")
    return Form(dtype, shape), fortran


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, form: Form) -> np.ndarray:
    with archive.open(member) as stream:
        _, fortran = _header(stream)
        flat = np.empty(math.prod(form.shape), form.dtype)
        bytes_, done = flat.view(np.uint8), 0
        while done < form.nbytes:
            part = stream.read(min(1 << 20, form.nbytes - done))
            if not part:
                raise EOFError(f"{member.filename} ends early")
            bytes_[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
        if stream.read(1):  # at its end the checksum is looked at
            raise zipfile.BadZipFile(f"{member.filename} is longer than its array")
    return flat.reshape(form.shape, order="F" if fortran else "C")
