"""Decoded images kept on disk, so that they are decoded once: uint8, memory-mapped, keyed by content and settings.

An entry is a folder named by a digest of what it was made from, so it is never out of date: `images` has the pixels
of each image one after the other, `entry.json` what they are and which files could not be decoded. It is built beside
its place and renamed, so it is whole or not there. A lock lets one process build it while the others wait; the system
drops the lock of one that is killed. Processes that use an entry hold a shared lock on it, and what is in use is not
removed.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.data.images import StoredImages
from flaxcnn.errors import ConfigError, DataError, FlaxcnnError
from flaxcnn.files import cannot_write, read_json, sync, user_path

FOLDER_VARIABLE, LIMIT_VARIABLE = "FLAXCNN_CACHE", "FLAXCNN_CACHE_GIB"
DEFAULT_LIMIT = 50.0  # GiB
_SHARE = 0.9  # of what is free on the disk, that an entry may take
_MOST_ENTRY = 1 << 28  # bytes of an entry.json


IMAGES = "images"  # the kind of most entries


class Entry(NamedTuple):
    """A cache's entry, for people.

    Attributes:
        key: its name.
        source: the data set that it was made for.
        images: how many.
        shape: of each, (H, W, C).
        bytes: on disk.
        used: when it was last used, in seconds since 1970.
        kind: what it holds: "images", or numbers that are no pixels, as (1, 1, bytes of an image).
    """

    key: str
    source: str
    images: int
    shape: tuple[int, int, int]
    bytes: int
    used: float
    kind: str = IMAGES


class CachedImages(StoredImages):
    """Images of a cache's entry. A pickle holds its path; whoever reads maps the file and keeps the entry in use."""

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]):
        super().__init__(shape)
        self._folder = folder
        self._mapped: np.memmap[Any, np.dtype[np.uint8]] | None = None
        self._lock: int | None = None
        self._map()

    def read(self, positions_K: npt.NDArray[np.integer[Any]], out_KHWC: npt.NDArray[np.uint8]) -> None:
        """Read images into an array, as `StoredImages.read`."""
        mapped = self._map()
        for place, position in enumerate(positions_K.tolist()):
            out_KHWC[place] = mapped[position]

    def _map(self) -> "np.memmap[Any, np.dtype[np.uint8]]":
        if self._mapped is None:
            file = self._folder / "images"
            try:
                self._lock = os.open(self._folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                size = os.stat(file).st_size
                if size != self.nbytes:
                    raise _damaged(file, f"{self.nbytes:,} bytes", f"{size:,}")
                self._mapped = np.memmap(file, np.uint8, "r", shape=self.shape)
            except OSError as error:
                raise _damaged(file, "an entry of the cache", (error.strerror or str(error)).lower()) from error
        return self._mapped

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None, "_lock": None}

    def __del__(self) -> None:
        if getattr(self, "_lock", None) is not None:
            with suppress(OSError):
                os.close(self._lock)  # type: ignore[arg-type]


