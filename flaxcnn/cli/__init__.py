"""The commands: each parses its options and calls one function. Only the entry points import this package.

Each command imports JAX, and everything that needs JAX, only when it runs, so help and error messages appear at once.
"""

import errno
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flaxcnn import __version__, terminal
from flaxcnn.cli.cache import CacheOptions, cache
from flaxcnn.cli.completion import CompletionOptions, script_for, words_of
from flaxcnn.cli.contracts import ContractOptions, contract
from flaxcnn.cli.datasets import DataOptions, data
from flaxcnn.cli.explaining import ExplainOptions, explain
from flaxcnn.cli.exporting import ExportModelOptions, export_model
from flaxcnn.cli.listing import RunsOptions, list_runs
from flaxcnn.cli.models import ModelsOptions, models
from flaxcnn.cli.predicting import PredictOptions, predict
from flaxcnn.cli.probing import ProbeOptions, probe
from flaxcnn.cli.reporting import ReportOptions, report
from flaxcnn.cli.runs import CompareOptions, EvaluateOptions, ReplayOptions, compare, evaluate, replay
from flaxcnn.cli.serving import ServeOptions, serve
from flaxcnn.cli.studies import StudyOptions, study
from flaxcnn.cli.sweeps import SweepOptions, sweep
from flaxcnn.cli.training import (
    LrFindOptions,
    ReproduceOptions,
    ResumeOptions,
    TrainOptions,
    lr_find,
    reproduce,
    resume,
    train,
)
from flaxcnn.cli.weights import ExportOptions, ImportOptions, export_weights, import_weights
from flaxcnn.command_line import parse, unknown_option
from flaxcnn.errors import ConfigError, FlaxcnnError, nearest


def completion(arguments: Sequence[str]) -> int:
    """Print a shell-completion script for these commands."""
    shell = parse(CompletionOptions, arguments, program="flaxcnn completion").shell
    words = {name: words_of(command.summary, command.options) for name, command in COMMANDS.items()}
    print(script_for(shell, words))
    return 0


class Command(NamedTuple):
    """A command with its help text, which does not depend on docstrings (`PYTHONOPTIMIZE=2` strips them)."""

    run: Callable[[Sequence[str]], int]
    options: type
    summary: str
    elsewhere: str = "use {}"  # how to use another folder, for an error's fix
    keeps: bool = False  # whether a folder keeps its results, so that lost output is only a warning


_OUT = "name {} with --out"
_COPY = "copy the run to {} and resume the copy"
COMMANDS = {
    "train": Command(train, TrainOptions, "Train an experiment: the paper's CNN on MNIST by default.", _OUT, True),
    "resume": Command(resume, ResumeOptions, "Resume an interrupted run, bit for bit.", _COPY, True),
    "evaluate": Command(evaluate, EvaluateOptions, "Evaluate a run's saved weights and check its recorded results."),
    "predict": Command(predict, PredictOptions, "Say what is in images, with a finished run's model."),
    "explain": Command(explain, ExplainOptions, "Show what a finished run's answers rest on, as pictures.", _OUT, True),
    "report": Command(report, ReportOptions, "Write one page about a run, or about several beside each other.", _OUT),
    "serve": Command(serve, ServeOptions, "Answer for images over HTTP, with a finished run's model."),
    "export": Command(
        export_model, ExportModelOptions, "Write a finished run's model into one file that checks itself."
    ),
    "runs": Command(list_runs, RunsOptions, "List runs, sweeps and studies with their numbers, or remove some."),
    "reproduce": Command(
        reproduce, ReproduceOptions, "Train several seeds and compare the mean with the expected results.", _OUT, True
    ),
    "compare": Command(compare, CompareOptions, "Test whether two runs differ significantly."),
    "sweep": Command(sweep, SweepOptions, "Search for an experiment's best hyperparameters.", _OUT, True),
    "study": Command(study, StudyOptions, "Compare several models on the same folds and seeds, fairly.", _OUT, True),
    "probe": Command(probe, ProbeOptions, "Measure how well a network's features tell the targets of a source.", _OUT),
    "lr-find": Command(lr_find, LrFindOptions, "Suggest a learning rate with a learning-rate range test.", _OUT),
    "data": Command(data, DataOptions, "Verify and describe a data set, and draw a grid of examples."),
    "cache": Command(cache, CacheOptions, "List the decoded images that are kept on disk, or clear them."),
    "contract": Command(contract, ContractOptions, "Print, write, update or check a model's shape contract."),
    "models": Command(models, ModelsOptions, "List the models of the library with their figures."),
    "import-weights": Command(import_weights, ImportOptions, "Convert another library's weights for --model.init."),
    "export-weights": Command(export_weights, ExportOptions, "Save a run's weights with another library's names."),
    "replay": Command(replay, ReplayOptions, "Repeat the step where a run diverged; name the first non-finite layer."),
    "completion": Command(completion, CompletionOptions, "Print a shell-completion script for these commands."),
}

