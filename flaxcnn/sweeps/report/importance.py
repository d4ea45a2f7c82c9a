"""Importance of each searched field for being among the best trials: Optuna's PED-ANOVA.

Source: S. Watanabe, A. Bansal and F. Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
Subspaces", IJCAI 2023.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from flaxcnn.sweeps.distributions import distribution, quiet
from flaxcnn.sweeps.space import Space
from flaxcnn.sweeps.trials import Params, Status, Trial

_FEWEST = 10  # trials; of fewer it would tell chance


class Equals(NamedTuple):
    """Trials that were trained equally far, so that their scores compare."""

    scored: list[tuple[Params, float]]  # their values and scores
    described: str  # which ones they are


def equally_trained(trials: Sequence[Trial]) -> Equals | None:
    """Return those that were trained farthest among trials that compare, of which there are ten at least.

    Complete trials compare; where a scheduler stopped so many that too few are complete, the trials of a bracket
    compare at the end of a rung. None where there are no ten such.
    """
    complete = [(trial.params, trial.scores[-1]) for trial in trials if trial.status is Status.COMPLETE]
    if len(complete) >= _FEWEST:
        return Equals(complete, f"of {len(complete):,} complete trials")
    rungs: dict[tuple[int, int], list[tuple[Params, float]]] = defaultdict(list)
    for trial in trials:
        for rung, score in enumerate(trial.scores, trial.first_rung):
            rungs[rung, trial.bracket].append((trial.params, score))
    for rung, bracket in sorted(rungs, reverse=True):
        scored = rungs[rung, bracket]
        if len(scored) >= _FEWEST:
            return Equals(scored, f"of {len(scored):,} trials at the end of rung {rung + 1}")
    return None


def importances(equals: Equals, space: Space) -> dict[str, float]:
    """Return each searched field's share of the importance, the largest first; together 1.

    Those trials count as the best that are among the best tenth, and among the best five at least.

    Args:
        equals: the trials.
        space: the sweep's.
    """
    import optuna

    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, 5 / len(equals.scored)))
    with quiet():  # it warns of a field that is active in one trial alone
        study = optuna.create_study(direction="maximize")
        for params, score in equals.scored:
            distributions = {path: distribution(space[path]) for path in params}
            study.add_trial(optuna.create_trial(params=dict(params), distributions=distributions, value=score))
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
