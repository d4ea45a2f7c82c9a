"""A Ray cluster: how it is reached, what room it has, and what a task finds in its environment."""

import os
import re
import signal
import socket
from pathlib import Path
from types import ModuleType

import flaxcnn
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.options import Execution

_ANSWER_SECONDS = 10.0  # that a cluster's head node has to answer in
# What a gRPC client says first, with settings of none, and the type of the frame that its server says: RFC 9113, 3.4.
_HTTP2_SETTINGS = b"\4"
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _HTTP2_SETTINGS + bytes(5)
_PASSED_ON = ("JAX_", "XLA_", "FLAXCNN_")  # what begins so in the environment, tasks have too


def import_ray() -> ModuleType:
    """Return Ray; raises ConfigError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError("needs Ray", where="--executor ray", fix="run pip install 'flaxcnn[ray]'") from error
    return ray


def connect(ray: ModuleType, address: str | None) -> None:
    """Reach a cluster, or start one on this machine where the address is None and RAY_ADDRESS isn't set.

    Raises:
        ConfigError: nothing answers at the address, or something that is no cluster.
    """
    require_listener(address or os.environ.get("RAY_ADDRESS"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            "the Ray cluster cannot be reached",
            where=f"--ray.address {address or os.environ.get('RAY_ADDRESS', '')}",
            found=said,
            fix="start one with: ray start --head",
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray has put its own in their place
            signal.signal(number, handler)


def require_listener(address: str | None) -> None:
    """Raise ConfigError where no gRPC server answers at HOST:PORT; Ray itself would try for minutes, or for ever."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not re.fullmatch("[0-9]+", port) or "/" in host:
        return
    where, fix = f"--ray.address {address}", "start one with: ray start --head"
    if len(port) > 5 or int(port) > 65535:
        raise ConfigError("no address of a port", where=where, expected="HOST:PORT with a port of at most 65535")
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
        raise ConfigError("a server answers that is no Ray cluster", where=where, found=answer, fix=fix)


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
