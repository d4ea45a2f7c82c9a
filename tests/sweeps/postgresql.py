"""A real PostgreSQL server of the tests' own, where one is installed: no network, nothing kept."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql")  # where the programs are that Debian leaves out of PATH


@contextlib.contextmanager
def server():
    """Start a server, and yield a function that makes an empty database and returns its URL."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="flaxcnn-pg-"))  # a socket's path has to be short
    account = {}
    if os.geteuid() == 0:  # as which it refuses to run
        account = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    try:
        make = [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run(make, check=True, capture_output=True, cwd=folder, **account)
        options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **account
            )
        try:
            _wait_until_it_answers(programs, folder, process)
            yield lambda name: _database(folder, name)
        finally:
            process.send_signal(signal.SIGQUIT)  # at once, with the clients that are left: nothing is kept
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs():
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(DEBIAN.glob("*/bin"))
    folders = [folder for folder in folders if (folder / "postgres").exists()]
    if not folders:
        pytest.skip("no PostgreSQL server is installed")
    return folders[-1]


def _wait_until_it_answers(programs, folder, process):
    deadline = time.monotonic() + 60
    while subprocess.run([programs / "pg_isready", "-q", "-h", folder], check=False).returncode:
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)


def _database(folder, name):
    import psycopg

    with psycopg.connect(f"host={folder} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"postgresql+psycopg://postgres@/{name}?host={folder}"
