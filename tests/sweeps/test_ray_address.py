"""Addresses where no Ray cluster is: one line each, at once; Ray itself would try for minutes, or hang."""

import contextlib
import socket
import threading

import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.execution import on_ray


@contextlib.contextmanager
def server(answer):
    """Accept one connection at the address that is given, and say something, or nothing where that is None."""
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as open_until_the_end:

        def serve():
            connection, _ = listening.accept()
            open_until_the_end.enter_context(connection)
            if answer is not None:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


def test_another_kind_of_server_is_told_from_a_cluster(flaxcnn, tmp_path):
    with server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        found = flaxcnn("sweep", "--trials", 2, "--out", "out", "--executor", "ray", "--ray.address", address)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert f"--ray.address {address}: a server answers that is no Ray cluster; found b'HTTP'. Name the" in found.stderr


def test_a_server_that_accepts_and_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(on_ray, "_ANSWER_SECONDS", 0.3)
    with server(None) as address, pytest.raises(ConfigError, match="no Ray cluster answers; found timed out"):
        on_ray._require_listener(address)


def test_an_address_where_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(ConfigError, match="no Ray cluster answers; found Connection refused"):
        on_ray._require_listener(address)


def test_what_begins_as_a_grpc_server_is_left_to_ray():
    settings = bytes(3) + b"\4" + bytes(5)  # RFC 9113, section 3.4
    with server(settings) as address:
        on_ray._require_listener(address)


@pytest.mark.parametrize("address", [None, "auto", "local", "ray://head:10001"])
def test_what_is_no_host_and_port_is_left_to_ray(address):
    on_ray._require_listener(address)
