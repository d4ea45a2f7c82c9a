"""Frames of video files, by PyAV: chosen by their time, and decoded clip by clip, once.

FFmpeg, which PyAV calls, knows containers that are lists of other files and addresses. So the container is known by
the file's first bytes, it is one of those named here, FFmpeg gets an open file, and whatever else it asks for is
refused. The bytes are untrusted.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import av.container
import numpy as np
import numpy.typing as npt
import PIL
import PIL.Image

from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.photographs.decoding import Shape, fit
from flaxcnn.data.photographs.encoded import Encoded
from flaxcnn.data.photographs.remembered import Scanned
from flaxcnn.data.photographs.scanning import fault_of
from flaxcnn.errors import DataError
from flaxcnn.files import open_regular

EXTENSIONS = frozenset(
    (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"),
)
"""Extensions of video files. A file is decoded by its content, whatever its extension."""
CODECS = frozenset(
    ("h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "h263", "mjpeg"),
)
"""FFmpeg's decoders that are used."""

MAX_PIXELS = 1 << 25
"""The largest frame that is decoded: 33 million pixels, as 8K has. A decoder holds several."""

_MOST_PACKETS = 20_000_000  # of a clip: four days at 60 frames a second
_PIECE = 1 << 20  # bytes of a file that are read at a time
_HEAD = 192  # bytes by which a container is known
_EXPECTED = "MP4, QuickTime, Matroska, WebM, AVI or MPEG with H.264, HEVC, AV1, VP8, VP9, MPEG-1, -2, -4 or JPEG"


class Frame(NamedTuple):
    """A frame of a clip.

    Attributes:
        path: of the clip, below the root.
        digest: of the clip, BLAKE2b of 32 bytes in hex.
        time: when it is shown, in units of the clip's own.
        info: what the clip's first frame is.
        seconds: when it is shown, from the clip's beginning.
    """

    path: str
    digest: str
    time: int
    info: FileInfo
    seconds: Fraction


class Range(NamedTuple):
    """A part of a video, in seconds from its first frame.

    Attributes:
        start: when it begins.
        end: the first moment behind it; None for the video's end.
    """

    start: Fraction = Fraction(0)
    end: Fraction | None = None


WHOLE = (Range(),)


class Frames:
    """Reads frames of videos (`flaxcnn.data.photographs.listing.Examples`).

    Args:
        root: the folder that the videos lie in.
        frames: by name.
    """

    def __init__(self, root: Path, frames: Mapping[str, Frame]):
        self._root, self._frames = root, frames
        self.count = len({frame.path for frame in frames.values()})

    def scan(self, names: Sequence[str]) -> list[Scanned]:
        """Return what each frame is; its digest stands for its clip's content and its time."""
        return [Scanned(_digest(self._frames[name]), self._frames[name].info) for name in names]

    def images(self, names: Sequence[str], shape: Shape) -> "VideoImages":
        """Return the frames, to be decoded to one size."""
        return VideoImages(self._root, [self._frames[name] for name in names], shape)


