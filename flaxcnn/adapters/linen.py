"""The adapter of Linen modules to the library's interface."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import flax.linen as nn
import jax

from flaxcnn.adapters.adapted import Adapted, mode_options, with_endpoints


@dataclass(frozen=True)
class LinenModel(Adapted):
    """A Linen module, which may lack the argument `train` and may return only its outputs.

    For a module that takes `train` and returns (logits, endpoints), the compiled program is that of the module alone.

    Attributes:
        module: the module.
    """

    module: nn.Module

    @property
    def definition(self) -> Any:
        """The module's class."""
        return type(self.module)

    @property
    def classes(self) -> Any:
        """The module's field `classes`; None without one."""
        return getattr(self.module, "classes", None)

    @property
    def call(self) -> Callable[..., Any]:
        """The `__call__` of the module's class."""
        call: Callable[..., Any] = type(self.module).__call__
        return call

    def clone(self, *, classes: int) -> Self:
        """Return the module with another number of outputs."""
        return type(self)(self.module.clone(classes=classes))

    def init_with_output(self, key: jax.Array, images: jax.Array) -> tuple[tuple[Any, Mapping[str, Any]], Any]:
        """Return (outputs, endpoints), computed as in evaluation, and the initial variables."""
        result, variables = self.module.init_with_output(key, images, **mode_options(self.call, False))
        return with_endpoints(result), nn.unbox(variables)

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
        """Return (outputs, endpoints), as `Adapted.apply`.

        Random streams with other names also follow from the key of "dropout".
        """
        keys = None if rngs is None else dict(rngs)
        if keys and "dropout" in keys:  # Flax takes "params" where a stream has no key of its own
            keys["params"] = jax.random.fold_in(keys["dropout"], 0)
        modes = mode_options(self.call, train)
        result = self.module.apply(variables, images, mutable=mutable, rngs=keys, **modes, **options)
        if mutable is False:
            return with_endpoints(result)
        return with_endpoints(result[0]), result[1]
