"""Commands that train: `train`, `resume`, `reproduce` and `lr-find`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from flaxcnn.cli.computing import computing
from flaxcnn.cli.experiment import BatchSize, load_config, load_trained, parse_experiment, with_batch_size
from flaxcnn.cli.overrides import DataOverride, MeshOverride, ModelOverride, TaskOverride, named_again
from flaxcnn.command_line import parse
from flaxcnn.config import Experiment, load_experiment
from flaxcnn.processes import Processes


@dataclass(frozen=True)
class TrainOptions:
    """Train an experiment and leave a folder that explains itself.

    `flaxcnn train` alone is the paper's run: its CNN on MNIST for one epoch.
    """

    config: Positional[str] = "paper_mnist"
    """Name of a config of the library, or path of a .py file."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    batch_size: BatchSize = None
    """Short for --training.batch_size; or auto, for the largest power of two that the device's memory holds, or what
    the run in --out began with."""
    out: str | None = None
    """Folder of the run; that of the same run goes on where it stood. None for the next runs/CONFIG-NNN."""
    profile: str | None = None
    """FIRST:END, steps to trace into RUN/profile; what took longest in them is printed at the end."""
    processes: Processes = field(default_factory=Processes)


def train(arguments: Sequence[str], program: str = "flaxcnn train") -> int:
    """Train an experiment: the paper's CNN on MNIST by default."""
    started = time.perf_counter()
    file, options = parse_experiment(TrainOptions, arguments, program, load_trained)
    with computing(options.processes):
        from flaxcnn.runs.train import train

        experiment = with_batch_size(options.experiment, options.batch_size, options.out)
        return train(file, experiment, options.out, started=started, profile=options.profile)


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with a run that was stopped, killed or ran out of space, from its newest intact checkpoint."""

    run: Positional[str]
    """Folder of the run."""
    data: DataOverride = field(default_factory=DataOverride)
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)
    mesh: MeshOverride = field(default_factory=MeshOverride)
    processes: Processes = field(default_factory=Processes)


def resume(arguments: Sequence[str]) -> int:
    """Go on with a run that was interrupted, to the same bits."""
    started = time.perf_counter()
    options = parse(ResumeOptions, arguments, program="flaxcnn resume")
    with computing(options.processes):
        from flaxcnn.runs.folder.run_folder import open_run_folder
        from flaxcnn.runs.train import resume

        folder, data, mesh = open_run_folder(options.run), options.data, options.mesh
        named = named_again(options.task, options.model, data)
        return resume(folder, data.source, data.dir, mesh.data, mesh.model, named=named, started=started)


@dataclass(frozen=True)
class ReproduceOptions:
    """Train an experiment with several seeds, and set its numbers beside what is expected of them."""

    config: Positional[str] = "paper_mnist"
    """Name of a config of the library, or path of a .py file."""
    seeds: int = 10
    """How many runs, with the seeds 0, 1, 2, …"""
    out: str | None = None
    """Folder of the runs; what is half done in it goes on. None for runs/reproduce-CONFIG."""


def reproduce(arguments: Sequence[str]) -> int:
    """Train several seeds, and compare their mean with what is expected."""
    options = parse(ReproduceOptions, arguments, program="flaxcnn reproduce")
    file = load_config(load_experiment, options.config)
    with computing():
        from flaxcnn.runs.tools.reproduce import reproduce

        return reproduce(file, options.seeds, options.out)


@dataclass(frozen=True)
class LrFindOptions:
    """Make one step at each of many rising learning rates, draw the losses, and suggest a learning rate.

    No schedule moves the rate meanwhile; what is suggested is its peak. The test images are not looked at.
    """

    config: Positional[str] = "paper_mnist"
    """Name of a config of the library, or path of a .py file."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    batch_size: BatchSize = None
    """Short for --training.batch_size; or auto, for the largest power of two that the device's memory holds."""
    low: float = 1e-6
    """The first learning rate."""
    high: float = 10.0
    """The last one; the test ends sooner where the loss grows out of bounds."""
    steps: int = 200
    """How many rates, from one to the next by the same factor."""
    out: str = "lr_find.png"
    """Where the picture goes, and beside it the points as .csv."""


def lr_find(arguments: Sequence[str]) -> int:
    """Find a learning rate by one step at each of many."""
    file, options = parse_experiment(LrFindOptions, arguments, "flaxcnn lr-find", load_trained)
    with computing():
        from flaxcnn.runs.tools.lr_find import lr_find

        experiment = with_batch_size(options.experiment, options.batch_size)
        low, high, steps = options.low, options.high, options.steps
        return lr_find(file, experiment, options.config, low=low, high=high, steps=steps, out=options.out)
