"""Who waits for whom: batches are formed without a clock where as many came as last time."""

import asyncio
import threading

import numpy as np
import pytest

from flaxcnn.serving.answers import RefusedError
from flaxcnn.serving.batching import Batcher

FOR_EVER = 3600.0  # seconds that no test takes


class Recorder:
    """Computes an image's value twice, and keeps the batches; the first one may be held up."""

    def __init__(self, free=True):
        self.batches, self.free, self.began = [], threading.Event(), threading.Event()
        if free:
            self.free.set()

    def __call__(self, images):
        self.began.set()
        assert self.free.wait(60)
        self.batches.append([int(image) for image in images])
        return [{"twice": 2 * int(image)} for image in images]


def run(work, compute, most=4, wait=FOR_EVER, room=100):
    async def main():
        batcher = Batcher(compute, most, wait, room, lambda images, seconds: None)
        running = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(work(batcher), 60)
        finally:
            running.cancel()
            compute.free.set()
            batcher.close()

    return asyncio.run(main())


async def one(batcher, value):
    with batcher.places(1):
        (answer,) = await batcher.answer([np.uint8(value)])
        return answer["twice"]


def test_a_client_that_is_alone_never_waits():
    async def work(batcher):
        return [await one(batcher, value) for value in range(5)]

    compute = Recorder()
    assert run(work, compute) == [0, 2, 4, 6, 8]
    assert compute.batches == [[0], [1], [2], [3], [4]]


def test_what_comes_while_a_batch_is_computed_is_the_next_batch_of_at_most_so_many():
    async def work(batcher):
        first = asyncio.ensure_future(one(batcher, 0))
        assert await asyncio.to_thread(compute.began.wait, 60)
        others = [asyncio.ensure_future(one(batcher, value)) for value in range(1, 7)]
        while batcher.taken < 7:
            await asyncio.sleep(0)
        compute.free.set()
        return await asyncio.gather(first, *others)

    compute = Recorder(free=False)
    assert run(work, compute, wait=0) == [0, 2, 4, 6, 8, 10, 12]
    assert compute.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_those_that_ask_again_and_again_are_computed_together():
    """Three clients: each batch waits for all of them, and for no clock."""

    async def work(batcher):
        async def client():
            for turn in range(4):
                await one(batcher, turn)

        await asyncio.gather(*(client() for _ in range(3)))

    compute = Recorder()
    run(work, compute)
    assert compute.batches == [[turn] * 3 for turn in range(4)]


def test_an_image_waits_for_others_no_longer_than_it_may():
    async def work(batcher):
        await asyncio.gather(*(one(batcher, value) for value in range(3)))
        return await one(batcher, 7)  # last time there were three

    compute = Recorder()
    assert run(work, compute, wait=0.01) == 14
    assert compute.batches == [[0, 1, 2], [7]]


def test_a_place_is_awaited_that_is_taken_and_not_one_that_was_given_back():
    """Of two places one image comes; the other's is found unusable, and gives its place back."""

    async def work(batcher):
        with batcher.places(1):
            answer = asyncio.ensure_future(one(batcher, 1))
            await asyncio.sleep(0.05)
            assert compute.batches == []  # the other is still being decoded
        return await answer

    compute = Recorder()
    assert run(work, compute) == 2


def test_what_its_caller_gave_up_is_not_computed():
    async def work(batcher):
        first = asyncio.ensure_future(one(batcher, 1))
        assert await asyncio.to_thread(compute.began.wait, 60)
        second, third = (asyncio.ensure_future(one(batcher, value)) for value in (2, 3))
        while batcher.taken < 3:
            await asyncio.sleep(0)
        second.cancel()
        compute.free.set()
        return await asyncio.gather(first, third)

    compute = Recorder(free=False)
    assert run(work, compute, wait=0) == [2, 6]
    assert compute.batches == [[1], [3]]


def test_there_are_no_more_places_than_there_is_room():
    async def work(batcher):
        with batcher.places(2), pytest.raises(RefusedError) as refused:
            batcher.places(2).__enter__()
        with batcher.places(3):
            return refused.value.status, batcher.taken

    assert run(work, Recorder(), room=3) == (429, 3)
