"""The logged rows on an MLflow server, in the form of `Logger`: a thread sends them, and training never waits for it.

The truth is `metrics.jsonl`. What a server has is asked of the server: before a resumed run sends its first row, and
after each request that failed, which the server may have carried out nevertheless. So no step is stored twice, and none
is missing once the server can be reached.
"""

import json
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import flaxcnn
from flaxcnn.errors import RunFolderError
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.output.loggers import Ending, LoggedRun
from flaxcnn.runs.output.mlflow_rest import MOST_METRICS, MlflowServer, Number, ServerError, StoredRun, name_of, now

RECORD = "mlflow.json"
_TAG = "flaxcnn.id"  # by which a run is found again on a server
_OF_EVERY_ROW = "train_loss"  # logged last of its row: a step that has it is whole
_BETWEEN = 1.0  # seconds from one request with rows to the next, so that many rows are one request
_AGAIN, _LONGEST = 5.0, 60.0  # seconds until the next attempt after one that failed, doubled each time
_AT_THE_END = 10.0  # seconds that a run waits for what is not sent yet
_STATUS: Mapping[Ending, str] = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class _Record(TypedDict):
    """What the run's folder keeps: nothing of the server, and no credential."""

    id: str


class MlflowLogger:
    """Sends a run to an MLflow server: fields as parameters, rows as metrics, the summary as `summary/NAME`.

    Args:
        uri: of the server, http or https.
        warn: called once, with what happened and what becomes of the rows, when the server fails.

    Raises:
        ConfigError: a credential of the environment cannot be sent.
    """

    catches_up = True  # it is called for a complete run, too, of which a server may not have everything

    def __init__(self, uri: str, warn: Callable[[str], None]):
        self._server, self._uri, self._warn = MlflowServer(uri), uri, warn
        self._changed = threading.Condition()
        self._waiting: list[Number] = []  # what was not sent
        self._run: LoggedRun | None = None
        self._stored: StoredRun | None = None  # once it is known
        self._unsure = True  # of what the server has
        self._described = self._running = self._warned = False
        self._numbers: Mapping[str, Any] = {}
        self._ending: Ending | None = None
        self._identifier = ""
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)  # which no exit waits for

    def begin(self, run: LoggedRun) -> None:
        """Start the thread; rows of earlier sessions are sent where the server has them not."""
        self._run, self._identifier = run, _identifier(RunFolder(run.folder))
        for step, numbers in run.rows:
            self._put(step, numbers)
        self._thread.start()

    def row(self, step: int, numbers: Mapping[str, float]) -> None:
        """Put a row down for the thread, and return at once."""
        with self._changed:
            self._put(step, numbers)
            self._changed.notify()

    def summary(self, numbers: Mapping[str, Any]) -> None:
        """Put the final numbers down; they are sent at the end."""
        self._numbers = dict(numbers)

    def close(self, ending: Ending) -> None:
        """Send what is left, within seconds; what is not sent then is sent when the run is resumed."""
        with self._changed:
            self._ending = ending
            self._changed.notify()
        self._thread.join(_AT_THE_END)
        if self._thread.is_alive():
            self._say(f"not everything was sent within {_AT_THE_END:g} seconds")

    def _put(self, step: int, numbers: Mapping[str, float]) -> None:
        last_first = sorted(numbers, key=lambda name: name == _OF_EVERY_ROW)
        self._waiting += [Number(name, numbers[name], step, now()) for name in last_first]

    def _work(self) -> None:
        """Send what is waiting, again and again, until the end; the thread's own function."""
        pause, not_before = _AGAIN, 0.0
        try:
            while True:
                with self._changed:
                    while self._ending is None and (not self._waiting or time.monotonic() < not_before):
                        left = not_before - time.monotonic() if self._waiting else None
                        self._changed.wait(left)
                    ending = self._ending
                try:
                    self._deliver(ending)
                    pause, not_before = _AGAIN, time.monotonic() + _BETWEEN
                except ServerError as error:
                    self._unsure = True
                    self._say(str(error))
                    not_before = time.monotonic() + pause
                    pause = min(2 * pause, _LONGEST)
                if ending is not None:
                    return
        except Exception as error:  # a bug of this module's must not be a silent one
            self._say(f"{type(error).__name__}: {error}")

    def _deliver(self, ending: Ending | None) -> None:
        """Send everything that is known; raises ServerError."""
        assert self._run is not None, "begin comes first"
        if self._stored is None or self._unsure:
            self._stored = self._found()
            self._described = False
        stored = self._stored
        if not self._described:
            self._describe(stored)
            self._described = True
        if self._unsure:
            there = self._server.steps(stored.id, _OF_EVERY_ROW) if stored.metrics else set()
            with self._changed:
                self._waiting = [each for each in self._waiting if each.step not in there]
            self._unsure = False
        while True:
            with self._changed:
                part = self._waiting[: _whole_rows(self._waiting)]
            if not part:
                break
            if not self._running:
                if stored.status != "RUNNING":
                    self._server.update(stored.id, "RUNNING", ended=False)
                self._running = True
            self._server.log(stored.id, part)
            with self._changed:
                del self._waiting[: len(part)]
        if ending is not None:
            self._end(stored, ending)

    def _found(self) -> StoredRun:
        """Return the run on the server; made where there is none, or where it was deleted."""
        assert self._run is not None, "begin comes first"
        experiment = self._server.experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or "flaxcnn")
        found = self._server.find(experiment, _TAG, self._identifier)
        if found is None:
            tags = {_TAG: self._identifier, "flaxcnn.version": flaxcnn.__version__, "flaxcnn.config": self._run.name}
            found = self._server.create(experiment, self._run.folder.resolve().name, tags)
        return found

    def _describe(self, stored: StoredRun) -> None:
        """Log the fields that the server has not; what a later session changed is a tag, since no parameter changes."""
        assert self._run is not None, "begin comes first"
        fields = parameters_of(self._run.config)
        new = {name: value for name, value in fields.items() if name_of(name) not in stored.parameters}
        changed = {
            f"changed.{name}": value
            for name, value in fields.items()
            if name not in new and _begin(stored.parameters[name_of(name)]) != _begin(value)
        }
        self._server.describe(stored.id, new, changed)

    def _end(self, stored: StoredRun, ending: Ending) -> None:
        """Send the summary, where the server has not this one, and how the session ended."""
        steps = self._numbers.get("steps")
        same = steps is not None and stored.metrics.get("summary/steps") == steps
        if self._numbers and not same:
            texts = {f"summary.{name}": value for name, value in self._numbers.items() if isinstance(value, str)}
            self._server.describe(stored.id, {}, texts)
            steps_last = sorted(_flat(self._numbers).items(), key=lambda each: each[0] == "steps")  # it tells of all
            numbers = [Number(f"summary/{name}", value, int(steps or 0), now()) for name, value in steps_last]
            for first in range(0, len(numbers), MOST_METRICS):
                self._server.log(stored.id, numbers[first : first + MOST_METRICS])
        if self._running or not same or stored.status != _STATUS[ending]:
            self._server.update(stored.id, _STATUS[ending], ended=True)

    def _say(self, what: str) -> None:
        """Warn, once a session."""
        if not self._warned:
            self._warned = True
            self._warn(
                f"warning: MLflow at {self._uri}: {what}; training goes on, and metrics.jsonl has every row: those "
                "that are not on the server are sent as soon as it answers, or when the same command runs again"
            )


