"""Where a run's rows go beside `metrics.jsonl`: one small interface, and those that follow it.

A logger changes nothing that a run computes, and one that fails does not stop it: `metrics.jsonl` has every row.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.table import LoggedRow

Ending: TypeAlias = Literal["complete", "stopped", "failed"]
"""How a session ends: with a summary; by a signal, so that it can go on; by an error, such as a loss that is not
finite."""


class LoggedRun(NamedTuple):
    """What a logger is told at the start of a session.

    Attributes:
        name: of the experiment, such as "paper_mnist".
        folder: of the run.
        config: every field of the experiment: sections, then fields, as JSON has them.
        step: number of finished steps, 0 for a new run. Rows of this step and later ones, which an earlier session may
            have logged before it was killed, are logged again.
        rows: what was logged before, each with its step and its numbers by name.
    """

    name: str
    folder: Path
    config: Mapping[str, Mapping[str, Any]]
    step: int
    rows: Sequence[tuple[int, Mapping[str, float]]]


def logged_run(
    name: str, folder: Path, config: Mapping[str, Mapping[str, Any]], step: int, rows: Sequence[LoggedRow]
) -> LoggedRun:
    """Return what a logger is told, with the rows as a run has them; arguments as `LoggedRun` has them."""
    return LoggedRun(name, folder, config, step, [(row.step, numbers_of(row)) for row in rows])


@runtime_checkable
class Logger(Protocol):
    """What a run calls with its numbers, from the training's own thread: nothing here should wait for long.

    The calls of a session are `begin`, `row` any number of times, `summary` if the run completes, and `close`. Of
    several processes, the first one alone makes them.
    """

    def begin(self, run: LoggedRun) -> None:
        """Take the run at the start of a session, new or resumed."""
        ...

    def row(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log a row: the step after which it was measured, from 0, and what was measured by name (docs/runs.md)."""
        ...

    def summary(self, numbers: Mapping[str, Any]) -> None:
        """Log the final numbers, as `summary.json` has them."""
        ...

    def close(self, ending: Ending) -> None:
        """End the session."""
        ...


def require_loggers(loggers: Sequence[Any]) -> None:
    """Raise ConfigError for what has not the methods of a logger."""
    for number, each in enumerate(loggers):
        if isinstance(each, type) or not isinstance(each, Logger):
            expected = "an object with the methods begin, row, summary and close (flaxcnn.Logger)"
            raise ConfigError("not a logger", where=f"loggers[{number}]", expected=expected, found=repr(each))


def numbers_of(row: LoggedRow) -> dict[str, float]:
    """Return what a row measured, by name, without its step."""
    return {name: value for name, value in row.to_json().items() if name != "step" and value is not None}


class Loggers:
    """All loggers of a session, as a context. One that raises costs a warning, and is not called again.

    Args:
        loggers: them.
        run: what they are told.
        warn: called with each warning for the user.
    """

    def __init__(self, loggers: Sequence[Logger], run: LoggedRun, warn: Callable[[str], None]):
        self._loggers, self._run, self._warn = list(loggers), run, warn
        self._ending: Ending = "failed"

    def __enter__(self) -> Self:
        self._each(lambda logger: logger.begin(self._run))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        ending = self._ending if kind is None else "failed"
        self._each(lambda logger: logger.close(ending))

    def row(self, row: LoggedRow) -> None:
        """Log a row."""
        if self._loggers:
            numbers = numbers_of(row)
            self._each(lambda logger: logger.row(row.step, numbers))

    def stopped(self) -> None:
        """Take note that a signal stopped the run."""
        self._ending = "stopped"

    def summary(self, numbers: Mapping[str, Any]) -> None:
        """Log the final numbers of a run that is complete."""
        self._ending = "complete"
        self._each(lambda logger: logger.summary(numbers))

    def _each(self, call: Callable[[Logger], None]) -> None:
        for logger in tuple(self._loggers):
            try:
                call(logger)
            except Exception as error:  # whatever a logger's own code raises: the run is worth more than its log
                self._loggers.remove(logger)
                what = f"{type(logger).__name__} raised {type(error).__name__}: {error}"
                self._warn(f"warning: {what}; it logs nothing more, and metrics.jsonl has every row")
