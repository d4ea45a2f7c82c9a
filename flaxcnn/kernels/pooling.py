"""Max pooling, with the place of each maximum kept for the gradient."""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad

from flaxcnn.kernels.operation import Definition, bind, define

Size = tuple[int, int]


class Windows(NamedTuple):
    """Windows over height and width.

    Attributes:
        size: of a window, rows and columns; at most 256 places.
        strides: from one window to the next.
        padding: rows above and below, columns left and right, that are lower than any value; less than `size`.
    """

    size: Size
    strides: Size
    padding: tuple[Size, Size] = ((0, 0), (0, 0))

    @property
    def apart(self) -> bool:
        """Whether the windows lie side by side, each with values of its own."""
        return self.strides == self.size and self.padding == ((0, 0), (0, 0))

    def many(self, extent: Size) -> Size:
        """Return the number of windows down and across images of a height and width; incomplete ones are dropped."""
        down, across = (
            (length + sum(padding) - side) // stride + 1
            for length, padding, side, stride in zip(extent, self.padding, self.size, self.strides, strict=True)
        )
        return down, across


def window_maxima(x_BHWC: jax.Array, windows: Windows) -> jax.Array:
    """Return the maximum of each window, (B, windows down, windows across, C)."""
    return bind(_maxima, x_BHWC, windows=windows)


def _places(x_BHWC: jax.Array, windows: Windows, outside: float) -> list[jax.Array]:
    """Return for each place in a window, in row-major order, the value there of all windows, (B, down, across, C)."""
    batch, height, width, channels = x_BHWC.shape
    (rows, columns), (down, across) = windows.size, windows.many((height, width))
    places = [(row, column) for row in range(rows) for column in range(columns)]
    if windows.apart:
        whole = x_BHWC[:, : down * rows, : across * columns]
        divided = whole.reshape(batch, down, rows, across, columns, channels)
        return [divided[:, :, row, :, column] for row, column in places]
    fill = jnp.asarray(outside, x_BHWC.dtype)
    padded = lax.pad(x_BHWC, fill, ((0, 0, 0), *((low, high, 0) for low, high in windows.padding), (0, 0, 0)))
    (step_down, step_across), (last_row, last_column) = windows.strides, (down - 1, across - 1)
    return [
        padded[
            :,
            row : row + last_row * step_down + 1 : step_down,
            column : column + last_column * step_across + 1 : step_across,
        ]
        for row, column in places
    ]


def _elementwise_maxima(x_BHWC: jax.Array, windows: Windows) -> jax.Array:
    # Not `jnp.max`: XLA:CPU gives a reduction to a library, for which what comes before has to be written to memory;
    # elementwise it is fused with what comes before it.
    return reduce(jnp.maximum, _places(x_BHWC, windows, -np.inf))


def _elementwise_winners(x_BHWC: jax.Array, windows: Windows) -> tuple[jax.Array, jax.Array]:
    first, *others = _places(x_BHWC, windows, -np.inf)
    largest, winner = first, jnp.zeros(first.shape, jnp.uint8)
    for place, candidate in enumerate(others, 1):
        larger = (candidate > largest) | jnp.isnan(candidate)  # ties keep the first, as XLA's select_and_scatter does
        largest, winner = jnp.where(larger, candidate, largest), jnp.where(larger, jnp.uint8(place), winner)
    return largest, winner


def _elementwise_expand(values: jax.Array, winners: jax.Array, windows: Windows, extent: Size) -> jax.Array:
    (rows, columns), (batch, down, across, channels) = windows.size, values.shape
    zero = jnp.zeros((), values.dtype)
    if windows.apart:
        positions = lax.broadcasted_iota(jnp.uint8, (1, 1, rows, 1, columns, 1), 2) * columns
        positions += lax.broadcasted_iota(jnp.uint8, (1, 1, rows, 1, columns, 1), 4)
        chosen = positions == winners[:, :, None, :, None]
        spread = jnp.where(chosen, values[:, :, None, :, None], zero)
        spread = spread.reshape(batch, down * rows, across * columns, channels)
        left_over = [(0, 0), (0, extent[0] - down * rows), (0, extent[1] - across * columns), (0, 0)]
        return jnp.pad(spread, left_over)

    def around(offset: int, axis: int, count: int) -> tuple[int, int, int]:
        """Return the padding that puts a window's value where it was read; no winner lies outside the image."""
        low = offset - windows.padding[axis][0]
        return low, extent[axis] - low - (count - 1) * windows.strides[axis] - 1, windows.strides[axis] - 1

    def spread_of(place: int) -> jax.Array:
        chosen = jnp.where(winners == place, values, zero)
        row, column = divmod(place, columns)
        return lax.pad(chosen, zero, ((0, 0, 0), around(row, 0, down), around(column, 1, across), (0, 0, 0)))

    return sum(map(spread_of, range(1, rows * columns)), spread_of(0))


