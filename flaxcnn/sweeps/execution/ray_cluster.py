"""The Ray cluster: its address, its free resources and the environment of its tasks."""

import os
import re
import secrets
import signal
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

import flaxcnn
from flaxcnn.errors import ConfigError
from flaxcnn.signals import STOPS
from flaxcnn.sweeps.options import Execution

_ANSWER_SECONDS = 10.0  # that a cluster's head node has to answer in
# What a gRPC client says first, with settings of none, and the type of the frame that its server says: RFC 9113, 3.4.
_HTTP2_SETTINGS = b"\4"
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _HTTP2_SETTINGS + bytes(5)
_PASSED_ON = ("JAX_", "XLA_")  # what begins so in the environment, tasks have too
# Ray takes this machine's address for a cluster of its own, and listens on all interfaces, unless it thinks that it is
# to have no other nodes: so it is by default on macOS and Windows, and everywhere where this variable is 0.
_ONE_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def cluster(address: str | None) -> Iterator[ModuleType]:
    """Yield Ray, connected to a cluster, or to one of this machine alone, which is started here and ends with this.

    One that is started here listens on the loopback, asks for a token that this process makes (from Ray 2.52 on), and
    keeps its sockets and files in a folder that this user alone may enter. Of one that runs, its own settings hold.

    Args:
        address: of the cluster; None for the one that RAY_ADDRESS names or, where it isn't set, or is "local", for one
            that is started here.

    Raises:
        ConfigError: Ray isn't installed, nothing answers at the address, or something that is no cluster, or that does
            not accept this process; or Ray would not listen on the loopback alone.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    require_listener(address)
    if address != "local":
        ray = _import_ray()
        try:
            _connect(ray, address)
            yield ray
        finally:
            ray.shutdown()
        return
    # Ray opens its folder to all users of the machine; the one around it is this user's. Names of sockets are to be
    # short, so that it is where Ray's own would be.
    around = os.environ.get("RAY_TMPDIR", "/tmp")
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir=around, ignore_cleanup_errors=True) as private,
        _in_environment(_ONE_MACHINE | _token()),
    ):
        ray = _import_ray()
        try:
            _connect(ray, address, _temp_dir=str(Path(private, "ray")))
            _require_loopback(ray)
            yield ray
        finally:
            ray.shutdown()


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("needs Ray", where="--executor ray", fix="run pip install 'flaxcnn[ray]'") from error
    return ray


def _connect(ray: ModuleType, address: str, **options: Any) -> None:
    handlers = {number: signal.getsignal(number) for number in STOPS}
    try:
        with warnings.catch_warnings():  # Ray's processes begin with a fork that JAX warns of, and execute at once
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False, **options)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            "the Ray cluster cannot be reached",
            where=f"--ray.address {address}",
            found=said,
            fix="start one with: ray start --head",
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray has put its own in their place
            signal.signal(number, handler)


def _token() -> dict[str, str]:
    """Return what makes a cluster ask for a token, and a token, unless the user chose them."""
    if "RAY_AUTH_MODE" in os.environ:
        return {}
    token = {"RAY_AUTH_MODE": "token"}
    if not os.environ.get("RAY_AUTH_TOKEN") and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        token["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return token


@contextmanager
def _in_environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _require_loopback(ray: ModuleType) -> None:
    """Raise ConfigError where the cluster that was started listens elsewhere too: Ray was imported before its time."""
    address = ray.get_runtime_context().gcs_address
    if not ip_address(address.rpartition(":")[0].strip("[]")).is_loopback:
        raise ConfigError(
            "Ray would listen on all interfaces of this machine",
            where="--executor ray",
            expected="the loopback",
            found=address,
            fix="set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before Ray is imported",
        )


def require_listener(address: str | None) -> None:
    """Raise ConfigError where no gRPC server answers at HOST:PORT; Ray itself would try for minutes, or for ever."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not re.fullmatch("[0-9]+", port) or "/" in host:
        return
    where, fix = f"--ray.address {address}", "start one with: ray start --head"
    if len(port) > 5 or int(port) > 65535:
        raise ConfigError("not an address with a port", where=where, expected="HOST:PORT with a port of at most 65535")
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return  # such a server answers to a handshake only
            connection.sendall(_HTTP2_PREFACE)
            answer = connection.recv(4)
    except OSError as error:
        found = error.strerror or str(error)
        raise ConfigError("no Ray cluster answers", where=where, found=found, fix=fix) from error
    if answer[3:] != _HTTP2_SETTINGS:
        fix = "name the port of the head node's GCS, which is 6379 where ray start got no --port"
        raise ConfigError("the server that answers is not a Ray cluster", where=where, found=answer, fix=fix)


def environment(cpus: float) -> dict[str, str]:
    """Return what tasks find in their environment besides what their node has."""
    package = str(Path(flaxcnn.__file__).parents[1])
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    # XLA would use all cores for each task; NPROC is what it takes for their number.
    return {**passed_on, "PYTHONPATH": path, "NPROC": str(max(1, int(cpus)))}


def room(ray: ModuleType, execution: Execution) -> int:
    """Return how many tasks the nodes that the cluster has now have room for; at least one, as more may come."""
    has, wants = ray.cluster_resources(), execution.ray
    room = has.get("CPU", 0) / wants.cpus
    if wants.gpus:
        room = min(room, has.get("GPU", 0) / wants.gpus)
    return max(1, int(room + 1e-9))


def require_room(ray: ModuleType, execution: Execution) -> None:
    """Raise ConfigError where no task would ever run."""
    wants = execution.ray
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= wants.cpus and node.get("GPU", 0) >= wants.gpus for node in nodes):
        raise ConfigError(
            "no node of the Ray cluster has room for a task",
            where="--ray",
            expected=f"{wants.cpus:g} CPUs and {wants.gpus:g} GPUs",
            found=", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes),
        )
