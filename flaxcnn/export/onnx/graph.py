"""A graph while it is built, and the values in it.

ONNX has images as (B, C, H, W), JAX's models have them as (B, H, W, C). A value may lie in another order of axes than
JAX has it, so that images are turned once and not around each convolution; and what JAX broadcasts stays small until
an operation needs it whole.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from flaxcnn.errors import ConfigError

CHANNELS_FIRST = (0, 3, 1, 2)
IMAGES = "images"
"""The name of a graph's input."""

Shape = tuple[Any, ...]
"""Sizes of axes: whole numbers, or JAX's symbolic dimensions where a size depends on the batch."""


class UnwrittenError(ConfigError):
    """A model has an operation that is not written as ONNX.

    Args:
        operation: in words, or JAX's name of it.
    """

    def __init__(self, operation: str):
        fix = "export it to a .stablehlo file, which takes any model"
        super().__init__("no ONNX for an operation of this model", where=".onnx", found=operation, fix=fix)


class Value(NamedTuple):
    """An array in a graph.

    Attributes:
        shape: as JAX has it.
        dtype: NumPy's.
        own: the same, with 1 where the array is broadcast along an axis.
        name: in the graph; "" for a constant.
        constant: its values, of shape `own`; None where they depend on the images.
        layout: the axis of JAX that each axis in the graph is.
    """

    shape: Shape
    dtype: Any
    own: Shape
    name: str = ""
    constant: np.ndarray | None = None
    layout: tuple[int, ...] = ()

    @property
    def in_order(self) -> bool:
        """Whether its axes are those of JAX, one after the other."""
        return self.layout == tuple(range(len(self.shape)))


class Graph:
    """A graph while it is built.

    Args:
        batch: JAX's symbolic dimension, the number of images.
        around: the graph of whose node this is a part, as the body of a loop is; None for a graph of its own. Both
            have their initial values in common.

    Attributes:
        prefix: of its names, which no other graph has.
    """

    def __init__(self, batch: Any, around: "Graph | None" = None):
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = [] if around is None else around.initializers
        self._known: dict[tuple[Any, ...], str] = {} if around is None else around._known
        self.prefix: str = "" if around is None else f"{around.prefix}{len(around.nodes)}_"

    def constant(self, array: Any, shape: Shape | None = None) -> Value:
        """Return an array that does not depend on the images, broadcast to a shape where one is given."""
        array = np.asarray(array)
        own = tuple(array.shape)
        return Value(own if shape is None else shape, array.dtype, own, constant=array, layout=tuple(range(array.ndim)))

    def value(self, name: str, shape: Shape, dtype: Any, own: Shape | None = None, layout: Sequence[int] = ()) -> Value:
        """Return an array that a node computes."""
        return Value(shape, np.dtype(dtype), own or shape, name, None, tuple(layout) or tuple(range(len(shape))))

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        return self.several(operator, inputs, 1, **attributes)[0]

    def several(self, operator: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs, and return their names."""
        name = f"{self.prefix}{operator.lower()}_{len(self.nodes)}"
        names = [name, *(f"{name}_{place}" for place in range(1, count))]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names

    def name(self, value: Value, layout: tuple[int, ...] | None = None) -> str:
        """Return the name of a value in a layout, by default its own; a constant becomes an initial value."""
        return self.laid_out(value, value.layout if layout is None else layout).name or self._initial(value, layout)

    def numbers(self, *numbers: int) -> str:
        """Return the name of a list of whole numbers, as axes and shapes are given."""
        return self.initial(np.asarray(numbers, np.int64))

    def initial(self, array: np.ndarray) -> str:
        """Return the name of an array among the initial values; the same array is there once."""
        array = np.ascontiguousarray(array).reshape(array.shape)  # a scalar stays one
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = name = f"value_{len(self.initializers)}"
            self.initializers.append(numpy_helper.from_array(array, name))
        return self._known[key]

    def laid_out(self, value: Value, layout: tuple[int, ...]) -> Value:
        """Return a value with its axes in another order."""
        if value.constant is not None or value.layout == layout:
            return value
        order = [value.layout.index(axis) for axis in layout]
        return value._replace(name=self.node("Transpose", [value.name], perm=order), layout=layout)

    def ordered(self, value: Value) -> Value:
        """Return a value with its axes as JAX has them."""
        return self.laid_out(value, tuple(range(len(value.shape))))

    def whole(self, value: Value) -> Value:
        """Return a value of which nothing is left to be broadcast."""
        if value.own == value.shape:
            return value
        concrete = all(isinstance(size, int) for size in value.shape)
        if value.constant is not None and concrete:
            return self.constant(np.broadcast_to(value.constant, value.shape))
        value = self.ordered(value)
        wanted = [1 if own == size else size for own, size in zip(value.own, value.shape, strict=True)]
        expanded = self.node("Expand", [self.name(value), self.sizes(wanted)])
        return self.value(expanded, value.shape, value.dtype)

    def sizes(self, shape: Sequence[Any]) -> str:
        """Return the name of a shape, of which sizes may depend on the batch."""
        if all(isinstance(size, int) for size in shape):
            return self.numbers(*shape)
        images = self.node("Slice", [self.node("Shape", [IMAGES]), self.numbers(0), self.numbers(1)])
        parts = [
            self.numbers(size)
            if isinstance(size, int)
            else self.node("Mul", [images, self.numbers(self.multiple(size))])
            for size in shape
        ]
        return self.node("Concat", parts, axis=0)

    def multiple(self, size: Any) -> int:
        """Return how many times the batch a symbolic size is."""
        times = size // self.batch
        if not isinstance(times, int) or size != times * self.batch:
            raise UnwrittenError(f"size {size}")
        return times

    def reshaped(self, value: Value, own: Shape, shape: Shape | None = None) -> Value:
        """Return a value with other axes, of the same elements, which is then broadcast to a shape."""
        shape = own if shape is None else shape
        if value.constant is not None:
            return self.constant(value.constant.reshape(own), shape)
        value = self.ordered(value)
        if value.own == own:
            return value._replace(shape=shape)
        sizes = [size if isinstance(size, int) else -1 for size in own]
        if sizes.count(-1) > 1:
            raise UnwrittenError(f"shape {own}")
        return self.value(self.node("Reshape", [value.name, self.numbers(*sizes)]), shape, value.dtype, own)

    def rename(self, value: Value, name: str) -> None:
        """Give a result the name by which it is asked for."""
        self.nodes.append(helper.make_node("Identity", [self.name(value)], [name], name=name))

    def _initial(self, value: Value, layout: tuple[int, ...] | None) -> str:
        assert value.constant is not None
        array = value.constant
        # A scalar among the operands has no axes to order.
        return self.initial(array.transpose(layout) if layout and len(layout) == array.ndim else array)
