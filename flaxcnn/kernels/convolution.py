"""The convolution and its two gradients as primitives, each of which is the derivative of the others.

All three are linear in each of their two operands, so their rules of differentiation are complete: forward and reverse
mode, to any order, and a gradient that nobody asks for is not computed.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad

from flaxcnn.kernels import library
from flaxcnn.kernels import xla_convolution as xla
from flaxcnn.kernels.operation import Definition, bind, define
from flaxcnn.kernels.sums import spread
from flaxcnn.kernels.xla_convolution import Pair, Window

_FORWARD, _IMAGES_GRADIENT, _KERNEL_GRADIENT = range(3)  # flaxcnn::Pass
_TYPES = {jnp.dtype(jnp.float32): 3, jnp.dtype(jnp.bfloat16): 2}  # dnnl_data_type_t


def convolve(
    images_BHWC: jax.Array, kernel_HWIF: jax.Array, window: Window, bias_F: jax.Array | None = None
) -> jax.Array:
    """Return the convolution (B, H', W', F), with a bias where one is given."""
    if bias_F is None:
        return bind(_convolution, images_BHWC, kernel_HWIF, window=window)
    return bind(_with_bias, images_BHWC, kernel_HWIF, bias_F, window=window)


def images_gradient(
    gradient_BHWF: jax.Array, kernel_HWIF: jax.Array, window: Window, size: Pair, dtype: Any
) -> jax.Array:
    """Return the gradient of the images, (B, *size, C), given that of the convolution."""
    return bind(_images_gradient, gradient_BHWF, kernel_HWIF, window=window, size=size, dtype=dtype)


def kernel_gradient(
    images_BHWC: jax.Array, gradient_BHWF: jax.Array, window: Window, size: Pair, dtype: Any
) -> jax.Array:
    """Return the gradient of the kernel, (*size, C / groups, F), given that of the convolution."""
    return bind(_kernel_gradient, images_BHWC, gradient_BHWF, window=window, size=size, dtype=dtype)


def _result(images: Any, kernel: Any, *_: Any, window: Window) -> jax.ShapeDtypeStruct:
    height, width = xla.output_size(images.shape, kernel.shape, window)
    dtype = window.preferred_element_type or jnp.result_type(images.dtype, kernel.dtype)
    return jax.ShapeDtypeStruct((images.shape[0], height, width, kernel.shape[3]), dtype)


def _images(gradient: Any, kernel: Any, *, window: Window, size: Pair, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((gradient.shape[0], *size, kernel.shape[2] * window.groups), dtype)


def _kernel(images: Any, gradient: Any, *, window: Window, size: Pair, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*size, images.shape[3] // window.groups, gradient.shape[3]), dtype)


def _numbers(of_pass: int, images: Any, kernel: Any, outputs: Any, window: Window, bias: bool = False) -> Any:
    """Return the attributes of a call, or None where the library does not compute it."""
    types = {jnp.dtype(each.dtype) for each in (images, kernel, outputs)}
    if len(types) > 1 or not types <= _TYPES.keys() or not all(images.shape + kernel.shape + outputs.shape):
        return None
    attributes = (*window.strides, *window.dilation, *window.padding[0], *window.padding[1], window.groups)
    batch, height, width, channels = images.shape
    described = (of_pass, _TYPES[types.pop()], int(bias), batch, height, width, channels, *kernel.shape[:2])
    described += (kernel.shape[3], *outputs.shape[1:3], *attributes)
    return None if library.plan(described) is None else {"window": np.array(attributes, np.int64)}


def _native(target: str, of_pass: int, shapes: Any, *operands: Any, window: Window, **parameters: Any) -> Any:
    result = shapes(*operands, window=window, **parameters)
    if of_pass == _FORWARD:
        arrays = (operands[0], operands[1], result)
    elif of_pass == _IMAGES_GRADIENT:
        arrays = (result, operands[1], operands[0])
    else:
        arrays = (operands[0], result, operands[1])
    if any(each.dtype != operands[0].dtype for each in operands[2:]):  # a bias of another type
        return None
    attributes = _numbers(of_pass, *arrays, window, bias=len(operands) > 2)
    return None if attributes is None else (target, attributes)


def _biased(function: Any) -> Any:
    return lambda images, kernel, bias, window: function(images, kernel, window) + bias


_convolution = define(
    Definition(
        "convolution",
        ("window",),
        _result,
        xla.plain,
        xla.forward_on_cpu,
        partial(_native, "flaxcnn_convolution", _FORWARD, _result),
    )
)
_with_bias = define(
    Definition(
        "convolution_with_bias",
        ("window",),
        _result,
        _biased(xla.plain),
        _biased(xla.forward_on_cpu),
        partial(_native, "flaxcnn_convolution_bias", _FORWARD, _result),
    )
)
_images_gradient = define(
    Definition(
        "convolution_images_gradient",
        ("window", "size", "dtype"),
        _images,
        xla.plain_images_gradient,
        xla.images_gradient_on_cpu,
        partial(_native, "flaxcnn_images_gradient", _IMAGES_GRADIENT, _images),
    )
)
_kernel_gradient = define(
    Definition(
        "convolution_kernel_gradient",
        ("window", "size", "dtype"),
        _kernel,
        xla.plain_kernel_gradient,
        xla.kernel_gradient_on_cpu,
        partial(_native, "flaxcnn_kernel_gradient", _KERNEL_GRADIENT, _kernel),
    )
)


def _transposed(primitive: Any, *operands: Any, lead: tuple[bool, ...], to: Any, leads: bool, **parameters: Any) -> Any:
    """Return the gradient of a linear operand, `to`, as another primitive's result; `leads` as in `lead`."""
    gradient = primitive.bind(*operands, lead=lead, **parameters)
    if any(lead) and not leads:  # one array was used for all of a leading axis
        gradient = gradient.sum(0)
    return gradient.astype(to.aval.dtype)


