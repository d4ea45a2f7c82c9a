"""`study.json`: everything that a study's page says, and more digits."""

from typing import Any

from flaxcnn.config import to_json
from flaxcnn.evaluation.several_models import Verdict
from flaxcnn.studies.outcome import Outcome, Trained
from flaxcnn.studies.plan import Fold
from flaxcnn.studies.results import Measured, Result
from flaxcnn.studies.words import verdicts_of, warnings_of
from flaxcnn.tasks.arithmetic import as_json


def study_json(outcome: Outcome, again: str) -> dict[str, Any]:
    """Return `study.json`.

    Args:
        outcome: of the study.
        again: the command that makes the study.
    """
    plan, examples = outcome.plan, outcome.examples
    return {
        "name": plan.name,
        "question": plan.question,
        "command": again,
        "metric": outcome.main,
        "folds": plan.folds,
        "repeats": plan.repeats,
        "seeds": list(plan.seeds),
        "data": {
            "source": examples.source,
            "tested": examples.tested,
            "groups": examples.groups,
            "class_counts": examples.counts,
            "names": examples.names,
            "commonest_class": examples.commonest,
            "sizes": [
                {**_fold(fold), "training": training, "test": test} for fold, (training, test) in examples.sizes.items()
            ],
        },
        "entries": {name: _entry(trained, outcome.results[name]) for name, trained in outcome.trained.items()},
        "failed": dict(outcome.failed),
        "verdict": {**_verdict(outcome.verdict), "said": verdicts_of(outcome)},
        "warnings": warnings_of(outcome),
        "device": outcome.device,
    }


def _entry(trained: Trained, result: Result) -> dict[str, Any]:
    return {
        "experiment": to_json(trained.entry.experiment),
        "metrics": {metric: _metric(found) for metric, found in result.metrics.items()},
        "per_class": {each: as_json(array) for each, array in result.per_class.items()},
        "parameters": trained.parameters,
        "multiply_adds": trained.speed.multiply_adds,
        "image_shape": list(trained.speed.image_shape),
        "budget": trained.budget,
        "images_seen": trained.images_seen,
        "searches": [
            {
                **_fold(fold),
                "settings": [dict(setting) for setting in search.settings],
                "validation": list(search.values),
                "failures": list(search.reasons),
                "chosen": search.chosen,
            }
            for fold, search in trained.searches.items()
        ],
        "train_seconds": trained.mean_seconds,
        "images_per_second": trained.speed.images_per_second,
    }


def _metric(found: Measured) -> dict[str, Any]:
    examples = found.over_examples
    return {
        "values": [as_json(value) for value in found.values],
        "mean": as_json(found.mean),
        "over_seeds_95": [as_json(found.over_seeds.low), as_json(found.over_seeds.high)],
        "over_examples_95": None if examples is None else list(map(as_json, examples)),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "winner": verdict.winner,
        "best": list(verdict.best),
        "differences": [
            {
                "better": one,
                "worse": other,
                "difference": as_json(found.value),
                "interval_95": [as_json(found.low), as_json(found.high)],
                "p": found.p,
                "corrected_p": found.corrected,
                "told_apart": found.is_told,
            }
            for (one, other), found in verdict.differences.items()
            if verdict.order.index(one) < verdict.order.index(other)
        ],
    }


def _fold(fold: Fold) -> dict[str, int | None]:
    return {"repeat": fold.repeat, "fold": fold.number}
