"""The commands: each reads its options and calls one function. Nothing imports this module but the doors onto it.

JAX and everything that needs it is imported by the command that runs, so that help and mistakes answer at once.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from tyro.conf import Positional, arg

from flaxcnn import __version__
from flaxcnn.command_line import parse, unchecked
from flaxcnn.config import Experiment, ExperimentFile, load_experiment
from flaxcnn.errors import ConfigError, FlaxcnnError, nearest
from flaxcnn.processes import Processes
from flaxcnn.sweeps import SweepFile, load_sweep_file
from flaxcnn.sweeps.options import Execution
from flaxcnn.sweeps.schedulers import SCHEDULERS
from flaxcnn.sweeps.searchers import SEARCHERS

T = TypeVar("T")
File = TypeVar("File", ExperimentFile, SweepFile)
BatchSize = int | Literal["auto"] | None


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
    file, options = _parse_experiment(TrainOptions, arguments, program, _load_trained)
    with _computing(options.processes):
        from flaxcnn.runs.train import train

        experiment = _with_batch_size(options.experiment, options.batch_size, options.out)
        return train(file, experiment, options.out, started=started, profile=options.profile)


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
    file, options = _parse_experiment(LrFindOptions, arguments, "flaxcnn lr-find", _load_trained)
    with _computing():
        from flaxcnn.runs.lr_find import lr_find

        experiment = _with_batch_size(options.experiment, options.batch_size)
        low, high, steps = options.low, options.high, options.steps
        return lr_find(file, experiment, options.config, low=low, high=high, steps=steps, out=options.out)


@dataclass(frozen=True)
class SweepOptions:
    """Search for the best settings of an experiment: many trainings, few of them to the end.

    The same command goes on with a sweep that was stopped or killed; several of them, on several machines, share it.
    """

    config: Positional[str] = "mnist_lr"
    """Name of a sweep or config of the library, or path of a .py file: it binds `experiment`, and perhaps `sweep`."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    search: str | None = None
    """Name or path of the sweep file that binds `sweep`; None for the config itself."""
    batch_size: BatchSize = None
    """Short for --training.batch_size; or auto, for the largest power of two that the device's memory holds."""
    trials: int | None = None
    """How many trials; None for what the sweep file says, as for the three below."""
    searcher: Literal["grid", "random", "sobol", "tpe", "cmaes", "gp"] | None = None
    """What proposes the trials, with its defaults."""
    scheduler: Literal["none", "halving", "hyperband", "asha", "pbt"] | None = None
    """What says how far each is trained, with its defaults."""
    seed: int | None = None
    """Of the proposals; that of the trainings is --training.seed."""
    execution: Annotated[Execution, arg(name="")] = field(default_factory=Execution)


def sweep(arguments: Sequence[str]) -> int:
    """Search for the best settings of an experiment."""
    file, options = _parse_experiment(SweepOptions, arguments, "flaxcnn sweep", _load_searched)
    asked, name = file.sweep, file.name
    if options.search is not None:
        found = load_sweep_file(options.search)
        asked, name = found.sweep, f"{file.name}-{found.name}"
    if asked is None:
        where = options.search or options.config
        raise ConfigError("no sweep in this file", where=where, fix="name a file that binds `sweep` with --search")
    changes: dict[str, Any] = {"trials": options.trials, "seed": options.seed}
    for each, kinds in (("searcher", SEARCHERS), ("scheduler", SCHEDULERS)):
        chosen = getattr(options, each)
        changes[each] = None if chosen is None else kinds[chosen]()
    asked = replace(asked, **{key: value for key, value in changes.items() if value is not None})
    with _computing():
        from flaxcnn.sweeps.sweep import recorded_batch_size, sweep

        batch_size = options.batch_size
        if batch_size == "auto":  # a sweep goes on with the number that it began with
            batch_size = recorded_batch_size(options.execution.out, name) or batch_size
        return sweep(name, asked, _with_batch_size(options.experiment, batch_size), options.execution)


