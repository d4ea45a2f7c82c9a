"""The shared types of a sweep: trials, and a scheduler's decisions about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

Value = bool | int | float | str | None
Params = Mapping[str, Value]  # of a trial: the value of each searched field that is active, by the field's path


class Status(StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"  # to run its next rung, by whoever is free
    RUNNING = "running"
    PAUSED = "paused"  # has ended a rung; its state is on the disk, and it may go on
    STOPPED = "stopped"  # ended before its last rung
    COMPLETE = "complete"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self in (Status.STOPPED, Status.COMPLETE, Status.FAILED)


@dataclass(frozen=True)
class Trial:
    """One trial as it stands.

    Attributes:
        number: in the sweep, counted from 0 in the order in which they were proposed.
        params: the searched fields' values.
        status: where it stands.
        bracket: the number of the scheduler's bracket that it belongs to.
        first_rung: the rung that it began with; above 0 where it began with the state of another trial.
        parent: number of the trial whose state it began with, as it was at the end of rung `first_rung - 1`.
        scores: at the end of each rung that it ended, from `first_rung` on; higher is better.
        reports: what was measured, by the number of steps done.
        seconds: that its training took so far.
        reason: why it failed; "" where it did not.
        attributes: what its searcher keeps with it.
        adopted: how often a process took it over from one that was gone without having got any further.
    """

    number: int
    params: Params
    status: Status
    bracket: int = 0
    first_rung: int = 0
    parent: int | None = None
    scores: tuple[float, ...] = ()
    reports: Mapping[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""
    attributes: Mapping[str, object] = field(default_factory=dict)
    adopted: int = 0

    @property
    def rung(self) -> int:
        """The rung that it runs, or would run next."""
        return self.first_rung + len(self.scores)


@dataclass(frozen=True)
class New:
    """Wanted: a new trial, in a bracket; one that begins with another's state has its params with it."""

    bracket: int = 0
    first_rung: int = 0
    parent: int | None = None
    params: Params | None = None  # None: the searcher proposes them


@dataclass(frozen=True)
class GoOn:
    """Wanted: that a paused trial runs its next rung."""

    number: int


@dataclass(frozen=True)
class Stop:
    """Wanted: that a paused trial ends where it stands."""

    number: int


Action = New | GoOn | Stop


class Scheduler(Protocol):
    """Says how far each trial is trained. It remembers nothing: what it wants follows from the trials alone."""

    def fractions(self, bracket: int) -> tuple[float, ...]:
        """Return where the rungs of a bracket end, as fractions of a trial's steps, rising, the last one 1."""
        ...

    def decide(self, trials: Sequence[Trial], budget: int, free: int) -> list[Action]:
        """Return what is to be done now, in order of importance.

        Args:
            trials: all of the sweep's so far, by number.
            budget: how many trials the sweep may have, those that begin with another's state aside.
            free: how many of `New` and `GoOn` can be taken on now; no more of these are returned.

        Returns:
            Nothing, while it waits for running trials; or, where none runs or waits, since the sweep is done.
        """
        ...


class Proposal(NamedTuple):
    """What a searcher proposes for a trial."""

    params: Params
    attributes: Mapping[str, object] = {}  # JSON values; kept with the trial, for later proposals
