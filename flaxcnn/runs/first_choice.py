"""What a run of a source alone trains: a model, a size and a recipe that suit most small sets of photographs.

It is where a user begins, not where they end: every value is said, and every option replaces it. On four small sets of
photographs (docs/data.md) the recipe is measured.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxcnn import config
from flaxcnn.config import WEIGHTS, Experiment, ExperimentFile
from flaxcnn.data import Dataset, load
from flaxcnn.data.sources.by_name import KINDS
from flaxcnn.data.targets import holds_boxes, is_classes
from flaxcnn.errors import printable
from flaxcnn.models import MODELS
from flaxcnn.runs.data_options import data_options
from flaxcnn.runs.named_recipes import DETECTION, SMALL, STEPS, Recipe, chosen_model, with_recipe
from flaxcnn.terminal import counter

_SIDE = 64  # pixels that larger images are fitted to: what `small_cnn` is for
_TRUNK = next(name for name, variant in MODELS.items() if variant.weights)  # of a detector
_DETECTED = 320  # pixels that images with boxes are fitted to
BOXES = ("boxes",)
"""Targets of annotated images that a detector learns (`data.target`)."""
_BATCH, _BATCH_OF_BOXES = 32, 16
_MOST_EPOCHS = 50
_ROWS = 20  # of the table


def is_source(name: str) -> bool:
    """Return whether what stands in place of a config is a source of data, such as "folder:photos"."""
    kind, colon, _ = name.partition(":")
    return kind in KINDS and (":" in KINDS[kind].form) == bool(colon)


def choose_experiment(
    source: str,
    section: config.Data,
    asked_model: config.Model,
    recipe: Recipe | None = None,
    asked_epochs: int | None = None,
) -> ExperimentFile:
    """Return an experiment that suits a source, with the names of the fields that were chosen.

    Args:
        source: as `flaxcnn.data.load` takes it.
        section: the options that the user gave for it; its own source is not used.
        asked_model: the options that the user gave for the model: a name and weights to begin with are heeded here.
        recipe: by which it is trained; None to fine-tune where there are weights, and else to train from nothing.
        asked_epochs: the user's number of epochs, on which some values depend; None to choose it.

    Raises:
        ConfigError, DataError: as `load`.
    """
    asked = section = dataclasses.replace(section, source=source)
    if section.target == BOXES:  # images are decoded once, to the size that is trained on
        section = _for_boxes(section)
    dataset = load(source, data_options(section), progress=counter("decoding {:,} of {:,} images"))
    task = task_for(dataset)
    detects = task.name == DETECTION
    recipe = recipe or ("scratch" if asked_model.init is None and not detects else "finetune")
    if detects:
        section = _for_boxes(section)
    asked_name = None if asked_model.name == config.Model().name else asked_model.name
    begun = chosen_model(config.Model(asked_name or (_TRUNK if detects else ""), init=asked_model.init), recipe)
    named = begun.name
    side = min(MODELS[named].size[:2]) if named != SMALL and named in MODELS else _SIDE
    if section.size is None and max(dataset.image_shape[:2]) > side and dataset.preparation:
        section = dataclasses.replace(section, size=(side,))
    if begun.init in WEIGHTS and section.channels is None and dataset.image_shape[2] == 1 and dataset.preparation:
        section = dataclasses.replace(section, channels="rgb")
    if begun.init in WEIGHTS and section.fit == config.Data().fit and dataset.preparation:
        section = dataclasses.replace(section, fit="imagenet")  # as these networks are tested
    smooth = dataset.image_shape[2] == 3  # a gray set may be of letters, of which a mirrored one is another
    batch = max(1, min(_BATCH_OF_BOXES if detects else _BATCH, len(dataset.train) // 4))
    epochs = asked_epochs or max(1, min(_MOST_EPOCHS, round(STEPS[recipe] * batch / len(dataset.train))))
    flip = 0.5 if smooth else 0.0
    augmentation = config.Augmentation(crop_padding=4, flip=flip)
    if recipe == "finetune" and task.name == "classification":  # a number or a label may belong to the whole image
        augmentation = config.Augmentation(resized_crop=0.35, flip=flip)
    if detects:
        colours: dict[str, Any] = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
        augmentation = config.Augmentation(scale=0.5, shift=min(section.size or (_DETECTED,)) / 8, flip=flip, **colours)
    experiment = Experiment(
        data=section,
        task=task,
        augmentation=augmentation,
        model=dataclasses.replace(begun, normalization="unit" if begun.init in WEIGHTS else "dataset"),
        training=config.Training(epochs=epochs, batch_size=batch),
        logging=config.Logging(every=max(1, epochs * (len(dataset.train) // batch) // _ROWS)),
    )
    experiment = with_recipe(experiment, recipe)
    name = Path(source.partition(":")[2] or source).stem or "photographs"
    given = Experiment(
        data=asked,
        model=config.Model(asked_name or config.Model().name, init=asked_model.init),
        training=config.Training(epochs=asked_epochs or config.Training().epochs),
    )
    return ExperimentFile(name, experiment, (), chosen=tuple(_differing(experiment, given)))


def _for_boxes(section: config.Data) -> config.Data:
    """Return options of data with boxes, what the user did not choose chosen: all of an image, in colour."""
    blank = config.Data()
    return dataclasses.replace(
        section,
        size=section.size or (_DETECTED,),
        channels=section.channels or "rgb",
        fit="letterbox" if section.fit == blank.fit else section.fit,
    )


def with_named_recipe(
    file: ExperimentFile, asked_model: config.Model, recipe: Recipe, asked_epochs: int | None = None
) -> ExperimentFile:
    """Return a config with a recipe's values, and the names of the fields that it chose.

    Args:
        file: the config.
        asked_model: the options that the user gave for the model.
        recipe: the recipe.
        asked_epochs: the user's number of epochs; None for the config's.

    Raises:
        ConfigError: no weights are known for the model that is to be fine-tuned.
    """
    before = file.experiment
    if asked_epochs is not None:
        before = dataclasses.replace(before, training=dataclasses.replace(before.training, epochs=asked_epochs))
    named = asked_model.name if asked_model.name != config.Model().name else before.model.name
    asked = dataclasses.replace(before.model, name=named, init=asked_model.init or before.model.init)
    model = chosen_model(asked, recipe)
    if model.init in WEIGHTS:
        model = dataclasses.replace(model, normalization="unit")
    experiment = with_recipe(dataclasses.replace(before, model=model), recipe)
    # What its authors expect holds for their values alone.
    return file._replace(experiment=experiment, published=(), expected=(), chosen=tuple(_differing(experiment, before)))


def task_for(dataset: Dataset) -> config.Task:
    """Return the task that a data set's targets are for."""
    targets = dataset.train.targets
    if holds_boxes(targets):
        return config.Task("detection")
    if isinstance(targets, dict):
        heads = tuple(f"{name}={_kind(array)}" for name, array in sorted(targets.items()))
        return config.Task("several", heads=heads)
    return config.Task(_kind(targets))


def _kind(array: Any) -> str:
    if is_classes(array):
        return "classification"
    return "multilabel" if array.dtype == bool else "regression"


def said(file: ExperimentFile, experiment: Experiment) -> tuple[str, ...]:
    """Return a line with the chosen values that no option replaced, as options; none where nothing was chosen.

    Args:
        file: as `choose_experiment` returns it, or of a config.
        experiment: what runs.
    """
    replaced = set(_differing(file.experiment, experiment))
    words = []
    for name in file.chosen:
        if name not in replaced:
            section, field = name.split(".")
            value = getattr(getattr(file.experiment, section), field)
            words.append(f"--{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}")
    return (f"chosen  {printable(' '.join(words))}",) if words else ()


def _differing(one: Experiment, other: Experiment) -> Iterator[str]:
    """Yield the fields in which two experiments differ, such as "model.name"."""
    for section in dataclasses.fields(Experiment):
        mine, theirs = getattr(one, section.name), getattr(other, section.name)
        for field in dataclasses.fields(mine):
            if getattr(mine, field.name) != getattr(theirs, field.name):
                yield f"{section.name}.{field.name}"
