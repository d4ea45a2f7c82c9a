"""Membership in a run's processes: join, work guarded against the loss of another process, and leave."""

import atexit
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from ipaddress import ip_address

from flaxcnn.errors import ConfigError, FlaxcnnError
from flaxcnn.processes.addresses import Address, addresses, listen
from flaxcnn.processes.connections import Connections, Ending, end_process, wait
from flaxcnn.processes.messages import LONGEST_TEXT
from flaxcnn.processes.options import Processes, split_address
from flaxcnn.processes.proxy import private_folder
from flaxcnn.processes.rendezvous import host_rendezvous, join_rendezvous
from flaxcnn.processes.secret import given_secret, no_secret, own_secret
from flaxcnn.terminal import write_now

JOIN_SECONDS = 300.0
_VERDICT_SECONDS = 2.0  # after JAX's error that a connection broke, to hear from process 0 which process was lost

_connections: Connections | None = None


def join(options: Processes, timeout: float = JOIN_SECONDS) -> None:
    """Join the other processes of a run, before anything else is done with JAX; alone, do nothing.

    From then on JAX's devices are those of all processes, and the process ends, `connections.GRACE_SECONDS` later at
    the latest, when another one is lost.

    Args:
        options: which processes there are.
        timeout: in seconds, for all to come.

    Raises:
        ConfigError: the options of the processes, or their versions of jax and flaxcnn, do not fit together; no cluster
            was found; or the port cannot be listened on.
        ProcessError: not all processes came in time, or one was lost again.
    """
    global _connections
    found = _find(options, timeout)
    if found is None:
        return
    coordinator, count, index, local_devices = found
    host, port = split_address(coordinator)
    versions = {"flaxcnn": import_module("flaxcnn").__version__, "jax": version("jax"), "jaxlib": version("jaxlib")}
    _connections = connections = Connections(index, count)
    _answer_abort(connections)
    with guarded(), ExitStack() as until_joined:
        secret = given_secret(options.secret_file)
        # Resolved by process 0 to listen, and by all where it decides about the secret.
        own = options.listen if index == 0 and options.listen else host
        found_addresses = addresses(own, port, timeout) if index == 0 or secret is None else []
        if secret is None:
            if not all(each.is_loopback for each in found_addresses):
                raise no_secret(f"{own}:{port}")
            secret = own_secret()
        elif own == host:
            _warn_of_loopback(host, found_addresses)
        jax_socket = until_joined.enter_context(private_folder()) / "jax"
        if index == 0:
            sockets = listen(found_addresses, f"processes.coordinator {own}:{port}")
            until_joined.enter_context(
                host_rendezvous(connections, sockets, f"{host}:{port}", secret, jax_socket, versions, timeout)
            )
        else:
            join_rendezvous(connections, host, port, secret, jax_socket, versions, timeout)
        import jax

        _keep_collectives_to(connections.address)
        jax.config.update("jax_check_proxy_envs", False)
        # It takes SIGTERM, which is the run's own to answer.
        jax.config.update("jax_enable_preemption_service", False)
        jax.distributed.initialize(
            f"unix:{jax_socket}",
            count,
            index,
            local_devices,
            cluster_detection_method="deactivate",
            coordinator_bind_address=f"unix:{jax_socket}",
            initialization_timeout=max(1, round(timeout)),
        )


def is_first() -> bool:
    """Return whether this process is the one that writes and prints."""
    return index() == 0


def index() -> int:
    """Return which of the processes this one is, counted from 0."""
    return _connections.index if _connections else 0


def count() -> int:
    """Return how many processes there are."""
    return _connections.count if _connections else 1


