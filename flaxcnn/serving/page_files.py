"""The page for people: three files, which ask for nothing beyond the service itself."""

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.responses import Response

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
"""Path -> file in the folder `page`, and its type."""
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_file(name: str, kind: str) -> Callable[[], Awaitable[Response]]:
    """Return what answers with a file of the page, read once.

    Args:
        name: of the file.
        kind: its content type.
    """
    content = (files("flaxcnn.serving") / "page" / name).read_bytes()

    async def answer() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return answer
