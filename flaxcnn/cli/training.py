"""Commands that train: `train`, `resume`, `reproduce` and `lr-find`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from flaxcnn.cli.computing import computing
from flaxcnn.cli.experiment import BatchSize, load_config, load_trained, parse_experiment, with_batch_size
from flaxcnn.cli.overrides import DataOverride, LoggingOverride, MeshOverride, ModelOverride, TaskOverride, named_again
from flaxcnn.command_line import parse
from flaxcnn.config import Experiment, load_experiment
from flaxcnn.processes import Processes

RecipeName = Literal["finetune", "scratch", "probe"] | None


@dataclass(frozen=True)
class TrainOptions:
    """Train an experiment and write a self-contained run folder.

    Without options, `flaxcnn train` runs the paper's experiment: its CNN on MNIST for one epoch.
    """

    config: Positional[str] = "paper_mnist"
    """Name of a config of the library, or path of a .py file; or a source of data, such as folder:photos, for which a
    model and a recipe are chosen and printed."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    batch_size: BatchSize = None
    """Short form of --training.batch_size; or auto, for the largest power of two that fits in the device's memory, or
    the batch size that the run in --out started with."""
    recipe: RecipeName = None
    """Values to begin with, which are printed; every option replaces them. finetune: pretrained weights, the head
    first, the first layers slowest. probe: pretrained weights, the head alone. scratch: everything from the start. None
    for the config's own; for a source of data, finetune where --model.init is given, and else scratch."""
    out: str | None = None
    """Folder of the run. If it holds the same run, training continues from its last checkpoint. None for the next free
    runs/CONFIG-NNN."""
    profile: str | None = None
    """FIRST:END, the steps to profile. The trace goes to RUN/profile, and the slowest operations are printed at the
    end."""
    processes: Processes = field(default_factory=Processes)


def train(arguments: Sequence[str], program: str = "flaxcnn train") -> int:
    """Train an experiment: the paper's CNN on MNIST by default."""
    started = time.perf_counter()
    file, options = parse_experiment(TrainOptions, arguments, program, load_trained)
    from flaxcnn.data.sources.mnist import load_ahead

    load_ahead(options.experiment.data.source)
    with computing(options.processes):
        from flaxcnn.runs.train import train

        experiment = with_batch_size(options.experiment, options.batch_size, options.out)
        return train(file, experiment, options.out, started=started, profile=options.profile)


@dataclass(frozen=True)
class ResumeOptions:
    """Resume a run that was stopped, killed or ran out of disk space, from its newest intact checkpoint."""

    run: Positional[str]
    """Folder of the run."""
    data: DataOverride = field(default_factory=DataOverride)
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)
    mesh: MeshOverride = field(default_factory=MeshOverride)
    logging: LoggingOverride = field(default_factory=LoggingOverride)
    processes: Processes = field(default_factory=Processes)


def resume(arguments: Sequence[str]) -> int:
    """Resume an interrupted run, bit for bit."""
    started = time.perf_counter()
    options = parse(ResumeOptions, arguments, program="flaxcnn resume")
    with computing(options.processes):
        from flaxcnn.runs.folder.run_folder import open_run_folder
        from flaxcnn.runs.train import resume

        folder, data, mesh = open_run_folder(options.run), options.data, options.mesh
        named = named_again(options.task, options.model, data)
        mlflow = options.logging.mlflow
        return resume(folder, data.source, data.dir, mesh.data, mesh.model, named=named, mlflow=mlflow, started=started)


@dataclass(frozen=True)
class ReproduceOptions:
    """Train an experiment with several seeds and compare the mean with the expected results."""

    config: Positional[str] = "paper_mnist"
    """Name of a config of the library, or path of a .py file."""
    seeds: int = 10
    """Number of runs, with the seeds 0, 1, 2, …"""
    out: str | None = None
    """Folder of the runs. Unfinished runs in it continue. None for runs/reproduce-CONFIG."""


def reproduce(arguments: Sequence[str]) -> int:
    """Train several seeds and compare the mean with the expected results."""
    options = parse(ReproduceOptions, arguments, program="flaxcnn reproduce")
    file = load_config(load_experiment, options.config)
    with computing():
        from flaxcnn.runs.tools.reproduce import reproduce

        return reproduce(file, options.seeds, options.out)


@dataclass(frozen=True)
class LrFindOptions:
    """Learning-rate range test: take one step at each of many increasing rates, plot the loss, suggest a rate.

    The test ignores the schedule; use the suggestion as the schedule's peak. It does not use the test images.
    """

    config: Positional[str] = "paper_mnist"
    """Name of a config of the library, or path of a .py file; or a source of data, such as folder:photos, for which a
    model and a recipe are chosen and printed."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    batch_size: BatchSize = None
    """Short form of --training.batch_size; or auto, for the largest power of two that fits in the device's memory."""
    recipe: RecipeName = None
    """As --recipe of train."""
    low: float = 1e-6
    """The lowest learning rate."""
    high: float = 10.0
    """The highest learning rate. The test stops earlier if the loss diverges."""
    steps: int = 200
    """Number of learning rates, evenly spaced on a logarithmic scale."""
    out: str = "lr_find.png"
    """Output file of the plot. The points go to a .csv file beside it."""


def lr_find(arguments: Sequence[str]) -> int:
    """Suggest a learning rate with a learning-rate range test."""
    file, options = parse_experiment(LrFindOptions, arguments, "flaxcnn lr-find", load_trained)
    with computing():
        from flaxcnn.runs.tools.lr_find import lr_find

        experiment = with_batch_size(options.experiment, options.batch_size)
        low, high, steps = options.low, options.high, options.steps
        return lr_find(file, experiment, options.config, low=low, high=high, steps=steps, out=options.out)