@contextmanager
def guarded() -> Iterator[None]:
    """End all processes when the work of this one, or of another, ends with an error.

    An error that another process caused, such as JAX's that a connection broke, becomes a ProcessError that says so.
    Any other stays, and the other processes are told; they end with a ProcessError, and the same exit code.

    Raises:
        ProcessError: another process ended or was lost.
    """
    try:
        yield
    except BaseException as error:
        if _connections is None:
            raise
        code = _exit_code(error)
        foreign = isinstance(error, Exception) and not isinstance(error, FlaxcnnError)
        if foreign:
            wait(_connections, lambda: False, _VERDICT_SECONDS)
        caused = foreign and _connections.ending is not None
        _connections.told = True
        _connections.end(Ending(_connections.index, _line(error), code if 0 < code < 256 else 1))
        assert _connections.ending is not None
        # The last to be registered is the first to be called: before JAX's own, which waits for the other processes.
        atexit.register(end_process, _connections.ending.exit_code if caused else code)
        if caused:
            raise _connections.ending.error(_connections.count) from error
        raise


def close() -> None:
    """Close the connections to the other processes; none of them may need this one any more (`agreement.leave`)."""
    global _connections
    import jax

    assert _connections is not None, "nothing was joined"
    jax.distributed.shutdown()
    _connections.close()
    _connections = None


def connections() -> Connections | None:
    """Return the connections to the other processes; None where there are none."""
    return _connections


def _warn_of_loopback(host: str, found: list[Address]) -> None:
    """Say where a name means the loopback on its own machine, as Debian's /etc/hosts has it, and others may come."""
    try:
        ip_address(host)
    except ValueError:
        if host != "localhost" and found and all(each.is_loopback for each in found):
            print(
                f"flaxcnn: process 0 listens on {', '.join(each.host for each in found)}, which {host!r} is on this "
                "machine; for other machines to reach it, name its address: --processes.listen",
                file=sys.stderr,
            )


def _keep_collectives_to(address: str) -> None:
    """Have Gloo, by which processes on CPUs exchange arrays, listen where this process speaks to the others.

    By itself it listens at the address that this machine's name stands for, which may be another network's, or the
    loopback where the others are on other machines. JAX has no setting for that.
    """
    from jax._src.lib import _jax  # type: ignore[attr-defined]

    make = _jax.make_gloo_tcp_collectives
    _jax.make_gloo_tcp_collectives = partial(make, hostname=address)


def _answer_abort(connections: Connections) -> None:
    """End this process in words where XLA's collectives abort it because another one was lost.

    Gloo throws in a thread of its own when the others, each at another point of its failure, no longer send what fits
    together; nothing can catch that but a handler of the signal that follows. An abort of another cause goes on.
    """

    def handle(number: int) -> None:
        wait(connections, lambda: False, _VERDICT_SECONDS)
        if connections.ending is None:
            return
        if not connections.told:
            write_now(f"flaxcnn: {connections.ending.error(connections.count)}")
        end_process(connections.ending.exit_code)

    connections.abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(handle)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), connections.abort_handler)


def _find(options: Processes, timeout: float) -> tuple[str, int, int, list[int] | None] | None:
    """Return coordinator, count, index and the devices of this process (None for all); None for a single process."""
    if options.auto:
        from jax._src.clusters import ClusterEnv  # what `jax.distributed.initialize` without arguments asks

        try:
            coordinator, count, index, devices = ClusterEnv.auto_detect_unset_distributed_params(
                os.environ.get("JAX_COORDINATOR_ADDRESS"), None, None, None, None, round(timeout)
            )
        except Exception as error:  # of each kind of cluster, its own
            raise ConfigError(f"JAX cannot read this cluster: {error}", where="processes.auto") from error
        if coordinator is None or count is None or index is None:
            raise ConfigError(
                "JAX finds no cluster here",
                where="processes.auto",
                expected="SLURM, Kubernetes, Open MPI or Cloud TPU",
                fix="give processes.coordinator, processes.count and processes.index",
            )
        local_devices = None if devices is None else list(devices)
        return None if count == 1 else (coordinator, count, index, local_devices)
    if options.coordinator is None or options.count is None or options.index is None or options.count == 1:
        return None
    return options.coordinator, options.count, options.index, None


def _exit_code(error: BaseException) -> int:
    """Return the exit code that the command gives to an error."""
    if isinstance(error, FlaxcnnError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit) and error.code is not None:
        return error.code if isinstance(error.code, int) else 1
    return 1


def _line(error: BaseException) -> str:
    if isinstance(error, FlaxcnnError):
        return str(error)[:LONGEST_TEXT]
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
