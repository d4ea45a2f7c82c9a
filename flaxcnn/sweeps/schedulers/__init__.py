"""How far each trial of a sweep is trained: to its end, or on only while it is among the best.

All of these are pure functions of the trials, so a sweep that was killed goes on as if it had not been.
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
