"""The database of a sweep: opened by an Optuna URL, locked across machines, with one-line errors."""

import fcntl
import hashlib
import logging
import os
import random
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flaxcnn.errors import ConfigError, ProcessError
from flaxcnn.files import open_own

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import URL, Connection, Engine

_EXPECTED = "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
_DRIVER = "run pip install 'psycopg[binary]' and begin the URL with postgresql+psycopg://"
# PostgreSQL's lock of a connection: the server frees it when the process at its other end dies.
_LOCK, _UNLOCK = "SELECT pg_try_advisory_lock(:key)", "SELECT pg_advisory_unlock(:key)"
# A machine that lost its power says nothing; by itself PostgreSQL asks after two hours whether it is there.
_KEEPALIVE = (
    "SELECT set_config('tcp_keepalives_idle', '15', false), set_config('tcp_keepalives_interval', '5', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)
# What Optuna and SQLAlchemy raise of rows that neither of them wrote: text where JSON was, an unknown state, no number.
_ODD_ROWS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_ROW_BYTES = 16 << 20  # of a value in a SQLite file
_BUSY_SECONDS = 60  # to wait for another process's write to a SQLite file
_CONNECT_SECONDS = 10
_LOCK_SECONDS = 600


def import_optuna() -> ModuleType:
    """Return Optuna, which says nothing to the user but its errors.

    Raises:
        ConfigError: it isn't installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("needs Optuna", where="sweep", fix="run pip install 'flaxcnn[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL)  # what it logs, it raises too
    return optuna


def file_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its path has.

    Raises:
        ConfigError: SQLAlchemy, which comes with Optuna, isn't installed.
    """
    import_optuna()
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(path)).render_as_string()


