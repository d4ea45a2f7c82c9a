"""The command `export`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from flaxcnn.cli.computing import computing
from flaxcnn.cli.overrides import ModelOverride, TaskOverride, named_again
from flaxcnn.cli.weights import new_file
from flaxcnn.command_line import parse
from flaxcnn.errors import ConfigError, printable
from flaxcnn.files import user_path

_SUFFIXES = (".fcnn", ".onnx", ".stablehlo")


@dataclass(frozen=True)
class ExportModelOptions:
    """Write a finished run's model into one file, to use elsewhere without the run and its data.

    A model file (.fcnn) holds weights, preparation, names, calibration, the contract, and a few images with their
    outputs, and no code. `flaxcnn predict FILE` and `flaxcnn.load(FILE)` verify all of it first. StableHLO (.stablehlo)
    is a program from pixels to predictions for JAX alone, on CPU, CUDA and TPU, ONNX (.onnx) one for any of its
    runtimes; both take batches of any size and need the extra export. Each file is run before the command ends, a
    program in a process of its own, and its outputs are held against the model's.
    """

    run: Positional[str]
    """Folder of a finished run."""
    to: str | None = None
    """The new file, which must not exist: a name that ends in .fcnn, .onnx or .stablehlo."""
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)


def export_model(arguments: Sequence[str]) -> int:
    """Write a finished run's model into one file."""
    options = parse(ExportModelOptions, arguments, program="flaxcnn export")
    to = new_file(options.to, "export")
    if user_path(options.run, "RUN").is_file():
        fix = "copy it, if that is what you want"
        raise ConfigError("a file, no run", where=options.run, expected="the folder of a finished run", fix=fix)
    if to.suffix not in _SUFFIXES:
        expected = f"a name that ends in {', '.join(_SUFFIXES)}"
        raise ConfigError("in no known format", where=to, expected=expected)
    with computing():
        from flaxcnn.export import stablehlo
        from flaxcnn.export.onnx import document
        from flaxcnn.export.verify import verify
        from flaxcnn.prediction.loading import of_run
        from flaxcnn.prediction.model_file import read_model_file, write_model_file
        from flaxcnn.runs.folder.record import recorded_code
        from flaxcnn.runs.folder.run_folder import RunFolder, open_run_folder

        folder, named = open_run_folder(options.run), named_again(options.task, options.model)
        trained = of_run(folder, named)
        code, said = recorded_code(folder), []

        def write(path: Path) -> None:  # what does not run as it should is not left there
            if to.suffix == ".fcnn":
                write_model_file(path, trained, code)
                read_model_file(path, named)
                said.append("read again and verified")
                return
            if to.suffix == ".onnx":
                document.write_onnx(path, trained)
                read = document.READ
            else:
                stablehlo.write_stablehlo(path, trained)
                read = stablehlo.READ
            said.append(f"outputs in another process the same to {verify(path, read, trained):.1e}")

        RunFolder(to.parent).write(to.name, write)
    print(printable(f"{to}  {to.stat().st_size / 2**20:,.1f} MiB, {said[-1]}"))
    return 0
