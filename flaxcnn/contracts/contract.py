"""A contract as data, and its text: one line for each call of a layer, in the order of execution.

The text is meant to be read, reviewed and compared by `diff`:

    model     PaperCNN  28,938 parameters with K = 10
    input     (B, 28, 28, 1)
    conv1     (B, 28, 28, 1)   -> (B, 28, 28, 16)  kernel (5, 5, 1, 16)  bias (16)
    features                   -> (B, 1568)

B is the batch size, K the number of classes. Nested layers are named by path, `stage1/block2/conv1`; a layer's second
call is `conv1#2`, and a method other than `__call__` is `embed:attend`. A line without an input is an endpoint, a named
activation that is no layer's. A variable that is no parameter has its collection before it, `batch_stats:mean (16)`.
Blank lines and lines that begin with # are left out.
"""

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self

from flaxcnn.contracts.shapes import Shape, at, constant, parse_shape, parse_shapes, shape_text, shapes_text
from flaxcnn.errors import ContractError
from flaxcnn.files import read_text

_MOST_BYTES = 2**20  # of a file; a network of a thousand layers takes some 150 KiB
_MOST_LINES = 10_000
_MOST_VALUES = 2**40  # of an image; so that no length that follows from it has more than 18 digits
_WIDEST = 120  # characters that a column is padded to; else one long name would lengthen every line
_SHOWN = 200  # characters of a line, in an error

_MODEL = re.compile(r"model\s+(\S+)\s+([0-9,]+) parameters(?: with K = ([1-9][0-9]{0,17}))?")
_TOKEN = re.compile(r"\([^()]*\)|,|[^\s(),]+|[()]")


@dataclass(frozen=True)
class VariableContract:
    """The shape of a parameter or another variable of a layer.

    Attributes:
        name: its name in the layer, `kernel`.
        shape: its shape, which may depend on the number of classes but not on the batch size.
        collection: "params", "batch_stats" or another of the module's collections.
    """

    name: str
    shape: Shape
    collection: str = "params"

    @property
    def label(self) -> str:
        """The name, after its collection if it is no parameter: `batch_stats:mean`."""
        return self.name if self.collection == "params" else f"{self.collection}:{self.name}"

    def __str__(self) -> str:
        return f"{self.label} {shape_text(self.shape)}"


@dataclass(frozen=True)
class LayerContract:
    """The shapes of one call of a layer, or of an endpoint.

    Attributes:
        path: the layer's path in the module, `stage1/block2/conv1`; "." is the module itself.
        inputs: shapes of the arrays that it is given, in the order of its arguments; None for an endpoint.
        outputs: shapes of the arrays that it returns.
        variables: of the layer, said at its first call.
    """

    path: str
    inputs: tuple[Shape, ...] | None
    outputs: tuple[Shape, ...]
    variables: tuple[VariableContract, ...] = ()

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """The line's columns: path, inputs, outputs after an arrow, variables."""
        inputs = "" if self.inputs is None else shapes_text(self.inputs)
        return self.path, inputs, f"-> {shapes_text(self.outputs)}", "  ".join(map(str, self.variables))


