"""The application: its routes, and what every request passes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from flaxcnn import __version__
from flaxcnn.prediction.answers import Answered
from flaxcnn.prediction.images import STDIN, Decode
from flaxcnn.serving.answers import Answers, NoneUsable, Refusal, RefusedError, problem_of, refusal
from flaxcnn.serving.batching import Batcher, busy
from flaxcnn.serving.gate import HEALTH, OPEN, Gate, Held
from flaxcnn.serving.images import MULTIPART, SINGLE, Decoded, File, decode_one, files_of, read_body, require_type
from flaxcnn.serving.looking import Looker
from flaxcnn.serving.metrics import CONTENT_TYPE, Metrics
from flaxcnn.serving.model import Served
from flaxcnn.serving.page_files import PAGE, page_file
from flaxcnn.serving.settings import Settings

T = TypeVar("T")
_DECODERS = 2  # threads, which bound the memory of large images
_GONE = 499  # what metrics call a request whose client did not wait
_LOOKS = 4  # that wait for each other; one is computed at a time
_PATHS = ("/predict", "/look", "/model", "/healthz", "/metrics", "/openapi.json")
_METHODS = ("GET", "POST")
_REFUSED = {
    400: "a form that is none",
    401: "without the API key, where the service has one",
    408: "a body that takes too long",
    413: "a body or a number of images that is too large",
    415: "another content type",
    429: "no room; come again after the seconds of Retry-After",
    500: "the model failed",
    503: "no answer in time",
}


def create_app(served: Served, settings: Settings, key: bytes | None = None) -> FastAPI:
    """Return the application of a model that is warm.

    Args:
        served: the model.
        settings: how the service answers.
        key: that requests have to hold; None for any.
    """
    held = Held(settings.max_body)
    service = _Service(served, settings, held)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        batches = asyncio.create_task(service.batcher.run())
        yield
        batches.cancel()
        with suppress(asyncio.CancelledError):
            await batches
        service.close()

    app = FastAPI(
        title="flaxcnn",
        version=__version__,
        lifespan=running,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.add_middleware(Gate, held=held, key=key, observe=service.observe)
    _add_errors(app)
    _add_routes(app, service, served.describe() | {"limits": _limits(settings)})
    if served.looker is not None:
        _add_page(app, service, served.looker)
    app.openapi = lambda: _openapi(app, key is not None)  # type: ignore[method-assign]
    return app


class _Service:
    """What the routes share."""

    def __init__(self, served: Served, settings: Settings, held: Held):
        self.settings, self.metrics = settings, Metrics(served.sizes, lambda: self.batcher.taken, lambda: held.bytes)
        wait, observe = settings.max_wait_ms / 1000, self.metrics.batch
        self.batcher = Batcher(served.answers, served.most, wait, settings.queue, observe)
        self._served = served
        self._threads = ThreadPoolExecutor(_DECODERS, "flaxcnn-decode")
        self._looking = ThreadPoolExecutor(1, "flaxcnn-look")
        self._looks = 0

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
        self._looking.shutdown()
        self.batcher.close()

    def observe(self, path: str, method: str, code: int, seconds: float) -> None:
        """Count a request; whatever a client makes up is one path and one method."""
        path = path if path in _PATHS else "other"
        self.metrics.requests.labels(path, method if method in _METHODS else "other", code).inc()
        self.metrics.seconds.labels(path).observe(seconds)

    async def predict(self, request: Request) -> list[tuple[Decoded, Mapping[str, Any] | None]]:
        """Return the images of a request with their answers, or None for what cannot be used.

        Raises:
            RefusedError: the request cannot be answered.
            ClientDisconnect: nobody waits for an answer any more.
        """
        content_type = request.headers.get("content-type", "")
        require_type(content_type)
        if self.batcher.taken >= self.batcher.room:
            raise busy()
        end = asyncio.get_running_loop().time() + self.settings.timeout
        body = await self._until(end, read_body(request.stream()), 408, "the body took too long")
        answering = asyncio.ensure_future(self._answered(content_type, body))
        return await self._until(end, _while_there(request, answering), 503, "no answer in time")

    async def _answered(self, content_type: str, body: bytes) -> list[tuple[Decoded, Mapping[str, Any] | None]]:
        loop = asyncio.get_running_loop()
        files = await loop.run_in_executor(self._threads, files_of, content_type, body, self.batcher.room)
        with self.batcher.places(len(files)):
            most = self.settings.max_pixels
            decoding = [
                loop.run_in_executor(self._threads, decode_one, each, self._served.decode, most) for each in files
            ]
            decoded = await asyncio.gather(*decoding)
            answers = iter(await self.batcher.answer([each.pixels for each in decoded if each.pixels is not None]))
        usable = sum(each.pixels is not None for each in decoded)
        self.metrics.images.labels("answered").inc(usable)
        self.metrics.images.labels("unusable").inc(len(decoded) - usable)
        return [
            (each, None if each.info is None else self._served.locate(next(answers), each.info)) for each in decoded
        ]

    async def look(self, request: Request, looker: Looker, *, drawn: bool, explain: bool) -> dict[str, Any]:
        """Return what a person sees of the image that a request is (`Looker.look`).

        Raises:
            RefusedError: the request cannot be answered, or its image not be used.
        """
        content_type = request.headers.get("content-type", "")
        require_type(content_type, SINGLE)
        if self._looks >= _LOOKS:
            raise busy()
        self._looks += 1
        try:
            end = asyncio.get_running_loop().time() + self.settings.timeout
            body = await self._until(end, read_body(request.stream()), 408, "the body took too long")
            decode = self._served.decode_drawn if drawn else self._served.decode
            work = asyncio.get_running_loop().run_in_executor(
                self._looking, _seen, looker, File(STDIN, body), decode, self.settings.max_pixels, explain
            )
            return await self._until(end, work, 503, "no answer in time")
        finally:
            self._looks -= 1

    async def _until(self, end: float, work: Awaitable[T], status: int, what: str) -> T:
        try:
            async with asyncio.timeout_at(end):
                return await work
        except TimeoutError as error:
            raise RefusedError(status, what, expected=f"at most {self.settings.timeout:g} seconds") from error


def _seen(looker: Looker, file: File, decode: Decode, max_pixels: int, explain: bool) -> dict[str, Any]:
    decoded = decode_one(file, decode, max_pixels)
    if decoded.pixels is None:
        raise RefusedError(422, "no image that can be used", found=str(decoded.error))
    return looker.look(decoded.pixels, explain)


async def _while_there(request: Request, work: asyncio.Future[T]) -> T:
    """Return what comes of work, which is given up where the client goes away; its body has been read."""

    async def goes_away() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    gone = asyncio.ensure_future(goes_away())
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


def _add_routes(app: FastAPI, service: _Service, description: Mapping[str, Any]) -> None:
    """Add what programs ask a service for."""
    known: dict[int | str, dict[str, Any]] = {
        code: {"model": Refusal, "description": text} for code, text in _REFUSED.items()
    }
    usual: dict[int | str, dict[str, Any]] = {401: known[401]}
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "properties": {"image": {"type": "array", "items": binary["schema"], "minItems": 1}},
        "required": ["image"],
        "additionalProperties": False,
    }
    content = {MULTIPART: {"schema": form}, **dict.fromkeys(SINGLE, binary)}

    @app.post(
        "/predict",
        response_model=Answers,
        responses={**known, 422: {"model": NoneUsable, "description": "no image that can be used"}},
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def predict(request: Request) -> Response:
        """Answer for one image, the body, or for the files of a form."""
        found = await service.predict(request)
        answers = [_said(decoded, answer).json for decoded, answer in found]
        if all(answer is None for _, answer in found):
            first = next(decoded.error for decoded, _ in found if decoded.error is not None)
            return JSONResponse({"error": problem_of(first), "answers": answers}, 422)
        return JSONResponse({"answers": answers})

    @app.get("/model", responses=usual)
    async def model() -> dict[str, Any]:
        """Say what the model takes and answers, and the limits of the service."""
        return dict(description)

    @app.get(HEALTH)
    async def healthz() -> dict[str, str]:
        """Say that the service is there: it listens only once the model is warm."""
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse, responses=usual)
    async def metrics() -> Response:
        """Return counts and times for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})


