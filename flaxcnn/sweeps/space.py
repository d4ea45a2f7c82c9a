"""The search space: a domain for each searched field of an experiment, by the field's path, "section.field".

A space is ordered: fields are chosen one after the other, and the choice for one decides whether a later one (`When`)
is active. Nothing here draws random numbers; searchers choose a position in each domain.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flaxcnn.config import Experiment
from flaxcnn.config.checks import require
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.sweeps.trials import Params, Value

RUNTIME_FIELDS = frozenset(
    {
        "augmentation.augmix",
        "augmentation.blur",
        "augmentation.brightness",
        "augmentation.contrast",
        "augmentation.cutmix",
        "augmentation.cutout",
        "augmentation.elastic",
        "augmentation.erase",
        "augmentation.flip",
        "augmentation.gray",
        "augmentation.hue",
        "augmentation.mixup",
        "augmentation.mosaic",
        "augmentation.randaugment_magnitude",
        "augmentation.resized_crop",
        "augmentation.resized_crop_aspect",
        "augmentation.rotate",
        "augmentation.saturation",
        "augmentation.scale",
        "augmentation.shear",
        "augmentation.shift",
        "model.dropout",
        "optimizer.b1",
        "optimizer.b2",
        "optimizer.clip_norm",
        "optimizer.eps",
        "optimizer.layer_decay",
        "optimizer.learning_rate",
        "optimizer.momentum",
        "optimizer.weight_decay",
        "training.ema_decay",
        "training.focal_gamma",
        "training.label_smoothing",
        "training.seed",
    }
)
"""Fields whose values stand in the training state: trials that differ in them alone share one compiled program.

For an augmentation and the focal loss that holds between values above 0, as 0 leaves it out of the program; for a field
that can be None, between numbers.
"""

WHERE = "the sweep's space"


@dataclass(frozen=True)
class Float:
    """Numbers from low to high, both included.

    Attributes:
        low: the least.
        high: the greatest, above `low`.
        log: whether their logarithms are spread evenly, rather than they themselves; `low` is above 0 then.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            sound = type(value) in (int, float) and math.isfinite(value)
            require(sound, f"Float.{name}", "a finite number", repr(value))
            object.__setattr__(self, name, float(value))
        if self.low == self.high:
            fix = f"leave the field out of the space and set it in the experiment, or write Choice({self.low!r})"
            expected = f"less than high, {self.high}"
            raise ConfigError("a range of one value", where="Float.low", expected=expected, found=self.low, fix=fix)
        require(self.low < self.high, "Float.low", f"less than high, {self.high}", self.low)
        _check_log(self)

    def at(self, share: float) -> float:
        """Return the number below which lies the given share of the domain, 0 <= share < 1."""
        even = self.low + share * (self.high - self.low)
        value = self.low * (self.high / self.low) ** share if self.log else even
        return min(max(value, self.low), self.high)  # what is rounded may not leave the domain

    def holds(self, value: object) -> bool:
        """Return whether a value is one of the domain's."""
        return type(value) is float and self.low <= value <= self.high

    def spread(self, points: int) -> tuple[float, ...]:
        """Return so many numbers at even distances, at least two: the first is `low`, the last `high`."""
        return (*(self.at(place / (points - 1)) for place in range(points - 1)), self.high)

    @property
    def extremes(self) -> tuple[float, ...]:
        """Values between which all others lie."""
        return self.low, self.high


@dataclass(frozen=True)
class Int:
    """Whole numbers from low to high, both included.

    Attributes:
        low: the least.
        high: the greatest, at least `low`.
        log: whether their logarithms are spread evenly; `low` is above 0 and `step` 1 then.
        step: from one to the next; it divides high - low.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            require(type(getattr(self, name)) is int, f"Int.{name}", "a whole number", repr(getattr(self, name)))
        require(self.low <= self.high, "Int.low", f"at most high, {self.high}", self.low)
        require(self.step >= 1, "Int.step", "at least 1", self.step)
        last = self.high - (self.high - self.low) % self.step
        require(self.high == last, "Int.high", f"low and whole steps, such as {last}", self.high)
        _check_log(self)
        require(not self.log or self.step == 1, "Int.step", "1, since log is set", self.step)

    def at(self, share: float) -> int:
        """Return the number below which lies the given share of the domain, 0 <= share < 1."""
        if self.log:  # each number stands for those that round to it
            low, high = self.low - 0.5, self.high + 0.5
            return self.nearest(low * (high / low) ** share)
        return self.low + self.step * int(share * len(self._numbers))

    def holds(self, value: object) -> bool:
        """Return whether a value is one of the domain's."""
        return type(value) is int and value in self._numbers

    def spread(self, points: int) -> tuple[int, ...]:
        """Return at most so many numbers, at least two of more, at distances as even as can be; all if no more."""
        if len(self._numbers) <= points:
            return tuple(self._numbers)
        even = Float(self.low, self.high, self.log).spread(points)
        return tuple(dict.fromkeys(map(self.nearest, even)))

    def nearest(self, number: float) -> int:
        """Return the number of the domain that is nearest to a given one."""
        return min(max(self.low + self.step * round((number - self.low) / self.step), self.low), self.high)

    @property
    def extremes(self) -> tuple[int, ...]:
        """Values between which all others lie."""
        return self.low, self.high

    @property
    def _numbers(self) -> range:
        return range(self.low, self.high + 1, self.step)


