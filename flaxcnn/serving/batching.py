"""Images of several requests computed together: they wait for each other, in bounds of number and time."""

import asyncio
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flaxcnn.serving.answers import RefusedError

Image = npt.NDArray[np.uint8]
Compute = Callable[[Sequence[Image]], Sequence[Mapping[str, Any]]]


class _Waiting(NamedTuple):
    image: Image
    answer: asyncio.Future[Mapping[str, Any]]


class Batcher:
    """Computes what waits, as many images at once as there are, in one thread of its own.

    While a batch is computed, the next one gathers. A batch then starts with the most images that it may have; or with
    as many as there were in the service last time, or are in it now; or when its first image has waited long enough.
    So a client that is alone never waits, and those that ask again and again are computed together.

    Args:
        compute: answers 1 to `most` images; what it raises is said to those whose images they are, and printed.
        most: images in a batch.
        wait: the longest that an image waits for others while nothing is computed, in seconds.
        room: the most images that have a place.
        observe: is told a batch's images and seconds.
    """

    def __init__(
        self, compute: Compute, most: int, wait: float, room: int, observe: Callable[[int, float], None]
    ) -> None:
        self.taken = 0  # places: images that are decoded, waiting or computed
        self.room = room
        self._compute, self._most, self._wait, self._observe = compute, most, wait, observe
        self._waiting: deque[_Waiting] = deque()
        self._crowd = 1  # places that were taken when the last batch started
        self._changed = asyncio.Event()  # something waits, or a place is free
        self._thread = ThreadPoolExecutor(1, "flaxcnn-model")

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Hold places for images while entered.

        Raises:
            RefusedError: 429, where there are not so many free.
        """
        if self.taken + count > self.room:
            raise busy()
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count
            self._changed.set()

    async def answer(self, images: Sequence[Image]) -> list[Mapping[str, Any]]:
        """Return the answers of decoded images, uint8 (H, W, C), that have places.

        A caller that is cancelled takes back what is not computed yet.
        """
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(image, loop.create_future()) for image in images]
        self._waiting.extend(waiting)
        self._changed.set()
        try:
            return [await each.answer for each in waiting]
        finally:
            for each in waiting:
                each.answer.cancel()

    async def run(self) -> None:
        """Compute batches until cancelled."""
        while True:
            while not self._waiting:
                await self._change(None)
            await self._gather()
            self._crowd = self.taken
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            batch = [each for each in batch if not each.answer.cancelled()]
            if batch:
                await self._answer_batch(batch)

    def close(self) -> None:
        """End the thread, once it has computed its batch."""
        self._thread.shutdown()

    async def _gather(self) -> None:
        end = asyncio.get_running_loop().time() + self._wait
        while len(self._waiting) < min(self._most, max(self._crowd, self.taken)):
            left = end - asyncio.get_running_loop().time()
            if left <= 0 or not await self._change(left):
                return

    async def _change(self, seconds: float | None) -> bool:
        """Wait for an image or a free place; return whether there was one in time."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _answer_batch(self, batch: Sequence[_Waiting]) -> None:
        begun = time.perf_counter()
        images = [each.image for each in batch]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, images)
        except Exception:  # whatever it is, the next batch may be computed
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(RefusedError(500, "the model failed", fix="the service's log says why"))
            return
        self._observe(len(batch), time.perf_counter() - begun)
        for each, answer in zip(batch, answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)


def busy() -> RefusedError:
    """Return the error of a service that has no room."""
    return RefusedError(429, "too many requests", fix="ask again later", headers={"retry-after": "1"})