class VideoImages:
    """Frames that are decoded to one size (`flaxcnn.data.photographs.listing.Decodable`)."""

    decoder = f"PyAV {av.__version__} {av.library_versions} Pillow {PIL.__version__}"

    def __init__(self, root: Path, frames: Sequence[Frame], shape: Shape):
        self._root, self._frames, self._shape = root, tuple(frames), shape
        self.shape = (len(frames), shape.height, shape.width, shape.channels)

    @property
    def units(self) -> list[list[int]]:
        """The positions of each clip's frames."""
        of_clip: dict[str, list[int]] = {}
        for position, frame in enumerate(self._frames):
            of_clip.setdefault(frame.path, []).append(position)
        return list(of_clip.values())

    def file(self, position: int) -> str:
        """Return the path of the clip that a frame is of."""
        return self._frames[position].path

    def decode(self, positions: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield frames of one clip with their pixels, in the order of time.

        Of a frame that its packet promises but the decoder does not show, the next one that is shown.

        Raises:
            DataError: the clip is damaged, or has changed.
        """
        wanted = sorted(positions, key=lambda position: self._frames[position].time)
        first = self._frames[wanted[0]]
        with _opened(self._root, first.path) as (file, digest):
            if digest != first.digest:
                raise DataError(
                    "the file changed since the data set was loaded",
                    where=self._root / first.path,
                    fix="start again with the files as they are now",
                )
            with _container(file, first.path) as container, _damage(first.path):
                done = 0
                for frame in container.decode(_stream(container, first.path)):
                    if done == len(wanted):
                        return
                    due = done
                    while due < len(wanted) and _is_due(frame, self._frames[wanted[due]]):
                        due += 1
                    if due > done:
                        picture = _picture(frame, self._shape.channels, first.path)
                        pixels = np.asarray(fit(picture, self._shape)).reshape(self.shape[1:])
                        for position in wanted[done:due]:
                            yield position, pixels
                        done = due
                if done < len(wanted):
                    raise DataError("ends too early", where=first.path, found=f"{done} of {len(wanted)} frames")


def read_clip(encoded: Encoded, path: str, rate: Fraction, ranges: Mapping[str, Sequence[Range]]) -> Scanned:
    """Return what a video file holds, and the frames of it that are chosen.

    Of each interval of 1 / rate seconds from a range's start on, the first frame is chosen, by the times that the
    packets have; so no frame but the first has to be decoded.

    Args:
        encoded: knows its folder.
        path: of the file, below it.
        rate: frames a second.
        ranges: by path, in the order of time, none in another; of a path that has none, the whole video.

    Returns:
        With frames: numerator and denominator of the unit of time, the first frame's time, the last one's, and those
        of the chosen frames. A range that has no frame is no fault.
    """
    digest = ""
    try:
        with _opened(encoded.root, path) as (file, digest), _container(file, path) as container, _damage(path):
            return Scanned(digest, *_chosen(container, path, rate, ranges.get(path, WHOLE)))
    except DataError as error:
        return Scanned(digest, None, fault_of(error))


def _chosen(
    container: av.container.InputContainer, path: str, rate: Fraction, ranges: Sequence[Range]
) -> tuple[FileInfo, str, tuple[int, ...]]:
    stream = _stream(container, path)
    info: FileInfo | None = None
    times: list[int] = []
    least: int | None = None  # the first key frame's time: what is shown before cannot be decoded
    packets = 0
    for packet in container.demux(stream):
        if info is None:
            for frame in packet.decode()[:1]:
                height, width = frame.height, frame.width
                info = FileInfo("video", *((width, height) if _quarters(frame) % 2 else (height, width)), False, 8)
                _check_size(height, width, path)
        if not packet.size:
            continue
        packets += 1
        if packet.is_corrupt:
            raise DataError("damaged video", where=path, found=f"frame {packets:,}")
        if packets > _MOST_PACKETS:
            raise DataError("too long", where=path, expected=f"at most {_MOST_PACKETS:,} frames")
        if packet.is_keyframe and least is None:
            least = packet.pts
        if packet.pts is not None and not packet.is_discard:
            times.append(packet.pts)
    times = sorted({time for time in times if least is None or time >= least})
    unit = stream.time_base
    if info is None or not times or not unit:
        raise DataError("no frame that can be decoded", where=path)
    if container.format.name.startswith(("mov", "avi")) and packets < stream.frames:
        raise DataError("truncated", where=path, found=f"{packets:,} of {stream.frames:,} frames")
    seconds = Fraction(unit.numerator, unit.denominator)
    chosen: list[int] = []
    for start, end in ranges:
        last = -1
        for place in range(bisect_left(times, times[0] + start / seconds), len(times)):
            since = (times[place] - times[0]) * seconds
            if end is not None and since >= end:
                break
            interval = int((since - start) * rate)
            if interval > last:
                chosen.append(times[place])
                last = interval
    return info, "", (seconds.numerator, seconds.denominator, times[0], times[-1], *chosen)


def frames_of(path: str, scanned: Scanned) -> list[Frame]:
    """Return the frames that were chosen of a clip, in the order of time."""
    assert scanned.info is not None
    numerator, denominator, start, _, *times = scanned.frames
    unit = Fraction(numerator, denominator)
    return [Frame(path, scanned.digest, time, scanned.info, (time - start) * unit) for time in times]


def last_of(scanned: Scanned) -> Fraction:
    """Return when a clip's last frame is shown, in seconds from its first."""
    numerator, denominator, start, last = scanned.frames[:4]
    return (last - start) * Fraction(numerator, denominator)


def _digest(frame: Frame) -> str:
    return hashlib.blake2b(f"{frame.digest} {frame.seconds}".encode(), digest_size=32).hexdigest()


@contextmanager
def _opened(root: Path, path: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open a video file, and give its digest; the file is read in pieces."""
    try:
        with open_regular(root / path, within=root, error=DataError) as file:
            digest = hashlib.blake2b(digest_size=32)
            while piece := file.read(_PIECE):
                digest.update(piece)
            file.seek(0)
            yield file, digest.hexdigest()
    except FileNotFoundError as error:
        raise DataError("the file is gone", where=path) from error


@contextmanager
def _container(file: BinaryIO, path: str) -> Iterator[av.container.InputContainer]:
    """Open a container of a kind that refers to no other file."""
    form = _form(file.read(_HEAD))
    file.seek(0)
    if form is None:
        raise DataError("no video", where=path, expected=_EXPECTED)
    options = {"codec_whitelist": ",".join(sorted(CODECS)), "protocol_whitelist": "none", "max_pixels": f"{MAX_PIXELS}"}
    with _damage(path):
        container = av.open(file, "r", format=form, options=options, io_open=_refuse)
    with closing(container):
        yield container


def _form(head: bytes) -> str | None:
    """Return FFmpeg's name of the container that a file begins as; None for another."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    for begin, name in ((b"\x1aE\xdf\xa3", "matroska"), (b"\0\0\x01\xba", "mpeg")):
        if head.startswith(begin):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    return "mpegts" if head[:1] == head[188:189] == b"G" else None


def _refuse(url: str, flags: int, options: Any) -> Any:
    raise PermissionError("a video that refers to another file")


def _stream(container: av.container.InputContainer, path: str) -> Any:
    if not container.streams.video:
        raise DataError("no video in it", where=path, expected=_EXPECTED)
    stream = container.streams.video[0]
    codec = stream.codec_context
    if codec is None or codec.name not in CODECS:
        raise DataError("a codec that is not decoded", where=path, expected=_EXPECTED, found=codec and codec.name)
    _check_size(codec.height, codec.width, path)
    codec.options = {"max_pixels": str(MAX_PIXELS)}
    codec.thread_type = "SLICE"  # of frames in threads, a damaged one is now and then said to be whole
    return stream


def _check_size(height: int, width: int, path: str) -> None:
    if height * width > MAX_PIXELS:
        expected = f"at most {MAX_PIXELS:,} pixels"
        raise DataError("frames too large", where=path, expected=expected, found=f"{width}×{height}")


def _is_due(frame: Any, wanted: Frame) -> bool:
    return frame.pts is not None and frame.pts >= wanted.time


def _quarters(frame: Any) -> int:
    """Return by how many quarters of a turn, counter-clockwise, a frame becomes upright."""
    return round(frame.rotation / 90) % 4


def _picture(frame: Any, channels: int, path: str) -> PIL.Image.Image:
    _check_size(frame.height, frame.width, path)
    if frame.is_corrupt:
        raise DataError("damaged video", where=path, found="a frame that cannot be decoded whole")
    upright = np.rot90(frame.to_ndarray(format="rgb24"), _quarters(frame))
    picture = PIL.Image.fromarray(np.ascontiguousarray(upright))
    return picture.convert("L") if channels == 1 else picture


@contextmanager
def _damage(where: str) -> Iterator[None]:
    """Raise what PyAV raises of a file as an error of the data."""
    try:
        yield
    except (DataError, GeneratorExit):
        raise
    except Exception as error:  # PyAV promises no class for bytes that are no video
        found = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise DataError("damaged video", where=where, expected=_EXPECTED, found=found) from error
