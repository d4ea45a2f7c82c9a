"""A proxy of JAX's connection to its coordination service, over the port of process 0.

JAX's client aborts its process with a C++ stack dump as soon as its connection to process 0 ends, before this process
can report the cause. Here, the client connects to its own process, which keeps that connection open when the other end
is gone. The run therefore needs only one port of process 0. JAX's service does not authenticate clients, so it and its
clients use Unix sockets in a folder that no other user can enter.
"""

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_RETRY_SECONDS = 0.1


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a folder for sockets that only this user may enter; its path is short, as that of a socket has to be."""
    place = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="flaxcnn-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def proxy(path: Path, connect: Callable[[], socket.socket]) -> None:
    """Listen at a Unix socket, and pass each connection on to one that `connect` makes, or fails to by OSError."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            near = listener.accept()[0]
            try:
                far = connect()
            except OSError:  # as if nobody listened here: JAX's client tries again until its time is up
                near.close()
                continue
            pass_on(near, far, keep_near=True)

    threading.Thread(target=serve, daemon=True, name="proxy").start()


def connect_locally(path: Path, deadline: float) -> socket.socket:
    """Return a connection to a Unix socket, as soon as something listens there.

    Raises:
        OSError: nothing does by then, by `time.monotonic`.
    """
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return connection


def pass_on(near: socket.socket, far: socket.socket, *, keep_near: bool = False) -> None:
    """Start to pass bytes on between two connections, both ways; the end of one ends the other.

    Args:
        near: one connection.
        far: the other.
        keep_near: the end of `far` leaves `near` standing.
    """
    for source, sink, keep in ((near, far, False), (far, near, keep_near)):
        source.settimeout(None)
        if source.family != socket.AF_UNIX:
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_pump, args=(source, sink, keep), daemon=True, name="proxy").start()


def _pump(source: socket.socket, sink: socket.socket, keep: bool) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    if not keep:
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
