"""The domains of a sweep's space as Optuna's distributions, in which its studies keep them and its samplers search."""

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
