"""What is measured: rows of data, and the targets that their ratios are held to.

A row of jobs is done by programs that stay alive. A row of whole processes names, for each program, how that process is
started; rows of one workload that name the same process share its measurements.
"""

from typing import NamedTuple

from benchmarks.arithmetic import convolution_flops, evaluation_flops, training_flops
from benchmarks.jobs import MOBILENET_BLOCK, RESNET18, AnyJob, Convolution, Job, Network

EPOCH_STEPS = 1200  # of the paper's run
TEST_IMAGES = 10_000

OURS, FLAX, KERAS, TORCH = "ours", "naive_flax", "keras_jax", "torch_channels_last"
PROGRAMS = (OURS, FLAX, KERAS, TORCH)
OF_LAYERS = (OURS, FLAX, TORCH)  # Keras on JAX would be plain Flax again
LAYERS = ("convolution", "network")  # workloads of single layers and of networks, which have a table of their own
ZOO = "zoo"  # the workload of whole networks of the zoo, which have another
LIMIT, BOUND, FIRST, SECOND = "limit", "bound", "first start", "one second"  # what else a target compares with


class Process(NamedTuple):
    """How a whole process is started.

    Attributes:
        program: of `PROGRAMS`.
        task: "paper", the paper's run with its evaluations; "first_step", one step without; "fast", `mnist_fast`;
            "network", the first steps of a network.
        cache: of compiled programs: "empty", or "warm" for the one that the same program has used before.
        job: of the task "network".
    """

    program: str
    task: str
    cache: str = "warm"
    job: Network | None = None


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        workload: which one the row belongs to.
        name: the row's own, in the JSON and for targets.
        label: for people.
        rounds: how often every program is measured.
        job: for programs that stay alive.
        programs: that do the job.
        processes: for whole processes, by program.
        measure: of what was measured, the number that the row reports.
        once: programs that do the job in the first round alone, because it takes them many seconds.
    """

    workload: str
    name: str
    label: str
    rounds: int
    job: AnyJob | None = None
    programs: tuple[str, ...] = PROGRAMS
    processes: tuple[Process, ...] = ()
    measure: str = "seconds"
    once: tuple[str, ...] = ()

    def flops(self) -> int | None:
        """Return the operations of the products of the row's job.

        None for whole processes and for networks; and for grouped convolutions, which are no product of matrices: their
        operations are so few that reading and writing the arrays takes longer.
        """
        if isinstance(self.job, Convolution) and self.job.groups == 1:
            return convolution_flops(self.job)
        if not isinstance(self.job, Job):
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
        against: a program, the limit, the bound of memory, the first start, or one second.
        at_most: the ratio, on jax 0.12; of one second, how many of them.
        aim: the ratio that is hoped for; None where it is the target's own.
        memory: whether the ratio is one of memory beyond imports; otherwise one of what the row reports.
    """

    row: str
    against: str
    at_most: float
    aim: float | None = None
    memory: bool = False


