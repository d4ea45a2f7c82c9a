"""Requests to an MLflow server over its REST API, by the standard library alone.

A server is not trusted: what it answers is bounded, and its redirects are not followed, since they would carry the
credentials elsewhere. Source: MLflow's documentation, "REST API", version 2.0 of the protocol.
"""

import base64
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from flaxcnn.errors import ConfigError, DataError, FlaxcnnError
from flaxcnn.files import parse_json

MOST_METRICS, MOST_PARAMETERS, MOST_TAGS = 1000, 100, 100
"""Of a request."""
SECONDS = 5.0
"""That a server may take to connect, to begin an answer, and to end it."""
_MOST_BYTES = 16 << 20  # of an answer; a page of a history has some 1 MiB
_PAGE = 10_000  # numbers of a history that are asked for at once
_MOST_PAGES = 1000
_VALUE, _TAG, _NAME = 6000, 5000, 250  # characters of a parameter's value, of a tag's, and of their names and metrics'
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-. :/]")
_USER, _PASSWORD, _TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"


class ServerError(Exception):
    """A request that was not answered as it should be.

    Args:
        what: in a few words, never with a credential.
        code: MLflow's, such as "RESOURCE_DOES_NOT_EXIST"; "" where there is none.
    """

    def __init__(self, what: str, code: str = ""):
        super().__init__(what)
        self.code = code


class StoredRun(NamedTuple):
    """A run as the server has it.

    Attributes:
        id: of the run.
        status: "RUNNING", "FINISHED", …
        parameters: their values by name.
        metrics: the last value of each by name.
    """

    id: str
    status: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]


class Number(NamedTuple):
    """A number that is logged: its name, its value, the step, and when, in milliseconds since 1970."""

    name: str
    value: float
    step: int
    at: int


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: the redirect is an error then."""


class MlflowServer:
    """An MLflow server.

    The credentials are those of the environment, as MLflow's own clients take them: `MLFLOW_TRACKING_USERNAME` and
    `MLFLOW_TRACKING_PASSWORD`, else `MLFLOW_TRACKING_TOKEN`. They are kept in memory alone.

    Args:
        uri: where it is, http or https.

    Raises:
        ConfigError: a credential has characters that no request can carry.
    """

    def __init__(self, uri: str):
        self._root = f"{uri.rstrip('/')}/api/2.0/mlflow/"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", **_authorization()}
        self._open = urllib.request.build_opener(_NoRedirect()).open

    def experiment(self, name: str) -> str:
        """Return the identifier of an experiment; it is made where there is none. All methods raise ServerError."""
        try:
            found = self._get("experiments/get-by-name", experiment_name=name)
        except ServerError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return _text(self._post("experiments/create", name=name), "experiment_id")
        return _text(_object(found, "experiment"), "experiment_id")

    def find(self, experiment: str, tag: str, value: str) -> StoredRun | None:
        """Return the run of an experiment that has a tag; None without one. The value has no quotes."""
        query = f"tags.`{tag}` = '{value}'"
        found = self._post("runs/search", experiment_ids=[experiment], filter=query, max_results=1)
        runs = found.get("runs", [])
        if not isinstance(runs, list):
            raise _garbage("runs")
        return _stored(runs[0]) if runs else None

    def create(self, experiment: str, name: str, tags: Mapping[str, str]) -> StoredRun:
        """Make a run, and return it."""
        given = {"experiment_id": experiment, "run_name": name, "start_time": now(), "tags": _pairs(tags, _TAG)}
        return _stored(self._post("runs/create", **given).get("run"))

    def update(self, run: str, status: str, *, ended: bool) -> None:
        """Say how a run is: "RUNNING", "FINISHED", "KILLED" or "FAILED"."""
        self._post("runs/update", run_id=run, status=status, **({"end_time": now()} if ended else {}))

    def log(self, run: str, numbers: Sequence[Number]) -> None:
        """Log at most `MOST_METRICS` numbers."""
        metrics = [
            {"key": name_of(each.name), "value": each.value, "timestamp": each.at, "step": each.step}
            for each in numbers
        ]
        self._post("runs/log-batch", run_id=run, metrics=metrics)

    def describe(self, run: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Log parameters, which a server never changes again, and tags; any number of them."""
        for part in _parts(_pairs(parameters, _VALUE), MOST_PARAMETERS):
            self._post("runs/log-batch", run_id=run, params=part)
        for part in _parts(_pairs(tags, _TAG), MOST_TAGS):
            self._post("runs/log-batch", run_id=run, tags=part)

    def steps(self, run: str, metric: str) -> set[int]:
        """Return the steps at which a run has a metric."""
        found: set[int] = set()
        page: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            answer = self._get("metrics/get-history", run_id=run, metric_key=metric, max_results=_PAGE, **page)
            try:
                found |= {int(each["step"]) for each in answer.get("metrics", [])}
            except (KeyError, TypeError, ValueError) as error:
                raise _garbage("metrics") from error
            if not answer.get("next_page_token"):
                return found
            page = {"page_token": _text(answer, "next_page_token")}
        raise _garbage("a history without an end")

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._answer(urllib.request.Request(f"{self._root}{path}?{urllib.parse.urlencode(query)}"))

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        data = json.dumps(body, allow_nan=False).encode()
        return self._answer(urllib.request.Request(self._root + path, data, method="POST"))

    def _answer(self, request: urllib.request.Request) -> dict[str, Any]:
        """Return what a server answers, a JSON object."""
        for name, value in self._headers.items():
            request.add_header(name, value)
        until = time.monotonic() + 2 * SECONDS
        try:
            with self._open(request, timeout=SECONDS) as response:
                text = _read(response, until)
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error, until) from None
        except TimeoutError as error:
            raise ServerError(f"no answer within {SECONDS:g} seconds") from error
        except urllib.error.URLError as error:
            slow = isinstance(error.reason, TimeoutError)
            what = f"no answer within {SECONDS:g} seconds" if slow else f"cannot be reached ({error.reason})"
            raise ServerError(what) from error
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the connection broke ({type(error).__name__})") from error
        return _parsed(text)


