"""Rendezvous of a run's processes: process 0 listens, the others connect and identify themselves.

This happens before JAX learns of them, because JAX reports failures to join by stack dumps or minutes of waiting.
Nothing listens any more once JAX has its own connections.
"""

import contextlib
import hmac
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flaxcnn.errors import ConfigError, ProcessError
from flaxcnn.processes.addresses import RETRY_SECONDS, connect
from flaxcnn.processes.connections import Connections
from flaxcnn.processes.listener import Listener
from flaxcnn.processes.messages import LONGEST_GREETING, LONGEST_TEXT, MessageError, read, write
from flaxcnn.processes.proxy import connect_locally, pass_on, proxy
from flaxcnn.processes.secret import VARIABLE, nonce, proof

_ANSWER_SECONDS = 10.0  # for process 0, which is there, to answer a connection of JAX's
_SAME_SECRET = f"give all processes the same, by {VARIABLE} or --processes.secret_file"


class _StrangerError(Exception):
    """Process 0 does not know this process's secret."""


@contextmanager
def host_rendezvous(
    connections: Connections,
    sockets: list[socket.socket],
    address: str,
    secret: bytes,
    jax_socket: Path,
    versions: dict[str, str],
    timeout: float,
) -> Iterator[None]:
    """As process 0: wait until all others are there, and pass on their connections to JAX's service while entered.

    Args:
        connections: gets those to the other processes.
        sockets: that listen; closed at the end.
        address: HOST:PORT that the others know this process by.
        secret: of the run.
        jax_socket: where JAX's service is to be.
        versions: that all have to have, by name.
        timeout: in seconds.

    Raises:
        ConfigError: another process has other options or versions.
        ProcessError: not all came in time, or one was lost again.
    """
    refused: list[ConfigError] = []

    def on_process(connection: socket.socket, hello: dict[str, Any]) -> None:
        with connections.changed:
            try:
                _check(hello, connections, versions)
            except ConfigError as error:
                refused.append(error)
            answer = write("refused", line=str(refused[0])[:LONGEST_TEXT]) if refused else write("welcome")
            with contextlib.suppress(OSError):  # that nobody is there shows when listening
                connection.sendall(answer)
            if refused:
                connection.close()
            else:
                connections.add(hello["index"], connection)
            connections.changed.notify_all()

    def on_jax(connection: socket.socket) -> None:
        threading.Thread(target=pass_on_to_jax, args=(connection,), daemon=True, name="proxy").start()

    def pass_on_to_jax(connection: socket.socket) -> None:
        try:
            pass_on(connection, connect_locally(jax_socket, time.monotonic() + timeout))
        except OSError:  # this process ends before it has the service
            connection.close()

    def decided() -> bool:
        return bool(refused) or connections.ending is not None or len(connections.peers) == connections.count - 1

    with Listener(sockets, secret, on_process=on_process, on_jax=on_jax) as listener:
        with connections.changed:
            connections.changed.wait_for(decided, timeout)
        if refused:
            raise refused[0]
        number = connections.begin()
        if len(connections.peers) < connections.count - 1:
            missing = ", ".join(str(each) for each in range(1, connections.count) if each not in connections.peers)
            found = f"{len(connections.peers) + 1}, without {missing}"
            fix = "start all of them within that time, each with its own processes.index"
            if listener.strangers:
                found += f"; {listener.strangers} connections had another secret"
                fix = _SAME_SECRET
            raise ProcessError(
                f"not all processes came within {timeout:g} s",
                where=address,
                expected=f"{connections.count} of them",
                found=found,
                fix=fix,
            )
        connections.say_to_all(number, "joined", None)
        yield