def _elementwise_select(x_BHWC: jax.Array, winners: jax.Array, windows: Windows) -> jax.Array:
    first, *others = _places(x_BHWC, windows, 0.0)
    chosen = first
    for place, candidate in enumerate(others, 1):
        chosen = jnp.where(winners == place, candidate, chosen)
    return chosen


def _pooled(x: Any, *_: Any, windows: Windows) -> jax.ShapeDtypeStruct:
    batch, height, width, channels = x.shape
    return jax.ShapeDtypeStruct((batch, *windows.many((height, width)), channels), x.dtype)


def _both(x: Any, *, windows: Windows) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    maxima = _pooled(x, windows=windows)
    return maxima, jax.ShapeDtypeStruct(maxima.shape, jnp.uint8)


def _whole(values: Any, winners: Any, *, windows: Windows, extent: Size) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((values.shape[0], *extent, values.shape[3]), values.dtype)


def _native(target: str) -> Any:
    def attributes(first: Any, *_: Any, windows: Windows, **__: Any) -> tuple[str, dict[str, Any]] | None:
        if first.dtype != jnp.float32 or not all(first.shape):
            return None
        if windows.apart:
            rows, columns = windows.size
            return f"flaxcnn_pool_{target}", {"rows": np.int64(rows), "columns": np.int64(columns)}
        above_and_left = (windows.padding[0][0], windows.padding[1][0])
        numbers = np.asarray((*windows.size, *windows.strides, *above_and_left), np.int64)
        return f"flaxcnn_sliding_{target}", {"windows": numbers}

    return attributes


_maxima = define(
    Definition(
        "pool_maxima",
        ("windows",),
        _pooled,
        _elementwise_maxima,
        _elementwise_maxima,
        _native("maxima"),
    )
)
_winners = define(
    Definition(
        "pool_winners",
        ("windows",),
        _both,
        _elementwise_winners,
        _elementwise_winners,
        _native("winners"),
        multiple_results=True,
    )
)
_expand = define(
    Definition(
        "pool_expand",
        ("windows", "extent"),
        _whole,
        _elementwise_expand,
        _elementwise_expand,
        _native("expand"),
    )
)
_select = define(
    Definition(
        "pool_select",
        ("windows",),
        _pooled,
        _elementwise_select,
        _elementwise_select,
        _native("select"),
    )
)


def _winners_jvp(primals: Any, tangents: Any, *, lead: tuple[bool], windows: Windows) -> Any:
    maxima, winners = _winners.bind(*primals, lead=lead, windows=windows)
    tangent = _select.bind(*tangents, winners, lead=(*lead, *lead), windows=windows)
    return [maxima, winners], [tangent, ad.Zero(jax.typeof(winners).to_tangent_aval())]


def _maxima_jvp(primals: Any, tangents: Any, *, lead: tuple[bool], windows: Windows) -> Any:
    (maxima, _), (tangent, _) = _winners_jvp(primals, tangents, lead=lead, windows=windows)
    return maxima, tangent


def _select_transpose(ct: Any, x: Any, winners: Any, *, lead: tuple[bool, bool], windows: Windows) -> Any:
    first = 1 + int(lead[0])
    extent = tuple(x.aval.shape[first : first + 2])
    leads = any(lead)
    gradient = _expand.bind(ct, winners, lead=(leads, lead[1]), windows=windows, extent=extent)
    return (gradient if lead[0] or not leads else gradient.sum(0)), None


def _expand_transpose(
    ct: Any, values: Any, winners: Any, *, lead: tuple[bool, bool], windows: Windows, extent: Size
) -> Any:
    leads = any(lead)
    gradient = _select.bind(ct, winners, lead=(leads, lead[1]), windows=windows)
    return (gradient if lead[0] or not leads else gradient.sum(0)), None


def _linear_in_first(primitive: Any) -> Any:
    """Return the rule of an operation that is linear in its first operand and never differentiated by its second."""

    def jvp(primals: Any, tangents: Any, **parameters: Any) -> Any:
        tangent, winners = tangents[0], primals[1]
        outputs = primitive.bind(*primals, **parameters)
        return outputs, primitive.bind(tangent, winners, **parameters)

    return jvp


ad.primitive_jvps[_maxima] = _maxima_jvp
ad.primitive_jvps[_winners] = _winners_jvp
ad.primitive_jvps[_select] = _linear_in_first(_select)
ad.primitive_jvps[_expand] = _linear_in_first(_expand)
ad.primitive_transposes[_select] = _select_transpose
ad.primitive_transposes[_expand] = _expand_transpose
