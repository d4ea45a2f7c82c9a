"""The lengths of axes as text, and from their values at several batch sizes and numbers of classes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxcnn.contracts.shapes import Dimension, fit, parse_shape, parse_shapes, shape_text, shapes_text
from tests.answered import answered

dimensions = st.builds(Dimension, st.integers(-99, 99), st.integers(-9, 99), st.integers(-9, 9), st.integers(-3, 3))


@pytest.mark.parametrize(
    ("text", "length"),  # with a batch of 50 and 10 classes
    [
        ("B", 50),
        ("K", 10),
        ("0", 0),
        ("1568", 1568),
        ("49*B", 2450),
        ("3*K+15", 45),
        ("K-1", 9),
        ("B*K", 500),
        ("2*B*K-B+7", 957),
        ("-B+60", 10),
    ],
)
def test_a_length_says_its_number_and_prints_as_it_is_written(text, length):
    dimension = Dimension.parse(text)
    assert dimension.at(batch=50, classes=10) == length
    assert str(dimension) == text


@given(dimensions)
def test_the_text_of_any_length_parses_to_the_same_length(dimension):
    assert Dimension.parse(str(dimension)) == dimension


@given(st.lists(st.lists(dimensions, max_size=5).map(tuple), max_size=4).map(tuple))
def test_the_text_of_any_shapes_parses_to_the_same_shapes(shapes):
    words = " , ".join(map(shape_text, shapes)).split(" , ") if shapes else ["none"]
    separated = [word for each in words for word in (each, ",")][:-1]
    assert parse_shapes(separated) == shapes
    assert shapes_text(shapes) == (", ".join(map(shape_text, shapes)) or "none")


@pytest.mark.parametrize(
    "text", ["", "X", "2B", "3*", "*B", "B*", "B+", "+", "2*3", "B K", "3K", "B**K", "K*B", "1.5", "٣"]
)
def test_what_is_no_length_is_refused(text):
    with pytest.raises(ValueError, match="not a length"):
        Dimension.parse(text)


@pytest.mark.parametrize(
    "text", ["1" * 100_000 + "x", "1" * 100_000, "+" * 100_000, "1+" * 50_000, "K*" * 50_000, "B*K" * 33_000]
)
def test_a_long_text_that_is_no_length_is_refused_at_once(text):
    with answered(), pytest.raises(ValueError, match="not a length"):  # who backtracks takes 7 s for 26 digits
        Dimension.parse(text)


def test_numbers_are_as_long_as_those_of_arrays_can_be():
    assert Dimension.parse("9" * 18).at(1, 1) == 10**18 - 1
    with pytest.raises(ValueError, match="not a length"):
        Dimension.parse("1" + "0" * 400)
    assert len(parse_shape(f"({', '.join(['2'] * 64)})")) == 64  # as many axes as NumPy has
    with pytest.raises(ValueError, match="65 axes"):
        parse_shape(f"({', '.join(['2'] * 65)})")


def test_a_shape_may_end_with_a_comma_as_python_writes_it():
    assert parse_shape("(16,)") == parse_shape("(16)") == (Dimension(16),)
    assert parse_shape("()") == ()
    assert parse_shape("( B,28 , 28,1 )") == parse_shape("(B, 28, 28, 1)")


@pytest.mark.parametrize("text", ["", "16", "(16", "16)", "(,)", "(1,,2)", "(1)(2)"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(ValueError, match="not a"):
        parse_shape(text)


@pytest.mark.parametrize("words", [[], ["(1)", "(2)"], ["(1)", ","], ["(1)", "x", "(2)"]])
def test_shapes_without_commas_between_are_refused(words):
    with pytest.raises(ValueError, match="commas"):
        parse_shapes(words)


@given(dimensions)
def test_two_batch_sizes_by_two_class_counts_give_a_length_back(dimension):
    probes = [(8, 3), (16, 3), (8, 5), (16, 5), (24, 9)]
    assert fit({probe: dimension.at(*probe) for probe in probes}) == dimension


def test_one_class_count_gives_a_length_without_classes():
    assert fit({(8, 0): 393, (16, 0): 785, (24, 0): 1177}) == Dimension(constant=1, batch=49)


@pytest.mark.parametrize("length", [lambda batch, classes: batch**2, lambda batch, classes: classes // 2])
def test_a_length_that_follows_no_multiple_is_refused(length):
    with pytest.raises(ValueError, match="follow neither batch nor classes"):
        fit({probe: length(*probe) for probe in [(8, 3), (16, 3), (8, 5), (16, 5), (24, 9)]})
