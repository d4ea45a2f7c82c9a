"""The addresses of process 0: where it listens and how the others reach it. Host names, addresses and sockets."""

import errno
import os
import socket
import time
from ipaddress import ip_address
from typing import Any, NamedTuple

from flaxcnn.errors import ConfigError

RETRY_SECONDS = 0.1
_NAME_SECONDS = 60.0  # that a name may take to become known, as that of a pod that has just been started
_BACKLOG = 1024
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Address(NamedTuple):
    """One of the addresses that a name stands for.

    Attributes:
        family: IPv4 or IPv6.
        sockaddr: as sockets take it.
    """

    family: socket.AddressFamily
    sockaddr: Any

    @property
    def host(self) -> str:
        """The address in figures."""
        return str(self.sockaddr[0])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ip_address(self.host.partition("%")[0]).is_loopback


def addresses(host: str, port: int, seconds: float) -> list[Address]:
    """Return what a name stands for, at once or when it becomes known.

    Raises:
        ConfigError: it is not known within these seconds, and not within a minute.
    """
    deadline = time.monotonic() + min(seconds, _NAME_SECONDS)
    while True:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, UnicodeError) or time.monotonic() + RETRY_SECONDS > deadline:
                said = error.strerror if isinstance(error, socket.gaierror) else error
                raise ConfigError("no such host", where=f"processes.coordinator {host}", found=said) from error
        time.sleep(RETRY_SECONDS)


def listen(found: list[Address], name: str) -> list[socket.socket]:
    """Return sockets that listen at all of the addresses that this machine has, and nowhere else.

    Args:
        found: the addresses.
        name: what the user called them.

    Raises:
        ConfigError: this machine has none of them, or something else listens there.
    """
    sockets: list[socket.socket] = []
    try:
        for address in found:
            try:
                sockets.append(socket.create_server(address.sockaddr, family=address.family, backlog=_BACKLOG))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
        if not sockets:
            raise ConfigError(
                "none of its addresses is this machine's",
                where=name,
                found=", ".join(each.host for each in found),
                fix="start process 0 on that machine, or name an address of this one: --processes.listen",
            )
    except OSError as error:
        close(sockets)
        raise ConfigError(
            f"process 0 cannot listen there: {os.strerror(error.errno) if error.errno else error}",
            where=name,
            fix="choose a port that is free, for all processes the same",
        ) from error
    return sockets


def close(sockets: list[socket.socket]) -> None:
    """Close them all."""
    for each in sockets:
        each.close()


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """Return a connection to process 0, as soon as it listens.

    Args:
        host: of process 0.
        port: of process 0.
        deadline: by `time.monotonic`.

    Raises:
        OSError: it was not reached by then.
    """
    while True:
        try:
            return socket.create_connection((host, port), max(RETRY_SECONDS, deadline - time.monotonic()))
        except UnicodeError as error:  # which no host's name is
            raise OSError(str(error)) from error
        except OSError:  # it may still be starting, and its name not be known yet
            if time.monotonic() + RETRY_SECONDS > deadline:
                raise
        time.sleep(RETRY_SECONDS)
