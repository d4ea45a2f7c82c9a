"""The layout of a training's arrays on one or several devices, in one or several processes.

The devices form a mesh with two axes. Along `data`, the devices share each batch. Along `model`, they share the output
features of wide layers. Programs are written for whole arrays and compiled by plain `jit`; XLA sees the shardings and
adds the communication. The mean of a batch, its statistics and its gradient are therefore those of the global batch on
any mesh.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from flaxcnn.errors import ConfigError

WIDE = 2**16  # elements of a parameter that is worth dividing: smaller ones cost more to put together than to compute


@dataclass(frozen=True)
class DeviceLayout:
    """A mesh of devices, and how arrays lie on it.

    Attributes:
        mesh: with the axes "data" and "model".
    """

    mesh: Mesh

    @classmethod
    def of(cls, batch_size: int, data: int | None = None, model: int = 1) -> "DeviceLayout":
        """Return a layout on this machine's devices, or on those of all processes.

        Args:
            batch_size: of the global batch, which is divided evenly.
            data: devices along the axis "data"; None for as many as there are and divide the batch.
            model: devices along the axis "model".

        Raises:
            ConfigError: there are not so many devices, or they cannot divide the batch.
        """
        devices, processes = jax.devices(), jax.process_count()
        if len(devices) < model or (processes > 1 and jax.local_device_count() % model):
            expected = f"at most {len(devices)}, the devices that JAX sees"
            if processes > 1:
                expected = f"a divisor of {jax.local_device_count()}, the devices of a process"
            raise ConfigError("too many devices", where="mesh.model", expected=expected, found=model)
        most = len(devices) // model
        if data is None:
            data = most if processes > 1 else max(n for n in range(1, most + 1) if batch_size % n == 0)
        if data > most or (processes > 1 and data < most):
            limit = "exactly" if processes > 1 else "at most"
            expected = f"{limit} {most}: JAX sees {len(devices)}, mesh.model is {model}"
            raise ConfigError("not a number of devices", where="mesh.data", expected=expected, found=data)
        if batch_size % data:
            raise ConfigError(
                "a batch that the devices cannot divide",
                where="training.batch_size",
                expected=f"a multiple of mesh.data, {data}",
                found=batch_size,
            )
        return cls(Mesh(np.array(devices[: data * model]).reshape(data, model), ("data", "model")))

    @property
    def data(self) -> int:
        """Devices among which a batch is divided."""
        return self.mesh.shape["data"]

    @property
    def model(self) -> int:
        """Devices among which wide layers are divided."""
        return self.mesh.shape["model"]

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of an array that every device has whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch(self) -> NamedSharding:
        """The sharding of an array whose first axis is the batch."""
        return NamedSharding(self.mesh, PartitionSpec("data"))

    @property
    def each(self) -> NamedSharding:
        """The sharding of an array that has one row for each device."""
        return NamedSharding(self.mesh, PartitionSpec(("data", "model")))

    @property
    def processes(self) -> int:
        """Processes that own the devices."""
        return len({device.process_index for device in self.mesh.devices.flat})

    def part(self, batch_size: int) -> tuple[int, int]:
        """Return the positions, low to high - 1, of a global batch that this process's devices work on."""
        share = batch_size // self.data
        rows = [row for row, devices in enumerate(self.mesh.devices) if devices[0].process_index == jax.process_index()]
        return rows[0] * share, (rows[-1] + 1) * share

    def of_tree(self, tree: Any) -> Any:
        """Return a sharding for each leaf of a training state: wide ones are divided along their last axis.

        A parameter, its moments and its average have one shape, and so lie alike.
        """
        return jax.tree.map(self._of_leaf, tree)

    def divided(self, tree: Any) -> int:
        """Return how many leaves of a tree are divided along the axis "model"."""
        return sum(not sharding.is_fully_replicated for sharding in jax.tree.leaves(self.of_tree(tree)))

    def targets(self, tree: Any) -> Any:
        """Return a tree of arrays or their shapes as shapes that know where they are to lie."""

        def target(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._of_leaf(leaf))

        return jax.tree.map(target, tree)

    def put(self, array: npt.ArrayLike) -> jax.Array:
        """Return an array that every process has whole as one that every device has whole."""
        whole = np.asarray(array)
        if self.processes == 1:
            return jax.device_put(whole, self.replicated)
        return jax.make_array_from_callback(whole.shape, self.replicated, lambda index: whole[index])

    def put_batches(self, batches: npt.NDArray[Any], batch_size: int) -> jax.Array:
        """Return several batches, (steps, this process's part, ...), as global ones, (steps, batch_size, ...)."""
        shape = (batches.shape[0], batch_size, *batches.shape[2:])
        return jax.make_array_from_process_local_data(
            NamedSharding(self.mesh, PartitionSpec(None, "data")), batches, shape
        )

    def whole(self, tree: Any) -> Any:
        """Return a tree of which every device has every array whole, so that each process can read all of it."""
        if self.processes == 1:
            return tree
        return jax.jit(lambda arrays: arrays, out_shardings=self.replicated)(tree)

    def _of_leaf(self, leaf: Any) -> NamedSharding:
        wide = len(leaf.shape) >= 2 and math.prod(leaf.shape) >= WIDE and leaf.shape[-1] % self.model == 0
        if self.model == 1 or not wide:
            return self.replicated
        return NamedSharding(self.mesh, PartitionSpec(*[None] * (len(leaf.shape) - 1), "model"))


def single_device() -> DeviceLayout:
    """Return the layout on the first device alone."""
    return DeviceLayout(Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1), ("data", "model")))
