"""Searchers that ignore earlier trials: each proposal follows from its number and the sweep's seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flaxcnn.config import Experiment
from flaxcnn.config.checks import check_types, require
from flaxcnn.sweeps.space import Domain, Space, When, active_domain, fill
from flaxcnn.sweeps.trials import Proposal, Trial, Value


@dataclass(frozen=True)
class Grid:
    """Every combination, the last field of the space changing first; conditional fields only where they are active.

    Attributes:
        points: how many values of a range are tried, at even distances (of the logarithms, where the domain says so)
            and with both ends; at least 2. A range of whole numbers has no more than there are.
    """

    points: int = 5

    def __post_init__(self) -> None:
        check_types("Grid", self)
        require(self.points >= 2, "Grid.points", "at least 2", self.points)

    def propose(
        self, space: Space, experiment: Experiment, number: int, history: Sequence[Trial], seed: int
    ) -> Proposal:
        """Return a combination by its number (`Searcher.propose`)."""
        fields = list(space)
        left = number
        chosen: dict[str, Value] = {}

        def choose(path: str, domain: Domain) -> Value:
            nonlocal left
            for value in domain.spread(self.points):
                chosen[path] = value
                combinations = self._combinations(space, experiment, fields[fields.index(path) + 1 :], chosen)
                if left < combinations:
                    return value
                left -= combinations
            raise IndexError(f"combination {number} of a grid with fewer")

        return Proposal(fill(space, experiment, choose))

    def size(self, space: Space, experiment: Experiment) -> int | None:
        """Return the number of combinations."""
        return self._combinations(space, experiment, list(space), {})

    def _combinations(
        self, space: Space, experiment: Experiment, fields: Sequence[str], chosen: dict[str, Value]
    ) -> int:
        """Return the number of combinations of some fields, after what was chosen for those before them."""
        if not fields:
            return 1
        path, *others = fields
        domain = active_domain(space, experiment, path, chosen)
        if domain is None:
            return self._combinations(space, experiment, others, chosen)
        values = domain.spread(self.points)
        # Where nothing depends on the field, each of its values is followed by as many: they are not gone through.
        entries = (space[other] for other in others)
        if not any(isinstance(entry, When) and entry.path == path for entry in entries):
            return len(values) * self._combinations(space, experiment, others, chosen)
        return sum(self._combinations(space, experiment, others, {**chosen, path: value}) for value in values)


@dataclass(frozen=True)
class Random:
    """Each trial anywhere in the space, all places alike."""

    def propose(
        self, space: Space, experiment: Experiment, number: int, history: Sequence[Trial], seed: int
    ) -> Proposal:
        """Return a random place (`Searcher.propose`)."""
        rng = np.random.Generator(np.random.Philox(key=[seed, number]))
        return _at(space, experiment, rng.random(len(space)))

    def size(self, space: Space, experiment: Experiment) -> int | None:
        """Return None: there is no end."""
        return None


@dataclass(frozen=True)
class Sobol:
    """A sequence that fills the space more evenly than random places do, however long it is.

    Most evenly with 2, 4, 8, … trials. Conditional fields have their dimension also where they are inactive.

    Source: I. M. Sobol', "On the distribution of points in a cube", 1967; scrambled as A. B. Owen, "Scrambling Sobol'
    and Niederreiter-Xing points", 1998, in SciPy's implementation.
    """

    def propose(
        self, space: Space, experiment: Experiment, number: int, history: Sequence[Trial], seed: int
    ) -> Proposal:
        """Return a point of the sequence by its number (`Searcher.propose`)."""
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(space), scramble=True, seed=seed)
        if number:
            sequence.fast_forward(number)
        return _at(space, experiment, sequence.random(1)[0])

    def size(self, space: Space, experiment: Experiment) -> int | None:
        """Return None: there is no end."""
        return None


def _at(space: Space, experiment: Experiment, point: np.ndarray) -> Proposal:
    """Return what stands at a point of the unit cube, which has a dimension for each field of the space."""
    shares = dict(zip(space, point.tolist(), strict=True))
    return Proposal(fill(space, experiment, lambda path, domain: domain.at(shares[path])))
