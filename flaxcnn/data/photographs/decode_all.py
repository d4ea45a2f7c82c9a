"""Decode all images of a data set once: in threads, or in processes where there is enough to do."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.options import Progress
from flaxcnn.data.photographs.file_images import FaultTolerant, FileImages
from flaxcnn.data.photographs.listing import Decodable
from flaxcnn.data.photographs.parallel import PAYS, cores, read_in_processes
from flaxcnn.data.photographs.scanning import fault_of
from flaxcnn.errors import FlaxcnnError

Put = Callable[[int, npt.NDArray[np.uint8]], None]
"""Keeps an image: called with its position and its pixels."""

_FILE, _PIXEL = 1e-4, 1.2e-8  # seconds to open a file, and to decode and resize a pixel


def seconds_to_decode(infos: Sequence[FileInfo]) -> float:
    """Return about how long one core decodes image files, by what their headers say."""
    return sum(_FILE + _PIXEL * info.height * info.width for info in infos)


def decode_all(files: Decodable, put: Put, seconds: float, progress: Progress | None = None) -> dict[int, str]:
    """Decode each image once.

    Args:
        files: the images.
        put: is called with each image that can be decoded; in any order, and from any thread.
        seconds: about how long one core takes.
        progress: is told how many are decoded.

    Returns:
        Position -> reason, of the images that cannot be decoded.

    Raises:
        DataError: as `read_in_processes`.
    """
    if isinstance(files, FileImages) and cores() > 1 and seconds >= PAYS:
        return _in_processes(files, put, progress)
    return _in_threads(files, put, progress)


def _in_processes(files: FileImages, put: Put, progress: Progress | None) -> dict[int, str]:
    bad: dict[int, str] = {}

    def take(part: range, pixels: npt.NDArray[np.uint8], told: list[Any]) -> None:
        bad.update(fault for faults in told for fault in faults)
        for place, position in enumerate(part):
            if position not in bad:
                put(position, pixels[place])
        if progress is not None:
            progress(part.stop, len(files))

    read_in_processes(FaultTolerant(files), cores(), "decoding process", take)
    return bad


def _in_threads(files: Decodable, put: Put, progress: Progress | None) -> dict[int, str]:
    bad: dict[int, str] = {}
    stop = threading.Event()

    def one(positions: Sequence[int]) -> int:
        if stop.is_set():
            return 0
        try:
            for position, pixels in files.decode(positions):
                if stop.is_set():
                    break
                put(position, pixels)
        except FlaxcnnError as error:
            bad.update(dict.fromkeys(positions, fault_of(error)))
        return len(positions)

    with ThreadPoolExecutor(cores()) as pool:
        done = 0
        try:
            for count in pool.map(one, files.units):
                done += count
                if progress is not None:
                    progress(done, files.shape[0])
        finally:
            stop.set()  # what waits is not begun
    return bad
