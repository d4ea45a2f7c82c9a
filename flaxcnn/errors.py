"""The errors that a user can cause: each one line that says what, where, expected, found and what to do.

The command line prints the line and exits with code 2; anything that is not a `FlaxcnnError` is a bug and shows its
traceback. Nothing here knows of files, arrays or terminals.
"""

import difflib
from collections.abc import Iterable


class FlaxcnnError(Exception):
    """A mistake of the user's or a fault of their machine, said in one line.

    Args:
        what: the problem in a few words, without a full stop ("labels out of range").
        where: the file, field or layer at fault.
        expected: what would have been right.
        found: what was there.
        fix: what to do about it, a sentence without its full stop.
    """

    exit_code = 2

    def __init__(
        self, what: str, *, where: object = None, expected: object = None, found: object = None, fix: str = ""
    ):
        self.what, self.where, self.expected, self.found, self.fix = what, where, expected, found, fix
        super().__init__(self._line())

    def _line(self) -> str:
        line = f"{self.where}: {self.what}" if self.where is not None else self.what
        sides = []
        if self.expected is not None:
            sides.append(f"expected {self.expected}")
        if self.found is not None:
            sides.append(f"found {self.found}")
        if sides:
            line += "; " + ", ".join(sides)
        if self.fix:
            line += f". {self.fix[0].upper()}{self.fix[1:]}"
        return " ".join(line.split())


class ConfigError(FlaxcnnError):
    """An experiment that cannot be run: an unknown name, a value of the wrong type or out of its range."""


class DataError(FlaxcnnError):
    """A data set that is missing, damaged or not what its files declare."""


class ContractError(FlaxcnnError, AssertionError):
    """A module whose shapes drifted from its contract; also an AssertionError, so that pytest reads it as a failure."""


class RunFolderError(FlaxcnnError):
    """A run's folder that cannot be written, read, or that already holds a run."""


class TrainingError(FlaxcnnError):
    """A training that cannot go on since its numbers are no longer finite, or a sweep of which every trial failed."""

    exit_code = 1


class ProcessError(FlaxcnnError):
    """A run in several processes that cannot go on, since one of them is missing, was lost, or ended with an error."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'X'" for the known name closest to `name`, or "known: A, B, C" where none is close.

    >>> nearest("lerning_rate", ["learning_rate", "b1"])
    "did you mean 'learning_rate'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
