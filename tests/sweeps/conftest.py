"""The databases that a sweep's study is kept in."""

import itertools

import pytest

from tests.sweeps.postgresql import server


@pytest.fixture(scope="session")
def new_postgresql_database():
    """A function that makes an empty database on a real server, and returns its URL."""
    pytest.importorskip("psycopg")
    numbers = itertools.count()
    with server() as make:
        yield lambda: make(f"sweep{next(numbers)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of an empty database: once of a SQLite file, once on a PostgreSQL server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return request.getfixturevalue("new_postgresql_database")()
