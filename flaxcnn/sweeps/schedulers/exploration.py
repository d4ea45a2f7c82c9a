"""Exploration of a population: perturbed values of a good trial."""

from typing import Any

import numpy as np

from flaxcnn.config import Experiment
from flaxcnn.sweeps.space import Choice, Domain, Float, Space, fill
from flaxcnn.sweeps.trials import Params, Value

_RESAMPLED = 0.25  # the probability with which a value is drawn again


def perturb(space: Space, experiment: Experiment, params: Params, rng: np.random.Generator) -> dict[str, Value]:
    """Return values near a trial's, for another trial that goes on with its state.

    A number is multiplied by 0.8 or 1.2 and stays within its domain; a whole one moves by a step at least. With a
    probability of 0.25 a value, a choice too, is drawn again instead, as is one that was inactive before.

    Source: M. Jaderberg et al., "Population Based Training of Neural Networks", 2017 (arXiv:1711.09846), section 3 and
    appendix A.

    Args:
        space: the space.
        experiment: whose values those fields have that are not searched.
        params: of the trial.
        rng: what is drawn is drawn from it.
    """

    def explore(path: str, domain: Domain) -> Value:
        draw, place, up = rng.random(3).tolist()  # as many for each field, whatever becomes of it
        if path not in params or draw < _RESAMPLED:
            return domain.at(place)
        return _moved(domain, params[path], 1.2 if up < 0.5 else 0.8)

    return fill(space, experiment, explore)


def _moved(domain: Domain, value: Any, factor: float) -> Value:
    if isinstance(domain, Choice):
        return value
    if isinstance(domain, Float):
        return min(max(value * factor, domain.low), domain.high)
    moved = domain.nearest(value * factor)
    if moved == value:
        moved = domain.nearest(value + domain.step * (1 if factor > 1 else -1))
    return moved
