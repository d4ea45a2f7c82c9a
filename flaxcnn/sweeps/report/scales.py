"""Axis scales of a picture: a value's position from 0 to 1, and the labels.

Hyperparameters use their domain's scale, logarithmic or one position per option. Metrics use a scale that spreads good
values: 0.98 and 0.99 are as far apart as 0.8 and 0.9.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flaxcnn.sweeps.metric import RankedBy
from flaxcnn.sweeps.report.results import shown
from flaxcnn.sweeps.space import Choice, Domain, Int, When, domain_of
from flaxcnn.sweeps.trials import Value

_LEAST_ERROR = 1e-4  # of a fraction, what it leaves to 1: what lies below stands with it
_WIDE = 8  # a ratio from which on logarithms tell more
_FEW = 8  # texts beside an axis
_ROUNDING = 1e-9  # by which a number may miss the end of an axis, relative to it


@dataclass(frozen=True)
class Scale:
    """One axis.

    Attributes:
        place: gives where a value stands; 0 to 1 for those that the scale was made for.
        ticks: places with their texts, rising.
    """

    place: Callable[[Value], float]
    ticks: Sequence[tuple[float, str]]


def domain_scale(entry: Domain | When) -> Scale:
    """Return the scale of a searched field."""
    domain = domain_of(entry)
    if isinstance(domain, Choice):
        options = list(domain.options)
        positions = [(number + 0.5) / len(options) for number in range(len(options))]
        return Scale(
            lambda value: positions[options.index(value)], list(zip(positions, map(shown, options), strict=True))
        )
    low, high = float(domain.low), float(domain.high)
    ticks = _round_numbers(low, high) if domain.log else _even_numbers(low, high)
    if isinstance(domain, Int):
        few = domain.spread(_FEW + 1)
        ticks = list(map(float, few)) if len(few) <= _FEW else [tick for tick in ticks if tick.is_integer()]
    return _scale(math.log10 if domain.log else float, (low, high), ticks)


def metric_scale(values: Iterable[float], by: RankedBy) -> Scale:
    """Return the scale of a metric that holds the given values.

    Where they span much, the axis of a fraction whose best is 1 is logarithmic in what it leaves to 1, and that of a
    number whose best is the lowest in the number itself; any other axis is linear.

    Args:
        values: finite numbers; without any, the scale is that of 0 to 1.
        by: the metric.
    """
    numbers = list(values)
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    if by.higher_is_better and by.fraction:
        least, most = max(1 - high, _LEAST_ERROR), 1 - low
        if most > _WIDE * least:
            ticks = [1 - error for error in reversed(_steps_of_ten(least, most, (1, 2, 5)))]
            return _scale(lambda value: -math.log10(max(1 - value, _LEAST_ERROR)), (low, high), ticks)
    elif not by.higher_is_better and low > 0 and high > _WIDE * low:
        ticks = _steps_of_ten(low, high, (1, 2, 5))
        return _scale(math.log10, (low, high), ticks if len(ticks) <= 2 * _FEW else _round_numbers(low, high))
    return _scale(float, (low, high), _even_numbers(low, high))


def _scale(along: Callable[[float], float], ends: tuple[float, float], ticks: Sequence[float]) -> Scale:
    low, high = map(along, ends)

    def place(value: Value) -> float:
        assert isinstance(value, int | float)
        return (along(value) - low) / (high - low) if high > low else 0.5

    return Scale(place, [(place(tick), f"{tick:.6g}") for tick in ticks])


def _round_numbers(low: float, high: float) -> list[float]:
    """Return a few round numbers from low to high, both above 0, for a logarithmic axis."""
    for steps in ((1,), (1, 3), (1, 2, 5)):
        numbers = _steps_of_ten(low, high, steps)
        if len(numbers) >= 3:
            return numbers[:: 1 + len(numbers) // _FEW]
    return _even_numbers(low, high)


def _steps_of_ten(low: float, high: float, steps: Sequence[int]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [number for number in numbers if low * (1 - _ROUNDING) <= number <= high * (1 + _ROUNDING)]


def _even_numbers(low: float, high: float) -> list[float]:
    """Return a few round numbers from low to high at even distances; the one where they are equal."""
    from matplotlib.ticker import MaxNLocator

    if low == high:
        return [low]
    numbers = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    margin = _ROUNDING * (high - low)
    return [float(number) for number in numbers if low - margin <= number <= high + margin]