def _size(operand: Any, leads: bool, first: int) -> Pair:
    height, width = operand.aval.shape[int(leads) + first : int(leads) + first + 2]
    return height, width


def _convolution_of_images(ct: Any, images: Any, kernel: Any, *, lead: tuple[bool, bool], window: Window) -> Any:
    dtype, size = images.aval.dtype, _size(images, lead[0], 1)
    parameters = {"window": window, "size": size, "dtype": dtype, "to": images, "leads": lead[0]}
    return _transposed(_images_gradient, ct, kernel, lead=(any(lead), lead[1]), **parameters)


def _convolution_of_kernel(ct: Any, images: Any, kernel: Any, *, lead: tuple[bool, bool], window: Window) -> Any:
    dtype, size = kernel.aval.dtype, _size(kernel, lead[1], 0)
    parameters = {"window": window, "size": size, "dtype": dtype, "to": kernel, "leads": lead[1]}
    return _transposed(_kernel_gradient, images, ct, lead=(lead[0], any(lead)), **parameters)


def _images_gradient_of_gradient(
    ct: Any, gradient: Any, kernel: Any, *, lead: tuple[bool, bool], window: Window, size: Pair, dtype: Any
) -> Any:
    lead_ = (any(lead), lead[1])
    return _transposed(_convolution, ct, kernel, lead=lead_, window=window, to=gradient, leads=lead[0])


def _images_gradient_of_kernel(
    ct: Any, gradient: Any, kernel: Any, *, lead: tuple[bool, bool], window: Window, size: Pair, dtype: Any
) -> Any:
    parameters = {"size": _size(kernel, lead[1], 0), "dtype": kernel.aval.dtype, "to": kernel, "leads": lead[1]}
    return _transposed(_kernel_gradient, ct, gradient, lead=(any(lead), lead[0]), window=window, **parameters)


def _kernel_gradient_of_images(
    ct: Any, images: Any, gradient: Any, *, lead: tuple[bool, bool], window: Window, size: Pair, dtype: Any
) -> Any:
    parameters = {"size": _size(images, lead[0], 1), "dtype": images.aval.dtype, "to": images, "leads": lead[0]}
    return _transposed(_images_gradient, gradient, ct, lead=(lead[1], any(lead)), window=window, **parameters)


def _kernel_gradient_of_gradient(
    ct: Any, images: Any, gradient: Any, *, lead: tuple[bool, bool], window: Window, size: Pair, dtype: Any
) -> Any:
    lead_ = (lead[0], any(lead))
    return _transposed(_convolution, images, ct, lead=lead_, window=window, to=gradient, leads=lead[1])


ad.defbilinear(_convolution, _convolution_of_images, _convolution_of_kernel)
ad.defbilinear(_images_gradient, _images_gradient_of_gradient, _images_gradient_of_kernel)
ad.defbilinear(_kernel_gradient, _kernel_gradient_of_images, _kernel_gradient_of_gradient)


def _with_bias_jvp(primals: Any, tangents: Any, *, lead: tuple[bool, bool, bool], window: Window) -> Any:
    images, kernel, _ = primals
    d_images, d_kernel, d_bias = tangents
    outputs = _with_bias.bind(*primals, lead=lead, window=window)
    terms = []
    if not isinstance(d_images, ad.Zero):
        terms.append((_convolution.bind(d_images, kernel, lead=lead[:2], window=window), any(lead[:2])))
    if not isinstance(d_kernel, ad.Zero):
        terms.append((_convolution.bind(images, d_kernel, lead=lead[:2], window=window), any(lead[:2])))
    if not isinstance(d_bias, ad.Zero):
        shape = outputs.shape[int(any(lead)) :]
        terms.append((spread(d_bias.astype(outputs.dtype), shape, leads=lead[2]), lead[2]))
    whole = [each if leads == any(lead) else jnp.broadcast_to(each, outputs.shape) for each, leads in terms]
    return outputs, sum(whole[1:], start=whole[0])


ad.primitive_jvps[_with_bias] = _with_bias_jvp
