"""The command `study`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, cast

from tyro.conf import Positional, arg

from flaxcnn.cli.computing import computing
from flaxcnn.cli.experiment import load_config
from flaxcnn.command_line import parse, unchecked
from flaxcnn.config import Data, Experiment
from flaxcnn.errors import ConfigError
from flaxcnn.studies import load_study_file


@dataclass(frozen=True)
class StudyOptions:
    """Compare several models on the same folds and seeds, with the same budget and the same small search.

    Run the same command again to continue a stopped or killed study; it comes to the same table.
    """

    study: Positional[str]
    """Name of a study of the library, or path of a .py file that binds `study`."""
    source: Positional[str | None] = None
    """Source of the data, such as folder:photos; None for the study's own. Short form of --data.source."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    folds: int | None = None
    """Number of folds, each of them the test split once; None for the study's."""
    seeds: tuple[int, ...] = ()
    """Seeds of the trainings; none for the study's."""
    out: str | None = None
    """Folder of the study. An unfinished study in it continues. None for runs/study-NAME."""


def study(arguments: Sequence[str]) -> int:
    """Compare several models on the same folds and seeds."""
    asked = [word for word in arguments if word not in ("-h", "--help")]
    if len(asked) < len(arguments) and not asked:
        parse(StudyOptions, arguments, program="flaxcnn study")
    first = parse(unchecked(StudyOptions), asked, program="flaxcnn study")
    file = load_config(load_study_file, first.study)
    default = cast(Any, StudyOptions)(study=first.study, experiment=file.study.base)
    options = parse(StudyOptions, arguments, program="flaxcnn study", default=default)
    base = _with_source(options, file.study.base)
    from flaxcnn.studies.planning import plan_of

    plan = plan_of(file, base, folds=options.folds, seeds=options.seeds)
    with computing():
        from flaxcnn.studies.conduct import conduct

        return conduct(plan, options.out, shlex.join(["flaxcnn", "study", *arguments]))


def _with_source(options: StudyOptions, own: Experiment) -> Experiment:
    """Return the experiment with the source that was named as a word.

    Raises:
        ConfigError: another option names one, too; or none is named, and the study has only options for one.
    """
    experiment = options.experiment
    if options.source is None:
        if experiment.data.source == own.data.source == Data().source and own.data != Data():
            fix = f"name them: flaxcnn study {options.study} folder:PHOTOS"
            raise ConfigError("this study has no data of its own", where=options.study, fix=fix)
        return experiment
    if experiment.data.source not in (Data().source, own.data.source, options.source):
        found = f"{options.source} and {experiment.data.source}"
        raise ConfigError("given twice", where="data.source", expected="one of them", found=found)
    return replace(experiment, data=replace(experiment.data, source=options.source))
