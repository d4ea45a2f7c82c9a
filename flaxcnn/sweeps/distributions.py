"""Shared use of Optuna: the distributions of a space's domains, and its logging turned off."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flaxcnn.sweeps.space import Choice, Domain, Float, Int, When

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def distribution(domain: Domain | When) -> "BaseDistribution":
    """Return Optuna's distribution of a domain; of a conditional one, that of its values while it is active."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match domain:
        case When():
            return distribution(domain.domain)
        case Float():
            return FloatDistribution(domain.low, domain.high, log=domain.log)
        case Int():
            return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
        case Choice():
            return CategoricalDistribution(domain.options)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from reporting each trial, and from warning of what is chosen here on purpose."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
