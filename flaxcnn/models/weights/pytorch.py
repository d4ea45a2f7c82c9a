"""A reader of PyTorch's files of weights: the archives of 1.6 and later, and the older sequence of pickles.

In both a pickle describes the tensors, and their numbers lie beside it (`flaxcnn.models.weights.pickled` reads pickles
without executing them). Numbers are read for the tensors of one state dictionary alone, so that what an optimizer kept
beside it takes no memory.
"""

import io
import os
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from flaxcnn.models.weights.archive import members, read_member
from flaxcnn.models.weights.pickled import Storage, Tensor, read_pickle
from flaxcnn.models.weights.tensors import BFLOAT16, MOST_NAMES, RefusedError, read_array, require_shape, view

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net", "network", "weights")
_PREFIXES = ("module.", "_orig_mod.")  # of a model in DataParallel, or compiled

_Numbers = Callable[[Storage], np.ndarray]


def read_archive(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Return the tensors of a file of PyTorch 1.6 or later.

    Args:
        file: a zip archive.
        size: its bytes.

    Raises:
        EOFError or ValueError: it is damaged, or holds something else than tensors.
    """
    found = members(file, size)
    pickles = [name for name in found if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise RefusedError(f"an archive with {len(pickles)} members data.pkl, where PyTorch writes one")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in found:
        raise RefusedError(
            "a TorchScript program", "save its weights: torch.save(torch.jit.load(FILE).state_dict(), …)"
        )
    if f"{root}byteorder" in found and read_member(file, found[f"{root}byteorder"]) != b"little":
        raise RefusedError("numbers of a machine with another order of bytes", "save the weights on another machine")
    described = read_pickle(io.BytesIO(read_member(file, found[pickles[0]])))

    def numbers(storage: Storage) -> np.ndarray:
        member = found.get(f"{root}data/{storage.key}")
        if member is None:
            raise EOFError(f"there are no numbers {storage.key}")
        return _flat(io.BytesIO(read_member(file, member)), storage, member.size)

    return _tensors(described, numbers)


def read_legacy(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Return the tensors of a file of PyTorch before 1.6; arguments and errors as for `read_archive`."""
    if read_pickle(file) != MAGIC or read_pickle(file) != 1001:
        raise RefusedError("a pickle that torch.save did not write")
    system = read_pickle(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedError("numbers of a machine with another order of bytes", "save the weights on another machine")
    described, keys = read_pickle(file), read_pickle(file)
    if not isinstance(keys, list) or len(keys) > MOST_NAMES or not all(isinstance(key, str) for key in keys):
        raise ValueError("no list of storages")
    kinds = {storage.key: storage.kind for storage in _storages(described)}
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8).ljust(8, b"\xff"))
        length = count * _itemsize(kinds[key]) if key in kinds else -1
        if not 0 <= length <= size - file.tell() or key in places:
            raise EOFError(f"the numbers {key} end early")
        places[key] = (file.tell(), length)
        file.seek(length, os.SEEK_CUR)

    def numbers(storage: Storage) -> np.ndarray:
        if storage.key not in places:
            raise EOFError(f"there are no numbers {storage.key}")
        place, length = places[storage.key]
        file.seek(place)
        return _flat(file, storage, length)

    return _tensors(described, numbers)


def state_dictionary(described: Any) -> dict[str, Tensor]:
    """Return the tensors of a file by name, of one dictionary.

    A checkpoint has them in another dictionary, under a name such as "state_dict" or "model". What stands for all names
    at their beginning, as "module." does, is left out.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(described, dict):
        raise RefusedError(f"a {type(described).__name__}, where a dictionary of tensors was expected")
    found = _named(described)
    if not found:
        inside = {name: _named(value) for name, value in described.items() if isinstance(value, dict)}
        inside = {name: tensors for name, tensors in inside.items() if tensors}
        chosen = next((name for name in _NESTED if name in inside), None)
        if chosen is None and len(inside) == 1:
            chosen = next(iter(inside))
        if chosen is None:
            raise RefusedError(f"no dictionary of tensors; there are {', '.join(map(str, described)) or 'none'}")
        found = inside[chosen]
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _named(described: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: each for name, each in described.items() if isinstance(each, Tensor) and isinstance(name, str)}


def _tensors(described: Any, numbers: _Numbers) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary; those that share numbers share memory."""
    read: dict[str, np.ndarray] = {}
    found = {}
    for name, tensor in state_dictionary(described).items():
        storage, shape = tensor.storage, require_shape(tensor.shape, where=name)
        if storage.key not in read:
            read[storage.key] = numbers(storage)
        flat = read[storage.key][storage.offset : storage.offset + storage.length]
        if len(flat) < storage.length:
            raise EOFError(f"{name}: its numbers end early")
        if not isinstance(tensor.strides, tuple):
            raise ValueError(f"{name}: not strides")
        found[name] = view(flat, tensor.offset, shape, tensor.strides, where=name)
    return found


def _storages(described: Any) -> list[Storage]:
    """Return the storages of what a pickle describes, however deep."""
    found, seen, level = [], set[int](), [described]
    while level:
        each = level.pop()
        if isinstance(each, Storage):
            found.append(each)
        elif isinstance(each, dict | list | tuple) and id(each) not in seen:
            seen.add(id(each))
            level += each.values() if isinstance(each, dict) else each
    return found


def _flat(file: BinaryIO, storage: Storage, length: int) -> np.ndarray:
    """Read all numbers of a storage."""
    return read_array(file, storage.kind, length // _itemsize(storage.kind))


def _itemsize(kind: str) -> int:
    return 2 if kind == BFLOAT16 else np.dtype(kind).itemsize
