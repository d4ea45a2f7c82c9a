"""A reader of the pickles in PyTorch's files that knows tensors, and executes nothing.

A pickle is a program for a small machine with a stack, which can call any function of Python. This machine has no
functions: the names of the few that make tensors stand for descriptions of tensors, and every other name is refused.
So are sets, instances and persistent objects other than storages. Each instruction takes time and memory in proportion
to its bytes in the file.

Source: Python's `pickletools`, and `torch/_utils.py` and `torch/serialization.py` of PyTorch 1.13 and 2.
"""

import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from flaxcnn.models.weights.tensors import BFLOAT16, RefusedError, exactly

_MOST = 16 << 20  # bytes of a pickle, where each instruction counts as eight
_MOST_INTEGER = 255  # bytes of a whole number
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}
_FUNCTIONS = {
    ("collections", "OrderedDict"): "dictionary",
    ("torch._utils", "_rebuild_tensor"): "tensor",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_parameter"): "parameter",
}
_ADVICE = "load it where you trust it, and save the state dictionary alone: torch.save(model.state_dict(), FILE)"


class Storage(NamedTuple):
    """Numbers in a row, elsewhere in the file."""

    key: str
    kind: str
    length: int
    offset: int = 0


class Tensor(NamedTuple):
    """A tensor as it is described, not checked yet."""

    storage: Storage
    offset: Any
    shape: Any
    strides: Any


class _Known(NamedTuple):
    """A name that stands for something."""

    kind: str
    name: str


class _Mark:
    """The place on the stack where a collection begins."""


def read_pickle(file: BinaryIO) -> Any:
    """Return what the pickle at the file's place describes, and leave the file after it.

    Returns:
        None, numbers, text, bytes, lists, tuples, dictionaries, `Tensor` and `Storage`.

    Raises:
        EOFError or ValueError: it is damaged, or describes anything else.
    """
    return _Machine(file).run()


