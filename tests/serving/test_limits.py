"""The application's bounds, on a model that a test holds up, lets fail, and watches."""

import asyncio
import contextlib
import threading

import httpx
import numpy as np
import pytest

from flaxcnn.data.photographs import decoding
from flaxcnn.errors import DataError
from flaxcnn.serving import settings as settings_
from flaxcnn.serving.app import create_app
from flaxcnn.serving.settings import Settings

OCTETS = {"content-type": "application/octet-stream"}
IMAGE, OTHER = b"P5 1 1 255\n\x07", b"P5 1 1 255\n\x08"  # one gray pixel


class Model:
    """In the place of `Served`: says an image's value, once it may go on."""

    sizes, most, abstains = (1, 2, 4), 4, None

    def __init__(self):
        self.looker, self.decode_drawn = self, self.decode
        self.may_go_on, self.began, self.batches = threading.Event(), threading.Event(), []
        self.fails = False

    def decode(self, encoded, where):
        if encoded.endswith(b"\xff"):
            raise DataError("damaged image", where=where)
        return np.array([encoded[-1]], np.uint8)

    def locate(self, answer, info):
        return answer

    def answers(self, images):
        self.began.set()
        assert self.may_go_on.wait(60)
        self.batches.append([int(image[0]) for image in images])
        if self.fails:
            raise ValueError("a secret at /etc/passwd")
        return [{"value": int(image[0])} for image in images]

    def look(self, image, explain):
        (said,) = self.answers([image])
        return {"answer": said, "explain": explain}

    def describe(self):
        return {}


@contextlib.asynccontextmanager
async def asking(model, key=None, **settings):
    app = create_app(model, Settings(**{"max_wait_ms": 0, **settings}), key)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        try:
            yield client
        finally:
            model.may_go_on.set()


def post(client, image=IMAGE, **options):
    return asyncio.ensure_future(client.post("/predict", content=image, headers=OCTETS, **options))


async def began(model):
    assert await asyncio.to_thread(model.began.wait, 60)


async def until_in_the_service(client, count):
    while f"flaxcnn_queue_images {count}.0" not in (await client.get("/metrics")).text:
        await asyncio.sleep(0)


def test_a_full_queue_refuses_at_once_and_answers_what_it_has():
    async def main():
        model = Model()
        async with asking(model, queue=3) as client:
            first = post(client)
            await began(model)
            waiting = [first, post(client), post(client)]
            await until_in_the_service(client, 3)
            refused = await client.post("/predict", content=IMAGE, headers=OCTETS)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["what"] == "too many requests"
            assert (await client.get("/healthz")).status_code == 200
            model.may_go_on.set()
            assert [done.status_code for done in await asyncio.gather(*waiting)] == [200] * 3
            assert (await post(client)).status_code == 200

    asyncio.run(main())


def test_four_people_may_look_at_once_and_one_who_is_late_makes_room():
    async def main():
        model = Model()
        async with asking(model, timeout=5) as client:
            looks = [
                asyncio.ensure_future(client.post("/look?explain=1", content=IMAGE, headers=OCTETS)) for _ in range(4)
            ]
            await began(model)
            refused = await client.post("/look", content=IMAGE, headers=OCTETS)
            assert refused.status_code == 429
            model.may_go_on.set()
            for done in await asyncio.gather(*looks):
                assert done.json() == {"answer": {"value": 7}, "explain": True}
        model.may_go_on.clear()
        async with asking(model, timeout=0.3) as client:
            late = await asyncio.gather(*(client.post("/look", content=OTHER, headers=OCTETS) for _ in range(3)))
            assert [done.status_code for done in late] == [503] * 3
            model.may_go_on.set()
            while (done := await client.post("/look", content=IMAGE, headers=OCTETS)).status_code != 200:
                assert done.status_code in (429, 503)  # the one that had begun is on its way out
        assert model.batches.count([8]) == 1  # of the three that were late, one had begun

    asyncio.run(main())


def test_a_form_takes_as_many_places_as_it_has_files_and_gives_them_back():
    async def main():
        model = Model()
        model.may_go_on.set()
        async with asking(model, queue=3) as client:
            for count, code in ((3, 200), (4, 413), (3, 200)):
                done = await client.post("/predict", files=[("image", (f"{n}", IMAGE)) for n in range(count)])
                assert done.status_code == code
            assert done.json() == {"answers": [{"image": f"{n}", "value": 7} for n in range(3)]}
            await until_in_the_service(client, 0)

    asyncio.run(main())


