"""The networks of the zoo as plain Flax computes them: Flax's own layers on XLA, none of this library's.

A network is this library's module, so parameters, their names and their first values are the same. While it is called,
a Flax interceptor computes each layer of this library by the layers of Flax that it stands for, on the same parameters:
a `ConvNorm` by `nn.Conv`, `nn.BatchNorm` and an activation of Flax's. What the networks call as a plain function is
exchanged for the time of the call.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp

import flaxcnn
from flaxcnn.layers.activations import hard_sigmoid, hard_swish, relu6
from flaxcnn.layers.conv_norm import ConvNorm
from flaxcnn.layers.convolution import Conv
from flaxcnn.layers.normalization import BatchNorm
from flaxcnn.layers.pooling import MaxPool
from flaxcnn.layers.squeeze_excitation import SqueezeExcitation
from flaxcnn.models import densenet, mobilenet_v3

_STOCK: dict[Any, Callable[[jax.Array], jax.Array]] = {
    hard_sigmoid: nn.hard_sigmoid,
    hard_swish: nn.hard_swish,
    relu6: nn.relu6,
}


def _activated(activation: Any, x: jax.Array) -> jax.Array:
    return x if activation is None else _STOCK.get(activation, activation)(x)


def _normalised(layer: nn.Module, norm: nn.BatchNorm, x: jax.Array) -> jax.Array:
    """Return what Flax's layer makes of activations with a layer's variables; keep the statistics that it updates."""
    variables = layer.variables
    params = {name: value for name, value in variables["params"].items() if name in ("scale", "bias")}
    given = {"params": params, "batch_stats": dict(variables["batch_stats"])}
    if norm.use_running_average:
        return norm.apply(given, x)
    y, updated = norm.apply(given, x, mutable=["batch_stats"])
    for name, value in updated["batch_stats"].items():
        layer.put_variable("batch_stats", name, value)
    return y


# Flax's layers below have no parent: they are called with variables, and add none to the network.


def _conv(layer: Conv, x: jax.Array) -> jax.Array:
    conv = nn.Conv(
        layer.features,
        layer.kernel_size,
        layer.strides,
        layer.padding,
        kernel_dilation=layer.kernel_dilation,
        feature_group_count=layer.feature_group_count,
        use_bias=layer.use_bias,
        dtype=layer.dtype,
        parent=None,
    )
    return conv.apply({"params": layer.variables["params"]}, x)


def _conv_norm(layer: ConvNorm, x: jax.Array) -> jax.Array:
    padding = layer.padding
    if padding is None:
        padding = [(layer.kernel_dilation * (size - 1) // 2,) * 2 for size in layer.kernel_size]
    conv = nn.Conv(
        layer.features,
        layer.kernel_size,
        layer.strides,
        padding,
        kernel_dilation=layer.kernel_dilation,
        feature_group_count=layer.groups,
        use_bias=layer.biased,
        dtype=layer.dtype,
        parent=None,
    )
    norm = nn.BatchNorm(
        not layer.train, momentum=layer.momentum, epsilon=layer.epsilon, use_scale=layer.scaled, parent=None
    )
    params = layer.variables["params"]
    kernel = {"kernel": params["kernel"]} | ({"bias": params["conv_bias"]} if layer.biased else {})
    return _activated(layer.activation, _normalised(layer, norm, conv.apply({"params": kernel}, x)))


def _batch_norm(layer: BatchNorm, x: jax.Array) -> jax.Array:
    norm = nn.BatchNorm(
        layer.use_running_average, momentum=layer.momentum, epsilon=layer.epsilon, dtype=layer.dtype, parent=None
    )
    y = _normalised(layer, norm, x)
    return nn.relu(y) if layer.relu else y


def _max_pool(layer: MaxPool, x: jax.Array) -> jax.Array:
    return nn.max_pool(x, layer.window, layer.strides or layer.window, layer.padding)


def _squeeze_excitation(layer: SqueezeExcitation, x: jax.Array) -> jax.Array:
    def dense(name: str, features: int, x_BC: jax.Array) -> jax.Array:
        params = layer.variables["params"][name]
        flat = {"kernel": params["kernel"][0, 0], "bias": params["bias"]}
        return nn.Dense(features, parent=None).apply({"params": flat}, x_BC)

    squeezed = _activated(layer.activation, dense("reduce", layer.squeezed, jnp.mean(x, axis=(1, 2))))
    weight = _activated(layer.gate, dense("expand", x.shape[-1], squeezed))
    return x * weight[:, None, None, :]


_PLAIN: dict[type[nn.Module], Callable[..., jax.Array]] = {
    Conv: _conv,
    ConvNorm: _conv_norm,
    BatchNorm: _batch_norm,
    MaxPool: _max_pool,
    SqueezeExcitation: _squeeze_excitation,
}


def _plainly(next_function: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    layer = context.module
    # A layer makes its parameters itself; what it then computes is dropped by whoever initialises.
    if type(layer) not in _PLAIN or context.method_name != "__call__" or layer.is_initializing():
        return next_function(*args, **kwargs)
    return _PLAIN[type(layer)](layer, *args, **kwargs)


def _avg_pool(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (2, 2), (2, 2))


@contextmanager
def _plain_layers() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(densenet, "avg_pool", _avg_pool))
        stack.enter_context(mock.patch.object(mobilenet_v3, "hard_swish", nn.hard_swish))
        stack.enter_context(nn.intercept_methods(_plainly))
        yield


class PlainNetwork:
    """A network of the zoo with Flax's own layers; its interface is that of the network.

    Args:
        model: of `flaxcnn.models`, float32.
    """

    def __init__(self, model: Any):
        self._model = model

    def init(self, *args: Any, **options: Any) -> Any:
        """Return the variables, those of the network."""
        return self._model.init(*args, **options)

    def apply(self, *args: Any, **options: Any) -> Any:
        """Return what the network's `apply` does."""
        with _plain_layers():
            return self._model.apply(*args, **options)


def create(name: str, classes: int) -> PlainNetwork:
    """Return a network by its name in `flaxcnn.models`."""
    return PlainNetwork(flaxcnn.create(name, classes))