def join_rendezvous(
    connections: Connections,
    host: str,
    port: int,
    secret: bytes,
    jax_socket: Path,
    versions: dict[str, str],
    timeout: float,
) -> None:
    """As another process: come to process 0, wait for all, and make its JAX service look as if it were here.

    Args:
        connections: gets the one to process 0.
        host: of process 0.
        port: of process 0.
        secret: of the run.
        jax_socket: where this process's JAX is to find the service.
        versions: of this process, by name.
        timeout: in seconds.

    Raises:
        ConfigError: process 0 has another secret, other options or versions.
        ProcessError: process 0 does not answer in time, or a process was lost again.
    """
    address, deadline = f"{host}:{port}", time.monotonic() + timeout
    try:
        connection = _introduced(host, port, secret, "run", deadline)
    except _StrangerError as error:
        where = f"processes.coordinator {address}"
        raise ConfigError("process 0 has another secret", where=where, fix=_SAME_SECRET) from error
    except MessageError as error:
        raise _no_answer(address) from error
    except OSError as error:
        raise ProcessError(
            f"process 0 was not reached within {timeout:g} s: {error.strerror or error}",
            where=f"processes.coordinator {address}",
            fix="start process 0 there, and let its port through",
        ) from error
    try:
        connection.sendall(write("hello", index=connections.index, count=connections.count, versions=versions))
        answer = _read_line(connection, deadline, "welcome", "refused")
    except (OSError, MessageError) as error:
        raise _no_answer(address) from error
    if answer["kind"] == "refused":
        raise ConfigError(answer["line"])
    connections.add(0, connection)
    connections.hear(0, connections.begin(), "joined")

    def connect_for_jax() -> socket.socket:
        try:
            return _introduced(host, port, secret, "jax", time.monotonic() + _ANSWER_SECONDS)
        except (MessageError, _StrangerError) as error:
            raise ConnectionError("process 0 is gone") from error

    proxy(jax_socket, connect_for_jax)


def _introduced(host: str, port: int, secret: bytes, purpose: str, deadline: float) -> socket.socket:
    """Return a connection of which both sides have proved that they know the secret.

    Raises:
        MessageError: something else than process 0 of a run answers.
        OSError: nothing answers in time; or it ends each connection, as process 0 does where very many come at once.
        _StrangerError: process 0 has another secret.
    """
    while True:
        connection = connect(host, port, deadline)
        try:
            challenge = _read_line(connection, deadline, "challenge")["nonce"]
            said = (purpose, challenge, nonce())
            signed = proof(secret, "opened", *said)
            connection.sendall(write("claim", purpose=purpose, nonce=said[2], proof=signed))
            answer = _read_line(connection, deadline, "proof", "stranger")
            if answer["kind"] == "stranger":
                raise _StrangerError
            if not hmac.compare_digest(answer["proof"], proof(secret, "accepted", *said)):
                raise _StrangerError
        except BaseException as error:
            connection.close()
            if isinstance(error, ConnectionError) and time.monotonic() + RETRY_SECONDS < deadline:
                time.sleep(RETRY_SECONDS)
                continue
            raise
        return connection


def _no_answer(address: str) -> ProcessError:
    fix = "see how process 0 ended, and that nothing else listens on its port"
    return ProcessError("process 0 did not answer as one of a run", where=address, fix=fix)


def _check(hello: dict[str, Any], connections: Connections, versions: dict[str, str]) -> None:
    """Raise ConfigError where a process that comes does not fit the others."""
    who = hello["index"]
    if hello["count"] != connections.count:
        expected = f"{connections.count}, as process 0 has it"
        raise ConfigError(
            f"process {who} was told another", where="processes.count", expected=expected, found=hello["count"]
        )
    if who >= connections.count:
        raise ConfigError(
            "out of range", where="processes.index", expected=f"at most {connections.count - 1}", found=who
        )
    if who in connections.peers:
        raise ConfigError(f"two processes are told to be process {who}", where="processes.index")
    for name, version in versions.items():
        found = hello["versions"].get(name, "none")
        if found != version:
            raise ConfigError(
                f"process {who} has another version of {name}",
                expected=f"{version}, as process 0 has it",
                found=found,
                fix="install the same versions for all processes",
            )


def _read_line(connection: socket.socket, deadline: float, *kinds: str) -> dict[str, Any]:
    """Return a message, and leave in the connection what follows it; raises OSError, MessageError."""
    line = bytearray()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer")
        connection.settimeout(left)
        byte = connection.recv(1)
        if not byte:
            raise ConnectionResetError("it ended")
        line += byte
        if len(line) > LONGEST_GREETING:
            raise MessageError("too long a line")
    return read(bytes(line[:-1]), *kinds)
