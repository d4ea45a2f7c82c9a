"""Standard output and standard error that never fail, so a command outlives its terminal.

Output that cannot be written is dropped, and `lost` reports it afterwards. Characters that the encoding lacks are
replaced by similar ones.
"""

import codecs
import errno
import io
import os
import re
import select
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_SPELT = {"×": "x", "–": "-", "—": "-", "…": "...", "±": "+/-", "→": "->", "≤": "<=", "≥": ">=", "·": "*", "│": "|"}
_SPELLING = "flaxcnn.spelling"  # the name under which codecs know `_spell`
_SIZE = re.compile("[1-9][0-9]{0,3}")  # a number of columns or lines that a terminal may have
_SHOWN_EVERY = 0.2  # seconds
_LEAST_COLUMNS = 20  # into one column, the help is broken for minutes


class _Output(io.RawIOBase):
    """A raw stream that accepts every write; it drops what the system refuses."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.error: OSError | None = None  # the first one

    def write(self, data: "io.ReadableBuffer") -> int:  # type: ignore[name-defined]
        """Write all bytes, waiting if the descriptor is non-blocking: `print` would drop the rest."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # a process that shares the terminal made it so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = self.error or error
                break
        return size

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)


def go_on_without() -> None:
    """Make this process independent of its terminal. Call it before any other import or open."""
    for descriptor in (0, 1, 2):
        _open(descriptor)
    _widen()
    codecs.register_error(_SPELLING, _spell)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # not what a test or a notebook put in its place
            setattr(sys, name, _unfailing(stream, descriptor))


def lost() -> OSError | None:
    """Return the error that lost printed output, or None. A closed pipe does not count as lost output."""
    stream = sys.stdout
    stream.flush()
    buffer = getattr(stream, "buffer", None)
    error = getattr(getattr(buffer, "raw", buffer), "error", None)
    return None if error is None or error.errno == errno.EPIPE else error


def write_now(line: str) -> None:
    """Write a line to standard error without buffering, ignoring errors; for signal handlers."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="replace"))


def _widen() -> None:
    """Set a usable terminal size in the environment: rich accepts `²` as a number and 0 columns as a width."""
    for name in ("COLUMNS", "LINES"):
        if not _SIZE.fullmatch(os.environ.get(name, "80")):
            del os.environ[name]
    columns = int(os.environ.get("COLUMNS", 0))
    if not columns and os.isatty(1):
        columns = os.get_terminal_size(1).columns
    if 0 < columns < _LEAST_COLUMNS:
        os.environ["COLUMNS"] = str(_LEAST_COLUMNS)


def _open(descriptor: int) -> None:
    """Open the null device on a closed descriptor, so that no run file gets its number and the printed output."""
    try:
        os.fstat(descriptor)
    except OSError:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != descriptor:
            os.dup2(nothing, descriptor)
            os.close(nothing)
        os.set_inheritable(descriptor, True)


def _unfailing(stream: io.TextIOWrapper | None, descriptor: int) -> io.TextIOWrapper:
    """Return a replacement for Python's stream; `stream` is None if Python found the descriptor closed."""
    raw = _Output(descriptor)
    encoding = "utf-8" if stream is None else stream.encoding
    through = stream is not None and stream.write_through
    lines = stream is not None and stream.line_buffering
    buffer = raw if through else io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding, _SPELLING, line_buffering=lines, write_through=through)  # type: ignore[arg-type]


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Replace the first character that the encoding lacks; escape undecodable bytes of a file name."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    raw = ord(letter) - 0xDC00
    return (f"\\x{raw:02x}" if 0x80 <= raw <= 0xFF else _SPELT.get(letter, "?")), error.start + 1


def command(*words: object) -> str:
    """Return a flaxcnn command that can be pasted into the user's shell."""
    door = ["flaxcnn"] if shutil.which("flaxcnn") else [sys.executable, "-m", "flaxcnn"]
    return shlex.join([*door, *map(str, words)])


def counter(what: str) -> Callable[[int, int], None]:
    """Return a function that shows on a terminal how many things are done, and clears its line at the end.

    It writes to standard error, at most some times a second, and nothing where that is no terminal.

    Args:
        what: a format for the two numbers, such as "decoding {:,} of {:,} images".
    """
    shown = 0.0

    def show(done: int, count: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - shown < _SHOWN_EVERY and done < count):
            return
        line = what.format(done, count)
        print(f"\r{line}" if done < count else f"\r{' ' * len(line)}\r", end="", file=sys.stderr, flush=True)
        shown = now

    return show