def _load_searched(name: str) -> tuple[SweepFile, Experiment]:
    file = load_sweep_file(name)
    if file.experiment is None:
        fix = f"bind one, or name a config and give this file as --search {name}"
        raise ConfigError("no experiment in this sweep file", where=name, fix=fix)
    return file, file.experiment


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
    file = load_experiment(options.config)
    with _computing():
        from flaxcnn.runs.reproduce import reproduce

        return reproduce(file, options.seeds, options.out)


@dataclass(frozen=True)
class CompareOptions:
    """Say whether two runs differ beyond chance on the same test images."""

    run_a: Positional[str]
    """Folder of a run that ended."""
    run_b: Positional[str]
    """Folder of another."""


def compare(arguments: Sequence[str]) -> int:
    """Say whether two runs differ beyond chance."""
    options = parse(CompareOptions, arguments, program="flaxcnn compare")
    from flaxcnn.evaluation.comparison import compare, describe
    from flaxcnn.evaluation.predictions import load_predictions
    from flaxcnn.runs.folder import open_run_folder
    from flaxcnn.runs.record import require_same_test_images

    names = (options.run_a, options.run_b)
    run_a, run_b = map(open_run_folder, names)
    require_same_test_images(run_a, run_b)
    a, b = (load_predictions(run.path / "predictions.npz") for run in (run_a, run_b))
    print("\n".join(describe(compare(a, b), *names)))
    return 0


@dataclass(frozen=True)
class DataPlace:
    """Where the run's data lie now, if they were moved; their digests are checked."""

    source: str | None = None
    """As --data.source of train; None for what the run recorded."""
    dir: str | None = None
    """As --data.dir of train; None for what the run recorded."""


@dataclass(frozen=True)
class MeshPlace:
    """The devices to go on with; on another mesh than before the bits may differ."""

    data: int | None = None
    """As --mesh.data of train; None for what the run recorded."""
    model: int | None = None
    """As --mesh.model of train; None for what the run recorded."""


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with a run that was stopped, killed or ran out of space, from its newest intact checkpoint."""

    run: Positional[str]
    """Folder of the run."""
    data: DataPlace = field(default_factory=DataPlace)
    mesh: MeshPlace = field(default_factory=MeshPlace)
    processes: Processes = field(default_factory=Processes)


def resume(arguments: Sequence[str]) -> int:
    """Go on with a run that was interrupted, to the same bits."""
    started = time.perf_counter()
    options = parse(ResumeOptions, arguments, program="flaxcnn resume")
    with _computing(options.processes):
        from flaxcnn.runs.folder import open_run_folder
        from flaxcnn.runs.train import resume

        folder, data, mesh = open_run_folder(options.run), options.data, options.mesh
        return resume(folder, data.source, data.dir, mesh.data, mesh.model, started=started)


@dataclass(frozen=True)
class ReplayOptions:
    """Repeat the step at which a run diverged, and say in which layer."""

    crash: Positional[str]
    """Folder that the run left: RUN/crash."""
    data: DataPlace = field(default_factory=DataPlace)


def replay(arguments: Sequence[str]) -> int:
    """Repeat the step at which a run diverged, and say in which layer."""
    options = parse(ReplayOptions, arguments, program="flaxcnn replay")
    with _computing():
        from flaxcnn.runs.crash import replay
        from flaxcnn.runs.folder import open_run_folder

        found = replay(open_run_folder(options.crash), options.data.source, options.data.dir)
    print(f"step         {found.step:,}, epoch {found.epoch}: loss {found.loss}")
    for kind, first in (("parameter", found.parameter), ("activation", found.activation), ("gradient", found.gradient)):
        print(f"{kind:12} {'all finite' if first is None else f'{first} is the first that is not finite'}")
    return 0


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate the saved weights of a run again, and compare with what its summary says."""

    run: Positional[str]
    """Folder of a run that ended."""
    data: DataPlace = field(default_factory=DataPlace)


