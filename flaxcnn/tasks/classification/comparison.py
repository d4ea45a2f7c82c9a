"""Compare the accuracies of two classifiers: McNemar's test on the examples that only one classifies correctly."""

import numpy as np

_LEVEL = 0.05


def mcnemar_lines(labels_N: np.ndarray, a_NxK: np.ndarray, b_NxK: np.ndarray, called: tuple[str, str]) -> list[str]:
    """Return lines that say which of two classifiers, called by these names, is more accurate, and how sure that is.

    Args:
        labels_N: class numbers, (N,).
        a_NxK: the first model's logits.
        b_NxK: the second model's.
        called: what to call them.
    """
    name_a, name_b = called
    right_a, right_b = (np.argmax(logits, -1) == labels_N for logits in (a_NxK, b_NxK))
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    p_value = mcnemar(only_a, only_b)
    shown = f"p = {p_value:.2g}" if p_value else "p below 1e-300"  # of a float
    lines = [
        f"of {len(labels_N):,} examples, only {name_a} gets {only_a:,} right, only {name_b} {only_b:,}; "
        f"McNemar's exact test: {shown}"
    ]
    if p_value >= _LEVEL:
        return [*lines, "no difference in accuracy at the 5 % level"]
    better, worse = (name_b, name_a) if only_b > only_a else (name_a, name_b)
    return [*lines, f"{better} is more accurate than {worse} at the 5 % level"]


def mcnemar(only_a_correct: int, only_b_correct: int) -> float:
    """Return the p value of McNemar's exact test, two-sided: a binomial test of the split against one half.

    It is how likely so uneven a split of the examples that one alone gets right would be, or a more uneven one, were
    both models equally accurate; 1 where there is none (Q. McNemar, Psychometrika 12, 1947; T. Dietterich, Neural
    Computation 10, 1998, section 3.1).

    >>> mcnemar(1, 5)  # 2 (1 + 6) / 64
    0.21875
    """
    fewer, discordant = min(only_a_correct, only_b_correct), only_a_correct + only_b_correct
    ways = chosen = 1  # sum of the binomial coefficients up to the current one, in whole numbers of any size
    for number in range(fewer):
        chosen = chosen * (discordant - number) // (number + 1)
        ways += chosen
    return min(1.0, 2 * ways / 2**discordant)
