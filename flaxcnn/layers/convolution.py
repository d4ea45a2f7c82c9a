"""Convolutions for layers: `convolution`, a replacement of JAX's own, and `Conv`, a layer that adds its bias in it.

On a CPU both use oneDNN through `flaxcnn.kernels`, where the native library is installed. Otherwise, they use XLA in a
form whose gradient is fast in control flow.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from flaxcnn.kernels.convolution import convolve
from flaxcnn.kernels.operation import is_divided
from flaxcnn.kernels.xla_convolution import Window, dilated, padded_where_cropped

CANONICAL = ("NHWC", "HWIO", "NHWC")  # the order of axes of images, kernels and outputs

portable = jax.make_user_context(False)
"""`with portable(True):` makes convolutions, pools and batch normalisation trace as JAX's own functions.

That is for programs that go elsewhere. `jax.export` does not need it: an exported program has XLA's own operations
by itself. A converter that reads a traced program (jaxpr), as those to ONNX do, does.
"""


def convolution(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """A replacement of `jax.lax.conv_general_dilated` that is fast on CPU, with its gradient, also in control flow.

    Use it in a Flax layer: `nn.Conv(16, (5, 5), conv_general_dilated=convolution)`. Values and gradients equal those of
    the plain function up to rounding. They are reproducible bit for bit, for a step alone, in a loop or in a scan, and
    on any number of cores.

    The function handles floating-point images (B, H, W, C) with kernels (H, W, C / groups, F) and any strides, padding,
    kernel dilation and feature groups. It passes everything else (other dimension numbers, one or three dimensions, a
    dilated input, batch groups, other types) to `jax.lax.conv_general_dilated`.

    Forward and reverse mode work, to any order.

    Args:
        lhs: images, (B, H, W, C).
        rhs: kernel, (kernel height, kernel width, C / feature_group_count, F).
        window_strides: strides in height and width.
        padding: "SAME", "VALID", "SAME_LOWER", or (low, high) of height and width; negative values crop.
        lhs_dilation: dilation of the images; passed on if not 1.
        rhs_dilation: dilation of the kernel in height and width.
        dimension_numbers: as for `jax.lax.conv_general_dilated`.
        feature_group_count: number of channel groups that are convolved separately.
        batch_group_count: passed on if not 1.
        precision: as for `jax.lax.conv_general_dilated`.
        preferred_element_type: dtype of the result; None for the operands' dtype.

    Returns:
        Images (B, output height, output width, F).

    >>> import flax.linen as nn
    >>> layer = nn.Conv(16, (5, 5), conv_general_dilated=convolution)
    >>> images = jnp.ones((2, 28, 28, 1))
    >>> layer.apply(layer.init(jax.random.key(0), images), images).shape
    (2, 28, 28, 16)
    """
    return convolved(
        lhs,
        rhs,
        None,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def convolved(images: jax.Array, kernel: jax.Array, bias: jax.Array | None, **options: Any) -> jax.Array:
    """Return the convolution, with a bias where one is given, as `lax.conv_general_dilated` takes its options."""
    as_xla_does: Callable[..., jax.Array] = partial(lax.conv_general_dilated, **options)
    numbers = lax.conv_dimension_numbers(images.shape, kernel.shape, options["dimension_numbers"])
    dilation = tuple(options.get("rhs_dilation") or (1,) * (kernel.ndim - 2))
    if portable.value or not (
        kernel.ndim == 4
        and numbers == lax.conv_dimension_numbers(images.shape, kernel.shape, CANONICAL)
        and all(factor == 1 for factor in options.get("lhs_dilation") or ())
        and options.get("batch_group_count", 1) == 1
        and images.dtype == kernel.dtype
        and jnp.issubdtype(images.dtype, jnp.floating)
        and images.size
        and kernel.size
        and len(options["window_strides"]) == len(dilation) == 2
        and not is_divided(images)
        and not is_divided(kernel)
    ):
        outputs = as_xla_does(images, kernel)
        return outputs if bias is None else outputs + bias
    jax.eval_shape(as_xla_does, images, kernel)  # refuses what does not fit, in XLA's words
    strides, padding = options["window_strides"], options["padding"]
    strides = (int(strides[0]), int(strides[1]))
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images.shape[1:3], dilated(kernel.shape[:2], dilation), strides, padding)
    images, pairs, _ = padded_where_cropped(images, padding, (1, 1))
    window = Window(
        strides,
        pairs,
        (int(dilation[0]), int(dilation[1])),
        options.get("feature_group_count", 1),
        options.get("precision"),
        options.get("preferred_element_type"),
    )
    return convolve(images, kernel, window, bias)


class Conv(nn.Module):
    """A two-dimensional convolution layer with the parameters, names and initial values of `flax.linen.Conv`.

    It differs in that the convolution adds the bias itself, which saves a pass over the outputs on a CPU.

    Attributes:
        features: number of filters.
        kernel_size: height and width.
        strides: in height and width, or one for both.
        padding: "SAME", "VALID", one number for all sides, or (low, high) of height and of width.
        kernel_dilation: in height and width, or one for both.
        feature_group_count: number of channel groups that are convolved separately.
        use_bias: whether to add a bias.
        dtype: dtype of the computation; None for that of images and parameters.
        kernel_init: initialiser of the kernel.
        bias_init: initialiser of the bias.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int | tuple[int, int] = 1
    padding: str | int | Sequence[tuple[int, int]] = "SAME"
    kernel_dilation: int | tuple[int, int] = 1
    feature_group_count: int = 1
    use_bias: bool = True
    dtype: DTypeLike | None = None
    kernel_init: nn.initializers.Initializer = nn.linear.default_kernel_init
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, images_BHWC: jax.Array) -> jax.Array:
        """Convolve images (B, H, W, C) into (B, H', W', features)."""
        channels = images_BHWC.shape[-1] // self.feature_group_count
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, channels, self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        images, kernel, bias = nn.dtypes.promote_dtype(images_BHWC, kernel, bias, dtype=self.dtype)
        padding = self.padding
        return convolved(
            images,
            kernel,
            bias,
            window_strides=pair(self.strides),
            padding=[(padding, padding)] * 2 if isinstance(padding, int) else padding,
            rhs_dilation=pair(self.kernel_dilation),
            dimension_numbers=CANONICAL,
            feature_group_count=self.feature_group_count,
        )


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width of what may be one number for both."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