# Errors of a path that the user names, wherever it is first opened: not bugs of the library.
_UNUSABLE_PATHS = {
    errno.EACCES: "check the permissions of the file and of the folders above it",
    errno.ELOOP: "the symbolic link points back to itself: name its target",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.ENOTDIR: "part of the path is a file, not a folder: use another path",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; 2 after a user's mistake."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        _require_text(words)
        if not words or words[0] in ("-h", "--help", "help"):
            print(_help())
            return _printed(0)
        if words[0] == "--version":
            print(f"flaxcnn {__version__}")
            return _printed(0)
        if words[0].startswith("-"):
            raise unknown_option(words[0], "flaxcnn", ["--help", "--version", "--debug"])
        if words[0] not in COMMANDS:
            raise ConfigError("unknown command", where=words[0], fix=nearest(words[0], COMMANDS))
        command = COMMANDS[words[0]]
        return _printed(command.run(words[1:]), command.keeps)
    except FlaxcnnError as error:
        return _refused(error, words[0] if words else "", debug)
    except OSError as error:
        if error.filename is None or error.errno not in _UNUSABLE_PATHS:
            raise
        what = (error.strerror or str(error)).lower()
        refused = FlaxcnnError(what, where=error.filename, fix=_UNUSABLE_PATHS[error.errno])
        return _refused(refused, words[0], debug)


def _require_text(words: Sequence[str]) -> None:
    """Raise ConfigError if an argument holds bytes that the system's encoding cannot decode."""
    for word in words:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError as error:
            where = word.encode("utf-8", "backslashreplace").decode()
            raise ConfigError(
                "argument is not valid text", where=where, expected=f"text in {sys.getfilesystemencoding().upper()}"
            ) from error


def _refused(error: FlaxcnnError, command: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"flaxcnn: {error.line(COMMANDS[command].elsewhere) if command in COMMANDS else error}", file=sys.stderr)
    return error.exit_code


def _printed(code: int, keeps: bool = False) -> int:
    """Return a command's exit code. If output was lost, raise an error, or warn if a folder keeps the results."""
    error = terminal.lost()
    if error is None:
        return code
    what, where = f"cannot write: {error.strerror or error}", "standard output"
    if not keeps:
        raise FlaxcnnError(what, where=where, fix="free space there, or redirect the output elsewhere")
    print(f"flaxcnn: warning: {where}: {what}; nothing else is lost", file=sys.stderr)
    return code


def _help() -> str:
    lines = [f"  {name:14} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: flaxcnn COMMAND [OPTIONS]",
            "",
            "Train, check and reproduce image-recognition CNNs with pure functions in JAX and Flax.",
            "",
            *lines,
            "",
            "flaxcnn COMMAND --help shows a command's options. --debug shows an error's traceback.",
        ]
    )
