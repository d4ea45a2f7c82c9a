"""The connections between a run's processes: a star around process 0, separate from JAX's own connections.

JAX detects a lost process by missing heartbeats and then ends the others with a C++ stack dump. The operating system
closes the connections of a dying process at once, so here the others know immediately which one died. A process that
learns of an end has `GRACE_SECONDS` to report it and leave. After that, this module reports it and ends the process,
because a wait in C++ for a lost process may never return.
"""

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import Any

from flaxcnn.errors import ProcessError
from flaxcnn.processes.messages import LONGEST_LINE, Lines, MessageError, read, write
from flaxcnn.terminal import write_now

PING_SECONDS = 2.0  # each process lets the others hear of it so often
SILENT_SECONDS = 30.0  # a process of which nothing was heard for so long is lost: its machine or the network is
GRACE_SECONDS = 5.0  # from the end of a process to that of the others
_MOST_WAITING = 64 << 20  # bytes, or so, that a process said and that were not asked for yet
_OF_MESSAGE = 1000  # bytes that a message takes besides those of its line


@dataclass(frozen=True)
class Ending:
    """Why a run cannot go on.

    Attributes:
        process: which process ended.
        line: the error with which it ended; None where it was lost without a word.
        exit_code: with which it ends, and so do the others; from 1 to 255.
    """

    process: int
    line: str | None = None
    exit_code: int = 1

    def error(self, count: int) -> ProcessError:
        """Return the error that each of the other processes ends with."""
        fix = "the run's last checkpoint is kept: resume with the same command, also with fewer processes"
        who = f"process {self.process} of {count}"
        if self.line is None:
            error = ProcessError(f"{who} was lost: it was killed, or its machine or the network failed", fix=fix)
        else:
            error = ProcessError(f"{who} ended: {self.line}")
        error.exit_code = self.exit_code
        return error


@dataclass
class _Peer:
    connection: socket.socket
    sending: threading.Lock = field(default_factory=threading.Lock)
    said: deque[dict[str, Any]] = field(default_factory=deque)
    waiting: int = 0  # bytes of what was said
    left: bool = False  # in order, which makes the end of the connection no loss

    def take(self) -> dict[str, Any]:
        message = self.said.popleft()
        self.waiting -= message["size"]
        return message


