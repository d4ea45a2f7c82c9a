"""Searchers that learn from earlier trials: Optuna's samplers, an extra: `pip install 'flaxcnn[sweep]'`.

Every proposal comes from an in-memory study, built from the history, and a new sampler, seeded by the sweep's seed and
the trial's number. A sampler's state between trials, such as CMA-ES's distribution, is stored in the trials' attributes
and returns to it with the history.
"""

import abc
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from flaxcnn.config import Experiment
from flaxcnn.config.checks import check_types, require
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.distributions import distribution, quiet
from flaxcnn.sweeps.searchers.kept import cma_sampler, kept_of, require_kept
from flaxcnn.sweeps.space import Domain, Float, Int, Space, fill
from flaxcnn.sweeps.trials import Proposal, Status, Trial, Value

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

_EXTRA = "'flaxcnn[sweep]'"  # what pip calls it


class _Sampled(abc.ABC):
    """A searcher that asks a sampler of Optuna's."""

    @abc.abstractmethod
    def _sampler(self, seed: int) -> "BaseSampler":
        """Return a fresh sampler."""

    def propose(
        self, space: Space, experiment: Experiment, number: int, history: Sequence[Trial], seed: int
    ) -> Proposal:
        """Return what the sampler proposes, and what it wants to remember (`Searcher.propose`)."""
        _require("optuna", _EXTRA)
        import optuna

        own_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        with quiet():
            study = optuna.create_study(direction="maximize", sampler=self._sampler(own_seed))
            for trial in history:
                require_kept(trial.attributes, space)
            study.add_trials([_as_optuna(space, trial) for trial in history])
            asked = study.ask()
            params = fill(space, experiment, partial(_suggested, asked))
            return Proposal(params, kept_of(study.trials[-1].system_attrs))

    def size(self, space: Space, experiment: Experiment) -> int | None:
        """Return None: there is no end."""
        return None


@dataclass(frozen=True)
class TPE(_Sampled):
    """Tree-structured Parzen estimator: where good trials are dense and bad ones are not.

    It learns from stopped and paused trials too, and keeps away from those that run. Fields that are active together
    are chosen together.

    Source: J. Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, multivariate as S. Falkner
    et al., "BOHB", ICML 2018.

    Attributes:
        startup: trials that are random before it begins, at least 1.
    """

    startup: int = 10

    def __post_init__(self) -> None:
        check_types("TPE", self)
        require(self.startup >= 1, "TPE.startup", "at least 1", self.startup)

    def _sampler(self, seed: int) -> "BaseSampler":
        from optuna.samplers import TPESampler

        return TPESampler(n_startup_trials=self.startup, multivariate=True, group=True, constant_liar=True, seed=seed)


@dataclass(frozen=True)
class CMAES(_Sampled):
    """Covariance matrix adaptation: a normal distribution that moves, generation after generation, to the best trials.

    For many trials with numbers alone: choices and conditional fields are random. It learns from stopped and paused
    trials too; a generation ends with its first 4 + ⌊3 ln(numbers)⌋ that have a score.

    Source: N. Hansen, "The CMA Evolution Strategy: A Tutorial", 2016 (arXiv:1604.00772).
    """

    def _sampler(self, seed: int) -> "BaseSampler":
        _require("cmaes", _EXTRA)
        return cma_sampler()(seed=seed, consider_pruned_trials=True)


@dataclass(frozen=True)
class GP(_Sampled):
    """Gaussian process: where the improvement that it expects is largest.

    For few trials of long trainings. It learns from complete trials alone, begins when there are 10, and draws
    conditional fields at random.

    Source: S. Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian Optimization", NeurIPS 2023.
    """

    def _sampler(self, seed: int) -> "BaseSampler":
        from optuna.samplers import GPSampler

        _require("torch", "torch")
        return GPSampler(seed=seed)


def _require(package: str, requirement: str) -> None:
    """Raise ConfigError if a package is missing: at the first proposal, though a sampler may need it later."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"this searcher needs {package}", where="sweep.searcher", fix=f"run pip install {requirement}"
        )


def _as_optuna(space: Space, trial: Trial) -> "optuna.trial.FrozenTrial":
    """Return a trial as a sampler is to see it: what has a score and may get better ones counts as pruned."""
    import optuna

    if trial.status is Status.COMPLETE:
        state = optuna.trial.TrialState.COMPLETE
    elif trial.status is Status.FAILED:
        state = optuna.trial.TrialState.FAIL
    elif trial.scores or trial.status is Status.STOPPED:
        state = optuna.trial.TrialState.PRUNED
    else:
        state = optuna.trial.TrialState.RUNNING
    return optuna.create_trial(
        state=state,
        value=trial.scores[-1] if trial.status is Status.COMPLETE else None,
        params=dict(trial.params),
        distributions={path: distribution(space[path]) for path in trial.params},
        system_attrs=dict(trial.attributes),
        intermediate_values=dict(enumerate(trial.scores, trial.first_rung)),
    )


def _suggested(trial: "optuna.Trial", path: str, domain: Domain) -> Value:
    if isinstance(domain, Float):
        return trial.suggest_float(path, domain.low, domain.high, log=domain.log)
    if isinstance(domain, Int):
        return trial.suggest_int(path, domain.low, domain.high, step=domain.step, log=domain.log)
    return trial.suggest_categorical(path, domain.options)
