"""Study files: Python that binds `study`.

study = Study(entries={"small": {"model.name": "lenet5"}, "large": {"model.name": "resnet18_32px"}}, folds=5)
"""

from pathlib import Path
from typing import NamedTuple

from flaxcnn.config.files import bound_to, library_files, run_file
from flaxcnn.errors import ConfigError
from flaxcnn.studies.study import Study


class StudyFile(NamedTuple):
    """What a study file holds."""

    name: str  # the file's, without its ending
    study: Study
    question: str  # the first line of its docstring; "" for none
    path: Path


def studies() -> dict[str, Path]:
    """Return the study files that come with the library, by name."""
    return library_files("studies")


def load_study_file(name_or_path: str) -> StudyFile:
    """Read a study from a file of the library's, by its name, or of the user's, by its path.

    Raises:
        ConfigError: there is no such file, it fails to run, or it binds no `study`.
    """
    path, bound = run_file(name_or_path, studies())
    study = bound_to(bound, "study", Study, "study = Study(...)", path)
    if study is None:
        raise ConfigError("no study in this file", where=path, expected="study = Study(...)", found="nothing so called")
    question = next(iter((bound.get("__doc__") or "").strip().splitlines()), "")
    return StudyFile(path.stem, study, question, path)
