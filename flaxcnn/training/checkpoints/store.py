"""A folder of checkpoints: save, list, restore.

    checkpoints/step-00001200/state/          the arrays, as Orbax writes them
                              metadata.json   schema version, `Metadata`, and the dtype and shape of every array
                              manifest.json   size and SHA-256 of every other file

A checkpoint is filled under a name that starts with `.partial-`, flushed to the disk, and renamed: killed at any
instant, a save leaves the earlier checkpoints as they were and the new one either whole or absent. Only one run may
save at a time; the caller sees to that.

Of a run in several processes, all save and restore together, in a folder that all of them see: each writes and reads
its own part of the arrays, and all else is the first process's. They leave a call with the same result or error.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flaxcnn import processes
from flaxcnn.errors import ConfigError, RunFolderError
from flaxcnn.files import cannot_write, sync, sync_tree
from flaxcnn.training.checkpoints.arrays import check_fits, describe, read_arrays, write_arrays
from flaxcnn.training.checkpoints.manifest import (
    DamagedCheckpointError,
    check_manifest,
    read_json,
    write_json,
    write_manifest,
)
from flaxcnn.training.checkpoints.metadata import Metadata

SCHEMA = 1  # of the layout and of metadata.json: raised when a reader of the old one would read the new one wrongly
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Restored:
    """What a checkpoint held.

    Attributes:
        state: a tree of the target's structure.
        metadata: what was saved with it.
        rejected: a line for each newer checkpoint that could not be used, newest first, saying why.
    """

    state: Any
    metadata: Metadata
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run.

    Attributes:
        folder: where they stand; made by the first save.
        keep: how many of the last ones stay.
        keep_best: how many of those with the best `Metadata.metric` stay besides.
        higher_is_better: which end of the metric is best: True for an accuracy, False for a loss.

    Raises:
        ConfigError: `keep` is less than 1, or `keep_best` less than 0.
    """

    folder: Path
    keep: int = 3
    keep_best: int = 0
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        for name, least in (("keep", 1), ("keep_best", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    "out of range",
                    where=f"checkpoint.{name}",
                    expected=f"at least {least}",
                    found=getattr(self, name),
                )

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint of a step, whether it exists or not."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending. Whether it is intact shows when it is read.

        Raises:
            RunFolderError: the folder cannot be read.
        """
        try:
            names = [each.name for each in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunFolderError(f"cannot read: {error.strerror}", where=self.folder) from error
        matches = (re.fullmatch(r"step-(\d{8,})", name) for name in names)
        return sorted(int(match[1]) for match in matches if match)

    def save(self, state: Any, metadata: Metadata) -> None:
        """Save a checkpoint, and delete those that need not be kept once it is on the disk; called by all processes.

        What an earlier save left unfinished is removed first. A step that has an intact checkpoint keeps it, and
        nothing is written; a damaged one is replaced.

        Args:
            state: a tree of `jax.Array`s; of a `TrainState`, everything that changes from step to step.
            metadata: names the step.

        Raises:
            RunFolderError: no space, no permission, or another reason for which the system would not write, in any of
                the processes. The earlier checkpoints stay.
            ProcessError: a process was lost. The earlier checkpoints stay.
        """
        if processes.together(lambda: self._begin(metadata.step)):
            try:
                processes.in_each(lambda: self._write_arrays(metadata.step, state))
                processes.together(lambda: self._complete(state, metadata))
            except BaseException:
                # What cannot be removed now is removed by the next save; the error that led here is the one to tell.
                if processes.is_first():
                    shutil.rmtree(self._partial(metadata.step), ignore_errors=True)
                raise
        processes.together(lambda: self._prune(metadata.step))

    def read_metadata(self, step: int) -> Metadata:
        """Return what was saved with a checkpoint, without its arrays.

        Raises:
            DamagedCheckpointError: a file of it changed, or another version of this layout wrote it.
        """
        return self._check(step)[0]

    def restore(self, step: int, target: Any) -> Restored:
        """Restore the checkpoint of a step.

        Args:
            step: one of `steps`.
            target: as for `restore_newest`.

        Raises:
            DamagedCheckpointError: it is missing, or a file of it changed.
            ContractError: it holds other arrays than `target`; names the first.
        """
        return self._restore(processes.together(lambda: self._found(step)), target)

    def restore_newest(self, target: Any) -> Restored | None:
        """Restore the newest checkpoint that is intact.

        Args:
            target: the state to restore into, concrete or made by `jax.eval_shape`: gives the tree's structure, each
                array's shape, dtype and sharding, and whatever is no array. A checkpoint made on other devices is
                spread as the target says; an array without a sharding goes to the first device.

        Returns:
            The state, bit for bit as it was saved; None where there is no checkpoint at all.

        Raises:
            RunFolderError: there are checkpoints, and none is intact; says why for each.
            ContractError: the newest intact one holds other arrays than `target`; names the first.
        """
        found = processes.together(self._find_newest)
        return None if found is None else self._restore(found, target)

    def _find_newest(self) -> dict[str, Any] | None:
        """Return what `_found` does of the newest intact checkpoint, and why each newer one is none."""
        rejected: list[str] = []
        for step in reversed(self.steps()):
            try:
                return {**self._found(step), "rejected": rejected}
            except DamagedCheckpointError as error:
                rejected.append(str(error))
        if rejected:
            raise RunFolderError(
                f"no intact checkpoint among {len(rejected)}: {' | '.join(rejected)}",
                where=self.folder,
                fix="restore this folder from a copy, or delete it to start the run anew",
            )
        return None

    def _found(self, step: int) -> dict[str, Any]:
        """Return what is to know of an intact checkpoint to restore it; made of what JSON has, to be shared."""
        metadata, arrays = self._check(step)
        return {"metadata": metadata.to_json(), "arrays": arrays, "rejected": []}

    def _restore(self, found: dict[str, Any], target: Any) -> Restored:
        metadata = Metadata.from_json(found["metadata"])
        path = self.path(metadata.step)
        check_fits(found["arrays"], target, path)
        state = processes.in_each(lambda: self._read_arrays(path, target))
        return Restored(state, metadata, tuple(found["rejected"]))

    def _read_arrays(self, path: Path, target: Any) -> Any:
        _require_seen(path)
        return read_arrays(path / "state", target)

    def _begin(self, step: int) -> bool:
        """Make room for a checkpoint; return whether there is one to be written."""
        with self._writing(step):
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                sync(self.folder.parent)
            self._remove_partials()
            if self._is_intact(step):
                return False
            self._partial(step).mkdir()
            return True

    def _write_arrays(self, step: int, state: Any) -> None:
        _require_seen(self._partial(step))
        with self._writing(step):
            write_arrays(self._partial(step) / "state", state)

    def _complete(self, state: Any, metadata: Metadata) -> None:
        """Add to the arrays what else belongs to a checkpoint, and give it its name."""
        partial, final = self._partial(metadata.step), self.path(metadata.step)
        with self._writing(metadata.step):
            fields = {"schema": SCHEMA, **metadata.to_json(), "arrays": describe(state)}
            write_json(partial / "metadata.json", fields)
            write_manifest(partial)
            sync_tree(partial)
            if final.exists():  # damaged, or it would have been kept
                self._delete(final, self.folder / f"{_PARTIAL}damaged-{final.name}")
            partial.rename(final)
            sync(self.folder)

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self.path(step), error) from error

    def _check(self, step: int) -> tuple[Metadata, dict[str, str]]:
        """Return an intact checkpoint's metadata and the description of its arrays; raises DamagedCheckpointError."""
        path = self.path(step) / "metadata.json"
        fields = read_json(path)
        schema = fields.pop("schema", None)
        if schema != SCHEMA:  # first, since another version may have another manifest
            raise DamagedCheckpointError("unknown schema version", where=path, expected=SCHEMA, found=schema)
        check_manifest(path.parent)
        arrays = fields.pop("arrays", None)
        if not isinstance(arrays, dict):
            raise DamagedCheckpointError("lacks the list of arrays", where=path)
        try:
            metadata = Metadata.from_json(fields)
        except ValueError as error:
            raise DamagedCheckpointError(str(error), where=path) from error
        if metadata.step != step:
            raise DamagedCheckpointError("of another step than its name says", where=path, found=metadata.step)
        return metadata, arrays

    def _is_intact(self, step: int) -> bool:
        if not self.path(step).exists():
            return False
        try:
            self._check(step)
        except DamagedCheckpointError:
            return False
        return True

    def _prune(self, newest: int) -> None:
        # Later steps than the newest are damaged ones that a run went back before: they must not push out good ones.
        steps = [step for step in self.steps() if step <= newest]
        kept = {*steps[-self.keep :], *self._best(steps)}
        with self._writing(newest):
            for step in steps:
                if step not in kept:
                    self._delete(self.path(step), self._partial(step))

    def _best(self, steps: list[int]) -> list[int]:
        """Return the steps of the best metrics; of equal ones the earlier."""
        ranked: list[tuple[float, int]] = []
        for step in steps if self.keep_best else []:
            try:
                metric = read_json(self.path(step) / "metadata.json").get("metric")
            except DamagedCheckpointError:
                continue  # not worth keeping as a best one; who restores is told of it
            if isinstance(metric, int | float):
                ranked.append((-metric if self.higher_is_better else metric, step))
        return [step for _, step in sorted(ranked)[: self.keep_best]]

    def _partial(self, step: int) -> Path:
        return self.folder / f"{_PARTIAL}{self.path(step).name}"

    def _delete(self, path: Path, partial: Path) -> None:
        # Renamed first: half deleted, it no longer looks like a checkpoint.
        path.rename(partial)
        shutil.rmtree(partial)

    def _remove_partials(self) -> None:
        for each in self.folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(each)


def _require_seen(folder: Path) -> None:
    """Raise RunFolderError where the first process's folder is not there for this one."""
    if not folder.is_dir():
        raise RunFolderError(
            f"process {processes.index()} does not see this folder of process 0",
            where=folder,
            elsewhere="a folder on a disk that all processes share",
        )
