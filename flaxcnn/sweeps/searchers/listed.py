"""A searcher that tries a given list of settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flaxcnn.config import Experiment
from flaxcnn.config.checks import require
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.sweeps.space import Choice, Domain, Float, Space, domain_of
from flaxcnn.sweeps.trials import Params, Proposal, Trial, Value


@dataclass(frozen=True)
class Listed:
    """Given settings, one after the other; fields that a setting does not name keep the experiment's values.

    Attributes:
        settings: each of them, by the fields' paths; their values lie in the space. At least one.
    """

    settings: tuple[Params, ...]

    def __post_init__(self) -> None:
        require(len(self.settings) > 0, "Listed.settings", "at least one", "none")
        for setting in self.settings:
            if not isinstance(setting, Mapping):
                expected = '{"section.field": value, ...} for each setting'
                raise ConfigError("wrong type", where="Listed.settings", expected=expected, found=repr(setting))

    def check(self, space: Space) -> None:
        """Check that the settings lie in a space: a study keeps no others.

        Raises:
            ConfigError: a setting names a field that is not searched, or a value that its domain does not have.
        """
        for number, setting in enumerate(self.settings):
            where = f"Listed.settings[{number}]"
            for path, value in setting.items():
                if path not in space:
                    raise ConfigError(f"'{path}' is not searched", where=where, fix=nearest(str(path), space))
                domain = domain_of(space[path])
                require(_holds(domain, value), f"{where}, {path}", f"a value of {domain}", repr(value))

    def propose(
        self, space: Space, experiment: Experiment, number: int, history: Sequence[Trial], seed: int
    ) -> Proposal:
        """Return the setting of a number (`Searcher.propose`)."""
        return Proposal(dict(self.settings[number]))

    def size(self, space: Space, experiment: Experiment) -> int | None:
        """Return how many settings there are."""
        return len(self.settings)


def _holds(domain: Domain, value: Value) -> bool:
    if isinstance(domain, Choice):
        return value in domain.options
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(domain, Float):
        return domain.low <= value <= domain.high
    return isinstance(value, int) and value == domain.nearest(value)
