"""Mutated files and messages, and the promise that is held against each: no error but the library's own, little memory.

`make test` and CI try a sample of each kind; `make test-fuzz` sets FLAXCNN_MUTATIONS, for 230,000 over all kinds. The
mutations follow from a seed, so that a failure comes again; its message names the mutation and holds its bytes.
"""

import copy
import json
import os
import random
import resource
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flaxcnn.errors import FlaxcnnError

SAMPLE = 200
MEMORY_MIB = 512  # by which the process may grow while a kind is tried, what the reader imports included

_BYTES = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\n", b'"', b"{", b"[", b"../", b"\x1b[2J", b"\xed\xa0\x80", b"%s", b"-"]
_LENGTHS = [0, 1, -1, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63)]
_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, 10**20, 0.5, -0.0, 1e308, "", "text", "\x00", "\x1b[2J",
    "../x", "/dev/zero", "\ud800", "1", "nan", [], [[]], {}, {"a": {}}, ["text"], [1, "a", None],
]  # fmt: skip
_TEXTS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "10" * 40,
    "9" * 5000,
    "[" * 100000,
    '{"a":' * 100000,
    "1.5.2",
    "'a'",
]


def count(cost: int = 1) -> int:
    """Return how many mutations of a kind to try; of one that takes long to read, `cost` times fewer."""
    return max(20, int(os.environ.get("FLAXCNN_MUTATIONS", SAMPLE)) // cost)


def mutated_bytes(seeds: Sequence[bytes], number: int, seed: int = 0) -> Iterator[bytes]:
    """Yield files that differ from one of the seeds by a few random changes of bytes."""
    for position in range(number):
        draw = random.Random(f"{seed} {position}")
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.choice([1, 1, 1, 2, 4, 8])):
            _change_bytes(draw, data, seeds)
        yield bytes(data)


def mutated_json(seeds: Sequence[Any], number: int, seed: int = 0) -> Iterator[bytes]:
    """Yield JSON texts that differ from one of the seeds by a few odd values; some are damaged as bytes besides."""
    encoded = [json.dumps(value).encode() for value in seeds]
    for position in range(number):
        draw = random.Random(f"{seed} {position}")
        kind = draw.random()
        if kind < 0.2:
            data = bytearray(draw.choice(encoded))
            _change_bytes(draw, data, encoded)
            yield bytes(data)
            continue
        value = copy.deepcopy(draw.choice(seeds))
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            value = _change_value(draw, value)
        text = json.dumps(value)
        if kind > 0.9 and "~odd~" not in text:  # a text that no value of Python's stands for
            text = json.dumps(_change_value(draw, value, "~odd~")).replace('"~odd~"', draw.choice(_TEXTS))
        yield text.encode()


def hold(run: Callable[[Any], object], mutations: Iterable[Any]) -> None:
    """Call `run` with each mutation: it returns, or raises an error of the library's; memory stays bounded."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for position, data in enumerate(mutations):
        try:
            run(data)
        except FlaxcnnError as error:
            line = str(error)
            assert line.isprintable(), f"mutation {position}, {_shown(data)}: not one printable line: {line!r}"
        except Exception as error:
            raise AssertionError(f"mutation {position}, {_shown(data)}: {type(error).__name__}: {error}") from error
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < MEMORY_MIB, f"mutation {position}, {_shown(data)}: memory grew by {grown:.0f} MiB"


def _change_bytes(draw: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    place = draw.randrange(len(data) + 1)
    kind = draw.randrange(7)
    if kind == 0 and data:
        data[place % len(data)] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        data[place:place] = draw.choice(_BYTES)
    elif kind == 3:
        data[place : place + draw.randrange(1, 64)] = b""
    elif kind == 4:
        length, form = draw.choice(_LENGTHS), draw.choice(["<i", ">i", "<q", ">q", "<h", ">h"])
        bits = 8 * struct.calcsize(form)
        packed = struct.pack(form.upper(), length % 2**bits)
        data[place : place + len(packed)] = packed
    elif kind == 5:
        other = draw.choice(seeds)
        start = draw.randrange(len(other) + 1)
        data[place : place + draw.randrange(64)] = other[start : start + draw.randrange(1, 256)]
    else:
        data[place:place] = data[place : place + draw.randrange(1, 64)] * draw.randrange(1, 5)


def _change_value(draw: random.Random, value: Any, to: Any = None) -> Any:
    """Return a value of JSON with one part, at any depth, replaced, removed, renamed or doubled."""
    if isinstance(value, Mapping) and value and draw.random() < 0.85:
        name = draw.choice(sorted(value))
        kind = 0 if to is not None else draw.random()
        changed = dict(value)
        if kind < 0.7:
            changed[name] = _change_value(draw, value[name], to)
        elif kind < 0.85:
            del changed[name]
        else:
            changed[draw.choice(["", "x", "step", "\x00", "../x", name + "x"])] = changed[name]
        return changed
    if isinstance(value, list) and value and draw.random() < 0.85:
        place = draw.randrange(len(value))
        changed_list = list(value)
        changed_list[place] = _change_value(draw, value[place], to)
        return changed_list * 2 if to is None and draw.random() < 0.1 else changed_list
    return to if to is not None else copy.deepcopy(draw.choice(_VALUES))


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 600 else f"{text[:600]}…"
