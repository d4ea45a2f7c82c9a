"""The socket, the connections, and the signals of a service."""

import asyncio
import contextlib
import errno
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from flaxcnn.errors import ConfigError
from flaxcnn.serving.settings import Settings
from flaxcnn.signals import REQUESTS

_CONNECTIONS = 4096  # open at once; each takes some 30 KiB, and up to 64 KiB of a request's head
_FILES = _CONNECTIONS + 512  # descriptors
_HEAD_SECONDS = 10.0  # for the head of a request
_SWITCH_SECONDS = 0.0005  # Python's 5 ms let the model's thread wait that long for the loop's, several times a batch
_IDLE_SECONDS = 30  # of a connection between two requests


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that has an address and does not listen yet.

    Args:
        host: a name or an address of this machine.
        port: 0 for any that is free.

    Raises:
        ConfigError: the address is not this machine's, the port is in use, or not this user's to take.
    """
    where = f"--host {host} --port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            "no such host", where=f"--host {host}", expected="a name or an address of this machine"
        ) from error
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a port is taken a minute longer than used
        found.bind(address)
    except OSError as error:
        found.close()
        raise _unusable(error, where) from error
    return found


def url_of(listening: socket.socket) -> str:
    """Return the address of a socket as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, listening: socket.socket, settings: Settings, ready: Callable[[], None]) -> None:
    """Listen and answer until a signal asks to end, and return once what was accepted is answered.

    The first SIGINT, SIGTERM or SIGQUIT closes the socket; the requests that came before are answered, each within the
    settings' timeout. The second one ends the process at once.

    Args:
        app: what answers.
        listening: from `bound`; closed at the end.
        settings: whose timeout bounds the end.
        ready: called once the socket listens.

    Raises:
        ConfigError: another process listens there since it was bound.
    """
    _allow_files()
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    config = uvicorn.Config(
        app,
        http=_Connection,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=int(settings.timeout) + 5,
    )
    try:
        asyncio.run(_Server(config, ready).serve([listening]))
    finally:
        sys.setswitchinterval(before)


class _Server(uvicorn.Server):
    """Says when it listens, and ends as a service that was asked to end: with code 0."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening; raises ConfigError where another process does by now."""
        try:
            await super().startup(sockets)
        except OSError as error:
            await self.lifespan.shutdown()
            raise _unusable(error, ", ".join(url_of(each) for each in sockets or ())) from error
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Answer the signals while entered; uvicorn's own would raise them again, and end with their code."""
        if threading.current_thread() is not threading.main_thread():  # Python gives signals to that one alone
            yield
            return
        before = {number: signal.signal(number, self._asked) for number in REQUESTS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + number)
        self.should_exit = True


class _Connection(H11Protocol):
    """A connection whose requests' heads have to come in time, and whose errors are JSON, too."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS:
            self._refuse(b"503 Service Unavailable", {"what": "too many connections", "fix": "ask again later"})
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a head may not come for ever."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._forget()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(b"400 Bad Request", {"what": "invalid request", "expected": "HTTP/1.1"})

    def _watch(self) -> None:
        """Bound the time of a head that has begun, from its first byte on, and of one that never begins."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._late is None and self.timeout_keep_alive_task is None:
            self._late = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(b"408 Request Timeout", {"what": "the request took too long to begin"})

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: bytes, problem: dict[str, Any]) -> None:
        if self.transport.is_closing():
            return
        content = json.dumps({"error": problem}).encode()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(content)) + content)
        self.transport.close()


def _allow_files() -> None:
    """Let the process open as many files as it may have connections, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _unusable(error: OSError, where: str) -> ConfigError:
    """Return the error of an address that cannot be listened at."""
    if error.errno == errno.EADDRINUSE:
        return ConfigError("port in use", where=where, fix="choose another --port, or 0 for any that is free")
    if error.errno == errno.EACCES:
        return ConfigError("not allowed to listen there", where=where, fix="choose a --port above 1023")
    what = (error.strerror or str(error)).lower()
    return ConfigError(f"cannot listen there: {what}", where=where, fix="choose an address of this machine")
