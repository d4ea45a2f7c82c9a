"""Checks of ArrayRecord files before the array_record library reads them.

The library trusts a file's footer: a wrong offset or size makes it allocate any amount of memory. This module therefore
first reads and checks where the chunks are, how many records each has and how large they are. The library then reads
the records and verifies their hashes. The format is that of `layout.proto` in google/array_record on top of
Riegeli's records: https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md.
"""

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.message import DecodeError

from flaxcnn.data.sources.tfds.messages import Footer, FooterMetadata, Postscript
from flaxcnn.errors import DataError
from flaxcnn.files import open_regular

MAX_CHUNK = 128 << 20
"""The largest chunk that is read, 128 MiB, stored or decoded; TFDS makes one of each example."""

_MOST_CHUNKS = 1 << 23  # of a file: eight million
_LEAST_RECORD = 16  # bytes: an example with an image and a label has more
_FOOTER_ENTRY = 40  # bytes at most, of three numbers with their keys
_FOOTER_METADATA = 1 << 12  # bytes at most: with the options of its writer, some hundred
_BLOCK, _BLOCK_HEADER, _CHUNK_HEADER = 1 << 16, 24, 40
_MAGIC = 0x71930E704FDAE05E
_SIMPLE = ord("r")  # the chunk type of records that are not transposed
_CODECS = {b"b": "brotli", b"z": "zstd"}
_OF_LIBRARY = (RuntimeError, ValueError, IndexError, OSError)  # what it raises of a damaged file


class DamagedFileError(DataError):
    """A file that cannot be read, is not in ArrayRecord's format, or not as its footer says."""


