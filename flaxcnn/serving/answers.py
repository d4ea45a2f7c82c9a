"""Answers and errors as JSON, and their schemas for OpenAPI."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse

from flaxcnn.errors import FlaxcnnError


class RefusedError(FlaxcnnError):
    """A request that is not answered.

    Args:
        status: HTTP's status code.
        what: as `FlaxcnnError` has it; the others, too.
        headers: of the response.
    """

    def __init__(self, status: int, what: str, *, headers: Mapping[str, str] | None = None, **fields: Any):
        super().__init__(what, **fields)
        self.status, self.headers = status, dict(headers or {})


class Problem(BaseModel):
    """Why a request, or an image, was not answered."""

    what: str
    where: str | None = None
    expected: str | None = None
    found: str | None = None
    fix: str | None = None


class Refusal(BaseModel):
    """An error."""

    error: Problem


class Answer(BaseModel):
    """What is said of an image: its name, and the answer of the task, or a fault."""

    model_config = ConfigDict(extra="allow")
    image: str
    fault: str | None = None


class Answers(BaseModel):
    """What is said of the images of a request, in their order."""

    answers: list[Answer]


class NoneUsable(BaseModel):
    """Of no image can be said anything: the first one's problem, and every fault."""

    error: Problem
    answers: list[Answer]


def problem_of(error: FlaxcnnError) -> dict[str, str]:
    """Return an error's parts, those that it has."""
    parts = {"what": error.what, "where": error.where, "expected": error.expected, "found": error.found}
    return {name: str(part) for name, part in {**parts, "fix": error.fix or None}.items() if part is not None}


def refusal(error: RefusedError) -> JSONResponse:
    """Return the response for a request that is not answered."""
    return JSONResponse({"error": problem_of(error)}, error.status, error.headers)
