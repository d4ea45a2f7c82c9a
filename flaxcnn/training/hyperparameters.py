"""Hyperparameters of a step besides the optimizer's: runtime values, so changing one does not recompile."""

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Hyperparameters:
    """Values that stand in the training state. What is None is no part of the compiled program.

    Attributes:
        label_smoothing: share of a label's weight that is spread evenly over all classes, a float32 scalar.
        dropout: rate, in place of the model's own, a float32 scalar or None.
        class_weights: factor of each class's loss, float32 (classes,) or None for 1.
        ema_decay: of the moving average of the weights, a float32 scalar or None for no average.
    """

    label_smoothing: jax.Array
    dropout: jax.Array | None = None
    class_weights: jax.Array | None = None
    ema_decay: jax.Array | None = None

    @classmethod
    def of(
        cls,
        label_smoothing: float = 0.0,
        dropout: float | None = None,
        class_weights: "jax.typing.ArrayLike | None" = None,
        ema_decay: float | None = None,
    ) -> "Hyperparameters":
        """Return numbers as the arrays that a state holds."""

        def array(value: "jax.typing.ArrayLike | None") -> jax.Array | None:
            return None if value is None else jnp.asarray(value, jnp.float32)

        return cls(jnp.asarray(label_smoothing, jnp.float32), array(dropout), array(class_weights), array(ema_decay))