@dataclass(frozen=True, eq=False)
class ArrayRecordFile:
    """A file whose footer is known to be right.

    Attributes:
        path: the file.
        offsets: int64 (chunks,), where each chunk begins.
        ends: int64 (chunks,), where it ends, with what follows it to the next.
        sizes: int64 (chunks,), its bytes when decoded.
        records: int64 (chunks,), how many records it has.
    """

    path: Path
    offsets: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    records: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.records.sum())

    def costs(self) -> npt.NDArray[np.int64]:
        """Return the bytes that reading each record takes at most, int32 (records,)."""
        return np.repeat((self.ends - self.offsets + self.sizes).astype(np.int32), self.records)

    def reader(self) -> Any:
        """Return the library's reader of this file, made for random access.

        Raises:
            DamagedFileError: the library does not take the file.
        """
        try:
            reader = ArrayRecordReader(
                str(self.path), options="readahead_buffer_size:0,max_parallelism:0", file_reader_buffer_size=1 << 15
            )
            found = reader.num_records()
        except _OF_LIBRARY as error:
            raise DamagedFileError(str(error)) from error
        if found != len(self):
            raise DamagedFileError(f"{self.path.name} changed while it was opened")
        return reader

    def read(self, reader: Any, positions: Sequence[int]) -> list[bytes]:
        """Read records.

        Args:
            reader: what `reader` returned.
            positions: which records, each from 0 to one less than there are.

        Raises:
            DamagedFileError: a chunk is damaged, or is not as the footer says.
        """
        try:
            with open_regular(self.path, error=DamagedFileError) as file:
                for chunk in {position // int(self.records[0]) for position in positions}:
                    self._check(file.fileno(), chunk)
        except FileNotFoundError as error:
            raise DamagedFileError(f"no {self.path.name}") from error
        try:
            read: list[bytes] = reader.read(positions)
        except _OF_LIBRARY as error:
            raise DamagedFileError(str(error)) from error
        if len(read) != len(positions):
            raise DamagedFileError(f"{len(read)} of {len(positions)} records in {self.path.name}")
        return read

    def _check(self, file: int, chunk: int) -> None:
        """Compare a chunk's own header, which is what the library reads it by, with the footer."""
        header = _ChunkHeader.read(file, int(self.offsets[chunk]), int(self.ends[chunk]))
        if (header.kind, header.records, header.decoded) != (_SIMPLE, self.records[chunk], self.sizes[chunk]):
            raise DamagedFileError(f"chunk {chunk} of {self.path.name} is not as the footer says")


def open_array_record(path: Path, within: Path) -> ArrayRecordFile:
    """Read the footer of a file and check it.

    Args:
        path: the file.
        within: the folder that it has to lie in.

    Raises:
        DamagedFileError: it is missing, no regular file, lies outside, or is not in ArrayRecord's format.
    """
    try:
        with open_regular(path, within=within, error=DamagedFileError) as file:
            return _layout(file.fileno(), os.fstat(file.fileno()).st_size, path)
    except FileNotFoundError as error:
        raise DamagedFileError(f"no {path.name}") from error
    except DecodeError as error:
        raise DamagedFileError(f"{path.name} has a damaged footer") from error


def _layout(file: int, size: int, path: Path) -> ArrayRecordFile:
    last_block = size - _BLOCK
    if last_block < _BLOCK_HEADER + _CHUNK_HEADER or size % _BLOCK:
        raise DamagedFileError(f"{path.name} has {size:,} bytes, which is no whole number of blocks of {_BLOCK:,}")
    postscript = Postscript.FromString(next(_records(file, last_block, size)))
    footer = postscript.footer_offset
    if postscript.magic != _MAGIC or not 0 < footer < last_block:
        raise DamagedFileError(f"{path.name} has no ArrayRecord postscript")
    entries = _records(file, footer, last_block)
    metadata = FooterMetadata.FromString(next(entries)).array_record_metadata
    numbers = array("Q")
    for entry in map(Footer.FromString, entries):
        numbers.extend((entry.chunk_offset, entry.decoded_data_size, entry.num_records))
    table = np.array(numbers, np.uint64).reshape(-1, 3)
    if (table[:, :2] >= 1 << 62).any() or (table[:, 2] > table[:, 1] // _LEAST_RECORD).any():
        raise DamagedFileError(f"{path.name} has a footer with impossible counts")
    offsets, sizes, records = (table[:, column].astype(np.int64) for column in range(3))
    ends = np.append(offsets[1:], footer)
    if (
        (metadata.version, metadata.num_chunks, metadata.num_records) != (1, len(table), records.sum())
        or (ends - offsets < _CHUNK_HEADER).any()  # in order, one after another
        or (records[:-1] != records[:1]).any()  # as many in each but the last
        or (records[-1:] > records[:1]).any()
        or (records < 1).any()
    ):
        raise DamagedFileError(f"{path.name} has a footer that contradicts itself")
    if (largest := max((*sizes, *(ends - offsets)), default=0)) > MAX_CHUNK:
        raise DamagedFileError(f"{path.name} has a chunk of {largest:,} bytes, more than {MAX_CHUNK:,}")
    return ArrayRecordFile(path, offsets, ends, sizes, records)


@dataclass(frozen=True)
class _ChunkHeader:
    """The part of a chunk's header that says how to read it."""

    kind: int
    stored: int  # bytes
    decoded: int  # bytes
    records: int

    @classmethod
    def read(cls, file: int, offset: int, end: int) -> "_ChunkHeader":
        header = _bytes(file, offset, _CHUNK_HEADER)
        _, stored, _, kind, decoded = struct.unpack("<5Q", header)
        if stored > end - offset:
            raise DamagedFileError(f"a chunk at {offset} of {stored:,} bytes where there is room for {end - offset:,}")
        return cls(kind & 0xFF, stored, decoded, kind >> 8)


def _records(file: int, offset: int, end: int) -> Iterator[bytes]:
    """Yield the records, at least one, of a footer's or a postscript's chunk that ends where `end` says or before."""
    header = _ChunkHeader.read(file, offset, end)
    most = min(offset // _CHUNK_HEADER, _MOST_CHUNKS) + 3  # a footer has one for each chunk, a postscript three
    if (
        header.kind != _SIMPLE
        or not 1 <= header.records <= most
        or header.decoded > _FOOTER_METADATA + _FOOTER_ENTRY * header.records
    ):
        raise DamagedFileError(f"a chunk at {offset} that holds no footer")
    data = _bytes(file, offset, _CHUNK_HEADER + header.stored)[_CHUNK_HEADER:]
    sizes_size, start = _varint(data, 1)
    sizes = _decompress(data[:1], data[start : start + sizes_size], 10 * header.records)
    values = _decompress(data[:1], data[start + sizes_size :], header.decoded)
    place = begin = 0
    for _ in range(header.records):
        size, place = _varint(sizes, place)
        if size > len(values) - begin:
            raise DamagedFileError(f"a footer at {offset} that ends early")
        yield values[begin : begin + size]
        begin += size


def _decompress(kind: bytes, data: bytes, most: int) -> bytes:
    """Return decompressed bytes, of which there are not more than `most`."""
    if kind == b"\0":
        return data
    if kind not in _CODECS:
        raise DamagedFileError(f"a footer of an unknown compression {kind!r}")
    size, start = _varint(data, 0)
    if size > most:
        raise DamagedFileError(f"{size:,} bytes of a footer where {most:,} are possible")
    try:
        return pyarrow.Codec(_CODECS[kind]).decompress(data[start:], decompressed_size=size, asbytes=True)
    except OSError as error:
        raise DamagedFileError(f"a damaged footer: {error}") from error


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number that stands at a place, 7 bits a byte from the lowest, and the place after it."""
    number = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            break
        number |= (data[place] & 0x7F) << shift
        place += 1
        if data[place - 1] < 0x80:
            return number, place
    raise DamagedFileError("a number that does not end")


def _bytes(file: int, offset: int, count: int) -> bytes:
    """Read from a place on, without the headers of the blocks in between."""
    pieces = []
    while count:
        if offset % _BLOCK < _BLOCK_HEADER:
            offset += _BLOCK_HEADER - offset % _BLOCK
        piece = os.pread(file, min(count, _BLOCK - offset % _BLOCK), offset)
        if not piece:
            raise DamagedFileError("the file ends early")
        pieces.append(piece)
        offset, count = offset + len(piece), count - len(piece)
    return b"".join(pieces)
