"""Plots, tables and matrices of a page: numbers stand where they belong, and whatever they are called is text."""

import re

import numpy as np
import pytest

from flaxcnn.pages.parts import Matrix, Part, Plot, Series, Table, Text
from flaxcnn.pages.plots import plot
from flaxcnn.pages.render import MOST_NAMED, section
from tests.pages import Parsed

HOSTILE = "</section><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def parsed(part):
    return Parsed("".join(section(part)).encode())


def test_points_stand_where_their_numbers_are():
    drawn = plot(Plot("t", "x", "y", [Series("", [0, 5, 10], [0, 1, 0.5], "points")], (0, 10), (0, 1)))
    circles = [tuple(map(float, each)) for each in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    (left, bottom), (middle, top), (right, half) = circles
    assert middle == pytest.approx((left + right) / 2)
    assert half == pytest.approx((bottom + top) / 2)
    assert left < right
    assert top < bottom


def test_the_ticks_of_axes_are_round_numbers_within_them():
    drawn = Parsed(plot(Plot("t", "x", "y", [Series("", [0, 300], [0.01, 1.5])], log=True)).encode())
    ticks = drawn.of("text")
    assert ticks[:4] == ["0", "100", "200", "300"]
    assert {"0.01", "0.1", "1"} <= set(ticks)


def test_what_is_not_a_number_interrupts_a_line_and_0_has_no_logarithm():
    drawn = plot(Plot("t", "x", "y", [Series("", range(6), [1, 2, np.nan, 3, 0, 4])], log=True))
    (path,) = re.findall(r'<path class="c0 line" d="([^"]+)"', drawn)
    assert (path.count("M"), path.count("L")) == (3, 1)


@pytest.mark.parametrize("ys", [[], [np.nan], [2, 2], [0.0]])
@pytest.mark.parametrize("log", [False, True])
def test_a_plot_of_nothing_or_of_one_value_is_drawn(ys, log):
    drawn = plot(Plot("t", "x", "y", [Series("s", range(len(ys)), ys, "points")], log=log))
    Parsed(drawn.encode())
    assert "nan" not in drawn


def test_names_are_text_wherever_they_stand():
    blocks = [
        Text(HOSTILE, warns=True),
        Table([HOSTILE, HOSTILE], [[HOSTILE, HOSTILE]], [0.5]),
        Plot(HOSTILE, HOSTILE, HOSTILE, [Series(HOSTILE, [0, 1], [0, 1])]),
        Matrix(HOSTILE, HOSTILE, [HOSTILE, "b"], np.asarray([[1, 2], [0, 3]])),
    ]
    found = parsed(Part(HOSTILE, blocks))
    assert not {"script", "img"} & set(found.tags)
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert found.shown().count(HOSTILE) == 1 + 1 + 2 + 2 + 4  # title, text, heads, cells, plot
    assert HOSTILE in found.values("span", "title")


def test_the_cells_of_a_matrix_are_as_dark_as_their_shares():
    counts = np.asarray([[6, 2, 0], [1, 9, 0], [0, 0, 0]])
    found = parsed(Part("m", [Matrix("is", "taken for", ["a", "b", "c"], counts)]))
    assert found.of("td") == ["6", "2", "1", "9"]
    shares = [int(re.search(r"(\d+)%", style)[1]) for style in found.values("td", "style")]
    assert shares == [75, 70, 28, 90]  # 0.25 is the largest off the diagonal and stands for 70 %, 0.1 for 28 %


def test_a_large_matrix_is_drawn_without_names():
    side = MOST_NAMED + 1
    found = parsed(Part("m", [Matrix("is", "taken for", ["n"] * side, np.eye(side, dtype=int))]))
    assert found.tags.count("rect") == side
    assert found.of("td") == []
