"""Sections of an experiment, dataclasses that check their fields: what is learned, of what, and what is kept of it."""

from dataclasses import dataclass
from typing import Literal

from flaxcnn.config.checks import (
    check_types,
    require,
    require_address,
    require_below_1,
    require_float32,
    require_own,
)
from flaxcnn.errors import ConfigError
from flaxcnn.files import require_path

WEIGHTS = ("imagenet",)
"""Names of pretrained weights; `./imagenet` is a file."""
_MOST_SIDE = 8192  # pixels that an image is fitted to
_MOST = 2**31 - 1  # the largest int32: pixel positions are int32


@dataclass(frozen=True)
class Data:
    """Where the images come from."""

    source: str = "mnist"
    """`mnist` (bundled), `folder:DIR` (image files, a folder for each class), `csv:FILE` (a table of image files) and
    others (docs/data.md), or your own: FILE.py:NAME of a flaxcnn.data.Dataset, or of a function that returns one.
    --data is the short form."""
    dir: str | None = None
    """Folder in which the paths of a table or of annotations begin, None for the file's own; tfds: the folder of
    prepared data sets, None for TFDS's default."""
    size: tuple[int, ...] | None = None
    """Image files: height and width that they are fitted to, or one number for both. None to choose: the images' own
    size if they have one, else a square about as large as most."""
    fit: Literal["crop", "letterbox", "pad", "stretch", "imagenet"] = "crop"
    """Image files: how an image of another shape is fitted: cropped in the middle, scaled and padded (letterbox),
    padded and never enlarged (pad), or stretched. imagenet: cropped to the middle 7/8 of what crop keeps, as networks
    are tested on ImageNet: 256 pixels to 224."""
    channels: Literal["gray", "rgb"] | None = None
    """Image files: decode to gray or RGB; None for gray where all images are gray."""
    target: tuple[str, ...] = ()
    """Tables: the columns to learn, such as `species` or `species area`. Annotations: `labels`, `boxes`, `counts` of
    each class, or `count` of all objects. () for the default."""
    group: str | None = None
    """Tables: the column of what belongs together, such as a person or a plant; no group is divided between splits."""
    group_size: int = 1
    """Tables: successive values of the group column that form one group: of each class, its examples in the order of
    that column's numbers, in blocks of this many examples. 1 for a group of each value."""
    class_level: int = 1
    """Folders: how many levels of folders make a class's name."""
    frames: float = 1.0
    """Videos: frames a second that become images."""
    test: float = 0.2
    """Fraction of each class drawn for the test split, by the files' content, where the source has no test split."""
    folds: int | None = None
    """Divide the examples into this many folds, 2 to 1,000, by the files' content: stratified by class, whole groups
    each. One fold is the test split. None for `test`."""
    fold: int = 0
    """The fold that is the test split, 0 to folds - 1."""
    repeat: int = 0
    """Which repetition of the folds; each divides the same data in another way."""
    validation: float = 0.0
    """Fraction of the training images held out for validation, chosen by a hash of their content; 0 for none."""
    on_bad: Literal["error", "skip"] = "error"
    """Image files that cannot be decoded, are missing or lie outside: an error that lists them, or skip and count."""
    cache: bool = True
    """Image files: keep them decoded on disk, so that later runs and epochs read arrays (`flaxcnn cache`)."""
    device_memory: int | None = None
    """MiB of each device's memory that the training images may use. Larger data sets are streamed to the device batch
    by batch while it computes. None for a quarter of the device's memory."""
    workers: int = 2
    """Processes that read and decode streamed images, at most 1024; 0 to do it in the training process."""

    def __post_init__(self) -> None:
        check_types("data", self)
        require_path(self.source, "data.source")
        if self.dir is not None:
            require_path(self.dir, "data.dir")
        require(0 <= self.validation < 1, "data.validation", "0 <= fraction < 1", self.validation)
        require(0 < self.test < 1, "data.test", "0 < fraction < 1", self.test)
        require(self.folds is None or 2 <= self.folds <= 1000, "data.folds", "2 to 1,000", self.folds)
        if self.folds is None:
            for name in ("fold", "repeat"):
                if getattr(self, name):
                    raise ConfigError("not without data.folds", where=f"data.{name}", found=getattr(self, name))
        else:
            require(0 <= self.fold < self.folds, "data.fold", f"0 to {self.folds - 1:,}", self.fold)
            require(0 <= self.repeat <= _MOST, "data.repeat", f"0 to {_MOST:,}", self.repeat)
            if self.test != type(self).test:
                fix = "leave out one of the two"
                raise ConfigError("not with data.folds: a fold is the test split", where="data.test", fix=fix)
        require(1 <= self.group_size <= _MOST, "data.group_size", f"1 to {_MOST:,}", self.group_size)
        if self.group is None and self.group_size > 1:
            fix = "name the column: --data.group NAME"
            raise ConfigError("not without data.group", where="data.group_size", found=self.group_size, fix=fix)
        require(0 < self.frames <= 1000, "data.frames", "0 < frames a second <= 1,000", self.frames)
        require(1 <= self.class_level <= 32, "data.class_level", "1 to 32", self.class_level)
        if self.size is not None:
            sound = len(self.size) in (1, 2) and all(1 <= side <= _MOST_SIDE for side in self.size)
            require(sound, "data.size", f"one number or two, each 1 to {_MOST_SIDE:,}", self.size)
        memory = self.device_memory
        require(memory is None or memory >= 0, "data.device_memory", "at least 0", memory)
        require(0 <= self.workers <= 1024, "data.workers", "0 to 1024", self.workers)
        for name in ("source", "dir"):
            if "\0" in (getattr(self, name) or ""):
                raise ConfigError("a path cannot hold a null byte", where=f"data.{name}", found=getattr(self, name))


