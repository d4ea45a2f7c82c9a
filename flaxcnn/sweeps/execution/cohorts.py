"""Cohorts: trials that differ only in runtime values share one compiled program."""

import time
from collections.abc import Hashable
from typing import Any, Literal, NamedTuple, TypedDict

import jax
import numpy as np

from flaxcnn.config import Experiment
from flaxcnn.errors import RunFolderError
from flaxcnn.runs.evaluator import Evaluator
from flaxcnn.runs.folder.environment import device_line
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.setup import Setup
from flaxcnn.training.parallel import CohortTrials, How, ParallelTrials, Position, SingleTrial

_MOST_PROGRAMS = 4  # that are kept in memory, with the states of their slots
_TRIAL_SECONDS = 0.5  # that each way of running trials is tried for
_CHOICE = "executor.json"


class _Chosen(TypedDict):  # executor.json
    executor: How
    device: str
    lanes: int


class Program(NamedTuple):
    """What trains and evaluates trials of one bucket."""

    trials: ParallelTrials
    evaluator: Evaluator


def bucket_of(setup: Setup) -> Hashable:
    """Return what two trials have in common if and only if one compiled program serves both."""
    leaves, structure = jax.tree.flatten(setup.state_target())
    shapes = tuple((leaf.shape, leaf.dtype.name) for leaf in leaves)
    return structure, shapes, setup.calendar.batch_size, data_of(setup.experiment), setup.experiment.mesh


def data_of(experiment: Experiment) -> Hashable:
    """Return what two experiments have in common if and only if their images are the same."""
    return experiment.data


