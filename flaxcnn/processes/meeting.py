"""How the processes of a run find each other: process 0 listens, the others come to it and say who they are.

All this happens before JAX is told of them, whose own errors of joining are stack dumps or minutes of waiting.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flaxcnn.errors import ConfigError, ProcessError
from flaxcnn.processes.channel import Channel
from flaxcnn.processes.relay import HELLO, LOOPBACK, pass_on, relay

_LOCAL = ("localhost", LOOPBACK, "::1")
_HELLO_SECONDS = 10.0  # for a connection to say what it is; a stranger's is closed
_RETRY_SECONDS = 0.1
_LONGEST_LINE = 65536


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a port of the loopback for JAX's service, which nothing else on this machine is given until it has it.

    Another process may ask for any port, as each of a run does, before that service listens; JAX would crash then.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((LOOPBACK, 0))
        port = int(held.getsockname()[1])
        if sys.platform != "linux":  # elsewhere a second socket may be refused a port that one is bound to
            held.close()
        yield port


def receive_all(
    channel: Channel, host: str, port: int, jax_port: int, versions: dict[str, str], timeout: float
) -> None:
    """As process 0: wait until all others are there.

    Args:
        channel: gets the connections.
        host: the name that the others know this process by.
        port: to listen on.
        jax_port: of the loopback, that JAX's service is to have.
        versions: that all have to have, by name.
        timeout: in seconds.

    Raises:
        ConfigError: the port cannot be listened on; or another process has other options or versions.
        ProcessError: not all came in time, or one was lost again.
    """
    listener = _listen(host, port)
    refused: list[ConfigError] = []

    def welcome(connection: socket.socket) -> None:
        connection.settimeout(_HELLO_SECONDS)
        line = _read_line(connection)
        if line == HELLO:
            pass_on(connection, _connect(LOOPBACK, jax_port, timeout))  # JAX's service may not be there yet
            return
        hello = json.loads(line)
        with channel.changed:  # of two that come as the same one, one at a time
            try:
                _check(hello, channel, versions)
            except ConfigError as error:
                refused.append(error)
            _send_line(connection, {"refused": str(refused[0]) if refused else None})
            if not refused:
                channel.add(hello["index"], connection)
            channel.changed.notify_all()

    def welcome_or_close(connection: socket.socket) -> None:
        try:
            welcome(connection)
        except (OSError, ValueError, LookupError, TypeError, ProcessError):  # a stranger, or JAX too late
            connection.close()

    def serve() -> None:
        while True:
            connection = listener.accept()[0]
            threading.Thread(target=welcome_or_close, args=(connection,), daemon=True, name="welcome").start()

    threading.Thread(target=serve, daemon=True, name="meeting").start()

    def decided() -> bool:
        return bool(refused) or channel.ending is not None or len(channel.peers) == channel.count - 1

    with channel.changed:
        channel.changed.wait_for(decided, timeout)
    if refused:
        raise refused[0]
    number = channel.begin()
    if len(channel.peers) < channel.count - 1:
        missing = ", ".join(str(each) for each in range(1, channel.count) if each not in channel.peers)
        raise ProcessError(
            f"not all processes came within {timeout:g} s",
            where=f"{host}:{port}",
            expected=f"{channel.count} of them",
            found=f"{len(channel.peers) + 1}, without {missing}",
            fix="start all of them within that time, each with its own processes.index",
        )
    channel.say_to_all(number, "joined", None)


def come_to(channel: Channel, host: str, port: int, versions: dict[str, str], timeout: float) -> int:
    """As another process: come to process 0 and wait for all; return the port of the loopback of JAX's service.

    Args:
        channel: gets the connection.
        host: of process 0.
        port: of process 0.
        versions: of this process, by name.
        timeout: in seconds.

    Raises:
        ConfigError: process 0 has other options or versions.
        ProcessError: process 0 does not answer in time, or a process was lost again.
    """
    address = f"{host}:{port}"
    connection = _connect(host, port, timeout)
    try:
        connection.settimeout(timeout)
        _send_line(connection, {"index": channel.index, "count": channel.count, "versions": versions})
        refused = json.loads(_read_line(connection))["refused"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        fix = "see how process 0 ended, and that nothing else listens on its port"
        raise ProcessError("process 0 did not answer as one of a run", where=address, fix=fix) from error
    if refused is not None:
        raise ConfigError(refused)
    channel.add(0, connection)
    channel.hear(0, channel.begin(), "joined")

    def connect_for_jax() -> socket.socket:
        far = socket.create_connection((host, port), _HELLO_SECONDS)
        far.sendall(HELLO)
        return far

    return relay(connect_for_jax)


def _check(hello: dict[str, Any], channel: Channel, versions: dict[str, str]) -> None:
    """Raise ConfigError where a process that comes does not fit the others."""
    who = hello["index"]
    if hello["count"] != channel.count:
        expected = f"{channel.count}, as process 0 has it"
        raise ConfigError(
            f"process {who} was told another", where="processes.count", expected=expected, found=hello["count"]
        )
    if who in channel.peers:
        raise ConfigError(f"two processes are told to be process {who}", where="processes.index")
    for name, version in versions.items():
        if hello["versions"][name] != version:
            raise ConfigError(
                f"process {who} has another version of {name}",
                expected=f"{version}, as process 0 has it",
                found=hello["versions"][name],
                fix="install the same versions for all processes",
            )


def _listen(host: str, port: int) -> socket.socket:
    try:
        if host in _LOCAL:
            family = socket.AF_INET6 if host == "::1" else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=1024)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        return socket.create_server(("", port), backlog=1024)
    except OSError as error:
        raise ConfigError(
            f"process 0 cannot listen there: {error.strerror}",
            where=f"processes.coordinator {host}:{port}",
            fix="choose a port that is free, for all processes the same",
        ) from error


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return socket.create_connection((host, port), max(_RETRY_SECONDS, deadline - time.monotonic()))
        except OSError as error:  # it may still be starting, and its name not be known yet
            if time.monotonic() + _RETRY_SECONDS > deadline:
                raise ProcessError(
                    f"process 0 was not reached within {timeout:g} s: {error.strerror or error}",
                    where=f"processes.coordinator {host}:{port}",
                    fix="start process 0 there, and let its port through",
                ) from error
        time.sleep(_RETRY_SECONDS)


def _send_line(connection: socket.socket, value: dict[str, Any]) -> None:
    connection.sendall(json.dumps(value).encode() + b"\n")


def _read_line(connection: socket.socket) -> bytes:
    """Return a line, and leave in the connection what follows it; raises OSError."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) == _LONGEST_LINE:
            raise ConnectionError("ended before its first line did")
        line += byte
    return bytes(line)
