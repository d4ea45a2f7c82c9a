"""`video:DIR`: a folder of video files, with a sub-folder for each class; its images are frames of them.

DIR/rain/1.mp4                the test split is drawn: whole clips, by their content
DIR/train/rain/1.mp4          with train/, test/ and val/ (or valid/, validation/), as far as they are there

`video:TABLE.csv`, or .jsonl or .parquet: a row for each video, or for each range of one (`tables.clips`).

A clip is cut into intervals of 1 / `--data.frames` seconds, and the first frame of each is an image. It is named by its
video and its time: rain/1.mp4@2.000. A video is a group: its frames are never divided between splits.
"""

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from flaxcnn.data.dataset import Dataset
from flaxcnn.data.options import DECODED, DIVIDED, Request
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.data.photographs.encoded import Files
from flaxcnn.data.photographs.listing import Listing, keep, refuse_bad
from flaxcnn.data.photographs.prepare import prepare
from flaxcnn.data.photographs.remembered import Scanned
from flaxcnn.data.photographs.scanning import scan
from flaxcnn.data.photographs.video import EXTENSIONS, WHOLE, Frame, Frames, Range, frames_of, last_of, read_clip
from flaxcnn.data.sources.folder import list_folder
from flaxcnn.data.sources.tables.clips import Clips, list_clips
from flaxcnn.errors import DataError
from flaxcnn.files import user_path

_OF_ALL = (DECODED - {"cache"}) | DIVIDED | {"frames"}  # to seek each frame in each epoch would take hours
_OF_FOLDER, _OF_TABLE = _OF_ALL | {"class_level"}, _OF_ALL | {"dir", "group", "target"}
USES = _OF_FOLDER | _OF_TABLE

MOST_FRAMES = 1_000_000
"""Frames of a data set, at most."""

_TABLES = ("csv", "jsonl", "parquet")
_ROUNDED = 1  # seconds by which an end may lie behind the last frame: ends are often rounded up


def load(request: Request) -> Dataset:
    """Return the data set of a folder or a table of videos; raises as `list_videos` and `prepare`."""
    return prepare(list_videos(request), request)


def list_videos(request: Request) -> Listing:
    """Return the frames that are chosen of videos, each with its clip's targets, group and split.

    Raises:
        ConfigError: an option is not for this kind of source, or as `list_clips`.
        DataError: as `list_folder` or `list_clips`; a range lies outside of its video, or more than `MOST_FRAMES`
            frames.
    """
    listing, ranges, places = _clips(request)
    of_video: dict[str, list[int]] = {}
    for clip in sorted(range(len(ranges)), key=lambda clip: ranges[clip].start):
        of_video.setdefault(listing.paths[clip], []).append(clip)
    scanned = _scan(request, listing.root, {path: [ranges[clip] for clip in of_video[path]] for path in of_video})
    bad = {**(listing.bad or {}), **{path: each.fault for path, each in scanned.items() if each.info is None}}
    of_clip: dict[int, list[Frame]] = {}
    outside: dict[str, str] = {}
    for path in of_video:
        if path in bad:
            continue
        frames = deque(frames_of(path, scanned[path]))
        for clip in of_video[path]:
            end = ranges[clip].end
            of_clip[clip] = []
            while frames and (end is None or frames[0].seconds < end):
                of_clip[clip].append(frames.popleft())
            if fault := _fault_of(ranges[clip], last_of(scanned[path]), of_clip[clip]):
                outside[places[clip]] = fault
                del of_clip[clip]
    told = refuse_bad(
        outside, len(listing.paths), request.options.on_bad, request.source, "ranges", "ranges within their videos"
    )
    chosen: dict[str, tuple[Frame, int]] = {}
    for clip in sorted(of_clip):
        for frame in of_clip[clip]:
            chosen.setdefault(f"{frame.path}@{float(frame.seconds):.3f}", (frame, clip))
    copies: dict[str, str] = {}  # content -> the first video that has it: copies are on one side of a drawn split
    groups = listing.groups or [
        path if listing.splits else copies.setdefault(scanned[path].digest, path) for path in listing.paths
    ]
    frames_by_name = {name: frame for name, (frame, _) in chosen.items()}
    count = len({frame.path for frame in frames_by_name.values()})
    notes = (
        *listing.notes,
        *([told] if told else []),
        f"{len(chosen):,} frames of {count:,} videos, {request.options.frames:g} a second;"
        " --data.frames takes more or fewer",
    )
    return replace(
        keep(replace(listing, groups=groups), [clip for _, clip in chosen.values()]),
        paths=tuple(chosen),
        bad=bad,
        notes=notes,
        examples=Frames(listing.root, frames_by_name),
    )


def _clips(request: Request) -> Clips:
    """Return the clips of a table, or of a folder, in which each video is one."""
    path = user_path(request.name, "data.source")
    kind = path.suffix[1:].lower()
    if kind in _TABLES and not path.is_dir():
        request.options.refuse_others(_OF_TABLE, f"video:TABLE.{kind}")
        return list_clips(request, kind)
    request.options.refuse_others(_OF_FOLDER, "video:DIR")
    listing = list_folder(path, request.source, request.options.class_level, EXTENSIONS, "video")
    return Clips(listing, WHOLE * len(listing.paths), listing.paths)


def _scan(request: Request, root: Path, ranges: Mapping[str, list[Range]]) -> dict[str, Scanned]:
    """Return what each video holds, by its path; raises DataError where they have too many frames together."""
    rate = Fraction(str(request.options.frames))
    parts = sorted((path, found) for path, found in ranges.items() if found != list(WHOLE))
    asked = hashlib.blake2b(repr((rate, parts)).encode(), digest_size=16).hexdigest()
    remembered = Cache.of_user().scans(root)
    remembered = remembered.with_name(f"{remembered.stem}-{asked}.npz")
    read = partial(read_clip, rate=rate, ranges=ranges)
    scanned = scan(Files(root), tuple(ranges), remembered, read)
    total = sum(max(0, len(each.frames) - 4) for each in scanned)
    if total > MOST_FRAMES:
        fix = "take fewer of each second with --data.frames"
        expected = f"at most {MOST_FRAMES:,}"
        raise DataError("too many frames", where=request.source, expected=expected, found=f"{total:,}", fix=fix)
    return dict(zip(ranges, scanned, strict=True))


def _fault_of(asked: Range, last: Fraction, frames: Sequence[Frame]) -> str:
    """Return why a range of a video cannot be used; "" where it can."""
    if asked.start > last or (asked.end is not None and asked.end > last + _ROUNDED):
        end = "the end" if asked.end is None else f"{float(asked.end):g}"
        return f"{float(asked.start):g} to {end} s, of a video whose last frame is at {float(last):.3f} s"
    return "" if frames else "no frame in it"
