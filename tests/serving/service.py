"""The real service as a process, and what a test asks of it without a library between them."""

import json
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit


class Service(NamedTuple):
    """A service that is ready."""

    process: subprocess.Popen
    url: str

    @property
    def port(self):
        return urlsplit(self.url).port

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def peak(self):
        """The most memory that the process had, in bytes."""
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1])


@contextmanager
def started(run, environment, *options):
    """A service of a run at a port that is free; killed where the test has not ended it."""
    words = [sys.executable, "-m", "flaxcnn", "serve", str(run), "--port", "0", *map(str, options)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment, **pipes) as process:
        try:
            line = process.stdout.readline()
            assert "ready" in line, process.stderr.read()
            yield Service(process, line.split()[0])
        finally:
            process.kill()


def head(size, kind="application/octet-stream", path="/predict", more=""):
    """The head of a request with a body."""
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n{more}\r\n".encode()


def response(connection):
    """The code and the JSON of the response that comes next."""
    with connection.makefile("rb") as file:
        code = int(file.readline().split()[1])
        size = 0
        while (line := file.readline().strip().lower()) != b"":
            name, _, value = line.partition(b":")
            size = int(value) if name == b"content-length" else size
        return code, json.loads(file.read(size))


def metric(client, name):
    """The value of a metric; of one with labels, their sum."""
    text = client.get("/metrics").text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))