class Cache:
    """A folder of entries, with a limit on their size.

    Args:
        folder: where they are; made when the first is.
        limit: bytes of all entries together.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit

    @classmethod
    def of_user(cls) -> "Cache":
        """Return the user's cache, by the environment variables FLAXCNN_CACHE and FLAXCNN_CACHE_GIB.

        Raises:
            ConfigError: the limit is no number, or no folder is known.
        """
        asked = os.environ.get(LIMIT_VARIABLE, "")
        try:
            gibibytes = float(asked) if asked else DEFAULT_LIMIT
        except ValueError:
            gibibytes = -1
        if not 0 <= gibibytes < 2**30:
            raise ConfigError("no size", where=LIMIT_VARIABLE, expected="a number of GiB of at least 0", found=asked)
        named = os.environ.get(FOLDER_VARIABLE)
        if named:
            folder = user_path(named, FOLDER_VARIABLE)
        else:
            folder = user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", FOLDER_VARIABLE) / "flaxcnn"
        return cls(folder / "images", int(gibibytes * 2**30))

    def scans(self, root: Path) -> Path:
        """Return the file in which scans of a folder are remembered."""
        name = hashlib.blake2b(os.fsencode(os.path.realpath(root)), digest_size=16).hexdigest()
        return self.folder / "scans" / f"{name}.npz"

    def images(
        self,
        key: str,
        source: str,
        shape: tuple[int, int, int, int],
        decode: Callable[[Callable[[int, npt.NDArray[np.uint8]], None]], Mapping[int, str]],
        kind: str = IMAGES,
    ) -> tuple[CachedImages, dict[int, str]]:
        """Return the images of an entry; it is built where it is not there.

        Args:
            key: a digest of all that determines the pixels.
            source: the data set's name, for people.
            shape: (N, H, W, C).
            decode: decodes the images. It calls what it is given with the position of each and its pixels, from any
                thread, and returns the positions that it could not decode, with the reasons.
            kind: what the entry holds, for people: images, or numbers of each image, as bytes.

        Returns:
            The images, with zeros for those that could not be decoded, and why each of these could not.

        Raises:
            RunFolderError: the folder cannot be written.
            DataError: the entry does not fit on the disk or in the limit.
        """
        place = self.folder / key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked(self.folder / f"{key}.building"):
                bad = self._bad_of(place, shape)
                if bad is None:
                    self._make_room(math.prod(shape), source, kind)
                    bad = self._build(place, source, shape, decode, kind)
                os.utime(place / "entry.json")  # when it was last used
                images = CachedImages(place, shape)  # which holds its lock before it could be removed
        except OSError as error:
            raise self._cannot_write(error) from error
        return images, bad

    def entries(self) -> list[Entry]:
        """Return all whole entries, the one that was used last first."""
        found = []
        for place in self._places():
            with suppress(FlaxcnnError, OSError, KeyError, TypeError, ValueError):
                told = read_json(place / "entry.json", most=_MOST_ENTRY, within=place, error=DataError)
                count, height, width, channels = map(int, told["shape"])
                used = os.stat(place / "entry.json").st_mtime
                size = os.stat(place / "images").st_size
                kind = str(told.get("kind", IMAGES))
                found.append(Entry(place.name, str(told["source"]), count, (height, width, channels), size, used, kind))
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self, keys: Sequence[str] | None = None) -> tuple[list[Entry], list[Entry]]:
        """Remove entries, and what killed builds left.

        Args:
            keys: of those to remove; None for all.

        Returns:
            The entries that were removed, and those that were kept because a process uses them.
        """
        removed: list[Entry] = []
        kept: list[Entry] = []
        for entry in self.entries():
            if keys is None or entry.key in keys:
                (removed if self._remove(self.folder / entry.key) else kept).append(entry)
        if keys is None:
            for place in self._places():
                if not (place / "entry.json").exists():
                    self._remove(place)
            shutil.rmtree(self.folder / "scans", ignore_errors=True)
        return removed, kept

    def _bad_of(self, place: Path, shape: tuple[int, ...]) -> dict[int, str] | None:
        """Return which images of an entry could not be decoded; None where there is no whole entry of this shape."""
        try:
            told = read_json(place / "entry.json", most=_MOST_ENTRY, within=place, error=DataError)
            bad = {int(position): str(reason) for position, reason in told["bad"].items()}
            whole = tuple(told["shape"]) == shape and os.stat(place / "images").st_size == math.prod(shape)
        except (FileNotFoundError, FlaxcnnError, AttributeError, KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            shutil.rmtree(place, ignore_errors=True)
            return None
        return bad

    def _build(
        self,
        place: Path,
        source: str,
        shape: tuple[int, int, int, int],
        decode: Callable[..., Mapping[int, str]],
        kind: str,
    ) -> dict[int, str]:
        own = self.folder / f"{place.name}.new"  # of a build that was killed: this process holds its lock
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        try:
            (own / "lock").touch()
            each = math.prod(shape[1:])
            descriptor = os.open(own / "images", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                os.posix_fallocate(descriptor, 0, shape[0] * each)  # a full disk is told before any work

                def put(position: int, pixels: npt.NDArray[np.uint8]) -> None:
                    os.pwrite(descriptor, np.ascontiguousarray(pixels).data.cast("B"), position * each)

                bad = {int(position): reason for position, reason in sorted(decode(put).items())}
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            faults = {str(key): value for key, value in bad.items()}
            told = {"source": source, "kind": kind, "shape": list(shape), "bad": faults}
            (own / "entry.json").write_text(json.dumps(told))
            sync(own / "entry.json")
            os.replace(own, place)
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise
        return bad

    def _make_room(self, needed: int, source: str, kind: str) -> None:
        """Remove the entries that were not used for longest, until another fits into the limit and on the disk.

        Raises:
            DataError: it does not fit.
        """
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        while entries and total + needed > self.limit:
            oldest = entries.pop()
            if self._remove(self.folder / oldest.key):
                total -= oldest.bytes
        free = shutil.disk_usage(self.folder).free
        for room, what, fix in (
            (self.limit - total, f"the cache's limit, {LIMIT_VARIABLE}", f"raise {LIMIT_VARIABLE}"),
            (int(free * _SHARE), "what is free on its disk", f"make space, or set {FOLDER_VARIABLE} to another disk"),
        ):
            if needed > room:
                raise DataError(
                    f"the {'decoded images' if kind == IMAGES else kind} of {source} take more than {what}",
                    where=self.folder,
                    expected=f"at most {max(0, room) / 2**20:,.1f} MiB",
                    found=f"{needed / 2**20:,.1f} MiB",
                    fix=f"{fix}, choose a smaller --data.size, or decode in each epoch with --data.no_cache",
                )

    def _cannot_write(self, error: OSError) -> FlaxcnnError:
        fault = cannot_write(self.folder, error)
        way = f"set {FOLDER_VARIABLE} to another folder, or decode in each epoch with --data.no_cache"
        return DataError(fault.what, where=fault.where, fix=", or ".join(filter(None, (fault.fix, way))))

    def _places(self) -> list[Path]:
        try:
            return [place for place in sorted(self.folder.iterdir()) if place.is_dir() and place.name != "scans"]
        except OSError:
            return []

    def _remove(self, place: Path) -> bool:
        """Remove an entry; False where a process uses it."""
        building = place.with_name(f"{place.name.removesuffix('.new')}.building")
        try:
            with self._locked(building, wait=False), self._locked(place / "lock", wait=False):
                shutil.rmtree(place)
                os.unlink(building)
        except BlockingIOError:
            return False
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
        return not place.exists()

    @contextmanager
    def _locked(self, path: Path, wait: bool = True) -> Iterator[None]:
        """Hold an exclusive lock; raises BlockingIOError where another process has it and this one is not to wait."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if not _is_still(path, descriptor):  # removed while this process waited: another one locks a new file
                    continue
                yield
                return
            finally:
                os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _damaged(file: Path, expected: str, found: str) -> DataError:
    return DataError(
        "the cache is damaged", where=file, expected=expected, found=found, fix="clear it with flaxcnn cache --clear"
    )
