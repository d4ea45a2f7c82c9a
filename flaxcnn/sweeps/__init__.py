"""Sweeps: hyperparameter search by many trainings of one experiment.

A sweep file (`configs/sweeps/*.py`) binds `sweep` to a `Sweep` made of the names below, and `experiment` to the
experiment to search. Run it with `flaxcnn sweep FILE` (docs/sweeps.md).
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
