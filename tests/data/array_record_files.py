"""Files in ArrayRecord's format, written by hand with right hashes, so that only what a test wants is wrong with them.

The hash is HighwayHash-64 (J. Alakuijala et al., 2016, arXiv:1612.06257) with Riegeli's key.
"""

import struct

BLOCK = 1 << 16
MAGIC = 0x71930E704FDAE05E
_KEY = struct.unpack("<4Q", b"Riegeli/records\n" * 2)
_LOW, _ALL = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_MULTIPLIERS = (
    (0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3),
    (0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377),
)


def highway_hash(data):
    """Return the hash as the 8 bytes that a file has."""
    state = _State()
    whole = len(data) // 32 * 32
    for start in range(0, whole, 32):
        state.update(struct.unpack_from("<4Q", data, start))
    if data[whole:]:
        state.update_last(data[whole:])
    for _ in range(4):
        state.update([_swapped(state.v0[lane]) for lane in (2, 3, 0, 1)])
    return struct.pack("<Q", (state.v0[0] + state.v1[0] + state.m0[0] + state.m1[0]) & _ALL)


class _State:
    def __init__(self):
        self.m0, self.m1 = map(list, _MULTIPLIERS)
        self.v0 = [multiplier ^ key for multiplier, key in zip(self.m0, _KEY, strict=True)]
        self.v1 = [multiplier ^ _swapped(key) for multiplier, key in zip(self.m1, _KEY, strict=True)]

    def update(self, lanes):
        for i, lane in enumerate(lanes):
            self.v1[i] = (self.v1[i] + self.m0[i] + lane) & _ALL
            self.m0[i] ^= (self.v1[i] & _LOW) * (self.v0[i] >> 32)
            self.v0[i] = (self.v0[i] + self.m1[i]) & _ALL
            self.m1[i] ^= (self.v0[i] & _LOW) * (self.v1[i] >> 32)
        for source, target in ((self.v1, self.v0), (self.v0, self.v1)):
            for i in (0, 2):
                zipped = _zipped(struct.pack("<2Q", source[i], source[i + 1]))
                target[i], target[i + 1] = (target[i] + zipped[0]) & _ALL, (target[i + 1] + zipped[1]) & _ALL

    def update_last(self, rest):
        size, packet = len(rest), bytearray(32)
        whole, odd = size & ~3, size & 3
        self.v0 = [(lane + (size << 32) + size) & _ALL for lane in self.v0]
        self.v1 = [_turned(lane & _LOW, size) | _turned(lane >> 32, size) << 32 for lane in self.v1]
        packet[:whole] = rest[:whole]
        if size & 16:
            packet[28:] = rest[whole + odd - 4 :]
        elif odd:
            packet[16:19] = rest[whole], rest[whole + (odd >> 1)], rest[-1]
        self.update(struct.unpack("<4Q", packet))


def _zipped(lanes):
    """Return the two lanes with their bytes in the order of the paper's ZipperMerge."""
    order = (3, 12, 2, 5, 14, 1, 15, 0, 11, 4, 10, 13, 9, 6, 8, 7)
    return struct.unpack("<2Q", bytes(lanes[place] for place in order))


def _swapped(lane):
    return lane >> 32 | lane << 32 & _ALL


def _turned(half, count):
    return (half << count | half >> (32 - count)) & _LOW


def varint(number):
    """Return a number in 7 bits a byte, as protocol buffers write it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def message(*fields):
    """Return a protocol buffer of numbers and bytes: (number of the field, value)."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            parts.append(varint(number << 3 | 2) + varint(len(value)) + value)
    return b"".join(parts)


def simple(records):
    """Return the data of a chunk of records, not compressed."""
    sizes = b"".join(varint(len(record)) for record in records)
    return b"\0" + varint(len(sizes)) + sizes + b"".join(records)


def chunk(data, records, decoded, kind=b"r"):
    """Return a chunk with its header."""
    rest = struct.pack("<Q", len(data)) + highway_hash(data) + struct.pack("<QQ", kind[0] | records << 8, decoded)
    return highway_hash(rest) + rest + data


def chunk_of(records):
    """Return a chunk of records, not compressed."""
    return chunk(simple(records), len(records), sum(map(len, records)))


def _block_header(previous, following):
    rest = struct.pack("<QQ", previous, following)
    return highway_hash(rest) + rest


def array_record(chunks, entries=None, metadata=None, footer=None, postscript=None):
    """Return a file of less than 64 KiB of chunks, its footer true unless told otherwise.

    Args:
        chunks: each (bytes, records, decoded size).
        entries: the footer's entries, each (offset, decoded size, records).
        metadata: of the footer: (version, chunks, records).
        footer: the footer's whole chunk.
        postscript: (offset of the footer, magic number).
    """
    content = _block_header(0, 64) + chunk(b"", 0, 0, b"s")
    true = []
    for each, records, decoded in chunks:
        true.append((len(content), decoded, records))
        content += each
    entries = true if entries is None else entries
    metadata = metadata or (1, len(entries), sum(records for _, _, records in entries))
    described = [message((1, message(*zip((1, 2, 3), metadata, strict=True))))]
    described += [message(*zip((1, 2, 3), entry, strict=True)) for entry in entries]
    place = len(content)
    content += chunk_of(described) if footer is None else footer
    content += bytes(BLOCK - len(content))  # what would be padding is not read
    last = chunk_of([message(*zip((1, 2), postscript or (place, MAGIC), strict=True))] * 3)
    content += _block_header(0, 24 + len(last)) + last
    return content + bytes(2 * BLOCK - len(content))
