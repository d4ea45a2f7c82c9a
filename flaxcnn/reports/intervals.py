"""Intervals of a report: of shares of the test images, and of every metric, as `flaxcnn evaluate` computes them."""

import numpy as np

from flaxcnn.evaluation.intervals import binomial_interval, percentile_interval, resampled_counts
from flaxcnn.tasks import Interval

_CONFIDENCE, _RESAMPLES = 0.95, 1000


def interval_over(examples: int, groups_N: np.ndarray | None) -> Interval:
    """Return a function that gives the 95 % interval of a share of the test images.

    The exact binomial interval where images stand for themselves; a bootstrap over whole groups where there are groups,
    with the draws that metrics have. A bootstrap knows nothing of what did not happen once: of a share of 0 or 1, it is
    the exact interval of as many trials as there are groups.

    Args:
        examples: N.
        groups_N: of the examples; None without groups.

    >>> all_right = np.ones(4, bool)
    >>> [round(end, 4) for end in interval_over(4, None)(all_right, all_right)]
    [0.3976, 1.0]
    """
    if groups_N is None:
        return _exact
    found, members_N = np.unique(groups_N, return_inverse=True)
    drawn_RxG = np.concatenate(list(resampled_counts(len(found), _RESAMPLES, 0)))

    def over_groups(hits_N: np.ndarray, among_N: np.ndarray) -> tuple[float, float]:
        hits, among = (int(each.sum()) for each in (hits_N & among_N, among_N))
        if among and hits in (0, among):
            trials = len(np.unique(members_N[among_N]))
            return binomial_interval(trials if hits else 0, trials)
        of_groups = (np.bincount(members_N, each, len(found)) for each in (hits_N & among_N, among_N))
        hits_R, among_R = (drawn_RxG @ each for each in of_groups)
        shares_R = np.divide(hits_R, among_R, out=np.full(len(hits_R), np.nan), where=among_R > 0)
        return percentile_interval(shares_R, _CONFIDENCE)

    return over_groups


def _exact(hits_N: np.ndarray, among_N: np.ndarray) -> tuple[float, float]:
    trials = int(among_N.sum())
    return binomial_interval(int((hits_N & among_N).sum()), trials) if trials else (float("nan"), float("nan"))
