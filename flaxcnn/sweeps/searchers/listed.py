"""A searcher that tries what it is told to: settings that someone chose, not a rule."""

from collections.abc import Sequence
from dataclasses import dataclass

from flaxcnn.config import Experiment
from flaxcnn.config.checks import require
from flaxcnn.sweeps.space import Space
from flaxcnn.sweeps.trials import Params, Proposal, Trial


@dataclass(frozen=True)
class Listed:
    """Given settings, one after the other; fields that a setting does not name keep the experiment's values.

    Attributes:
        settings: each of them, by the fields' paths; their values lie in the space. At least one.
    """

    settings: tuple[Params, ...]

    def __post_init__(self) -> None:
        require(len(self.settings) > 0, "Listed.settings", "at least one", "none")

    def propose(
        self, space: Space, experiment: Experiment, number: int, history: Sequence[Trial], seed: int
    ) -> Proposal:
        """Return the setting of a number (`Searcher.propose`)."""
        return Proposal(dict(self.settings[number]))

    def size(self, space: Space, experiment: Experiment) -> int | None:
        """Return how many settings there are."""
        return len(self.settings)
