"""The index of a checkpoint's files, which says where each value is: OCDBT, which TensorStore writes for Orbax.

TensorStore (0.1.86) does not read it here, because it allocates whatever length a file claims: 640 bytes make it
request 64 GB, which ends the process. Here nothing is larger than the decompressed data, which has a limit. Format:
https://google.github.io/tensorstore/kvstore/ocdbt/index.html, "Storage format".
"""

from collections.abc import Callable
from typing import NamedTuple

from flaxcnn.training.checkpoints.manifest import DamagedCheckpointError

MANIFEST = "manifest.ocdbt"

_MANIFEST_MAGIC, _NODE_MAGIC = b"\x0c\xdb\x3a\x2a", b"\x0c\xdb\x20\xde"
_MOST_DECODED = 16 << 20  # bytes of all nodes once decompressed; an array takes some 500, and 60 for each further chunk
_MOST_ENTRIES = 1 << 18
_MOST_KEY_BYTES = 32 << 20  # of all keys written out: each is stored as what it adds to the one before


class ByteRange(NamedTuple):
    """A part of a file: its path within the database's folder, and where the part begins and how long it is."""

    path: str
    offset: int
    length: int


Read = Callable[[ByteRange], bytes]
"""Returns a part of a file, or raises DamagedCheckpointError where there is no such part."""


def read_index(manifest: bytes, read: Read, where: object) -> dict[str, ByteRange | bytes]:
    """Return where each key's value lies, or the value itself where it stands in the index.

    Args:
        manifest: the bytes of `MANIFEST`.
        read: reads parts of the other files.
        where: the database, for errors.

    Raises:
        DamagedCheckpointError: it is damaged, larger than any that this library writes, or of another form.
    """
    return _Index(read, where).entries_from(manifest)


class _File(NamedTuple):
    base: str  # of all paths in a node that stands in this file
    path: str


class _Node(NamedTuple):
    file: _File
    offset: int
    length: int
    height: int
    prefix: bytes  # of all keys in it


