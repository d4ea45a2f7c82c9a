"""What every request passes: its key, the bounds of its body, and the counts of what became of it.

A body is counted as it comes, and is refused before more of it is read. All bodies together have a bound, too.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flaxcnn.serving.answers import RefusedError, refusal
from flaxcnn.serving.batching import busy
from flaxcnn.serving.keys import holds_key
from flaxcnn.serving.page_files import PAGE

HEALTH = "/healthz"
OPEN = (HEALTH, *PAGE)
"""Paths that need no key: whoever looks after a service asks the first, and the page itself asks people for the key."""
_LARGEST_AT_ONCE = 16  # bodies of the largest size that are in the memory at once; of small ones many more
_READ_AHEAD = 1 << 16  # bytes that uvicorn has read anyway, and throws away by itself
_LISTENS = 2.0  # seconds for a client that still sends a body that is refused, so that it reads the answer
_LISTENS_BYTES = 1 << 26


class Held:
    """The bodies in the memory, and their bounds.

    Args:
        max_body: bytes of a request.
    """

    def __init__(self, max_body: int):
        self.max_body = max_body
        self.bytes = 0  # of requests that are not answered yet

    def take(self, size: int, more: int) -> None:
        """Count bytes of a body that has `size` of them by now; raises RefusedError where they are too many."""
        self.bytes += more
        if size > self.max_body:
            raise self.too_large(f"more than {self.max_body:,}")
        if self.bytes > _LARGEST_AT_ONCE * self.max_body:
            raise busy()

    def too_large(self, found: str) -> RefusedError:
        """Return the error of a body that is too large."""
        return RefusedError(
            413, "request too large", where="body", expected=f"at most {self.max_body:,} bytes", found=found
        )


class Gate:
    """The outermost part of the application that is this package's own.

    Args:
        app: the rest.
        held: counts the bodies.
        key: that a request has to hold; None for any.
        observe: is told a request's path, method, code and seconds.
    """

    def __init__(
        self, app: ASGIApp, held: Held, key: bytes | None, observe: Callable[[str, str, int, float], None]
    ) -> None:
        self._app, self._held, self._key, self._observe = app, held, key, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        body, begun, code = _Body(self._held, headers, receive, send), time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal code
            code = message.get("status", code)
            await body.send(message)

        try:
            try:
                self._require_key(scope["path"], headers)
                self._require_length(headers)
            except RefusedError as error:
                await refusal(error)(scope, receive, counted)
            else:
                await self._app(scope, body.receive, counted)
        finally:
            self._held.bytes -= body.size
            self._observe(scope["path"], scope["method"], code, time.perf_counter() - begun)

    def _require_key(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        if self._key is None or path in OPEN or holds_key(headers.get(b"authorization", b""), self._key):
            return
        expected = "the API key of this service, as Bearer KEY"
        found = "another" if b"authorization" in headers else "none"
        asks = {"www-authenticate": "Bearer"}
        raise RefusedError(401, "not allowed", where="authorization", expected=expected, found=found, headers=asks)

    def _require_length(self, headers: Mapping[bytes, bytes]) -> None:
        length = int(headers.get(b"content-length", b"0"))  # digits: what are none, uvicorn has refused
        if length > self._held.max_body:
            raise self._held.too_large(f"{length:,}")


class _Body:
    """A request's body as it is read, and the response, which may come before all of it is."""

    def __init__(self, held: Held, headers: Mapping[bytes, bytes], receive: Receive, send: Send):
        self.size = 0
        length = int(headers.get(b"content-length", b"0"))
        self._chunked = b"transfer-encoding" in headers
        self._read = not length and not self._chunked  # whether there is no more of it
        self._small = not self._chunked and length <= _READ_AHEAD
        self._held, self._receive, self._send = held, receive, send

    async def receive(self) -> Message:
        """Return the next part of it; raises RefusedError where it is too large."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._read = not message.get("more_body", False)
            more = len(message.get("body", b""))
            self.size += more
            self._held.take(self.size, more)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response. Where the request goes on, the connection ends, but not before it is read."""
        if self._read or self._small:
            await self._send(message)
        elif message["type"] == "http.response.start":
            await self._send({**message, "headers": [*message["headers"], (b"connection", b"close")]})
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._listen()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _listen(self) -> None:
        """Throw away what the client still sends: a connection closed meanwhile would lose the answer."""
        thrown_away = 0
        try:
            async with asyncio.timeout(_LISTENS):
                while thrown_away < _LISTENS_BYTES:
                    message = await self._receive()
                    if not message.get("more_body", False):
                        return
                    thrown_away += len(message.get("body", b""))
        except TimeoutError:
            return
