"""Clients of a service: each has one connection, asks, reads the answer, and asks again."""

import asyncio
import statistics
import time
from typing import NamedTuple
from urllib.parse import urlsplit

_SECONDS = 120  # for one answer


class Asked(NamedTuple):
    """What became of the requests of some clients.

    Attributes:
        seconds: from the first request to the last answer.
        answered: of each request that was answered with 200, its seconds.
        codes: how many answers have each code.
        bodies: the answers with 200, in each client's order, where they were to be kept.
    """

    seconds: float
    answered: list[float]
    codes: dict[int, int]
    bodies: list[list[bytes]]

    @property
    def rate(self) -> float:
        """Requests answered with 200 a second."""
        return len(self.answered) / self.seconds

    def percentile(self, percent: int) -> float:
        """Return the seconds within which so many of a hundred answers came."""
        return statistics.quantiles(self.answered, n=100, method="inclusive")[percent - 1]


def ask(
    url: str, images: list[bytes], clients: int, *, seconds: float | None = None, times: int = 1, keep: bool = False
) -> Asked:
    """Ask a service as many clients at once.

    Args:
        url: of the service.
        images: image files; the client with number i begins with image i, and goes on with the next ones.
        clients: how many. All are connected before the first one asks.
        seconds: for how long each asks; None for `times`.
        times: how often each asks.
        keep: whether to keep the answers.

    Raises:
        ConnectionError: the service closed a connection.
    """
    return asyncio.run(_ask(url, images, clients, seconds, times, keep))


async def _ask(url: str, images: list[bytes], clients: int, seconds: float | None, times: int, keep: bool) -> Asked:
    parts = urlsplit(url)
    begin = asyncio.Event()
    requests = [
        b"POST /predict HTTP/1.1\r\nhost: %b\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n%b"
        % (parts.netloc.encode(), len(image), image)
        for image in images
    ]
    answered: list[float] = []
    codes: dict[int, int] = {}
    bodies: list[list[bytes]] = [[] for _ in range(clients)]
    connected = 0

    async def client(number: int) -> None:
        nonlocal connected
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        connected += 1
        await begin.wait()
        asked = 0
        while asked < times if seconds is None else time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(requests[(number + asked) % len(requests)])
            code, body = await asyncio.wait_for(_response(reader), _SECONDS)
            codes[code] = codes.get(code, 0) + 1
            if code == 200:
                answered.append(time.perf_counter() - begun)
                if keep:
                    bodies[number].append(body)
            asked += 1
        writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
        while connected < clients:
            await asyncio.sleep(0.01)
        begun = time.perf_counter()
        end = begun + (seconds or 0)
        begin.set()
    return Asked(time.perf_counter() - begun, answered, codes, bodies)


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return a response's code and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    (length,) = (int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)