@dataclass(frozen=True)
class Contract:
    """The shapes of a module's layers for any batch size and any number of classes.

    Attributes:
        name: the module's.
        input_shape: of one image, (H, W, C), without the batch.
        layers: the lines, in the order of execution; a layer comes before the layers that it is made of.
        classes: the number of classes with which the text counts the parameters; None where nothing depends on it.
        where: the file that the contract was read from, for messages; not compared.

    Raises:
        ContractError: two lines or two variables of a line with one name, a name with white space, an image of no or
            more than 2**40 values, a variable that grows with the batch, or a shape with K but no `classes`.
    """

    name: str
    input_shape: tuple[int, ...]
    layers: tuple[LayerContract, ...]
    classes: int | None = None
    where: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        require_input_shape(self.input_shape, self.place("input"))
        seen = set()
        for layer in self.layers:
            place = self.place(layer.path)
            kind = (layer.path, layer.inputs is None)
            if kind in seen:
                raise ContractError("two lines with one name", where=place)
            seen.add(kind)
            labels = [variable.label for variable in layer.variables]
            if len(set(labels)) < len(labels):
                raise ContractError("two variables with one name", where=place, found=", ".join(sorted(labels)))
            for label in (layer.path, *labels):
                if re.search(r"[\s(),]|->", label) or not label.isprintable() or not label or label.startswith("#"):
                    raise ContractError(
                        "name not allowed in a contract",
                        where=place,
                        expected="printable characters, no white space, bracket, comma or arrow, no # at its beginning",
                        found=repr(label),
                    )
            for variable in layer.variables:
                if any(axis.batch or axis.both for axis in variable.shape):
                    raise ContractError("a variable that grows with the batch", where=place, found=variable)
            shapes = (*(layer.inputs or ()), *layer.outputs, *(variable.shape for variable in layer.variables))
            if self.classes is None and any(axis.classes or axis.both for shape in shapes for axis in shape):
                raise ContractError("K without its value", where=place, expected="with K = ... in the line of model")

    def __str__(self) -> str:
        return "\n".join(_lines(self, _widths([self])))

    def parameters(self, classes: int | None = None) -> int:
        """Return the number of parameters with this number of classes, by default that of the contract's text."""
        count = classes or self.classes or 0
        return sum(
            math.prod(at(variable.shape, 0, count))
            for layer in self.layers
            for variable in layer.variables
            if variable.collection == "params"
        )

    @property
    def collections(self) -> frozenset[str]:
        """The collections of the variables, such as "params" and "batch_stats"."""
        return frozenset(variable.collection for layer in self.layers for variable in layer.variables)

    def place(self, layer: str) -> str:
        """Return where in its file a layer's line stands, for messages."""
        return f"{self.where}: {layer}" if self.where else layer

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a contract's file.

        Raises:
            ContractError: there is no such file, it is not a regular one, it cannot be read, or as `parse`.
        """
        try:
            text = read_contract(path)
        except FileNotFoundError as error:
            raise missing_file(path) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str | None = None) -> Self:
        """Return the contract that a text says; `str` of it is a text of the same contract.

        Args:
            text: in the form of this module's docstring.
            where: the file that it comes from, for messages.

        Raises:
            ContractError: the text is longer than a mebibyte or 10,000 lines, a line is not a contract's, or the
                parameters don't add up to what the first line says.
        """
        every = text.splitlines()
        if len(text) > _MOST_BYTES or len(every) > _MOST_LINES:
            raise ContractError(
                "too long for a contract",
                where=where,
                expected=f"at most {_MOST_BYTES:,} characters and {_MOST_LINES:,} lines",
                found=f"{len(text):,} and {len(every):,}",
            )
        lines = [
            (number, line.strip())
            for number, line in enumerate(every, start=1)
            if line.strip() and not line.lstrip().startswith("#")
        ]
        end = (len(every) + 1, "")
        (number, first), second = (*lines, end, end)[:2]
        head = _MODEL.fullmatch(first)
        if head is None:
            _bad_line(where, number, first, "model NAME N parameters [with K = N]")
        contract = cls(
            name=head[1],
            input_shape=_input_shape(where, *second),
            layers=tuple(_layer(where, *line) for line in lines[2:]),
            classes=int(head[3]) if head[3] else None,
            where=where,
        )
        if f"{contract.parameters():,}" != head[2]:
            raise ContractError(
                "parameters don't add up",
                where=f"{where}:{number}" if where else f"line {number}",
                expected=f"{contract.parameters():,}, the sum over the lines",
                found=head[2],
            )
        return contract


def read_contract(path: str | Path) -> str:
    """Return the text of a contract's file, which may come from anywhere; it is not parsed.

    Raises:
        FileNotFoundError: there is no such file.
        ContractError: it is no regular file, too large, or not text.
    """
    return read_text(Path(path), _MOST_BYTES, error=ContractError)


def require_input_shape(shape: Sequence[int], where: str) -> None:
    """Raise ContractError if no image has this shape: a length of 0, or more than 2**40 values."""
    if min(shape, default=1) < 1 or math.prod(shape) > _MOST_VALUES:
        raise ContractError(
            "not the shape of an image",
            where=where,
            expected=f"positive lengths, together at most {_MOST_VALUES:,} values",
            found=shape_text(constant(shape)),
        )


def diff(old: Contract, new: Contract) -> list[str]:
    """Return the lines that differ, those of the old contract after "- ", those of the new one after "+ "."""
    widths = _widths([old, new])
    lines = difflib.unified_diff(list(_lines(old, widths)), list(_lines(new, widths)), n=0, lineterm="")
    return [f"{line[0]} {line[1:]}" for line in list(lines)[2:] if not line.startswith("@@")]


def missing_file(path: str | Path, module: str = "MODULE") -> ContractError:
    """Return the error of a contract that was never written, with the command that writes it."""
    command = f"flaxcnn contract {module} --input HEIGHT,WIDTH,CHANNELS --write {path}"
    return ContractError("no such contract", where=path, fix=f"write it with `{command}`")


def _lines(contract: Contract, widths: Sequence[int]) -> Iterator[str]:
    count = f"{contract.parameters():,} parameters" + (f" with K = {contract.classes}" if contract.classes else "")
    batch_of_images = f"(B{''.join(f', {length}' for length in contract.input_shape)})"
    for columns in (
        ("model", f"{contract.name}  {count}"),
        ("input", batch_of_images),
        *(layer.columns for layer in contract.layers),
    ):
        yield "  ".join(column.ljust(width) for column, width in zip(columns, widths, strict=False)).rstrip()


def _widths(contracts: Sequence[Contract]) -> tuple[int, ...]:
    """Widths of the columns, in steps of four, so that a longer name or shape seldom moves every line of a file."""
    rows = [("input", "", "", "")] + [layer.columns for contract in contracts for layer in contract.layers]
    return tuple(min(_WIDEST, -(-max(map(len, column)) // 4) * 4) for column in zip(*rows, strict=True))


def _bad_line(where: str | None, number: int, line: str, expected: str) -> NoReturn:
    raise ContractError(
        "not a line of a contract",
        where=f"{where}:{number}" if where else f"line {number}",
        expected=f"`{expected}`",
        found=f"`{line if len(line) <= _SHOWN else f'{line[:_SHOWN]}…'}`" if line else "the end",
    )


def _input_shape(where: str | None, number: int, line: str) -> tuple[int, ...]:
    word, *rest = line.split(maxsplit=1) or [""]
    try:
        batch, *image = parse_shape("".join(rest))
    except ValueError:
        batch, image = None, []
    lengths = tuple(axis.constant for axis in image)
    if word != "input" or str(batch) != "B" or constant(lengths) != tuple(image) or min(lengths, default=1) < 1:
        _bad_line(where, number, line, "input (B, HEIGHT, WIDTH, CHANNELS)")
    return lengths


def _layer(where: str | None, number: int, line: str) -> LayerContract:
    path, *tokens = _TOKEN.findall(line)
    try:
        arrow = tokens.index("->")
        inputs = parse_shapes(tokens[:arrow]) if arrow else None
        rest = tokens[arrow + 1 :]
        last = 1
        while rest[last : last + 1] == [","]:
            last += 2
        outputs, words = parse_shapes(rest[:last]), rest[last:]
        variables = []
        for label, shape in zip(words[::2], words[1::2], strict=True):
            collection, _, name = label.rpartition(":")
            variables.append(VariableContract(name, parse_shape(shape), collection or "params"))
    except ValueError:
        _bad_line(where, number, line, "LAYER (SHAPE) -> (SHAPE) VARIABLE (SHAPE) ...")
    return LayerContract(path, inputs, outputs, tuple(variables))