def name_of(name: str) -> str:
    """Return a name as MLflow has it: of letters, digits and some signs, at most 250.

    >>> name_of("test_größe_rmse")
    'test_gr__e_rmse'
    """
    return _NOT_IN_NAMES.sub("_", name)[:_NAME]


def now() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _authorization() -> dict[str, str]:
    """Return the header with the environment's credentials; {} without any."""
    given = {name: os.environ.get(name, "") for name in (_USER, _PASSWORD, _TOKEN)}
    for name, value in given.items():
        if not value.isprintable():
            fix = "set it again, without a line end"
            raise ConfigError("characters that no request can carry", where=name, expected="printable text", fix=fix)
    if given[_USER] and given[_PASSWORD]:
        pair = base64.b64encode(f"{given[_USER]}:{given[_PASSWORD]}".encode())
        return {"Authorization": f"Basic {pair.decode()}"}
    if not given[_TOKEN].isascii():
        raise ConfigError("characters that no request can carry", where=_TOKEN, expected="ASCII")
    return {"Authorization": f"Bearer {given[_TOKEN]}"} if given[_TOKEN] else {}


def _read(response: IO[bytes], until: float) -> bytes:
    """Return an answer's bytes, as many as may be, in the time that it may take."""
    pieces, room = [], _MOST_BYTES + 1
    read = getattr(response, "read1", response.read)  # what has come, rather than all that was asked for
    while room > 0 and (piece := read(min(room, 1 << 16))):
        pieces.append(piece)
        room -= len(piece)
        if time.monotonic() > until:
            raise ServerError(f"an answer that did not end within {2 * SECONDS:g} seconds")
    if room <= 0:
        raise ServerError(f"an answer of more than {_MOST_BYTES:,} bytes")
    return b"".join(pieces)


def _refused(error: urllib.error.HTTPError, until: float) -> ServerError:
    """Return the error for a status that is none of success, with what the server says of it."""
    code, said = "", ""
    try:
        answer = _parsed(_read(error, until))
        code, said = str(answer.get("error_code", ""))[:80], str(answer.get("message", ""))[:200]
    except (ServerError, OSError, http.client.HTTPException):
        pass  # the status alone says enough
    return ServerError(f"status {error.code}{f', {said}' if said else ''}", code)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = parse_json(text.decode(), dict[str, Any], where="the answer", error=DataError)
    except (FlaxcnnError, UnicodeDecodeError) as error:
        raise _garbage("no JSON object") from error
    return found


def _stored(run: Any) -> StoredRun:
    if not isinstance(run, dict):
        raise _garbage("run")
    info, data = _object(run, "info"), run.get("data", {})
    if not _RUN_ID.fullmatch(_text(info, "run_id")):
        raise _garbage("run_id")
    try:
        parameters = {str(each["key"]): str(each["value"]) for each in data.get("params", [])}
        metrics = {str(each["key"]): float(each["value"]) for each in data.get("metrics", [])}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _garbage("data") from error
    return StoredRun(info["run_id"], str(info.get("status", "")), parameters, metrics)


def _object(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(found.get(name), dict):
        raise _garbage(name)
    value: dict[str, Any] = found[name]
    return value


def _text(found: Mapping[str, Any], name: str) -> str:
    if not isinstance(found.get(name), str):
        raise _garbage(name)
    return str(found[name])


def _garbage(what: str) -> ServerError:
    return ServerError(f"an answer that is not MLflow's ({what})")


def _pairs(values: Mapping[str, str], most: int) -> list[dict[str, str]]:
    return [
        {"key": name_of(name), "value": value if len(value) <= most else f"{value[: most - 1]}…"}
        for name, value in values.items()
    ]


def _parts(pairs: Sequence[dict[str, str]], most: int) -> Iterator[Sequence[dict[str, str]]]:
    return (pairs[first : first + most] for first in range(0, len(pairs), most))
