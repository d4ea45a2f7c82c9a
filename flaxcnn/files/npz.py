"""A reader of NumPy archives (`.npz`) that checks names, types and shapes before it reads an array.

A compressed megabyte can hold a gigabyte. A member's header gives the size of its array, so the headers are read first,
and the caller decides whether to read the arrays.
"""

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from flaxcnn.errors import FlaxcnnError, RunFolderError
from flaxcnn.files.reading import Fault, open_regular

_OVERHEAD = 1 << 20  # bytes of an archive beside its arrays
_UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,  # of the zip format, what Python cannot read
    OverflowError,
    RuntimeError,  # encrypted
    TypeError,  # a type of a size that there is not
    ValueError,
)
# Format 1.0, whose header has a length of two bytes: that of 2.0 could make its reader take gigabytes. Numbers alone,
# as NumPy writes them, so that nothing of it has to be evaluated.
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][biufc]\d{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), ?\} *\n"
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
        The arrays by name, without `.npy`, in the machine's order of bytes.

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
            raise zipfile.BadZipFile(f"a member that is not an array, or a duplicate: {member.filename[:80]!r}")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # LZMA says itself what it takes
            raise zipfile.BadZipFile(f"a member that is compressed as NumPy never does: {member.filename[:80]!r}")
        members[name] = member
    return members


def _form(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Form:
    with archive.open(member) as stream:
        form, _ = read_header(stream)
    return form


def read_header(stream: IO[bytes]) -> tuple[Form, bool]:
    """Read an array's header; return what it says, and whether the array is stored in Fortran's order.

    Raises:
        EOFError, ValueError or TypeError: it is none.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0.
    """
    if _exactly(stream, len(_MAGIC)) != _MAGIC:
        raise ValueError("no array in NumPy's format 1.0")
    (length,) = struct.unpack("<H", _exactly(stream, 2))
    header = _exactly(stream, length)
    match = _HEADER.fullmatch(header)
    if match is None:
        raise ValueError(f"no array of numbers: {header[:80].decode('latin-1')}")
    shape = tuple(int(each) for each in match[3].split(b",") if each.strip())
    if len(shape) > 16:
        raise ValueError(f"an array of {len(shape)} axes")
    return Form(np.dtype(match[1].decode()), shape), match[2] == b"True"


def _exactly(stream: IO[bytes], count: int) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise EOFError("an array ends early")
    return found


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, form: Form) -> np.ndarray:
    with archive.open(member) as stream:
        _, fortran = read_header(stream)
        array = read_elements(stream, form, fortran)
        if stream.read(1):  # at its end the checksum is looked at
            raise zipfile.BadZipFile(f"{member.filename} is longer than its array")
    return array


def read_elements(stream: IO[bytes], form: Form, fortran: bool) -> np.ndarray:
    """Return the array that follows a header, in the machine's order of bytes; raises EOFError where it ends early."""
    flat = np.empty(math.prod(form.shape), form.dtype)
    bytes_, done = flat.view(np.uint8), 0
    while done < form.nbytes:
        part = stream.read(min(1 << 20, form.nbytes - done))
        if not part:
            raise EOFError("an array ends early")
        bytes_[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    native = flat.astype(form.dtype.newbyteorder("="), copy=False)
    return native.reshape(form.shape, order="F" if fortran else "C")
