"""The processes that own running trials: their identity across machines, and how others detect that one is gone.

On the same machine, the system reports at once that a process has ended. On other machines, and for a process that
hangs, only silence shows it: each process writes a heartbeat to the database every few seconds, timed by the database's
clock.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flaxcnn.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_PROC = Path("/proc")
_IMPORTED = time.time_ns()  # stands for the start of the process where the system doesn't tell it


class Owner(NamedTuple):
    """A process, named so that no other has the same name: not after a reboot, nor on another machine."""

    host: str  # for people: several machines may have the same
    boot: str  # of the machine; "" where the system has no such number
    namespace: str  # of the process numbers: each container has its own
    pid: int
    started: str

    def __str__(self) -> str:
        return "/".join(map(str, self))

    @classmethod
    def named(cls, name: str) -> "Owner":
        """Return the owner whose `str` this is; raises ValueError where it is nobody's."""
        host, boot, namespace, pid, started = name.rsplit("/", 4)
        if not (pid.isdecimal() and 0 < int(pid) < 2**31):
            raise ValueError(f"no number of a process: {pid[:40]!r}")
        return cls(host, boot, namespace, int(pid), started)

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended; False too where this process cannot see it."""
        here = this_process()
        if not self.boot or (self.boot, self.namespace) != (here.boot, here.namespace):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's, so it lives
        now = _status(self.pid)
        return now is not None and (now.state in "ZX" or now.started != self.started)


def this_process() -> Owner:
    """Return the name of the process that calls."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        boot = namespace = ""
    now = _status(os.getpid())
    return Owner(socket.gethostname(), boot, namespace, os.getpid(), now.started if now else str(_IMPORTED))


class Beat(NamedTuple):
    """A sign of life."""

    time: datetime  # by the database's clock; some count whole seconds
    age: float  # seconds since then


class Heartbeats:
    """When each process last told the database that it lives."""

    def __init__(self, engine: "Engine"):
        from sqlalchemy import Column, DateTime, MetaData, String, Table

        self._engine = engine
        self._table = Table(
            "flaxcnn_heartbeats",
            MetaData(),
            Column("owner", String(255), primary_key=True),
            Column("beat", DateTime(timezone=True), nullable=False),
        )

    def prepare(self) -> None:
        """Make the table where there is none; one process at a time."""
        self._table.metadata.create_all(self._engine)

    def beat(self, owner: Owner) -> None:
        """Write down that a process lives."""
        from sqlalchemy import func

        columns = self._table.c
        with self._engine.begin() as connection:
            again = self._table.update().where(columns.owner == str(owner)).values(beat=func.now())
            if not connection.execute(again).rowcount:
                connection.execute(self._table.insert().values(owner=str(owner), beat=func.now()))

    @contextmanager
    def beating(self, every: float) -> Iterator[None]:
        """While entered, a thread writes down every so many seconds that this process lives."""
        from sqlalchemy.exc import SQLAlchemyError

        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(every):
                with suppress(SQLAlchemyError):  # who cannot reach it now tries again; that it is down, others show
                    self.beat(this_process())

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def last(self) -> dict[Owner, "Beat"]:
        """Return the last beat of each process that ever beat."""
        from sqlalchemy import func, select

        columns = self._table.c
        with self._engine.connect() as connection:
            rows = connection.execute(select(columns.owner, columns.beat, func.now())).all()
        return {Owner.named(name): Beat(beat, (now - beat).total_seconds()) for name, beat, now in rows}

    def refuse_other_machines(self, grace: float, wait: float, where: str) -> None:
        """Raise ConfigError where another machine writes to the same file: on network disks that would damage it.

        One that was silent for less than the time of grace may be alive, so it is waited for.

        Args:
            grace: seconds of silence after which a process is taken for dead.
            wait: seconds between two looks at those of other machines.
            where: the file.
        """
        here, before = this_process(), dict[Owner, Beat]()
        self.beat(here)
        while True:
            now = self.last()
            others = [owner for owner, beat in now.items() if owner.boot != here.boot and beat.age <= grace]
            if not others:
                return
            for owner in others:
                if now[owner].time > before.get(owner, now[owner]).time:
                    raise ConfigError(
                        "a SQLite file is for the processes of one machine",
                        where=where,
                        found=f"process {owner.pid} on {owner.host}",
                        fix="give a --storage of a PostgreSQL server to all of them",
                    )
            before = now
            time.sleep(wait)


class _Status(NamedTuple):
    state: str
    started: str  # in ticks since the machine's boot


def _status(pid: int) -> _Status | None:
    """Return what the system says of a process; None where it says nothing."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return _Status(fields[0], fields[19])
