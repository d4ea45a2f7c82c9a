"""A reader of IDX files, the format of MNIST's distribution, raw or gzipped.

The format is a magic number (two zero bytes, the element type, the rank), each dimension as a big-endian 32-bit
integer, then the elements; for its definition see the page of Y. LeCun's MNIST distribution. Only unsigned bytes are
read, since images and labels are nothing else. A file is taken whole or not at all: one byte too few or too many is
an error, and nothing is allocated on the word of a header.
"""

import hashlib
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from flaxcnn.errors import DataError

MAX_BYTES = 8 << 30
"""The largest uncompressed file that is read, 8 GiB: ten times the largest data set known in this format."""

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class IdxFile:
    """What an IDX file holds.

    Attributes:
        array: uint8, read-only, of the rank and dimensions that the file declares.
        sha256: digest in hex of the whole file, uncompressed: the same for a raw file and its gzipped twin.
    """

    array: npt.NDArray[np.uint8]
    sha256: str


def read_idx(path: str | os.PathLike[str], rank: int) -> IdxFile:
    """Read an IDX file of unsigned bytes.

    Args:
        path: the file; whether it is gzipped is seen from its first bytes, not from its name. A gzipped file is one
            member (RFC 1952), as gzip writes it.
        rank: the number of dimensions that it must have: 3 for images (N, H, W), 1 for labels (N,).

    Returns:
        The array, its memory the file's own bytes, and the digest.

    Raises:
        DataError: the file is missing, unreadable, not a file, not gzip to its end, not IDX, of another element type
            or rank, has a dimension of 0, declares more than `MAX_BYTES`, or is shorter or longer than it declares.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError("not a regular file", where=path, expected="an IDX file, raw or gzipped")
            gzipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if gzipped:
                return _parse(_inflate(file, path), rank, path, length=None)
            return _parse(iter(lambda: file.read(_CHUNK), b""), rank, path, length=status.st_size)
    except OSError as error:
        raise DataError(
            "cannot read the file",
            where=path,
            expected="an IDX file, raw or gzipped",
            found=(error.strerror or str(error)).lower(),
        ) from error


def _parse(chunks: Iterator[bytes], rank: int, path: Path, length: int | None) -> IdxFile:
    """Make an array of a file's uncompressed chunks; `length` is their total in bytes where it is known beforehand."""
    head = b""
    header_size = 4 + 4 * rank
    while len(head) < header_size and (chunk := next(chunks, b"")):
        head += chunk
    shape = _header(head, rank, path)
    declared = header_size + math.prod(shape)
    described = f"{declared} bytes ({header_size} of header and {'×'.join(map(str, shape))})"
    if declared > MAX_BYTES:
        raise DataError(
            "the header declares too much", where=path, expected=f"at most {MAX_BYTES} bytes", found=described
        )
    if length is not None and length != declared:
        raise DataError(_fault(length, declared), where=path, expected=described, found=f"{length} bytes")
    parts, total = [head], len(head)
    while total <= declared and (chunk := next(chunks, b"")):
        parts.append(chunk)
        total += len(chunk)
    if total != declared:
        # A stream that goes on is not read to its end, which may be far: what it holds is known to be too much.
        found = f"{total} bytes" if total < declared else "more"
        raise DataError(_fault(total, declared), where=path, expected=described, found=found)
    content = b"".join(parts)
    array = np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)
    return IdxFile(array, hashlib.sha256(content).hexdigest())


def _header(head: bytes, rank: int, path: Path) -> tuple[int, ...]:
    """Return the dimensions that the first bytes of a file declare."""
    expected = f"{bytes([0, 0, _UNSIGNED_BYTE, rank]).hex()} (unsigned bytes, rank {rank})"
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError("not an IDX file", where=path, expected=f"magic number {expected}", found=_magic(head))
    if head[2] != _UNSIGNED_BYTE:
        raise DataError("not an IDX file of unsigned bytes", where=path, expected=expected, found=_magic(head))
    if head[3] != rank:
        raise DataError(
            "an IDX file of another rank", where=path, expected=expected, found=f"{_magic(head)} (rank {head[3]})"
        )
    if len(head) < 4 + 4 * rank:
        raise DataError(
            "truncated in the header", where=path, expected=f"{4 + 4 * rank} bytes of header", found=len(head)
        )
    shape = struct.unpack_from(f">{rank}I", head, 4)
    if 0 in shape:
        raise DataError(
            "a dimension of 0", where=path, expected="every dimension at least 1", found="×".join(map(str, shape))
        )
    return shape


def _inflate(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the content of a file of one gzip member in pieces of at most `_CHUNK` bytes.

    Not `gzip.GzipFile`, which takes zero bytes after the end for padding and so accepts a file that was appended to.
    """
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: a gzip header and trailer, whose CRC zlib verifies
    while not stream.eof:
        compressed = stream.unconsumed_tail or file.read(_CHUNK)
        try:
            piece = stream.decompress(compressed, _CHUNK)
        except zlib.error as error:
            raise _damaged(path, str(error)) from error
        if not (piece or compressed or stream.eof):
            raise _damaged(path, "the stream ends early")
        if piece:
            yield piece
    if stream.unused_data or file.read(1):
        raise _damaged(path, "bytes after the end of the stream")


def _damaged(path: Path, found: str) -> DataError:
    return DataError("damaged gzip", where=path, expected="one whole gzip member", found=found, fix="copy it again")


def _fault(length: int, declared: int) -> str:
    return "truncated" if length < declared else "trailing bytes"


def _magic(head: bytes) -> str:
    return head[:4].hex() or "an empty file"