def _require_names(names: tuple[str, ...], where: str) -> None:
    for name in names:
        require(bool(name.strip()), where, "names of parts", repr(name))


_TASK_FIELDS = {  # the fields that only one task uses
    "detection": ("suppression", "overlap"),
    "regression": ("loss", "huber_delta"),
    "several": ("heads",),
}


@dataclass(frozen=True)
class Task:
    """What the model learns to predict from an image."""

    name: str = "classification"
    """classification, multilabel, regression or several; or your own: FILE.py:NAME of a flaxcnn.tasks.Task.
    --task is the short form."""
    loss: Literal["squared", "absolute", "huber"] = "squared"
    """regression: the loss, computed on standardised targets."""
    huber_delta: float = 1.0
    """regression: the error, in standard deviations, above which the Huber loss is linear."""
    heads: tuple[str, ...] = ()
    """several: each target's name and task, with a loss weight if it is not 1:
    `species=classification area=regression:0.5`."""
    suppression: Literal["class", "any", "soft"] = "class"
    """detection: what becomes of a box that a surer one overlaps. class, any: it is taken away where both are of one
    class, or in any case. soft: it becomes less sure the more they overlap, where both are of one class (Soft-NMS)."""
    overlap: float = 0.6
    """detection: the greatest overlap, intersection over union, of two boxes that are both found."""

    def __post_init__(self) -> None:
        check_types("task", self)
        require(0 < self.overlap < 1, "task.overlap", "0 < overlap < 1", self.overlap)
        require_float32(self.huber_delta, "task.huber_delta")
        require_own(self, "task", _TASK_FIELDS)


