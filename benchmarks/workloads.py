"""What is measured: rows of data, and the targets that their ratios are held to.

A row of jobs is done by programs that stay alive. A row of whole processes names, for each program, how that process is
started; rows of one workload that name the same process share its measurements.
"""

from typing import NamedTuple

from benchmarks.arithmetic import evaluation_flops, training_flops
from benchmarks.worker import Job

EPOCH_STEPS = 1200  # of the paper's run
TEST_IMAGES = 10_000

OURS, FLAX, KERAS, TORCH = "ours", "naive_flax", "keras_jax", "torch_channels_last"
PROGRAMS = (OURS, FLAX, KERAS, TORCH)
LIMIT, BOUND, FIRST = "limit", "bound", "first start"  # what else a target compares with


class Process(NamedTuple):
    """How a whole process is started.

    Attributes:
        program: of `PROGRAMS`.
        task: "paper", the paper's run with its evaluations; "first_step", one step without; "fast", `mnist_fast`.
        cache: of compiled programs: "empty", or "warm" for the one that the same program has used before.
    """

    program: str
    task: str
    cache: str = "warm"


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        workload: which one the row belongs to.
        name: the row's own, in the JSON and for targets.
        label: for people.
        rounds: how often every program is measured.
        job: for programs that stay alive.
        processes: for whole processes, by program.
        measure: of what was measured, the number that the row reports.
    """

    workload: str
    name: str
    label: str
    rounds: int
    job: Job | None = None
    processes: tuple[Process, ...] = ()
    measure: str = "seconds"

    def flops(self) -> int | None:
        """Return the operations of the products of the row's job; None for whole processes."""
        if self.job is None:
            return None
        if self.job.task == "evaluate":
            return evaluation_flops(TEST_IMAGES, self.job.width)
        evaluations = sum(map(self.job.evaluates, range(self.job.steps)))
        trained = training_flops(self.job.steps * self.job.batch_size, self.job.width)
        return trained + evaluation_flops(evaluations * self.job.evaluated, self.job.width)


class Target(NamedTuple):
    """A ratio that this library's median in a row is held to.

    Attributes:
        row: its name.
        against: a program, the limit, the bound of memory, or the first start.
        at_most: the ratio, on jax 0.12.
    """

    row: str
    against: str
    at_most: float


def _batch_size(size: int) -> Row:
    job = Job("train", steps=10_000 // size, batch_size=size)
    return Row("batch_size", f"batch_size_{size}", f"10,000 images in batches of {size:,}", 3, job)


def _width(width: int, steps: int) -> Row:
    job = Job("train", steps=steps, width=width)
    return Row("width", f"width_{width}", f"{steps} steps, {16 * width} and {32 * width} filters (×{width})", 3, job)


def _processes(task: str, cache: str) -> tuple[Process, ...]:
    # PyTorch has no cache of compiled programs, eager as it is: both rows show the same processes.
    return tuple(Process(program, task, "warm" if program == TORCH else cache) for program in PROGRAMS)


ROWS = (
    Row("train", "train", "the paper's epoch, its steps", 5, Job("train", EPOCH_STEPS)),
    Row(
        "train_evaluate",
        "train_evaluate",
        "the paper's epoch, with its 24 evaluations",
        3,
        Job("train", EPOCH_STEPS, evaluate_every=50),
    ),
    Row(
        "process",
        "process_empty",
        "the paper's run, whole process, first start",
        3,
        processes=(Process(OURS, "paper", "empty"), Process(TORCH, "paper")),
    ),
    Row(
        "process",
        "process_warm",
        "the paper's run, whole process, later start",
        3,
        processes=_processes("paper", "warm"),
    ),
    *map(_batch_size, (50, 100, 200, 500, 1000)),
    _width(1, 200),
    _width(2, 100),
    _width(4, 40),
    _width(8, 12),
    Row("evaluate", "evaluate", "10,000 images evaluated", 9, Job("evaluate")),
    Row(
        "startup",
        "startup_first",
        "from the start to the first loss, first start",
        3,
        processes=_processes("first_step", "empty"),
        measure="first_row_seconds",
    ),
    Row(
        "startup",
        "startup_second",
        "from the start to the first loss, later start",
        3,
        processes=_processes("first_step", "warm"),
        measure="first_row_seconds",
    ),
    Row(
        "fast",
        "mnist_fast",
        "`mnist_fast`, batch normalisation, whole process",
        3,
        processes=(Process(OURS, "fast"), Process(TORCH, "fast")),
    ),
)
WORKLOADS = tuple(dict.fromkeys(row.workload for row in ROWS))
MEMORY_ROWS = ("process_empty", "process_warm")  # whose processes' memory is reported, too

TARGETS = (
    *(
        Target(row, against, at_most)
        for row in ("train", "train_evaluate")
        for against, at_most in ((FLAX, 0.45), (KERAS, 0.40), (TORCH, 0.90), (LIMIT, 1.5))
    ),
    Target("process_empty", TORCH, 0.85),
    Target("process_warm", TORCH, 0.85),
    Target("startup_second", FIRST, 0.5),
    Target("process_empty", BOUND, 1.0),
    Target("process_warm", BOUND, 1.0),
)


def with_at_most(row: Row, steps: int | None) -> Row:
    """Return a row whose training makes no more steps, for a quick look; its label says so."""
    short = {process.task for process in row.processes} == {"first_step"}
    if steps is None or short or (row.job and (row.job.task != "train" or row.job.steps <= steps)):
        return row
    job = row.job and row.job._replace(steps=steps)
    return row._replace(label=f"{row.label}, cut to {steps} steps", job=job)