def evaluate(arguments: Sequence[str]) -> int:
    """Repeat a run's final numbers from its saved weights."""
    options = parse(EvaluateOptions, arguments, program="flaxcnn evaluate")
    with _computing():
        from flaxcnn.runs.evaluate import evaluate_run
        from flaxcnn.runs.folder import open_run_folder

        now, recorded, metrics = evaluate_run(open_run_folder(options.run), options.data.source, options.data.dir)
    for name, value in now.items():
        same = "as in summary.json" if value == recorded[name] else f"summary.json says {recorded[name]}"
        print(f"{name:26} {value}  ({same})")
    print("\nof the test images, with 95 % bootstrap intervals")
    for name, (measured, (low, high)) in metrics.items():
        print(f"{name:26} {measured:.4f}  {low:.4f} to {high:.4f}")
    return 0 if now == recorded else 1


@dataclass(frozen=True)
class DataOptions:
    """Verify a data set, describe it, and draw a grid of its examples."""

    source: Positional[str] = "mnist"
    """mnist, idx:FOLDER or tfds:NAME."""
    dir: str | None = None
    """Folder of prepared TensorFlow data sets."""
    out: str = "data_grid.png"
    """Where the grid of examples goes."""
    duplicates: bool = True
    """Look for images that stand there more than once; the time grows as training images times test images."""


def data(arguments: Sequence[str]) -> int:
    """Verify a data set, describe it, and draw a grid of its examples."""
    options = parse(DataOptions, arguments, program="flaxcnn data")
    from flaxcnn.data import describe, describe_duplicates, draw_examples, find_duplicates, load
    from flaxcnn.files import cannot_write

    dataset = load(options.source, options.dir)
    print("\n".join(describe(dataset)))
    try:
        draw_examples(dataset, Path(options.out))
    except OSError as error:
        raise cannot_write(Path(options.out), error) from error
    print(f"examples  {options.out}")
    if options.duplicates:
        tests, trains = len(dataset.test), len(dataset.train)
        print(f"\ncomparing {tests:,} test images with {trains:,} training images", flush=True)
        print("\n".join(describe_duplicates(find_duplicates(dataset), dataset.class_names)))
    return 0


@dataclass(frozen=True)
class ContractOptions:
    """Print, write, update or check the shape contract of a model: of the library's, or of your own Flax module."""

    model: Positional[str] = "paper_cnn"
    """A model of the library, FILE.py:NAME, or package.module:NAME."""
    input: str | None = None
    """HEIGHT,WIDTH,CHANNELS of one image; None for what the contract says."""
    write: str | None = None
    """Write the first contract into this new file."""
    update: str | None = None
    """Rewrite this contract, and print the lines that moved."""
    check: str | None = None
    """Check the model against this contract."""


def contract(arguments: Sequence[str]) -> int:
    """Print, write, update or check a model's shape contract."""
    options = parse(ContractOptions, arguments, program="flaxcnn contract")
    from flaxcnn.contracts import Contract, check_contract, commands
    from flaxcnn.models import MODELS, contract_path, create

    asked = [name for name in ("write", "update", "check") if getattr(options, name) is not None]
    if len(asked) > 1:
        raise ConfigError("only one at a time", where=f"--{asked[0]} and --{asked[1]}", fix="leave one out")
    known = options.model in MODELS or ":" not in options.model
    module = create(options.model, classes=10) if known else commands.find_module(options.model)
    shape = None if options.input is None else commands.parse_input_shape(options.input)
    if options.update is not None:
        moved = commands.update(module, options.update, shape)
        print("\n".join(moved) if moved else f"{options.update}: nothing moved")
        return 0
    if options.check is not None:
        check_contract(module, Contract.load(options.check))
        print(f"{options.check}: kept")
        return 0
    if known and shape is None:
        declared = Contract.load(contract_path(options.model))
        check_contract(module, declared)
        shape = declared.input_shape
    if shape is None:
        raise ConfigError("shape of an image missing", where="--input", expected="HEIGHT,WIDTH,CHANNELS")
    if options.write is not None:
        commands.write(module, shape, options.write)
        print(f"contract  {options.write}")
    else:
        print(commands.show(module, shape))
    return 0


