"""Whether an experiment's options go with its task, its model's outputs and its images."""

from flaxcnn.config import Experiment
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.tasks import Task, require_used


def require_supported(task: Task, experiment: Experiment) -> None:
    """Raise ConfigError if an experiment uses metrics or options that its task does not support."""
    training = experiment.training
    require_used(task, "label_smoothing", training.label_smoothing > 0, "training.label_smoothing")
    require_used(task, "class_weights", training.class_weights is not None, "training.class_weights")
    require_used(task, "sampling", training.sampling == "balanced", "training.sampling")
    require_used(task, "focal_gamma", training.focal_gamma > 0, "training.focal_gamma")
    for name in ("mixup", "cutmix"):
        require_used(task, "mixup", getattr(experiment.augmentation, name) > 0, f"augmentation.{name}")
    require_used(task, "mosaic", experiment.augmentation.mosaic > 0, "augmentation.mosaic")
    if task.moves and experiment.augmentation.augmix:
        what = f"it mixes images that are moved apart, and the targets of {task.name} move with the pixels"
        raise ConfigError(what, where="augmentation.augmix", expected=0, found=experiment.augmentation.augmix)
    if task.detects and experiment.model.tta != "none":
        what = f"the views of an image have other boxes, of which {task.name} has no mean"
        raise ConfigError(what, where="model.tta", expected="none", found=experiment.model.tta)
    best = experiment.checkpoint.keep_best
    known = ["train_loss", "validation_loss", *(f"validation_{name}" for name in task.logged)]
    if best is not None and best not in known:
        raise ConfigError(
            f"not measured by the task {task.name}",
            where="checkpoint.keep_best",
            expected=", ".join(known),
            found=best,
            fix=nearest(best, known),
        )


def require_sizes(experiment: Experiment, outputs: int, image_shape: tuple[int, int, int]) -> None:
    """Raise ConfigError where class weights do not fit the outputs, or an augmentation the images."""
    weights = experiment.training.class_weights
    if isinstance(weights, tuple) and len(weights) != outputs:
        raise ConfigError(
            "not one number for each class",
            where="training.class_weights",
            expected=f"{outputs} numbers",
            found=len(weights),
        )
    side = max(image_shape[:2])
    for name in ("crop_padding", "cutout"):  # more changes nothing, and padding takes memory
        asked = getattr(experiment.augmentation, name)
        if asked > side:
            expected = f"at most the images' longer side, {side}"
            raise ConfigError("out of range", where=f"augmentation.{name}", expected=expected, found=asked)