class _Columns:
    """The fields of a node or manifest in their order; of many entries, one field of all comes before the next."""

    def __init__(self, data: bytes, where: object):
        self._data, self._at, self._where = data, 0, where

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise damaged("ends early", self._where)
        found, self._at = self._data[self._at : end], end
        return found

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def number(self) -> int:
        """Return an integer of 64 bits, 7 of them in each byte, the lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise damaged("a number of more than 64 bits", self._where)

    def numbers(self, count: int) -> list[int]:
        if count > len(self._data) - self._at:  # before a list of that length is made: each takes a byte at least
            raise damaged("ends early", self._where)
        return [self.number() for _ in range(count)]


class _Index:
    def __init__(self, read: Read, where: object):
        self._read, self._where = read, where
        self._decoded = self._entries = self._key_bytes = 0

    def entries_from(self, manifest: bytes) -> dict[str, ByteRange | bytes]:
        found: dict[str, ByteRange | bytes] = {}
        nodes = [self._root(manifest)]
        while nodes:
            node = nodes.pop()
            columns = self._open(self._read(ByteRange(node.file.path, node.offset, node.length)), _NODE_MAGIC)
            if columns.take(1)[0] != node.height:  # one less in each generation, so that none is its own child
                raise damaged("a node of another height than its parent says", self._where)
            files = self._files(columns, node.file.base)
            keys, common = self._keys(columns, node)
            if node.height:
                for byte_range, key, shared in zip(
                    self._byte_ranges(columns, files, len(keys)), keys, common, strict=True
                ):
                    nodes.append(_Node(*byte_range, node.height - 1, key[: len(node.prefix) + shared]))
            else:
                found.update(zip(map(self._as_text, keys), self._values(columns, files, len(keys)), strict=True))
        return found

    def _open(self, data: bytes, magic: bytes) -> _Columns:
        if data[:4] != magic or int.from_bytes(data[4:12], "little") != len(data):
            raise damaged("not a node or a manifest, or of another length", self._where)
        framed = _Columns(data[12:-4], self._where)  # the last four are a checksum, and the SHA-256 was compared
        version, compression, body = framed.number(), framed.number(), framed.rest()
        if version != 0 or compression > 1:
            raise damaged(f"of version {version} and compression {compression}", self._where)
        if compression:
            body = self._decompressed(body)
        self._decoded += len(body)
        if self._decoded > _MOST_DECODED:
            raise damaged(f"an index of more than {_MOST_DECODED:,} bytes", self._where)
        return _Columns(body, self._where)

    def _decompressed(self, body: bytes) -> bytes:
        import pyarrow  # brought by tensorflow-datasets; takes a tenth of a second

        try:
            with pyarrow.CompressedInputStream(pyarrow.BufferReader(body), "zstd") as stream:
                found: bytes = stream.read(_MOST_DECODED + 1)
        except (OSError, ValueError, MemoryError) as error:
            raise damaged(f"cannot be decompressed: {error}", self._where) from error
        return found

    def _root(self, manifest: bytes) -> _Node:
        """Return the root of the last version, which is the only one in a checkpoint."""
        columns = self._open(manifest, _MANIFEST_MAGIC)
        columns.take(16)  # the database's identifier
        (kind,) = columns.take(1)
        columns.numbers(2)  # the writer's limits for a value within a node, and for a node
        columns.take(1)  # how many versions one node has
        if columns.number():  # whether the writer compresses, with the level
            columns.take(4)
        if kind != 0:
            raise damaged("a manifest in several files", self._where)
        files = self._files(columns, "")
        count = columns.number()
        columns.numbers(count)  # the versions' numbers
        heights = columns.take(count)
        byte_ranges = self._byte_ranges(columns, files, count)
        if not byte_ranges:
            raise damaged("no version", self._where)
        return _Node(*byte_ranges[-1], heights[-1], b"")

    def _files(self, columns: _Columns, base: str) -> list[_File]:
        count = columns.number()
        shared = [0, *columns.numbers(max(count - 1, 0))][:count]  # of each path with the one before
        added, bases = columns.numbers(count), columns.numbers(count)
        files: list[_File] = []
        path = b""
        for start, length, of_base in zip(shared, added, bases, strict=True):
            path = path[:start] + columns.take(length)
            self._count(len(path))
            text = self._as_text(path)
            files.append(_File(base + self._as_text(path[:of_base]), base + text))
        return files

    def _keys(self, columns: _Columns, node: _Node) -> tuple[list[bytes], list[int]]:
        """Return a node's whole keys; of children, also how much of each is common to all keys in the child."""
        count = columns.number()
        if not count:
            raise damaged("a node without entries", self._where)
        shared, added = [0, *columns.numbers(count - 1)], columns.numbers(count)
        common = columns.numbers(count) if node.height else []
        keys: list[bytes] = []
        key = b""
        for start, length in zip(shared, added, strict=True):
            key = key[:start] + columns.take(length)
            self._count(len(node.prefix) + len(key))
            keys.append(node.prefix + key)
        return keys, common

    def _byte_ranges(self, columns: _Columns, files: list[_File], count: int) -> list[tuple[_File, int, int]]:
        named, offsets, lengths = columns.numbers(count), columns.numbers(count), columns.numbers(count)
        return [
            (self._named(files, *each), *where)
            for *each, where in zip(named, zip(offsets, lengths, strict=True), strict=True)
        ]

    def _values(self, columns: _Columns, files: list[_File], count: int) -> list[ByteRange | bytes]:
        lengths, outside = columns.numbers(count), columns.take(count)
        number_outside = sum(map(bool, outside))
        named, offsets = iter(columns.numbers(number_outside)), iter(columns.numbers(number_outside))
        return [
            ByteRange(self._named(files, next(named)).path, next(offsets), length)
            if elsewhere
            else columns.take(length)
            for length, elsewhere in zip(lengths, outside, strict=True)
        ]

    def _named(self, files: list[_File], number: int) -> _File:
        if number >= len(files):
            raise damaged("a file that is not listed", self._where)
        return files[number]

    def _count(self, key_bytes: int) -> None:
        self._entries += 1
        self._key_bytes += key_bytes
        if self._entries > _MOST_ENTRIES or self._key_bytes > _MOST_KEY_BYTES:
            raise damaged("an index of too many entries", self._where)

    def _as_text(self, name: bytes) -> str:
        try:
            return name.decode("utf-8")
        except UnicodeDecodeError as error:
            raise damaged("a name that is no text", self._where) from error


def damaged(what: str, where: object) -> DamagedCheckpointError:
    """Return the error for a database that is not one that this library writes."""
    return DamagedCheckpointError(f"damaged: {what}", where=where, expected="arrays that flaxcnn saved")
