"""A reader of IDX files, MNIST's format, raw or gzipped.

The format is a magic number (two zero bytes, the element type, the rank), each dimension as a big-endian 32-bit
integer, then the elements; for its definition see the page of Y. LeCun's MNIST distribution. Only unsigned bytes are
read, because images and labels have no other type. One byte too few or too many is an error, and no header can cause a
large allocation. The images of a large raw file can stay on disk.
"""

import hashlib
import itertools
import math
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from flaxcnn.data.images import Images
from flaxcnn.data.sources.raw_images import RawImages, file_version
from flaxcnn.errors import DataError
from flaxcnn.files import open_regular

MAX_BYTES = 8 << 30
"""The largest content that is inflated, 8 GiB: ten times the largest data set known in this format."""
MAX_LABELS = 1 << 27
"""The most labels, which are always read into memory: 134 million."""

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_COMPRESSED = 1 << 14  # bytes inflated at a time: zlib copies what is left of them at the end of each member


@dataclass(frozen=True, eq=False)
class IdxFile:
    """What an IDX file holds.

    Attributes:
        array: uint8, read-only, of the rank and dimensions that the file declares.
        sha256: digest in hex of the whole file, uncompressed: the same for a raw file and its gzipped twin.
    """

    array: npt.NDArray[np.uint8]
    sha256: str


def read_idx_images(path: str | os.PathLike[str], in_memory: int) -> tuple[Images, str]:
    """Read the images of an IDX file, or check all of it and leave them there.

    Args:
        path: as for `read_idx`.
        in_memory: a raw file of more bytes stays on disk; it is read once, in pieces, for its digest. A gzipped one
            has no place where an image starts, and is read into memory whatever its size.

    Returns:
        Images (N, H, W, 1), and the SHA-256 of the file, uncompressed.

    Raises:
        DataError: as `read_idx`, for rank 3.
    """
    path = Path(path)
    try:
        with open_regular(path, error=_not_idx) as file:
            status = os.fstat(file.fileno())
            if status.st_size > in_memory and file.read(2) != _GZIP_MAGIC:
                file.seek(0)
                digest = hashlib.sha256(head := file.read(_header_size(3)))
                count, height, width = _check_length(_header(head, 3, path), path, status.st_size)
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                shape = (count, height, width, 1)
                return RawImages(path, _header_size(3), shape, file_version(status)), digest.hexdigest()
    except FileNotFoundError as error:
        raise _unreadable(path, error) from error
    read = read_idx(path, rank=3)
    return read.array[..., np.newaxis], read.sha256


def read_idx(path: str | os.PathLike[str], rank: int) -> IdxFile:
    """Read an IDX file of unsigned bytes.

    Args:
        path: the file; whether it is gzipped is seen from its first bytes, not from its name. A gzipped file is
            one member or several (RFC 1952), as gzip, pigz and bgzip write it.
        rank: the number of dimensions that it must have: 3 for images (N, H, W), 1 for labels (N,).

    Returns:
        The array, its memory the file's own bytes, and the digest.

    Raises:
        DataError: the file is missing, unreadable, not a file, not gzip to its end, not IDX, of another element type
            or rank, has a dimension of 0, is shorter or longer than it declares, has more than `MAX_LABELS`, or is
            gzipped and declares more than `MAX_BYTES`.
    """
    path = Path(path)
    try:
        with open_regular(path, error=_not_idx) as file:
            length = os.fstat(file.fileno()).st_size
            gzipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if gzipped:
                return _parse(_inflate(file, path), rank, path, length=None)
            return _parse(iter(lambda: file.read(_CHUNK), b""), rank, path, length)
    except FileNotFoundError as error:
        raise _unreadable(path, error) from error