def _batch_size(size: int) -> Row:
    job = Job("train", steps=10_000 // size, batch_size=size)
    return Row("batch_size", f"batch_size_{size}", f"10,000 images in batches of {size:,}", 3, job)


def _width(width: int, steps: int) -> Row:
    job = Job("train", steps=steps, width=width)
    return Row("width", f"width_{width}", f"{steps} steps, {16 * width} and {32 * width} filters (×{width})", 3, job)


_CONVOLUTIONS = (
    Convolution(50, 14, 16, 5, 32),  # the paper's two
    Convolution(50, 28, 1, 5, 16),
    Convolution(16, 56, 64, 3, 64, groups=64),
    Convolution(16, 14, 480, 5, 480, groups=480),
    Convolution(16, 56, 144, 3, 144, stride=2, groups=144),
    Convolution(32, 32, 64, 3, 64),
    Convolution(32, 8, 256, 3, 256),
    Convolution(16, 56, 24, 1, 144),
    Convolution(8, 224, 3, 3, 32, stride=2),
)


def _convolution(job: Convolution, *, gradients: bool) -> Row:
    kernel, size = f"{job.kernel}×{job.kernel}", f"{job.batch} × {job.size}×{job.size}"
    depthwise = job.groups == job.channels == job.filters
    what = f"depthwise {kernel}, {job.channels}" if depthwise else f"{kernel}, {job.channels} → {job.filters}"
    stride = f", stride {job.stride}" if job.stride > 1 else ""
    label = f"{what} channels, {size}{stride}, {'with gradients' if gradients else 'forward'}"
    if gradients:
        job = job._replace(gradients=True, calls=5 if depthwise else 10)  # half a second or more each in plain XLA
    return Row("convolution", _convolution_name(job), label, 7, job, OF_LAYERS)


def _convolution_name(job: Convolution) -> str:
    numbers = (job.batch, job.size, job.channels, job.kernel, job.filters, job.stride, job.groups)
    return f"convolution_{'_'.join(map(str, numbers))}{'_gradients' * job.gradients}"


def _network(name: str, label: str, job: Network) -> Row:
    return Row("network", name, label, 5, job, OF_LAYERS)


FINE_TUNING = "fine_tuning_efficientnet_lite0"
_ZOO = {  # whether it has depthwise convolutions
    "resnet18": False,
    "resnet50": False,
    "mobilenet_v3_large": True,
    "efficientnet_b0": True,
    "densenet121": False,
    "shufflenet_v2_x1_0": True,
}
_ZOO_SIZES = ((32, 32), (8, 224))  # images of a batch, and their height and width
_ZOO_TASKS = {"train": "a training step", "forward": "evaluation"}
_ZOO_CALLS = {("train", 32): 5, ("forward", 32): 10, ("train", 224): 2, ("forward", 224): 4}
_ZOO_ROWS = [(name, batch, size) for name in _ZOO for batch, size in _ZOO_SIZES]
_ZOO_FIRST = [(name, 8, 224) for name in _ZOO]  # whole processes: first losses, and peaks of memory


def _zoo_name(network: str, size: int, task: str) -> str:
    return f"zoo_{network}_{size}_{task}"


def _zoo(network: str, batch: int, size: int, task: str) -> Row:
    calls = _ZOO_CALLS[task, size]
    job = Network(network, task, batch, size, 3, calls, zoo=True)
    label = f"`{network}`, {_ZOO_TASKS[task]}, {batch} × {size}×{size}"
    return Row(ZOO, _zoo_name(network, size, task), label, 3, job, OF_LAYERS, once=(FLAX,))


def _fine_tuning() -> Row:
    label = "`efficientnet_lite0`, a step of fine-tuning, 32 × 224×224 (an epoch of 244 photographs is 7)"
    job = Network("efficientnet_lite0", "train", 32, 224, 3, 7, zoo=True)
    return Row(ZOO, FINE_TUNING, label, 3, job, (OURS, TORCH))


def _zoo_first(network: str, batch: int, size: int) -> Row:
    job = Network(network, "train", batch, size, 3, calls=2, zoo=True)
    processes = (Process(OURS, "network", "empty", job), Process(TORCH, "network", "warm", job))
    label = f"`{network}`, from the start to the first loss, {batch} × {size}×{size}"
    return Row(ZOO, _zoo_name(network, size, "first"), label, 1, processes=processes, measure="first_row_seconds")


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
    *(_convolution(job, gradients=gradients) for job in _CONVOLUTIONS for gradients in (False, True)),
    _network("resnet18_train", "ResNet-18, a training step, 32 × 32×32", Network(RESNET18, "train", 32, 32, 3)),
    _network("resnet18_forward", "ResNet-18, evaluation, 32 × 32×32", Network(RESNET18, "forward", 32, 32, 3)),
    _network(
        "mobilenet_forward",
        "a MobileNetV3 block, 16 × 14×14, evaluation",
        Network(MOBILENET_BLOCK, "forward", 16, 14, 80, calls=20),
    ),
    _network(
        "mobilenet_gradients",
        "a MobileNetV3 block, 16 × 14×14, training with gradients",
        Network(MOBILENET_BLOCK, "gradients", 16, 14, 80, calls=10),
    ),
    *(_zoo(*each, task) for each in _ZOO_ROWS for task in _ZOO_TASKS),
    _fine_tuning(),
    *(_zoo_first(*each) for each in _ZOO_FIRST),
)
WORKLOADS = tuple(dict.fromkeys(row.workload for row in ROWS))
BOUND_ROWS = ("process_empty", "process_warm")  # whose processes' memory is reported, too, with a bound
MEMORY_ROWS = (*BOUND_ROWS, *(_zoo_name(network, size, "first") for network, _, size in _ZOO_FIRST))

TARGETS = (
    *(Target("train", against, at_most) for against, at_most in ((FLAX, 0.40), (KERAS, 0.40), (LIMIT, 1.5))),
    Target("train", TORCH, 0.80, aim=0.70),
    *(Target("train_evaluate", against, at_most) for against, at_most in ((FLAX, 0.45), (KERAS, 0.40), (LIMIT, 1.5))),
    Target("train_evaluate", TORCH, 0.95),
    *(Target(f"batch_size_{size}", TORCH, 0.95) for size in (100, 200, 500, 1000)),
    *(Target(f"width_{width}", TORCH, 0.95) for width in (2, 4, 8)),
    Target("evaluate", TORCH, 0.95),
    Target("process_empty", TORCH, 0.85),
    Target("process_warm", TORCH, 0.95),
    Target("startup_second", FIRST, 0.5),
    Target("process_empty", BOUND, 1.0, memory=True),
    Target("process_warm", BOUND, 1.0, memory=True),
    Target("process_warm", TORCH, 0.9, memory=True),
    *(
        Target(_convolution_name(job._replace(gradients=True)), against, at_most)
        for job in _CONVOLUTIONS
        if job.groups > 1 or job.kernel == 1
        for against, at_most in ((TORCH, 0.8), (FLAX, 0.1))
    ),
    Target("resnet18_train", TORCH, 0.95),
    Target("resnet18_train", FLAX, 0.6),
    *(
        Target(_zoo_name(network, size, task), against, at_most)
        for network, _, size in _ZOO_ROWS
        for task, of_torch in (("train", 1.0), ("forward", 0.8))
        for against, at_most in ((TORCH, of_torch), *(((FLAX, 0.2),) if _ZOO[network] else ()))
    ),
    Target(_zoo_name("resnet50", 224, "first"), SECOND, 20),
    Target(FINE_TUNING, TORCH, 0.9),
)


def with_at_most(row: Row, steps: int | None) -> Row:
    """Return a row that makes no more steps or calls in a measurement, for a quick look; its label says so."""
    if steps is None or {process.task for process in row.processes} == {"first_step"}:
        return row
    job = row.job and row.job.at_most(steps)
    processes = tuple(each._replace(job=each.job and each.job.at_most(steps)) for each in row.processes)
    of_jobs = row.job is not None or any(each.job for each in processes)
    if of_jobs and (job, processes) == (row.job, row.processes):
        return row
    what = "steps" if processes or getattr(job, "task", None) == "train" else "calls"
    return row._replace(label=f"{row.label}, cut to {steps} {what}", job=job, processes=processes)
