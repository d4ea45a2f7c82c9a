"""Values of JSON against the types that are declared of them."""

import enum
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict

import pytest

from flaxcnn.files.schema import MismatchError, conform


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Shape:
    points: tuple[Point, ...]
    color: Color = Color.RED
    names: dict[str, int] = field(default_factory=dict)


class Open(TypedDict, total=False):
    steps: int


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, float, 1.0),
        (None, int | None, None),
        (2, int | float, 2),
        ("a", Literal["a", "b"], "a"),
        ([1, "a"], tuple[int, str], (1, "a")),
        ({"x": 1}, Point, Point(1.0)),
        ({"points": [{"x": 1, "y": 2}], "color": "red"}, Shape, Shape((Point(1.0, 2.0),))),
        ({"steps": 3, "other": [None]}, Open, {"steps": 3, "other": [None]}),
        ([{}], Any, [{}]),
    ],
)
def test_a_value_of_the_declared_type_becomes_an_instance_of_it(value, kind, expected):
    found = conform(value, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "place"),
    [
        (True, int, ""),
        (1, bool, ""),
        (1.0, int, ""),
        (1, Literal[True], ""),
        ("c", Literal["a", "b"], ""),
        ([1], tuple[int, str], ""),
        ({"y": 1}, Point, ""),
        ({"x": 1, "z": 1}, Point, ""),
        ({"x": None}, Point, "x"),
        ({"points": [{"x": 1}, {"x": "1"}]}, Shape, "points[1].x"),
        ({"points": [], "color": "blue"}, Shape, "color"),
        ({"points": [], "color": []}, Shape, "color"),
        ({"points": [], "names": {"a": "b"}}, Shape, "names.a"),
        ({"steps": "3"}, Open, "steps"),
        ({"a": [1, None]}, dict[str, list[int]] | None, "a[1]"),
        ([], Point, ""),
    ],
)
def test_a_value_of_another_type_is_named_with_its_place(value, kind, place):
    with pytest.raises(MismatchError) as raised:
        conform(value, kind)
    assert raised.value.place == place