def test_who_waits_too_long_is_told_so_and_nothing_more_is_computed_for_him():
    async def main():
        model = Model()
        async with asking(model, timeout=0.3) as client:
            first = post(client)
            await began(model)
            late = await asyncio.gather(*(post(client, OTHER) for _ in range(3)), first)
            assert [done.status_code for done in late] == [503] * 4
            await until_in_the_service(client, 0)
            model.may_go_on.set()
            while (done := await post(client)).status_code != 200:
                assert done.status_code in (429, 503)  # the batch that had begun is on its way out
        assert [8] not in model.batches

    asyncio.run(main())


def test_a_body_that_comes_too_slowly_is_given_up():
    async def slow():
        yield IMAGE[:1]
        await asyncio.Event().wait()

    async def main():
        async with asking(Model(), timeout=0.2) as client:
            done = await client.post("/predict", content=slow(), headers=OCTETS)
            assert done.status_code == 408
            assert "took too long" in done.json()["error"]["what"]

    asyncio.run(main())


def test_a_model_that_fails_is_an_error_of_those_who_asked_and_the_next_are_answered(capsys):
    async def main():
        model = Model()
        model.may_go_on.set()
        model.fails = True
        async with asking(model) as client:
            done = await post(client)
            assert done.status_code == 500
            assert done.json()["error"]["what"] == "the model failed"
            assert "secret" not in done.text
            model.fails = False
            assert (await post(client)).status_code == 200

    asyncio.run(main())
    assert "a secret at /etc/passwd" in capsys.readouterr().err


def test_all_bodies_together_have_a_bound():
    """Sixteen of the largest: one more byte is refused, and there is room again once they are answered."""

    async def main():
        model, size = Model(), 1000
        large = IMAGE[:-1] + bytes(size - len(IMAGE)) + b"\x07"
        async with asking(model, max_body=size) as client:
            held = [post(client, large) for _ in range(16)]
            await until_in_the_service(client, 16)
            assert (await post(client)).status_code == 429
            model.may_go_on.set()
            assert {done.status_code for done in await asyncio.gather(*held)} == {200}
            assert (await post(client)).status_code == 200
            assert "flaxcnn_held_bytes 0.0" in (await client.get("/metrics")).text

    asyncio.run(main())


@pytest.mark.parametrize("declared", [True, False])
def test_one_byte_more_than_a_body_may_have_is_too_many(declared):
    async def parts(body):
        for byte in body:
            yield bytes([byte])

    async def main():
        model = Model()
        model.may_go_on.set()
        async with asking(model, max_body=len(IMAGE)) as client:
            for body, code in ((IMAGE, 200), (IMAGE + b"\x07", 413)):
                content = body if declared else parts(body)
                assert (await client.post("/predict", content=content, headers=OCTETS)).status_code == code

    asyncio.run(main())


def test_an_image_of_more_pixels_than_allowed_is_not_decoded():
    async def main():
        model = Model()
        model.may_go_on.set()
        async with asking(model, max_pixels=4) as client:
            allowed = await post(client, b"P5 2 2 255\n\x01\x02\x03\x04")
            refused = await post(client, b"P5 5 1 255\n\x01\x02\x03\x04\x05")
        assert allowed.status_code == 200
        assert refused.status_code == 422
        assert refused.json()["error"]["found"] == "5×1"
        assert model.batches == [[4]]

    asyncio.run(main())


def test_a_key_guards_everything_but_the_path_that_watchers_ask():
    async def main():
        model, key = Model(), "0123456789abcdef"
        model.may_go_on.set()
        async with asking(model, key.encode()) as client:
            for path in ("/model", "/metrics", "/openapi.json", "/nowhere"):
                assert (await client.get(path)).status_code == 401
            assert (await client.get("/healthz")).status_code == 200
            for given in (key[:-1], f"{key}0", "", key.upper()):
                refused = await client.get("/model", headers={"authorization": f"Bearer {given}"})
                assert refused.status_code == 401
            allowed = {"authorization": f"bearer {key}"}
            described = (await client.get("/openapi.json", headers=allowed)).json()
            assert described["paths"]["/model"]["get"]["security"] == [{"key": []}]
            assert "security" not in described["paths"]["/healthz"]["get"]

    asyncio.run(main())


def test_no_setting_allows_what_no_image_may_have():
    assert (settings_.MAX_BYTES, settings_.MAX_PIXELS) == (decoding.MAX_BYTES, decoding.MAX_PIXELS)
