"""What a task on a Ray cluster finds, and addresses where there is none: one line each, where Ray itself would hang."""

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

import flaxcnn as library
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.execution import ray_cluster


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
    assert (
        f"--ray.address {address}: the server that answers is not a Ray cluster; found b'HTTP'. Name the"
        in found.stderr
    )


def test_a_server_that_accepts_and_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(ray_cluster, "_ANSWER_SECONDS", 0.3)
    with server(None) as address, pytest.raises(ConfigError, match="no Ray cluster answers; found timed out"):
        ray_cluster.require_listener(address)


def test_an_address_where_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(ConfigError, match="no Ray cluster answers; found Connection refused"):
        ray_cluster.require_listener(address)


def test_what_begins_as_a_grpc_server_is_left_to_ray():
    settings = bytes(3) + b"\4" + bytes(5)  # RFC 9113, section 3.4
    with server(settings) as address:
        ray_cluster.require_listener(address)


@pytest.mark.parametrize("address", [None, "auto", "local", "ray://head:10001"])
def test_what_is_no_host_and_port_is_left_to_ray(address):
    ray_cluster.require_listener(address)


def test_tasks_find_this_library_and_what_was_set_for_it(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = ray_cluster.environment(3.5)
    first, second = found["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "flaxcnn" / "__init__.py").samefile(library.__file__)
    assert second == "/elsewhere"
    assert (found["JAX_PLATFORMS"], found["NPROC"]) == ("cpu", "3")
