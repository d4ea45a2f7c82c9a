"""Write tensors into files that other libraries read: safetensors, PyTorch's archives, NumPy's archives."""

import io
import json
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.models.weights.safetensors import METADATA

_Tensors = Mapping[str, np.ndarray]
_SAFETENSORS = {"f4": "F32", "i8": "I64", "i4": "I32", "u1": "U8", "b1": "BOOL"}  # what they are called there
_PYTORCH = {"f4": "FloatStorage", "i8": "LongStorage"}


def write_safetensors(path: Path, tensors: _Tensors, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors of float32, int64, int32, uint8 or bool as safetensors, with texts beside them."""
    header: dict[str, Any] = {} if metadata is None else {METADATA: dict(metadata)}
    place = 0
    for name, array in tensors.items():
        offsets, kind = [place, place + array.nbytes], _SAFETENSORS[array.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(_bytes(array))


def write_pytorch(path: Path, tensors: _Tensors) -> None:
    """Write tensors of float32 or int64 as a state dictionary that `torch.load` reads, with its `weights_only`, too.

    The pickle has the instructions that PyTorch's own has; `flaxcnn.models.weights.pickled` reads them.
    """
    pickled = io.BytesIO()
    pickled.write(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for number, (name, array) in enumerate(tensors.items()):
        strides = [stride // array.itemsize for stride in np.ascontiguousarray(array).strides]
        kind = f"ctorch\n{_PYTORCH[array.dtype.str[1:]]}\n".encode()
        stored = b"(" + _text("storage") + kind + _text(str(number)) + _text("cpu")
        stored += _plain(array.size) + b"tQ"
        shape = _plain(0) + _plain(tuple(array.shape)) + _plain(tuple(strides))
        hooks = b"\x89ccollections\nOrderedDict\n)R"
        pickled.write(_text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + shape + hooks + b"tR")
    pickled.write(b"u.")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("weights/data.pkl", pickled.getvalue())
        archive.writestr("weights/byteorder", b"little")
        for number, array in enumerate(tensors.values()):
            archive.writestr(f"weights/data/{number}", _bytes(array))
        archive.writestr("weights/version", b"3\n")


def write_npz(path: Path, tensors: _Tensors) -> None:
    """Write tensors as an archive of NumPy's."""
    with path.open("wb") as file:
        np.savez(file, **tensors)  # type: ignore[arg-type]


WRITERS: Mapping[str, Callable[[Path, _Tensors], None]] = {
    ".safetensors": write_safetensors,
    ".pth": write_pytorch,
    ".pt": write_pytorch,
    ".npz": write_npz,
}
"""By the ending of a file's name."""


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _plain(value: int | tuple[int, ...]) -> bytes:
    """Return the instructions for numbers, without the beginning and the end of a pickle."""
    return pickletools.optimize(pickle.dumps(value, 2))[2:-1]