def _load_trained(name: str) -> tuple[ExperimentFile, Experiment]:
    file = load_experiment(name)
    return file, file.experiment


def _parse_experiment(
    kind: type[T], arguments: Sequence[str], program: str, load: Callable[[str], tuple[File, Experiment]]
) -> tuple[File, T]:
    """Return the config file that the arguments name, wherever among them, and the options over what stands in it."""
    asked = [word for word in arguments if word not in ("-h", "--help")]
    first = parse(unchecked(kind), asked, program=program)
    (file, experiment), words, batch_size = load(first.config), list(arguments), first.batch_size
    if batch_size is not None:
        training, spelt = first.experiment.training, "--training.batch_size"
        given = any(word.partition("=")[0].replace("-", "_") == spelt.replace("-", "_") for word in asked)
        if given and training.batch_size != batch_size:
            found = f"{training.batch_size} and {batch_size}"
            raise ConfigError("given twice", where=f"{spelt} and --batch_size", expected="one of them", found=found)
        if batch_size == "auto":  # until it is found, a number that passes: its parts divide it
            batch_size = training.accumulate * experiment.training.accumulate
        words += [] if given else [spelt, str(batch_size)]
    default = cast(Any, kind)(config=first.config, experiment=experiment)
    return file, parse(kind, words, program=program, default=default)


def _with_batch_size(experiment: Experiment, asked: BatchSize, out: str | None = None) -> Experiment:
    """Return the experiment with the batch size that is asked for, or is found where `auto` asks for one."""
    if asked != "auto":
        size = experiment.training.batch_size if asked is None else asked
        return replace(experiment, training=replace(experiment.training, batch_size=size))
    from flaxcnn.runs.batch_size import auto_batch_size

    training = replace(experiment.training, batch_size=auto_batch_size(experiment, out))
    return replace(experiment, training=training)


@contextmanager
def _computing(options: Processes | None = None) -> Iterator[None]:
    """While entered, this process is one of those that compute together, and keeps what it compiles for later ones."""
    from flaxcnn import processes
    from flaxcnn.compilation_cache import use_compilation_cache

    use_compilation_cache()
    processes.join(Processes() if options is None else options)
    with processes.guarded():
        yield
    processes.leave()


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "compare": compare,
    "sweep": sweep,
    "lr-find": lr_find,
    "data": data,
    "contract": contract,
    "replay": replay,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after a mistake of the user's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_help())
            return 0
        if words[0] == "--version":
            print(f"flaxcnn {__version__}")
            return 0
        if words[0].startswith("-"):
            raise ConfigError(
                "unknown option", where=words[0], fix=nearest(words[0], ["--help", "--version", "--debug"])
            )
        if words[0] not in COMMANDS:
            raise ConfigError("unknown command", where=words[0], fix=nearest(words[0], COMMANDS))
        return COMMANDS[words[0]](words[1:])
    except FlaxcnnError as error:
        if debug:
            traceback.print_exc()
        print(f"flaxcnn: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `flaxcnn data mnist | head`: nobody reads on, which is no fault
        sys.stderr.close()
        return 0


def _help() -> str:
    lines = [f"  {name:10} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: flaxcnn COMMAND [OPTIONS]",
            "",
            "Train, check and reproduce image-recognition CNNs with pure functions in JAX and Flax.",
            "",
            *lines,
            "",
            "flaxcnn COMMAND --help shows a command's options; --debug shows the traceback of an error.",
        ]
    )
