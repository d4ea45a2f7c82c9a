"""The commands `import-weights` and `export-weights`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from flaxcnn.command_line import parse
from flaxcnn.errors import ConfigError, printable
from flaxcnn.files import user_path
from flaxcnn.jax_settings import import_jax


@dataclass(frozen=True)
class ImportOptions:
    """Convert another library's weights into a file for --model.init, without executing anything in them.

    Reads safetensors, PyTorch's .pth without PyTorch, Keras' .weights.h5 (with the extra keras) and NumPy's .npz. Each
    tensor is used exactly once; what is missing or left over is named. The new file is what a run saves as weights.npz:
    NumPy alone reads it.
    """

    model: Positional[str]
    """A model of the library."""
    file: Positional[str]
    """The file of weights."""
    to: str | None = None
    """The new file, which must not exist."""
    layout: str | None = None
    """Whose names the tensors have, such as torchvision or timm; None to see from the names."""


@dataclass(frozen=True)
class ExportOptions:
    """Save a run's weights with another library's names, such as torchvision's, which loads them with strict=True."""

    run: Positional[str]
    """Folder of a finished run."""
    to: str | None = None
    """The new file, which must not exist: .pth for PyTorch, .safetensors or .npz."""
    layout: str = "torchvision"
    """Whose names the tensors get."""


def import_weights(arguments: Sequence[str]) -> int:
    """Convert another library's weights."""
    options = parse(ImportOptions, arguments, program="flaxcnn import-weights")
    to = new_file(options.to, "import-weights")
    file = user_path(options.file, "FILE")
    import_jax()
    from flaxcnn.models import require_library_model
    from flaxcnn.models.weights.initial import flattened, read_converted
    from flaxcnn.models.weights.writing import write_npz
    from flaxcnn.runs.folder.run_folder import RunFolder
    from flaxcnn.runs.folder.weights import sha256_of

    require_library_model(options.model)
    found = read_converted(file, options.model, options.layout)
    RunFolder(to.parent).write(to.name, lambda path: write_npz(path, flattened(found.variables)))
    parameters = sum(array.size for array in flattened({"params": found.variables["params"]}).values())
    print(f"{options.model}  {parameters:,} parameters, {found.classes:,} outputs, from the names of {found.layout}")
    print(f"{printable(str(to))}  parameters with SHA-256 {sha256_of(found.variables['params'])}")
    return 0


def export_weights(arguments: Sequence[str]) -> int:
    """Save a run's weights with another library's names."""
    options = parse(ExportOptions, arguments, program="flaxcnn export-weights")
    to = new_file(options.to, "export-weights")
    import_jax()
    from flaxcnn.runs.folder.run_folder import RunFolder, open_run_folder
    from flaxcnn.runs.tools.export_weights import exported, writer_for

    writer = writer_for(to)
    model, tensors = exported(open_run_folder(options.run), options.layout)
    RunFolder(to.parent).write(to.name, lambda path: writer(path, tensors))
    print(f"{printable(str(to))}  {len(tensors):,} tensors of {model}, with the names of {options.layout}")
    return 0


def new_file(to: str | None, command: str) -> Path:
    """Return the path of a file that does not exist, in a folder that does."""
    if to is None:
        raise ConfigError("--to is missing", where=f"flaxcnn {command}", expected="the new file")
    path = user_path(to, "--to")
    if path.exists() or path.is_symlink():
        raise ConfigError("exists already", where=path, fix="name another file with --to")
    if not path.parent.is_dir():
        raise ConfigError("no such folder", where=path.parent, fix="make it, or name another file with --to")
    return path
