"""The images of a request: its body read, taken apart and decoded."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.photographs.decoding import inspect
from flaxcnn.errors import DataError, FlaxcnnError
from flaxcnn.prediction.images import STDIN, Decode
from flaxcnn.serving.answers import RefusedError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MULTIPART = "multipart/form-data"
SINGLE = (
    *("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"),
    *("image/x-portable-anymap", "image/x-portable-graymap", "image/x-portable-pixmap", "application/octet-stream"),
)
"""Content types of a body that is one image, which is decoded by its content."""
_LONGEST_NAME = 255  # characters, as of a file


class File(NamedTuple):
    """An image file of a request.

    Attributes:
        name: what the client calls it; as standard input is called where it has no name.
        encoded: the whole file.
    """

    name: str
    encoded: bytes


class Decoded(NamedTuple):
    """A file's pixels, uint8 (H, W, C), or why there are none; and what its header says."""

    name: str
    pixels: npt.NDArray[np.uint8] | None
    error: FlaxcnnError | None = None
    info: FileInfo | None = None


def require_type(content_type: str, known: Sequence[str] = (MULTIPART, *SINGLE)) -> None:
    """Raise RefusedError, 415, unless a header Content-Type is one of those, by default an image or a form of files."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in known:
        raise RefusedError(
            415,
            "not of a type that holds images",
            where="content-type",
            expected=", ".join(known),
            found=repr(kind) if kind else "none",
            fix="send a file with: curl --data-binary @FILE -H 'content-type: application/octet-stream'",
        )


async def read_body(stream: AsyncIterator[bytes]) -> bytes:
    """Return a request's body; whoever makes the stream bounds it."""
    body = bytearray()
    async for chunk in stream:
        body += chunk
    return bytes(body)


def files_of(content_type: str, body: bytes, most: int) -> list[File]:
    """Return the files of a body, in its order.

    Args:
        content_type: of a type that `require_type` takes.
        body: untrusted.
        most: files that a form may have.

    Raises:
        RefusedError: 400, a form that is none, that has no files, or has other fields; 413, one of too many files.
    """
    kind, options = parse_options_header(content_type)
    if kind.strip().lower() != MULTIPART.encode():
        return [File(STDIN, body)]
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise RefusedError(400, "no boundary", where="content-type", expected=f"{MULTIPART}; boundary=…")
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RefusedError(400, "damaged form", expected=f"{MULTIPART} with its boundary") from error
    if not form.whole:
        raise RefusedError(400, "form without its end", expected="its boundary, followed by --")
    if not form.files:
        raise RefusedError(
            400, "no images in this form", expected="one file or many", fix="send one with: curl -F image=@FILE"
        )
    return form.files


def decode_one(file: File, decode: Decode, max_pixels: int) -> Decoded:
    """Return a file's pixels, or why there are none; nothing that a file holds raises.

    Args:
        file: untrusted.
        decode: as `flaxcnn predict` decodes.
        max_pixels: of a larger image the header alone is read.
    """
    try:
        if not file.encoded:
            raise DataError("nothing in it", where=file.name, expected="an image")
        info = inspect(file.encoded, file.name)
        if info.height * info.width > max_pixels:
            found = f"{info.width}×{info.height}"
            raise DataError("image too large", where=file.name, expected=f"at most {max_pixels:,} pixels", found=found)
        return Decoded(file.name, decode(file.encoded, file.name), info=info)
    except FlaxcnnError as error:
        return Decoded(file.name, None, error)


class _Form:
    """Collects a form's files as its parser comes upon them."""

    def __init__(self, most: int) -> None:
        self.files: list[File] = []
        self._most = most
        self.whole = False
        self._field, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name: str | None = None
        self._content = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": lambda data, start, end: self._content.extend(memoryview(data)[start:end]),
            "on_part_end": self._end,
            "on_end": self._last,
        }

    def _begin(self) -> None:
        if len(self.files) == self._most:
            raise RefusedError(413, "too many images", expected=f"at most {self._most:,} in a request", found="more")
        self._disposition, self._content = b"", bytearray()

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        given = options.get(b"filename")
        if given is None:
            where = options.get(b"name", b"").decode("utf-8", "replace")[:_LONGEST_NAME]
            raise RefusedError(
                400, "a field that is no file", where=where or "a part of the form", expected="files alone"
            )
        self._name = given.decode("utf-8", "replace")[:_LONGEST_NAME] or STDIN

    def _end(self) -> None:
        self.files.append(File(self._name or STDIN, bytes(self._content)))
        self._content = bytearray()

    def _last(self) -> None:
        self.whole = True
