"""Find the largest batch size that fits in the devices' memory: `--batch-size auto`.

XLA reports a program's memory before it runs, so sizes are tested by compiling alone. The size found must then complete
a real step.
"""

import dataclasses
import math
from bisect import bisect_right
from contextlib import closing
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from flaxcnn import processes
from flaxcnn.config import Experiment, Schedule, outside_names
from flaxcnn.errors import ConfigError
from flaxcnn.files import user_path
from flaxcnn.runs.folder.environment import device_line
from flaxcnn.runs.folder.record import CONFIG, read_config
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import Loaded
from flaxcnn.runs.setup import Setup, set_up
from flaxcnn.runs.tools.host_memory import host_memory
from flaxcnn.training.batches import CHUNK_BYTES, MOST_CHUNK_STEPS, Batches, ResidentBatches, StreamedBatches
from flaxcnn.training.device_layout import DeviceLayout
from flaxcnn.training.loop import MOST_STEPS, BlockRunner
from flaxcnn.training.step import train_block

_SHARE = 0.9  # of the free memory: the rest is for fragments, and for what XLA's account leaves out
_FIRST_GUESS = 256


class Account(NamedTuple):
    """What XLA says that a block of steps takes on each device, in bytes.

    Attributes:
        kept: the state, and the images and labels that batches are taken from.
        temporary: what is computed on the way and given back.
    """

    kept: int
    temporary: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.kept + self.temporary


class Found(NamedTuple):
    """The largest batch that fits.

    Attributes:
        batch_size: a power of two.
        account: of a block with it.
        twice: of a block with twice as many; None where it is not known.
    """

    batch_size: int
    account: Account
    twice: Account | None


def auto_batch_size(experiment: Experiment, out: str | None = None) -> int:
    """Return the batch size that a run's folder recorded or, for a new run, the largest one; say which, and why.

    Args:
        experiment: what is to be trained; its own batch size plays no part.
        out: the run's folder, which need not exist; None for a new one.

    Raises:
        ConfigError: not even the smallest batch fits, no power of two can be divided as asked, or it is not known yet
            and there are several processes.
        FlaxcnnError: as `set_up` and `read_config`.
    """
    recorded = processes.together(lambda: _recorded(out, experiment))
    if recorded is not None:
        if processes.is_first():
            print(f"batch size {recorded:,}, as {out} recorded", flush=True)
        return recorded
    if processes.count() > 1:
        raise ConfigError(
            "only for a single process",
            where="--batch_size auto",
            expected="a number",
            found=f"{processes.count()} processes",
        )
    setup = set_up(_sized(experiment, _smallest(experiment)))
    memory = int(_SHARE * free_memory(setup))
    found = prove(setup, largest_batch(setup, memory), memory)
    print("\n".join(describe(found, memory)), flush=True)
    return found.batch_size


def largest_batch(setup: Setup, memory: int, most: int | None = None) -> Found:
    """Return the largest batch of which a block of steps fits, by XLA's account; nothing is computed.

    Memory grows nearly in proportion to the batch, so each size that is tried says which one to try next: three or
    four are compiled.

    Args:
        setup: with the smallest batch that may be.
        memory: of each device, in bytes.
        most: the largest batch that may be; None for the training images.

    Raises:
        ConfigError: not even the smallest one fits.
    """
    smallest = setup.calendar.batch_size
    most = len(setup.train) if most is None else most
    sizes = [2**power for power in range(most.bit_length()) if smallest <= 2**power <= most]
    accounts: dict[int, Account | None] = {}
    low, high, guess = -1, len(sizes), bisect_right(sizes, _FIRST_GUESS) - 1  # low fits, high does not
    while high - low > 1:
        index = min(max(guess, low + 1), high - 1)
        account = accounts[index] = account_of(_of_size(setup, sizes[index]))
        if account is not None and account.total <= memory:
            low = index
        else:
            high = index
        guess = index - 1
        if account is not None:
            guess = bisect_right(sizes, sizes[index] * (memory - account.kept) / account.temporary) - 1
    if low < 0:
        needs = accounts[0]
        raise ConfigError(
            "not even the smallest batch fits",
            where="--batch_size auto",
            expected=f"at most {_gib(memory)} for a batch of {sizes[0]}",
            found="more than XLA can compile" if needs is None else _gib(needs.total),
            fix="leave the images in the host's memory with --data.device_memory 0, or take a smaller model",
        )
    account = accounts[low]
    assert account is not None  # a size that fits was accounted for
    return Found(sizes[low], account, accounts.get(high))


def account_of(setup: Setup) -> Account | None:
    """Return what a block of steps takes on each device; None where it is too large to be compiled."""
    state, batches = setup.state_target(), _batches_target(setup)
    try:
        program = train_block.lower(state, batches, np.int32(1), np.bool_(True), most_steps=MOST_STEPS).compile()
    except jax.errors.JaxRuntimeError as error:
        if _out_of_memory(error):
            return None
        raise
    stats: Any = program.memory_analysis()
    kept = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return Account(kept, max(stats.temp_size_in_bytes, 1))


