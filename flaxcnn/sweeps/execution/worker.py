"""A worker process of a sweep: it takes trials, trains them and reports the results until none are left."""

import time
from collections.abc import Callable, Mapping

from flaxcnn.sweeps.execution.decisions import Decisions
from flaxcnn.sweeps.execution.trainer import Trainer, Watch
from flaxcnn.sweeps.study import LostTrialError, Study

_WAIT_SECONDS = 0.5  # before looking again whether there is something to do
_OWNER_SECONDS = 5.0  # between two looks at whether a trial is still this process's

# Of the trials that this process has taken on: steps done, of how many; 0 of 0 until it has made the first ones.
Progress = Mapping[int, tuple[int, int]]


class Worker:
    """Trains what is to be trained of a sweep, in this process.

    Args:
        study: keeps the trials.
        decisions: says what to train.
        make_trainer: makes what trains them, given whom to tell.
        parallel: trials that are taken on at once, at most.
        wants_stop: whether to save and end.
        look: called after each block of steps, with how far the trials of this process are.
    """

    def __init__(
        self,
        study: Study,
        decisions: Decisions,
        make_trainer: Callable[[Watch], Trainer],
        parallel: int,
        *,
        wants_stop: Callable[[], bool],
        look: Callable[[Progress], None],
    ):
        self._study, self._decisions, self._parallel = study, decisions, parallel
        self._wants_stop, self._look = wants_stop, look
        self.trainer = make_trainer(Watch(self._report, self._advanced, self._is_lost, wants_stop))
        self._progress: dict[int, tuple[int, int]] = {}
        self._owned_at: dict[int, float] = {}  # when each trial was last known to be this process's

    def run(self) -> bool:
        """Work until the sweep is done, or this process is to stop; its trials' states are on the disk then.

        Returns:
            Whether the sweep is done.

        Raises:
            RunFolderError: a state cannot be written.
            ConfigError: the storage cannot be reached any more.
        """
        with self._study.beating():
            while not self._wants_stop():
                assignments = self._decisions.take_on(self._parallel)
                if assignments is None:
                    self._look({})
                    return True
                if not assignments:
                    self._look({})
                    time.sleep(_WAIT_SECONDS)
                    continue
                left = {assignment.number for assignment in assignments}
                self._owned_at = dict.fromkeys(left, time.monotonic())
                self._progress.update(dict.fromkeys(left, (0, 0)))  # until the first steps are made
                try:
                    for outcome in self.trainer.train(assignments):
                        self._decisions.record(outcome)
                        left.remove(outcome.number)
                        self._progress.pop(outcome.number, None)
                        self._look(self._progress)
                finally:  # also where the disk is full: no trial is to blame
                    self._decisions.release(sorted(left))
                    self._progress.clear()
        self._look({})
        return False

    def _report(self, number: int, step: int, value: float) -> None:
        try:
            self._study.report(number, step, value)
            self._owned_at[number] = time.monotonic()
        except LostTrialError:
            self._owned_at.pop(number, None)

    def _advanced(self, number: int, step: int, total: int) -> None:
        self._progress[number] = step, total
        self._look(self._progress)

    def _is_lost(self, number: int) -> bool:
        """Return whether another process has taken a trial over, as it may where this one hung for a while."""
        known = self._owned_at.get(number)
        if known is not None and time.monotonic() - known < _OWNER_SECONDS:
            return False
        if known is None or not self._study.owns(number):
            self._owned_at.pop(number, None)
            return True
        self._owned_at[number] = time.monotonic()
        return False