class Cohorts:
    """Makes the programs that are asked for, and keeps those that were used last.

    Args:
        folder: the sweep's, where it is written which way of running trials was found to be the faster one.
        how: "map" or "vmap"; "auto" to try both on the first bucket that has several slots to run.
        most: trials that are trained side by side, at most.
    """

    def __init__(self, folder: RunFolder, how: How | Literal["auto"], most: int):
        self.most = most
        self.buckets = 0  # that were met so far
        self.compilations = 0  # of a training program, those for the choice included
        self._folder, self._how = folder, how
        self._programs: dict[Hashable, Program] = {}
        self._images: dict[Hashable, tuple[jax.Array, Any]] = {}
        self._met: set[Hashable] = set()
        self._alone: set[Hashable] = set()  # buckets of which memory does not hold several slots
        self._tried: dict[Hashable, CohortTrials] = {}  # by bucket: the faster of both ways, until it is used

    def program(self, setup: Setup, wanted: int) -> Program:
        """Return the program for trials of a setup's bucket, with as many slots as are wanted or more.

        A slot that has nothing to do costs no time where trials run one after the other: there is one program, of the
        most slots. All at once, the number is rounded up to a power of two, which bounds the programs there are.
        """
        bucket = bucket_of(setup)
        if bucket not in self._met:
            self._met.add(bucket)
            self.buckets += 1
        most = self.most_parallel(setup)
        how: How = "map" if most == 1 else self._chosen(setup)
        count = most if how == "map" else min(most, 1 << (wanted - 1).bit_length())
        key = (bucket, how, count)
        program = self._programs.pop(key, None) or self._make(setup, how, count)
        while len(self._programs) >= _MOST_PROGRAMS:
            self._programs.pop(next(iter(self._programs)))
        self._programs[key] = program  # the last one is the one used last
        return program

    def most_parallel(self, setup: Setup) -> int:
        """Return how many trials of a setup's bucket can be trained side by side."""
        return 1 if _streams(setup) or bucket_of(setup) in self._alone else self.most

    def run_alone(self, setup: Setup) -> None:
        """Train trials of a bucket one at a time from now on, and let go of the memory of all programs."""
        self._alone.add(bucket_of(setup))
        self._programs.clear()

    def _make(self, setup: Setup, how: How, count: int) -> Program:
        state = setup.first_state()
        trials: ParallelTrials
        if _streams(setup):
            trials = SingleTrial(
                setup.layout,
                lambda position: setup.batch_source_for(position.calendar, position.seed),
                compiled=self._count_compilation,
            )
        else:
            trials = self._cohort(setup, state, how, count)
        return Program(trials, Evaluator(setup, setup.model, state.variables))

    def _cohort(self, setup: Setup, state: Any, how: How, count: int) -> CohortTrials:
        tried = self._tried.pop(bucket_of(setup), None)
        if tried is not None and (tried.how, tried.count) == (how, count):
            return tried
        self._count_compilation()
        images, targets = self._on_device(setup)
        return CohortTrials(state, setup.calendar.batch_size, images, targets, count, how, setup.layout)

    def _count_compilation(self) -> None:
        self.compilations += 1

    def _on_device(self, setup: Setup) -> tuple[jax.Array, Any]:
        key = data_of(setup.experiment)
        if key not in self._images:
            train, layout = setup.train, setup.layout
            arrays = np.asarray(train.images), train.targets
            self._images = {key: jax.tree.map(layout.put, arrays)}
        return self._images[key]

    def _chosen(self, setup: Setup) -> How:
        """Return how to run trials: as asked, as was found before on such a device, or as is found now."""
        if self._how != "auto":
            return self._how
        known = self._read()
        self._how = self._try_both(setup) if known is None else known
        return self._how

    def _read(self) -> How | None:
        try:
            found: _Chosen = self._folder.read_json(_CHOICE, _Chosen)
        except RunFolderError:  # nobody chose yet, or what is found chooses nothing
            return None
        return found["executor"] if found["device"] == device_line(devices=1) and found["lanes"] == self.most else None

    def _try_both(self, setup: Setup) -> How:
        """Time a step of a trial both ways, write down what was found, and return the faster one."""
        milliseconds: dict[How, float] = {}
        fastest: CohortTrials | None = None
        for how in ("vmap", "map"):
            state = setup.first_state()
            try:
                trials = self._cohort(setup, state, how, self.most)
                milliseconds[how] = 1e3 * _seconds_a_step(trials, setup, state)
            except Exception as error:  # all trials at once take the memory of all
                if how == "map" or not out_of_memory(error):
                    raise
                continue
            if fastest is None or milliseconds[how] <= milliseconds[fastest.how]:
                fastest = trials
            del trials  # the slower one's memory
        assert fastest is not None
        best = fastest.how
        self._tried = {bucket_of(setup): fastest}
        self._folder.write_json(
            _CHOICE,
            {
                "executor": best,
                "device": device_line(devices=1),
                "lanes": self.most,
                "milliseconds_a_lane_and_step": {name: round(value, 3) for name, value in milliseconds.items()},
            },
        )
        return best


def _streams(setup: Setup) -> bool:
    """Return whether a training needs a loader or several devices, which parallel trials do not share."""
    return not setup.fits(setup.train) or setup.layout.mesh.size > 1


def out_of_memory(error: Exception) -> bool:
    """Return whether memory did not suffice, the device's or the host's."""
    return isinstance(error, MemoryError) or (
        isinstance(error, jax.errors.JaxRuntimeError)
        and any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory"))
    )


def _seconds_a_step(trials: CohortTrials, setup: Setup, state: Any) -> float:
    """Return what a step of one trial takes, the first block of the program left aside."""
    for slot in range(trials.count):
        trials.put(slot, state)
    steps, seconds, step, total = 0, 0.0, 0, setup.calendar.total_steps
    began = time.perf_counter()
    while seconds == 0 or time.perf_counter() - began < _TRIAL_SECONDS:
        if step >= total:
            step = 0  # a trial may go on past its end, since only the time counts
        position = Position(setup.calendar, setup.experiment.training.seed, step, total)
        started = time.perf_counter()
        blocks = trials.run([position] * trials.count)
        if step or total == 1:
            seconds += time.perf_counter() - started
            steps += sum(len(block.losses) for block in blocks if block)
        step += len(blocks[0].losses) if blocks[0] else 0
    return seconds / max(1, steps)