def prove(setup: Setup, found: Found, memory: int) -> Found:
    """Return the batch that was found, or the largest smaller one of which a real step can be made.

    Args:
        setup: with the smallest batch that may be.
        found: the batch to begin with.
        memory: as for `largest_batch`.

    Raises:
        ConfigError: there is none; or the experiment does not go with a batch of that size.
    """
    loaded = Loaded(setup.dataset, setup.train, setup.validation)
    while True:
        try:
            chosen = set_up(_sized(setup.experiment, found.batch_size), loaded)
        except ConfigError as error:
            where = f"with the {found.batch_size:,} images of --batch_size auto"
            raise ConfigError(str(error), where=where) from error
        try:
            _make_one_step(chosen)
            return found
        except jax.errors.JaxRuntimeError as error:
            if not _out_of_memory(error):
                raise
            too_large = found.batch_size
        if too_large == setup.calendar.batch_size:
            raise ConfigError(
                "not even the smallest batch fits: the device ran out of memory",
                where="--batch_size auto",
                found=f"a batch of {too_large}",
                fix="leave the images in the host's memory with --data.device_memory 0, or take a smaller model",
            )
        print(f"out of memory in a step of {too_large:,} images: trying half of them", flush=True)
        found = largest_batch(setup, memory, too_large // 2)


def describe(found: Found, memory: int) -> list[str]:
    """Return the lines that say what was found, and the account."""
    account, twice = found.account, found.twice
    device = device_line(jax.device_count())
    lines = [
        f"batch size {found.batch_size:,}, the largest power of two that fits: one step was made on {device}",
        f"  memory  {_gib(account.total)} of {_gib(memory)}: {_gib(account.kept)} of state and images, "
        f"{_gib(account.temporary)} while it computes",
    ]
    more = "is more than there are images, or than the device holds" if twice is None else f"takes {_gib(twice.total)}"
    return [*lines, f"          a batch of {2 * found.batch_size:,} {more}"]


def free_memory(setup: Setup) -> int:
    """Return the bytes that a training may take on each device, the images that it is measured on not counted."""
    local = setup.layout.mesh.local_devices
    measured = [each for each in (setup.dataset.test, setup.validation) if each is not None and setup.fits(each)]
    on_device = sum(each.images.nbytes for each in measured)
    stats = [device.memory_stats() or {} for device in local]
    if all("bytes_limit" in each for each in stats):
        return min(each["bytes_limit"] - each.get("bytes_in_use", 0) for each in stats) - on_device
    return host_memory() // len(local) - on_device  # a CPU, or several virtual ones of one


def _recorded(out: str | None, experiment: Experiment) -> int | None:
    if out is None or not (user_path(out, "--out") / CONFIG).exists():
        return None
    folder = RunFolder(user_path(out, "--out"))
    return read_config(folder, outside_names(experiment)).file.experiment.training.batch_size


def _smallest(experiment: Experiment) -> int:
    """Return the smallest power of two that its parts and the devices divide."""
    parts, devices = experiment.training.accumulate, experiment.mesh.data or 1
    for name, value in (("training.accumulate", parts), ("mesh.data", devices)):
        if value.bit_count() != 1:
            raise ConfigError(
                "does not divide a power of two, as --batch_size auto looks for",
                where=name,
                expected="a power of two",
                found=value,
            )
    return max(parts, devices)


def _sized(experiment: Experiment, batch_size: int) -> Experiment:
    return dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, batch_size=batch_size))


def _of_size(setup: Setup, batch_size: int) -> Setup:
    """Return a setup for another batch, of the same data; its learning rate is constant, which takes no memory."""
    mesh = setup.experiment.mesh
    return setup._replace(
        experiment=dataclasses.replace(_sized(setup.experiment, batch_size), schedule=Schedule()),
        calendar=dataclasses.replace(setup.calendar, batch_size=batch_size),
        layout=DeviceLayout.of(batch_size, mesh.data, mesh.model),
    )


def _batches_target(setup: Setup) -> Batches:
    """Return the batches of the setup's source as shapes that know where they are to lie; nothing is read."""
    train, layout, batch = setup.train, setup.layout, setup.calendar.batch_size
    image, first = train.images.shape[1:], np.int32(0)
    if setup.fits(train):

        def whole(shape: tuple[int, ...], dtype: Any) -> Any:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=layout.replicated)

        count = len(train)
        sharding = layout.batch if layout.data > 1 else None
        arrays = (whole((count, *image), np.uint8), whole((count,), np.int32), whole((count,), np.int32))
        return ResidentBatches(*arrays, first, batch, sharding)

    def divided(shape: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(layout.mesh, PartitionSpec(None, "data")))

    steps = max(1, min(MOST_CHUNK_STEPS, CHUNK_BYTES // (batch * math.prod(image))))
    return StreamedBatches(divided((steps, batch, *image), np.uint8), divided((steps, batch), np.int32), first)


def _make_one_step(setup: Setup) -> None:
    with closing(setup.batch_source()) as batch_source:
        state = setup.first_state()
        BlockRunner(state, setup.calendar, batch_source, setup.layout).run(state, 0, most=1)


def _out_of_memory(error: Exception) -> bool:
    return "RESOURCE_EXHAUSTED" in str(error)


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
