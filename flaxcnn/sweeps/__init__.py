"""Sweeps: many trainings of one experiment, in search of the best settings.

A sweep file (`configs/sweeps/*.py`) binds `sweep` to a `Sweep` of what stands here, and `experiment` to what is
searched. `flaxcnn sweep FILE` carries it out (docs/sweeps.md).
"""

from flaxcnn.sweeps.files import Sweep, SweepFile, load_sweep_file, sweeps
from flaxcnn.sweeps.schedulers import ASHA, Hyperband, PopulationBased, Straight, SuccessiveHalving
from flaxcnn.sweeps.searchers import CMAES, GP, TPE, Grid, Listed, Random, Sobol
from flaxcnn.sweeps.space import Choice, Float, Int, When

__all__ = [
    "ASHA",
    "CMAES",
    "GP",
    "TPE",
    "Choice",
    "Float",
    "Grid",
    "Hyperband",
    "Int",
    "Listed",
    "PopulationBased",
    "Random",
    "Sobol",
    "Straight",
    "SuccessiveHalving",
    "Sweep",
    "SweepFile",
    "When",
    "load_sweep_file",
    "sweeps",
]
