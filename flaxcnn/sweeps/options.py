"""Execution options of a sweep. They do not change the search itself."""

import math
from dataclasses import dataclass, field
from typing import Literal

from flaxcnn.config.checks import require
from flaxcnn.errors import ConfigError


@dataclass(frozen=True)
class Ray:
    """The Ray cluster and each task's resources; for --executor ray."""

    address: str | None = None
    """Address of the cluster, as for ray.init. None for the cluster in RAY_ADDRESS or, if that is not set, for a new
    one on this machine."""
    cpus: float = 1.0
    """CPU cores per task."""
    gpus: float = 0.0
    """GPUs per task. With a fraction, tasks share a GPU; divide its memory with XLA_PYTHON_CLIENT_MEM_FRACTION."""

    def __post_init__(self) -> None:
        require(0 < self.cpus < math.inf, "--ray.cpus", "above 0", self.cpus)
        require(0 <= self.gpus < math.inf, "--ray.gpus", "at least 0", self.gpus)


@dataclass(frozen=True)
class Execution:
    """Where a sweep is stored and how its trials are trained."""

    out: str | None = None
    """Folder of the sweep. An unfinished sweep in it continues. None for runs/sweep-NAME."""
    storage: str | None = None
    """URL of the SQLite or PostgreSQL database that stores the trials; None for study.db in the folder. Processes that
    name the same database and folder share the trials, also on several machines."""
    executor: Literal["auto", "map", "vmap", "processes", "ray"] = "auto"
    """How to train trials. map: several in one program, one after the other. vmap: several in one program, all at once.
    auto: the faster of map and vmap. processes: in several processes on this machine. ray: as tasks on a Ray
    cluster."""
    workers: int | None = None
    """Number of processes or concurrent Ray tasks; None for one per core, or as many as the cluster has room for."""
    parallel: int | None = None
    """Maximum number of trials in one program. None for 8; or for 1 with processes, on Ray, and where a proposal
    depends on earlier trials."""
    confirm: int = 0
    """Retrain this many of the best settings, and the config's own settings, with new seeds; 0 for none."""
    confirm_seeds: int = 8
    """Number of new seeds for each of these settings."""
    ray: Ray = field(default_factory=Ray)

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("parallel", 1), ("confirm", 0), ("confirm_seeds", 2)):
            value = getattr(self, name)
            require(value is None or value >= least, f"--{name}", f"at least {least}", value)
        if self.workers is not None and self.executor not in ("processes", "ray"):
            raise ConfigError("no effect with one process", where="--workers", expected="--executor processes or ray")
        if self.ray != Ray() and self.executor != "ray":
            raise ConfigError("no effect without Ray", where="--ray", expected="--executor ray")
        if self.confirm_seeds != type(self).confirm_seeds and not self.confirm:
            raise ConfigError("no effect without --confirm", where="--confirm_seeds", expected="a --confirm above 0")
