"""Checkpoints as an attacker makes them: any bytes, and a manifest to match.

The index's format: https://google.github.io/tensorstore/kvstore/ocdbt/index.html, "Storage format".
"""

import hashlib
import json
import struct

import pyarrow

STATE = "state/state"  # the folder of the arrays within a checkpoint
MANIFEST, NODE = b"\x0c\xdb\x3a\x2a", b"\x0c\xdb\x20\xde"  # the first bytes of the index's files


def forge(folder, **entries):
    """Write a manifest for all files in a folder, as an attacker would; `entries` are added."""
    files = {
        str(path.relative_to(folder)): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"files": {**files, **entries}}))


def number(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def framed(magic, body, compress=False):
    if compress:
        body = pyarrow.compress(body, codec="zstd", asbytes=True)
    return magic + struct.pack("<Q", 18 + len(body)) + bytes([0, compress]) + body + bytes(4)


def one_file(path):
    return number(1) + number(len(path)) + number(0) + path.encode()


def write_index(checkpoint, node, height=0, path="d/node", length=None):
    """Replace a checkpoint's index by one of a single node."""
    folder = checkpoint / STATE
    (folder / "d" / "node").write_bytes(node)
    length = len(node) if length is None else length
    root = number(1) + number(1) + bytes([height]) + number(0) + number(0) + number(length) + bytes(3 + 8) + number(0)
    config = bytes(16) + b"\0" + number(1024) + number(10**8) + b"\4" + number(0)
    (folder / "manifest.ocdbt").write_bytes(framed(MANIFEST, config + one_file(path) + root))
    forge(checkpoint)
