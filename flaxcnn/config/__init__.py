"""Experiments as frozen, typed dataclasses, with reading from config files and conversion to and from JSON.

A config file (`configs/*.py`) is Python that binds `experiment`. Values come only from the file and the command line;
the rest are the defaults defined here.
"""

from flaxcnn.config.augmentation import Augmentation
from flaxcnn.config.checks import type_name
from flaxcnn.config.experiment import GIVEN, Experiment, from_json, refuse_given, to_json, with_data
from flaxcnn.config.files import Expectation, ExperimentFile, PublishedRow, experiments, load_experiment
from flaxcnn.config.own_code import CODE_FIELDS, field_of, outside_names, with_names
from flaxcnn.config.sections import WEIGHTS, Checkpoint, Data, Logging, Mesh, Model, Task
from flaxcnn.config.training import Optimizer, Schedule, Training

__all__ = [
    "CODE_FIELDS",
    "GIVEN",
    "WEIGHTS",
    "Augmentation",
    "Checkpoint",
    "Data",
    "Expectation",
    "Experiment",
    "ExperimentFile",
    "Logging",
    "Mesh",
    "Model",
    "Optimizer",
    "PublishedRow",
    "Schedule",
    "Task",
    "Training",
    "experiments",
    "field_of",
    "from_json",
    "load_experiment",
    "outside_names",
    "refuse_given",
    "to_json",
    "type_name",
    "with_data",
    "with_names",
]
