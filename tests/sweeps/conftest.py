"""The databases that a sweep's study is kept in."""

import itertools

import pytest

from tests.sweeps.postgresql import server

HEAD = """
from flaxcnn.config import *
from flaxcnn.sweeps import *

experiment = Experiment(
    data=Data(source="idx:{data}", validation=0.1),
    training=Training(epochs={epochs}),
    logging=Logging(every=9),
    checkpoint=Checkpoint(every=6),
)
"""


@pytest.fixture(scope="session")
def new_postgresql_database():
    """A function that makes an empty database on a real server, and returns its URL."""
    numbers = itertools.count()
    with server() as make:
        yield lambda: make(f"sweep{next(numbers)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of an empty database: once of a SQLite file, once on a PostgreSQL server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return request.getfixturevalue("new_postgresql_database")()


@pytest.fixture
def sweep_file(small_mnist, tmp_path):
    """Write a sweep file over the small set, 18 steps an epoch: `sweep_file("sweep = Sweep(...)")`."""

    def write(text, name="search.py", epochs=1):
        path = tmp_path / name
        path.write_text(HEAD.format(data=small_mnist, epochs=epochs) + text + "\n")
        return path

    return write
