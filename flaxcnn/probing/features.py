"""The features of images, computed once: in batches, by one compiled program, on all devices, and kept on disk.

They are kept in the cache of decoded images, under a key of the images' pixels, the mask, the network and its weights,
so that they are never out of date, whatever the images are called and however they are divided.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from flaxcnn.adapters import FlaxModule
from flaxcnn.data import Images, StoredImages
from flaxcnn.data.images import in_pieces
from flaxcnn.data.options import Progress
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.errors import DataError
from flaxcnn.layers.pixels import normalised, split_constants, to_float
from flaxcnn.probing.network import Network
from flaxcnn.training.device_layout import DeviceLayout

Mask: TypeAlias = Literal["whole", "border", "middle"]
"""What is kept of an image: everything, the border alone, or the middle alone."""

_VERSION = 1  # raised where the same images and weights get other features, so that no old entry is used
_BATCH = 32  # images that a device computes at once
_BORDER = 8  # a border has 1 / 8 of each side
_GRAY = 0.5  # what is masked where the network knows no mean colour


class Features(NamedTuple):
    """Features of images.

    Attributes:
        rows_NxF: float32 (N, F).
        digests: of each image's pixels, in hex.
        computed: for how many images the network was called; 0 where all were kept.
    """

    rows_NxF: npt.NDArray[np.float32]  # noqa: N815
    digests: list[str]
    computed: int


def features_of(
    network: Network,
    images: Images,
    mask: Mask = "whole",
    cache: Cache | None = None,
    source: str = "images",
    progress: Progress | None = None,
) -> Features:
    """Return the features of images.

    Args:
        network: computes them.
        images: uint8 (N, H, W, C).
        mask: what is kept of each; the rest has the network's mean colour.
        cache: keeps them; None to keep nothing.
        source: what the images are called in the cache's list.
        progress: is told how many images are done.

    Raises:
        DataError, ConfigError: as `Network.features`; or the cache has no room for them.
    """
    height, width, channels = images.shape[1:]
    count = network.features((height, width, channels))
    digests = digests_of(images)
    distinct = sorted(set(digests))
    first = {digest: place for place, digest in reversed(list(enumerate(digests)))}
    rows = np.asarray([first[digest] for digest in distinct])
    computed = 0

    def compute() -> npt.NDArray[np.float32]:
        nonlocal computed
        computed = len(rows)
        return _computed(network, images, rows, mask, progress)

    if cache is None:
        found = compute()
    else:
        shape = (len(distinct), 1, 1, 4 * count)

        def build(put: Any) -> Mapping[int, str]:
            for place, row in enumerate(compute()):
                put(place, row.astype("<f4").view(np.uint8).reshape(shape[1:]))
            return {}

        kept, _ = cache.images(
            _key(network, images.shape, mask, distinct), source, shape, build, f"rows of {count:,} features"
        )
        found = np.ascontiguousarray(np.asarray(kept)).view("<f4").reshape(len(distinct), count).astype(np.float32)
    places = {digest: place for place, digest in enumerate(distinct)}
    return Features(found[[places[digest] for digest in digests]], digests, computed)


def digests_of(images: Images) -> list[str]:
    """Return a digest of each image's pixels and shape, BLAKE2b of 32 bytes in hex."""
    start = hashlib.blake2b(f"{images.shape[1:]}".encode(), digest_size=32)
    found = []
    for piece in in_pieces(images):
        for image in piece:
            state = start.copy()
            state.update(np.ascontiguousarray(image).data)
            found.append(state.hexdigest())
    return found


def is_border(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return which pixels are the border, bool (H, W): an eighth of each side, and at least one pixel.

    >>> is_border(3, 4).astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    border = np.ones((height, width), bool)
    rows, columns = max(1, round(height / _BORDER)), max(1, round(width / _BORDER))
    border[rows : height - rows, columns : width - columns] = False
    return border


def _computed(
    network: Network, images: Images, rows: npt.NDArray[Any], mask: Mask, progress: Progress | None
) -> npt.NDArray[np.float32]:
    """Return the features of some images, float32 (N, F), two batches on their way at a time."""
    devices = len(jax.devices())
    size = min(_BATCH * devices, len(rows) + -len(rows) % devices)
    layout = DeviceLayout.of(size)
    variables = jax.tree.map(layout.put, dict(network.variables))
    masked, colour = _mask_of(network, images.shape, mask)

    found: list[npt.NDArray[np.float32]] = []
    waiting: list[tuple[jax.Array, int]] = []

    def take() -> None:
        features, number = waiting.pop(0)
        found.append(np.asarray(features)[:number])
        if progress is not None:
            progress(sum(map(len, found)), len(rows))

    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        batch = np.zeros((size, *images.shape[1:]), np.uint8)
        batch[: len(chosen)] = _read(images, chosen)
        if masked is not None:
            batch[:, masked] = colour
        waiting.append((_features(network.model, variables, jax.device_put(batch, layout.batch)), len(chosen)))
        if len(waiting) > 1:
            take()
    while waiting:
        take()
    features = np.concatenate(found)
    if not np.isfinite(features).all():
        fix = "choose weights whose training did not diverge"
        raise DataError("features that are not finite", where=network.name, expected="numbers", fix=fix)
    return features


@partial(jax.jit, static_argnames="model")
def _features(model: FlaxModule, variables: Any, images_BHWC: jax.Array) -> jax.Array:
    """Return the features of uint8 images, float32 (B, F), normalised as in training."""
    learned, constants = split_constants(variables)
    _, endpoints = model.apply(learned, normalised(constants, to_float(images_BHWC)), train=False)
    return endpoints["features"].astype(jnp.float32)


def _read(images: Images, rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if isinstance(images, StoredImages):
        out = np.empty((len(rows), *images.shape[1:]), np.uint8)
        images.read(rows, out)
        return out
    return images[rows]


def _mask_of(
    network: Network, shape: Sequence[int], mask: Mask
) -> tuple[npt.NDArray[np.bool_] | None, npt.NDArray[np.uint8]]:
    """Return which pixels are masked, bool (H, W), None for none, and their colour, uint8 (C,)."""
    mean = network.pixel_mean
    colour = np.full(shape[3], _GRAY) if mean is None else mean
    border = is_border(shape[1], shape[2])
    masked = {"whole": None, "border": ~border, "middle": border}[mask]
    return masked, np.round(255 * np.nan_to_num(colour)).astype(np.uint8)


def _key(network: Network, shape: Sequence[int], mask: Mask, digests: Sequence[str]) -> str:
    """Return the name of an entry: of all that determines the features, but for their last bits."""
    made_by = f"features {_VERSION} {network.name} {network.digest} jax {jax.__version__} {jax.default_backend()}"
    settings = f"{made_by} {tuple(shape[1:])} {mask} {_BORDER}\n"
    return hashlib.blake2b((settings + "\n".join(digests)).encode(), digest_size=20).hexdigest()