class Database:
    """A database in which Optuna keeps studies.

    A process that was forked from this one makes connections of its own.

    Args:
        url: SQLAlchemy's, as Optuna takes it: a SQLite file's or PostgreSQL's.

    Raises:
        ConfigError: the URL says nothing known, or the driver isn't installed.
    """

    def __init__(self, url: str):
        import_optuna()
        from sqlalchemy import create_engine
        from sqlalchemy.exc import NoSuchModuleError

        self._url = _parsed(url)
        self.backend = self._url.get_backend_name()
        self.shown = self._url.set(query={}).render_as_string(hide_password=True)
        try:
            self.engine = create_engine(self._url, **self._options())
        except NoSuchModuleError as error:
            raise ConfigError("unknown driver", where=self.shown, expected=_EXPECTED) from error
        except ImportError as error:
            raise ConfigError("its driver is not installed", where=self.shown, found=error, fix=_DRIVER) from error
        self._engines = [self.engine]
        path = Path(self._url.database or "")
        if self.backend == "sqlite" and path.exists() and not (path.is_file() or path.is_dir()):
            raise ConfigError("not a regular file", where=self.shown, fix="name another --storage")
        _leave_to_parent(self.engine)

    def storage(self) -> "RDBStorage":
        """Return Optuna's storage in it; its tables are made where there are none, which one process may do at a time.

        Raises:
            ConfigError: its tables are those of an Optuna that this one cannot read, or no tables at all.
        """
        from alembic.util.exc import CommandError
        from optuna.storages import RDBStorage

        if self.backend == "sqlite":
            self._require_plain_tables()
        url = self._url.render_as_string(hide_password=False)
        try:
            # Optuna formats the URL, so braces in it have to be doubled.
            storage = RDBStorage(url.replace("{", "{{").replace("}", "}}"), self._options())
        except (RuntimeError, CommandError) as error:
            raise ConfigError("made by another Optuna", where=self.shown, found=error) from error
        _leave_to_parent(storage.engine)
        self._engines.append(storage.engine)
        return storage

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Let one process at a time in, over all machines; a process that dies within leaves nothing locked.

        Args:
            name: of the lock. A SQLite file has one lock, whatever its name.

        Raises:
            ProcessError: another process has held it for ten minutes.
            ConfigError: the database cannot be reached, or the file's disk has no locks.
        """
        with self.reached():
            if self.backend == "sqlite":
                with self._locked_file():
                    yield
            else:
                with self.engine.connect() as connection, self._locked(connection, name):
                    yield

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong with the database while entered into one line.

        Raises:
            ConfigError: it cannot be reached, or cannot be written to.
        """
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            found, fix = _reason(error), "check --storage, and that the database is there and may be written to"
            if self.backend == "sqlite" and any(words in found for words in ("malformed", "not a database")):
                fix = (
                    "move the file away; the same command creates a new one, and trials continue from their checkpoints"
                )
            raise ConfigError("the storage failed", where=self.shown, found=found, fix=fix) from error

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Turn what Optuna and SQLAlchemy raise of rows that neither of them wrote into one line.

        To be entered around calls of theirs alone, since it takes any error of theirs for such a one.

        Raises:
            ConfigError: the rows are not those of a study.
        """
        try:
            yield
        except _ODD_ROWS as error:
            raise ConfigError(
                "the study is damaged",
                where=self.shown,
                found=f"{type(error).__name__}: {error}",
                fix="name another --storage, or move the file away; trials continue from their checkpoints",
            ) from error

    def _require_plain_tables(self) -> None:
        """Raise ConfigError where a SQLite file holds what runs when its tables are used: a query may never end."""
        from sqlalchemy import text

        runs = "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'"
        with self.engine.connect() as connection:
            found = connection.execute(text(runs)).scalars().all()
        if found:
            raise ConfigError("more than tables", where=self.shown, found=f"a view or trigger '{found[0]}'")

    def close(self) -> None:
        """Close the connections that stand idle, those of its storage too."""
        for each in self._engines:
            each.dispose()

    def _options(self) -> dict[str, Any]:
        connect: dict[str, Any] = {}
        if self.backend == "sqlite":
            connect = {"timeout": _BUSY_SECONDS, "factory": _SqliteConnection}
        elif "connect_timeout" not in self._url.query:
            connect = {"connect_timeout": _CONNECT_SECONDS}
        return {"connect_args": connect, "pool_pre_ping": True}  # a connection may have been idle for hours

    @contextmanager
    def _locked_file(self) -> Iterator[None]:
        path = Path(f"{self._url.database}.lock")
        try:
            file = open_own(path)
        except OSError as error:
            raise ConfigError(f"cannot write: {error.strerror}", where=path, fix="name another --storage") from error
        with file:
            for _ in self._attempts():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                except OSError as error:
                    fix = "name a --storage on a disk that has locks"
                    raise ConfigError(f"cannot be locked: {error.strerror}", where=path, fix=fix) from error
                break
            yield  # the lock goes with the file

    @contextmanager
    def _locked(self, connection: "Connection", name: str) -> Iterator[None]:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        connection.execution_options(isolation_level="AUTOCOMMIT")  # waits outside of a transaction
        connection.execute(text(_KEEPALIVE))
        digest = hashlib.sha256(f"flaxcnn {self._url.database} {name}".encode()).digest()
        key = {"key": int.from_bytes(digest[:8], "big", signed=True)}
        for _ in self._attempts():
            if connection.execute(text(_LOCK), key).scalar():
                break
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # a connection that was lost holds no lock
                connection.execute(text(_UNLOCK), key)

    def _attempts(self) -> Iterator[None]:
        """Come back to try once more, at random intervals, so that one of many that wait is not always the last."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < deadline:
            yield
            time.sleep(random.uniform(0.01, 0.1))
        raise ProcessError(
            f"another process of the sweep has decided for {_LOCK_SECONDS // 60} minutes",
            where=self.shown,
            fix="end the process that hangs, or resume it if it is suspended",
        )


class _SqliteConnection(sqlite3.Connection):
    """A connection that need not wait for the disk at each commit.

    Measured on a busy machine: 16 ms a report against 51. Killed processes lose nothing; a machine that loses its power
    may lose the last moments, but not the rest. The price is that all processes have to be on one machine.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _ROW_BYTES)
        # A file may come from elsewhere: https://www.sqlite.org/security.html
        self.execute("PRAGMA trusted_schema = OFF")
        self.execute("PRAGMA cell_size_check = ON")
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")


def _parsed(url: str) -> "URL":
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        shown = url.rpartition("@")[2]  # no password
        raise ConfigError("is not a URL", where="--storage", expected=_EXPECTED, found=shown) from error
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError("unknown database", where="--storage", expected=_EXPECTED, found=parsed.drivername)
    if backend == "sqlite" and (parsed.database or ":memory:") == ":memory:":
        raise ConfigError("a study in memory ends with its process", where="--storage", expected="sqlite:///FILE")
    return parsed


def _reason(error: BaseException) -> str:
    """Return the first line of what the database itself said."""
    cause = error.__cause__ or error  # Optuna's error says nothing; SQLAlchemy's, beneath it, does
    said = str(getattr(cause, "orig", None) or cause)
    return said.strip().partition("\n")[0]


def _leave_to_parent(engine: "Engine") -> None:
    """See to it that a forked process makes connections of its own: two on one would read each other's answers."""
    alive = weakref.ref(engine)

    def forget() -> None:
        if (there := alive()) is not None:
            there.dispose(close=False)

    os.register_at_fork(after_in_child=forget)
