"""A run's weights with another library's names: `flaxcnn export-weights`."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from flaxcnn.errors import ConfigError
from flaxcnn.models import require_library_model
from flaxcnn.models.weights.convert import to_theirs
from flaxcnn.models.weights.initial import OWN, layout_of, read_converted
from flaxcnn.models.weights.writing import WRITERS
from flaxcnn.runs.folder.record import read_config
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.folder.weights import WEIGHTS


def writer_for(path: Path) -> Callable[[Path, Mapping[str, np.ndarray]], None]:
    """Return what writes a file of its ending; raises ConfigError where nothing does."""
    if path.suffix not in WRITERS:
        raise ConfigError("in no known format", where=path, expected=f"a name that ends in {', '.join(WRITERS)}")
    return WRITERS[path.suffix]


def exported(folder: RunFolder, layout: str) -> tuple[str, dict[str, np.ndarray]]:
    """Return the name of a run's model, and its weights by the names of another library.

    Args:
        folder: of a run that ended.
        layout: the library's name.

    Raises:
        ConfigError: the model is not the library's, or has no such layout.
        DataError: the weights are missing, damaged or another model's.
    """
    name = read_config(folder, needs="model.").file.experiment.model.name
    require_library_model(name)
    names = layout_of(name, layout)
    return name, to_theirs(read_converted(folder.path / WEIGHTS, name, OWN).variables, names)
