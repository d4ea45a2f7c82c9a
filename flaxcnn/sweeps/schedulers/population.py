"""Population-based training: perturbed copies of the best members replace the worst members of a population.

A member keeps its own weights from generation to generation. A replacement is a new trial that starts with another
trial's weights and perturbed settings, so the result is a schedule of settings, not one setting (`lineage`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from flaxcnn.config.checks import require
from flaxcnn.sweeps.schedulers.rungs import blocks, passed, pauses_after, ranked
from flaxcnn.sweeps.trials import Action, GoOn, New, Params, Status, Stop, Trial

if TYPE_CHECKING:
    import numpy as np

_PURPOSE = int.from_bytes(b"explore", "big")  # half of the key: a stream for another purpose has another one
_MOST_DRAWS = 100  # of a copy: after so many, a space has hardly any settings that are left


class Segment(NamedTuple):
    """Rungs that were trained with the same settings."""

    first_rung: int
    end_rung: int  # the first one after them
    params: Params


@dataclass(frozen=True)
class PopulationBased:
    """Population-based training with truncation selection.

    The budget is the size of the population. When all members have ended a generation, the worst of them stop; for each
    begins a trial that copies one of as many best ones, drawn at random, with settings that `explore` changed. A member
    that failed counts as the worst, and all that failed are replaced, while anyone is left to copy from. A population
    can't grow after its first selection.

    Draws are keyed by (seed, generation, position among the worst), and replacements are asked for in the order of
    their positions: where only the first few of them were begun, the rest is what is asked for next. They come before
    the members that go on, so that a copied member's state is read before its next generation makes another one.

    Training is reproducible, so a copy that goes on with its parent's settings, or with those of another copy of it,
    would train to the same bits: it is drawn again until it differs, at most 100 times. What it is compared with are
    the members that go on and the copies in the positions before its own, so that this too follows from the trials.

    Attributes:
        generations: that each member trains, of equally many steps; at least 1.
        replaced: share of the population that is replaced after each, above 0 and at most 0.5; rounded down to whole
            members, but at least one, and none of a population of one.
        explore: returns changed settings, by a generator. `bound` sets it.
        seed: 0 to 2**63 - 1. `bound` sets it.

    Source: M. Jaderberg et al., "Population based training of neural networks", arXiv:1711.09846 (2017), section 4.1.1.
    """

    generations: int = 5
    replaced: float = 0.2
    explore: "Callable[[Params, np.random.Generator], Params] | None" = field(default=None, repr=False, compare=False)
    seed: int = field(default=0, repr=False, compare=False)

    def __post_init__(self) -> None:
        generations, share = self.generations, self.replaced
        whole = type(generations) is int and generations >= 1
        require(whole, "PopulationBased.generations", "a whole number, at least 1", repr(generations))
        fits = type(share) in (int, float) and 0 < share <= 0.5
        require(fits, "PopulationBased.replaced", "a fraction above 0, at most 0.5", repr(share))

    def bound(self, explore: "Callable[[Params, np.random.Generator], Params]", seed: int) -> "PopulationBased":
        """Return a copy that changes settings in this way, with draws by this seed."""
        return replace(self, explore=explore, seed=seed)

    def fractions(self, bracket: int) -> tuple[float, ...]:
        """Return the ends of the generations."""
        return tuple((generation + 1) / self.generations for generation in range(self.generations))

    def decide(self, trials: Sequence[Trial], budget: int, free: int) -> list[Action]:
        """Return the members of the first generation, then what follows from the generation that ended last.

        Raises:
            RuntimeError: something is to be replaced, and nothing was bound.
        """
        members = [trial for trial in trials if trial.parent is None]
        if len(members) < budget and not any(_selected(trial) for trial in trials):
            return [New() for _ in range(min(free, budget - len(members)))]
        for generation in range(self.generations - 1):
            if any(blocks(trial, generation) for trial in members):
                break
            worst, others, best = self._selection(members, generation)
            if not others:
                break
            copies = [trial for trial in trials if trial.first_rung == generation + 1]
            missing = range(len(copies), len(worst))
            stops = [Stop(trial.number) for trial in worst if pauses_after(trial, generation)]
            going = [GoOn(trial.number) for trial in others if pauses_after(trial, generation)]
            if stops or missing or going:
                wanted: list[Action] = list(self._copies(trials, [*others, *copies], best, generation, missing[:free]))
                return [*stops, *[*wanted, *going][:free]]
            members = [*others, *copies]
        return []

    def _selection(self, members: list[Trial], generation: int) -> tuple[list[Trial], list[Trial], list[Trial]]:
        """Return the members that are replaced, the worst last; the others; and those of them that are copied."""
        ended = ranked(members, generation)
        failed = [trial for trial in members if trial.rung <= generation]
        # 0.29 of 100 are 28.999999999999996 in floating point.
        replaced = min(len(members) // 2, max(1, int(len(members) * self.replaced + 1e-9)))
        kept = len(members) - replaced
        return [*ended[kept:], *failed], ended[:kept], ended[:replaced]

    def _copies(
        self, trials: Sequence[Trial], members: Sequence[Trial], best: list[Trial], generation: int, missing: range
    ) -> Iterator[New]:
        """Yield the copies in the missing positions.

        Args:
            trials: of the sweep.
            members: that train the next generation as far as they are known: those that go on, and the first copies.
            best: those that are copied.
            generation: that has ended.
            missing: positions among the worst.
        """
        taken = [[*_trained(trials, each, generation), each.params] for each in members]
        for position in missing:
            yield self._copy(trials, taken, best, generation, position)

    def _copy(
        self, trials: Sequence[Trial], taken: list[list[Params]], best: list[Trial], generation: int, position: int
    ) -> New:
        """Return a copy whose settings, of all generations, no other member has; they are added to those taken."""
        import numpy as np

        if self.explore is None:
            raise RuntimeError("nothing explores: a sweep uses scheduler.bound(explore, seed)")
        key, counter = np.array([self.seed, _PURPOSE], np.uint64), np.array([0, 0, generation, position], np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
        for _ in range(_MOST_DRAWS):
            parent = best[int(generator.integers(len(best)))]
            params = self.explore(parent.params, generator)
            settings = [*_trained(trials, parent, generation), params]
            if settings not in taken:
                break
        taken.append(settings)
        return New(0, generation + 1, parent.number, params)


def lineage(trials: Sequence[Trial], number: int) -> list[Segment]:
    """Return what led to a trial's weights, through its parents: the oldest first, its own rungs so far last.

    Args:
        trials: of the sweep.
        number: of the trial.

    Returns:
        Segments that follow each other from rung 0 to the trial's rung.
    """
    by_number = {trial.number: trial for trial in trials}
    trial = by_number[number]
    segments = [Segment(trial.first_rung, trial.rung, trial.params)]
    while trial.parent is not None:
        end, trial = trial.first_rung, by_number[trial.parent]
        segments.append(Segment(trial.first_rung, end, trial.params))
    return segments[::-1]


def _trained(trials: Sequence[Trial], trial: Trial, generation: int) -> list[Params]:
    """Return the settings of each generation up to a given one that led to the weights which a trial ended it with.

    For a copy that begins after it, those of its parent.
    """
    segments = lineage(trials, trial.number)
    settings = [segment.params for segment in segments for _ in range(segment.first_rung, segment.end_rung)]
    return settings[: generation + 1]


def _selected(trial: Trial) -> bool:
    """Return whether a trial shows that the first generation's selection was made."""
    return trial.status is Status.STOPPED or passed(trial, 0)
