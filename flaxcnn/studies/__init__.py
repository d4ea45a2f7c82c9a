"""Studies: several models compared on the same folds and seeds, with the same budget and the same small search.

A study file (`configs/studies/*.py`) binds `study` to a `Study`. Run it with `flaxcnn study FILE` (docs/studies.md).
"""

from flaxcnn.studies.files import StudyFile, load_study_file, studies
from flaxcnn.studies.study import Probe, Study

__all__ = ["Probe", "Study", "StudyFile", "load_study_file", "studies"]
