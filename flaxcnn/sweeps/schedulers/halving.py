"""Successive halving and its variants: at each rung, only the best trials continue.

A failed trial counts as the worst of the rung in which it failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flaxcnn.config.checks import check_types, require
from flaxcnn.sweeps.schedulers.rungs import blocks, passed, pauses_after, ranked
from flaxcnn.sweeps.trials import Action, GoOn, New, Status, Stop, Trial


@dataclass(frozen=True)
class Straight:
    """Every trial to its end."""

    def fractions(self, bracket: int) -> tuple[float, ...]:
        """Return the end of the only rung."""
        return (1.0,)

    def decide(self, trials: Sequence[Trial], budget: int, free: int) -> list[Action]:
        """Return new trials while the budget lasts."""
        return [New() for _ in range(min(free, budget - len(trials)))]


@dataclass(frozen=True)
class _Ladder:
    """Rungs, each `reduction` times as high as the one before.

    Attributes:
        reduction: one of so many trials goes on from a rung, and is trained so many times as long; at least 2.
        least: fraction of a trial's steps that each trial gets at least, above 0 and at most 1. The first rung ends at
            the lowest of 1, 1/reduction, 1/reduction², … that is not below it: with a reduction of 3, both 1/9 and 0.05
            give the rungs 1/9, 1/3, 1.
    """

    reduction: int = 3
    least: float = 1 / 9

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_types(name, self)
        require(self.reduction >= 2, f"{name}.reduction", "at least 2", self.reduction)
        require(0 < self.least <= 1, f"{name}.least", "a fraction above 0, at most 1", self.least)

    def fractions(self, bracket: int) -> tuple[float, ...]:
        """Return the powers of 1/reduction at which the rungs end, rising to 1."""
        power = 0
        while 1 / self.reduction ** (power + 1) >= self.least:
            power += 1
        return tuple(1 / self.reduction**exponent for exponent in range(power, -1, -1))


@dataclass(frozen=True)
class SuccessiveHalving(_Ladder):
    """All trials to the first rung; when all of a rung have ended, the best 1/reduction go on, the rest are stopped.

    At least one goes on, and the lower number of two equal ones. Where the budget is raised later, the new trials
    compete with all that ended a rung before; whoever was stopped stays stopped.

    Source: K. Jamieson and A. Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
    AISTATS 2016; L. Li et al., JMLR 18 (2018), algorithm 1.
    """

    def decide(self, trials: Sequence[Trial], budget: int, free: int) -> list[Action]:
        """Return new trials while the budget lasts, then what follows from the rung that ended last."""
        if len(trials) < budget:
            return [New() for _ in range(min(free, budget - len(trials)))]
        stops, promotions = _halved(trials, len(self.fractions(0)), self.reduction)
        return [*stops, *promotions[:free]]


@dataclass(frozen=True)
class Hyperband(_Ladder):
    """Several halvings beside each other, since nobody knows how early a rung can tell the good trials from the bad.

    Bracket 0 begins at the first rung, with the most trials; each further one begins a rung higher, with fewer; in the
    last one all train to the end. The first trials of the sweep belong to bracket 0, the next ones to bracket 1, and so
    on; the budget is shared in proportion to the paper's numbers of trials, ⌈(s+1)/(k+1)·reduction^k⌉ for the bracket
    of k+1 rungs out of s+1.

    Source: L. Li et al., "Hyperband: a novel bandit-based approach to hyperparameter optimization", JMLR 18 (2018).
    """

    def fractions(self, bracket: int) -> tuple[float, ...]:
        """Return the ends of a bracket's rungs."""
        return super().fractions(bracket)[bracket:]

    def shares(self, budget: int) -> list[int]:
        """Return how many of `budget` trials each bracket gets; they add up to it."""
        rungs = len(self.fractions(0))
        # -(-a // b) is a/b rounded up, in whole numbers.
        sizes = [-(-rungs * self.reduction**exponent // (exponent + 1)) for exponent in range(rungs - 1, -1, -1)]
        total = sum(sizes)
        ends = [(2 * budget * sum(sizes[: bracket + 1]) + total) // (2 * total) for bracket in range(rungs)]
        return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]

    def decide(self, trials: Sequence[Trial], budget: int, free: int) -> list[Action]:
        """Return what follows for the brackets that are full, then new trials for those that are not."""
        left = budget - len(trials)
        stops: list[Stop] = []
        wanted: list[Action] = []
        new: list[Action] = []
        for bracket, share in enumerate(self.shares(budget)):
            members = [trial for trial in trials if trial.bracket == bracket]
            # A raised budget moves the shares, and may leave a bracket with more than its own: there is no room then
            # for all that the others lack.
            missing = max(0, min(share - len(members), left - len(new)))
            new += [New(bracket) for _ in range(missing)]
            if not missing:
                stopped, promotions = _halved(members, len(self.fractions(bracket)), self.reduction)
                stops += stopped
                wanted += promotions
        return [*stops, *[*wanted, *new][:free]]


@dataclass(frozen=True)
class ASHA(_Ladder):
    """Halving that waits for nobody: a trial goes on as soon as it is in the best 1/reduction of all that ended a rung.

    Whoever is free promotes from the highest rung that has such a trial, else begins a new one. Trials that are not
    promoted pause, since they may be later, when others have ended their rung.

    With fewer than `reduction` trials in a rung that rule promotes none. So that a sweep always ends with a trial that
    was trained to its end, where one can be: when nothing runs, nothing is left to begin and none is complete, the best
    of the highest rung reached goes on. Then the paused ones are stopped, and the sweep is done.

    Source: L. Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020, algorithm 2.
    """

    def decide(self, trials: Sequence[Trial], budget: int, free: int) -> list[Action]:
        """Return promotions, those of the highest rung first, then new trials."""
        wanted = [*self._promotions(trials), *(New() for _ in range(budget - len(trials)))]
        statuses = {trial.status for trial in trials}
        if wanted or statuses & {Status.RUNNING, Status.WAITING}:
            return wanted[:free]
        paused = [trial for trial in trials if trial.status is Status.PAUSED]
        if paused and Status.COMPLETE not in statuses:
            highest = max(trial.rung for trial in paused) - 1
            wanted = [GoOn(ranked(paused, highest)[0].number)]
            return wanted[:free]
        return [Stop(trial.number) for trial in paused]

    def _promotions(self, trials: Sequence[Trial]) -> list[Action]:
        promotions: list[Action] = []
        for rung in reversed(range(len(self.fractions(0)) - 1)):
            ended = [trial for trial in trials if trial.rung >= rung and not blocks(trial, rung)]
            best = ranked(ended, rung)[: len(ended) // self.reduction]
            promotions += [GoOn(trial.number) for trial in best if pauses_after(trial, rung)]
        return promotions


def _halved(entrants: Sequence[Trial], rungs: int, reduction: int) -> tuple[list[Stop], list[GoOn]]:
    """Return who stops and who goes on, the best first, of all trials of one synchronous halving."""
    stops: list[Stop] = []
    promotions: list[GoOn] = []
    for rung in range(rungs - 1):
        if any(blocks(trial, rung) for trial in entrants):
            break
        ended = ranked(entrants, rung)
        promoted = max(1, len(entrants) // reduction)
        going = [trial for trial in ended[:promoted] if pauses_after(trial, rung)]
        promotions += [GoOn(trial.number) for trial in going]
        stops += [Stop(trial.number) for trial in ended[promoted:] if pauses_after(trial, rung)]
        entrants = [*going, *(trial for trial in ended if passed(trial, rung))]
    return stops, promotions
