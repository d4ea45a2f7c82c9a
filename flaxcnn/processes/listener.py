"""Process 0's listener: it accepts connections and passes on those that prove they know the run's secret.

One thread serves all connections that have not proved it yet: up to `_MOST` at a time, each for up to `_SECONDS`. No
number of silent, slow or talkative strangers can keep a process of the run from joining or exhaust memory.
"""

import contextlib
import hmac
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from flaxcnn.processes.addresses import close
from flaxcnn.processes.messages import LONGEST_GREETING, Lines, MessageError, read, write
from flaxcnn.processes.secret import nonce, proof

_SECONDS = 10.0  # for a connection to say what it is
_MOST = 128  # connections that have not said it; the oldest makes room for another one


@dataclass
class _Visitor:
    connection: socket.socket
    challenge: str
    until: float
    lines: Lines
    proved: bool = False  # that it knows the secret


class Listener:
    """Listens while entered.

    Args:
        sockets: that listen; they are closed at the end.
        secret: of the run.
        on_process: called with the connection of a process that joins, and its hello.
        on_jax: called with a connection that is to be passed on to JAX's service. Both take over the connection, are
            called in the listener's thread, and do not wait.

    Attributes:
        strangers: how many connections did not know the secret.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        secret: bytes,
        *,
        on_process: Callable[[socket.socket, dict[str, Any]], None],
        on_jax: Callable[[socket.socket], None],
    ):
        self.strangers = 0
        self._sockets, self._secret = sockets, secret
        self._on_process, self._on_jax = on_process, on_jax
        self._visitors: dict[socket.socket, _Visitor] = {}  # the oldest first
        self._selector = selectors.DefaultSelector()
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="listener")

    def __enter__(self) -> "Listener":
        for each in (*self._sockets, self._ended):
            each.setblocking(False)
            self._selector.register(each, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.close()
        self._thread.join()

    def _serve(self) -> None:
        with self._selector, self._ended, contextlib.ExitStack() as at_end:
            at_end.callback(lambda: close([*self._sockets, *self._visitors]))
            while True:
                first = next(iter(self._visitors.values()), None)
                wait = None if first is None else max(0.0, first.until - time.monotonic())
                for key, _ in self._selector.select(wait):
                    if key.fileobj is self._ended:
                        return
                    if key.data is None:
                        self._accept(key.fileobj)  # type: ignore[arg-type]  # what was registered is a socket
                    elif key.fileobj in self._visitors:  # else it made room for another one
                        self._hear(key.data)
                for visitor in list(self._visitors.values()):
                    if visitor.until > time.monotonic():
                        break
                    self._drop(visitor)

    def _accept(self, listening: socket.socket) -> None:
        if len(self._visitors) >= _MOST:
            self._make_room()
        try:
            connection = listening.accept()[0]
        except OSError:  # it is gone again, or this process may open no more files
            self._make_room()
            time.sleep(0.01)
            return
        connection.setblocking(False)
        visitor = _Visitor(connection, nonce(), time.monotonic() + _SECONDS, Lines(LONGEST_GREETING))
        self._visitors[connection] = visitor
        self._selector.register(connection, selectors.EVENT_READ, visitor)
        with contextlib.suppress(OSError):  # which shows when listening to it
            connection.send(write("challenge", nonce=visitor.challenge))

    def _make_room(self) -> None:
        oldest = next((each for each in self._visitors.values() if not each.proved), None)
        if oldest:
            self._drop(oldest)

    def _hear(self, visitor: _Visitor) -> None:
        try:
            data = visitor.connection.recv(LONGEST_GREETING)
            if not data:
                raise MessageError("it ended")
            lines = visitor.lines.take(data)
            if len(lines) > 1 or (lines and not visitor.lines.whole):
                raise MessageError("more than it was asked")
            if lines:
                self._answer(visitor, lines[0])
        except BlockingIOError:
            return
        except (OSError, MessageError):
            self._drop(visitor)

    def _answer(self, visitor: _Visitor, line: bytes) -> None:
        """Take in the one line that a connection says at this point, and say what follows."""
        if visitor.proved:
            hello = read(line, "hello")
            self._hand_over(visitor)
            self._on_process(visitor.connection, hello)
            return
        claim = read(line, "claim")
        said = (claim["purpose"], visitor.challenge, claim["nonce"])
        if not hmac.compare_digest(claim["proof"], proof(self._secret, "opened", *said)):
            self.strangers += 1
            visitor.connection.send(write("stranger"))
            self._drop(visitor)
            return
        visitor.proved = True
        visitor.connection.send(write("proof", proof=proof(self._secret, "accepted", *said)))
        if claim["purpose"] == "jax":
            self._hand_over(visitor)
            self._on_jax(visitor.connection)

    def _hand_over(self, visitor: _Visitor) -> None:
        del self._visitors[visitor.connection]
        self._selector.unregister(visitor.connection)
        visitor.connection.setblocking(True)

    def _drop(self, visitor: _Visitor) -> None:
        if self._visitors.pop(visitor.connection, None):
            self._selector.unregister(visitor.connection)
            visitor.connection.close()
