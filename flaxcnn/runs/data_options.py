"""The section `data` of an experiment as the options of its source."""

import dataclasses

from flaxcnn import config
from flaxcnn.data import Options


def data_options(section: config.Data) -> Options:
    """Return the options of a section's source."""
    return Options(**{field.name: getattr(section, field.name) for field in dataclasses.fields(Options)})
