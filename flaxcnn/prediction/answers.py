"""Answers as lines for people, as JSON lines and as CSV."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from flaxcnn.errors import printable

Format: TypeAlias = Literal["table", "jsonl", "csv"]


_STRANGE = 0.01  # `familiar` of an image of which a table says so; it takes 199 validation images


class Answered(NamedTuple):
    """What is said of an image.

    Attributes:
        name: of the image.
        answer: of the task (`Task.answers`); None where the image cannot be used.
        fault: why it cannot, a line; "" where it can.
    """

    name: str
    answer: Mapping[str, Any] | None
    fault: str = ""

    @property
    def json(self) -> dict[str, Any]:
        """The line of "jsonl": the name, and the answer or the fault."""
        return {"image": self.name, **({"fault": self.fault} if self.answer is None else self.answer)}


class Writer:
    """Turns answers into lines, as they come.

    Args:
        form: "table", a line for each image; "jsonl", an object for each; or "csv", with a head.
        names: of all images, for the width of the table.
    """

    def __init__(self, form: Format, names: Sequence[str]):
        self._form, self._width = form, min(40, max(map(len, names), default=0))
        self._columns: list[str] | None = None
        self._before: list[Answered] = []  # what cannot be used, before the first that can: there is no head yet

    def lines(self, answered: Answered) -> Iterator[str]:
        """Yield the lines of an answer; in CSV, before the first one a head."""
        if self._form == "jsonl":
            yield json.dumps(answered.json, allow_nan=False)
        elif self._form == "table":
            said_here = f"- {answered.fault}" if answered.answer is None else words_of(answered.answer)
            yield printable(f"{answered.name:{self._width}}  {said_here}")
        elif self._columns is None and answered.answer is None:
            self._before.append(answered)
        else:
            yield from self._csv(answered)

    def last(self) -> Iterator[str]:
        """Yield the lines that are left after the last answer: in CSV where no image could be used."""
        if self._columns is None and self._before:
            yield from self._head(["image", "fault"])

    def _csv(self, answered: Answered) -> Iterator[str]:
        cells = {"image": printable(answered.name), **dict(_cells(answered.answer or {})), "fault": answered.fault}
        if self._columns is None:
            yield from self._head(list(cells))
        yield _csv_line([cells.get(column, "") for column in self._columns or ()])

    def _head(self, columns: list[str]) -> Iterator[str]:
        self._columns = columns
        yield _csv_line(columns)
        for each in self._before:
            yield from self._csv(each)


def words_of(answer: Mapping[str, Any]) -> str:
    """Return an answer in words.

    >>> words_of({"class": "bee", "probability": 0.97, "top": [{"class": "bee", "probability": 0.97}]})
    'bee 97.0 %'
    >>> words_of({"numbers": {"area": 12.345678}, "interval_90": {"area": [10.0, 14.7]}})
    'area 12.35 (90 %: 10 to 14.7)'
    >>> words_of({"objects": [{"class": "bee", "score": 0.9, "box": [1, 2, 30, 40]}], "counts": {"ant": 0, "bee": 1}})
    '1 bee  (bee 90 %)'
    >>> words_of({"labels": [], "probabilities": {"dog": 0.125}})
    'nothing  (dog 12.5 %)'
    """
    if "top" in answer:
        first, *others = (f"{each['class']} {100 * each['probability']:.1f} %" for each in answer["top"])
        if answer["class"] is None:
            return f"not sure  ({', '.join([first, *others])})"
        said = first + (f"  ({', '.join(others)})" if others else "")
        return said + ("  strange" if answer.get("familiar", 1.0) <= _STRANGE else "")
    if "objects" in answer:
        found = [f"{each['class']} {100 * each['score']:.0f} %" for each in answer["objects"]]
        counts = ", ".join(f"{count} {name}" for name, count in answer["counts"].items() if count)
        return f"{counts}  ({', '.join(found)})" if found else "nothing"
    if "labels" in answer:
        of_each = ", ".join(f"{name} {100 * value:.1f} %" for name, value in answer["probabilities"].items())
        return f"{', '.join(answer['labels']) or 'nothing'}  ({of_each})"
    if "numbers" in answer:
        return ", ".join(_number(name, value, answer) for name, value in answer["numbers"].items())
    if answer and all(isinstance(each, Mapping) for each in answer.values()):
        return "; ".join(f"{head}: {words_of(each)}" for head, each in answer.items())
    return json.dumps(answer)


def _number(name: str, value: float, answer: Mapping[str, Any]) -> str:
    ends = answer.get("interval_90", {}).get(name)
    within = f" (90 %: {ends[0]:.4g} to {ends[1]:.4g})" if ends else ""
    return f"{name} {value:.4g}{within}"


def _cells(answer: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield an answer's cells with their columns: class, probability, class_2, …; NAME, NAME_low and NAME_high.

    Of objects that is how many there are, in all and of each class.
    """
    for key, value in answer.items():
        if key == "top":
            for rank, each in enumerate(value[1:], 2):
                yield f"{prefix}class_{rank}", each["class"]
                yield f"{prefix}probability_{rank}", each["probability"]
        elif key == "labels":
            yield f"{prefix}labels", ";".join(value)
        elif key in ("numbers", "counts", "probabilities"):
            names = sorted(value) if key == "probabilities" else value
            yield from ((f"{prefix}{name}", value[name]) for name in names)
        elif key == "objects":
            yield f"{prefix}objects", len(value)
        elif key == "interval_90":
            for name, (low, high) in value.items():
                yield f"{prefix}{name}_low", low
                yield f"{prefix}{name}_high", high
        elif isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str | int | float | None) else json.dumps(value)


def _csv_line(cells: Sequence[Any]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow(cells)
    return file.getvalue()
