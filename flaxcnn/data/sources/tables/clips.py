"""A table with a row for each clip: a video file, or a range of one, with what is learned of its frames.

path,start,end,label
walks/1.mp4,0,12.5,deer
walks/1.mp4,12.5,20,empty
walks/2.mp4,,,empty

A range begins with its start, in seconds from the video's first frame, and ends before its end.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from flaxcnn.data.options import Request
from flaxcnn.data.photographs.listing import Listing
from flaxcnn.data.photographs.video import Range
from flaxcnn.data.sources.tables.columns import numbers_of_table
from flaxcnn.data.sources.tables.source import Rows, listing_of, open_rows, refuse_rows, same_values

_MICROSECONDS = 1_000_000


class Clips(NamedTuple):
    """What a source of videos lists.

    Attributes:
        listing: a path for each clip; clips of one video are apart from each other.
        ranges: of each clip.
        places: where each clip stands, such as "walks/1.mp4, line 3".
    """

    listing: Listing
    ranges: tuple[Range, ...]
    places: tuple[str, ...]


def list_clips(request: Request, kind: str) -> Clips:
    """Return the clips of a table, in the order of its rows.

    Rows whose ranges overlap and that agree in all else are one clip.

    Args:
        request: names the table, and the columns.
        kind: of the table, as `read_table`.

    Raises:
        ConfigError, DataError: as `open_rows` and `listing_of`; or a start or an end is no number or out of order,
            rows of one range differ, or rows of one video are of different groups or splits.
    """
    rows = open_rows(request, kind, clips=True)
    table, roles = rows.table, rows.roles
    ranges = _ranges(rows)
    of_video: dict[str, list[int]] = {}
    for row, path in enumerate(rows.paths):
        of_video.setdefault(path, []).append(row)
    for column in filter(None, (roles.group, roles.split)):
        divided = [
            f"{path} in {table.places([members[0], row])}"
            for path, members in of_video.items()
            for row in members[1:]
            if not same_values(table, [column], members[0], row)
        ]
        refuse_rows(f"have another '{column}' than their video", divided, table, f"one '{column}' for each video")
    joined: dict[int, Range] = {}
    differing: list[str] = []
    for path, members in of_video.items():
        last = -1
        for row in sorted(members, key=lambda row: ranges[row].start):
            if last < 0 or _is_behind(ranges[row], joined[last]):
                joined[row], last = ranges[row], row
                continue
            if not same_values(table, roles.others, last, row):
                differing.append(f"{path} in {table.places([last, row])}")
            joined[last] = Range(joined[last].start, _later(joined[last].end, ranges[row].end))
    expected = f"one value of {', '.join(roles.others)} for each frame"
    refuse_rows("overlap another of the same video, with other values", differing, table, expected)
    kept = sorted(joined)
    notes = []
    if len(kept) < len(table):
        notes.append(f"{request.source}: {len(table) - len(kept):,} rows overlap another one and are joined with it")
        rows = rows._replace(table=table.chosen(kept), paths=[rows.paths[row] for row in kept])
    return Clips(
        listing_of(rows, request.source, notes),
        tuple(joined[row] for row in kept),
        tuple(f"{rows.paths[place]}, {rows.table.places([place])}" for place in range(len(kept))),
    )


def _ranges(rows: Rows) -> list[Range]:
    table, roles = rows.table, rows.roles
    starts = _seconds(rows, roles.start)
    ends = _seconds(rows, roles.end)
    wrong = [
        f"start {_told(start)}, end {_told(end)} in {table.places([row])}"
        for row, (start, end) in enumerate(zip(starts, ends, strict=True))
        if (start or 0) < 0 or (end is not None and end <= (start or 0))
    ]
    refuse_rows("have no range", wrong, table, "seconds: a start of at least 0, and an end after it")
    return [Range(start or Fraction(0), end) for start, end in zip(starts, ends, strict=True)]


def _seconds(rows: Rows, column: str | None) -> Sequence[Fraction | None]:
    """Return a column's times; None where a cell is empty."""
    if column is None:
        return [None] * len(rows.table)
    numbers = numbers_of_table(rows.table, column).tolist()
    # A decimal fraction has to meet the frame that is shown then: 0.1 as a float lies behind 1/10.
    return [None if each != each else Fraction(round(each * _MICROSECONDS), _MICROSECONDS) for each in numbers]


def _told(time: Fraction | None) -> str:
    return "none" if time is None else f"{float(time):g}"


def _is_behind(later: Range, earlier: Range) -> bool:
    return earlier.end is not None and later.start >= earlier.end


def _later(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    return None if one is None or other is None else max(one, other)
