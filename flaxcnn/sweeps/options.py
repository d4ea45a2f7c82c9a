"""How a sweep is carried out: what changes nothing in what is searched."""

import math
from dataclasses import dataclass, field
from typing import Literal

from flaxcnn.config.checks import require
from flaxcnn.errors import ConfigError


@dataclass(frozen=True)
class Ray:
    """What a task on a Ray cluster takes up; for the executor ray."""

    address: str | None = None
    """Of the cluster, as ray.init takes it; None for the one that RAY_ADDRESS names or, without it, for one that is
    started on this machine."""
    cpus: float = 1.0
    """Cores of a task."""
    gpus: float = 0.0
    """GPUs of a task; a fraction shares one, and XLA_PYTHON_CLIENT_MEM_FRACTION its memory."""

    def __post_init__(self) -> None:
        require(0 < self.cpus < math.inf, "--ray.cpus", "above 0", self.cpus)
        require(0 <= self.gpus < math.inf, "--ray.gpus", "at least 0", self.gpus)


@dataclass(frozen=True)
class Execution:
    """Where a sweep is kept, and who trains its trials."""

    out: str | None = None
    """Folder of the sweep; what is half done in it goes on. None for runs/sweep-NAME."""
    storage: str | None = None
    """URL of the SQLite or PostgreSQL database that keeps the trials; None for study.db in the folder. Processes on
    several machines that name the same database and folder share the trials."""
    executor: Literal["auto", "map", "vmap", "processes", "ray"] = "auto"
    """How trials are trained: several in one program, one after the other (map) or all at once (vmap), whichever is
    the faster here (auto); in several processes of this machine; or as tasks on a Ray cluster."""
    workers: int | None = None
    """Processes or Ray tasks at a time; None for one a core, or all that the cluster has room for."""
    parallel: int | None = None
    """Trials side by side in one program, at most; None for 8, or 1 in several processes, on Ray, and where a proposal
    depends on the trials before."""
    confirm: int = 0
    """Train so many of the best settings again, with fresh seeds, beside the config's own; 0 for none."""
    confirm_seeds: int = 8
    """Fresh seeds for each of them."""
    ray: Ray = field(default_factory=Ray)

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("parallel", 1), ("confirm", 0), ("confirm_seeds", 2)):
            value = getattr(self, name)
            require(value is None or value >= least, f"--{name}", f"at least {least}", value)
        if self.workers is not None and self.executor not in ("processes", "ray"):
            raise ConfigError("one process trains", where="--workers", expected="--executor processes or ray")
        if self.ray != Ray() and self.executor != "ray":
            raise ConfigError("nothing runs on Ray", where="--ray", expected="--executor ray")
        if self.confirm_seeds != type(self).confirm_seeds and not self.confirm:
            raise ConfigError("nothing is confirmed", where="--confirm_seeds", expected="a --confirm above 0")
