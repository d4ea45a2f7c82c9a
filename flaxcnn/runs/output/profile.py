"""A profile of some steps of a run: a trace for TensorBoard and Perfetto, and the slowest operations.

The driver ends blocks where the trace starts and stops. XLA records each operation of its programs.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax

from flaxcnn.errors import ConfigError
from flaxcnn.files import cannot_write

MOST_EXPENSIVE = 10  # operations that are printed
_STEPS = re.compile(r"([0-9]{1,18}):([0-9]{1,18})")
_RESULT = re.compile(r"\w+\[[\d,]*\]")
_HOLDS_OTHERS = ("while", "conditional", "call")  # their time is that of the operations inside, recorded for itself
_TRANSFORMED = re.compile(r"(?:transpose|jvp|vmap)\(.*\)")  # the model's name, as JAX's transformations left it
_CONTROL = re.compile(r"jit\(.*\)|while|body|cond|branch_\d+_fun|closed_call")


class Operation(NamedTuple):
    """What one operation of a compiled program took, over all of its calls in a trace."""

    name: str  # as XLA has it: "ynn_fusion.10"
    place: str  # in the model: "gradient of conv2/conv_general_dilated"; of a program without a text, its name
    result: str  # "f32[16,5,5,32]": which of a layer's gradients it is, its kernel's or its input's
    calls: int
    milliseconds: float
    share: float  # of what all operations in the trace took


def parse_steps(text: str, *, total_steps: int, done: int = 0) -> tuple[int, int]:
    """Return the first step to trace and the one before which the trace ends, from "FIRST:END".

    Args:
        text: what the user asked for; steps are counted from 0, "10:20" are the steps 10 to 19.
        total_steps: of the run.
        done: steps that earlier sessions of the run made.

    Raises:
        ConfigError: it is no such pair, or not all of its steps are still to come.
    """
    match = _STEPS.fullmatch(text)
    if match is None:
        raise ConfigError("not a range of steps", where="--profile", expected="FIRST:END, such as 10:20", found=text)
    first, end = map(int, match.groups())
    if first >= end:
        raise ConfigError("no step to profile", where="--profile", expected="FIRST before END", found=text)
    if end > total_steps:
        raise ConfigError(
            "beyond the run's last step", where="--profile", expected=f"an END of at most {total_steps:,}", found=text
        )
    if first < done:
        raise ConfigError(
            "steps that are done", where="--profile", expected=f"a FIRST of at least {done:,}", found=text
        )
    return first, end


class Profiler:
    """Traces some steps: `start` it before the block that begins with `first`, `stop` it after the one before `end`.

    While entered, whatever ends the run also ends the trace, so that it is written as far as it goes. A trace that
    cannot be written ends no run.

    Args:
        folder: where the trace goes, `RUN/profile`; made here, so that what cannot be written is mostly known early.
        first: the first step that is traced.
        end: the step before which the trace ends.

    Raises:
        RunFolderError: the folder cannot be made.
    """

    def __init__(self, folder: Path, first: int, end: int):
        self.folder, self.first, self.end = folder, first, end
        self.trace: Path | None = None  # the folder of the trace's files, once it is written
        self.failure = ""  # why it was not
        self._runs = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def next_cut(self, step: int) -> int | None:
        """Return before which step a block that begins with `step` must end; None where it may be of any length."""
        return next((cut for cut in (self.first, self.end) if cut > step), None)

    def start(self) -> None:
        """Start the trace."""
        options: Any = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of a Python function would cost time, and hide the rest
        jax.profiler.start_trace(str(self.folder), create_perfetto_trace=True, profiler_options=options)
        self._runs = True

    def stop(self) -> None:
        """End the trace and write it, once the last block has ended."""
        self._runs = False
        try:
            jax.profiler.stop_trace()
            self.trace = max((self.folder / "plugins" / "profile").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        except (OSError, RuntimeError) as error:  # XLA's own are RuntimeErrors: no space, no permission
            self.failure = " ".join(str(error).split())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._runs:
            self.stop()


def read_operations(trace: Path, programs: Iterable[str] = ()) -> list[Operation]:
    """Return what each operation in a trace took, the most expensive first.

    On GPU and TPU these are the device's own times, on CPU those of the threads that computed.

    Args:
        trace: the folder of the trace's files, `Profiler.trace`.
        programs: the texts of compiled programs (`compiled.as_text()`), for the places of their operations.
    """
    data = jax.profiler.ProfileData.from_file(str(next(trace.glob("*.xplane.pb"))))
    known: dict[str, dict[str, tuple[str, str]]] = {}  # program, operation: result, where it comes from
    for text in programs:
        named = text.split(maxsplit=2)[1].rstrip(",")
        known[named] = dict(operations_of(text))
    calls: dict[tuple[str, str], int] = defaultdict(int)
    nanoseconds: dict[tuple[str, str], float] = defaultdict(float)
    with warnings.catch_warnings():  # of nanobind's own types on Python 3.13; as an error it would abort the process
        warnings.simplefilter("ignore", DeprecationWarning)
        for operation, took in _operations(data):
            calls[operation] += 1
            nanoseconds[operation] += took
    total = sum(nanoseconds.values()) or 1.0
    operations = []
    for program, name in sorted(calls, key=lambda operation: (-nanoseconds[operation], operation)):
        result, op_name = known.get(program, {}).get(name, ("", ""))
        place = place_of(op_name) if program in known else program
        took = nanoseconds[program, name]
        operations.append(Operation(name, place, result, calls[program, name], took / 1e6, took / total))
    return operations


def operations_of(program: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield name, and result and `op_name`, of each operation in a program's text that has an `op_name`.

    Such lines are `  ROOT %fusion.1 = f32[16,10]{1,0} fusion(...), ..., metadata={op_name="jit(f)/dot" ...}`. They are
    cut, not matched, since a matcher tries every `metadata={` with every brace after it.
    """
    for line in program.splitlines():
        name, _, said = line.strip().removeprefix("ROOT ").partition(" = ")
        before, named, after = said.rpartition("metadata={")[2].partition('op_name="')
        if named and " " not in name and "}" not in before:
            result = _RESULT.match(said)
            yield name.removeprefix("%"), (result[0] if result else "", after.partition('"')[0])


