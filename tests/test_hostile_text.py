"""Words, names and texts of 100,000 characters are answered at once: no reader takes quadratic or exponential time.

A regular expression that can match a text in many ways, or that begins to match at every place of it, takes minutes for
one of these.
"""

import contextlib
from pathlib import Path

import pytest

from flaxcnn.config import load_experiment
from flaxcnn.contracts import Contract
from flaxcnn.contracts.commands import find_module, parse_input_shape
from flaxcnn.data import Options, load
from flaxcnn.errors import ConfigError, FlaxcnnError, nearest
from flaxcnn.processes.options import split_address
from flaxcnn.runs.output.profile import operations_of, parse_steps, place_of
from flaxcnn.sweeps.execution.ray_cluster import require_listener
from tests.answered import answered

UNITS = [
    "1",
    "a",
    "(",
    "[",
    "/",
    ":",
    ".",
    ",",
    "+",
    "B*K+",
    " ",
    "\n",
    "1.",
    "a:",
    "@",
    "%",
    "jit(",
    "()",
    '"',
    "x = metadata={",
]
LINES = "model N 0 parameters\ninput (B, 8, 8, 1)\n"
READERS = {
    "a contract": Contract.parse,
    "a shape in it": lambda text: Contract.parse(f"{LINES}a -> (B, {text}x)"),
    "a line in it": lambda text: Contract.parse(f"{LINES}a -> {text}x"),
    "its first line": lambda text: Contract.parse(f"model {text} 1"),
    "--input": parse_input_shape,
    "a module": lambda text: find_module(f"{text}.py:Net"),
    "a config": load_experiment,
    "tfds:": lambda text: load(f"tfds:{text}", Options(dir=Path("nowhere"))),
    "--profile": lambda text: parse_steps(text, total_steps=9),
    "the text of a program": lambda text: list(operations_of(text)),
    "the place of an operation": lambda text: place_of(f"{text}x"),
    "an address": split_address,
    "a name that is not known": lambda text: nearest(text, ["learning_rate", "--optimizer.learning_rate"]),
}


@pytest.mark.parametrize("port", ["70000", "9" * 5000])
@pytest.mark.parametrize("reader", [split_address, require_listener])
def test_a_port_that_no_computer_has_is_refused(reader, port):
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        reader(f"localhost:{port}")


@pytest.mark.parametrize("reader", READERS)
def test_a_long_text_is_answered_at_once(reader):
    for unit in UNITS:
        text = unit * (100_000 // len(unit))
        for each in (text, f"{text}x", f"mnist{text}!"):
            with answered(), contextlib.suppress(FlaxcnnError):
                READERS[reader](each)
