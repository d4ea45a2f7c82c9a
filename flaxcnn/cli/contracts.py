"""The command `contract`."""

from collections.abc import Sequence
from dataclasses import dataclass

from tyro.conf import Positional

from flaxcnn.command_line import parse
from flaxcnn.errors import ConfigError, printable
from flaxcnn.files import user_path
from flaxcnn.jax_settings import import_jax


@dataclass(frozen=True)
class ContractOptions:
    """Print, write, update or check the shape contract of a library model or of your own Flax module."""

    model: Positional[str] = "paper_cnn"
    """A model of the library, FILE.py:NAME, or package.module:NAME."""
    input: str | None = None
    """HEIGHT,WIDTH,CHANNELS of one image; None for the shape in the contract."""
    size: tuple[int, ...] | None = None
    """Height and width of one image, or one number for both, with the channels of the contract."""
    classes: int = 10
    """Number of classes with which the parameters are counted."""
    write: str | None = None
    """Write a new contract to this file, which must not exist."""
    update: str | None = None
    """Rewrite this contract and print the lines that changed."""
    check: str | None = None
    """Check the model against this contract."""


def contract(arguments: Sequence[str]) -> int:
    """Print, write, update or check a model's shape contract."""
    options = parse(ContractOptions, arguments, program="flaxcnn contract")
    import_jax()
    from flaxcnn.contracts import Contract, check_contract, commands
    from flaxcnn.models import MODELS, contract_path, create

    asked = [name for name in ("write", "update", "check") if getattr(options, name) is not None]
    if len(asked) > 1:
        raise ConfigError("cannot be combined", where=f"--{asked[0]} and --{asked[1]}", fix="remove one of them")
    file = user_path(getattr(options, asked[0]), f"--{asked[0]}") if asked else None
    known = options.model in MODELS or not (":" in options.model or options.model.endswith(".py"))
    module = create(options.model, classes=options.classes) if known else commands.find_module(options.model)
    shape = None if options.input is None else commands.parse_input_shape(options.input)
    if options.size is not None:
        if shape is not None or not known:
            fix = "give --input HEIGHT,WIDTH,CHANNELS alone"
            raise ConfigError("needs a model of the library, and no --input", where="--size", fix=fix)
        shape = commands.sized(options.size, Contract.load(contract_path(options.model)).input_shape)
    if file is not None and options.update is not None:
        moved = commands.update(module, file, shape)
        print("\n".join(moved) if moved else f"{printable(str(file))}: nothing moved")
        return 0
    if file is not None and options.check is not None:
        check_contract(module, Contract.load(file))
        print(f"{printable(str(file))}: kept")
        return 0
    if known and shape is None:
        declared = Contract.load(contract_path(options.model))
        check_contract(module, declared)
        shape = declared.input_shape
    if shape is None:
        raise ConfigError("image shape missing", where="--input", expected="HEIGHT,WIDTH,CHANNELS")
    if file is not None:
        commands.write(module, shape, file)
        print(f"contract  {printable(str(file))}")
    else:
        print(commands.show(module, shape))
    return 0
