"""Arithmetic that works for numbers, NumPy arrays and JAX arrays."""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import jax


def ratio(part: Any, whole: Any) -> Any:
    """Return part / whole, and 0 where both are 0."""
    return part / (whole + (whole == 0))


def rows_where(holds: Callable[[Any], Any], targets: Any) -> Any:
    """Return in which rows something holds of every value of every array, bool (N,)."""
    arrays = jax.tree.leaves(targets)
    return reduce(operator.and_, [holds(array).reshape(array.shape[0], -1).all(-1) for array in arrays])