@dataclass(frozen=True, init=False)
class Choice:
    """One of some values, in no order.

    >>> Choice("adam", "sgd").options
    ('adam', 'sgd')

    Attributes:
        options: the values, no two of them equal.
    """

    options: tuple[Value, ...]

    def __init__(self, *options: Value):
        for option in options:
            sound = option is None or type(option) in (bool, int, str) or _is_finite(option)
            require(sound, "Choice", "True, False, finite numbers, text or None", repr(option))
        require(bool(options), "Choice", "at least one option", "none")
        for place, option in enumerate(options):
            require(option not in options[:place], "Choice", "options that differ", f"{option!r} again")
        object.__setattr__(self, "options", options)

    def at(self, share: float) -> Value:
        """Return the option below which lies the given share of them, 0 <= share < 1."""
        return self.options[int(share * len(self.options))]

    def holds(self, value: object) -> bool:
        """Return whether a value is one of the domain's."""
        return any(type(option) is type(value) and option == value for option in self.options)

    def spread(self, points: int) -> tuple[Value, ...]:
        """Return every option, however few points are asked for."""
        return self.options

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Every option."""
        return self.options


Domain: TypeAlias = Float | Int | Choice


@dataclass(frozen=True)
class When:
    """A domain of a field that is searched only where another field has one of some values.

    Elsewhere the field is inactive: it is no part of the trial, and the experiment's own value stands. A field is
    inactive too where its condition is about an inactive one.

    Attributes:
        path: of the other field, which stands earlier in the space, or is not searched.
        values: that it has to have, one or a tuple of some.
        domain: of this field.
    """

    path: str
    values: Value | tuple[Value, ...]
    domain: Domain

    def __post_init__(self) -> None:
        require(isinstance(self.domain, Domain), "When.domain", "a Float, Int or Choice", repr(self.domain))
        if not isinstance(self.values, tuple):
            object.__setattr__(self, "values", (self.values,))
        require(self.values != (), "When.values", "at least one value", "none")

    @property
    def wanted(self) -> tuple[Value, ...]:
        """The values for which the field is active."""
        return self.values if isinstance(self.values, tuple) else (self.values,)


Space: TypeAlias = Mapping[str, Domain | When]


def domain_of(entry: Domain | When) -> Domain:
    """Return a field's domain in the space, where it is active."""
    return entry.domain if isinstance(entry, When) else entry


def active_domain(space: Space, experiment: Experiment, path: str, params: Params) -> Domain | None:
    """Return the domain of a searched field, or None where it is inactive.

    Args:
        space: the space.
        experiment: whose values those fields have that are not searched.
        path: a field of the space.
        params: of the active fields that stand before it.
    """
    entry = space[path]
    if not isinstance(entry, When):
        return entry
    if entry.path in space:
        holds = entry.path in params and params[entry.path] in entry.wanted
    else:
        holds = field_value(experiment, entry.path) in entry.wanted
    return entry.domain if holds else None


def fill(space: Space, experiment: Experiment, suggest: Callable[[str, Domain], Value]) -> dict[str, Value]:
    """Ask for the value of each active field, in the order of the space, and return them by path."""
    params: dict[str, Value] = {}
    for path in space:
        domain = active_domain(space, experiment, path, params)
        if domain is not None:
            params[path] = suggest(path, domain)
    return params


def with_params(experiment: Experiment, params: Params) -> Experiment:
    """Return the experiment with the values of some fields replaced, all at once.

    Raises:
        ConfigError: there is no such field, or the values do not go together.
    """
    sections: dict[str, dict[str, Value]] = {}
    for path, value in params.items():
        require_field(experiment, path)
        section, _, name = path.partition(".")
        sections.setdefault(section, {})[name] = value
    changed: dict[str, Any] = {
        section: dataclasses.replace(getattr(experiment, section), **fields) for section, fields in sections.items()
    }
    return dataclasses.replace(experiment, **changed)


def field_value(experiment: Experiment, path: str) -> Any:
    """Return the value that an experiment has at a path."""
    section, _, name = path.partition(".")
    return getattr(getattr(experiment, section), name)


def require_field(experiment: Experiment, path: str) -> None:
    """Raise ConfigError where an experiment has no field at a path."""
    fields = [
        f"{section.name}.{field.name}"
        for section in dataclasses.fields(experiment)
        for field in dataclasses.fields(getattr(experiment, section.name))
    ]
    if path not in fields:
        raise ConfigError(f"unknown field '{path}'", where=WHERE, fix=nearest(str(path), fields))


def _check_log(domain: Float | Int) -> None:
    kind = type(domain).__name__
    require(type(domain.log) is bool, f"{kind}.log", "True or False", repr(domain.log))
    require(not domain.log or domain.low > 0, f"{kind}.low", "above 0, since log is set", domain.low)


def _is_finite(value: object) -> bool:
    return type(value) is float and math.isfinite(value)
