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

WIDE = 2**16  # minimum elements of a parameter to divide: for smaller ones, gathering costs more than computing


@dataclass(frozen=True)
class DeviceLayout:
    """A mesh of devices, and the sharding of arrays on it.

    Attributes:
        mesh: the mesh, with the axes "data" and "model".
    """

    mesh: Mesh

    @classmethod
    def of(cls, batch_size: int, data: int | None = None, model: int = 1) -> "DeviceLayout":
        """Return a layout on this machine's devices, or on the devices of all processes.

        Args:
            batch_size: size of the global batch, which is divided evenly.
            data: devices along the axis "data"; None for as many as are available and divide the batch.
            model: devices along the axis "model".

        Raises:
            ConfigError: there are too few devices, or they do not divide the batch.
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
        """Number of devices that share a batch."""
        return self.mesh.shape["data"]

    @property
    def model(self) -> int:
        """Number of devices that share wide layers."""
        return self.mesh.shape["model"]

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of an array that is replicated on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch(self) -> NamedSharding:
        """The sharding of an array whose first axis is the batch."""
        return NamedSharding(self.mesh, PartitionSpec("data"))

    @property
    def each(self) -> NamedSharding:
        """The sharding of an array with one row per device."""
        return NamedSharding(self.mesh, PartitionSpec(("data", "model")))

    @property
    def processes(self) -> int:
        """Number of processes that own the devices."""
        return len({device.process_index for device in self.mesh.devices.flat})

    def part(self, batch_size: int) -> tuple[int, int]:
        """Return the range [low, high) of a global batch that this process's devices compute."""
        share = batch_size // self.data
        rows = [row for row, devices in enumerate(self.mesh.devices) if devices[0].process_index == jax.process_index()]
        return rows[0] * share, (rows[-1] + 1) * share

    def of_tree(self, tree: Any) -> Any:
        """Return a sharding for each leaf of a training state: wide leaves are divided along their last axis.

        A parameter, its moments and its average have the same shape and so the same sharding.
        """
        return jax.tree.map(self._of_leaf, tree)

    def divided(self, tree: Any) -> int:
        """Return the number of leaves of a tree that are divided along the axis "model"."""
        return sum(not sharding.is_fully_replicated for sharding in jax.tree.leaves(self.of_tree(tree)))

    def targets(self, tree: Any) -> Any:
        """Return a tree of arrays or shapes as shapes with shardings."""

        def target(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._of_leaf(leaf))

        return jax.tree.map(target, tree)

    def put(self, array: npt.ArrayLike) -> jax.Array:
        """Replicate an array, which every process holds completely, on every device."""
        whole = np.asarray(array)
        if self.processes == 1:
            return jax.device_put(whole, self.replicated)
        return jax.make_array_from_callback(whole.shape, self.replicated, lambda index: whole[index])

    def put_batches(self, batches: npt.NDArray[Any], batch_size: int) -> jax.Array:
        """Return a process's part of several batches, (steps, part, ...), as global ones, (steps, batch_size, ...)."""
        shape = (batches.shape[0], batch_size, *batches.shape[2:])
        return jax.make_array_from_process_local_data(
            NamedSharding(self.mesh, PartitionSpec(None, "data")), batches, shape
        )

    def whole(self, tree: Any) -> Any:
        """Replicate a tree on every device, so that each process can read all of it."""
        if self.processes == 1:
            return tree
        return jax.jit(lambda arrays: arrays, out_shardings=self.replicated)(tree)

    def _of_leaf(self, leaf: Any) -> NamedSharding:
        wide = len(leaf.shape) >= 2 and math.prod(leaf.shape) >= WIDE and leaf.shape[-1] % self.model == 0
        if self.model == 1 or not wide:
            return self.replicated
        return NamedSharding(self.mesh, PartitionSpec(*[None] * (len(leaf.shape) - 1), "model"))


def single_device() -> DeviceLayout:
    """Return the layout on the first device only."""
    return DeviceLayout(Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1), ("data", "model")))
