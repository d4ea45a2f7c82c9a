"""Compare a sweep's best settings with the base settings, both retrained with the same new seeds.

The best of many noisy trials is best partly by luck, so its score is biased. New seeds are not; and because both
settings use the same seeds, their differences are paired by seed.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.metric import RankedBy

if TYPE_CHECKING:
    from flaxcnn.evaluation.intervals import MeanInterval


class Confirmed(NamedTuple):
    """What fresh seeds say of one setting."""

    over_seeds: "MeanInterval"  # with its 95 % interval, which is NaN of one seed, as all of those here
    difference: "MeanInterval"  # to the reference; the intervals of all settings hold together in 95 % of cases
    better: bool | None  # whether that interval lies on the better side of 0; None of one seed


def confirmed(
    reference: Sequence[float], candidates: Sequence[Sequence[float]], higher_is_better: bool
) -> list[Confirmed]:
    """Return for each of K settings its mean over n seeds and its mean difference, seed by seed, to the reference.

    The differences have Student's t intervals at the level 1 - 0.05 / K (Bonferroni), so that in 95 % of cases not a
    single one of the K misses its true difference: the best of them may be picked by looking.

    Args:
        reference: the base setting's metric; n finite numbers, one a seed.
        candidates: the same of each setting, in the same order of the seeds; (K, n).
        higher_is_better: which end of the metric is.

    Raises:
        ConfigError: a setting has another number of seeds than the reference.
        DataError: no seeds, or a number that is not finite.
    """
    from flaxcnn.evaluation.intervals import mean_interval  # its package imports JAX

    results = []
    for values in candidates:
        if len(values) != len(reference):
            raise ConfigError(
                "settings with different seeds", where="--confirm", expected=f"{len(reference)}", found=len(values)
            )
        paired = [value - base for value, base in zip(values, reference, strict=True)]
        difference = mean_interval(paired, 1 - 0.05 / len(candidates))
        better = difference.low > 0 if higher_is_better else difference.high < 0
        results.append(Confirmed(mean_interval(values), difference, None if len(paired) == 1 else better))
    return results


def confirmation_report(
    name: str,
    by: RankedBy,
    reference: Sequence[float],
    settings: Sequence[str],
    results: Sequence[Confirmed],
) -> str:
    """Return a Markdown report for `confirm.md` and the terminal: a table of all settings, and what it says.

    Args:
        name: the sweep's.
        by: what was measured.
        reference: the base setting's, one a seed.
        settings: what to call each setting, such as "trial 7: learning_rate 0.0021".
        results: of `confirmed`, in the order of `settings`.
    """
    from flaxcnn.evaluation.intervals import mean_interval
    from flaxcnn.evaluation.table import markdown

    seeds, count = len(reference), len(settings)
    base = mean_interval(reference)
    rows = [("", "mean", "95 % interval", "difference to the base", "its interval", "better")]
    rows.append(("base", f"{base.mean:.4f}", _between(base), "", "", ""))
    for setting, (over_seeds, difference, better) in zip(settings, results, strict=True):
        verdict = "–" if better is None else "**yes**" if better else "not shown"
        change = f"{difference.mean:+.4f}"
        rows.append(
            (setting, f"{over_seeds.mean:.4f}", _between(over_seeds), change, _between(difference, "+"), verdict)
        )
    words = by.words
    lines = [
        f"# {name}: the best {count}, retrained" if count > 1 else f"# {name}: the best one, retrained",
        "",
        f"{words[0].upper()}{words[1:]}, each setting and the base trained with the same {seeds} fresh "
        f"{'seed' if seeds == 1 else 'seeds'}.",
        "",
        markdown(rows),
        "",
        _verdict([setting for setting, each in zip(settings, results, strict=True) if each.better], seeds, count),
    ]
    return "\n".join(lines) + "\n"


def _verdict(better: Sequence[str], seeds: int, count: int) -> str:
    if seeds == 1:
        return "One seed says nothing of the spread: train with more."
    level = f"the differences' intervals hold {'together ' if count > 1 else ''}with 95 %"
    if not better:
        return f"None is shown to be better than the base ({level})."
    return f"Better than the base ({level}): {'; '.join(better)}."


def _between(interval: "MeanInterval", sign: str = "") -> str:
    if math.isnan(interval.low):
        return "–"
    return f"{interval.low:{sign}.4f} to {interval.high:{sign}.4f}"
