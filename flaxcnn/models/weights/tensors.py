"""Tensors of weights from elsewhere, as the readers of files find them, and the limits that all readers keep."""

import math
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

MOST_AXES = 8
MOST_NAMES = 100_000  # tensors of a file
BFLOAT16 = "bfloat16"  # which NumPy has no type for: the upper half of a float32


class RefusedError(ValueError):
    """Something that no file of weights needs, and that a reader does not do; `fix` says what helps."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


def exactly(file: BinaryIO, count: int, what: str = "the file") -> bytes:
    """Read so many bytes; raises EOFError where there are fewer."""
    found = file.read(count)
    if len(found) < count:
        raise EOFError(f"{what} ends early")
    return found


def read_array(file: BinaryIO, kind: str, count: int) -> np.ndarray:
    """Read numbers of a little-endian type (`f4`, or `BFLOAT16`), which come as float32 if they are bfloat16.

    Raises:
        EOFError: the file ends early.
    """
    dtype = np.dtype("<u2" if kind == BFLOAT16 else f"<{kind}")
    data = exactly(file, count * dtype.itemsize, "a tensor")
    array = np.frombuffer(data, dtype)
    return (array.astype(np.uint32) << 16).view(np.float32) if kind == BFLOAT16 else array


def require_shape(shape: Any, *, where: str) -> tuple[int, ...]:
    """Return a shape as a tuple; raises ValueError where it is none."""
    if not isinstance(shape, list | tuple) or len(shape) > MOST_AXES:
        raise ValueError(f"{where}: a shape of at most {MOST_AXES} axes was expected")
    if not all(type(length) is int and 0 <= length < 2**40 for length in shape):
        raise ValueError(f"{where}: not a shape")
    return tuple(shape)


def view(flat: np.ndarray, offset: int, shape: Sequence[int], strides: Sequence[int], *, where: str) -> np.ndarray:
    """Return a tensor of numbers that lie in one row, without a copy.

    Args:
        flat: the numbers.
        offset: place of the tensor's first.
        shape: the tensor's.
        strides: in numbers, for each axis.
        where: the tensor's name, for errors.

    Raises:
        ValueError: it reaches beyond the numbers, or has more of them than there are.
    """
    sound = len(shape) == len(strides) and all(type(each) is int and 0 <= each < 2**40 for each in (offset, *strides))
    if not sound:
        raise ValueError(f"{where}: not strides")
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, flat.dtype)
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if last >= len(flat) or count > len(flat):
        raise ValueError(f"{where}: reaches beyond the numbers that it is made of")
    steps = [stride * flat.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)
