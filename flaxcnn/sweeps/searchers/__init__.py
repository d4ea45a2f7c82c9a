"""Searchers: what a sweep tries next, from a grid, random points, a space-filling sequence, or Optuna.

A searcher has no memory. Its proposal follows from the space, the trial's number, the earlier trials and the seed, so a
killed sweep continues with the same proposals.
"""

from collections.abc import Sequence
from typing import Protocol

from flaxcnn.config import Experiment
from flaxcnn.sweeps.searchers.independent import Grid, Random, Sobol
from flaxcnn.sweeps.searchers.listed import Listed
from flaxcnn.sweeps.searchers.model_based import CMAES, GP, TPE
from flaxcnn.sweeps.space import Space
from flaxcnn.sweeps.trials import Proposal, Trial

__all__ = ["CMAES", "GP", "SEARCHERS", "TPE", "Grid", "Listed", "Random", "Searcher", "Sobol"]


class Searcher(Protocol):
    """Proposes the values of a trial. Implementations are frozen dataclasses of plain values."""

    def propose(
        self, space: Space, experiment: Experiment, number: int, history: Sequence[Trial], seed: int
    ) -> Proposal:
        """Return the values of the trial of a number; the same for the same arguments, in any process.

        Args:
            space: the space, checked (`check_space`).
            experiment: whose values those fields have that are not searched.
            number: of the trial; less than `size`.
            history: the trials with lower numbers, as they stand.
            seed: of the sweep, 0 to 2**32 - 1.

        Raises:
            ConfigError: a package that the searcher needs is missing.
        """
        ...

    def size(self, space: Space, experiment: Experiment) -> int | None:
        """Return how many proposals there are; None for no end of them."""
        ...


SEARCHERS: dict[str, type[Searcher]] = {
    "grid": Grid,
    "random": Random,
    "sobol": Sobol,
    "tpe": TPE,
    "cmaes": CMAES,
    "gp": GP,
}
