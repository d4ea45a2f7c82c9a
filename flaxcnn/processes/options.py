"""Command options for training in several processes. They are not part of the experiment."""

import re
from dataclasses import dataclass

from flaxcnn.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """The processes that train together. Start each with the same command and its own index. Default: one process."""

    coordinator: str | None = None
    """HOST:PORT at which the other processes reach process 0. Process 0 listens only there."""
    count: int | None = None
    """Number of processes."""
    index: int | None = None
    """Index of this process, from 0."""
    auto: bool = False
    """Let JAX find the other processes: SLURM, Kubernetes, Open MPI, Cloud TPU."""
    secret_file: str | None = None
    """File with the secret that authenticates the processes to each other. None for the secret in FLAXCNN_SECRET or, if
    the coordinator's address is a loopback address, for this user's secret, which is created automatically."""
    listen: str | None = None
    """Address that process 0 listens on, if its machine resolves the coordinator's name to another address; 0.0.0.0 or
    :: for all addresses."""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("coordinator", "count", "index")}
        named = [name for name, value in given.items() if value is not None]
        for name in ("secret_file", "listen"):
            if getattr(self, name) is not None and not self.auto and not named:
                fix = "give processes.coordinator, processes.count and processes.index, or processes.auto"
                raise ConfigError("no effect with one process", where=f"processes.{name}", fix=fix)
        if self.auto and named:
            expected = "either processes.auto or the others"
            raise ConfigError("given twice", where=f"processes.{named[0]}", expected=expected, found="both")
        if not named:
            return
        for name, value in given.items():
            if value is None:
                fix = "give all of processes.coordinator, processes.count and processes.index, or processes.auto alone"
                raise ConfigError("missing", where=f"processes.{name}", fix=fix)
        if self.count is not None and self.count < 1:
            raise ConfigError("out of range", where="processes.count", expected="at least 1", found=self.count)
        if self.index is not None and self.count is not None and not 0 <= self.index < self.count:
            expected = f"0 to {self.count - 1}, for {self.count} processes"
            raise ConfigError("out of range", where="processes.index", expected=expected, found=self.index)
        if self.coordinator is not None:
            split_address(self.coordinator)


def split_address(address: str) -> tuple[str, int]:
    """Return the host and the port of HOST:PORT; an IPv6 host may be in brackets.

    Raises:
        ConfigError: the address has another form.
    """
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ConfigError(
            "not an address with a port",
            where="processes.coordinator",
            expected="HOST:PORT with a port from 1 to 65535",
            found=repr(address),
        )
    return host.removeprefix("[").removesuffix("]"), int(port)
