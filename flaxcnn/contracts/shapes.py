"""Shapes whose axes can depend on batch size B and number of classes K, and their text: `(B, 14, 14, 3*K+15)`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

# Every term but the first has a sign, so that there is one way only to cut a text into terms: a matcher that can cut
# anywhere takes exponential time to find that "111...1x" is none. No array is longer than 18 digits say.
_PRODUCT = r"(?:([0-9]{1,18})\*)?(B\*K|B|K)|([0-9]{1,18})"
_SUM = re.compile(rf"[+-]?(?:{_PRODUCT})(?:[+-](?:{_PRODUCT}))*")
_TERM = re.compile(rf"([+-]?)(?:{_PRODUCT})")
_MOST_AXES = 64  # of an array of NumPy
_NO_SHAPE = "none"  # the inputs of a layer that takes no array; no text at all is an endpoint


@dataclass(frozen=True, slots=True)
class Dimension:
    """The length of an axis: constant + batch·B + classes·K + both·B·K.

    Attributes:
        constant: what does not depend on B and K.
        batch: how much the length grows with one more example.
        classes: how much it grows with one more class.
        both: how much it grows with one more pair of both, as where batch and classes share an axis.
    """

    constant: int = 0
    batch: int = 0
    classes: int = 0
    both: int = 0

    def at(self, batch: int, classes: int) -> int:
        """Return the length for a batch size and a number of classes."""
        return self.constant + self.batch * batch + self.classes * classes + self.both * batch * classes

    def __str__(self) -> str:
        terms = []
        for factor, symbols in ((self.both, "B*K"), (self.batch, "B"), (self.classes, "K"), (self.constant, "")):
            if factor:
                size = abs(factor)
                name = symbols if symbols and size == 1 else f"{size}*{symbols}" if symbols else str(size)
                terms.append(f"{'-' if factor < 0 else '+'}{name}")
        return "".join(terms).removeprefix("+") or "0"

    @classmethod
    def parse(cls, text: str) -> "Dimension":
        """Return the dimension that its text says.

        Raises:
            ValueError: the text is not a sum of numbers and of multiples of B, K and B*K, each of 18 digits at most.

        >>> Dimension.parse("3*K+15").at(batch=50, classes=10)
        45
        """
        if not _SUM.fullmatch(text):
            raise ValueError(f"'{text}' is not a length")
        sums = dict.fromkeys(("", "B", "K", "B*K"), 0)
        for sign, factor, symbols, number in _TERM.findall(text):
            sums[symbols] += int(sign + (number or factor or "1"))
        return cls(*sums.values())


Shape = tuple[Dimension, ...]
"""The shape of an array, for any batch size and number of classes."""


def constant(lengths: Sequence[int]) -> Shape:
    """Return the shape of these lengths, whatever the batch size and the number of classes."""
    return tuple(Dimension(length) for length in lengths)


def at(shape: Shape, batch: int, classes: int) -> tuple[int, ...]:
    """Return a shape's lengths for a batch size and a number of classes."""
    return tuple(axis.at(batch, classes) for axis in shape)


def shape_text(shape: Shape) -> str:
    """Return a shape as its contract prints it.

    >>> shape_text((Dimension(batch=1), Dimension(28), Dimension(3, classes=2)))
    '(B, 28, 2*K+3)'
    """
    return f"({', '.join(map(str, shape))})"


def parse_shape(text: str) -> Shape:
    """Return the shape that its text says; a comma after the last axis is allowed, as Python writes it.

    Raises:
        ValueError: the text is not a shape, or one of more than 64 axes.
    """
    text = text.strip()
    if not (text.startswith("(") and text.endswith(")")):
        raise ValueError(f"'{text}' is not a shape")
    inside = text[1:-1].strip()
    if not inside:
        return ()
    parts = inside.removesuffix(",").split(",")
    if len(parts) > _MOST_AXES:
        raise ValueError(f"{len(parts)} axes are more than the {_MOST_AXES} of an array")
    return tuple(Dimension.parse(part.strip()) for part in parts)


def shapes_text(shapes: Sequence[Shape]) -> str:
    """Return shapes as a contract prints them, with commas between; "none" where there is none."""
    return ", ".join(map(shape_text, shapes)) or _NO_SHAPE


def parse_shapes(words: Sequence[str]) -> tuple[Shape, ...]:
    """Return the shapes that their texts and the commas between them say.

    Raises:
        ValueError: a text is not a shape, or a comma is missing.
    """
    if list(words) == [_NO_SHAPE]:
        return ()
    if len(words) % 2 == 0 or any(word != "," for word in words[1::2]):
        raise ValueError("shapes are separated by commas")
    return tuple(map(parse_shape, words[::2]))


def fit(lengths: Mapping[tuple[int, int], int]) -> Dimension:
    """Return the dimension that has these lengths, keyed by (batch size, number of classes).

    Args:
        lengths: at two batch sizes by two numbers of classes at least; with one number of classes, the axis is taken to
            be independent of it.

    Raises:
        ValueError: no whole multiples of B, K and B*K give all of the lengths.
    """
    batches = sorted({batch for batch, _ in lengths})[:2]
    classes = sorted({count for _, count in lengths})[:2]
    (b0, b1), k0 = batches, classes[0]
    batch_slope = Fraction(lengths[b1, k0] - lengths[b0, k0], b1 - b0)
    both = class_slope = Fraction(0)
    if len(classes) == 2:
        k1 = classes[1]
        class_slope = Fraction(lengths[b0, k1] - lengths[b0, k0], k1 - k0)
        both = (Fraction(lengths[b1, k1] - lengths[b0, k1], b1 - b0) - batch_slope) / (k1 - k0)
    per_batch, per_class = batch_slope - both * k0, class_slope - both * b0
    offset = lengths[b0, k0] - per_batch * b0 - per_class * k0 - both * b0 * k0
    found = Dimension(*(int(part) for part in (offset, per_batch, per_class, both)))
    if any(found.at(*probe) != length for probe, length in lengths.items()):
        raise ValueError(f"lengths {', '.join(map(str, lengths.values()))} follow neither batch nor classes")
    return found