def _add_page(app: FastAPI, service: _Service, looker: Looker) -> None:
    """Add what people ask a service for: the page, and what it shows of an image. No program needs to know of it."""

    @app.post("/look", include_in_schema=False)
    async def look(request: Request) -> Response:
        asked = request.query_params
        found = await service.look(
            request, looker, drawn=asked.get("drawn") == "1", explain=asked.get("explain") == "1"
        )
        return JSONResponse(found)

    for path in PAGE:
        app.add_api_route(path, page_file(path), include_in_schema=False)


def _said(decoded: Decoded, answer: Mapping[str, Any] | None) -> Answered:
    fault = "" if decoded.error is None else str(decoded.error).removeprefix(f"{decoded.name}: ")
    return Answered(decoded.name, answer, fault)


def _add_errors(app: FastAPI) -> None:
    """Make every error JSON of one form, which says nothing of the machine."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return refusal(error)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        known = "POST /predict, GET /model, GET /healthz, GET /metrics, GET /openapi.json"
        return refusal(RefusedError(error.status_code, error.detail.lower(), expected=known, headers=error.headers))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_GONE)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return refusal(RefusedError(500, "a bug of the service", fix="the service's log has its traceback"))


def _limits(settings: Settings) -> dict[str, Any]:
    names: Sequence[str] = ("max_batch", "max_wait_ms", "queue", "max_body", "max_pixels", "timeout")
    return {name: getattr(settings, name) for name in names}


def _openapi(app: FastAPI, asks_for_key: bool) -> dict[str, Any]:
    """Return the description of the routes; with the key that they ask for."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, routes=app.routes)
        if asks_for_key:
            found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for path, operations in found["paths"].items():
                for operation in operations.values() if path not in OPEN else ():
                    operation["security"] = [{"key": []}]
        app.openapi_schema = found
    return app.openapi_schema
