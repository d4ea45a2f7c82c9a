"""The command `export`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from flaxcnn.cli.computing import computing
from flaxcnn.cli.overrides import DataOverride, ModelOverride, TaskOverride, named_again
from flaxcnn.cli.weights import new_file
from flaxcnn.command_line import parse
from flaxcnn.errors import ConfigError, printable
from flaxcnn.files import user_path

_SUFFIXES = (".fcnn", ".onnx", ".stablehlo")
_PROGRAMS = (".onnx", ".stablehlo")
_WEB = "/"  # with which the name of a page's folder ends


@dataclass(frozen=True)
class ExportModelOptions:
    """Write a finished run's model into one file, to use elsewhere without the run and its data.

    A model file (.fcnn) holds weights, preparation, names, calibration, the contract, and a few images with their
    outputs, and no code. `flaxcnn predict FILE` and `flaxcnn.load(FILE)` verify all of it first. StableHLO (.stablehlo)
    is a program from pixels to predictions for JAX alone, on CPU, CUDA and TPU, ONNX (.onnx) one for any of its
    runtimes; both take batches of any size and need the extra export. A name that ends in / becomes a folder with a
    page that runs the ONNX in the browser, for any static web host. Each file is run before the command ends, a program
    in a process of its own, and its outputs are held against the model's.
    """

    run: Positional[str]
    """Folder of a finished run."""
    to: str | None = None
    """The new file, which must not exist: a name that ends in .fcnn, .onnx or .stablehlo; or in / for a web folder."""
    quantize: Literal["int8"] | None = None
    """int8: the ONNX computes in whole numbers of 8 bits, calibrated with the run's validation images. Prints the test
    metrics, sizes and times of both. Needs the run's data."""
    runtime: str | None = None
    """Of a web folder: the folder of the npm package onnxruntime-web; None for node_modules/onnxruntime-web."""
    prepare: Literal["as_trained", "digits"] = "as_trained"
    """Of a web folder, digits: photographs of one digit each become as MNIST's are, as for `flaxcnn predict`."""
    nms: Literal["inside", "outside"] = "inside"
    """Of a detector. outside: the ONNX or StableHLO gives the boxes of all places and the scores of their classes, and
    whoever reads it takes away what is found twice (non-maximum suppression). inside: it gives what is left, 100."""
    data: DataOverride = field(default_factory=DataOverride)
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)

    def __post_init__(self) -> None:
        to = self.to or ""
        web, suffix = to.endswith(_WEB), Path(to).suffix
        if self.to and not web and suffix not in _SUFFIXES:
            expected = f"a name that ends in {', '.join(_SUFFIXES)}, or in / for a web folder"
            raise ConfigError("in no known format", where=to, expected=expected)
        if self.quantize and not web and suffix != ".onnx":
            raise ConfigError("not for this format", where="--quantize", expected="--to with .onnx, or /", found=to)
        if self.nms == "outside" and suffix not in _PROGRAMS:
            raise ConfigError("not for this format", where="--nms", expected="--to with .onnx or .stablehlo", found=to)
        for name, given in (("--runtime", self.runtime), ("--prepare digits", self.prepare == "digits")):
            if given and not web:
                raise ConfigError("not for this format", where=name, expected="--to with / at its end", found=to)


def export_model(arguments: Sequence[str]) -> int:
    """Write a finished run's model into one file."""
    options = parse(ExportModelOptions, arguments, program="flaxcnn export")
    to = new_file(options.to, "export")
    if user_path(options.run, "RUN").is_file():
        fix = "copy it, if that is what you want"
        raise ConfigError("a file, no run", where=options.run, expected="the folder of a finished run", fix=fix)
    web = str(options.to).endswith(_WEB)
    with computing():
        from flaxcnn.export import stablehlo
        from flaxcnn.export.function import at_all_places
        from flaxcnn.export.int8 import examples_of, write_measured
        from flaxcnn.export.onnx import document
        from flaxcnn.export.verify import verify
        from flaxcnn.export.web.folder import write_folder
        from flaxcnn.export.web.form import form_of_page
        from flaxcnn.export.web.runtime import read_runtime
        from flaxcnn.prediction.loading import of_run
        from flaxcnn.prediction.model_file import read_model_file, write_model_file
        from flaxcnn.prediction.preparing import DIGITS_HINT, may_need_digits
        from flaxcnn.runs.folder.record import recorded_code
        from flaxcnn.runs.folder.run_folder import RunFolder, open_run_folder

        runtime = read_runtime(options.runtime) if web else None
        folder, named = open_run_folder(options.run), named_again(options.task, options.model)
        trained = of_run(folder, named)
        if options.nms == "outside":
            trained = at_all_places(trained)
        everything = named_again(options.task, options.model, options.data)
        examples = examples_of(folder, options.data.source, options.data.dir, everything) if options.quantize else None
        code, said, lines, warnings = recorded_code(folder), [], list[str](), list[str]()

        def write(path: Path) -> None:  # what does not run as it should is not left there
            if path.suffix == ".fcnn":
                write_model_file(path, trained, code)
                read_model_file(path, named)
                said.append("read again and verified")
                return
            if examples is not None:
                compared = write_measured(path, trained, examples)
                said.append(f"int8, calibrated with {len(examples.images_NHWC):,} {examples.kind} images")
                lines.extend(compared.lines())
                warnings.extend(compared.warnings())
                return
            if path.suffix == ".onnx":
                document.write_onnx(path, trained)
                read = document.READ
            else:
                stablehlo.write_stablehlo(path, trained)
                read = stablehlo.READ
            said.append(f"outputs in another process the same to {verify(path, read, trained):.1e}")

        if runtime is not None:
            write_folder(to, form_of_page(trained, options.prepare), runtime, write)
            said.append(f"ONNX Runtime Web {runtime.version}")
            if may_need_digits(trained, options.prepare):
                warnings.append(DIGITS_HINT)
        else:
            RunFolder(to.parent).write(to.name, write)
    size = sum(each.stat().st_size for each in (to.rglob("*") if web else [to]) if each.is_file())
    print(printable(f"{to}{_WEB if web else ''}  {size / 2**20:,.1f} MiB, {', '.join(said)}"))
    for line in lines:
        print(line)
    if web:
        print(printable(f"to look at it: python -m http.server --bind 127.0.0.1 --directory {to}"))
    for warning in warnings:
        print(f"flaxcnn: {printable(warning)}", file=sys.stderr)
    return 0
