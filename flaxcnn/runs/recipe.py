"""From an experiment to its optimizer, its schedule and its augmentations."""

from typing import Any

from flaxcnn import config
from flaxcnn.config import Experiment
from flaxcnn.errors import ConfigError
from flaxcnn.layers.augmentation import (
    Augmentation,
    AugMix,
    ColorJitter,
    CutMix,
    Cutout,
    Elastic,
    GaussianBlur,
    Mixing,
    MixUp,
    MixUpOrCutMix,
    Mosaic,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomGray,
    RandomResizedCrop,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomShift,
    TrivialAugment,
)
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.optimizer import RuntimeOptimizer, adam, adamw, lion, sgd
from flaxcnn.training.schedules import MOST_STEPS, SHORTEST_CYCLE, Schedule

_JITTER = ("brightness", "contrast", "saturation", "hue")  # of ColorJitter, in its order


def optimizer_of(experiment: Experiment, calendar: StepCalendar) -> RuntimeOptimizer:
    """Return an experiment's optimizer; its schedule spans all epochs, even if `steps` ends the run earlier."""
    chosen, course = experiment.optimizer, schedule_of(experiment, calendar)
    common: Any = {"clip_norm": chosen.clip_norm, "schedule": course}
    rate, decay = chosen.learning_rate, chosen.weight_decay
    if chosen.name == "adamw":
        return adamw(rate, chosen.b1, chosen.b2, chosen.eps, weight_decay=decay, **common)
    if chosen.name == "sgd":
        return sgd(rate, chosen.momentum, nesterov=chosen.nesterov, weight_decay=decay, **common)
    if chosen.name == "lion":
        return lion(rate, chosen.b1, chosen.b2, weight_decay=decay, **common)
    return adam(rate, chosen.b1, chosen.b2, chosen.eps, **common)


def schedule_of(experiment: Experiment, calendar: StepCalendar) -> Schedule:
    """Return an experiment's schedule, converted to a calendar's steps.

    Raises:
        ConfigError: the schedule, rounded to whole steps, does not fit into the run.
    """
    schedule, steps, held = experiment.schedule, calendar.steps_per_epoch, experiment.training.head_epochs
    total, warmup = (experiment.training.epochs - held) * steps, schedule.warmup_epochs * steps
    decay = schedule.decay_epochs * steps

    def require(holds: bool, what: str, name: str, expected: str, found: float) -> None:
        if not holds:
            shown = f"{found:,}" if isinstance(found, int) else f"{found:g}"
            raise ConfigError(what, where=name, expected=expected, found=shown)

    after = " after the head's" if held else ""
    within = f"less than all of the run's {total:,} steps{after}"
    if schedule.name != "constant":
        counted = f"epochs of at most {MOST_STEPS:,} steps in all, the most that are counted"
        require(total <= MOST_STEPS, f"too many for the schedule {schedule.name}", "training.epochs", counted, total)
    if schedule.name == "one_cycle":
        expected = f"epochs of at least {SHORTEST_CYCLE} steps in all, to rise and to fall"
        require(total >= SHORTEST_CYCLE, "too few for one_cycle", "training.epochs", expected, total)
    if schedule.name in ("cosine", "linear"):
        require(round(warmup) < total, "the warm-up takes the whole run", "schedule.warmup_epochs", within, warmup)
    if schedule.name == "step":
        expected = f"at most schedule.decay_epochs, {schedule.decay_epochs:g}"
        found = schedule.warmup_epochs
        require(found <= schedule.decay_epochs, "drops before it is warm", "schedule.warmup_epochs", expected, found)
        expected = f"a step or more, and {within}"
        require(0.5 < decay < total - 0.5, "no such drops", "schedule.decay_epochs", expected, decay)
    return Schedule(
        schedule.name,
        total_steps=total,
        warmup_steps=round(warmup),
        decay_steps=max(1, round(decay)),
        decay_rate=schedule.decay_rate,
        final=schedule.final,
        held_steps=held * steps,
    )


def augmentations_of(chosen: config.Augmentation) -> tuple[Augmentation, ...]:
    """Return a config's augmentations of single images, in the order of its fields."""
    jitter = ColorJitter(*(getattr(chosen, name) or None for name in _JITTER))
    every: dict[str, Augmentation] = {
        "resized_crop": RandomResizedCrop(chosen.resized_crop, chosen.resized_crop_aspect),
        "crop_padding": RandomCrop(chosen.crop_padding),
        "flip": RandomFlip(chosen.flip),
        "shift": RandomShift(chosen.shift),
        "rotate": RandomRotation(chosen.rotate),
        "scale": RandomScale(chosen.scale),
        "shear": RandomShear(chosen.shear),
        "elastic": Elastic(chosen.elastic, chosen.elastic_smoothness),
        "randaugment": RandAugment(chosen.randaugment, chosen.randaugment_magnitude),
        "trivialaugment": TrivialAugment(),
        "augmix": AugMix(chosen.augmix),
        "jitter": jitter,
        "gray": RandomGray(chosen.gray),
        "blur": GaussianBlur(chosen.blur, chosen.blur_sigma),
        "cutout": Cutout(chosen.cutout),
        "erase": RandomErasing(chosen.erase, chosen.erase_fill),
    }
    used = {name for name in every if getattr(chosen, name, False)}
    used |= {"jitter"} if any(getattr(chosen, name) for name in _JITTER) else set()
    return tuple(augmentation for name, augmentation in every.items() if name in used)


def mixing_of(chosen: config.Augmentation) -> Mixing | Mosaic | None:
    """Return how a config mixes images; None if it mixes none."""
    if chosen.mosaic:
        return Mosaic(chosen.mosaic)
    if chosen.mixup and chosen.cutmix:
        return MixUpOrCutMix(MixUp(chosen.mixup), CutMix(chosen.cutmix))
    if chosen.cutmix:
        return CutMix(chosen.cutmix)
    return MixUp(chosen.mixup) if chosen.mixup else None