def place_of(op_name: str) -> str:
    """Return where in a model an operation comes from, out of the names of JAX's transformations and Flax's modules.

    >>> place_of("jit(train_block)/while/body/jit(train_step)/transpose(jvp(PaperCNN))/conv2/conv_general_dilated")
    'gradient of conv2/conv_general_dilated'
    """
    parts = [part for part in op_name.split("/") if not _CONTROL.fullmatch(part)]
    gradient = any(part.startswith("transpose(") for part in parts)
    place = "/".join(part for part in parts if not _TRANSFORMED.fullmatch(part))
    return f"gradient of {place}" if gradient else place


def describe(profiler: Profiler, operations: Sequence[Operation]) -> list[str]:
    """Return the lines that say which operations took longest, and how to look at the trace."""
    if profiler.trace is None:
        return [f"profile        not written: {profiler.failure or 'the run ended before its first step'}"]
    total, shown = sum(each.milliseconds for each in operations), operations[:MOST_EXPENSIVE]
    cells = [("operation", "in the model", "result", "calls", "total ms", "share")]
    for each in shown:
        numbers = (f"{each.calls:,}", f"{each.milliseconds:,.1f}", f"{each.share:.1%}")
        cells.append((each.name, each.place, each.result, *numbers))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    justify = (str.ljust, str.ljust, str.ljust, str.rjust, str.rjust, str.rjust)
    rows = [
        "  ".join(turn(cell, width) for turn, cell, width in zip(justify, row, widths, strict=True)) for row in cells
    ]
    return [
        f"profile        steps {profiler.first:,} to {profiler.end - 1:,}: {len(operations):,} operations, "
        f"{total:,.1f} ms; the {len(shown)} most expensive:",
        *(f"  {row}" for row in rows),
        f"  TensorBoard (with its profile plugin, xprof): tensorboard --logdir {profiler.folder}",
        f"  Perfetto: {profiler.trace / 'perfetto_trace.json.gz'} at ui.perfetto.dev",
    ]


def _operations(data: Any) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield program and name of each operation that was recorded, and the nanoseconds that it alone took."""
    devices = [plane for plane in data.planes if re.match(r"/device:(GPU|TPU)", plane.name)]
    for plane in devices or [plane for plane in data.planes if plane.name == "/host:CPU"]:
        lines = list(plane.lines)
        own = [line for line in lines if line.name == "XLA Ops"] or [
            line for line in lines if not devices or line.name.startswith("Stream")
        ]
        for line in own:
            yield from _alone(_recorded(line, on_host=not devices))


def _recorded(line: Any, *, on_host: bool) -> Iterator[tuple[float, float, tuple[str, str]]]:
    """Yield start, end, and program and name of each operation of a line; a host's other events are none."""
    for event in line.events:
        stats = dict(event.stats)
        name = str(stats.get("hlo_op", "" if on_host else event.name.partition(" = ")[0].lstrip("%")))
        if not name or (on_host and event.name != name) or name.split(".")[0] in _HOLDS_OTHERS:
            continue
        yield event.start_ns, event.start_ns + event.duration_ns, (str(stats.get("hlo_module", "")), name)


def _alone(
    recorded: Iterable[tuple[float, float, tuple[str, str]]],
) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield each operation and its time less that of those that ran within it on the same line."""
    within: list[tuple[float, tuple[str, str], list[float]]] = []  # end, operation, time left to it
    for start, end, operation in sorted(recorded, key=lambda each: (each[0], -each[1])):
        while within and within[-1][0] <= start:
            _, done, took = within.pop()
            yield done, took[0]
        if within:
            within[-1][2][0] -= end - start
        within.append((end, operation, [end - start]))
    for _, done, took in within:
        yield done, took[0]
