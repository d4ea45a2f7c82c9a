"""Make a data set of a listing: scan its files, divide them, decode them into the cache or into memory."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.image_files import FileInfo, ImageFiles
from flaxcnn.data.images import Images, Rows, StoredImages
from flaxcnn.data.options import Options, Request
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.data.photographs.decode_all import Put, decode_all, seconds_to_decode
from flaxcnn.data.photographs.decoding import Shape
from flaxcnn.data.photographs.division import divide
from flaxcnn.data.photographs.encoded import Files
from flaxcnn.data.photographs.file_images import FileImages
from flaxcnn.data.photographs.listing import Decodable, Listing, keep, refuse_bad
from flaxcnn.data.photographs.remembered import Scanned
from flaxcnn.data.photographs.scanning import scan
from flaxcnn.errors import DataError

_DECODER = 3  # raised where the same bytes are decoded to other pixels, so that no old entry of the cache is used
_SIZES = (224, 192, 160, 128, 96, 64, 48, 32)  # that images of different sizes are fitted to
_MOST_OWN_SIDE = 256  # of images of one size, which then keep it


def prepare(listing: Listing, request: Request) -> Dataset:
    """Return the data set of a listing's files.

    Files that cannot be used are an error or are left out, as `on_bad` says. A split's images are in memory where they
    take at most `in_memory` bytes, otherwise in the cache, or decoded in each epoch without one.

    Args:
        listing: the files.
        request: what they are wanted for.

    Raises:
        ConfigError: an option does not fit the files.
        DataError: no files, bad files, files of different depths, a single class; or what `Dataset` raises.
    """
    if not listing.paths and not listing.bad:
        raise DataError("no image files", where=listing.source, expected="at least one", found="none")
    options = request.options
    cache = Cache.of_user() if options.cache else None
    encoded = Files(listing.root) if listing.encoded is None else listing.encoded
    if listing.examples is None:
        scanned = scan(encoded, listing.paths, None if cache is None else cache.scans(listing.root))
    else:
        scanned = listing.examples.scan(listing.paths)
    count = len(listing.bad or {}) + (len(scanned) if listing.examples is None else listing.examples.count)
    bad = {
        **(listing.bad or {}),
        **{p: each.fault for p, each in zip(listing.paths, scanned, strict=True) if each.fault},
    }
    expected = "files that can be decoded"
    if listing.fit_targets is not None:
        expected += ", with sound annotations"
    refuse_bad(bad, count, options.on_bad, listing.source, expected=expected)
    if options.on_bad == "skip":
        bad |= _rare_depths(listing.paths, scanned)
    good = [place for place, path in enumerate(listing.paths) if path not in bad]
    listing = keep(listing, good)
    infos = [info for place in good if (info := scanned[place].info) is not None]
    digests = [scanned[place].digest for place in good]
    _require_some(digests, listing.source)
    shape, notes = choose_shape(listing, infos, options)
    objects = None
    if listing.fit_targets is not None:
        fitted = listing.fit_targets(listing.targets, infos, shape)
        notes += fitted.notes
        bad |= {listing.paths[place]: reason for place, reason in fitted.bad.items()}
        refuse_bad(bad, count, options.on_bad, listing.source, expected=expected)
        sound = [place for place in range(len(infos)) if place not in fitted.bad]
        listing = keep(replace(listing, targets=fitted.targets), sound)
        objects = None if fitted.objects is None else fitted.objects.choose(sound)
        digests, infos = [digests[place] for place in sound], [infos[place] for place in sound]
        _require_some(digests, listing.source)
    files: Decodable
    if listing.examples is None:
        files = FileImages(encoded, listing.paths, digests, shape)
    else:
        files = listing.examples.images(listing.paths, shape)
    images, undecodable = _decoded(listing, files, digests, shape, infos, cache, request)
    if undecodable:
        bad |= {files.file(place): reason for place, reason in undecodable.items()}
        whole = [place for place in range(len(listing.paths)) if place not in undecodable]
        listing, digests = keep(listing, whole), [digests[place] for place in whole]
        infos = [infos[place] for place in whole]
        objects = None if objects is None else objects.choose(whole)
        _require_some(digests, listing.source)
        images = Rows(images, np.asarray(whole)) if isinstance(images, StoredImages) else images[whole]
    if line := refuse_bad(bad, count, options.on_bad, listing.source, expected=expected):
        notes.append(line)
    made_of = None
    if listing.examples is None and listing.encoded is None:
        made_of = ImageFiles(listing.root, dict(zip(listing.paths, infos, strict=True)), bad, objects)
    return divide(listing, images, digests, shape, request, (*listing.notes, *notes), made_of)


def _require_some(digests: Sequence[str], source: str) -> None:
    if not digests:
        raise DataError("no usable image files", where=source, expected="at least one", found="none")


def _rare_depths(paths: Sequence[str], scanned: Sequence[Scanned]) -> dict[str, str]:
    """Return the files of another depth than most, with the reason: `choose_shape` refuses two depths."""
    depths = {path: each.info.bits for path, each in zip(paths, scanned, strict=True) if each.info is not None}
    counts = Counter(depths.values())
    most = max(counts, key=lambda bits: (counts[bits], -bits), default=8)
    return {
        path: f"{bits} bits a channel, where most files have {most}" for path, bits in depths.items() if bits != most
    }


def choose_shape(listing: Listing, infos: Sequence[FileInfo], options: Options) -> tuple[Shape, list[str]]:
    """Return what the files are decoded to, and lines that say what was chosen.

    Raises:
        ConfigError: a size that is none.
        DataError: files of 8 and of 16 bits.
    """
    depths = {info.bits: path for path, info in zip(listing.paths, infos, strict=True)}
    if len(depths) > 1:
        found = " and ".join(f"{bits} bits in {depths[bits]}" for bits in sorted(depths))
        fix = "convert them to one depth: the same brightness would get different pixels"
        raise DataError("images of different depths", where=listing.source, expected="one", found=found, fix=fix)
    notes = []
    channels = {"gray": 1, "rgb": 3}.get(options.channels or "", 1 if all(info.gray for info in infos) else 3)
    sizes = {(info.height, info.width) for info in infos}
    if options.size is not None:
        height, width = (*options.size, options.size[0])[:2]
    elif len(sizes) == 1 and max(next(iter(sizes))) <= _MOST_OWN_SIDE:
        ((height, width),) = sizes
    else:
        median = float(np.median([min(info.height, info.width) for info in infos]))
        height = width = next((size for size in _SIZES if size <= median), _SIZES[-1])
        shorter, longer = min(map(min, sizes)), max(map(max, sizes))
        notes.append(
            f"images with sides of {shorter:,} to {longer:,} pixels are fitted to {height}×{width} by {options.fit};"
            " --data.size chooses another size"
        )
    return Shape(height, width, channels, options.fit), notes


def _decoded(
    listing: Listing,
    files: Decodable,
    digests: Sequence[str],
    shape: Shape,
    infos: Sequence[FileInfo],
    cache: Cache | None,
    request: Request,
) -> tuple[Images, dict[int, str]]:
    """Return all images, and which of them could not be decoded, and why."""

    def decode(put: Put) -> dict[int, str]:
        return decode_all(files, put, seconds_to_decode(infos), request.progress)

    if cache is not None:
        images, bad = cache.images(_key(digests, shape, files.decoder), listing.source, files.shape, decode)
        return images, bad
    if isinstance(files, StoredImages) and files.nbytes > request.in_memory:
        # Where nothing may be skipped, what cannot be decoded is found when it is asked for.
        return files, decode(lambda position, pixels: None) if request.options.on_bad == "skip" else {}
    array = np.zeros(files.shape, np.uint8)

    def put(position: int, pixels: npt.NDArray[np.uint8]) -> None:
        array[position] = pixels

    return array, decode(put)


def _key(digests: Sequence[str], shape: Shape, decoder: str) -> str:
    """Return the name of the images' entry in the cache: of their files' content, and of what decodes them how."""
    settings = f"{_DECODER} {decoder} {' '.join(map(str, shape))}\n"
    return hashlib.blake2b((settings + "\n".join(digests)).encode(), digest_size=20).hexdigest()