class _Machine:
    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, _MOST
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while (code := self.take(1)) != b".":
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise ValueError(f"an instruction that no tensor needs: {code!r}")
            self.charge(7)
            instruction(self)
        return self.pop()

    def charge(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError(f"a pickle of more than {_MOST:,} bytes")

    def take(self, count: int) -> bytes:
        self.charge(count)
        return exactly(self.file, count, "a pickle")

    def number(self, form: str) -> Any:
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return value

    def line(self) -> str:
        line = self.file.readline(min(1024, self.left))
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise EOFError("a name ends early")
        return line[:-1].decode()

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _Mark:
            raise ValueError("an empty stack")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise ValueError(f"no {kind.__name__} on the stack")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        found: list[Any] = []
        while self.stack and self.stack[-1] is not _Mark:
            found.append(self.stack.pop())
        if not self.stack:
            raise ValueError("no mark on the stack")
        self.stack.pop()
        return found[::-1]

    def forget(self) -> None:
        self.since_mark()

    def several(self, count: int) -> tuple[Any, ...]:
        return tuple([self.pop() for _ in range(count)][::-1])

    def put(self, place: int) -> None:
        if not self.stack or self.stack[-1] is _Mark:
            raise ValueError("an empty stack")
        self.memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        if place not in self.memo:
            raise ValueError("nothing is kept there")
        self.stack.append(self.memo[place])

    def fill(self, items: list[Any]) -> None:
        found = self.top(dict)
        if len(items) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set(found, key, value)

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        kind = _FUNCTIONS.get((module, name))
        if kind is None and module in ("torch", "torch.storage") and name in _STORAGES:
            kind = "storage"
        if kind is None:
            raise RefusedError(f"it asks for {module}.{name}, which is no tensor and is not called", _ADVICE)
        self.stack.append(_Known(kind, name))

    def call(self) -> None:
        arguments, known = self.pop(), self.pop()
        if not isinstance(known, _Known) or type(arguments) is not tuple:
            raise ValueError("a call of what is no function")
        if known.kind == "dictionary" and arguments and isinstance(arguments[0], list | tuple):
            self.charge(8 * len(arguments[0]))  # or a few bytes would copy a long list again and again
        self.stack.append(_called(known, arguments))

    def build(self) -> None:
        """Leave out what PyTorch sets on a dictionary: the versions of its modules."""
        self.pop()
        self.top(dict)

    def storage(self) -> None:
        found = self.pop()
        if type(found) is not tuple or len(found) not in (5, 6) or found[0] not in ("storage", b"storage"):
            kind = found[0] if type(found) is tuple and found and isinstance(found[0], str) else type(found).__name__
            raise RefusedError(f"it holds a persistent object of the kind {kind[:40]}, which is no tensor", _ADVICE)
        _, known, key, _, count, *views = found
        if not isinstance(known, _Known) or known.kind != "storage" or not isinstance(key, str) or not _whole(count):
            raise ValueError("no storage")
        offset = 0
        if views and views[0] is not None:
            view = views[0]
            if type(view) is not tuple or len(view) != 3 or not all(_whole(each) for each in view[1:]):
                raise ValueError("no view of a storage")
            _, offset, count = view
        self.stack.append(Storage(key, _STORAGES[known.name], count, offset))


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _set(found: dict[Any, Any], key: Any, value: Any) -> None:
    # Others could be made to have one hash, or to be slow to compare.
    if not isinstance(key, str) and not (type(key) is int and abs(key) < 2**31):
        raise ValueError(f"a dictionary with a {type(key).__name__} as a key")
    found[key] = value


def _called(known: _Known, arguments: tuple[Any, ...]) -> Any:
    if known.kind == "dictionary" and len(arguments) <= 1:
        found: dict[Any, Any] = {}
        for pair in arguments[0] if arguments and isinstance(arguments[0], list | tuple) else ():
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError("no pairs for a dictionary")
            _set(found, *pair)
        return found
    if known.kind == "tensor" and len(arguments) >= 4 and isinstance(arguments[0], Storage):
        return Tensor(*arguments[:4])
    if known.kind == "parameter" and arguments and isinstance(arguments[0], Tensor):
        return arguments[0]
    raise ValueError(f"a call of {known.name} with other arguments than PyTorch's")


def _integer(machine: _Machine, length: int) -> None:
    if not 0 <= length <= _MOST_INTEGER:
        raise ValueError(f"a whole number of {length:,} bytes")
    machine.stack.append(int.from_bytes(machine.take(length), "little", signed=True))


def _text(form: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.take(machine.number(form)).decode())


def _bytes(form: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.take(_at_least_0(machine.number(form))))


def _old_text(form: str) -> Callable[[_Machine], None]:
    """Text of Python 2, which is bytes."""
    return lambda machine: machine.stack.append(machine.take(_at_least_0(machine.number(form))).decode("latin-1"))


def _at_least_0(length: int) -> int:
    if length < 0:
        raise ValueError("a negative length")
    return length


def _pushed(make: Callable[[], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(make())


def _number(form: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.number(form))


def _tuple_of(count: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.several(count))


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": lambda machine: machine.number("<B"),  # the protocol
    b"\x95": lambda machine: machine.number("<Q"),  # the length of a frame, which only saves reads
    b"(": lambda machine: machine.stack.append(_Mark),
    b"0": lambda machine: machine.pop(),
    b"1": lambda machine: machine.forget(),
    b"2": lambda machine: machine.stack.append(machine.top(object)),
    b"N": _pushed(lambda: None),
    b"\x88": _pushed(lambda: True),
    b"\x89": _pushed(lambda: False),
    b"J": _number("<i"),
    b"K": _number("<B"),
    b"M": _number("<H"),
    b"G": _number(">d"),
    b"\x8a": lambda machine: _integer(machine, machine.number("<B")),
    b"\x8b": lambda machine: _integer(machine, machine.number("<i")),
    b"X": _text("<I"),
    b"\x8c": _text("<B"),
    b"\x8d": _text("<Q"),
    b"B": _bytes("<I"),
    b"C": _bytes("<B"),
    b"\x8e": _bytes("<Q"),
    b"T": _old_text("<i"),
    b"U": _old_text("<B"),
    b"]": _pushed(list),
    b")": _pushed(tuple),
    b"}": _pushed(dict),
    b"a": lambda machine: _append(machine, [machine.pop()]),
    b"e": lambda machine: _append(machine, machine.since_mark()),
    b"l": lambda machine: machine.stack.append(machine.since_mark()),
    b"t": lambda machine: machine.stack.append(tuple(machine.since_mark())),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"s": lambda machine: machine.fill(list(machine.several(2))),
    b"u": lambda machine: machine.fill(machine.since_mark()),
    b"d": lambda machine: _dictionary(machine),
    b"q": lambda machine: machine.put(machine.number("<B")),
    b"r": lambda machine: machine.put(machine.number("<I")),
    b"\x94": lambda machine: machine.put(len(machine.memo)),
    b"h": lambda machine: machine.get(machine.number("<B")),
    b"j": lambda machine: machine.get(machine.number("<I")),
    b"c": lambda machine: machine.name(machine.line(), machine.line()),
    b"\x93": lambda machine: machine.name(*machine.several(2)),
    b"R": lambda machine: machine.call(),
    b"b": lambda machine: machine.build(),
    b"Q": lambda machine: machine.storage(),
}


def _append(machine: _Machine, items: list[Any]) -> None:
    machine.top(list).extend(items)


def _dictionary(machine: _Machine) -> None:
    items = machine.since_mark()
    machine.stack.append({})
    machine.fill(items)
