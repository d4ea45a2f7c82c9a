"""A reader of zip archives whose members are stored as they are, as PyTorch writes them.

Python's `zipfile` keeps some hundred bytes for each member before a caller can count them, and inflates what says that
it is compressed; of a file of weights neither is needed.

Source: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3.
"""

import os
import struct
import zlib
from typing import BinaryIO, NamedTuple

from flaxcnn.models.weights.tensors import MOST_NAMES, RefusedError, exactly

_MOST_LIST = 16 << 20  # bytes of the list of members
_END, _END_64, _FIND_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LISTED, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_MARK_16, _MARK_32 = 2**16 - 1, 2**32 - 1  # "see the 64-bit field"


class Member(NamedTuple):
    """A member of an archive: its name, place, size and checksum, and whether it is stored as it is."""

    name: str
    header: int
    size: int
    checksum: int
    stored: bool


def members(file: BinaryIO, size: int) -> dict[str, Member]:
    """Return an archive's members by name.

    Args:
        file: the archive.
        size: its bytes.

    Raises:
        EOFError or ValueError: it is damaged.
    """
    count, length, start = _list(file, size)
    if count > MOST_NAMES or length > min(_MOST_LIST, size):
        raise ValueError(f"an archive of {count:,} members in a list of {length:,} bytes")
    file.seek(start)
    listed, found, place = exactly(file, length), {}, 0
    for _ in range(count):
        fields = struct.unpack_from("<4s6H3I5H2I", listed, place)
        signature, _, _, flags, method, _, _, checksum, packed, unpacked, named, extra, comment = fields[:13]
        header = fields[16]
        if signature != _LISTED:
            raise ValueError("no list of members")
        name = listed[place + 46 : place + 46 + named].decode()
        fuller = listed[place + 46 + named : place + 46 + named + extra]
        unpacked, packed, header = _fuller(fuller, unpacked, packed, header)
        if name in found:
            raise ValueError(f"{name}: twice")
        found[name] = Member(name, header, packed, checksum, not (flags & 1 or method) and packed == unpacked)
        place += 46 + named + extra + comment
    if sum(member.size for member in found.values()) > size:
        raise ValueError("members that lie over each other")
    return found


def read_member(file: BinaryIO, member: Member) -> bytes:
    """Return a member's bytes; raises EOFError or ValueError where it is damaged, compressed or encrypted."""
    if not member.stored:
        raise RefusedError(f"{member.name}: compressed or encrypted", "save the weights with torch.save, uncompressed")
    file.seek(member.header)
    signature, named, extra = struct.unpack("<4s22x2H", exactly(file, 30))
    if signature != _LOCAL:
        raise ValueError("no member where one is listed")
    file.seek(named + extra, os.SEEK_CUR)
    data = exactly(file, member.size)
    if zlib.crc32(data) != member.checksum:
        raise ValueError("a checksum that is not right")
    return data


def _list(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return the number of members, and the size and the place of their list."""
    tail = min(size, 2**16 + 22 + 20)
    file.seek(size - tail)
    data = exactly(file, tail)
    end = data.rfind(_END)
    if end < 0:
        raise EOFError("an archive ends early")
    count, length, start = struct.unpack_from("<H2I", data, end + 10)
    if count == _MARK_16 or _MARK_32 in (length, start):
        if end < 20 or data[end - 20 : end - 16] != _FIND_64:
            raise ValueError("no end of a large archive")
        (place,) = struct.unpack_from("<Q", data, end - 12)
        if place > size:
            raise ValueError("no end of a large archive")
        file.seek(place)
        signature, count, length, start = struct.unpack("<4s28x3Q", exactly(file, 56))
        if signature != _END_64:
            raise ValueError("no end of a large archive")
    if start + length > size:
        raise ValueError("a list of members beyond the archive")
    return count, length, start


def _fuller(extra: bytes, *values: int) -> tuple[int, ...]:
    """Return values with those of 64 bits in the places of the marks."""
    place, wide = 0, b""
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            wide = extra[place + 4 : place + 4 + length]
        place += 4 + length
    found, at = [], 0
    for value in values:
        if value == _MARK_32:
            (value,) = struct.unpack_from("<Q", wide, at)
            at += 8
        if value >= 2**62:
            raise ValueError("a place beyond every file")
        found.append(value)
    return tuple(found)
