"""`--confirm K`: retrain a sweep's best settings and the config's own settings with the same new seeds.

It is a search of its own over a list of settings and seeds, so it continues where it was interrupted.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from flaxcnn.config import Experiment
from flaxcnn.errors import TrainingError, printable
from flaxcnn.sweeps.execution.search import Search
from flaxcnn.sweeps.files import Sweep
from flaxcnn.sweeps.report.intervals import confirmation_report, confirmed
from flaxcnn.sweeps.report.results import measured, ranked, short_names, shown_params
from flaxcnn.sweeps.searchers import Listed
from flaxcnn.sweeps.space import Int
from flaxcnn.sweeps.trials import Status, Trial, Value

_SEED = "training.seed"


class Result(NamedTuple):
    """What fresh seeds say."""

    report: str  # Markdown
    best: Trial | None  # of the sweep, by its mean over fresh seeds; None for the config's own setting
    words: str  # about it


class Confirmation(NamedTuple):
    """The search that trains the best settings again.

    Attributes:
        search: over settings and seeds, the config's own setting first.
        candidates: the trials whose settings they are, the best first.
        seeds: the fresh ones.
    """

    search: Search
    candidates: Sequence[Trial]
    seeds: Sequence[int]

    @property
    def introduction(self) -> list[str]:
        """Lines that say what will be trained."""
        settings = "setting" if len(self.candidates) == 1 else f"{len(self.candidates)} settings"
        return [f"confirming the best {settings} and the config's own with the fresh seeds {_listed(self.seeds)}"]

    def results(self) -> Result:
        """Return what the trained settings say.

        Raises:
            TrainingError: the config's own setting could not be trained with each seed, or no candidate could.
        """
        from flaxcnn.evaluation.intervals import mean_interval  # its package imports JAX

        study, by, count = self.search.open(), self.search.by, len(self.seeds)
        trials = study.trials()
        study.close()
        base, *groups = [trials[first : first + count] for first in range(0, len(trials), count)]
        names = short_names(dict.fromkeys(path for trial in self.candidates for path in trial.params))
        called = [f"trial {each.number}: {shown_params(each.params, names)}" for each in self.candidates]
        failures = [
            f"Not trained with seed {trial.params[_SEED]}, and so not judged: {name} "
            f"({printable(trial.reason) or trial.status})."
            for name, group in [("the config's own setting", base), *zip(called, groups, strict=True)]
            for trial in group
            if trial.status is not Status.COMPLETE
        ]
        judged = [place for place, group in enumerate(groups) if all(each.status is Status.COMPLETE for each in group)]
        if not judged or any(trial.status is not Status.COMPLETE for trial in base):
            raise TrainingError("could not be trained again", where="--confirm", found=" ".join(failures))
        reference, *rest = [
            [measured(each, by) or 0.0 for each in group] for group in [base, *(groups[j] for j in judged)]
        ]
        found = confirmed(reference, rest, by.higher_is_better)
        settings = [called[place] for place in judged]
        report = confirmation_report(self.search.name.rpartition(_SUFFIX)[0], by, reference, settings, found)
        report = "\n".join([report, *failures, ""]) if failures else report
        means = [mean_interval(reference), *(each.over_seeds for each in found)]  # the config's own setting first
        place = max(range(len(means)), key=lambda index: (by.score(means[index].mean), -index))
        mean = means[place]
        spread = f"({mean.low:.4f} to {mean.high:.4f}) over {count} fresh seeds"
        words = f"{by.words} {mean.mean:.4f} {spread}"
        best = None if place == 0 else self.candidates[judged[place - 1]]
        winner = "the config's own setting" if best is None else settings[place - 1]
        report += f"\nThe best mean is that of {winner}, which best.py holds.\n"
        return Result(report, best, words)


_SUFFIX = "-confirm"


def confirmation_of(
    search: Search, experiment: Experiment, trials: Sequence[Trial], settings: int, seeds: int, parallel: int
) -> Confirmation:
    """Return the search that trains the best settings of a finished one again.

    Args:
        search: the finished one.
        experiment: that was searched.
        trials: of it.
        settings: how many of the best.
        seeds: how many fresh ones; they follow the highest that any trial had.
        parallel: trials that a process trains side by side, at most.
    """
    candidates: list[Trial] = []
    for trial in ranked(trials):  # seeds aside, each setting once; those that were stopped early come last
        known = any(_setting(trial) == _setting(other) for other in candidates)
        if trial.scores and trial.status is not Status.FAILED and not known:
            candidates.append(trial)
    candidates = candidates[:settings]
    used = [experiment.training.seed, *(trial.params.get(_SEED) for trial in trials)]
    first = 1 + max(seed for seed in used if isinstance(seed, int))
    fresh = [(first + index) % 2**32 for index in range(seeds)]
    points = tuple({**_setting(trial), _SEED: seed} for trial in [None, *candidates] for seed in fresh)
    space = {**search.sweep.space, _SEED: Int(0, 2**32 - 1)}
    sweep = Sweep(space, Listed(points), trials=len(points), metric=search.sweep.metric, seed=search.sweep.seed)
    # By what is trained: a sweep that is gone on with may have other candidates.
    digest = hashlib.sha256(json.dumps(points).encode()).hexdigest()[:8]
    again = search._replace(
        name=f"{search.name}{_SUFFIX}-{digest}",
        sweep=sweep,
        folder=search.folder / f"confirm-{digest}",
        parallel=parallel,
    )
    again.folder.mkdir(exist_ok=True)
    return Confirmation(again, candidates, fresh)


def _setting(trial: Trial | None) -> dict[str, Value]:
    return {} if trial is None else {path: value for path, value in trial.params.items() if path != _SEED}


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
