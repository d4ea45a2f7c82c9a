"""Errors that a user can cause. Each is one line: where, what is wrong, what was expected and found, how to fix it.

The command line prints the line and exits with the error's exit code. Any other exception is a bug and shows its
traceback.
"""

import difflib
from collections.abc import Iterable

_MOST_SHOWN = 2000  # characters of a value in an error: a damaged file may hold megabytes where a word belongs


class FlaxcnnError(Exception):
    """A user's mistake or a fault of their machine, described in one line.

    Args:
        what: the problem in a few words, without a full stop ("labels out of range").
        where: the file, field or layer at fault.
        expected: what was expected.
        found: what was found.
        fix: what to do, a sentence without its full stop.
        elsewhere: which other folder would help, such as "a folder on another disk"; each command has its own advice on
            how to use one.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        fix: str = "",
        elsewhere: str = "",
    ):
        self.what, self.where, self.expected, self.found, self.fix = what, where, expected, found, fix
        self.elsewhere = elsewhere
        super().__init__(self.line())

    def line(self, go: str = "use {}") -> str:
        """Return the error as one line.

        Args:
            go: how to use another folder, with {} for `elsewhere`.
        """
        line = _cut(self.what) if self.where is None else f"{_cut(self.where)}: {_cut(self.what)}"
        sides = []
        if self.expected is not None:
            sides.append(f"expected {_cut(self.expected)}")
        if self.found is not None:
            sides.append(f"found {_cut(self.found)}")
        if sides:
            line += "; " + ", ".join(sides)
        fix = ", or ".join(filter(None, (self.fix, go.format(self.elsewhere) if self.elsewhere else "")))
        if fix:
            line += f". {fix[0].upper()}{fix[1:]}"
        return printable(" ".join(line.split()))


class ConfigError(FlaxcnnError):
    """An experiment that cannot run: an unknown name, or a value of the wrong type or out of range."""


class DataError(FlaxcnnError):
    """A data set that is missing, damaged or inconsistent with what its files declare."""


class ContractError(FlaxcnnError, AssertionError):
    """A module whose shapes differ from its contract. Also an AssertionError, so pytest reports a failure."""


class RunFolderError(FlaxcnnError):
    """A run's folder that cannot be written or read, or that already holds a run."""


class TrainingError(FlaxcnnError):
    """A training that stopped because its numbers are no longer finite, or a sweep in which every trial failed."""

    exit_code = 1


class ProcessError(FlaxcnnError):
    """A run in several processes that cannot continue: a process is missing, was lost, or ended with an error."""

    exit_code = 1


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… ({len(text):,} characters)"


def printable(text: str) -> str:
    r"""Return text that is safe to print: unprintable characters, such as escape sequences, are escaped.

    >>> print(printable("\x1b[2Jgone"))
    \x1b[2Jgone
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'X'?" for the known name closest to `name`, or "known: A, B, C" if none is close.

    A dotted name is compared within its section. Initials match too: `lr` suggests `learning_rate`. If no name is close
    and more than 20 are known, the result is empty.

    >>> nearest("lerning_rate", ["learning_rate", "b1"])
    "did you mean 'learning_rate'?"
    >>> nearest("--optimizer.lr", ["--optimizer.b1", "--optimizer.learning_rate", "--model.name"])
    "did you mean '--optimizer.learning_rate'?"
    """
    names = sorted(known)
    section, own = _divided(name)
    same = [each for each in names if section and _divided(each)[0] == section]
    names = same or names
    spelt = {(_divided(each)[1] if same else each).lower(): each for each in names}
    meant = [each for each in names if own and own in (_divided(each)[1], _initials(each))]
    alike = difflib.get_close_matches((own if same else name).lower(), spelt, n=1, cutoff=0.65)
    close = meant or [spelt[each] for each in alike]
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if len(names) <= 20 else ""


def _divided(name: str) -> tuple[str, str]:
    """Split a dotted name into its section, "" for none, and its last part; both without leading dashes."""
    section, _, own = name.lstrip("-").rpartition(".")
    return section, own


def _initials(name: str) -> str:
    """Return the initials of a name with several words; "" for one word."""
    words = _divided(name)[1].split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""
