"""Arithmetic on sums that numbers and arrays of NumPy's and JAX's share, and that is finite whatever the sums."""

from typing import Any


def ratio(part: Any, whole: Any) -> Any:
    """Return part / whole, and 0 where both are 0."""
    return part / (whole + (whole == 0))
