"""The interface of an adapted module, and code that all adapters share."""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

# The arguments that switch a module to training, with their values in training.
MODES = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}


class Adapted(ABC):
    """A user's module with the library's interface. It is immutable and compares equal if the definition is equal.

    It can therefore be a static argument of `jax.jit`, and equal modules share compiled programs.
    """

    @property
    @abstractmethod
    def definition(self) -> Any:
        """The module's class."""

    @property
    @abstractmethod
    def classes(self) -> Any:
        """The module's number of outputs; None if it takes no such argument."""

    @property
    @abstractmethod
    def call(self) -> Callable[..., Any]:
        """The function that computes the outputs; its first argument is the module."""

    @abstractmethod
    def clone(self, *, classes: int) -> Self:
        """Return the module with another number of outputs."""

    @abstractmethod
    def init_with_output(self, key: jax.Array, images: jax.Array) -> tuple[tuple[Any, Mapping[str, Any]], Any]:
        """Return (outputs, endpoints), computed as in evaluation, and the initial variables."""

    @abstractmethod
    def apply(
        self,
        variables: Mapping[str, Any],
        images: jax.Array,
        *,
        train: bool = False,
        mutable: Any = False,
        rngs: Mapping[str, jax.Array] | None = None,
        **options: Any,
    ) -> Any:
        """Return (outputs, endpoints); with `mutable`, a pair of these and the updated collections.

        Args:
            variables: {"params": ..., "batch_stats": ...}.
            images: float images, (B, H, W, C).
            train: whether to use the batch's statistics and to apply dropout.
            mutable: False, or the names of the collections that may change.
            rngs: {"dropout": key}, the key of all randomness in the call.
            options: additional arguments for the module.
        """

    def init(self, key: jax.Array, images: jax.Array) -> Any:
        """Return the initial variables, {"params": ..., "batch_stats": ...}."""
        return self.init_with_output(key, images)[1]


FlaxModule: TypeAlias = nn.Module | Adapted  # the models that the library trains


def class_of(given: Any) -> Any:
    """Return the class inside a partial; return anything else unchanged."""
    while isinstance(given, functools.partial):
        given = given.func
    return given


def parameters_of(given: Any) -> dict[str, inspect.Parameter]:
    """Return the named constructor arguments of a module class, or of a partial of one."""
    words: tuple[Any, ...] = ()
    options: dict[str, Any] = {}
    while isinstance(given, functools.partial):
        words, options, given = (*given.args, *words), {**given.keywords, **options}, given.func
    # Of `__init__`, since the metaclass of NNX takes any arguments.
    parameters = inspect.signature(functools.partial(given.__init__, None, *words, **options)).parameters
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    own = ("parent", "name")  # Linen's, in each of its modules
    return {name: each for name, each in parameters.items() if each.kind not in variadic and name not in own}


def mode_options(call: Callable[..., Any], train: bool) -> dict[str, Any]:
    """Return the arguments that switch a module between training and evaluation, as far as it takes them."""
    taken = inspect.signature(call).parameters
    return {name: train == value for name, value in MODES.items() if name in taken}


def with_endpoints(result: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return a module's result as (outputs, endpoints); outputs alone get empty endpoints.

    Outputs of another floating-point dtype become float32, as in the library's models.
    """
    endpoints: Mapping[str, Any] = {}
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        result, endpoints = result
    if isinstance(result, jax.Array) and jnp.issubdtype(result.dtype, jnp.floating) and result.dtype != jnp.float32:
        result = result.astype(jnp.float32)
    return result, endpoints


def takes(model: FlaxModule, option: str) -> bool:
    """Return whether a module's call takes an argument of this name."""
    call = model.call if isinstance(model, Adapted) else type(model).__call__
    return option in inspect.signature(call).parameters


def module_name(model: FlaxModule) -> str:
    """Return the name of a module's class."""
    return str(getattr(_definition(model), "__name__", type(model).__name__))


def module_place(model: FlaxModule) -> str:
    """Return a module's class in the form of the command `contract`: `package.module:Name`."""
    definition = _definition(model)
    return f"{definition.__module__}:{getattr(definition, '__qualname__', module_name(model))}"


def _definition(model: FlaxModule) -> Any:
    return model.definition if isinstance(model, Adapted) else type(model)
