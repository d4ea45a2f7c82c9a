"""JAX's connection to its coordination service, passed on over the port of process 0.

JAX's client aborts its process, with a stack dump of C++, as soon as its connection to process 0 ends: before that
process could say what happened. Here the client is connected to its own process, which lets that connection stand when
the other end is gone. So the run needs one port of process 0 only, and JAX's service listens on the loopback.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

HELLO = b"jax\n"  # what a connection to process 0 begins with that is to be passed on
LOOPBACK = "127.0.0.1"


def relay(connect: Callable[[], socket.socket]) -> int:
    """Listen on the loopback, and pass each connection on to one that `connect` makes; return the port."""
    listener = socket.create_server((LOOPBACK, 0))

    def serve() -> None:
        while True:
            near = listener.accept()[0]
            try:
                far = connect()
            except OSError:  # as if nobody listened here: JAX's client tries again until its time is up
                near.close()
                continue
            pass_on(near, far, keep_near=True)

    threading.Thread(target=serve, daemon=True, name="relay").start()
    return int(listener.getsockname()[1])


def pass_on(near: socket.socket, far: socket.socket, *, keep_near: bool = False) -> None:
    """Start to pass bytes on between two connections, both ways; the end of one ends the other.

    Args:
        near: one connection.
        far: the other.
        keep_near: the end of `far` leaves `near` standing.
    """
    for source, sink, keep in ((near, far, False), (far, near, keep_near)):
        source.settimeout(None)
        source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_pump, args=(source, sink, keep), daemon=True, name="relay").start()


def _pump(source: socket.socket, sink: socket.socket, keep: bool) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    if not keep:
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
