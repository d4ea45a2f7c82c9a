"""Load a trained model: of a run's folder, or of a model file."""

from pathlib import Path

from flaxcnn.config import Experiment
from flaxcnn.errors import RunFolderError
from flaxcnn.evaluation.predictions import VALIDATION, load_predictions
from flaxcnn.files import user_path
from flaxcnn.prediction.model_file import SUFFIX, read_model_file
from flaxcnn.prediction.trained import OF_MODELS, Trained, built
from flaxcnn.runs.evaluate import variables_of
from flaxcnn.runs.familiar import load_familiarity
from flaxcnn.runs.folder.form import FORM, ModelForm, form_of, read_form
from flaxcnn.runs.folder.named import NOTHING, Named
from flaxcnn.runs.folder.record import read_config
from flaxcnn.runs.folder.run_folder import RunFolder, open_run_folder
from flaxcnn.runs.folder.weights import WEIGHTS
from flaxcnn.runs.given import load as load_data
from flaxcnn.terminal import command


def load(name: str | Path, named: Named = NOTHING) -> Trained:
    """Return the model of a finished run, or of a model file that `flaxcnn export` wrote.

    A model file is verified first: its digest, its contract, and the outputs that it stores, computed here again.

    Args:
        name: the run's folder, or the file.
        named: the model's own code, by field, named again.

    Raises:
        RunFolderError, DataError: the run did not end, or the folder or file is damaged.
        ConfigError, ContractError: the weights are another model's, or own code is not named.
    """
    path = user_path(str(name), "the model")
    return (
        read_model_file(path, named)
        if path.is_file() or path.suffix == SUFFIX
        else of_run(open_run_folder(str(name)), named)
    )


def of_run(folder: RunFolder, named: Named = NOTHING) -> Trained:
    """Return the model of a finished run; raises as `load`."""
    experiment = read_config(folder, named, OF_MODELS).file.experiment
    if not (folder.path / WEIGHTS).exists():
        fix = f"resume it first: {command('resume', folder.path)}"
        raise RunFolderError("this run has no weights yet", where=folder.path, expected="a finished run", fix=fix)
    form, kept = _form(folder, experiment), folder.path / VALIDATION
    return built(
        experiment,
        form,
        folder.path / FORM,
        lambda model, outputs, constants: variables_of(folder, model, form.image_shape, outputs, constants),
        load_predictions(kept) if kept.exists() else None,
        load_familiarity(folder),
    )


def _form(folder: RunFolder, experiment: Experiment) -> ModelForm:
    """Return what the model takes and answers; for a run of an older version, from its data."""
    return read_form(folder) if (folder.path / FORM).exists() else form_of(load_data(experiment).dataset)
