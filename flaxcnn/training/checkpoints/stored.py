"""Read arrays from the files that Orbax wrote: uncompressed chunks in Zarr's format 3, found by an OCDBT index.

Nothing in a checkpoint decides how it is read. The target determines which arrays exist and how large they are. An
array's stored description must equal the one that the library writes for it, except for the division into chunks, one
per device that wrote. Formats: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html and
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn.files import parse_json
from flaxcnn.training.checkpoints.manifest import DamagedCheckpointError, ListedFiles
from flaxcnn.training.checkpoints.ocdbt import MANIFEST, ByteRange, damaged, read_index

_FOLDER = "state/state/"  # within a checkpoint: `store` names the first, Orbax the second
_MANIFEST_BYTES = 1 << 20
_INDEX_BYTES = 20  # behind a chunk: its offset and length in 64 bits each, and a checksum


class _Stored(NamedTuple):
    """Where an array's bytes lie."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]  # the shape of each
    byte_ranges: dict[tuple[int, ...], ByteRange | bytes]  # by the chunk's number along each axis


def bytes_of(target: Any) -> int:
    """Return the bytes that the arrays of a tree take."""
    return sum(math.prod(each.shape) * each.dtype.itemsize for each in map(_plain, jax.tree.leaves(target)))


def check_arrays(files: ListedFiles, target: Any) -> None:
    """Check that a checkpoint holds the arrays of a target, as far as can be said without reading their values.

    Raises:
        DamagedCheckpointError: one is missing, or not stored as this library stores it.
    """
    index = _index(files)
    for path, leaf in jax.tree_util.tree_leaves_with_path(target):
        _find(files, index, _name(path), _plain(leaf))


def read_arrays(files: ListedFiles, target: Any) -> Any:
    """Read the arrays of a checkpoint.

    Args:
        files: of the checkpoint.
        target: a tree of arrays or `jax.ShapeDtypeStruct`s, for shapes, dtypes and shardings; a leaf without a sharding
            is put on the first device.

    Returns:
        A tree of `target`'s structure, what is no leaf of it (a state's model and optimizer) included.

    Raises:
        DamagedCheckpointError: as `check_arrays`, or a file cannot be read.
    """
    index = _index(files)
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def read(path: Any, leaf: Any) -> jax.Array:
        array = _read(files, _find(files, index, _name(path), _plain(leaf)))
        sharding = getattr(leaf, "sharding", None) or first
        placed = jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])
        if not _is_key(leaf):
            return placed
        return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(jnp.empty((), leaf.dtype)))

    return jax.tree_util.tree_map_with_path(read, target)


def _index(files: ListedFiles) -> dict[str, ByteRange | bytes]:
    where = files.folder / _FOLDER / MANIFEST
    size = files.size(_FOLDER + MANIFEST)
    if size > _MANIFEST_BYTES:
        raise DamagedCheckpointError(
            "too large", where=where, expected=f"at most {_MANIFEST_BYTES:,} bytes", found=size
        )
    return read_index(files.read(_FOLDER + MANIFEST, 0, size), lambda byte_range: _part(files, byte_range), where)


def _part(files: ListedFiles, byte_range: ByteRange | bytes) -> bytes:
    return (
        byte_range
        if isinstance(byte_range, bytes)
        else files.read(_FOLDER + byte_range.path, byte_range.offset, byte_range.length)
    )


def _find(files: ListedFiles, index: dict[str, ByteRange | bytes], name: str, leaf: jax.ShapeDtypeStruct) -> _Stored:
    where = f"{files.folder / 'state'}: {name}"
    dtype = np.dtype(leaf.dtype)
    chunk = _chunk(_part(files, _value(index, f"{name}/zarr.json", where, 1 << 16)), leaf.shape, dtype, where)
    numbers = itertools.product(*(range(length // part) for length, part in zip(leaf.shape, chunk, strict=True)))
    length = math.prod(chunk) * dtype.itemsize + _INDEX_BYTES
    byte_ranges = {}
    for each in numbers:
        key = "/".join((name, "c", *map(str, each)))
        byte_range = _value(index, key, where, length)
        found = len(byte_range) if isinstance(byte_range, bytes) else byte_range.length
        if found != length or (
            not isinstance(byte_range, bytes) and byte_range.offset + length > files.size(_FOLDER + byte_range.path)
        ):
            raise damaged(f"{found} bytes of {length} in chunk {each}", where)
        byte_ranges[each] = byte_range
    return _Stored(leaf.shape, dtype, chunk, byte_ranges)


def _value(index: dict[str, ByteRange | bytes], key: str, where: str, most: int) -> ByteRange | bytes:
    found = index.get(key)
    if found is None:
        raise damaged(f"no {key}", where)
    length = len(found) if isinstance(found, bytes) else found.length
    if length > most:
        raise damaged(f"{length} bytes of {most} in {key}", where)
    return found


def _chunk(description: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> tuple[int, ...]:
    """Return the shape of an array's chunks from its description, which has to be the one that the library writes."""
    found = parse_json(description.decode("utf-8", "replace"), where=where, error=DamagedCheckpointError)
    try:
        chunk = tuple(found["chunk_grid"]["configuration"]["chunk_shape"])
    except (KeyError, TypeError) as error:
        raise damaged("no shape of the chunks", where) from error
    divides = len(chunk) == len(shape) and all(
        type(part) is int and 0 < part <= length and length % part == 0
        for part, length in zip(chunk, shape, strict=True)
    )
    if not divides or found != _description(shape, dtype, chunk):
        raise damaged(f"stored otherwise than the library stores {dtype} {shape}", where)
    return chunk


def _description(shape: tuple[int, ...], dtype: np.dtype[Any], chunk: tuple[int, ...]) -> dict[str, Any]:
    little = {"configuration": {"endian": "little"}, "name": "bytes"}
    sharding = {
        "chunk_shape": list(chunk),
        "codecs": [little if dtype.itemsize > 1 else {"name": "bytes"}],
        "index_codecs": [little, {"name": "crc32c"}],
    }
    return {
        "chunk_grid": {"configuration": {"chunk_shape": list(chunk)}, "name": "regular"},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"configuration": sharding, "name": "sharding_indexed"}],
        "data_type": dtype.name,
        "fill_value": 0,  # as False and 0.0 are, to Python
        "node_type": "array",
        "shape": list(shape),
        "zarr_format": 3,
    }


def _read(files: ListedFiles, stored: _Stored) -> np.ndarray:
    array = np.empty(stored.shape, stored.dtype)
    for number, byte_range in stored.byte_ranges.items():
        data = _part(files, byte_range)
        length = len(data) - _INDEX_BYTES
        if data[length:-4] != bytes(8) + length.to_bytes(8, "little"):
            raise damaged("a chunk whose parts are elsewhere", files.folder / "state")
        start = [each * length for each, length in zip(number, stored.chunk, strict=True)]
        part = tuple(slice(at, at + length) for at, length in zip(start, stored.chunk, strict=True))
        array[part] = np.frombuffer(data, stored.dtype, math.prod(stored.chunk)).reshape(stored.chunk)
    return array


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of what is stored of a leaf; of typed keys, that of their bits."""
    if _is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
