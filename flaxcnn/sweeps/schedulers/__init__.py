"""Schedulers: how far to train each trial of a sweep, to its end or only while it is among the best.

All of them are pure functions of the trials, so a killed sweep continues as if uninterrupted.
"""

from flaxcnn.sweeps.schedulers.halving import ASHA, Hyperband, Straight, SuccessiveHalving
from flaxcnn.sweeps.schedulers.population import PopulationBased
from flaxcnn.sweeps.trials import Scheduler

__all__ = ["ASHA", "SCHEDULERS", "Hyperband", "PopulationBased", "Straight", "SuccessiveHalving"]

SCHEDULERS: dict[str, type[Scheduler]] = {
    "none": Straight,
    "halving": SuccessiveHalving,
    "hyperband": Hyperband,
    "asha": ASHA,
    "pbt": PopulationBased,
}
