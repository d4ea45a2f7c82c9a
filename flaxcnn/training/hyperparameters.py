"""Hyperparameters of a step besides the optimizer's: runtime values, so changing one does not recompile."""

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Hyperparameters:
    """Runtime values in the training state. A None is not part of the compiled program.

    Attributes:
        label_smoothing: fraction of a label's weight that is spread evenly over all classes, a float32 scalar.
        dropout: dropout rate that replaces the model's, a float32 scalar; None for the model's.
        class_weights: weight of each class's loss, float32 (classes,); None for 1.
        ema_decay: decay of the weights' exponential moving average, a float32 scalar; None for no average.
        focal_gamma: exponent of the focal loss, a float32 scalar; None for the plain loss.
    """

    label_smoothing: jax.Array
    dropout: jax.Array | None = None
    class_weights: jax.Array | None = None
    ema_decay: jax.Array | None = None
    focal_gamma: jax.Array | None = None

    @classmethod
    def of(
        cls,
        label_smoothing: float = 0.0,
        dropout: float | None = None,
        class_weights: "jax.typing.ArrayLike | None" = None,
        ema_decay: float | None = None,
        focal_gamma: float | None = None,
    ) -> "Hyperparameters":
        """Create hyperparameters from numbers."""

        def array(value: "jax.typing.ArrayLike | None") -> jax.Array | None:
            return None if value is None else jnp.asarray(value, jnp.float32)

        smoothing = jnp.asarray(label_smoothing, jnp.float32)
        return cls(smoothing, array(dropout), array(class_weights), array(ema_decay), array(focal_gamma))