@dataclass(frozen=True)
class Model:
    """The model to train. The task and the data determine its number of outputs."""

    name: str = "paper_cnn"
    """A model of the library, or your own: FILE.py:NAME of a Flax module, Linen or NNX. --model is the short form."""
    dropout: float | None = None
    """Dropout rate; None for the model's default. Changing a rate, also to or from 0, does not recompile."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the layers' computations. Parameters, outputs and loss are always float32."""
    init: str | None = None
    """Weights to begin with: `imagenet` where an installed package carries them (`flaxcnn models`), or a file: of
    `flaxcnn import-weights`, of another library (safetensors, .pth, .weights.h5, .npz), or the folder of a run. Where
    the number of outputs differs, the head is new. None to draw all weights."""
    normalization: Literal["unit", "dataset", "imagenet"] = "unit"
    """Pixel normalisation. unit: divide by 255. dataset, imagenet: also standardise each channel with the mean and
    standard deviation of the training images or of ImageNet, which are saved with the weights."""
    remat: bool = False
    """Compute the model's blocks again in the backward pass, instead of keeping what is inside: less memory, more time.
    The numbers are equal up to rounding."""
    tta: Literal["none", "flip", "ten"] = "none"
    """Test-time augmentation: evaluation takes the mean of the outputs over views of each image. flip: also mirrored.
    ten: the middle and four corners, also mirrored. Training does not change."""
    freeze: tuple[str, ...] = ()
    """Parts that are not trained and compute as in evaluation: `trunk`, all but the head; a stage with all before it,
    such as `stage3`; a layer; or a pattern of parameters, such as `'*/bias'`. () to train everything."""

    def __post_init__(self) -> None:
        check_types("model", self)
        if self.init is not None:
            require_path(self.init, "model.init")
        _require_names(self.freeze, "model.freeze")
        if self.dropout is not None:
            require_below_1(self.dropout, "model.dropout", "rate")
        if self.init in WEIGHTS and self.normalization != "unit":
            fix = "leave out --model.normalization"
            raise ConfigError("these weights bring their own", where="model.normalization", expected="unit", fix=fix)


@dataclass(frozen=True)
class Logging:
    """What is measured and logged during training."""

    every: int = 50
    """Steps between logged rows. Step 1 is always logged."""
    test_examples: int = 2000
    """Number of test images, from the first, to evaluate at each logged row; 0 for none. The end evaluates all."""
    tensorboard: bool = False
    """Also write TensorBoard event files (needs the extra `tensorboard`)."""
    csv: bool = False
    """Also write the rows as a table, `metrics.csv`."""
    mlflow: str | None = None
    """Also send the run to an MLflow server: its address, such as http://127.0.0.1:5000. None for none."""

    def __post_init__(self) -> None:
        check_types("logging", self)
        require(self.every >= 1, "logging.every", "at least 1", self.every)
        require(self.test_examples >= 0, "logging.test_examples", "at least 0", self.test_examples)
        if self.mlflow is not None:
            require_address(self.mlflow, "logging.mlflow")


@dataclass(frozen=True)
class Mesh:
    """The devices that train together. The mesh changes results by rounding only."""

    data: int | None = None
    """Data parallelism: devices that share each batch. None for as many as are available and divide it evenly."""
    model: int = 1
    """Model parallelism: devices that share the output features of wide layers."""

    def __post_init__(self) -> None:
        check_types("mesh", self)
        require(self.data is None or self.data >= 1, "mesh.data", "at least 1", self.data)
        require(self.model >= 1, "mesh.model", "at least 1", self.model)


@dataclass(frozen=True)
class Checkpoint:
    """When to save the full training state. A run also saves at its end and when a signal stops it."""

    every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """Number of newest checkpoints to keep."""
    keep_best: str | None = None
    """Also save at each logged row that improves this metric, and keep the best checkpoint: train_loss,
    validation_loss, or validation_ plus a metric that the task logs, such as validation_accuracy."""
    final: Literal["last", "best"] = "last"
    """The run's final weights: of the last step, or of the best checkpoint."""

    def __post_init__(self) -> None:
        check_types("checkpoint", self)
        require(self.every >= 1, "checkpoint.every", "at least 1", self.every)
        require(self.keep >= 1, "checkpoint.keep", "at least 1", self.keep)
        best = self.keep_best
        known = best is None or best == "train_loss" or best.startswith("validation_")
        require(known, "checkpoint.keep_best", "train_loss, or validation_ and the name of a logged metric", best)
        if self.final == "best" and self.keep_best is None:
            raise ConfigError("missing", where="checkpoint.keep_best", expected="a metric, because final is 'best'")