def _whole_rows(waiting: Sequence[Number]) -> int:
    """Return how many numbers go into a request: whole rows, so that a step is on the server or is not."""
    if len(waiting) <= MOST_METRICS:
        return len(waiting)
    ends = [n for n in range(1, MOST_METRICS + 1) if waiting[n - 1].step != waiting[n].step]
    return ends[-1] if ends else MOST_METRICS


def parameters_of(config: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the fields of an experiment as MLflow's parameters.

    >>> parameters_of({"training": {"seed": 0, "class_weights": [1.0, 2.0]}, "model": {"name": "paper_cnn"}})
    {'training.seed': '0', 'training.class_weights': '[1.0, 2.0]', 'model.name': 'paper_cnn'}
    """
    return {
        f"{section}.{name}": value if isinstance(value, str) else json.dumps(value)
        for section, fields in config.items()
        for name, value in fields.items()
    }


def _begin(value: str) -> str:
    """Return as much of a parameter as every server keeps."""
    return value[:250]


def _flat(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a summary; of an interval, its two ends."""
    found: dict[str, float] = {}
    for name, value in numbers.items():
        if isinstance(value, int | float):
            found[name] = value
        elif isinstance(value, list | tuple) and len(value) == 2 and None not in value:
            found |= {f"{name}_low": value[0], f"{name}_high": value[1]}
    return found


def _identifier(folder: RunFolder) -> str:
    """Return by what a run is found on a server; drawn once, and kept before anything is sent.

    Raises:
        RunFolderError: the record is damaged, or cannot be written.
    """
    path = folder.path / RECORD
    if not path.exists():
        folder.write_json(RECORD, _Record(id=uuid.uuid4().hex))
    found: str = folder.read_json(RECORD, _Record)["id"]
    if not re.fullmatch(r"[0-9a-f]{32}", found):
        raise RunFolderError("damaged at id", where=path, expected="32 hexadecimal digits", found=found)
    return found
