"""The page for people: a few files, which ask for nothing beyond the service itself."""

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.responses import Response

_OWN, _SHARED = ("flaxcnn.serving", "page"), ("flaxcnn.pages", "browser")
PAGE = {
    "/": (*_OWN, "index.html", "text/html"),
    "/page.js": (*_OWN, "page.js", "text/javascript"),
    "/page.css": (*_SHARED, "page.css", "text/css"),
    "/asking.js": (*_SHARED, "asking.js", "text/javascript"),
    "/choosing.js": (*_SHARED, "choosing.js", "text/javascript"),
    "/drawing.js": (*_SHARED, "drawing.js", "text/javascript"),
    "/showing.js": (*_SHARED, "showing.js", "text/javascript"),
}
"""Path -> package, folder in it, file, and its type."""
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_file(path: str) -> Callable[[], Awaitable[Response]]:
    """Return what answers with a file of the page, read once.

    Args:
        path: one of `PAGE`.
    """
    package, folder, name, kind = PAGE[path]
    content = (files(package) / folder / name).read_bytes()

    async def answer() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return answer
