"""How an operation becomes a JAX primitive: native on a CPU where that works, in XLA's own operations everywhere else.

The choice is made when a program is lowered, when it is known what the program is for. Native code is chosen for a
program of one CPU that stays in this process. A program for another platform, for several devices (which XLA would not
divide among them), or for export has XLA's operations, which compute the same values up to rounding.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jax.sharding import PartitionSpec

from flaxcnn.kernels import library

_Native = tuple[str, dict[str, Any]]  # the library's target and its attributes


class Definition(NamedTuple):
    """What an operation is.

    Attributes:
        name: of the primitive.
        parameters: names of its static parameters, which must be hashable.
        shapes: takes the operands' shapes, without leading axes, and the parameters; returns the result's, or a tuple.
        plain: the operation for platforms other than a CPU, as a function of its operands and parameters.
        on_cpu: the same for a CPU where native code is not used.
        native: takes the operands' shapes, without leading axes, and the parameters; returns the target and its
            attributes, or None where the library does not compute it.
        multiple_results: whether it returns several arrays, as a tuple.
    """

    name: str
    parameters: tuple[str, ...]
    shapes: Callable[..., Any]
    plain: Callable[..., Any]
    on_cpu: Callable[..., Any]
    native: Callable[..., _Native | None]
    multiple_results: bool = False


def define(definition: Definition) -> Primitive:
    """Return the primitive of an operation.

    Besides its own parameters it has `lead`, for each operand whether it has a leading axis over which the operation is
    mapped: what `jax.vmap` makes of it.
    """
    primitive = Primitive(definition.name)
    primitive.multiple_results = definition.multiple_results
    jitted = jax.jit(primitive.bind, static_argnames=(*definition.parameters, "lead"))
    primitive.def_impl(jitted)
    primitive.def_abstract_eval(partial(_shapes, definition))
    mlir.register_lowering(primitive, mlir.lower_fun(partial(_mapped, definition.plain), definition.multiple_results))
    mlir.register_lowering(primitive, partial(_lowered_for_cpu, definition), platform="cpu")
    batching.primitive_batchers[primitive] = partial(_batched, primitive)
    return primitive


def _mapped(function: Callable[..., Any], *operands: jax.Array, lead: tuple[bool, ...], **parameters: Any) -> Any:
    function = partial(function, **parameters)
    return jax.vmap(function, [0 if each else None for each in lead])(*operands) if any(lead) else function(*operands)


def bind(primitive: Primitive, *operands: jax.Array, **parameters: Any) -> Any:
    """Apply an operation to operands without leading axes.

    Inside `jax.shard_map`, all operands are first made to vary over the same axes, as JAX's own functions do it: so a
    gradient is summed over the devices where it has to be.
    """
    axes = [jax.typeof(operand).manual_axis_type.varying for operand in operands]
    every: frozenset[Any] = frozenset().union(*axes)
    operands = tuple(
        jax.lax.pcast(operand, tuple(every - own), to="varying") if every - own else operand
        for operand, own in zip(operands, axes, strict=True)
    )
    return primitive.bind(*operands, lead=(False,) * len(operands), **parameters)


def is_divided(array: jax.Array) -> bool:
    """Return whether an array's type says over which devices it is divided: axes of a mesh that are `Explicit`."""
    return any(axis is not None for axis in jax.typeof(array).sharding.spec)


def _own_shapes(operands: Sequence[Any], lead: tuple[bool, ...]) -> list[jax.ShapeDtypeStruct]:
    return [
        jax.ShapeDtypeStruct(operand.shape[int(leads) :], operand.dtype)
        for operand, leads in zip(operands, lead, strict=True)
    ]


def _shapes(definition: Definition, *operands: Any, lead: tuple[bool, ...], **parameters: Any) -> Any:
    mapped = [operand.shape[0] for operand, leads in zip(operands, lead, strict=True) if leads]

    def result(shape: jax.ShapeDtypeStruct) -> Any:
        # An operand's type also says in which mesh it is, and over which of its axes it varies inside `shard_map`.
        whole = (*mapped[:1], *shape.shape)
        sharding = operands[0].sharding.update(spec=PartitionSpec(*[None] * len(whole)))
        return operands[0].update(shape=whole, dtype=jnp.dtype(shape.dtype), weak_type=False, sharding=sharding)

    shapes = definition.shapes(*_own_shapes(operands, lead), **parameters)
    return [result(each) for each in shapes] if definition.multiple_results else result(shapes)


def _lowered_for_cpu(definition: Definition, ctx: mlir.LoweringRuleContext, *operands: Any, **parameters: Any) -> Any:
    native = None
    arrays: Sequence[Any] = ctx.avals_in
    if library.available() and _stays(ctx.module_context) and all(array.size for array in arrays):
        own = {name: parameters[name] for name in definition.parameters}
        native = definition.native(*_own_shapes(ctx.avals_in, parameters["lead"]), **own)
    if native is None:
        # A program for batches of any size cannot choose by its size.
        fixed = all(isinstance(size, int) for array in arrays for size in array.shape)
        function = definition.on_cpu if fixed else definition.plain
        return mlir.lower_fun(partial(_mapped, function), definition.multiple_results)(ctx, *operands, **parameters)
    target, attributes = native
    return jax.ffi.ffi_lowering(target)(ctx, *operands, **attributes)


def _stays(module: Any) -> bool:
    """Return whether a program runs in this process, on one device or on each device by itself."""
    if tuple(module.platforms) != ("cpu",) or module.lowering_parameters.for_export:
        return False
    context = module.axis_context
    manual = getattr(context, "manual_axes", None)
    if manual is not None:  # in `shard_map`: each device computes its own where no axis is left to XLA
        return set(manual) == set(context.mesh.axis_names)
    devices: int | None = getattr(context, "num_devices", None)
    return devices == 1


def _batched(
    primitive: Primitive, operands: Sequence[jax.Array], axes: Sequence[int | None], **parameters: Any
) -> tuple[Any, Any]:
    lead: tuple[bool, ...] = parameters.pop("lead")
    size = next(operand.shape[axis] for operand, axis in zip(operands, axes, strict=True) if axis is not None)
    first = [
        operand if axis is None else jnp.moveaxis(operand, axis, 0)
        for operand, axis in zip(operands, axes, strict=True)
    ]
    # Where a leading axis is there already, both become one.
    inner = next(
        (array.shape[int(axis is not None)] for array, axis, leads in zip(first, axes, lead, strict=True) if leads),
        None,
    )
    moved = []
    for array, axis, leads in zip(first, axes, lead, strict=True):
        if inner is not None and (leads or axis is not None):
            array = array[None] if axis is None else array if leads else array[:, None]
            own = array.shape[2:]
            array = jnp.broadcast_to(array, (size, inner, *own)).reshape(size * inner, *own)
        moved.append(array)
    lead = tuple(leads or axis is not None for leads, axis in zip(lead, axes, strict=True))
    results = primitive.bind(*moved, lead=lead, **parameters)

    def split(array: jax.Array) -> jax.Array:
        return array if inner is None else array.reshape(size, inner, *array.shape[1:])

    if not primitive.multiple_results:
        return split(results), 0
    return [split(each) for each in results], [0] * len(results)