def _parse(chunks: Iterator[bytes], rank: int, path: Path, length: int | None) -> IdxFile:
    """Make an array of a file's uncompressed chunks; `length` is their total in bytes where it is known beforehand."""
    head = b""
    header_size = _header_size(rank)
    while len(head) < header_size and (chunk := next(chunks, b"")):
        head += chunk
    shape = _check_length(_header(head, rank, path), path, length)
    declared = header_size + math.prod(shape)
    content, digest, total = _memory(math.prod(shape), path), hashlib.sha256(head[:header_size]), header_size
    for chunk in itertools.chain([head[header_size:]], chunks):
        if total + len(chunk) > declared:
            # A stream that goes on is not read to its end, which may be far: what it holds is known to be too much.
            raise DataError(_fault(declared + 1, declared), where=path, expected=_described(shape), found="more")
        digest.update(chunk)
        content[total - header_size : total - header_size + len(chunk)] = chunk
        total += len(chunk)
    if total != declared:
        raise DataError(_fault(total, declared), where=path, expected=_described(shape), found=f"{total} bytes")
    array = np.frombuffer(memoryview(content).toreadonly(), np.uint8).reshape(shape)
    return IdxFile(array, digest.hexdigest())


def _memory(size: int, path: Path) -> mmap.mmap:
    """Return memory of its own, taken as it is filled, that begins where a page does.

    So JAX on a CPU computes with it as it is; what begins elsewhere, it copies.
    """
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise DataError("too large for the memory", where=path, found=f"{size:,} bytes") from error


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


def _check_length(shape: tuple[int, ...], path: Path, length: int | None) -> tuple[int, ...]:
    """Return the dimensions that a file of so many bytes declares, or, where that is not known yet, may declare."""
    declared = _header_size(len(shape)) + math.prod(shape)
    if len(shape) == 1 and shape[0] > MAX_LABELS:
        raise DataError("too many labels", where=path, expected=f"at most {MAX_LABELS:,}", found=f"{shape[0]:,}")
    if length is None and declared > MAX_BYTES:
        raise DataError(
            "the header declares too much", where=path, expected=f"at most {MAX_BYTES} bytes", found=_described(shape)
        )
    if length is not None and length != declared:
        raise DataError(_fault(length, declared), where=path, expected=_described(shape), found=f"{length} bytes")
    return shape


def _inflate(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the content of a file of gzip members, one after another, in pieces of at most `_CHUNK` bytes.

    Not `gzip.GzipFile`, which takes zero bytes after the end for padding and so accepts a file that was appended to.
    """
    compressed = file.read(_COMPRESSED)
    while compressed:
        if not compressed.startswith(_GZIP_MAGIC[: len(compressed)]):
            raise _damaged(path, "bytes after the end of the stream")
        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: a gzip header and trailer, whose CRC zlib verifies
        while not stream.eof:
            try:
                piece = stream.decompress(compressed, _CHUNK)
            except zlib.error as error:
                raise _damaged(path, str(error)) from error
            if piece:
                yield piece
            compressed = stream.unused_data or stream.unconsumed_tail or file.read(_COMPRESSED)
            if not (piece or compressed or stream.eof):
                raise _damaged(path, "the stream ends early")


def _header_size(rank: int) -> int:
    return 4 + 4 * rank


def _described(shape: tuple[int, ...]) -> str:
    header = _header_size(len(shape))
    return f"{header + math.prod(shape)} bytes ({header} of header and {'×'.join(map(str, shape))})"


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        "cannot read the file",
        where=path,
        expected="an IDX file, raw or gzipped",
        found=(error.strerror or str(error)).lower(),
    )


def _not_idx(what: str, **parts: Any) -> DataError:
    return DataError(what, **{"expected": "an IDX file, raw or gzipped", **parts})


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        "damaged gzip",
        where=path,
        expected="whole gzip members and nothing after them",
        found=found,
        fix="copy it again",
    )


def _fault(length: int, declared: int) -> str:
    return "truncated" if length < declared else "trailing bytes"


def _magic(head: bytes) -> str:
    return head[:4].hex() or "an empty file"
