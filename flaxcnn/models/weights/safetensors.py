"""A reader of safetensors files: a header in JSON with each tensor's type, shape and place, then the tensors.

Source: https://github.com/huggingface/safetensors, "Format". The reader is written here since it is shorter than the
calls of a dependency, whose types do not include bfloat16 for NumPy.
"""

import json
import math
import struct
from typing import Any, BinaryIO

import numpy as np

from flaxcnn.models.weights.tensors import BFLOAT16, MOST_NAMES, RefusedError, exactly, read_array, require_shape

_MOST_HEADER = 16 << 20  # bytes; ten thousand tensors take one million
_TYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
    "BOOL": "u1",
}
_BYTES = {BFLOAT16: 2}
METADATA = "__metadata__"
"""The name in a header of the texts that stand beside the tensors."""


def begins(start: bytes) -> bool:
    """Return whether a file that begins so may be safetensors."""
    return len(start) >= 9 and 2 <= int.from_bytes(start[:8], "little") < 2**32 and start[8:9] == b"{"


def read_safetensors(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Return a file's tensors by name; as `read_with_metadata`."""
    return read_with_metadata(file, size)[0]


def read_with_metadata(file: BinaryIO, size: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return a file's tensors by name, and the texts that stand beside them, by name.

    Args:
        file: at its beginning.
        size: bytes of the file, which bound what is read.

    Raises:
        EOFError or ValueError: it is damaged; overlapping tensors, and bytes that belong to none, are damage too.
    """
    (length,) = struct.unpack("<Q", exactly(file, 8))
    if length > min(_MOST_HEADER, size):
        raise ValueError(f"a header of {length:,} bytes, at most {_MOST_HEADER:,} in a file of {size:,}")
    try:
        header = json.loads(exactly(file, length).decode(), object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("a header that is nested too deep") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError("a header that is no JSON in UTF-8") from error
    if not isinstance(header, dict) or len(header) > MOST_NAMES:
        raise ValueError(f"no header of at most {MOST_NAMES:,} tensors")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata that are no texts")
    found, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(*item)):
        start, stop = _offsets(name, entry)
        kind = _TYPES.get(str(entry.get("dtype")))
        if kind is None:
            known = ", ".join(_TYPES)
            raise RefusedError(f"{name}: a tensor of type {entry.get('dtype')}", f"convert it to one of {known}")
        shape = require_shape(entry.get("shape"), where=name)
        itemsize = _BYTES.get(kind) or np.dtype(kind).itemsize
        if stop > size - 8 - length:
            raise EOFError(f"cut off: {size:,} bytes of at least {8 + length + stop:,}")
        if start != end or stop - start != math.prod(shape) * itemsize:
            raise ValueError(f"{name}: lies at bytes {start} to {stop}, which is not where its shape {shape} belongs")
        array = read_array(file, kind, math.prod(shape)).reshape(shape)
        found[name] = array.astype(np.bool_) if entry["dtype"] == "BOOL" else array
        end = stop
    if file.read(1):
        raise ValueError("bytes after the last tensor")
    return found, metadata


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name twice")
    return values


def _offsets(name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(each) is int for each in offsets):
        raise ValueError(f"{name}: no offsets")
    start, stop = offsets
    if not 0 <= start <= stop < 2**63:
        raise ValueError(f"{name}: offsets {offsets}")
    return start, stop