class Connections:
    """One process's connections: of process 0 to all others, of each other to process 0.

    What is said is said by the main thread of each process in the same order: operations, numbered from 1.

    Args:
        index: of this process.
        count: of all.
    """

    def __init__(self, index: int, count: int):
        self.index, self.count = index, count
        self.ending: Ending | None = None
        self.told = False  # the user of this process was told, or is about to be
        self.abort_handler: Any = None  # kept here, since C does not keep it
        self.changed = threading.Condition()
        self._peers: dict[int, _Peer] = {}
        self._operation = 0

    @property
    def address(self) -> str:
        """The address at which this process speaks to another one, to one on another machine if there is any."""
        with self.changed:
            own = [str(peer.connection.getsockname()[0]) for peer in self._peers.values()]
        return next((each for each in own if not ip_address(each.partition("%")[0]).is_loopback), own[0])

    @property
    def peers(self) -> list[int]:
        """The processes that this one is connected to, ascending."""
        return sorted(self._peers)

    def add(self, process: int, connection: socket.socket) -> None:
        """Connect to a process, and listen to it from now on; for process 0 to each of the others."""
        connection.settimeout(SILENT_SECONDS)  # to send; what is received is waited for otherwise
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.changed:
            self._peers[process] = _Peer(connection)
            self.changed.notify_all()
        threading.Thread(target=self._listen, args=(process,), daemon=True, name=f"process {process}").start()

    def begin(self) -> int:
        """Return the number of the next operation.

        Raises:
            ProcessError: the run cannot go on; of another process than the first, `hear` raises it, since what the
                first said before its end still holds.
        """
        if self.index == 0:
            self.require_all()
        self._operation += 1
        return self._operation

    def say(self, process: int, number: int, name: str, value: Any) -> None:
        """Send a value, made of what JSON has, as a part of an operation."""
        line = write("say", number=number, name=name, value=value)
        if len(line) > LONGEST_LINE:
            raise ValueError(f"{len(line):,} bytes are more than processes say to each other at once")
        self._send(process, line)

    def say_to_all(self, number: int, name: str, value: Any) -> None:
        """Send a value to all others, none of whom hears before it what the first of them does about it."""
        with self.changed:
            for process in self.peers:
                self.say(process, number, name, value)

    def hear(self, process: int, number: int, name: str) -> Any:
        """Return what a process says in an operation, once it does.

        Raises:
            ProcessError: the run cannot go on.
            RuntimeError: the process is at another operation, which is a bug.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.heard(process, number, name) or self.ending)
            if self.heard(process, number, name) is None:
                self.require_all()
            return self._peers[process].take()["value"]

    def heard(self, process: int, number: int, name: str) -> dict[str, Any] | None:
        """Return what a process said in an operation, if it did by now, and let it stand; raises as `hear`."""
        peer = self._peers[process]
        said = peer.said
        while said and said[0]["number"] < number:  # of an operation that ended with an error before all had spoken
            peer.take()
        if not said:
            return None
        if (said[0]["number"], said[0]["name"]) != (number, name):
            raise RuntimeError(
                f"process {self.index} is at {number}, {name!r}, and process {process} at {said[0]['number']}, "
                f"{said[0]['name']!r}"
            )
        return said[0]

    def require_all(self) -> None:
        """Raise ProcessError where the run cannot go on."""
        if self.ending is not None:
            self.told = True
            raise self.ending.error(self.count)

    def end(self, ending: Ending) -> None:
        """End the run in all processes; of several reasons the first holds."""
        with self.changed:
            if self.ending is not None:
                return
            for process in self.peers:
                if process != ending.process and (self.index == 0 or ending.process == self.index):
                    self._send(process, write("end", **asdict(ending)))
            self.ending = ending  # only now, since who sees it may end this process
            self.changed.notify_all()
        threading.Thread(target=self._end_after_grace, args=(ending,), daemon=True).start()

    def close(self) -> None:
        """Leave in order; the others may leave later."""
        for process in self.peers:
            self._send(process, write("bye"))
        for peer in self._peers.values():
            peer.left = True
            with contextlib.suppress(OSError):
                peer.connection.shutdown(socket.SHUT_WR)

    def _send(self, process: int, line: bytes) -> None:
        peer = self._peers[process]
        with contextlib.suppress(OSError), peer.sending:  # that nobody is there shows when listening
            peer.connection.sendall(line)

    def _listen(self, process: int) -> None:
        """Take in what a process sends until it leaves or is lost."""
        peer, lines = self._peers[process], Lines(LONGEST_LINE)
        heard = pinged = awake = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(peer.connection, selectors.EVENT_READ)
            while True:
                readable = selector.select(PING_SECONDS)
                now = time.monotonic()
                if now - awake > 2 * PING_SECONDS:  # it was this process that slept
                    heard = now
                awake = now
                if now - pinged >= PING_SECONDS:
                    pinged = now
                    self._send(process, write("ping"))
                if not readable:
                    if now - heard > SILENT_SECONDS:
                        return self.end(Ending(process))
                    continue
                heard = now
                try:
                    data = peer.connection.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    return None if peer.left else self.end(Ending(process))
                try:
                    for line in lines.take(data):
                        self._take(process, read(line, "ping", "say", "bye", "end"), len(line))
                except MessageError as error:
                    peer.connection.close()
                    return self.end(Ending(process, f"it sent what no process of a run sends: {error}"))

    def _take(self, process: int, message: dict[str, Any], size: int) -> None:
        peer, kind = self._peers[process], message.pop("kind")
        if kind == "end":
            of = message["process"]
            if of >= self.count or (of != process if self.index == 0 else of == self.index):
                raise MessageError("the end of a process that it cannot know of")
            self.end(Ending(**message))
        with self.changed:
            if kind == "bye":
                peer.left = True
            elif kind == "say":
                peer.waiting += size + _OF_MESSAGE
                if peer.waiting > _MOST_WAITING:
                    raise MessageError("more than was asked for")
                peer.said.append({**message, "size": size + _OF_MESSAGE})
            self.changed.notify_all()

    def _end_after_grace(self, ending: Ending) -> None:
        time.sleep(GRACE_SECONDS)
        if not self.told:
            write_now(f"flaxcnn: {ending.error(self.count)}")
        end_process(ending.exit_code)


def end_process(exit_code: int) -> None:
    """End this process without what JAX does at its exit: wait for the other processes, or abort for want of them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(exit_code)


def wait(connections: Connections, until: Callable[[], object], timeout: float | None = None) -> None:
    """Return once something holds, or the run cannot go on, or after so many seconds."""
    with connections.changed:
        connections.changed.wait_for(lambda: until() or connections.ending, timeout)
