"""A folder of checkpoints: save, list, restore.

    checkpoints/step-00001200/state/          the arrays, as Orbax writes them
                              metadata.json   schema version, `Metadata`, and the dtype and shape of every array
                              manifest.json   size and SHA-256 of every other file

A checkpoint is written under a name that starts with `.partial-`, flushed to disk, and renamed. If the process is
killed at any moment, the earlier checkpoints are unchanged and the new one is either complete or absent. Only one run
may save at a time, which the caller must ensure.

In a run with several processes, all save and restore together, in a folder that all of them see. Each process writes
its own part of the arrays and reads what it needs; the first process does everything else. All processes leave a call
with the same result or error.

The folder is untrusted: the target determines what is read and how much. Only files of a run's own folder are ever
deleted, without following links.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flaxcnn import processes
from flaxcnn.errors import ConfigError, ContractError, RunFolderError
from flaxcnn.files import cannot_write, refuse_links, remove, sync, sync_tree
from flaxcnn.training.checkpoints.arrays import check_fits, describe, write_arrays
from flaxcnn.training.checkpoints.manifest import (
    DamagedCheckpointError,
    ListedFiles,
    write_manifest,
)
from flaxcnn.training.checkpoints.metadata import Metadata, read_metadata, write_metadata
from flaxcnn.training.checkpoints.stored import bytes_of, check_arrays, read_arrays

_PARTIAL = ".partial-"
_OVERHEAD = 16 << 20  # bytes of a checkpoint beside its arrays, and for each array:
_OVERHEAD_EACH = 64 << 10


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
        higher_is_better: which end of the metric is best: False for a loss.

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
            names = {each.name for each in self.folder.iterdir()}
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunFolderError(f"cannot read: {error.strerror}", where=self.folder) from error
        matches = (re.fullmatch(r"step-([0-9]{8,18})", name) for name in names)
        numbers = {int(match[1]) for match in matches if match}
        return sorted(step for step in numbers if self.path(step).name in names)

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
        if processes.together(lambda: self._begin(metadata.step, state)):
            try:
                processes.in_each(lambda: self._write_arrays(metadata.step, state))
                processes.together(lambda: self._complete(state, metadata))
            except BaseException:
                # What cannot be removed now is removed by the next save; the error that led here is the one to tell.
                if processes.is_first():
                    with suppress(OSError):
                        remove(self._partial(metadata.step))
                raise
        processes.together(lambda: self._prune(metadata.step))

    def read_metadata(self, step: int) -> Metadata:
        """Return what was saved with a checkpoint; its arrays are not looked at.

        Raises:
            DamagedCheckpointError: that changed, or another version of this layout wrote it.
        """
        return read_metadata(self.path(step), step).metadata

    def restore(self, step: int, target: Any) -> Restored:
        """Restore the checkpoint of a step.

        Args:
            step: one of `steps`.
            target: as for `restore_newest`.

        Raises:
            DamagedCheckpointError: it is missing, or a file of it changed.
            ContractError: it holds other arrays than `target`; names the first.
        """
        return self._restore(processes.together(lambda: self._found(step, target)), target)

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
        found = processes.together(lambda: self._find_newest(target))
        return None if found is None else self._restore(found, target)

    def _find_newest(self, target: Any) -> dict[str, Any] | None:
        """Return what `_found` does of the newest intact checkpoint, and why each newer one is none."""
        rejected: list[str] = []
        for step in reversed(self.steps()):
            try:
                return {**self._found(step, target), "rejected": rejected}
            except DamagedCheckpointError as error:
                rejected.append(str(error))
        if rejected:
            raise RunFolderError(
                f"no intact checkpoint among {len(rejected)}: {' | '.join(rejected)}",
                where=self.folder,
                fix="restore this folder from a copy, or delete it to start the run again",
            )
        return None

    def _found(self, step: int, target: Any) -> dict[str, Any]:
        """Return what is to know of an intact checkpoint to restore it; made of what JSON has, to be shared."""
        return {"metadata": self._check(step, target).to_json(), "rejected": []}

    def _restore(self, found: dict[str, Any], target: Any) -> Restored:
        metadata = Metadata.from_json(found["metadata"])
        state = processes.in_each(lambda: self._read_arrays(self.path(metadata.step), target))
        return Restored(state, metadata, tuple(found["rejected"]))

    def _read_arrays(self, path: Path, target: Any) -> Any:
        _require_seen(path)
        return read_arrays(ListedFiles(path), target)

    def _begin(self, step: int, state: Any) -> bool:
        """Make room for a checkpoint; return whether there is one to be written."""
        refuse_links(self.folder, self.folder.parent)
        with self._writing(step):
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                sync(self.folder.parent)
            self._remove_partials()
            if self._is_intact(step, state):
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
            write_metadata(partial, metadata, describe(state))
            write_manifest(partial)
            check_arrays(ListedFiles(partial), state)  # what cannot be read back is no checkpoint
            sync_tree(partial)
            if os.path.lexists(final):  # damaged, or it would have been kept
                self._delete(final, self.folder / f"{_PARTIAL}damaged-{final.name}")
            partial.rename(final)
            sync(self.folder)

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self.path(step), error) from error

    def _check(self, step: int, target: Any) -> Metadata:
        """Return an intact checkpoint's metadata.

        Its files are looked at last: no more of them than the target's arrays can take.

        Raises:
            DamagedCheckpointError: it is damaged.
            ContractError: it holds other arrays than a target; names the first.
        """
        saved = read_metadata(self.path(step), step)
        check_fits(saved.arrays, target, self.path(step))
        most = 2 * bytes_of(target) + _OVERHEAD_EACH * len(saved.arrays) + _OVERHEAD
        saved.files.check(most=most)
        check_arrays(saved.files, target)
        return saved.metadata

    def _is_intact(self, step: int, state: Any) -> bool:
        try:
            self._check(step, state)
        except (DamagedCheckpointError, ContractError):
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
                metric = self.read_metadata(step).metric
            except DamagedCheckpointError:
                continue  # not worth keeping as a best one; who restores is told of it
            if metric is not None:
                ranked.append((-metric if self.higher_is_better else metric, step))
        return [step for _, step in sorted(ranked)[: self.keep_best]]

    def _partial(self, step: int) -> Path:
        return self.folder / f"{_PARTIAL}{self.path(step).name}"

    def _delete(self, path: Path, partial: Path) -> None:
        # Renamed first: half deleted, it no longer looks like a checkpoint.
        path.rename(partial)
        remove(partial)

    def _remove_partials(self) -> None:
        for each in self.folder.glob(f"{_PARTIAL}*"):
            remove(each)


def _require_seen(folder: Path) -> None:
    """Raise RunFolderError where the first process's folder is not there for this one."""
    if not folder.is_dir():
        raise RunFolderError(
            f"process {processes.index()} does not see this folder of process 0",
            where=folder,
            elsewhere="a folder on a disk that all processes share",
        )
